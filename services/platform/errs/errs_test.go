package errs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var (
	errGone  = errs.New(codes.OutOfRange, "REVISION_GONE", "the revision has been pruned")
	errStale = errs.New(codes.Aborted, "PLAN_STALE", "the plan is stale")
	errDisk  = errors.New("/var/data/7: no space left on device")
)

func TestIs(t *testing.T) {
	wrapped := fmt.Errorf("export d1: %w", errGone)
	require.ErrorIs(t, wrapped, errGone)
	require.NotErrorIs(t, wrapped, errStale)
	require.NotErrorIs(t, errs.New(codes.NotFound, "REVISION_GONE", ""), errGone, "the code counts too")
	require.ErrorIs(t, errGone.With("revision", "7"), errGone)
	require.Empty(t, errGone.Detail("revision"), "With copies")

	formatted := errs.Errorf(codes.Unavailable, "AWAY", "read %s: %w", "x", errDisk)
	require.ErrorIs(t, formatted, errDisk)
	require.EqualError(t, formatted, "read x: /var/data/7: no space left on device")
}

func TestWithDoesNotShareDetails(t *testing.T) {
	a := errGone.With("a", "1")
	b, c := a.With("x", "b"), a.With("x", "c")
	require.Equal(t, []string{"", "b", "c"}, []string{a.Detail("x"), b.Detail("x"), c.Detail("x")})
}

func TestStatus(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		code codes.Code
		text string
	}{
		"nil":               {nil, codes.OK, ""},
		"ours":              {errGone, codes.OutOfRange, "the revision has been pruned"},
		"ours, wrapped":     {fmt.Errorf("export d1 at 7: %w", errGone), codes.OutOfRange, "export d1 at 7: the revision has been pruned"},
		"ours, joined":      {errors.Join(errStale), codes.Aborted, "the plan is stale"},
		"ours over context": {errs.Errorf(codes.Unavailable, "AWAY", "ask auth: %w", context.DeadlineExceeded), codes.Unavailable, "ask auth: context deadline exceeded"},
		"hidden cause":      {fmt.Errorf("commit d1: %w", errStale.Because(errDisk)), codes.Aborted, "commit d1: the plan is stale"},
		"unknown":           {errDisk, codes.Internal, "internal error"},
		"unknown, wrapped":  {fmt.Errorf("commit: %w", errDisk), codes.Internal, "internal error"},
		"canceled":          {fmt.Errorf("read: %w", context.Canceled), codes.Canceled, "the call was canceled"},
		"deadline":          {context.DeadlineExceeded, codes.DeadlineExceeded, "the call took longer than its deadline"},
		"gRPC's own":        {status.Error(codes.Unimplemented, "unknown method X"), codes.Unimplemented, "unknown method X"},
		"gRPC's unknown":    {status.Error(codes.Unknown, "secret"), codes.Internal, "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			got := errs.Status(test.err)
			require.Equal(t, test.code, got.Code())
			require.Equal(t, test.text, got.Message())
		})
	}
}

// failing fails with err in a unary call and in a stream.
type failing struct {
	authv1.UnimplementedAuthServiceServer
	rosterv1.UnimplementedRosterServiceServer
	err error
}

func (f *failing) GetKeys(context.Context, *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	return nil, f.err
}

func (f *failing) Export(_ *rosterv1.ExportRequest, stream grpc.ServerStreamingServer[rosterv1.ExportResponse]) error {
	if err := stream.Send(&rosterv1.ExportResponse{Revision: 1}); err != nil {
		return err
	}
	return f.err
}

func TestRoundTrip(t *testing.T) {
	f := &failing{}
	conn := testkit.Server(t, func(r grpc.ServiceRegistrar) {
		authv1.RegisterAuthServiceServer(r, f)
		rosterv1.RegisterRosterServiceServer(r, f)
	})
	unary := func(ctx context.Context) error {
		_, err := authv1.NewAuthServiceClient(conn).GetKeys(ctx, &authv1.GetKeysRequest{})
		return err
	}
	stream := func(ctx context.Context) error {
		s, err := rosterv1.NewRosterServiceClient(conn).Export(testkit.As(t, ctx, testkit.Operator()), &rosterv1.ExportRequest{District: "lakeside"})
		if err != nil {
			return err
		}
		for err == nil {
			_, err = s.Recv()
		}
		return err
	}
	for name, call := range map[string]func(context.Context) error{"unary": unary, "stream": stream} {
		t.Run(name, func(t *testing.T) {
			f.err = fmt.Errorf("export d1 at 7: %w", errGone.With("revision", "7"))
			err := call(t.Context())
			require.ErrorIs(t, err, errGone)
			require.NotErrorIs(t, err, errStale)
			require.EqualError(t, err, "export d1 at 7: the revision has been pruned")
			var e *errs.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, "7", e.Detail("revision"))
			require.Equal(t, codes.OutOfRange, status.Code(err), "gRPC's own package understands it, as the gateway needs")

			// On through a second service, which says what it was doing.
			twice := errs.FromStatus(errs.Status(fmt.Errorf("check readiness: %w", err)).Err())
			require.ErrorIs(t, twice, errGone)
			require.EqualError(t, twice, "check readiness: export d1 at 7: the revision has been pruned")

			f.err = fmt.Errorf("commit: %w", errDisk)
			err = call(t.Context())
			require.Equal(t, codes.Internal, status.Code(err))
			require.EqualError(t, err, "internal error")

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, call(ctx), context.Canceled)
		})
	}
	f.err = nil
	require.ErrorIs(t, stream(t.Context()), io.EOF, "the end of a stream is no error")
}

func TestBecause(t *testing.T) {
	err := errStale.Because(errDisk)
	require.ErrorIs(t, err, errStale)
	require.ErrorIs(t, err, errDisk)
	require.EqualError(t, err, "the plan is stale: /var/data/7: no space left on device", "the log has it all")
	require.Equal(t, "the plan is stale", status.Convert(err).Message())
}

// TestAddressesAreNotPassedOn is about a service that cannot reach another one.
func TestAddressesAreNotPassedOn(t *testing.T) {
	for code, text := range map[codes.Code]string{
		codes.Unavailable: "ask roster-store: temporarily unavailable: try again",
		codes.Internal:    "ask roster-store: internal error",
		codes.Unknown:     "ask roster-store: internal error",
	} {
		err := errs.FromStatus(status.Error(code, "dial tcp 10.1.2.3:9090: connection refused"))
		err = fmt.Errorf("ask roster-store: %w", err)
		require.ErrorContains(t, err, "10.1.2.3", "the log has it")
		require.Equal(t, text, errs.Status(err).Message())
	}
}

func TestFromStatusLeavesOtherErrorsAlone(t *testing.T) {
	require.NoError(t, errs.FromStatus(nil))
	require.Equal(t, io.EOF, errs.FromStatus(io.EOF))
	require.Equal(t, error(errGone), errs.FromStatus(errGone))
}
