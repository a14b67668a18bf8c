// Package sshd runs a real OpenSSH server for tests: on a port of its own, with
// its own host key and one client key, as the user of the test. It serves files
// over SFTP, read-only, and nothing else.
package sshd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// Server is a running server.
type Server struct {
	// Port on 127.0.0.1.
	Port int
	// User that may sign in, and Key with which: a private key in OpenSSH form.
	User, Key string
	// Fingerprint of the host key, as SHA256:….
	Fingerprint string

	dir  string
	stop func()
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	me, err := user.Current()
	require.NoError(t, err)
	s := &Server{User: me.Username, dir: t.TempDir()}
	if me.Uid == "0" {
		require.NoError(t, os.MkdirAll("/run/sshd", 0o755)) //nolint:gosec // sshd wants it to be readable
	}
	private, public := newKey(t)
	s.Key = string(private)
	s.write(t, "authorized_keys", ssh.MarshalAuthorizedKey(public))
	s.RenewHostKey(t)
	t.Cleanup(func() { s.stop() })
	return s
}

// RenewHostKey has the server come back with another host key, on the same port.
func (s *Server) RenewHostKey(t testing.TB) {
	t.Helper()
	if s.stop != nil {
		s.stop()
	}
	private, public := newKey(t)
	s.write(t, "host_key", private)
	s.Fingerprint = ssh.FingerprintSHA256(public)
	var err error
	for range 10 { // another process may take a port that was free
		if err = s.run(t); err == nil {
			return
		}
	}
	require.NoError(t, err)
}

func newKey(t testing.TB) (private []byte, public ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "made up")
	require.NoError(t, err)
	public, err = ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	return pem.EncodeToMemory(block), public
}

func (s *Server) write(t testing.TB, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

func (s *Server) run(t testing.TB) error {
	port := s.Port
	if port == 0 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port = free.Addr().(*net.TCPAddr).Port
		require.NoError(t, free.Close())
	}
	conf := s.write(t, "sshd_config", fmt.Appendf(nil, `Port %d
ListenAddress 127.0.0.1
HostKey %s/host_key
AuthorizedKeysFile %[2]s/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp -R
ForceCommand internal-sftp -R
MaxStartups 100
`, port, s.dir))
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd" // not on every user's PATH
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "-D", "-e", "-f", conf) //nolint:gosec // the path of sshd
	cmd.WaitDelay = 10 * time.Second                              // connections that outlive it hold its output
	var log output
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start(), "OpenSSH's server is needed: apt-get install openssh-server")
	var exit error // of a server that could not start; one that is stopped was killed
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		exit = cmd.Wait()
	}()
	s.stop = func() {
		cancel()
		<-ended
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return fmt.Errorf("sshd ended: %w: %s", exit, log.String())
		case <-tick.C:
		}
		if answers(port) {
			s.Port = port
			return nil
		}
	}
}

// answers tells whether an SSH server is at the port; it waits a little for its
// greeting.
func answers(port int) bool {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	greeting := make([]byte, 4)
	n, err := conn.Read(greeting)
	return !errors.Is(err, net.ErrClosed) && strings.HasPrefix(string(greeting[:n]), "SSH-")
}

// output is what sshd prints, while it prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
