// Package watch wakes those who wait for the next commit of a district, and
// announces commits to the rest of the hub.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/securly/sync/proto/gen/securly/sync/event/v1"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/roster-store/internal/store"
)

const (
	concern = "roster"
	fact    = "revision-committed"
	// sweepEvery bounds how late a commit is announced that was made just
	// before a crash, or while the broker was away.
	sweepEvery = 10 * time.Second
)

// Commits knows who waits for which district. The zero value is not usable, see
// NewCommits.
type Commits struct {
	mu      sync.Mutex
	waiting map[string]chan struct{}
	// traces holds what each commit of this process belongs to until it is
	// announced. A crash loses a trace, never an announcement.
	traces map[announcement]trace.SpanContext
	relay  chan struct{}
}

type announcement struct {
	district string
	revision store.Revision
}

// NewCommits returns one that nobody waits on.
func NewCommits() *Commits {
	return &Commits{
		waiting: map[string]chan struct{}{},
		traces:  map[announcement]trace.SpanContext{},
		relay:   make(chan struct{}, 1),
	}
}

// Wait returns a channel that is closed at the next commit of the district.
func (c *Commits) Wait(district string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, ok := c.waiting[district]
	if !ok {
		ch = make(chan struct{})
		c.waiting[district] = ch
	}
	return ch
}

// Committed wakes the watchers of this process and the relay, which goes on
// with the trace of ctx.
func (c *Commits) Committed(ctx context.Context, district string, revision store.Revision) {
	c.mu.Lock()
	c.traces[announcement{district, revision}] = trace.SpanContextFromContext(ctx)
	c.mu.Unlock()
	c.wake(district)
	select {
	case c.relay <- struct{}{}:
	default: // it is already on its way
	}
}

func (c *Commits) wake(district string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.waiting[district]; ok {
		close(ch)
		delete(c.waiting, district)
	}
}

// Listen wakes watchers of this process for commits made by others.
func (c *Commits) Listen(ctx context.Context, bus *events.Bus) error {
	return bus.Subscribe(ctx, events.Subject(concern, "*", fact), func(_ context.Context, subject string, _ []byte) {
		if parts := strings.Split(subject, "."); len(parts) > 1 {
			c.wake(parts[len(parts)-2])
		}
	})
}

// Relay announces committed revisions until ctx ends. What it could not
// announce stays in the outbox and is tried again.
func (c *Commits) Relay(ctx context.Context, outbox store.Outbox, bus *events.Bus, log *slog.Logger) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := c.publish(ctx, outbox, bus); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "commits are not announced yet, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.relay:
		case <-tick.C:
		}
	}
}

func (c *Commits) publish(ctx context.Context, outbox store.Outbox, bus *events.Bus) error {
	for p, err := range outbox.Pending(ctx) {
		if err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		district, rev := string(p.District), p.Revision
		// The time tells the revisions of a district apart from those of an
		// erased one of the same name.
		id := fmt.Sprintf("%s/%d/%d", district, rev.Revision, rev.CommitTime.UnixNano())
		c.mu.Lock()
		span := c.traces[announcement{district, rev.Revision}]
		c.mu.Unlock()
		err := bus.Publish(trace.ContextWithRemoteSpanContext(ctx, span), events.Subject(concern, district, fact), id, &eventv1.RevisionCommitted{
			District: district, Revision: int32(rev.Revision), CommitTime: timestamppb.New(rev.CommitTime), Sync: string(rev.Sync), // a revision fits
		})
		if err != nil {
			return fmt.Errorf("announce revision %s: %w", id, err)
		}
		if err := outbox.MarkPublished(ctx, p.District, rev.Revision); err != nil {
			return fmt.Errorf("mark revision %s as announced: %w", id, err)
		}
		c.mu.Lock()
		delete(c.traces, announcement{district, rev.Revision})
		c.mu.Unlock()
	}
	return nil
}
