// Package syncrun carries syncs through their states: pull, normalise, plan,
// commit. A sync is a document, and each step ends with a write to it, so that
// a runner that dies leaves something another one can go on with: reading and
// planning start over, a commit is repeated. Events only wake a runner; what
// there is to do is in the documents.
package syncrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/sealed"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/events"
)

// Config of a Runner.
type Config struct {
	// Concurrency is how many sources are synced at the same time.
	Concurrency int
	// Sweep is how often the documents are searched for work that no event told of.
	Sweep time.Duration
	// Progress is how often rows_read is written and cancelling is noticed.
	Progress time.Duration
	// Patience is how long an erasure waits for syncs that are under way.
	Patience time.Duration
	// TempDir is for this runner alone.
	TempDir string
	// MaxPackage bounds what is pulled, in bytes.
	MaxPackage int64
}

// Deps of a Runner.
type Deps struct {
	Store  *state.Store
	Leases *state.Leases
	Roster rosterv1.RosterServiceClient
	// Readiness knows the rollover windows.
	Readiness readinessv1.ReadinessServiceClient
	// RosterUpkeep and ReadinessUpkeep are told when a person is erased.
	RosterUpkeep    rosterv1.UpkeepServiceClient
	ReadinessUpkeep readinessv1.UpkeepServiceClient
	Bus             *events.Bus
	Blobs           *blob.Bucket
	// Secrets opens the secrets of sources.
	Secrets *sealed.Sealer
	Log     *slog.Logger
	Now     func() time.Time
}

// Runner runs the syncs of all districts, together with other replicas.
type Runner struct {
	cfg    Config
	deps   Deps
	tracer trace.Tracer
	wake   chan struct{}

	mu      sync.Mutex
	working map[string]bool // sources, by state.Key
}

// New returns a runner that has started nothing.
func New(cfg Config, deps Deps) *Runner {
	return &Runner{
		cfg: cfg, deps: deps, wake: make(chan struct{}, 1), working: map[string]bool{},
		tracer: otel.Tracer("github.com/securly/sync/services/ingest"),
	}
}

// Run works until ctx ends.
func (r *Runner) Run(ctx context.Context) error {
	if err := os.MkdirAll(r.cfg.TempDir, 0o700); err != nil {
		return fmt.Errorf("make the folder for temporary files: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := r.deps.Bus.Consume(ctx, events.Consumer{
			Durable: "ingest-runner", Filter: events.Subject("ingest", "*", "sync-queued"),
		}, func(context.Context, string, []byte) error {
			r.Wake()
			return nil
		})
		if ctx.Err() == nil {
			return err
		}
		return nil // told to stop, perhaps while it began
	})
	group.Go(func() error { return r.sweep(ctx) })
	group.Go(func() error { return r.Erasures(ctx) })
	return group.Wait()
}

// Wake has the documents searched for work soon.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Runner) sweep(ctx context.Context) error {
	workers := errgroup.Group{}
	workers.SetLimit(r.cfg.Concurrency)
	defer func() { _ = workers.Wait() }() // they return nil
	tick := time.NewTicker(r.cfg.Sweep)
	defer tick.Stop()
	for {
		if err := r.start(ctx, &workers); err != nil && ctx.Err() == nil {
			r.deps.Log.ErrorContext(ctx, "search for syncs to run", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.wake:
		}
	}
}

// start has a worker look after each source that has open syncs, as far as
// there are workers.
func (r *Runner) start(ctx context.Context, workers *errgroup.Group) error {
	type source struct{ district, source string }
	seen := map[source]bool{}
	for doc, err := range r.deps.Store.Open.All(ctx, "") {
		if err != nil {
			return err
		}
		s := source{doc.Value.GetDistrict(), doc.Value.GetSource()}
		if seen[s] {
			continue
		}
		seen[s] = true
		key := state.Key(s.district, s.source)
		if !r.claim(key) {
			continue
		}
		started := workers.TryGo(func() error {
			again := r.source(ctx, s.district, s.source)
			r.unclaim(key)
			if again {
				r.Wake() // others may have waited for this worker or its leases
			}
			return nil
		})
		if !started {
			r.unclaim(key)
			return nil
		}
	}
	return nil
}

// claim keeps two workers of this process from waiting for each other's lease.
func (r *Runner) claim(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.working[key] {
		return false
	}
	r.working[key] = true
	return true
}

func (r *Runner) unclaim(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.working, key)
}

// What a step may end with beside success.
var (
	// errLater: go on at a later sweep.
	errLater = errors.New("not now")
	// errMoved: the sync is in another state than this worker put it in.
	errMoved = errors.New("the sync was moved on by someone else")
)

// source runs the open syncs of one source in their order. It tells whether it
// got something done.
func (r *Runner) source(ctx context.Context, district, source string) (progress bool) {
	log := r.deps.Log.With("district", district, "source", source)
	lease, err := r.deps.Leases.Acquire(ctx, state.SourceLease(district, source))
	if err != nil {
		if !errors.Is(err, state.ErrBusy) && ctx.Err() == nil {
			log.ErrorContext(ctx, "claim source", "error", err)
		}
		return false
	}
	ctx, stop := lease.Keep(ctx)
	defer func() {
		stop()
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			log.WarnContext(ctx, "release source", "error", err)
		}
	}()
	open, err := r.open(ctx, district, source)
	if err != nil {
		log.ErrorContext(ctx, "list open syncs", "error", err)
		return false
	}
	for _, doc := range open {
		moved, err := r.advance(ctx, doc)
		progress = progress || moved
		if err == nil {
			continue
		}
		if ctx.Err() == nil && !errors.Is(err, errLater) {
			log.WarnContext(ctx, "sync waits for another try", "sync", doc.GetSync(), "error", err)
		}
		return progress // those behind it wait for their turn
	}
	return progress
}

// open lists the open syncs of a source, or of all sources of a district.
func (r *Runner) open(ctx context.Context, district, source string) ([]*ingestv1.OpenSyncDocument, error) {
	var out []*ingestv1.OpenSyncDocument
	for doc, err := range r.deps.Store.Open.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, err
		}
		if source == "" || doc.Value.GetSource() == source {
			out = append(out, doc.Value)
		}
	}
	return out, nil
}

// advance takes a sync as far as it goes.
func (r *Runner) advance(ctx context.Context, open *ingestv1.OpenSyncDocument) (progress bool, err error) {
	district, id := open.GetDistrict(), open.GetSync()
	defer func() { err = errors.Join(err, r.forget(context.WithoutCancel(ctx), open)) }()
	ctx = withTrace(ctx, r.deps.Store, district, id)
	for {
		doc, err := r.deps.Store.Sync(ctx, district, id)
		if errors.Is(err, state.ErrSyncNotFound) {
			return false, nil
		}
		if err != nil {
			return progress, err
		}
		s := doc.Value
		now := s.GetSync().GetState()
		switch {
		case state.Final(now):
			err := r.settle(ctx, s)
			return err == nil, err
		case now == ingestv1.SyncState_ON_HOLD:
			return progress, r.announce(ctx, s)
		case now == ingestv1.SyncState_QUEUED && s.GetPartial():
			if held, err := r.held(ctx, s); err != nil || held != "" {
				return progress, err
			}
		}
		stepCtx, span := r.span(ctx, s)
		err = r.step(stepCtx, s)
		endSpan(span, err)
		switch {
		case err == nil, errors.Is(err, errMoved):
			progress = true
		case errors.Is(err, errLater), ctx.Err() != nil:
			return progress, err
		default:
			if err := r.failed(ctx, s, err); err != nil {
				return progress, err
			}
			progress = true
		}
	}
}

// forget removes what there is of a sync that is not there itself: it was never
// written, or its district was erased while a runner was at it.
func (r *Runner) forget(ctx context.Context, open *ingestv1.OpenSyncDocument) error {
	district, source, id := open.GetDistrict(), open.GetSource(), open.GetSync()
	if _, err := r.deps.Store.Sync(ctx, district, id); !errors.Is(err, state.ErrSyncNotFound) {
		return err
	}
	if doc, err := r.deps.Store.Layers.Get(ctx, state.Key(district, source)); err == nil && doc.Value.GetSync() == id {
		if err := r.deps.Store.Layers.DeleteVersion(ctx, doc); err != nil && !errors.Is(err, docstore.ErrNotFound) {
			return err
		}
	}
	err := errors.Join(
		DeleteBlobs(ctx, r.deps.Blobs, LayerPrefix(district, source)+id+"/", func(string) bool { return true }),
		DeleteBlob(ctx, r.deps.Blobs, FindingsKey(district, id)),
	)
	if err != nil {
		return err
	}
	if r.deps.Now().Sub(open.GetCreateTime().AsTime()) < time.Minute {
		return nil // it may be about to be written
	}
	err = r.deps.Store.Open.Delete(ctx, state.Key(district, id))
	if errors.Is(err, docstore.ErrNotFound) {
		return nil
	}
	return err
}

func (r *Runner) step(ctx context.Context, s *ingestv1.SyncDocument) error {
	switch s.GetSync().GetState() {
	case ingestv1.SyncState_PLANNING:
		return r.plan(ctx, s)
	case ingestv1.SyncState_COMMITTING:
		return r.commit(ctx, s)
	default: // what was read by a runner that died is gone with it
		return r.read(ctx, s)
	}
}
