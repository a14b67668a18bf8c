// Package rpc assembles gRPC servers and connections, so that every service has
// the same interceptors in the same order.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
)

// MaxMessage is the largest message in bytes, both ways.
const MaxMessage = 16 << 20

// ServerOptions are what a server needs. Verifier is required.
type ServerOptions struct {
	Log      *slog.Logger
	Verifier *authn.Verifier
	// Registerer gets the metrics; servers may share one. Nil: no metrics.
	Registerer prometheus.Registerer
	// Health answers the gRPC health service; nil means always serving.
	Health healthv1.HealthServer
}

// NewServer returns a server with health and reflection. What a call passes,
// from the outside in: trace, metrics, error mapping, log, permission,
// recovery. Metrics and log see rejected calls; the log sees causes that the
// mapping hides from the caller; a panic is an error to all of them.
func NewServer(o ServerOptions) *grpc.Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = health.NewServer()
	}
	metrics := serverMetrics(o.Registerer)
	exemplar := grpcprom.WithExemplarFromContext(traceLabel)
	logOptions := []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithCodes(func(err error) codes.Code { return errs.Status(err).Code() }),
		logging.WithLevels(level),
		logging.WithErrorFields(reason),
		logging.WithDisableLoggingFields(logging.SystemTag[0], logging.ComponentFieldKey),
	}
	recovered := recovery.WithRecoveryHandlerContext(func(ctx context.Context, p any) error {
		o.Log.ErrorContext(ctx, "handler panicked", "panic", p, "stack", string(debug.Stack()))
		return fmt.Errorf("panic: %v", p)
	})

	s := grpc.NewServer(
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		// A peer that vanished without a word ends its streams.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}),
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithFilter(filters.Not(filters.HealthCheck())))),
		grpc.ChainUnaryInterceptor(
			metrics.UnaryServerInterceptor(exemplar),
			mapUnary,
			logging.UnaryServerInterceptor(logTo(o.Log), logOptions...),
			authn.UnaryServerInterceptor(o.Verifier),
			recovery.UnaryServerInterceptor(recovered),
		),
		grpc.ChainStreamInterceptor(
			metrics.StreamServerInterceptor(exemplar),
			mapStream,
			logging.StreamServerInterceptor(logTo(o.Log), logOptions...),
			authn.StreamServerInterceptor(o.Verifier),
			recovery.StreamServerInterceptor(recovered),
		),
	)
	healthv1.RegisterHealthServer(s, o.Health)
	reflection.Register(s)
	return s
}

func mapUnary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	response, err := handler(ctx, request)
	return response, errs.Status(err).Err()
}

func mapStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return errs.Status(handler(srv, stream)).Err()
}

// serverMetrics returns the metrics in r, which the servers of one process share.
func serverMetrics(r prometheus.Registerer) *grpcprom.ServerMetrics {
	m := grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram(
		grpcprom.WithHistogramBuckets([]float64{.001, .005, .02, .1, .5, 2, 10, 60, 600})))
	if r == nil {
		return m
	}
	var there prometheus.AlreadyRegisteredError
	if err := r.Register(m); errors.As(err, &there) {
		if shared, ok := there.ExistingCollector.(*grpcprom.ServerMetrics); ok {
			return shared
		}
	}
	return m
}

// traceLabel links a measurement to its trace.
func traceLabel(ctx context.Context) prometheus.Labels {
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		return prometheus.Labels{"trace_id": span.TraceID().String()}
	}
	return nil
}

// level keeps the log for what an operator should see: a caller's mistakes are
// not the hub's.
func level(code codes.Code) logging.Level {
	switch code {
	case codes.OK, codes.Canceled, codes.NotFound, codes.InvalidArgument, codes.AlreadyExists,
		codes.FailedPrecondition, codes.Aborted, codes.OutOfRange, codes.Unauthenticated:
		return logging.LevelDebug
	case codes.PermissionDenied, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Unimplemented:
		return logging.LevelInfo
	case codes.Unavailable:
		return logging.LevelWarn
	default:
		return logging.LevelError
	}
}

// reason is what the log tells of a caller's mistake.
func reason(err error) logging.Fields {
	var e *errs.Error
	if !errors.As(err, &e) || e.Reason == "" {
		return nil
	}
	return logging.Fields{"grpc.reason", e.Reason}
}

// logTo works because the levels of the library are those of slog. The text of a caller's mistake
// repeats what was asked for, the id of a student for example, and so is not logged.
func logTo(log *slog.Logger) logging.LoggerFunc {
	return func(ctx context.Context, level logging.Level, text string, fields ...any) {
		if i := slices.Index(fields, any("grpc.error")); i >= 0 && level < logging.LevelWarn {
			fields = slices.Delete(fields, i, i+2)
		}
		log.Log(ctx, slog.Level(level), text, fields...) //nolint:sloglint // The library's constant, "finished call".
	}
}
