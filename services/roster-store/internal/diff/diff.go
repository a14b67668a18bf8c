// Package diff compares two revisions of a district and takes a district back
// to one. It is built on the contract of the store alone: what the revisions
// between the two have touched is looked up at both ends.
package diff

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Changes yields what a district at revision to differs in from what it was at
// revision from, by entity and id, after a position; from may be the later one.
// A record that is not there and one that is removed are the same, and
// dateLastModified does not count. What was there and is not gets the status
// tobedeleted. Bodies are valid until the next step. Memory grows with the
// number of revisions between, not with that of records.
func Changes(ctx context.Context, s store.Reads, d store.DistrictID, from, to store.Revision, after store.Position) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		old, late := min(from, to), max(from, to)
		was := s.Snapshot(d, old, store.Scope{All: true})
		for _, rev := range []store.Revision{old, late} {
			if err := readable(ctx, s, d, rev); err != nil {
				yield(store.Change{}, err)
				return
			}
		}
		for now, err := range Touched(ctx, s, d, old, late, after) {
			var earlier store.Record
			if err == nil && old > 0 {
				earlier, err = was.Get(ctx, now.Entity, now.ID)
				if errors.Is(err, store.ErrRecordUnknown) {
					err = nil
				}
			}
			c := store.Change{Entity: now.Entity, ID: now.ID, Before: earlier.Body, After: now.Body}
			if from > to {
				c.Before, c.After = c.After, c.Before
			}
			differs := false
			if err == nil {
				differs, err = judge(&c)
			}
			if err != nil {
				yield(store.Change{}, fmt.Errorf("compare revisions %d and %d of %s: %w", from, to, d, err))
				return
			}
			if differs && !yield(c, nil) {
				return
			}
		}
	}
}

// readable fails if a revision is gone or not yet there, also when nothing of
// it has to be read.
func readable(ctx context.Context, s store.Reads, d store.DistrictID, rev store.Revision) error {
	if rev == 0 {
		return nil // the empty district is always known
	}
	_, err := s.Snapshot(d, rev, store.Scope{All: true}).Page(ctx, store.Query{Entity: typev1.Entity_ENTITY_ORGS}, "", 0)
	return err
}

// Touched yields the records that revisions after old and up to late have
// brought, as they are at late, each once, by entity and id, after a position.
// Bodies are valid until the next step.
func Touched(ctx context.Context, s store.Reads, d store.DistrictID, old, late store.Revision, after store.Position) iter.Seq2[store.Record, error] {
	if old == 0 && late > 0 {
		return s.Snapshot(d, late, store.Scope{All: true}).Scan(ctx, after)
	}
	var revisions []iter.Seq2[store.Record, error]
	for rev := late; rev > old; rev-- {
		revisions = append(revisions, brought(ctx, s, d, rev, after))
	}
	return merge(revisions)
}

// brought yields the records of one revision after a position.
func brought(ctx context.Context, s store.Reads, d store.DistrictID, rev store.Revision, after store.Position) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for ev, err := range s.Changes(ctx, d, rev-1, rev) {
			if err == nil && (ev.Phase != store.Data || compare(ev.Record, store.Record{Entity: after.Entity, ID: after.ID}) <= 0) {
				continue
			}
			if !yield(ev.Record, err) || err != nil {
				return
			}
		}
	}
}

func compare(a, b store.Record) int {
	return cmp.Or(cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.ID, b.ID))
}

// judge says whether a change is one, and what it does.
func judge(c *store.Change) (bool, error) {
	if bytes.Equal(c.Before, c.After) {
		return false, nil
	}
	before, err := decode(c.Before)
	if err != nil {
		return false, err
	}
	after, err := decode(c.After)
	if err != nil {
		return false, err
	}
	switch was, is := active(before), active(after); {
	case !was && !is, was && is && record.HashOf(before) == record.HashOf(after):
		return false, nil
	case was && !is:
		c.Kind = store.Removed
	case is && !was:
		c.Kind = store.Created
	default:
		c.Kind = store.Updated
	}
	if after == nil {
		record.SetStatus(before, record.StatusToBeDeleted)
		record.SetDateLastModified(before, "")
		c.After, err = proto.Marshal(before)
	}
	return true, err
}

func active(r *typev1.Record) bool {
	_, base := record.Of(r)
	return base != nil && base.GetStatus() != record.StatusToBeDeleted
}

func decode(body []byte) (*typev1.Record, error) {
	if body == nil {
		return nil, nil
	}
	r := &typev1.Record{}
	if err := proto.Unmarshal(body, r); err != nil {
		return nil, fmt.Errorf("decode a record: %w", err)
	}
	return r, nil
}
