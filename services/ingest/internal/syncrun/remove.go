package syncrun

import (
	"context"
	"errors"

	"gocloud.dev/blob"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/dropbox"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
)

// A source is removed by a sync that makes its layer empty: what that changes is
// planned, held and committed like anything else, and the source goes when the
// sync has ended.

// readRemoval takes a sync that removes its source from QUEUED to PLANNING.
func (r *Runner) readRemoval(ctx context.Context, s *ingestv1.SyncDocument) error {
	district, sync := s.GetDistrict(), s.GetSync()
	previous, err := r.deps.Store.Layer(ctx, district, sync.GetSource())
	if err != nil {
		return err
	}
	// Whoever began the removal may have died before the source said so.
	if err := StopForRemoval(ctx, r.deps.Store, s); err != nil {
		return err
	}
	return r.enter(ctx, s, ingestv1.SyncState_PLANNING, func(d *ingestv1.SyncDocument) { d.Base = baseOf(previous) }, ingestv1.SyncState_QUEUED)
}

// StopForRemoval stops a source until the sync that removes it has ended. The
// caller holds the source.
func StopForRemoval(ctx context.Context, store *state.Store, s *ingestv1.SyncDocument) error {
	_, err := store.Sources.Modify(ctx, state.Key(s.GetDistrict(), s.GetSync().GetSource()), func(d *ingestv1.SourceDocument) error {
		if d.Source.Stopped == nil {
			d.Source.Stopped = &ingestv1.Stop{Time: s.GetSync().GetCreateTime()}
		}
		d.Source.Stopped.Removal = s.GetSync().GetSyncId()
		return nil
	})
	if errors.Is(err, docstore.ErrNotFound) {
		return state.ErrSourceNotFound
	}
	return err
}

// refuseStopped ends a sync whose source was stopped before it began to read.
func (r *Runner) refuseStopped(ctx context.Context, s *ingestv1.SyncDocument) error {
	source, err := r.deps.Store.Source(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil {
		return err
	}
	return schedule.RefuseStopped(source.Value.GetSource())
}

// settleRemoval deletes the source that a sync has removed, or lets it go on if
// the sync has ended otherwise. The source's own mark tells whether it is still
// the one that was meant. The caller holds the source.
func (r *Runner) settleRemoval(ctx context.Context, s *ingestv1.SyncDocument) error {
	district, sync := s.GetDistrict(), s.GetSync()
	if !sync.GetRemovesSource() {
		return nil
	}
	doc, err := r.deps.Store.Source(ctx, district, sync.GetSource())
	if errors.Is(err, state.ErrSourceNotFound) || err == nil && doc.Value.GetSource().GetStopped().GetRemoval() != sync.GetSyncId() {
		return nil
	}
	if err != nil {
		return err
	}
	if sync.GetState() == ingestv1.SyncState_COMPLETED {
		return RemoveSource(ctx, r.deps.Store, r.deps.Roster, r.deps.Blobs, district, sync.GetSource())
	}
	_, err = r.deps.Store.Sources.Modify(ctx, doc.ID, func(d *ingestv1.SourceDocument) error {
		stop := proto.CloneOf(d.GetSource().GetStopped())
		if stop.Removal = ""; stop.GetFrozen() {
			d.Source.Stopped = stop
			return nil
		}
		d.Source.Stopped, d.ScheduledFrom = nil, timestamppb.New(r.deps.Now())
		return nil
	})
	return docstore.IgnoreNotFound(err)
}

// RemoveSource deletes a source that owns no records, with all that was kept of
// it; the source itself goes last. The caller holds it.
func RemoveSource(ctx context.Context, store *state.Store, roster rosterv1.RosterServiceClient, bucket *blob.Bucket, district, source string) error {
	doc, err := store.Source(ctx, district, source)
	if err != nil {
		return err
	}
	if err := KeepDryRun(ctx, store, roster, doc, ""); err != nil {
		return err
	}
	for upload, err := range store.Uploads.All(ctx, state.Within(district, source)) {
		if err != nil {
			return err
		}
		if err := docstore.IgnoreNotFound(store.Uploads.Delete(ctx, upload.ID)); err != nil {
			return err
		}
	}
	// Whoever dies here leaves files that nothing names, never a name without its file.
	for _, remove := range []func(context.Context, string) error{store.Layers.Delete, store.Drops.Delete} {
		if err := docstore.IgnoreNotFound(remove(ctx, doc.ID)); err != nil {
			return err
		}
	}
	for _, prefix := range []string{UploadPrefix(district, source), dropbox.SourcePrefix(district, source), LayerPrefix(district, source)} {
		if err := DeleteBlobs(ctx, bucket, prefix, func(string) bool { return true }); err != nil {
			return err
		}
	}
	if err := store.EraseBeside(ctx, district, source); err != nil {
		return err
	}
	return docstore.IgnoreNotFound(store.Sources.Delete(ctx, doc.ID))
}
