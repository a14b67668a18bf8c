package telemetry

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSetup(t *testing.T) {
	for exporter, sampled := range map[string]bool{"": false, "none": true, "console": true} {
		t.Run("exporter="+exporter, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_EXPORTER", exporter)
			tel, err := Setup(t.Context(), "test", "v1")
			require.NoError(t, err)
			_, span := otel.Tracer("test").Start(t.Context(), "work")
			defer span.End()
			require.True(t, span.SpanContext().IsValid(), "log lines have a trace id in any case")
			require.Equal(t, sampled, span.SpanContext().IsSampled())
			metrics, err := tel.Registry.Gather()
			require.NoError(t, err)
			require.NotEmpty(t, metrics)
			require.NoError(t, tel.Shutdown(t.Context()))
		})
	}
	t.Setenv("OTEL_TRACES_EXPORTER", "pigeon")
	_, err := Setup(t.Context(), "test", "v1")
	require.ErrorContains(t, err, "OTEL_")
}

func TestLogLinesCarryTheTrace(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := newLog(&out, false, level).With("service", "test").WithGroup("sync")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})

	log.DebugContext(t.Context(), "not shown")
	require.Zero(t, out.Len())
	level.Set(slog.LevelDebug)
	log.DebugContext(trace.ContextWithSpanContext(t.Context(), span), "shown", "id", "s-1")
	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	require.Equal(t, "test", line["service"])
	require.Equal(t, map[string]any{"id": "s-1", "trace_id": span.TraceID().String(), "span_id": span.SpanID().String()}, line["sync"])

	out.Reset()
	newLog(&out, true, level).Info("text")
	require.Contains(t, out.String(), "msg=text")
	require.NotContains(t, out.String(), "trace_id")
}
