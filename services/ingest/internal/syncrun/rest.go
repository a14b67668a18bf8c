package syncrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/record"
)

// Of a plan that is committed in part the layer of its source becomes what was
// applied: of the records that were left out, what was there before. So other
// sources go on as if these had never been read, and the source's next sync brings
// them again. If the policy has chosen the part, the sync itself goes on with the
// rest, as a plan of its own that waits for a person.

// applies tells whether what is committed of a plan is what the policy has chosen.
func applies(s *ingestv1.SyncDocument) bool {
	return s.GetSelection().GetMode() != ingestv1.HoldMode_HOLD_MODE_UNSPECIFIED
}

// holdBack takes out of a layer what is not applied. It may be repeated: the layer
// that it has made has of what was left out what there was before it.
func (r *Runner) holdBack(ctx context.Context, s *ingestv1.SyncDocument, part *rosterv1.Plan, next *ingestv1.LayerDocument) error {
	current, err := r.deps.Store.Layer(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil {
		return err
	}
	made, was := state.Made(s), state.Current(current)
	mix := func(out *map[string]*ingestv1.LayerFile, made, was func(entity string) *ingestv1.LayerFile) {
		if err == nil {
			*out, err = r.mix(ctx, s, part, *out, made, was)
		}
	}
	in := func(files map[string]*ingestv1.LayerFile) func(string) *ingestv1.LayerFile {
		return func(entity string) *ingestv1.LayerFile { return files[entity] }
	}
	mix(&next.Over, in(made.Over), in(was.Over))
	mix(&next.Files, in(made.Base), in(was.Base))
	mix(&next.Fill, in(made.Fill), in(was.Fill))
	if len(made.Shared)+len(was.Shared) > 0 {
		next.Shared = &ingestv1.Shared{Settings: s.GetShared().GetSettings(), Files: maps.Clone(made.Shared)}
		mix(&next.Shared.Files, made.In, was.In)
	}
	next.InPart = true
	return err
}

// mix returns the files that a sync has made, with what was there before of the
// records that were left out.
func (r *Runner) mix(ctx context.Context, s *ingestv1.SyncDocument, part *rosterv1.Plan, files map[string]*ingestv1.LayerFile, made, was func(entity string) *ingestv1.LayerFile) (map[string]*ingestv1.LayerFile, error) {
	out := maps.Clone(files)
	for _, e := range record.Entities() {
		name := record.EntityName(e)
		all, applied := s.GetSync().GetCounts()[name], part.GetCounts()[name]
		if made(name) == nil && was(name) == nil || all.GetCreated() == applied.GetCreated() && all.GetUpdated() == applied.GetUpdated() && all.GetRemoved() == applied.GetRemoved() {
			continue // nothing of it was left out
		}
		f, err := r.mixFile(ctx, s, e, made(name), was(name))
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = map[string]*ingestv1.LayerFile{}
		}
		out[name] = f
	}
	return out, nil
}

// mixedRules is the mapping of a file whose records were made by several. No
// package is read by it, so that nobody takes its hashes for those of one.
const mixedRules = "mixed"

func (r *Runner) mixFile(ctx context.Context, s *ingestv1.SyncDocument, e typev1.Entity, next, before *ingestv1.LayerFile) (*ingestv1.LayerFile, error) {
	read := func(f *ingestv1.LayerFile) iter.Seq2[layer.Entry, error] {
		return readLayer(ctx, r.deps.Blobs, s.GetSync().GetSource(), f, e)
	}
	key := LayerPrefix(s.GetDistrict(), s.GetSync().GetSource()) + s.GetSync().GetSyncId() + "/applied-" + state.NewID()
	mapping := cmp.Or(next, before).GetMapping()
	if next != nil && before != nil && mapping != before.GetMapping() {
		mapping = mixedRules
	}
	f, err := writeLayer(ctx, r.deps.Blobs, key, mapping, nil, func(w *layer.Writer) error {
		for entry, err := range layer.Mix(read(next), read(before), r.leftOut(ctx, s, e)) {
			if err == nil {
				err = w.Add(entry)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("take out of %s what is not applied: %w", record.EntityName(e), err)
	}
	return f, nil
}

// leftOut yields the ids that a plan changes and the part that was chosen of it
// does not, in ascending order.
func (r *Runner) leftOut(ctx context.Context, s *ingestv1.SyncDocument, e typev1.Entity) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		next, stop := iter.Pull2(r.changed(ctx, s.GetDistrict(), s.GetSelection().GetPlan(), e))
		defer stop()
		applied, err, more := next()
		for id, fullErr := range r.changed(ctx, s.GetDistrict(), s.GetPlan(), e) {
			for err == nil && more && applied < id {
				applied, err, more = next()
			}
			if fullErr != nil || err != nil {
				yield("", errors.Join(fullErr, err))
				return
			}
			if more && applied == id {
				continue
			}
			if !yield(id, nil) {
				return
			}
		}
	}
}

// changed yields the ids that a plan changes, in ascending order.
func (r *Runner) changed(ctx context.Context, district, plan string, e typev1.Entity) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		ask := &rosterv1.ListPlanChangesRequest{District: district, Plan: plan, Entity: record.EntityName(e), PageSize: 1000}
		for {
			page, err := r.deps.Roster.ListPlanChanges(ctx, ask)
			if err != nil {
				yield("", fmt.Errorf("look at the changes of a plan: %w", err))
				return
			}
			for _, c := range page.GetChanges() {
				if !yield(c.GetSourcedId(), nil) {
					return
				}
			}
			if ask.PageToken = page.GetNextPageToken(); ask.PageToken == "" {
				return
			}
		}
	}
}

// takeRest goes on with what of a plan was not applied: it is planned anew, on
// what the part has made.
func (r *Runner) takeRest(ctx context.Context, s *ingestv1.SyncDocument, part *rosterv1.Plan, answer *rosterv1.CommitPlanResponse) error {
	return r.enter(ctx, s, ingestv1.SyncState_PLANNING, func(d *ingestv1.SyncDocument) {
		d.Sync.Revision = answer.GetRevision()
		d.Sync.AppliedPart = &ingestv1.AppliedPart{Mode: d.GetSelection().GetMode(), Revision: answer.GetRevision(), Counts: map[string]*ingestv1.EntityCounts{}}
		for name, c := range part.GetCounts() {
			if c.GetCreated()+c.GetUpdated()+c.GetRemoved() > 0 {
				d.Sync.AppliedPart.Counts[name] = &ingestv1.EntityCounts{Created: c.GetCreated(), Updated: c.GetUpdated(), Removed: c.GetRemoved()}
			}
		}
	}, ingestv1.SyncState_COMMITTING)
}
