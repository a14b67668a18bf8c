package diff

import (
	"context"
	"fmt"
	"iter"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Restore stages the plan that h describes: its commit takes the district back
// to the revision that h.Undo names. What came since is not lost, it is in the
// revisions between. ErrStale if there was a commit meanwhile.
func Restore(ctx context.Context, s store.Store, h store.PlanHeader) (store.Plan, error) {
	head, err := s.Head(ctx, h.District)
	if err != nil {
		return store.Plan{}, err
	}
	if err := readable(ctx, s, h.District, h.Undo.To); err != nil {
		return store.Plan{}, fmt.Errorf("restore: %w", err)
	}
	plan, err := s.Import(ctx, h, Delta(Changes(ctx, s, h.District, head.Revision, h.Undo.To, store.Position{})))
	if err != nil {
		return store.Plan{}, err
	}
	if plan.Base != head.Revision && plan.Revision == 0 {
		if err := s.Discard(ctx, h.District, plan.ID); err != nil {
			return store.Plan{}, err
		}
		return store.Plan{}, fmt.Errorf("restore revision %d of %s: %w", h.Undo.To, h.District, store.ErrStale)
	}
	return plan, nil
}

// Delta makes records to import of changes.
func Delta(changes iter.Seq2[store.Change, error]) iter.Seq2[store.ImportRecord, error] {
	return func(yield func(store.ImportRecord, error) bool) {
		for c, err := range changes {
			r := store.ImportRecord{Entity: c.Entity, ID: c.ID, Body: c.After}
			if err == nil {
				r.Hash, err = hashOf(c.After)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func hashOf(body []byte) (record.Hash, error) {
	r, err := decode(body)
	if err != nil {
		return record.Hash{}, err
	}
	return record.HashOf(r), nil
}
