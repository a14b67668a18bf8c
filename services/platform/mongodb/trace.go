package mongodb

import (
	"context"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

// traced makes a span of each command that is part of a recorded trace. It says
// which command it was, on what, and how it ended. Nothing of what was sent or
// answered is in it: commands and the server's errors hold records. (The
// contributed instrumentation for this driver has no release.)
func traced() *event.CommandMonitor {
	tracer := otel.Tracer("github.com/securly/sync/services/platform/mongodb")
	var running sync.Map // request → trace.Span; numbers of requests are unique in a process
	end := func(e event.CommandFinishedEvent, failure error) {
		started, ok := running.LoadAndDelete(e.RequestID)
		if !ok {
			return
		}
		span := started.(trace.Span)
		if failure != nil {
			span.SetStatus(codes.Error, "")
			span.SetAttributes(semconv.ErrorTypeKey.String(fmt.Sprintf("%T", failure)))
		}
		span.End()
	}
	return &event.CommandMonitor{
		Started: func(ctx context.Context, e *event.CommandStartedEvent) {
			if !trace.SpanFromContext(ctx).IsRecording() {
				return
			}
			on := collectionOf(e)
			_, span := tracer.Start(ctx, e.CommandName+" "+on, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
				semconv.DBSystemNameMongoDB, semconv.DBNamespace(e.DatabaseName),
				semconv.DBOperationName(e.CommandName), semconv.DBCollectionName(on)))
			running.Store(e.RequestID, span)
		},
		Succeeded: func(_ context.Context, e *event.CommandSucceededEvent) { end(e.CommandFinishedEvent, nil) },
		Failed:    func(_ context.Context, e *event.CommandFailedEvent) { end(e.CommandFinishedEvent, e.Failure) },
	}
}

// collectionOf returns the collection of a command, empty if it has none.
func collectionOf(e *event.CommandStartedEvent) string {
	field := e.CommandName
	if field == "getMore" {
		field = "collection"
	}
	name, _ := e.Command.Lookup(field).StringValueOK()
	return name
}
