package replica

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
)

var tracer = otel.Tracer("github.com/securly/sync/services/readiness-engine/internal/replica")

// Roster is the part of the roster API that a replica is made from.
type Roster interface {
	GetSummary(ctx context.Context, in *rosterv1.GetSummaryRequest, opts ...grpc.CallOption) (*rosterv1.Summary, error)
	Export(ctx context.Context, in *rosterv1.ExportRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[rosterv1.ExportResponse], error)
	Watch(ctx context.Context, in *rosterv1.WatchRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[rosterv1.WatchResponse], error)
}

// errOutOfStep is a Watch that does not continue where the replica is.
var errOutOfStep = errors.New("the watch does not continue at the replica's revision")

// Load makes a replica of a district at a committed revision.
func Load(ctx context.Context, roster Roster, district string, revision int32) (r *Replica, err error) {
	if revision == 0 {
		return New(nil), nil // Nothing was ever committed; 0 would ask for the newest.
	}
	ctx, span := tracer.Start(ctx, "export replica", trace.WithAttributes(
		attribute.String("district", district), attribute.Int("revision", int(revision))))
	defer func() { end(span, err) }()
	summary, err := roster.GetSummary(ctx, &rosterv1.GetSummaryRequest{District: district})
	if err != nil {
		return nil, fmt.Errorf("count records of %s: %w", district, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := roster.Export(ctx, &rosterv1.ExportRequest{District: district, Revision: revision})
	if err != nil {
		return nil, fmt.Errorf("export %s at revision %d: %w", district, revision, err)
	}

	r = New(summary.GetTotal())
	r.Revision = revision
	// Reading the next frame from the network goes on while one is taken over.
	frames := make(chan *readinessv1.ExportFrame, 2)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(frames)
		for {
			frame := &readinessv1.ExportFrame{}
			switch err := stream.RecvMsg(frame); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return fmt.Errorf("export %s at revision %d: %w", district, revision, err)
			}
			select {
			case frames <- frame:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	group.Go(func() error {
		for frame := range frames {
			if frame.Revision != revision {
				return fmt.Errorf("export %s: got revision %d instead of %d", district, frame.Revision, revision)
			}
			if err := r.applyAll(frame, exportRecords); err != nil {
				return fmt.Errorf("export %s at revision %d: %w", district, revision, err)
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	span.SetAttributes(attribute.Int("records", r.loaded), attribute.Int("bytes", r.Size()))
	return r, nil
}

// CatchUp brings r to a later revision by what has changed. After an error r is
// not to be used any more.
func (r *Replica) CatchUp(ctx context.Context, roster Roster, district string, revision int32) (err error) {
	ctx, span := tracer.Start(ctx, "catch up replica", trace.WithAttributes(
		attribute.String("district", district), attribute.Int("after", int(r.Revision)), attribute.Int("revision", int(revision))))
	defer func() { end(span, err) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // A watch has no end of its own.
	w, err := open(ctx, roster, district, r.Revision)
	for err == nil && r.Revision < revision {
		var frame *readinessv1.WatchFrame
		if frame, err = w.next(); err == nil {
			err = r.take(frame)
		}
	}
	if err == nil && r.Revision != revision {
		err = fmt.Errorf("%w: it is at %d, wanted %d", errOutOfStep, r.Revision, revision)
	}
	if err != nil {
		return fmt.Errorf("watch %s after revision %d: %w", district, r.Revision, err)
	}
	return nil
}

// watch is what changes in a district.
type watch struct {
	grpc.ServerStreamingClient[rosterv1.WatchResponse]
}

func open(ctx context.Context, roster Roster, district string, after int32) (watch, error) {
	stream, err := roster.Watch(ctx, &rosterv1.WatchRequest{District: district, After: after})
	return watch{stream}, err
}

func (w watch) next() (*readinessv1.WatchFrame, error) {
	frame := &readinessv1.WatchFrame{}
	return frame, w.RecvMsg(frame)
}

// take takes over one frame of a watch. In the middle of a revision, and after an
// error, r is not to be used.
func (r *Replica) take(frame *readinessv1.WatchFrame) error {
	switch event := frame.Event.(type) {
	case *readinessv1.WatchFrame_Begin:
		if event.Begin.Revision <= r.Revision {
			return fmt.Errorf("%w: it begins %d", errOutOfStep, event.Begin.Revision)
		}
	case *readinessv1.WatchFrame_Changes:
		return r.applyAll(event.Changes, changesRecords)
	case *readinessv1.WatchFrame_End:
		r.Revision = event.End.Revision
	case *readinessv1.WatchFrame_Bookmark:
		if event.Bookmark.Revision > r.Revision {
			return fmt.Errorf("%w: it is at %d", errOutOfStep, event.Bookmark.Revision)
		}
	}
	return nil
}

// The field `records` of the messages that carry them.
var (
	exportRecords  = (&rosterv1.ExportResponse{}).ProtoReflect().Descriptor().Fields().ByName("records").Number()
	changesRecords = (&rosterv1.Changes{}).ProtoReflect().Descriptor().Fields().ByName("records").Number()
)

// applyAll takes over the records that a view has left encoded.
func (r *Replica) applyAll(view proto.Message, records protowire.Number) error {
	return fields(view.ProtoReflect().GetUnknown(), func(field protowire.Number, value []byte) error {
		if field != records {
			return nil
		}
		return r.Apply(value)
	})
}

func end(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
