package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// RunnerConfig bounds the work of a Runner.
type RunnerConfig struct {
	// Workers is how many reports are made at a time, of different districts.
	Workers int
	// Sweep is how often the queue is looked at without being woken.
	Sweep time.Duration
	// Lease is how long a silent engine keeps its claim to a report.
	Lease time.Duration
	// Attempts is how often a report is tried before it fails.
	Attempts int
	// Retry is the pause before the second attempt; it doubles with each.
	Retry time.Duration
	// Retain is how long a report is kept of a district that does not say how
	// long its history is, and Newest how many of any district at the most. The
	// newest one always stays.
	Retain time.Duration
	Newest int
}

// Runner makes the reports that wait in the queue.
type Runner struct {
	cfg     RunnerConfig
	reports *Reports
	cache   *replica.Cache
	log     *slog.Logger
	now     func() time.Time

	wake chan struct{}

	mu       sync.Mutex
	busy     map[string]bool  // districts with a report under way, one at a time each
	editions map[string]int32 // of the replicas in cache

	served map[string]uint64 // the turn in which a district that waits was served last
	turn   uint64

	started time.Time // what was completed since, this version of the checks has made
}

// NewRunner returns a Runner; Run starts it.
func NewRunner(cfg RunnerConfig, reports *Reports, cache *replica.Cache, log *slog.Logger, now func() time.Time) *Runner {
	return &Runner{
		cfg: cfg, reports: reports, cache: cache, log: log, now: now,
		wake: make(chan struct{}, 1), busy: map[string]bool{}, editions: map[string]int32{}, served: map[string]uint64{}, started: now(),
	}
}

// queued is an entry of the queue.
type queued = docstore.Doc[*readinessv1.QueuedReport]

// Wake makes the Runner look at the queue soon.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // It will look anyway.
	}
}

// Run works until ctx ends, and returns when no work is left under way.
func (r *Runner) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	for {
		next, err := r.dispatch(ctx, &workers)
		if err != nil && ctx.Err() == nil {
			r.log.ErrorContext(ctx, "readiness: cannot read the queue, trying again", "error", err)
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-r.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// dispatch starts a worker for each queued report that can be made now, and
// returns when to look again. Districts take turns: a report of the district
// that was served longest ago comes first, and a district that queues much takes
// one worker.
func (r *Runner) dispatch(ctx context.Context, workers *sync.WaitGroup) (next time.Duration, err error) {
	next = r.cfg.Sweep
	if r.full() {
		return next, nil // The worker that ends next has the queue looked at.
	}
	queues, err := r.waiting(ctx)
	if err != nil {
		return next, err
	}
	for _, queue := range queues {
		district := queue[0].Value.GetDistrict()
		if free, full := r.begin(district); full {
			return next, nil
		} else if !free {
			continue
		}
		started, wait, err := r.startFirst(ctx, workers, queue)
		if err != nil || !started {
			r.finish(district)
			next = min(next, max(wait, time.Millisecond))
		}
		if err != nil {
			return next, err
		}
	}
	return next, nil
}

// startFirst starts a worker for the first report of a district that can be made
// now. If there is none, it says how long to wait for one.
func (r *Runner) startFirst(ctx context.Context, workers *sync.WaitGroup, queue []queued) (started bool, wait time.Duration, err error) {
	wait = r.cfg.Sweep
	for _, q := range queue {
		lease, left, err := r.claim(ctx, q.Value)
		if err != nil {
			return false, wait, err
		}
		if lease == nil {
			wait = min(wait, left)
			continue
		}
		workers.Go(func() {
			defer r.Wake() // The district or the worker may have more to do.
			defer r.finish(q.Value.GetDistrict())
			r.work(ctx, q, *lease)
		})
		return true, 0, nil
	}
	return false, wait, nil
}

// waiting returns the queued reports of each district, oldest first, and the
// districts in the order of their turns.
func (r *Runner) waiting(ctx context.Context) ([][]queued, error) {
	var queues [][]queued
	at := map[string]int{}
	for doc, err := range r.reports.queue.All(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("read the queue: %w", err)
		}
		i, ok := at[doc.Value.GetDistrict()]
		if !ok {
			i = len(queues)
			at[doc.Value.GetDistrict()] = i
			queues = append(queues, nil)
		}
		queues[i] = append(queues[i], doc)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.served, func(district string, _ uint64) bool {
		_, waits := at[district]
		return !waits && !r.busy[district]
	})
	slices.SortStableFunc(queues, func(a, b []queued) int {
		return cmp.Compare(r.served[a[0].Value.GetDistrict()], r.served[b[0].Value.GetDistrict()])
	})
	return queues, nil
}

func (r *Runner) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.busy) >= r.cfg.Workers
}

func (r *Runner) begin(district string) (free, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.busy) >= r.cfg.Workers {
		return false, true
	}
	if r.busy[district] {
		return false, false
	}
	r.busy[district] = true
	return true, false
}

func (r *Runner) finish(district string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, district)
	r.turn++
	r.served[district] = r.turn
}

// claim starts the next attempt at a report; no lease means that another engine
// is at it, or that the next attempt has to wait.
func (r *Runner) claim(ctx context.Context, q *readinessv1.QueuedReport) (lease *docstore.Doc[*readinessv1.ReportLease], wait time.Duration, err error) {
	attempt := int32(0)
	for doc, err := range r.reports.leases.All(ctx, q.GetDistrict()+"/"+q.GetReportId()+"/") {
		if err != nil {
			return nil, 0, err
		}
		attempt = max(attempt, doc.Value.GetAttempt())
		if left := doc.Value.GetExpireTime().AsTime().Sub(r.now()); left > 0 {
			return nil, left, nil
		}
	}
	attempt++
	doc, err := r.reports.leases.Create(ctx, fmt.Sprintf("%s/%d", documentID(q.GetDistrict(), q.GetReportId()), attempt),
		&readinessv1.ReportLease{
			District: q.GetDistrict(), ReportId: q.GetReportId(), Attempt: attempt,
			ExpireTime: timestamppb.New(r.now().Add(r.cfg.Lease)),
		})
	if errors.Is(err, docstore.ErrExists) {
		return nil, r.cfg.Lease, nil
	}
	return &doc, 0, err
}

// work makes one attempt, keeps the lease meanwhile and settles the outcome.
func (r *Runner) work(ctx context.Context, entry queued, lease docstore.Doc[*readinessv1.ReportLease]) {
	q := entry.Value
	attempt := lease.Value.GetAttempt()
	log := r.log.With("district", q.GetDistrict(), "report", q.GetReportId(), "revision", q.GetRevision(), "attempt", attempt)
	working, stop := context.WithCancelCause(ctx)
	renewed := make(chan docstore.Doc[*readinessv1.ReportLease], 1)
	go func() { renewed <- r.renew(working, stop, lease) }()
	err := r.attempt(working, q, int(attempt))
	interrupted := working.Err() != nil
	stop(nil)
	lease = <-renewed

	// The outcome is written even while the engine stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Lease)
	defer cancel()
	switch {
	case err == nil:
		log.InfoContext(ctx, "readiness: report completed")
		err = r.settle(ctx, entry)
	case interrupted:
		log.InfoContext(ctx, "readiness: report interrupted, it stays queued")
		err = r.release(ctx, lease, 0)
	case permanent(err) || int(attempt) >= r.cfg.Attempts:
		log.WarnContext(ctx, "readiness: report failed", "error", err)
		if err = r.fail(ctx, q, err); err == nil {
			err = r.settle(ctx, entry)
		}
	default:
		log.WarnContext(ctx, "readiness: report attempt failed, trying again", "error", err)
		err = r.release(ctx, lease, r.cfg.Retry<<(attempt-1))
	}
	if err != nil {
		log.ErrorContext(ctx, "readiness: cannot settle a report, it is tried again when its lease has expired", "error", err)
	}
}

// errDeadly is the end of a report that seems to take engines down.
var errDeadly = errs.New(grpccodes.Internal, "REPORT_INTERRUPTED",
	"the engine stopped again and again while it made this report: ask the operators to look into it")

// attempt is make, except that it survives a panic and does not begin what has
// stopped many engines already.
func (r *Runner) attempt(ctx context.Context, q *readinessv1.QueuedReport, number int) (err error) {
	if number > 2*r.cfg.Attempts {
		return errDeadly
	}
	defer r.survive(ctx, q, &err)
	return r.make(ctx, q)
}

// survive, deferred, makes an error of a panic.
func (r *Runner) survive(ctx context.Context, q *readinessv1.QueuedReport, err *error) {
	if p := recover(); p != nil {
		r.log.ErrorContext(ctx, "readiness: a check panicked", "district", q.GetDistrict(), "report", q.GetReportId(), "stack", string(debug.Stack()))
		*err = fmt.Errorf("a check panicked: %v", p)
	}
}

// renew keeps the lease until ctx ends, and ends ctx when the lease is lost.
func (r *Runner) renew(ctx context.Context, stop context.CancelCauseFunc, lease docstore.Doc[*readinessv1.ReportLease]) docstore.Doc[*readinessv1.ReportLease] {
	ticker := time.NewTicker(r.cfg.Lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return lease
		case <-ticker.C:
		}
		lease.Value.ExpireTime = timestamppb.New(r.now().Add(r.cfg.Lease))
		// Not with ctx: a write that is cut off leaves the version unknown.
		renewed, err := r.reports.leases.Update(context.WithoutCancel(ctx), lease)
		if err != nil {
			stop(fmt.Errorf("lease lost: %w", err))
			return lease
		}
		lease = renewed
	}
}

// release lets the next attempt begin after a pause.
func (r *Runner) release(ctx context.Context, lease docstore.Doc[*readinessv1.ReportLease], pause time.Duration) error {
	lease.Value.ExpireTime = timestamppb.New(r.now().Add(pause))
	_, err := r.reports.leases.Update(ctx, lease)
	return docstore.IgnoreNotFound(err)
}

// settle takes a report that is completed or failed out of the queue. An engine
// that was killed may have left blobs without a name.
func (r *Runner) settle(ctx context.Context, entry queued) error {
	q := entry.Value
	if err := r.reports.findings.erase(ctx, unnamed(q.GetDistrict(), q.GetReportId())); err != nil {
		return err
	}
	// Somebody who wants a retry has changed the entry: then it stays.
	err := docstore.IgnoreNotFound(r.reports.queue.DeleteVersion(ctx, entry))
	if err != nil && !errors.Is(err, docstore.ErrConflict) {
		return err
	}
	return r.reports.dropLeases(ctx, q.GetDistrict()+"/"+q.GetReportId()+"/")
}

// permanent errors do not go away by trying again.
func permanent(err error) bool {
	switch errs.Status(err).Code() {
	case grpccodes.NotFound, grpccodes.OutOfRange, grpccodes.PermissionDenied, grpccodes.InvalidArgument:
		return true
	}
	return false
}

func (r *Runner) fail(ctx context.Context, q *readinessv1.QueuedReport, cause error) error {
	if _, err := r.reports.create(ctx, q); err != nil {
		return err
	}
	_, err := r.reports.reports.Modify(ctx, documentID(q.GetDistrict(), q.GetReportId()), func(s *readinessv1.StoredReport) error {
		s.Report.State = readinessv1.ReportState_FAILED
		s.Report.Error = errs.Status(cause).Message()
		s.Report.EndTime = timestamppb.New(r.now())
		return nil
	})
	return docstore.IgnoreNotFound(err)
}
