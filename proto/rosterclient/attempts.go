package rosterclient

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What a product may want to tell apart. The errors of this package wrap them,
// and the gRPC status, which status.Code finds.
var (
	// ErrRevisionGone means that the hub does not keep the revision any more.
	ErrRevisionGone = errors.New("the revision is gone: export the newest one")
	// ErrRevisionUnknown means that the district has no such revision. The
	// district was erased and made again, or the hub restored from a backup, if
	// it had it once.
	ErrRevisionUnknown = errors.New("the district has no such revision: export the newest one")
	// ErrDistrictUnknown means that there is no such district, or that the
	// client may not read it.
	ErrDistrictUnknown = errors.New("unknown district, or not one of this client")
)

// byReason finds the errors above in what the hub answers.
var byReason = map[string]error{
	"REVISION_GONE":      ErrRevisionGone,
	"REVISION_NOT_FOUND": ErrRevisionUnknown,
	"DISTRICT_NOT_FOUND": ErrDistrictUnknown,
}

var (
	errIdle  = status.Error(codes.Unavailable, "nothing came for a while, not even a bookmark")
	errEnded = status.Error(codes.Unavailable, "the hub has ended the stream")
)

// pause doubles from 0.2 to 25 seconds and is partly random, so that the
// products of a hub which was away do not all come at once.
func pause(attempt int) time.Duration {
	longest := 200 * time.Millisecond << min(attempt, 7)
	return longest/2 + rand.N(longest/2) //nolint:gosec // Nobody gains by guessing it.
}

// attempts decides whether a call that failed is made again, and when.
type attempts struct {
	client         *Client
	what, district string
	failed         int
	refused        bool
}

func (c *Client) attempts(what, district string) *attempts {
	return &attempts{client: c, what: what, district: district}
}

// progress tells that the hub is there.
func (a *attempts) progress() { a.failed, a.refused = 0, false }

// final is an error that trying again does not help against.
type final struct{ error }

func (e final) Unwrap() error { return e.error }

// wait returns nil when it is time to try again. Otherwise it returns the final
// error, or what has ended ctx.
func (a *attempts) wait(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.As(err, &final{}) {
		return err
	}
	code := status.Code(err)
	err = final{fmt.Errorf("%s of %s: %w", a.what, a.district, explained(err))}
	switch code {
	case codes.Unauthenticated:
		// Once may be a token that ended on its way, or a hub with new keys.
		if a.client.tokens == nil || a.refused {
			return err
		}
		a.refused = true
		a.client.tokens.forget()
	case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented:
		return err
	}
	d := a.client.pause(a.failed)
	a.failed++
	a.client.log.WarnContext(ctx, "roster stream interrupted, trying again", "district", a.district, "pause", d, "error", err)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// explained wraps err in the one of the errors above that it stands for.
func explained(err error) error {
	for _, d := range status.Convert(err).Details() {
		info, _ := d.(*errdetails.ErrorInfo)
		if known := byReason[info.GetReason()]; known != nil && !errors.Is(err, known) {
			return fmt.Errorf("%w: %w", known, err)
		}
	}
	return err
}

// messages opens a stream and yields what it brings. It ends with the error of
// the stream, io.EOF included.
func messages[T any](ctx context.Context, open func(context.Context) (grpc.ServerStreamingClient[T], error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		idle := time.AfterFunc(idleLimit, func() { cancel(errIdle) })
		defer idle.Stop()
		stream, err := open(ctx)
		for err == nil {
			var m *T
			if m, err = stream.Recv(); err != nil {
				break
			}
			// The time that the caller takes is not the hub's.
			idle.Stop()
			if !yield(m, nil) {
				return
			}
			idle.Reset(idleLimit)
		}
		if context.Cause(ctx) == errIdle { //nolint:errorlint // It is that value or another.
			err = errIdle
		}
		yield(nil, err)
	}
}
