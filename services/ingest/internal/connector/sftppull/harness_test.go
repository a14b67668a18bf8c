package sftppull_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/connectortest"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/connector/sftppull"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/sshd"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// site is a folder on a real OpenSSH server.
type site struct {
	*sshd.Server
	dir string
	now time.Time
	set map[string]any
}

func newSite(t *testing.T) *site {
	s := &site{Server: sshd.Start(t), dir: t.TempDir(), now: time.Date(2026, 8, 20, 22, 0, 0, 0, time.UTC)}
	s.set = map[string]any{"host": "127.0.0.1", "port": s.Port, "user": s.User, "folder": s.dir, "hostKey": s.Fingerprint}
	return s
}

// Put makes files the newest package.
func (s *site) Put(t *testing.T, files []connectortest.Input) {
	t.Helper()
	require.NoError(t, os.RemoveAll(s.dir))
	for _, f := range files {
		s.write(t, f.Name, string(f.Text), 3*time.Hour)
	}
}

// write writes a file that is so old.
func (s *site) write(t *testing.T, name, text string, age time.Duration) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	at := s.now.Add(-age)
	require.NoError(t, os.Chtimes(path, at, at))
}

// Request may pull from there with the key.
func (s *site) Request(t *testing.T) connector.Request {
	t.Helper()
	return s.request(t, nil)
}

// request is one with other settings on top.
func (s *site) request(t *testing.T, other map[string]any) connector.Request {
	t.Helper()
	return s.requestWith(t, other, map[string]string{"privateKey": s.Key})
}

func (s *site) requestWith(t *testing.T, other map[string]any, secrets map[string]string) connector.Request {
	t.Helper()
	set := maps.Clone(s.set)
	maps.Copy(set, other)
	return connector.Request{
		Known:    onerostercsv.Known(nil),
		Settings: settings(t, set), Secrets: secrets, Dir: t.TempDir(), MaxBytes: 64 << 20,
		Progress: func(int64, int64) {}, Now: func() time.Time { return s.now },
	}
}

func settings(t *testing.T, set map[string]any) connector.Settings {
	t.Helper()
	out, err := structpb.NewStruct(set)
	require.NoError(t, err)
	field, err := sftppull.Connector{}.Describe().CheckSettings(out)
	require.NoError(t, err, field)
	return connector.Settings{Struct: out}
}

// hurried does not pause between tries.
var hurried = sftppull.Connector{Wait: func(context.Context, time.Duration) error { return nil }}

// pull wants a package and returns its files by name.
func pull(t *testing.T, req connector.Request) map[string]string {
	t.Helper()
	p, err := hurried.Pull(t.Context(), req)
	require.NoError(t, err)
	out := map[string]string{}
	for _, f := range p.Files {
		text, err := os.ReadFile(f.Path)
		require.NoError(t, err)
		out[f.Name] = string(text)
	}
	return out
}

// refused wants a refusal for a reason.
func refused(t *testing.T, reason string, req connector.Request) (refusal struct{ text, setting, value string }) {
	t.Helper()
	_, err := hurried.Pull(t.Context(), req)
	var known *errs.Error
	require.ErrorAs(t, err, &known)
	require.Equal(t, reason, known.Reason, err)
	refusal.text, refusal.setting, refusal.value = err.Error(), known.Detail("setting"), known.Detail("value")
	return refusal
}

// notReady wants to be told to come back.
func notReady(t *testing.T, req connector.Request) time.Time {
	t.Helper()
	_, err := hurried.Pull(t.Context(), req)
	var wait *connector.NotReady
	require.ErrorAs(t, err, &wait)
	require.NotEmpty(t, wait.Reason)
	return wait.Until
}

// proxy stands between the hub and a server.
type proxy struct {
	port int
	// through is told how many bytes have come from the server over the connection
	// with this number, counted from 1; it cuts the connection by returning false.
	through func(connection, bytes int) bool

	mu    sync.Mutex
	bytes []int // by connection
}

func newProxy(t *testing.T, to int, through func(connection, bytes int) bool) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{port: l.Addr().(*net.TCPAddr).Port, through: through}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(to)))
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.bytes = append(p.bytes, 0)
			number := len(p.bytes)
			p.mu.Unlock()
			all.Go(func() {
				_, _ = io.Copy(out, in)
				_, _ = in.Close(), out.Close()
			})
			all.Go(func() {
				_, _ = io.Copy(watched{in, p, number}, out)
				_, _ = in.Close(), out.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return p
}

// sent returns the bytes that came from the server, by connection.
func (p *proxy) sent() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]int(nil), p.bytes...)
}

type watched struct {
	io.Writer
	p      *proxy
	number int
}

var errCut = errors.New("cut")

func (w watched) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	w.p.bytes[w.number-1] += len(b)
	n := w.p.bytes[w.number-1]
	w.p.mu.Unlock()
	if w.p.through != nil && !w.p.through(w.number, n) {
		return 0, errCut
	}
	return w.Writer.Write(b)
}
