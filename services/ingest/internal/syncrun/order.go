package syncrun

import (
	"context"
	"errors"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/state"
)

// The layer of a source is made of its packages in their order. What a sync has
// read stands for the layer that was current then; once another sync has
// committed, it stands for nothing.

// baseOf names a layer. One that was committed in part changes once more with the
// same sync, when the rest is.
func baseOf(l *ingestv1.LayerDocument) string {
	if l.GetInPart() {
		return l.GetSync() + " in part"
	}
	return l.GetSync()
}

// follows tells whether the layer that s has made is the next one. If not, s is
// over, or is read again. The caller holds the lease of commits.
func (r *Runner) follows(ctx context.Context, s *ingestv1.SyncDocument) (bool, error) {
	id, now := s.GetSync().GetSyncId(), s.GetSync().GetState()
	current, err := r.deps.Store.Layer(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil {
		return false, err
	}
	switch by := current.GetSync(); {
	case by == id:
		return true, nil // its commit was broken off right behind
	case by > id:
		return false, r.enter(ctx, s, ingestv1.SyncState_SUPERSEDED, nil, now)
	case baseOf(current) != s.GetBase():
		return false, r.enter(ctx, s, ingestv1.SyncState_QUEUED, nil, now)
	}
	if s.GetPartial() && now == ingestv1.SyncState_PLANNING {
		if held, err := r.held(ctx, s); err != nil || held != "" {
			return false, errors.Join(err, r.await(ctx, s, held))
		}
	}
	return true, nil
}

// held returns the id of an older sync of the source that is on hold and that s
// must not overtake.
func (r *Runner) held(ctx context.Context, s *ingestv1.SyncDocument) (string, error) {
	if s.GetSync().GetDryRun() {
		return "", nil
	}
	older, err := r.older(ctx, s)
	for _, o := range older {
		if o.GetSync().GetState() == ingestv1.SyncState_ON_HOLD {
			return o.GetSync().GetSyncId(), nil
		}
	}
	return "", err
}

// await puts s back into the queue until a person has decided about held.
func (r *Runner) await(ctx context.Context, s *ingestv1.SyncDocument, held string) error {
	if held == "" {
		return nil
	}
	why := ", and the changes in this package come on top of it: approve or discard that sync, or upload and sync a complete package"
	if s.GetSync().GetRemerge() {
		why = ", and what it brings is shared by the new settings too: approve or discard that sync"
	}
	return r.enter(ctx, s, ingestv1.SyncState_QUEUED, func(d *ingestv1.SyncDocument) {
		d.Partial = true
		d.Sync.WaitingFor = "sync " + held + " of this source is on hold" + why
	}, s.GetSync().GetState())
}

// supersede ends older syncs of the source that wait for a person: what they
// would do is out of date. One that a person has just approved goes first.
func (r *Runner) supersede(ctx context.Context, s *ingestv1.SyncDocument) error {
	older, err := r.older(ctx, s)
	if err != nil {
		return err
	}
	for _, o := range older {
		if o.GetSync().GetState() == ingestv1.SyncState_QUEUED {
			continue // it waited for the one on hold, and is the next to be looked at
		}
		err := r.enter(ctx, o, ingestv1.SyncState_SUPERSEDED, nil, ingestv1.SyncState_ON_HOLD)
		if errors.Is(err, errMoved) {
			return errLater
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// older returns the syncs of the source before s that have not ended.
func (r *Runner) older(ctx context.Context, s *ingestv1.SyncDocument) ([]*ingestv1.SyncDocument, error) {
	open, err := r.open(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil {
		return nil, err
	}
	var out []*ingestv1.SyncDocument
	for _, o := range open {
		if o.GetSync() >= s.GetSync().GetSyncId() {
			break
		}
		doc, err := r.deps.Store.Sync(ctx, s.GetDistrict(), o.GetSync())
		if errors.Is(err, state.ErrSyncNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !state.Final(doc.Value.GetSync().GetState()) {
			out = append(out, doc.Value)
		}
	}
	return out, nil
}
