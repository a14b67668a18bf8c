// Package telemetry sets up logs, traces and metrics of a program.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Telemetry is what a program logs and measures with.
type Telemetry struct {
	Log *slog.Logger
	// Level of Log; it may change while the program runs.
	Level    *slog.LevelVar
	Registry *prometheus.Registry

	traces *sdktrace.TracerProvider
}

// Setup makes traces by the OTEL_* variables; without OTEL_TRACES_EXPORTER they
// are not exported, but log lines that belong together still have one trace id.
// Logs go to the standard error: text on a terminal, else JSON. It sets
// OpenTelemetry's globals and slog's default, so a program calls it once.
func Setup(ctx context.Context, service, version string) (*Telemetry, error) {
	t := &Telemetry{Level: new(slog.LevelVar), Registry: prometheus.NewRegistry()}
	t.Log = newLog(os.Stderr, isTerminal(os.Stderr), t.Level).With("service", service)
	slog.SetDefault(t.Log)
	t.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.version", version)),
		resource.WithHost(), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, fmt.Errorf("set up traces: read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(about)}
	if os.Getenv("OTEL_TRACES_EXPORTER") == "" {
		options = append(options, sdktrace.WithSampler(sdktrace.NeverSample()))
	} else {
		exporter, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return nil, fmt.Errorf("set up traces by the OTEL_* variables: %w", err)
		}
		options = append(options, sdktrace.WithBatcher(redacted{exporter}))
	}
	t.traces = sdktrace.NewTracerProvider(options...)
	otel.SetTracerProvider(t.traces)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.Log.WarnContext(context.Background(), "telemetry", "error", err) }))
	return t, nil
}

// Shutdown exports what is left.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if err := t.traces.Shutdown(ctx); err != nil {
		return fmt.Errorf("export the last traces: %w", err)
	}
	return nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func newLog(w io.Writer, text bool, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if text {
		return slog.New(traced{slog.NewTextHandler(w, options)})
	}
	return slog.New(traced{slog.NewJSONHandler(w, options)})
}

// traced adds the trace of the context to each line.
type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }

func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
