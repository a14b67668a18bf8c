// Package errs holds errors that keep their meaning across a gRPC connection.
//
// A package names its errors where they arise, as sentinels made with New, or
// with Errorf when the text needs values. One interceptor turns them into a
// status (Status), another turns a status back into them (FromStatus), so that
// errors.Is works on both sides of the wire.
package errs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Domain is the domain of all reasons, as in google.rpc.ErrorInfo.
const Domain = "securly-sync"

// Error is an error with a meaning for callers. Two of them are the same to
// errors.Is when Code and Reason are equal.
type Error struct {
	Code codes.Code
	// Reason tells errors with the same code apart, "REVISION_GONE" for example.
	Reason string

	message  string
	metadata map[string]string
	cause    error
	hidden   bool // The cause is for the log only.
}

// New makes a sentinel.
func New(code codes.Code, reason, message string) *Error {
	return &Error{Code: code, Reason: reason, message: message}
}

// Errorf is New with a formatted message; what %w names is wrapped, and its
// text is shown to the caller.
func Errorf(code codes.Code, reason, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Reason: reason, message: err.Error(), cause: err}
}

// With returns a copy of e which carries one more detail for programs, such as
// ("field", "pageToken").
func (e *Error) With(key, value string) *Error {
	c := *e
	c.metadata = maps.Clone(e.metadata)
	if c.metadata == nil {
		c.metadata = map[string]string{}
	}
	c.metadata[key] = value
	return &c
}

// Because returns a copy of e with a cause that is logged and found by errors.Is,
// but not shown to callers: a driver's error, or an address inside of the hub.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause, c.hidden = cause, true
	return &c
}

// Detail returns what With has set, or "".
func (e *Error) Detail(key string) string { return e.metadata[key] }

// Error returns the message with its cause.
func (e *Error) Error() string {
	if e.hidden {
		return e.message + ": " + e.cause.Error()
	}
	return e.message
}

// Unwrap returns what Errorf has wrapped, or what Because was given.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus makes gRPC's own status package understand e, on both sides.
func (e *Error) GRPCStatus() *status.Status { return e.status(e.message) }

// Is compares code and reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Reason == e.Reason
}

// Status says what a caller may know about err: code, reason and the text of
// the whole chain when there is an *Error in it, the code of a context error,
// and "internal error" for everything else. It is the only way from errors to
// statuses.
func Status(err error) *status.Status {
	var e *Error
	switch {
	case err == nil:
		return status.New(codes.OK, "")
	case errors.As(err, &e):
		return e.status(strings.Replace(err.Error(), e.Error(), e.message, 1))
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "the call was canceled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "the call took longer than its deadline")
	}
	// A status of gRPC itself, for an unknown method or a message over the limit.
	var g interface{ GRPCStatus() *status.Status }
	if errors.As(err, &g) && g.GRPCStatus().Code() != codes.Unknown {
		return g.GRPCStatus()
	}
	return status.New(codes.Internal, textInternal)
}

// What callers read in place of causes that are not for them.
const (
	textInternal    = "internal error"
	textUnavailable = "temporarily unavailable: try again"
)

func (e *Error) status(text string) *status.Status {
	s := status.New(e.Code, text)
	if e.Reason == "" && len(e.metadata) == 0 {
		return s
	}
	detailed, err := s.WithDetails(&errdetails.ErrorInfo{Reason: e.Reason, Domain: Domain, Metadata: e.metadata})
	if err != nil { // Only for codes.OK, which is no error.
		return s
	}
	return detailed
}

// FromStatus is the client's side of Status: it turns the error of a call into
// an *Error. Canceled and deadline errors are the context's errors too.
// Anything that is not a status, io.EOF for example, is returned as it is.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := err.(*Error); ok { //nolint:errorlint // Only one that is not wrapped needs nothing.
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := &Error{Code: s.Code(), message: s.Message()}
	switch s.Code() {
	case codes.Canceled:
		e.cause = context.Canceled
	case codes.DeadlineExceeded:
		e.cause = context.DeadlineExceeded
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			e.Reason, e.metadata = info.GetReason(), info.GetMetadata()
			return e
		}
	}
	// Not from a service of ours but from the way to it: the text may name
	// addresses, and a service that passes the error on must not show them.
	switch s.Code() {
	case codes.Unavailable:
		return e.rephrased(textUnavailable)
	case codes.Internal, codes.Unknown:
		return e.rephrased(textInternal)
	}
	return e
}

func (e *Error) rephrased(text string) *Error {
	if e.message == text {
		return e
	}
	return (&Error{Code: e.Code, message: text}).Because(errors.New(e.message))
}
