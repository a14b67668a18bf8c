// Package problem turns errors into the problem JSON of the HTTP API.
package problem

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/securly/sync/services/platform/errs"
)

// ContentType of a problem (RFC 9457).
const ContentType = "application/problem+json"

// Problem is an error as HTTP clients see it.
type Problem struct {
	// Code is the HTTP status.
	Code int `json:"code"`
	// Reason is a stable name for programs.
	Reason string `json:"reason"`
	// Message is for people: what is wrong, where, and what to do.
	Message string `json:"message"`
	// Details name places: {"field": "pageToken"}.
	Details []json.RawMessage `json:"details"`
	TraceID string            `json:"traceId,omitempty"`
}

// From says what a client may know about err.
func From(ctx context.Context, err error) Problem {
	var routing *runtime.HTTPStatusError
	if errors.As(err, &routing) {
		err = routing.Err
	}
	s := errs.Status(err)
	p := Problem{
		Code:    runtime.HTTPStatusFromCode(s.Code()),
		Reason:  screaming(s.Code()),
		Message: s.Message(),
		Details: []json.RawMessage{},
		TraceID: TraceID(ctx),
	}
	for _, detail := range s.Details() {
		var text []byte
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetReason() != "" {
				p.Reason = d.GetReason()
			}
			if len(d.GetMetadata()) > 0 {
				text, _ = json.Marshal(d.GetMetadata()) // strings only: cannot fail
			}
		case proto.Message:
			text, _ = protojson.Marshal(d) // what cannot be written is left out
		}
		if text != nil {
			p.Details = append(p.Details, text)
		}
	}
	switch {
	case routing != nil:
		p.Code = routing.HTTPStatus
	case s.Code() == codes.OutOfRange:
		p.Code = http.StatusGone // what was there is no longer kept
	}
	return p
}

// Write answers a request with err.
func Write(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	p := From(r.Context(), err)
	if p.Code >= http.StatusInternalServerError {
		log.ErrorContext(r.Context(), "a request failed", "method", r.Method, "path", r.URL.Path, "status", p.Code,
			"reason", p.Reason, "request", p.TraceID, "error", err)
	}
	h := w.Header()
	h.Del("Content-Disposition")
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store")
	if p.Code == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="securly-sync"`)
	}
	body := p.JSON()
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Code)
	w.Write(body) //nolint:errcheck // the client is gone
}

// JSON writes p.
func (p Problem) JSON() []byte {
	text, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("a problem is plain data: %v", err))
	}
	return text
}

var wordStart = regexp.MustCompile(`([a-z])([A-Z])`)

// screaming is a code as a reason: NOT_FOUND.
func screaming(code codes.Code) string {
	text := []byte(wordStart.ReplaceAllString(code.String(), "${1}_${2}"))
	for i, c := range text {
		if 'a' <= c && c <= 'z' {
			text[i] = c - 'a' + 'A'
		}
	}
	return string(text)
}

type traceKey struct{}

// WithTraceID gives a request that is not traced an id of its own, to find it in the log.
func WithTraceID(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).HasTraceID() {
		return ctx
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	return context.WithValue(ctx, traceKey{}, hex.EncodeToString(id))
}

// TraceID returns the trace that a request belongs to, or the id that WithTraceID gave it.
func TraceID(ctx context.Context) string {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID().String()
	}
	id, _ := ctx.Value(traceKey{}).(string)
	return id
}
