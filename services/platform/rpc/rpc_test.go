package rpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/rpc"
	"github.com/securly/sync/services/platform/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// service answers with what the test sets.
type service struct {
	authv1.UnimplementedAuthServiceServer
	rosterv1.UnimplementedRosterServiceServer
	keys   func(context.Context) (*authv1.GetKeysResponse, error)
	export func() error
}

func (s *service) GetKeys(ctx context.Context, _ *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	return s.keys(ctx)
}

func (s *service) Export(*rosterv1.ExportRequest, grpc.ServerStreamingServer[rosterv1.ExportResponse]) error {
	return s.export()
}

// buffer is what the server writes its log to.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// lines returns the log, one map for each line.
func (b *buffer) lines(t *testing.T) (lines []map[string]any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		lines = append(lines, m)
	}
	return lines
}

type hub struct {
	*service
	conn     *grpc.ClientConn
	log      *buffer
	registry *prometheus.Registry
	health   *health.Server
}

func start(t *testing.T) *hub {
	h := &hub{service: &service{}, log: &buffer{}, registry: prometheus.NewRegistry(), health: health.NewServer()}
	network := rpc.NewInMemory()
	server := rpc.NewServer(rpc.ServerOptions{
		Log:      slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Verifier: authn.NewVerifier(testkit.Keys), Registerer: h.registry, Health: h.health,
	})
	authv1.RegisterAuthServiceServer(server, h)
	rosterv1.RegisterRosterServiceServer(server, h)
	go func() { _ = server.Serve(network.Listener()) }()
	var err error
	h.conn, err = network.Dial()
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, h.conn.Close())
		server.Stop()
	})
	return h
}

func (h *hub) getKeys(ctx context.Context) error {
	_, err := authv1.NewAuthServiceClient(h.conn).GetKeys(ctx, &authv1.GetKeysRequest{})
	return err
}

func (h *hub) doExport(ctx context.Context) error {
	s, err := rosterv1.NewRosterServiceClient(h.conn).Export(ctx, &rosterv1.ExportRequest{District: "lakeside"})
	if err != nil {
		return err
	}
	_, err = s.Recv()
	return err
}

func TestCausesAreLoggedAndNotShown(t *testing.T) {
	h := start(t)
	cause := errors.New("/var/data: no space left on device")
	h.keys = func(context.Context) (*authv1.GetKeysResponse, error) { return nil, cause }
	require.EqualError(t, h.getKeys(t.Context()), "internal error")
	lines := h.log.lines(t)
	require.Len(t, lines, 1)
	require.Equal(t, "ERROR", lines[0]["level"])
	require.Equal(t, cause.Error(), lines[0]["grpc.error"])
	require.Equal(t, "GetKeys", lines[0]["grpc.method"])
	require.Equal(t, "Internal", lines[0]["grpc.code"])
}

func TestMistakesAreLoggedByReason(t *testing.T) {
	h := start(t)
	h.keys = func(context.Context) (*authv1.GetKeysResponse, error) {
		return nil, errs.New(codes.NotFound, "RECORD_NOT_FOUND", `users "MADE-UP-STUDENT-1": unknown record`)
	}
	require.ErrorContains(t, h.getKeys(t.Context()), "MADE-UP-STUDENT-1", "the caller may know what it asked for")
	lines := h.log.lines(t)
	require.Len(t, lines, 1)
	require.Equal(t, "RECORD_NOT_FOUND", lines[0]["grpc.reason"])
	require.Equal(t, "NotFound", lines[0]["grpc.code"])
	require.NotContains(t, h.log.text.String(), "STUDENT")
}

func TestPanicIsAnError(t *testing.T) {
	h := start(t)
	h.keys = func(context.Context) (*authv1.GetKeysResponse, error) { panic("secret of the handler") }
	h.export = func() error { panic("secret of the handler") }
	for _, err := range []error{h.getKeys(t.Context()), h.doExport(testkit.As(t, t.Context(), testkit.Operator()))} {
		require.Equal(t, codes.Internal, status.Code(err))
		require.EqualError(t, err, "internal error")
	}
	stacks := 0
	for _, line := range h.log.lines(t) {
		if stack, ok := line["stack"].(string); ok {
			require.Contains(t, stack, "rpc_test.go", "the stack leads to the handler")
			stacks++
		}
	}
	require.Equal(t, 2, stacks)
	h.keys = func(context.Context) (*authv1.GetKeysResponse, error) { return &authv1.GetKeysResponse{}, nil }
	require.NoError(t, h.getKeys(t.Context()), "the server goes on")
}

func TestMetricsSeeRefusedCalls(t *testing.T) {
	h := start(t)
	require.Equal(t, codes.Unauthenticated, status.Code(h.doExport(t.Context())))
	require.NoError(t, testutil.GatherAndCompare(h.registry, strings.NewReader(`
		# HELP grpc_server_handled_total Total number of RPCs completed on the server, regardless of success or failure.
		# TYPE grpc_server_handled_total counter
		grpc_server_handled_total{grpc_code="Unauthenticated",grpc_method="Export",grpc_service="securly.sync.roster.v1.RosterService",grpc_type="server_stream"} 1
	`), "grpc_server_handled_total"))
}

func TestServersShareARegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	for range 2 {
		rpc.NewServer(rpc.ServerOptions{Verifier: authn.NewVerifier(testkit.Keys), Registerer: registry}).Stop()
	}
}

func TestHealthFollowsTheProgram(t *testing.T) {
	h := start(t)
	check := func() healthv1.HealthCheckResponse_ServingStatus {
		answer, err := healthv1.NewHealthClient(h.conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
		require.NoError(t, err)
		return answer.GetStatus()
	}
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, check())
	h.health.Shutdown()
	require.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, check())
}

func TestCallsHaveADeadline(t *testing.T) {
	h := start(t)
	var left time.Duration
	h.keys = func(ctx context.Context) (*authv1.GetKeysResponse, error) {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		left = time.Until(deadline)
		return &authv1.GetKeysResponse{}, nil
	}
	require.NoError(t, h.getKeys(t.Context()))
	require.Greater(t, left, time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, h.getKeys(ctx))
	require.LessOrEqual(t, left, 10*time.Second, "the caller's own counts")
}

func TestCallsThatFollowTheDistrictsSizeHaveMoreTime(t *testing.T) {
	var left time.Duration
	conn, err := rpc.NewInMemory().Dial(grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, _ ...grpc.CallOption) error {
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			left = time.Until(deadline)
			return nil
		}))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	roster := rosterv1.NewRosterServiceClient(conn)
	_, err = roster.GetPlan(t.Context(), &rosterv1.GetPlanRequest{})
	require.NoError(t, err)
	require.Less(t, left, 10*time.Minute)
	_, err = roster.CommitPlan(t.Context(), &rosterv1.CommitPlanRequest{})
	require.NoError(t, err)
	require.Greater(t, left, 30*time.Minute)
}

func TestMessageLimit(t *testing.T) {
	h := start(t)
	answer := strings.Repeat("x", 8<<20)
	h.keys = func(context.Context) (*authv1.GetKeysResponse, error) {
		return &authv1.GetKeysResponse{Jwks: answer}, nil
	}
	require.NoError(t, h.getKeys(t.Context()))
	answer = strings.Repeat("x", rpc.MaxMessage+1)
	require.Equal(t, codes.ResourceExhausted, status.Code(h.getKeys(t.Context())))
}

func TestNobodyThere(t *testing.T) {
	conn, err := rpc.Dial("passthrough:///127.0.0.1:1")
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	_, err = authv1.NewAuthServiceClient(conn).GetKeys(t.Context(), &authv1.GetKeysRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
}
