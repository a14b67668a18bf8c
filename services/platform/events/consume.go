package events

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Consumer says what Consume receives and how. Durable and Filter are required.
type Consumer struct {
	// Durable is the name under which the stream remembers what was handled. All
	// replicas that use it share the work.
	Durable string
	// Filter of subjects, with "*" for any part.
	Filter string
	// AckWait is how long a silent handler keeps its event; the default is 30 s.
	// A handler that runs longer keeps it as long as its process lives.
	AckWait time.Duration
	// Concurrency is how many events are handled at a time; the default is 1.
	Concurrency int
	// MaxDeliver is how often an event is tried before it becomes a dead letter;
	// the default is 8.
	MaxDeliver int
	// Backoff is the pause before the second try; it doubles up to 64 times the
	// first. The default is 1 s.
	Backoff time.Duration
}

func (c *Consumer) setDefaults() {
	if c.AckWait <= 0 {
		c.AckWait = 30 * time.Second
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 1
	}
	if c.MaxDeliver <= 0 {
		c.MaxDeliver = 8
	}
	if c.Backoff <= 0 {
		c.Backoff = time.Second
	}
}

// Handler acts on an event. Events come at least once and in any order; nil
// means that it need not come again.
type Handler func(ctx context.Context, subject string, payload []byte) error

// Consume calls handle for each event of a durable consumer until ctx ends, and
// then returns nil. An error or panic of handle means another try later, and
// after the last one a dead letter. The first use of a durable name begins with
// the oldest event that the stream has.
func (b *Bus) Consume(ctx context.Context, c Consumer, handle Handler) error {
	c.setDefaults()
	if !strings.HasPrefix(c.Filter, subjectRoot) {
		return fmt.Errorf("consume %s: subjects begin with %s", c.Filter, subjectRoot)
	}
	// Ask once before the workers do: a wrong name is a mistake, not an outage.
	if _, err := b.consumer(ctx, c); err != nil && ctx.Err() == nil {
		return fmt.Errorf("consume %s: %w", c.Filter, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for range c.Concurrency {
		group.Go(func() error {
			b.work(ctx, c, handle)
			return nil
		})
	}
	return group.Wait()
}

func (b *Bus) consumer(ctx context.Context, c Consumer) (jetstream.Consumer, error) {
	return b.js.CreateOrUpdateConsumer(ctx, Stream, jetstream.ConsumerConfig{
		Durable:       c.Durable,
		FilterSubject: c.Filter,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       c.AckWait,
		MaxDeliver:    -1, // Counted in settle: the server would drop the event without a trace.
	})
}

// work takes one event at a time, so that none waits here while another replica
// is idle.
func (b *Bus) work(ctx context.Context, c Consumer, handle Handler) {
	var source jetstream.Consumer
	for ctx.Err() == nil {
		var err error
		if source == nil {
			source, err = b.consumer(ctx, c)
		}
		var msg jetstream.Msg
		if err == nil {
			msg, err = source.Next(jetstream.FetchContext(ctx))
		}
		switch {
		case err == nil:
			b.settle(ctx, c, msg, b.try(ctx, c, msg, handle))
		case errors.Is(err, nats.ErrTimeout) || ctx.Err() != nil:
			// Nothing to do for a while, or the end.
		default:
			b.log.WarnContext(ctx, "events: cannot receive, trying again", "consumer", c.Durable, "error", err)
			source = nil // It may have been deleted.
			wait(ctx, time.Second)
		}
	}
}

// try runs handle once, and keeps the event from others meanwhile.
func (b *Bus) try(ctx context.Context, c Consumer, msg jetstream.Msg, handle Handler) error {
	if n := deliveries(msg); n > c.MaxDeliver {
		return fmt.Errorf("delivered %d times, and each time the process ended before the handler", n-1)
	}
	busy, done := context.WithCancel(ctx)
	var holding errgroup.Group
	holding.Go(func() error {
		for wait(busy, c.AckWait/3) {
			if err := msg.InProgress(); err != nil {
				return err
			}
		}
		return nil
	})
	defer func() {
		done()
		if err := holding.Wait(); err != nil {
			b.log.WarnContext(ctx, "events: cannot keep an event, it may be handled twice", "consumer", c.Durable, "error", err)
		}
	}()
	return b.receive(ctx, "handle", msg.Subject(), msg.Headers(), func(ctx context.Context) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
				b.log.ErrorContext(ctx, "events: handler panicked", "consumer", c.Durable, "panic", p, "stack", string(debug.Stack()))
			}
		}()
		return handle(ctx, msg.Subject(), msg.Data())
	})
}

// settle tells the stream how it went.
func (b *Bus) settle(ctx context.Context, c Consumer, msg jetstream.Msg, failure error) {
	n := deliveries(msg)
	log := b.log.With("consumer", c.Durable, "subject", msg.Subject(), "deliveries", n)
	var err error
	switch {
	case failure == nil:
		err = msg.Ack()
	case ctx.Err() != nil:
		err = msg.Nak() // Not the event's fault; another replica may take it at once.
	case n >= c.MaxDeliver:
		// Only after it is kept elsewhere the event may go.
		if err = b.bury(ctx, c, msg, failure); err == nil {
			log.ErrorContext(ctx, "events: gave up on an event, it is a dead letter now", "error", failure)
			err = msg.TermWithReason("dead letter")
		} else {
			err = errors.Join(err, msg.NakWithDelay(c.pause(n)))
		}
	default:
		log.WarnContext(ctx, "events: handler failed, trying again later", "error", failure)
		err = msg.NakWithDelay(c.pause(n))
	}
	if err != nil {
		log.WarnContext(ctx, "events: cannot settle an event, it will come again", "error", err)
	}
}

func (b *Bus) bury(ctx context.Context, c Consumer, msg jetstream.Msg, reason error) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	dead := nats.NewMsg(deadRoot + c.Durable + "." + strings.TrimPrefix(msg.Subject(), subjectRoot))
	dead.Data = msg.Data()
	for k, v := range msg.Headers() {
		if !strings.HasPrefix(k, "Nats-") {
			dead.Header[k] = v
		}
	}
	dead.Header.Set(HeaderReason, strings.Join(strings.Fields(reason.Error()), " ")) // Headers are single lines.
	dead.Header.Set(HeaderConsumer, c.Durable)
	dead.Header.Set(HeaderDeliveries, strconv.FormatUint(meta.NumDelivered, 10))
	id := fmt.Sprintf("%s/%d", c.Durable, meta.Sequence.Stream)
	if _, err := b.js.PublishMsg(ctx, dead, jetstream.WithMsgID(id)); err != nil {
		return fmt.Errorf("write dead letter: %w", err)
	}
	return nil
}

func (c *Consumer) pause(deliveries int) time.Duration {
	return c.Backoff << min(max(deliveries-1, 0), 6)
}

func deliveries(msg jetstream.Msg) int {
	meta, err := msg.Metadata()
	if err != nil {
		return 1 // Not from a stream, which cannot be here.
	}
	return int(meta.NumDelivered)
}

// wait pauses; false means that ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
