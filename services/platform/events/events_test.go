package events_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/securly/sync/proto/gen/securly/sync/event/v1"
	"github.com/securly/sync/services/platform/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 30 * time.Second

// parent is the span within which all events are published.
var parent = trace.NewSpanContext(trace.SpanContextConfig{
	TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4, 5, 6}, TraceFlags: trace.FlagsSampled,
})

var quiet = slog.New(slog.DiscardHandler)

// hub is an embedded server that can be stopped and started again.
type hub struct {
	t      *testing.T
	dir    string
	server *events.Embedded
	*events.Bus
}

func start(t *testing.T) *hub {
	h := &hub{t: t, dir: t.TempDir()}
	h.open()
	t.Cleanup(func() { require.NoError(t, h.server.Close()) })
	return h
}

func (h *hub) open() {
	var err error
	h.server, err = events.StartEmbedded(h.dir, quiet)
	require.NoError(h.t, err)
	h.Bus, err = events.NewBus(h.t.Context(), h.server.Conn(), quiet)
	require.NoError(h.t, err)
}

func (h *hub) restart() {
	require.NoError(h.t, h.server.Close())
	h.open()
}

func (h *hub) commit(district string, revision int32) {
	h.t.Helper()
	ctx := trace.ContextWithSpanContext(h.t.Context(), parent)
	require.NoError(h.t, h.Publish(ctx, committed(district), fmt.Sprintf("%s/%d", district, revision),
		&eventv1.RevisionCommitted{District: district, Revision: revision}))
}

// run consumes until the returned function is called.
func (h *hub) run(c events.Consumer, handle events.Handler) (stop func()) {
	h.t.Helper()
	if c.Durable == "" {
		c.Durable = "test"
	}
	if c.Filter == "" {
		c.Filter = committed("*")
	}
	if c.Backoff == 0 {
		c.Backoff = time.Millisecond
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Consume(ctx, c, handle) }()
	return sync.OnceFunc(func() {
		cancel()
		require.NoError(h.t, within(h.t, done))
	})
}

func committed(district string) string {
	return events.Subject("roster", district, "revision-committed")
}

func revision(t *testing.T, payload []byte) int32 {
	var e eventv1.RevisionCommitted
	require.NoError(t, proto.Unmarshal(payload, &e))
	return e.GetRevision()
}

// within receives, or fails the test when nothing comes.
func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(limit):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

func (h *hub) stream(name string) jetstream.Stream {
	h.t.Helper()
	js, err := jetstream.New(h.server.Conn())
	require.NoError(h.t, err)
	s, err := js.Stream(h.t.Context(), name)
	require.NoError(h.t, err)
	return s
}

// settled waits until the consumer owes nothing any more.
func (h *hub) settled(durable string) {
	h.t.Helper()
	stream := h.stream(events.Stream)
	last, err := stream.GetLastMsgForSubject(h.t.Context(), committed("*"))
	require.NoError(h.t, err)
	require.Eventually(h.t, func() bool {
		c, err := stream.Consumer(h.t.Context(), durable)
		if err != nil {
			return false
		}
		// What is pending does not count: a consumer just made owes nothing yet.
		return c.CachedInfo().AckFloor.Stream >= last.Sequence
	}, limit, time.Millisecond)
}

func TestSubject(t *testing.T) {
	require.Equal(t, "securly.sync.v1.roster.lakeside.revision-committed", committed("lakeside"))
}

func TestEventsArriveOnce(t *testing.T) {
	h := start(t)
	got := make(chan string, 10)
	h.commit("lakeside", 1) // Before anybody consumes.
	defer h.run(events.Consumer{}, func(_ context.Context, subject string, payload []byte) error {
		got <- fmt.Sprint(subject, " ", revision(t, payload))
		return nil
	})()
	require.Equal(t, committed("lakeside")+" 1", within(t, got))
	h.commit("hillside", 7)
	require.Equal(t, committed("hillside")+" 7", within(t, got))
	h.commit("hillside", 7) // The same id: a relay that was not sure.
	h.commit("hillside", 8)
	require.Equal(t, committed("hillside")+" 8", within(t, got))
	require.NoError(t, h.Publish(t.Context(), events.Subject("ingest", "hillside", "sync-ended"), "x", &eventv1.SyncEnded{}))
	h.settled("test")
	require.Empty(t, got, "the filter keeps other facts out")
}

func TestReplicasShareTheWork(t *testing.T) {
	h := start(t)
	const n = 50
	var handled sync.Map
	all := make(chan struct{}, n)
	handle := func(_ context.Context, _ string, payload []byte) error {
		_, twice := handled.LoadOrStore(revision(t, payload), true)
		require.False(t, twice)
		all <- struct{}{}
		return nil
	}
	defer h.run(events.Consumer{Concurrency: 4}, handle)()
	defer h.run(events.Consumer{Concurrency: 4}, handle)()
	for i := range int32(n) {
		h.commit("lakeside", i)
	}
	for range n {
		within(t, all)
	}
}

func TestConcurrencyIsKept(t *testing.T) {
	h := start(t)
	const n, workers = 20, 3
	var now, most atomic.Int32
	busy, release, done := make(chan struct{}, n), make(chan struct{}), make(chan struct{}, n)
	defer h.run(events.Consumer{Concurrency: workers}, func(context.Context, string, []byte) error {
		if c := now.Add(1); c > most.Load() {
			most.Store(c)
		}
		busy <- struct{}{}
		<-release
		now.Add(-1)
		done <- struct{}{}
		return nil
	})()
	for i := range int32(n) {
		h.commit("lakeside", i)
	}
	for range workers {
		within(t, busy) // All workers are busy at the same time,
	}
	close(release)
	for range n {
		within(t, done)
	}
	require.EqualValues(t, workers, most.Load(), "and no more than these")
}

func TestFailureComesAgain(t *testing.T) {
	h := start(t)
	tries := make(chan int, 10)
	n := 0
	defer h.run(events.Consumer{}, func(context.Context, string, []byte) error {
		n++
		tries <- n
		switch n {
		case 1:
			return errors.New("the database is away")
		case 2:
			panic("a mistake")
		}
		return nil
	})()
	h.commit("lakeside", 1)
	for want := 1; want <= 3; want++ {
		require.Equal(t, want, within(t, tries))
	}
	h.settled("test")
	require.Empty(t, tries)
}

func TestPoisonBecomesADeadLetter(t *testing.T) {
	h := start(t)
	got := make(chan int32, 20)
	defer h.run(events.Consumer{MaxDeliver: 3}, func(_ context.Context, _ string, payload []byte) error {
		r := revision(t, payload)
		got <- r
		if r == 1 {
			return errors.New("cannot\nbe handled")
		}
		return nil
	})()
	h.commit("lakeside", 1)
	h.commit("lakeside", 2)
	h.settled("test")
	var all []int32
	for len(got) > 0 {
		all = append(all, <-got)
	}
	slices.Sort(all)
	require.Equal(t, []int32{1, 1, 1, 2}, all, "others go on")

	letter, err := h.stream(events.DeadStream).GetLastMsgForSubject(t.Context(), "securly.sync.dead.v1.test.roster.lakeside.revision-committed")
	require.NoError(t, err)
	require.EqualValues(t, 1, revision(t, letter.Data))
	require.Equal(t, "cannot be handled", letter.Header.Get(events.HeaderReason))
	require.Equal(t, "test", letter.Header.Get(events.HeaderConsumer))
	require.Equal(t, "3", letter.Header.Get(events.HeaderDeliveries))
	require.Contains(t, letter.Header.Get("Traceparent"), parent.TraceID().String(), "the trace leads to the cause")
}

func TestLongHandlerKeepsItsEvent(t *testing.T) {
	h := start(t)
	var tries atomic.Int32
	ended := make(chan struct{})
	const ackWait = 200 * time.Millisecond
	defer h.run(events.Consumer{AckWait: ackWait, Concurrency: 2}, func(ctx context.Context, _ string, _ []byte) error {
		if tries.Add(1) == 1 {
			<-time.After(4 * ackWait) // The long work itself.
			close(ended)
		}
		return nil
	})()
	h.commit("lakeside", 1)
	within(t, ended)
	h.settled("test")
	require.EqualValues(t, 1, tries.Load())
}

func TestShutdownGivesTheEventBack(t *testing.T) {
	h := start(t)
	began := make(chan struct{})
	stop := h.run(events.Consumer{MaxDeliver: 1, AckWait: time.Minute}, func(ctx context.Context, _ string, _ []byte) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	})
	h.commit("lakeside", 1)
	within(t, began)
	stop()

	again := make(chan struct{})
	defer h.run(events.Consumer{MaxDeliver: 5, AckWait: time.Minute}, func(context.Context, string, []byte) error {
		close(again)
		return nil
	})()
	within(t, again) // Long before the wait for an acknowledgement ends.
}

// TestKillingEventEnds is about an event that ends the process each time, so
// that no handler ever reports a failure.
func TestKillingEventEnds(t *testing.T) {
	h := start(t)
	h.commit("lakeside", 1)
	stop := h.run(events.Consumer{AckWait: time.Minute}, func(context.Context, string, []byte) error { return nil })
	h.settled("test")
	stop()
	h.commit("lakeside", 2)
	c, err := h.stream(events.Stream).Consumer(t.Context(), "test")
	require.NoError(t, err)
	for range 3 { // Taken and never settled, as by a killed process.
		msg, err := c.Next(jetstream.FetchMaxWait(limit))
		require.NoError(t, err)
		require.NoError(t, msg.Nak())
	}
	defer h.run(events.Consumer{MaxDeliver: 3}, func(context.Context, string, []byte) error {
		panic("must not be tried again")
	})()
	h.settled("test")
	info, err := h.stream(events.DeadStream).Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, info.State.Msgs)
}

func TestEventsSurviveARestart(t *testing.T) {
	h := start(t)
	got := make(chan int32, 10)
	handle := func(_ context.Context, _ string, payload []byte) error {
		got <- revision(t, payload)
		return nil
	}
	stop := h.run(events.Consumer{}, handle)
	h.commit("lakeside", 1)
	require.EqualValues(t, 1, within(t, got))
	h.settled("test")
	stop()
	h.commit("lakeside", 2)
	h.restart()
	defer h.run(events.Consumer{}, handle)()
	require.EqualValues(t, 2, within(t, got), "neither lost nor repeated")
}

func TestConsumerIsMadeAgain(t *testing.T) {
	h := start(t)
	got := make(chan int32, 10)
	defer h.run(events.Consumer{}, func(_ context.Context, _ string, payload []byte) error {
		got <- revision(t, payload)
		return nil
	})()
	h.commit("lakeside", 1)
	require.EqualValues(t, 1, within(t, got))
	require.NoError(t, h.stream(events.Stream).DeleteConsumer(t.Context(), "test")) // By an operator.
	h.commit("lakeside", 2)
	for within(t, got) != 2 { // 1 comes again: at least once.
	}
}

func TestTraceGoesAlong(t *testing.T) {
	h := start(t)
	traces := make(chan trace.TraceID, 2)
	defer h.run(events.Consumer{}, func(ctx context.Context, _ string, _ []byte) error {
		traces <- trace.SpanContextFromContext(ctx).TraceID()
		return nil
	})()
	h.commit("lakeside", 1)
	require.Equal(t, parent.TraceID(), within(t, traces))
}

func TestSubscribe(t *testing.T) {
	h := start(t)
	h.commit("lakeside", 1)
	ctx, cancel := context.WithCancel(t.Context())
	got, done := make(chan []byte, 1000), make(chan error, 1)
	go func() {
		done <- h.Subscribe(ctx, committed("*"), func(_ context.Context, _ string, payload []byte) { got <- payload })
	}()
	last := int32(1)
	require.Eventually(t, func() bool { // Until the subscription is there.
		last++
		h.commit("lakeside", last)
		return len(got) > 0
	}, limit, time.Millisecond)
	first := revision(t, within(t, got))
	require.Greater(t, first, int32(1), "only from now on")
	for want := first + 1; want <= last; want++ {
		require.Equal(t, want, revision(t, within(t, got)), "in order")
	}
	cancel()
	require.NoError(t, within(t, done))
}

func TestPublishFails(t *testing.T) {
	h := start(t)
	require.Error(t, h.Publish(t.Context(), "elsewhere", "1", &eventv1.SyncEnded{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, h.Publish(ctx, committed("lakeside"), "1", &eventv1.SyncEnded{}), context.Canceled)

	require.NoError(t, h.Ready(t.Context()))
	h.server.Conn().Close()
	require.Error(t, h.Ready(t.Context()))
	require.Error(t, h.Publish(t.Context(), committed("lakeside"), "1", &eventv1.SyncEnded{}))
	h.restart()
}

func TestMistakesAreSaidAtOnce(t *testing.T) {
	h := start(t)
	for _, c := range []events.Consumer{
		{Durable: "test", Filter: "elsewhere.>"},
		{Durable: "not a.name", Filter: committed("*")},
	} {
		err := h.Consume(t.Context(), c, func(context.Context, string, []byte) error { return nil })
		require.ErrorContains(t, err, c.Filter)
	}
}
