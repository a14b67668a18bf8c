package process

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/rpc"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/mongotest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// whoAmI is a service that knows only who calls.
type whoAmI struct {
	authv1.UnimplementedAuthServiceServer
}

func (whoAmI) GetMe(ctx context.Context, _ *authv1.GetMeRequest) (*authv1.Me, error) {
	return &authv1.Me{Subject: authn.FromContext(ctx).Subject}, nil
}

// started is a running program.
type started struct {
	admin string
	conn  *grpc.ClientConn
	stop  context.CancelFunc
	done  chan error
	ended []string // What has ended, in order; read it after done.
}

func start(t *testing.T, args ...string) *started {
	t.Helper()
	s := &started{done: make(chan error, 1)}
	addrs := make(chan string, 2)
	p := Program{
		Name: "test",
		Build: func(_ context.Context, env *Env) (Parts, error) {
			env.listen = func(network, _ string) (net.Listener, error) {
				l, err := net.Listen(network, "127.0.0.1:0")
				if err == nil {
					addrs <- l.Addr().String()
				}
				return l, err
			}
			docs, err := env.Docs()
			require.NoError(t, err)
			env.Opened.Push("last opened", func() error {
				s.ended = append(s.ended, "opened")
				_, err := docs.Get(context.Background(), "c", "1")
				require.Error(t, err)
				require.NotContains(t, err.Error(), "closed", "what was opened first closes last")
				return nil
			})
			return Parts{
				Register: func(r grpc.ServiceRegistrar) { authv1.RegisterAuthServiceServer(r, whoAmI{}) },
				Keys:     testkit.Keys,
				Run: []lifecycle.Component{{Name: "part", Run: func(ctx context.Context) error {
					<-ctx.Done()
					s.ended = append(s.ended, "part")
					return ctx.Err()
				}}},
			}, nil
		},
	}
	settings, flags := &Settings{}, pflag.NewFlagSet("test", pflag.ContinueOnError)
	settings.addFlags(flags)
	require.NoError(t, flags.Parse(append([]string{"--data-dir", t.TempDir(), "--log-level", "error"}, args...)))
	var ctx context.Context
	ctx, s.stop = context.WithCancel(t.Context())
	go func() { s.done <- run(ctx, p, settings, flags) }()
	var err error
	s.conn, err = rpc.Dial("passthrough:///" + <-addrs)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.conn.Close()) })
	s.admin = "http://" + <-addrs
	return s
}

func (s *started) get(t *testing.T, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(s.admin + path)
	require.NoError(t, err)
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	return r.StatusCode, string(text)
}

func TestProgramServesAndStops(t *testing.T) {
	s := start(t, "--drain", "500ms")
	me, err := authv1.NewAuthServiceClient(s.conn).GetMe(testkit.As(t, t.Context(), testkit.Operator()), &authv1.GetMeRequest{})
	require.NoError(t, err)
	require.Equal(t, "operator", me.GetSubject())
	code, _ := s.get(t, "/readyz")
	require.Equal(t, http.StatusOK, code)
	_, metrics := s.get(t, "/metrics")
	require.Contains(t, metrics, `grpc_server_handled_total{grpc_code="OK",grpc_method="GetMe"`)
	_, profiles := s.get(t, "/debug/pprof/")
	require.Contains(t, profiles, "goroutine")

	watch, err := healthv1.NewHealthClient(s.conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	status, err := watch.Recv()
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, status.GetStatus())

	s.stop()
	status, err = watch.Recv()
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, status.GetStatus(), "not ready comes first")
	code, _ = s.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	_, err = authv1.NewAuthServiceClient(s.conn).GetMe(testkit.As(t, t.Context(), testkit.Operator()), &authv1.GetMeRequest{})
	require.NoError(t, err, "and calls still work")
	// The open watch must not keep the program.
	require.NoError(t, s.conn.Close())
	s.conn, err = rpc.Dial("passthrough:///gone")
	require.NoError(t, err)

	require.NoError(t, <-s.done)
	require.Equal(t, []string{"part", "opened"}, s.ended)
}

func TestEndlessCallsAreCutOff(t *testing.T) {
	s := start(t, "--drain", "0s", "--grace", "50ms")
	watch, err := healthv1.NewHealthClient(s.conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)
	s.stop()
	require.NoError(t, <-s.done)
}

func TestFailedStartClosesWhatItOpened(t *testing.T) {
	closed := false
	settings, flags := &Settings{}, pflag.NewFlagSet("test", pflag.ContinueOnError)
	settings.addFlags(flags)
	require.NoError(t, flags.Parse([]string{"--log-level", "error"}))
	broken := errors.New("no disk")
	err := run(t.Context(), Program{Name: "test", Build: func(_ context.Context, env *Env) (Parts, error) {
		env.Opened.Push("x", func() error {
			closed = true
			return nil
		})
		_, err := env.Connect(env.Settings.RosterAddr)
		require.ErrorContains(t, err, "--service-secret")
		return Parts{}, broken
	}}, settings, flags)
	require.ErrorIs(t, err, broken)
	require.True(t, closed)
}

func TestCommandLine(t *testing.T) {
	cmd := command(Program{Name: "test", Flags: func(f *pflag.FlagSet) { f.Int("own", 1, "") }})
	t.Setenv("SECURLY_SYNC_SERVICE_SECRET", "hunter2")
	t.Setenv("SECURLY_SYNC_NATS_URL", "nats://user:hunter2@nats:4222")
	t.Setenv("SECURLY_SYNC_OWN", "many")
	cmd.SetArgs([]string{"--drain", "1s"})
	err := cmd.Execute()
	require.ErrorContains(t, err, "SECURLY_SYNC_OWN")
	all := shown(cmd.Flags())
	require.Equal(t, time.Second.String(), all["drain"])
	require.Equal(t, "redacted", all["service-secret"])
	require.Equal(t, "redacted", all["nats-url"])
	require.NotContains(t, cmd.UsageString(), "redacted")
}

func TestDocsAreKeptInMongoDB(t *testing.T) {
	settings := &Settings{MongoDBURI: config.Secret(mongotest.Find(t).URI), DataDir: filepath.Join(t.TempDir(), "unused")}
	name := mongotest.Database(t)
	for _, created := range []bool{true, false} {
		env := &Env{Settings: settings, name: name}
		docs, err := env.Docs()
		require.NoError(t, err)
		_, err = docs.Put(t.Context(), "c", docstore.Row{ID: "1"})
		if created {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, docstore.ErrExists)
		}
		require.NoError(t, env.Opened.Close())
	}
	require.NoDirExists(t, settings.DataDir)
}
