package rosterstore_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/rpc"
	"github.com/securly/sync/services/platform/testkit"
)

// cluster is what the program roster-store finds around it: an event server, and
// an auth service that has no more than the keys of test tokens.
type cluster struct {
	binary    string
	auth      string
	events    *server.Server
	eventsDir string
}

type keys struct {
	authv1.UnimplementedAuthServiceServer
}

func (keys) GetKeys(ctx context.Context, _ *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	set, err := testkit.Keys(ctx)
	return &authv1.GetKeysResponse{Jwks: string(set)}, err
}

// startCluster builds the program and starts what it needs, until the test ends.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "roster-store")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/roster-store").CombinedOutput()
	require.NoError(t, err, string(out))

	listener := listen(t)
	auth := grpc.NewServer()
	authv1.RegisterAuthServiceServer(auth, keys{})
	served := make(chan error, 1)
	go func() { served <- auth.Serve(listener) }()
	t.Cleanup(func() {
		auth.Stop()
		require.NoError(t, <-served)
	})
	c := &cluster{binary: binary, auth: listener.Addr().String(), eventsDir: t.TempDir()}
	c.startEvents(t)
	return c
}

// startEvents runs the event server until the test ends, or stopEvents is called.
func (c *cluster) startEvents(t *testing.T) {
	t.Helper()
	events, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: c.eventsDir, SyncAlways: true, NoSigs: true, NoLog: true,
	})
	require.NoError(t, err)
	events.Start()
	c.events = events
	t.Cleanup(c.stopEvents)
	require.True(t, events.ReadyForConnections(testkit.Wait))
}

func (c *cluster) stopEvents() {
	c.events.Shutdown()
	c.events.WaitForShutdown()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

// program is a running roster-store.
type program struct {
	conn *grpc.ClientConn
	cmd  *exec.Cmd
	// stop ends the program by a signal, once, and says how it ended.
	stop func(syscall.Signal) error
}

// spawn starts the program on a folder and waits until it answers.
func (c *cluster) spawn(t testing.TB, dir string) *program {
	t.Helper()
	ports := [2]net.Listener{listen(t), listen(t)} // two, so that they differ
	addr, admin := ports[0].Addr().String(), ports[1].Addr().String()
	for _, l := range ports {
		require.NoError(t, l.Close())
	}
	cmd := exec.Command(c.binary, "--grpc-addr", addr, "--admin-addr", admin, "--data-dir", dir,
		"--nats-url", c.events.ClientURL(), "--auth-addr", c.auth, "--service-secret", "made-up", "--drain", "0s")
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = output, output
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// A connection that fails waits a second before it is tried again.
	wait(t, "roster-store listens", func() bool {
		c, err := net.Dial("tcp", addr)
		return err == nil && c.Close() == nil
	})
	conn, err := rpc.Dial(addr)
	require.NoError(t, err)
	var once sync.Once
	p := &program{conn: conn, cmd: cmd}
	p.stop = func(sig syscall.Signal) error {
		var err error
		once.Do(func() {
			err = errors.Join(cmd.Process.Signal(sig), <-ended, conn.Close(), output.Close())
		})
		return err
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(output.Name())
			t.Logf("roster-store printed:\n%s", text)
		}
		_ = p.stop(syscall.SIGKILL)
	})
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Wait)
	defer cancel()
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	return p
}

// wait polls until done says yes.
func wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	require.Eventually(t, done, testkit.Wait, 10*time.Millisecond, what)
}
