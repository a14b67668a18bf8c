package syncrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/dropbox"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/upload"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
)

// UploadPrefix is where the packages of a source are.
func UploadPrefix(district, source string) string { return "uploads/" + district + "/" + source + "/" }

// pullDir is where a sync pulls to. It outlives a try, so that the next one goes
// on with what is there, and goes when the sync has a package or has ended.
func (r *Runner) pullDir(s *ingestv1.SyncDocument) string {
	return filepath.Join(r.cfg.TempDir, "pull-"+s.GetSync().GetSyncId())
}

// fetch has the source's connector pull a package, and keeps it as an upload is
// kept. What the source was synced from before is taken again if it has nothing
// else.
func (r *Runner) fetch(ctx context.Context, s *ingestv1.SyncDocument) error {
	source, err := r.deps.Store.Source(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil {
		return err
	}
	last, err := r.lastPackage(ctx, s)
	if err != nil {
		return err
	}
	// The last package may be one that was not synced from: a try that died has
	// kept it, for example.
	from, err := r.syncedFrom(ctx, s)
	if err != nil {
		return err
	}
	req := connector.Request{Last: last.GetMark(), Synced: from.GetMark(), Dir: r.pullDir(s)}
	pulled, err := r.callPuller(ctx, s, source.Value, req)
	if err == nil && !pulled.Unchanged && pulled.Skipped > 0 {
		pulled, err = r.inOrder(ctx, s, source.Value, req, pulled)
	}
	var wait *connector.NotReady
	if errors.As(err, &wait) {
		return errors.Join(errLater, r.note(ctx, s, func(d *ingestv1.SyncDocument) {
			d.PullAfter, d.Sync.WaitingFor = timestamppb.New(wait.Until), wait.Reason
		}))
	}
	if err != nil {
		return err
	}
	kept := last
	if !pulled.Unchanged {
		if kept, err = r.keep(ctx, s, source.Value.GetSource(), pulled, last); err != nil {
			return err
		}
	}
	err = r.note(ctx, s, func(d *ingestv1.SyncDocument) {
		d.UploadKey, d.Sync.UploadId = kept.GetKey(), kept.GetUploadId()
		d.PullAfter, d.Sync.WaitingFor, d.Redelivered = nil, "", !pulled.Unchanged
	})
	if err != nil {
		if errors.Is(err, errMoved) && kept != last { // nothing outlives its district
			ctx := context.WithoutCancel(ctx)
			return errors.Join(err, r.drop(ctx, kept))
		}
		return err
	}
	if pulled.Kept != nil {
		if err := pulled.Kept(ctx); err != nil {
			return err
		}
	}
	return os.RemoveAll(r.pullDir(s))
}

// inbox is where files are dropped for a source.
func (r *Runner) inbox(district, source string) *dropbox.Box {
	return &dropbox.Box{Store: r.deps.Store, Blobs: r.deps.Blobs, Now: r.deps.Now, District: district, ID: source, MaxBytes: r.cfg.MaxPackage}
}

// callPuller pulls, with progress written and cancelling noticed meanwhile.
func (r *Runner) callPuller(ctx context.Context, s *ingestv1.SyncDocument, source *ingestv1.SourceDocument, req connector.Request) (*connector.Package, error) {
	puller, ok := catalogue.Puller(source.GetSource().GetConnector())
	if !ok {
		return nil, errs.Errorf(codes.InvalidArgument, "UPLOAD_NEEDED", "the sync has no package, and its source fetches none: upload one")
	}
	secrets, err := r.deps.Secrets.Open(ctx, state.Key(source.GetDistrict(), source.GetSource().GetSourceId()), source.GetSecrets())
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(req.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder to pull to: %w", err)
	}
	var done, total atomic.Int64
	work, stop := r.follow(ctx, s, func(sync *ingestv1.Sync) {
		sync.BytesPulled, sync.BytesToPull = float64(done.Load()), float64(total.Load())
	})
	defer stop()
	req.Settings, req.Secrets = connector.Settings{Struct: source.GetSource().GetSettings()}, secrets
	mapped, err := onerostercsv.MappingOf(source.GetSource())
	if err != nil {
		return nil, err
	}
	req.Known = onerostercsv.Reads(mapped)
	req.Inbox = r.inbox(source.GetDistrict(), source.GetSource().GetSourceId())
	req.MaxBytes, req.Progress, req.Now = r.cfg.MaxPackage, func(d, t int64) { done.Store(d); total.Store(t) }, r.deps.Now
	out, err := puller.Pull(work, req)
	if err != nil && work.Err() != nil && ctx.Err() == nil {
		return nil, errMoved
	}
	stop()
	if t := total.Load(); err == nil && t > 0 {
		err = r.note(ctx, s, func(d *ingestv1.SyncDocument) { d.Sync.BytesPulled, d.Sync.BytesToPull = float64(t), float64(t) })
	}
	return out, err
}

// lastPackage returns what was pulled last; an empty document if there is
// nothing.
func (r *Runner) lastPackage(ctx context.Context, s *ingestv1.SyncDocument) (*ingestv1.UploadDocument, error) {
	docs, _, err := r.deps.Store.Uploads.List(ctx, docstore.Query{Prefix: state.Within(s.GetDistrict(), s.GetSync().GetSource()), Limit: 1, Descending: true})
	if err != nil || len(docs) == 0 {
		return &ingestv1.UploadDocument{}, err
	}
	return docs[0].Value, nil
}

// inOrder has a package pulled that was skipped, if the one behind says only what
// has changed since. The syncs that follow take the others.
func (r *Runner) inOrder(ctx context.Context, s *ingestv1.SyncDocument, source *ingestv1.SourceDocument, req connector.Request, newest *connector.Package) (*connector.Package, error) {
	partial, err := r.partial(source.GetSource(), newest)
	if err != nil || !partial {
		return newest, err
	}
	r.deps.Log.InfoContext(ctx, "packages of changes are taken in their order", "district", s.GetDistrict(), "source", s.GetSync().GetSource(), "waiting", newest.Skipped)
	req.InOrder, req.Dir = true, filepath.Join(req.Dir, "in-order") // each with a checkpoint of its own
	next, err := r.callPuller(ctx, s, source, req)
	if err == nil && next.Skipped > 0 {
		return nil, errs.Errorf(codes.FailedPrecondition, "SFTP_PACKAGE_SKIPPED", "the newest package has only changes, and %d packages before it were not read: send a complete package", next.Skipped)
	}
	return next, err
}

// partial tells whether a package says only what has changed.
func (r *Runner) partial(source *ingestv1.Source, pulled *connector.Package) (_ bool, err error) {
	mapped, err := onerostercsv.MappingOf(source)
	if err != nil {
		return false, err
	}
	p, err := upload.Pack(r.cfg.TempDir, r.cfg.MaxPackage, mapped, pulled.Files)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	plan, err := p.Contents.Plan(onerostercsv.SettingOf(source.GetSettings()), source.GetSourceId(), func(normalise.Kind) bool { return true })
	var faults onerostercsv.Faults
	if errors.As(err, &faults) {
		err = nil // that is said when it is read
	}
	return plan != nil && plan.Partial, err
}

// syncedFrom returns the package that the source's layer is from; an empty
// document if there is none.
func (r *Runner) syncedFrom(ctx context.Context, s *ingestv1.SyncDocument) (*ingestv1.UploadDocument, error) {
	none := &ingestv1.UploadDocument{}
	layer, err := r.deps.Store.Layer(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil || layer.GetSync() == "" {
		return none, err
	}
	before, err := r.deps.Store.Sync(ctx, s.GetDistrict(), layer.GetSync())
	if errors.Is(err, state.ErrSyncNotFound) || err == nil && before.Value.GetSync().GetUploadId() == "" {
		return none, nil
	}
	if err != nil {
		return nil, err
	}
	upload, err := r.deps.Store.Upload(ctx, s.GetDistrict(), s.GetSync().GetSource(), before.Value.GetSync().GetUploadId())
	if errors.Is(err, state.ErrUploadNotFound) {
		return none, nil
	}
	return upload, err
}

// keep packs what was pulled and keeps it, unless it is the same as last.
func (r *Runner) keep(ctx context.Context, s *ingestv1.SyncDocument, from *ingestv1.Source, pulled *connector.Package, last *ingestv1.UploadDocument) (_ *ingestv1.UploadDocument, err error) {
	mapped, err := onerostercsv.MappingOf(from)
	if err != nil {
		return nil, err
	}
	p, err := upload.Pack(r.cfg.TempDir, r.cfg.MaxPackage, mapped, pulled.Files)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	district, source := s.GetDistrict(), s.GetSync().GetSource()
	if last.GetMark() != "" && bytes.Equal(last.GetDigest(), p.Digest) {
		_, err := r.deps.Store.Uploads.Modify(ctx, state.Key(district, source, last.GetUploadId()), func(d *ingestv1.UploadDocument) error {
			d.Mark = pulled.Mark
			return nil
		})
		return last, err
	}
	id := state.NewID()
	doc := &ingestv1.UploadDocument{
		District: district, Source: source, UploadId: id, Files: p.Files, Key: UploadPrefix(district, source) + id + ".zip", Size: p.Size,
		CreateTime: timestamppb.New(r.deps.Now()), Mark: pulled.Mark, Digest: p.Digest,
	}
	if err := p.Save(ctx, r.deps.Blobs, doc.GetKey()); err != nil {
		return nil, err
	}
	if _, err := r.deps.Store.Uploads.Create(ctx, state.Key(district, source, id), doc); err != nil {
		return nil, errors.Join(err, DeleteBlob(context.WithoutCancel(ctx), r.deps.Blobs, doc.GetKey()))
	}
	return doc, nil
}

// drop takes back what keep has kept.
func (r *Runner) drop(ctx context.Context, u *ingestv1.UploadDocument) error {
	err := r.deps.Store.Uploads.Delete(ctx, state.Key(u.GetDistrict(), u.GetSource(), u.GetUploadId()))
	if errors.Is(err, docstore.ErrNotFound) {
		err = nil
	}
	return errors.Join(err, DeleteBlob(ctx, r.deps.Blobs, u.GetKey()))
}

// note writes something about a sync that is being pulled.
func (r *Runner) note(ctx context.Context, s *ingestv1.SyncDocument, change func(*ingestv1.SyncDocument)) error {
	return r.enter(ctx, s, ingestv1.SyncState_PULLING, change, ingestv1.SyncState_PULLING)
}
