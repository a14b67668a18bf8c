package syncrun

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"

	"gocloud.dev/blob"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/sharing"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/record"
)

// A source with sharing settings has files of what they leave of its records
// beside those with all of them. They are made of these with every sync, and by
// a sync of their own when the settings have changed.

// remerge takes a sync that pulls nothing from QUEUED to PLANNING: what the
// source has delivered is shared anew.
func (r *Runner) remerge(ctx context.Context, s *ingestv1.SyncDocument) error {
	// It stands on what a sync on hold may still bring.
	if held, err := r.held(ctx, s); err != nil || held != "" {
		return errors.Join(err, r.await(ctx, s, held))
	}
	err := r.enter(ctx, s, ingestv1.SyncState_NORMALISING, nil, ingestv1.SyncState_QUEUED, ingestv1.SyncState_NORMALISING)
	if err != nil {
		return err
	}
	if err := r.refuseStopped(ctx, s); err != nil {
		return err
	}
	from, err := r.syncedFrom(ctx, s)
	if err != nil {
		return err
	}
	current, err := r.deps.Store.Layer(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil {
		return err
	}
	shared, err := r.share(ctx, s, current.GetFiles(), current)
	if err != nil {
		return err
	}
	return r.enter(ctx, s, ingestv1.SyncState_PLANNING, func(d *ingestv1.SyncDocument) {
		d.Layer, d.Over, d.Fill, d.Shared = current.GetFiles(), current.GetOver(), current.GetFill(), shared
		d.Base, d.Partial, d.Sync.UploadId = baseOf(current), true, from.GetUploadId()
		d.Sync.Shared, d.Sync.Counts = shared.GetCounts(), map[string]*ingestv1.EntityCounts{}
		for name, f := range current.GetFiles() {
			d.Sync.Counts[name] = &ingestv1.EntityCounts{Received: int32(f.GetRecords())}
		}
	}, ingestv1.SyncState_NORMALISING)
}

// share applies the sharing settings of a sync's source to what it has of the
// source; nil if there are none.
func (r *Runner) share(ctx context.Context, s *ingestv1.SyncDocument, files map[string]*ingestv1.LayerFile, previous *ingestv1.LayerDocument) (*ingestv1.Shared, error) {
	source, err := r.deps.Store.Source(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil {
		return nil, err
	}
	settings := source.Value.GetSource().GetSharing()
	print, err := sharing.Fingerprint(settings)
	if err != nil || print == "" {
		return nil, err
	}
	same := func(a, b *ingestv1.LayerFile) bool { return a.GetKey() == b.GetKey() }
	if was := previous.GetShared(); was.GetSettings() == print && maps.EqualFunc(files, previous.GetFiles(), same) && !previous.GetInPart() && len(s.GetRebuild()) == 0 {
		// They may not be read for long, so that this is where damage is found.
		if sound, err := r.sound(ctx, was.GetFiles()); err != nil || sound {
			return was, err
		}
	}
	work, stop := r.follow(ctx, s, nil)
	defer stop()
	out, err := r.shareAll(work, s, settings, files, state.Current(previous))
	if err != nil && work.Err() != nil && ctx.Err() == nil {
		return nil, errMoved
	}
	if err != nil {
		return nil, err
	}
	out.Settings = print
	return out, nil
}

// sound tells whether files are as they were written.
func (r *Runner) sound(ctx context.Context, files map[string]*ingestv1.LayerFile) (bool, error) {
	for _, f := range files {
		if sound, err := layer.Sound(ctx, r.deps.Blobs, f.GetKey(), f.GetChecksum()); err != nil || !sound && f.GetChecksum() != 0 {
			return false, err
		}
	}
	return true, nil
}

func (r *Runner) shareAll(ctx context.Context, s *ingestv1.SyncDocument, settings *ingestv1.Sharing, files map[string]*ingestv1.LayerFile, before state.Files) (*ingestv1.Shared, error) {
	records := Records(ctx, r.deps.Blobs, s.GetSync().GetSource(), files)
	filter, err := sharing.New(settings, records)
	if err != nil {
		return nil, err
	}
	out := &ingestv1.Shared{Files: map[string]*ingestv1.LayerFile{}, Counts: map[string]*ingestv1.SharingCounts{}}
	for _, e := range record.Entities() {
		name := record.EntityName(e)
		if files[name] == nil {
			continue
		}
		counts := &ingestv1.SharingCounts{Kept: int32(files[name].GetRecords())}
		out.Counts[name] = counts
		if !filter.Touches(e) {
			continue
		}
		last := before.In(name)
		if len(s.GetRebuild()) > 0 {
			last = nil // it may be what is damaged
		}
		f, err := r.shareFile(ctx, s, e, files[name].GetMapping(), filter.Apply(records(e), counts), last)
		if err != nil {
			return nil, err
		}
		if counts.GetDropped()+counts.GetChanged() > 0 {
			out.Files[name] = f
		} // else it is shared as it is
	}
	return out, nil
}

// shareFile writes what is shared of an entity. If that is what it was before,
// it returns the file of before.
func (r *Runner) shareFile(ctx context.Context, s *ingestv1.SyncDocument, e typev1.Entity, mapping string, entries iter.Seq2[layer.Entry, error], before *ingestv1.LayerFile) (*ingestv1.LayerFile, error) {
	key := LayerPrefix(s.GetDistrict(), s.GetSync().GetSource()) + s.GetSync().GetSyncId() + "/shared/" + record.EntityName(e)
	f, err := writeLayer(ctx, r.deps.Blobs, key, mapping, before, func(w *layer.Writer) error {
		return layer.WriteChanged(w, readLayer(ctx, r.deps.Blobs, s.GetSync().GetSource(), before, e), entries)
	})
	if err != nil {
		return nil, fmt.Errorf("share %s: %w", record.EntityName(e), err)
	}
	return f, nil
}

// Records yields what a source has in layer files, by entity.
func Records(ctx context.Context, bucket *blob.Bucket, source string, files map[string]*ingestv1.LayerFile) sharing.Records {
	return func(e typev1.Entity) iter.Seq2[layer.Entry, error] {
		return readLayer(ctx, bucket, source, files[record.EntityName(e)], e)
	}
}
