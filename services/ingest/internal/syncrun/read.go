package syncrun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"gocloud.dev/gcerrors"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/ingest/internal/pipeline"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

// read takes a sync from QUEUED to PLANNING: it pulls the package to a local
// snapshot and makes layer files of it. A sync that a runner left half way is
// read from the beginning.
func (r *Runner) read(ctx context.Context, s *ingestv1.SyncDocument) (err error) {
	if s.GetSync().GetRemovesSource() {
		return r.readRemoval(ctx, s)
	}
	if s.GetSync().GetRemerge() {
		return r.remerge(ctx, s)
	}
	if after := s.GetPullAfter(); after != nil && r.deps.Now().Before(after.AsTime()) {
		return errLater
	}
	err = r.enter(ctx, s, ingestv1.SyncState_PULLING, func(d *ingestv1.SyncDocument) { d.Sync.RowsRead = 0 },
		ingestv1.SyncState_QUEUED, ingestv1.SyncState_PULLING, ingestv1.SyncState_NORMALISING)
	if err == nil {
		err = r.refuseStopped(ctx, s)
	}
	if err != nil {
		return err
	}
	source, err := r.deps.Store.Source(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil {
		return err
	}
	if catalogue.Manual(source.Value.GetSource().GetConnector()) {
		return r.readEntries(ctx, s)
	}
	dir, err := os.MkdirTemp(r.cfg.TempDir, "sync-*")
	if err != nil {
		return fmt.Errorf("make a folder for the snapshot: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if s.GetUploadKey() == "" {
		if err := r.fetch(ctx, s); err != nil {
			return err
		}
	}
	snapshot, err := r.pull(ctx, s, filepath.Join(dir, "package"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	from, err := r.syncedFrom(ctx, s)
	if err != nil {
		return err
	}
	err = r.enter(ctx, s, ingestv1.SyncState_NORMALISING, func(d *ingestv1.SyncDocument) {
		if d.GetSync().GetAppliedPart() == nil { // else that is from this package
			d.Sync.UnchangedInput = d.GetSync().GetUploadId() == from.GetUploadId()
		}
	}, ingestv1.SyncState_PULLING)
	if err != nil {
		return err
	}
	return r.normalise(ctx, s, snapshot, dir)
}

// pull copies the package, so that what is read cannot change and can be read
// at any place.
func (r *Runner) pull(ctx context.Context, s *ingestv1.SyncDocument, path string) (_ *os.File, err error) {
	in, err := r.deps.Blobs.NewReader(ctx, s.GetUploadKey(), nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, errs.New(codes.InvalidArgument, "UPLOAD_GONE", "the uploaded package is no longer kept: upload it again")
	}
	if err != nil {
		return nil, fmt.Errorf("open upload: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write snapshot: %w", err)
	}
	if _, err := in.WriteTo(f); err != nil {
		return nil, errors.Join(fmt.Errorf("write snapshot: %w", err), f.Close())
	}
	return f, nil
}

func (r *Runner) normalise(ctx context.Context, s *ingestv1.SyncDocument, snapshot *os.File, dir string) error {
	district, sync := s.GetDistrict(), s.GetSync()
	info, err := snapshot.Stat()
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	source, err := r.deps.Store.Source(ctx, district, sync.GetSource())
	if err != nil {
		return err
	}
	mapped, err := onerostercsv.MappingOf(source.Value.GetSource())
	if err != nil {
		return err
	}
	contents, err := onerostercsv.Inspect(snapshot, info.Size(), onerostercsv.AcceptedLimits(), mapped)
	if err != nil {
		return err
	}
	if g := source.Value.GetSource().GetGuardians(); g != nil {
		return r.matchGuardians(ctx, s, g, contents, dir)
	}
	setting := onerostercsv.SettingOf(source.Value.GetSource().GetSettings())
	previous, err := r.deps.Store.Layer(ctx, district, sync.GetSource())
	if err != nil {
		return err
	}
	plan, err := contents.Plan(setting, sync.GetSource(), func(k normalise.Kind) bool {
		return previous.GetFiles()[record.EntityName(pipeline.EntityOf(k))] != nil
	})
	if err != nil {
		return r.faulty(ctx, s, plan, err)
	}
	if plan.Partial {
		if held, err := r.held(ctx, s); err != nil || held != "" {
			return errors.Join(err, r.await(ctx, s, held))
		}
	}
	var rows atomic.Int64
	expected := int32(0)
	if last, err := r.deps.Store.Sync(ctx, district, previous.GetSync()); err == nil {
		expected = last.Value.GetSync().GetRowsRead()
	}
	work, stop := r.follow(ctx, s, func(sync *ingestv1.Sync) { sync.RowsRead, sync.RowsExpected = int32(rows.Load()), expected })
	defer stop()
	out, err := pipeline.Run(work, pipeline.Input{
		Plan: plan, Bucket: r.deps.Blobs, Prefix: LayerPrefix(district, sync.GetSource()) + sync.GetSyncId() + "/",
		Previous: previous.GetFiles(), Rebuild: s.GetRebuild(), TempDir: dir, Rows: func(n int) { rows.Add(int64(n)) },
	})
	if err != nil {
		if work.Err() != nil && ctx.Err() == nil {
			return errMoved
		}
		return r.faulty(ctx, s, plan, err)
	}
	stop()
	if err := r.keepErased(ctx, s, out.Layer); err != nil {
		return err
	}
	shared, err := r.share(ctx, s, out.Layer, previous)
	if err != nil {
		return err
	}
	kept, total, err := r.saveFindings(ctx, s, plan, nil)
	if err != nil {
		return err
	}
	return r.enter(ctx, s, ingestv1.SyncState_PLANNING, func(d *ingestv1.SyncDocument) {
		d.Layer, d.Base, d.Partial = out.Layer, baseOf(previous), plan.Partial
		d.Shared, d.Sync.Shared = shared, shared.GetCounts()
		d.FindingsKey, d.FindingsKept = FindingsKey(district, sync.GetSyncId()), int32(kept)
		d.Sync.FindingsCount = int32(total)
		d.Sync.RowsRead = int32(rows.Load())
		d.Sync.Counts = map[string]*ingestv1.EntityCounts{}
		for _, e := range record.Entities() {
			name := record.EntityName(e)
			c := out.Counts[name]
			d.Sync.Counts[name] = &ingestv1.EntityCounts{Received: int32(c.Received), Rejected: int32(c.Rejected)}
		}
	}, ingestv1.SyncState_NORMALISING)
}

// faulty keeps the findings of a package that cannot be taken, and passes the
// error on.
func (r *Runner) faulty(ctx context.Context, s *ingestv1.SyncDocument, plan *onerostercsv.Plan, cause error) error {
	var faults onerostercsv.Faults
	if !errors.As(cause, &faults) {
		return cause
	}
	kept, total, err := r.saveFindings(ctx, s, plan, faults)
	if err != nil {
		return errors.Join(err, context.Cause(ctx)) // a fault is said again at the next try
	}
	_, err = r.deps.Store.Syncs.Modify(ctx, state.Key(s.GetDistrict(), s.GetSync().GetSyncId()), func(d *ingestv1.SyncDocument) error {
		d.FindingsKey, d.FindingsKept = FindingsKey(s.GetDistrict(), s.GetSync().GetSyncId()), int32(kept)
		d.Sync.FindingsCount = int32(total)
		return nil
	})
	if err != nil {
		return err
	}
	return cause
}

func (r *Runner) saveFindings(ctx context.Context, s *ingestv1.SyncDocument, plan *onerostercsv.Plan, faults onerostercsv.Faults) (kept, total int, err error) {
	findings := faults.Findings()
	total = len(findings)
	if plan != nil {
		more, n := pipeline.Findings(plan)
		findings = append(findings, more...)
		total += n
	}
	err = finding.Save(ctx, r.deps.Blobs, FindingsKey(s.GetDistrict(), s.GetSync().GetSyncId()), findings)
	return len(findings), total, err
}

// follow writes the progress of a step from time to time and ends the context
// it returns when the sync was moved on by someone else, cancelled for example.
func (r *Runner) follow(ctx context.Context, s *ingestv1.SyncDocument, progress func(*ingestv1.Sync)) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var done sync.WaitGroup
	now := s.GetSync().GetState()
	key := state.Key(s.GetDistrict(), s.GetSync().GetSyncId())
	done.Go(func() {
		tick := time.NewTicker(r.cfg.Progress)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			_, err := r.deps.Store.Syncs.Modify(ctx, key, func(d *ingestv1.SyncDocument) error {
				if d.GetSync().GetState() != now {
					return errMoved
				}
				if progress != nil {
					progress(d.GetSync())
				}
				return nil
			})
			if errors.Is(err, errMoved) || errors.Is(err, state.ErrSyncNotFound) {
				cancel(errMoved)
				return
			}
		}
	})
	return ctx, func() {
		cancel(nil)
		done.Wait()
	}
}
