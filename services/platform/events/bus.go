// Package events carries facts between services over NATS JetStream. An event
// announces a fact and its identity; consumers read the data from the service
// that owns it. So a lost, late or repeated event corrupts nothing: the broker
// wakes, the database decides.
package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
)

// Streams and the subjects in them.
const (
	Stream     = "SECURLY_SYNC"
	DeadStream = "SECURLY_SYNC_DEAD"

	subjectRoot = "securly.sync.v1."
	deadRoot    = "securly.sync.dead.v1."
)

// Headers of a dead letter.
const (
	HeaderReason     = "Securly-Reason"
	HeaderConsumer   = "Securly-Consumer"
	HeaderDeliveries = "Securly-Deliveries"
)

const (
	keepEvents      = 7 * 24 * time.Hour
	keepDeadLetters = 30 * 24 * time.Hour
)

// Subject returns securly.sync.v1.<concern>.<district>.<fact>. "*" for any part
// makes a filter.
func Subject(concern, district, fact string) string {
	return subjectRoot + concern + "." + district + "." + fact
}

// Bus publishes and consumes. It does not own its connection.
type Bus struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	log    *slog.Logger
	tracer trace.Tracer
	trace  propagation.TextMapPropagator
}

// NewBus makes sure that the streams exist. It leaves existing ones alone, so
// that operators decide on replicas, retention and placement.
func NewBus(ctx context.Context, conn *nats.Conn, log *slog.Logger) (*Bus, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	for _, stream := range []jetstream.StreamConfig{
		{
			Name: Stream, Subjects: []string{subjectRoot + ">"}, MaxAge: keepEvents,
			Description: "Facts of the hub: what was committed, queued or ended",
		},
		{
			Name: DeadStream, Subjects: []string{deadRoot + ">"}, MaxAge: keepDeadLetters,
			Description: "Events that a consumer has given up on, with the reason",
		},
	} {
		if _, err := js.CreateStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil, fmt.Errorf("create event stream %s: %w", stream.Name, err)
		}
	}
	return &Bus{
		conn:   conn,
		js:     js,
		log:    log,
		tracer: otel.Tracer("github.com/securly/sync/services/platform/events"),
		trace:  propagation.TraceContext{},
	}, nil
}

// Ready says why events cannot be published now.
func (b *Bus) Ready(ctx context.Context) error {
	if _, err := b.js.Stream(ctx, Stream); err != nil {
		return fmt.Errorf("event stream %s: %w", Stream, err)
	}
	return nil
}

// Publish sends a fact and returns when the stream has it on disk. The same id
// sent again within two minutes is kept once. The trace of ctx goes along.
func (b *Bus) Publish(ctx context.Context, subject, id string, fact proto.Message) error {
	if !strings.HasPrefix(subject, subjectRoot) {
		return fmt.Errorf("publish %s: subjects begin with %s", subject, subjectRoot)
	}
	return b.within(ctx, trace.SpanKindProducer, "publish", subject, func(ctx context.Context) error {
		data, err := proto.Marshal(fact)
		if err != nil {
			return fmt.Errorf("publish %s: %w", subject, err)
		}
		msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{}}
		b.trace.Inject(ctx, propagation.HeaderCarrier(msg.Header))
		if _, err := b.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id)); err != nil {
			return fmt.Errorf("publish %s: %w", subject, err)
		}
		return nil
	})
}

// Subscribe calls handle for each fact from now on, one after the other, and
// returns nil when ctx ends. It is for caches and watchers: nothing is repeated,
// and facts are missed while the connection is down.
func (b *Bus) Subscribe(ctx context.Context, filter string, handle func(ctx context.Context, subject string, payload []byte)) error {
	sub, err := b.conn.SubscribeSync(filter)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", filter, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // Fails only when the connection is closed.
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nats.ErrSlowConsumer):
			b.log.WarnContext(ctx, "events: a subscriber was too slow and has missed facts", "filter", filter)
			continue
		case err != nil:
			return fmt.Errorf("subscription to %s: %w", filter, err)
		}
		_ = b.receive(ctx, "receive", msg.Subject, msg.Header, func(ctx context.Context) error {
			handle(ctx, msg.Subject, msg.Data)
			return nil // Always: the handler has no error to give.
		})
	}
}

// receive runs handle within the trace that the publisher began.
func (b *Bus) receive(ctx context.Context, action, subject string, header nats.Header, handle func(context.Context) error) error {
	ctx = b.trace.Extract(ctx, propagation.HeaderCarrier(header))
	return b.within(ctx, trace.SpanKindConsumer, action, subject, handle)
}

// within runs work in a span of its own.
func (b *Bus) within(ctx context.Context, kind trace.SpanKind, action, subject string, work func(context.Context) error) error {
	ctx, span := b.tracer.Start(ctx, action+" "+class(subject), trace.WithSpanKind(kind), trace.WithAttributes(
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.destination.name", subject),
	))
	defer span.End()
	err := work(ctx)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	return err
}

// class is the subject without the district: names of spans must be few.
func class(subject string) string {
	parts := strings.Split(strings.TrimPrefix(subject, subjectRoot), ".")
	if len(parts) != 3 {
		return subject
	}
	return parts[0] + "." + parts[2]
}
