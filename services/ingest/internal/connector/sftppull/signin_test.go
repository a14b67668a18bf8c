package sftppull_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/sftppull"
)

// No credentials go to a server whose key nobody has confirmed, or has changed.
func TestHostKey(t *testing.T) {
	s := newSite(t)
	s.write(t, "users.csv", "one", 2*time.Hour)
	no := refused(t, "SFTP_HOST_KEY_UNCONFIRMED", s.request(t, map[string]any{"hostKey": ""}))
	require.Equal(t, "hostKey", no.setting)
	require.Equal(t, s.Fingerprint, no.value)

	confirmed := s.request(t, map[string]any{"hostKey": no.value})
	require.Len(t, pull(t, confirmed), 1)

	before := s.Fingerprint
	s.RenewHostKey(t)
	no = refused(t, "SFTP_HOST_KEY_CHANGED", confirmed)
	require.Equal(t, s.Fingerprint, no.value)
	require.Contains(t, no.text, before)
	require.Contains(t, no.text, s.Fingerprint)

	t.Run("nothing is tried", func(t *testing.T) {
		g := newGoServer(t, &goServer{password: "right"})
		for _, key := range []string{"", before} {
			_, err := sftppull.Connector{}.Pull(t.Context(), g.request(t, map[string]any{"hostKey": key}, map[string]string{"password": "right", "privateKey": s.Key}))
			require.Error(t, err)
		}
		require.Empty(t, g.tried())
	})
}

func TestPrivateKeys(t *testing.T) {
	s := newSite(t)
	s.write(t, "users.csv", "one", 2*time.Hour)
	req := s.Request(t)
	_, other, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(other, "", []byte("open sesame"))
	require.NoError(t, err)
	encrypted := string(pem.EncodeToMemory(block))
	for name, c := range map[string]struct {
		secrets map[string]string
		reason  string
	}{
		"the right one":    {map[string]string{"privateKey": s.Key}, ""},
		"none":             {nil, "SFTP_AUTH_FAILED"},
		"another":          {map[string]string{"privateKey": encrypted, "passphrase": "open sesame"}, "SFTP_AUTH_FAILED"},
		"no passphrase":    {map[string]string{"privateKey": encrypted}, "SFTP_KEY_UNREADABLE"},
		"wrong passphrase": {map[string]string{"privateKey": encrypted, "passphrase": "hidden"}, "SFTP_KEY_UNREADABLE"},
		"no key":           {map[string]string{"privateKey": "hidden"}, "SFTP_KEY_UNREADABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			req.Secrets, req.Dir = c.secrets, t.TempDir()
			if c.reason == "" {
				require.Len(t, pull(t, req), 1)
				return
			}
			require.NotContains(t, refused(t, c.reason, req).text, "hidden")
		})
	}
}

// sshd checks passwords of users of the system; a server made of the same
// library as the client stands in for it.
func TestPasswords(t *testing.T) {
	for name, server := range map[string]*goServer{
		"password":             {password: "right"},
		"keyboard-interactive": {password: "right", interactive: true},
		"old RSA":              {password: "right", rsa: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGoServer(t, server)
			require.NoError(t, os.WriteFile(g.dir+"/users.csv", []byte("one"), 0o600))
			require.NoError(t, os.Chtimes(g.dir+"/users.csv", time.Unix(0, 0), time.Unix(0, 0)))
			require.Equal(t, map[string]string{"users.csv": "one"}, pull(t, g.request(t, nil, map[string]string{"password": "right"})))
			no := refused(t, "SFTP_AUTH_FAILED", g.request(t, nil, map[string]string{"password": "wrong"}))
			require.NotContains(t, no.text, "wrong")
		})
	}
	t.Run("more than a password", func(t *testing.T) {
		g := newGoServer(t, &goServer{password: "right", interactive: true, questions: []string{"Password: ", "New password: "}})
		refused(t, "SFTP_AUTH_FAILED", g.request(t, nil, map[string]string{"password": "right"}))
	})
	t.Run("no SFTP", func(t *testing.T) {
		g := newGoServer(t, &goServer{password: "right", noSFTP: true})
		refused(t, "SFTP_NO_SFTP", g.request(t, nil, map[string]string{"password": "right"}))
	})
}

// A server that means harm gets nowhere.
func TestHostileServer(t *testing.T) {
	serve := func(t *testing.T, files lister, content io.ReaderAt) connector.Request {
		g := newGoServer(t, &goServer{password: "right", handlers: &sftp.Handlers{FileList: files, FileGet: gets{content}}})
		return g.request(t, map[string]any{"folder": "/"}, map[string]string{"password": "right"})
	}
	t.Run("names that lead out", func(t *testing.T) {
		req := serve(t, lister{fileInfo{"../../users.csv", 3, 0}, fileInfo{"..", 0, os.ModeDir}, fileInfo{"/etc/orgs.csv", 3, 0}, fileInfo{`..\users.csv`, 3, 0}}, strings.NewReader("abc"))
		require.Equal(t, map[string]string{"users.csv": "abc", "orgs.csv": "abc"}, pull(t, req))
		written, err := filepath.Glob(req.Dir + "/*")
		require.NoError(t, err)
		require.Len(t, written, 3, "two files and the checkpoint, under names of our own")
	})
	t.Run("sizes that cannot be", func(t *testing.T) {
		refused(t, "SFTP_TOO_LARGE", serve(t, lister{fileInfo{"users.csv", math.MaxInt64, 0}, fileInfo{"orgs.csv", math.MaxInt64, 0}}, endless{}))
		refused(t, "SFTP_TOO_LARGE", serve(t, lister{fileInfo{"users.csv", -1, 0}}, endless{}))
	})
	t.Run("a file without end", func(t *testing.T) {
		req := serve(t, lister{fileInfo{"users.csv", 100, 0}}, endless{})
		notReady(t, req)
	})
	t.Run("a device", func(t *testing.T) {
		refused(t, "SFTP_NO_PACKAGE", serve(t, lister{fileInfo{"users.csv", 1, os.ModeDevice}, fileInfo{"orgs.csv", 1, os.ModeNamedPipe}}, endless{}))
	})
	t.Run("a list without end", func(t *testing.T) {
		_, err := sftppull.Connector{}.Pull(t.Context(), serve(t, nil, endless{}))
		require.ErrorIs(t, err, connector.ErrUnreachable)
	})
	t.Run("no SSH at all", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		var done sync.WaitGroup
		done.Go(func() {
			conn, err := l.Accept()
			if err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
				_ = conn.Close()
			}
		})
		defer done.Wait()
		defer func() { _ = l.Close() }()
		req := connector.Request{Settings: settings(t, map[string]any{"host": "127.0.0.1", "port": l.Addr().(*net.TCPAddr).Port, "user": "hub"}), Dir: t.TempDir(), Now: time.Now}
		_, err = sftppull.Connector{}.Pull(t.Context(), req)
		require.ErrorIs(t, err, connector.ErrUnreachable)
	})
}

// lister lists what it is; nil lists without end.
type lister []os.FileInfo

func (l lister) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Method != "List" && len(l) > 0 {
		return listerAt(l[:1]), nil
	}
	return listerAt(l), nil
}

type listerAt []os.FileInfo

func (l listerAt) ListAt(out []os.FileInfo, at int64) (int, error) {
	if l == nil {
		for i := range out {
			out[i] = fileInfo{"users.csv", 1, 0}
		}
		return len(out), nil
	}
	if at >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(out, l[at:])
	return n, nil
}

type fileInfo struct {
	name string
	size int64
	mode os.FileMode
}

func (f fileInfo) Name() string       { return f.name }
func (f fileInfo) Size() int64        { return f.size }
func (f fileInfo) Mode() os.FileMode  { return f.mode | 0o600 }
func (f fileInfo) ModTime() time.Time { return time.Unix(0, 0) }
func (f fileInfo) IsDir() bool        { return f.mode.IsDir() }
func (f fileInfo) Sys() any           { return nil }

type gets struct{ io.ReaderAt }

func (g gets) Fileread(*sftp.Request) (io.ReaderAt, error) { return g.ReaderAt, nil }

// endless is a file without end.
type endless struct{}

func (endless) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

// goServer is an SFTP server for what sshd does not do without users of the
// system, or does not do at all.
type goServer struct {
	password    string
	interactive bool
	questions   []string
	noSFTP, rsa bool
	handlers    *sftp.Handlers

	dir, fingerprint string
	port             int
	mu               sync.Mutex
	attempts         []string
}

func newGoServer(t *testing.T, g *goServer) *goServer {
	t.Helper()
	g.dir = t.TempDir()
	config := &ssh.ServerConfig{
		NoClientAuth: false,
		AuthLogCallback: func(_ ssh.ConnMetadata, method string, _ error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.attempts = append(g.attempts, method)
		},
	}
	check := func(password string) (*ssh.Permissions, error) {
		if password != g.password {
			return nil, errors.New("wrong")
		}
		return nil, nil
	}
	if g.interactive {
		questions := g.questions
		if questions == nil {
			questions = []string{"Password: "}
		}
		config.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			var answers []string
			for _, q := range questions {
				a, err := ask("", "", []string{q}, []bool{false})
				if err != nil {
					return nil, err
				}
				answers = append(answers, a...)
			}
			return check(answers[0])
		}
	} else {
		config.PasswordCallback = func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) { return check(string(password)) }
	}
	signer := hostKey(t, g.rsa)
	config.AddHostKey(signer)
	g.fingerprint = ssh.FingerprintSHA256(signer.PublicKey())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g.port = l.Addr().(*net.TCPAddr).Port
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				g.serve(conn, config)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return g
}

func hostKey(t *testing.T, old bool) ssh.Signer {
	t.Helper()
	var block *pem.Block
	if old {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		block = &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	} else {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		block, err = ssh.MarshalPrivateKey(key, "")
		require.NoError(t, err)
	}
	signer, err := ssh.ParsePrivateKey(pem.EncodeToMemory(block))
	require.NoError(t, err)
	return signer
}

func (g *goServer) serve(conn net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			ok := r.Type == "subsystem" && !g.noSFTP
			_ = r.Reply(ok, nil)
			if !ok {
				break
			}
			go ssh.DiscardRequests(requests)
			if g.handlers != nil {
				_ = sftp.NewRequestServer(channel, *g.handlers).Serve()
			} else if s, err := sftp.NewServer(channel, sftp.ReadOnly()); err == nil {
				_ = s.Serve()
			}
			break
		}
		_ = channel.Close()
	}
}

// tried lists the ways to sign in that were tried with credentials.
func (g *goServer) tried() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.attempts), func(m string) bool { return m == "none" })
}

func (g *goServer) request(t *testing.T, other map[string]any, secrets map[string]string) connector.Request {
	t.Helper()
	s := &site{now: time.Date(2026, 8, 20, 22, 0, 0, 0, time.UTC), set: map[string]any{
		"host": "127.0.0.1", "port": g.port, "user": "hub", "folder": g.dir, "hostKey": g.fingerprint,
	}}
	return s.requestWith(t, other, secrets)
}
