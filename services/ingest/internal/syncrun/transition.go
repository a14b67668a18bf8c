package syncrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/securly/sync/proto/gen/securly/sync/event/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/events"
)

// maxTries bounds how often a step is tried that fails for a reason that does
// not go away by waiting.
const maxTries = 5

// keptUploads is how many packages of a source are kept.
const keptUploads = 10

// Enter moves a sync from one of some states to another and writes the times.
// It is the only way a state changes. errMoved: it is in none of them.
func Enter(s *ingestv1.Sync, now time.Time, to ingestv1.SyncState, from ...ingestv1.SyncState) error {
	at := timestamppb.New(now)
	ok := false
	for _, f := range from {
		ok = ok || s.GetState() == f
	}
	if !ok {
		return errMoved
	}
	last := len(s.GetSteps()) - 1
	if last >= 0 && s.GetSteps()[last].GetState() == to {
		return nil // once more
	}
	if last >= 0 && s.GetSteps()[last].GetEndTime() == nil {
		s.Steps[last].EndTime = at
	}
	s.State, s.WaitingFor = to, ""
	if state.Final(to) {
		s.EndTime = at
		return nil
	}
	s.Steps = append(s.Steps, &ingestv1.SyncStep{State: to, StartTime: at})
	return nil
}

// IsMoved tells whether Enter found the sync in another state.
func IsMoved(err error) bool { return errors.Is(err, errMoved) }

// enter is Enter on the document, with other changes in the same write.
func (r *Runner) enter(ctx context.Context, s *ingestv1.SyncDocument, to ingestv1.SyncState, change func(*ingestv1.SyncDocument), from ...ingestv1.SyncState) error {
	doc, err := r.deps.Store.Syncs.Modify(ctx, state.Key(s.GetDistrict(), s.GetSync().GetSyncId()), func(d *ingestv1.SyncDocument) error {
		was := d.GetSync().GetState()
		if err := Enter(d.GetSync(), r.deps.Now(), to, from...); err != nil {
			return err
		}
		// Only what gets further counts: a step that is begun again has failed.
		if was < to && to >= ingestv1.SyncState_PLANNING {
			d.Tries = 0
		}
		if change != nil {
			change(d)
		}
		return nil
	})
	if errors.Is(err, docstore.ErrNotFound) {
		return errMoved // the district was deleted
	}
	if err != nil {
		return err
	}
	r.deps.Log.InfoContext(ctx, "sync", "district", s.GetDistrict(), "source", s.GetSync().GetSource(), "sync", s.GetSync().GetSyncId(), "state", to.String())
	proto.Reset(s)
	proto.Merge(s, doc.Value)
	return nil
}

// failed decides about an error of a step: try again later, or give up. It
// returns nil when the sync has failed for good.
func (r *Runner) failed(ctx context.Context, s *ingestv1.SyncDocument, cause error) error {
	now := s.GetSync().GetState()
	var faults onerostercsv.Faults
	text := "internal error: the sync was tried several times; sync again, and tell support the sync's id if it fails again"
	reason := ""
	var known *errs.Error
	var damage *layer.Damage
	switch {
	case errors.As(cause, &damage):
		source := cmp.Or(damage.Source, s.GetSync().GetSource())
		r.deps.Log.ErrorContext(ctx, "damaged layer", "district", s.GetDistrict(), "source", source, "sync", s.GetSync().GetSyncId(), "error", cause)
		if source == s.GetSync().GetSource() && !slices.Contains(s.GetRebuild(), damage.Entity) {
			// The package may have all that the file had.
			err := r.enter(ctx, s, ingestv1.SyncState_QUEUED, func(d *ingestv1.SyncDocument) { d.Rebuild = append(d.Rebuild, damage.Entity) }, now)
			if errors.Is(err, errMoved) {
				return nil
			}
			return err
		}
		text = fmt.Sprintf("what is stored of the %s of source %s is damaged: upload a complete package to source %s, with every file it has ever sent as bulk, and sync it", damage.Entity, source, source)
	case errors.As(cause, &faults):
		text, reason = faults.Error(), faults[0].Code
	case errors.As(cause, &known) && final(known, now), errors.Is(cause, state.ErrSourceNotFound):
		text, reason = cause.Error(), known.Reason
	case now == ingestv1.SyncState_COMMITTING, transient(cause) && !errors.Is(cause, connector.ErrUnreachable):
		return cause
	default:
		doc, err := r.deps.Store.Syncs.Modify(ctx, state.Key(s.GetDistrict(), s.GetSync().GetSyncId()), func(d *ingestv1.SyncDocument) error {
			d.Tries++
			return nil
		})
		if err != nil || doc.Value.GetTries() < maxTries {
			return errors.Join(cause, err)
		}
		if errors.Is(cause, connector.ErrUnreachable) {
			text, reason = cause.Error(), connector.ErrUnreachable.Reason
		}
		r.deps.Log.ErrorContext(ctx, "sync given up", "district", s.GetDistrict(), "sync", s.GetSync().GetSyncId(), "error", cause)
	}
	err := r.enter(ctx, s, ingestv1.SyncState_FAILED, func(d *ingestv1.SyncDocument) { d.Sync.Error, d.Sync.ErrorReason = text, reason }, now)
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

// final errors do not go away by trying again: a person has to act.
func final(err *errs.Error, now ingestv1.SyncState) bool {
	return err.Code == codes.InvalidArgument || err.Code == codes.FailedPrecondition && now == ingestv1.SyncState_PULLING
}

// transient errors go away by waiting.
func transient(err error) bool {
	var e *errs.Error
	if errors.As(err, &e) {
		switch e.Code {
		case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.ResourceExhausted, codes.Canceled:
			return true
		}
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, state.ErrLeaseLost)
}

// settle does what is left to do for a sync that has ended, and then takes it
// off the list of open ones. All of it may be repeated.
func (r *Runner) settle(ctx context.Context, s *ingestv1.SyncDocument) error {
	district, id := s.GetDistrict(), s.GetSync().GetSyncId()
	unused := []string{s.GetPlan(), partOf(s)}
	if s.GetSync().GetState() == ingestv1.SyncState_COMPLETED {
		unused = slices.DeleteFunc(unused, func(plan string) bool { return plan == PlanOf(s) })
	}
	if err := r.discardPlans(ctx, district, unused...); err != nil {
		return err
	}
	if err := os.RemoveAll(r.pullDir(s)); err != nil {
		return fmt.Errorf("delete what was pulled: %w", err)
	}
	if err := r.noteInput(ctx, s); err != nil {
		return err
	}
	if err := r.tidyDryRun(ctx, s); err != nil {
		return err
	}
	if err := r.tidyLayers(ctx, district, s.GetSync().GetSource(), id); err != nil {
		return err
	}
	if err := TidyUploads(ctx, r.deps.Store, r.deps.Blobs, district, s.GetSync().GetSource()); err != nil {
		return err
	}
	if err := r.settleRemoval(ctx, s); err != nil {
		return err
	}
	if err := r.announce(ctx, s); err != nil {
		return err
	}
	err := r.deps.Store.Open.Delete(ctx, state.Key(district, id))
	if errors.Is(err, docstore.ErrNotFound) {
		return nil
	}
	return err
}

// discardPlans drops plans that are no longer needed; the names may be empty.
func (r *Runner) discardPlans(ctx context.Context, district string, plans ...string) error {
	return discardPlans(ctx, r.deps.Roster, district, plans...)
}

func discardPlans(ctx context.Context, roster rosterv1.RosterServiceClient, district string, plans ...string) error {
	for _, plan := range plans {
		if plan == "" {
			continue
		}
		_, err := roster.DiscardPlan(ctx, &rosterv1.DiscardPlanRequest{District: district, Plan: plan})
		var known *errs.Error
		gone := errors.As(err, &known) && (known.Code == codes.NotFound || known.Code == codes.FailedPrecondition)
		if err != nil && !gone {
			return fmt.Errorf("discard plan: %w", err)
		}
	}
	return nil
}

// tidyDryRun drops the plan of a source's last dry run when a newer sync of it
// has ended: it can be looked at until then.
func (r *Runner) tidyDryRun(ctx context.Context, s *ingestv1.SyncDocument) error {
	district, id := s.GetDistrict(), s.GetSync().GetSyncId()
	source, err := r.deps.Store.Source(ctx, district, s.GetSync().GetSource())
	if errors.Is(err, state.ErrSourceNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	next := ""
	if s.GetSync().GetDryRun() && s.GetSync().GetState() == ingestv1.SyncState_COMPLETED {
		next = id
	}
	if source.Value.GetDryRun() >= id {
		return nil
	}
	return KeepDryRun(ctx, r.deps.Store, r.deps.Roster, source, next)
}

// KeepDryRun makes a sync, or none, the dry run of a source whose plan can be
// looked at, and drops the plan of the one before.
func KeepDryRun(ctx context.Context, store *state.Store, roster rosterv1.RosterServiceClient, source docstore.Doc[*ingestv1.SourceDocument], next string) error {
	district, last := source.Value.GetDistrict(), source.Value.GetDryRun()
	if last == next {
		return nil
	}
	if last != "" {
		doc, err := store.Syncs.Get(ctx, state.Key(district, last))
		if err == nil {
			err = discardPlans(ctx, roster, district, doc.Value.GetPlan())
		}
		if err := docstore.IgnoreNotFound(err); err != nil {
			return err
		}
	}
	_, err := store.Sources.Modify(ctx, source.ID, func(d *ingestv1.SourceDocument) error {
		d.DryRun = next
		return nil
	})
	return docstore.IgnoreNotFound(err)
}

// announce publishes sync-ended once for the state that the sync is in.
func (r *Runner) announce(ctx context.Context, s *ingestv1.SyncDocument) error {
	district, sync := s.GetDistrict(), s.GetSync()
	if s.GetAnnounced() == sync.GetState() {
		return nil
	}
	err := r.deps.Bus.Publish(ctx, events.Subject("ingest", district, "sync-ended"), state.Key("sync-ended", district, sync.GetSyncId(), sync.GetState().String()),
		&eventv1.SyncEnded{District: district, Source: sync.GetSource(), Sync: sync.GetSyncId(), State: sync.GetState().String()})
	if err != nil {
		return err
	}
	_, err = r.deps.Store.Syncs.Modify(ctx, state.Key(district, sync.GetSyncId()), func(d *ingestv1.SyncDocument) error {
		d.Announced = sync.GetState()
		return nil
	})
	if errors.Is(err, docstore.ErrNotFound) {
		return nil
	}
	return err
}

// tidyLayers deletes the layer files of a source that neither its current layer
// nor an open sync needs. The caller holds the lease of the source.
func (r *Runner) tidyLayers(ctx context.Context, district, source, ended string) error {
	needed := map[string]bool{}
	current, err := r.deps.Store.Layer(ctx, district, source)
	if err != nil {
		return err
	}
	keep := func(files state.Files) {
		for _, f := range files.All() {
			needed[f.GetKey()], needed[layer.MarksKey(f.GetKey())] = true, true
		}
	}
	keep(state.Current(current))
	open, err := r.open(ctx, district, source)
	if err != nil {
		return err
	}
	for _, o := range open {
		if o.GetSync() == ended {
			continue
		}
		doc, err := r.deps.Store.Sync(ctx, district, o.GetSync())
		if errors.Is(err, state.ErrSyncNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		keep(state.Made(doc.Value))
		for _, f := range state.Made(doc.Value).All() {
			needed[layer.ChangesKey(f.GetKey())] = true
		}
	}
	return DeleteBlobs(ctx, r.deps.Blobs, LayerPrefix(district, source), func(key string) bool { return !needed[key] })
}

// TidyUploads deletes old packages of a source that no open sync needs.
func TidyUploads(ctx context.Context, store *state.Store, bucket *blob.Bucket, district, source string) error {
	docs, _, err := store.Uploads.List(ctx, docstore.Query{Prefix: state.Within(district, source), Descending: true, Limit: 1000})
	if err != nil || len(docs) <= keptUploads {
		return err
	}
	return deleteUploads(ctx, store, bucket, district, docs[keptUploads:])
}

// LayerPrefix is where the layer files of a source are.
func LayerPrefix(district, source string) string { return "layers/" + district + "/" + source + "/" }

// FindingsKey is where the findings of a sync are.
func FindingsKey(district, sync string) string { return "findings/" + district + "/" + sync }

// DeleteBlob deletes a blob that may be gone already.
func DeleteBlob(ctx context.Context, bucket *blob.Bucket, key string) error {
	if err := bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// DeleteBlobs deletes the blobs under a prefix that which picks.
func DeleteBlobs(ctx context.Context, bucket *blob.Bucket, prefix string, which func(key string) bool) error {
	for obj, err := range blobs(ctx, bucket, prefix) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		if which(obj) {
			if err := DeleteBlob(ctx, bucket, obj); err != nil {
				return err
			}
		}
	}
	return nil
}

func blobs(ctx context.Context, bucket *blob.Bucket, prefix string) func(func(string, error) bool) {
	return func(yield func(string, error) bool) {
		all, done := bucket.List(&blob.ListOptions{Prefix: prefix}).All(ctx)
		for obj := range all {
			if !yield(obj.Key, nil) {
				return
			}
		}
		if err := done(); err != nil {
			yield("", err)
		}
	}
}

// TraceParent returns the trace context of ctx, to be kept with a sync.
func TraceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// withTrace puts a sync's steps into the trace of the request that started it.
func withTrace(ctx context.Context, store *state.Store, district, id string) context.Context {
	doc, err := store.Sync(ctx, district, id)
	if err != nil || doc.Value.GetTraceParent() == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": doc.Value.GetTraceParent()})
}

func (r *Runner) span(ctx context.Context, s *ingestv1.SyncDocument) (context.Context, trace.Span) {
	return r.tracer.Start(ctx, "sync from "+s.GetSync().GetState().String(), trace.WithAttributes(
		attribute.String("securly.district", s.GetDistrict()),
		attribute.String("securly.source", s.GetSync().GetSource()),
		attribute.String("securly.sync", s.GetSync().GetSyncId()),
	))
}

func endSpan(span trace.Span, err error) {
	if err != nil && !errors.Is(err, errLater) && !errors.Is(err, errMoved) {
		span.RecordError(err)
		span.SetStatus(otelcodes.Error, "failed")
	}
	span.End()
}
