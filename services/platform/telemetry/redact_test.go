package telemetry

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestErrorTextsAreNotExported(t *testing.T) {
	memory := tracetest.NewInMemoryExporter()
	traces := sdktrace.NewTracerProvider(sdktrace.WithSyncer(redacted{memory}))
	_, span := traces.Tracer("test").Start(t.Context(), "work")
	err := errors.New(`users "MADE-UP-STUDENT-1": unknown record`)
	span.RecordError(err)
	span.SetAttributes(attribute.String("rpc.response.status_code", "NOT_FOUND"))
	span.SetStatus(codes.Error, err.Error())
	span.End()

	spans := memory.GetSpans()
	require.Len(t, spans, 1)
	require.NotContains(t, fmt.Sprintf("%+v", spans), "STUDENT")
	require.Equal(t, codes.Error, spans[0].Status.Code)
	require.Contains(t, spans[0].Attributes, attribute.String("rpc.response.status_code", "NOT_FOUND"))
	require.Len(t, spans[0].Events, 1)
	require.Contains(t, spans[0].Events[0].Attributes, attribute.String("exception.type", "*errors.errorString"))
	require.NoError(t, traces.Shutdown(t.Context()))
}
