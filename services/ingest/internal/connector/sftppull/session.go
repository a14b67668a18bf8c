package sftppull

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc/codes"

	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/platform/errs"
)

const (
	dialTimeout = 15 * time.Second
	// handshakeTimeout bounds everything up to the first answer to SFTP.
	handshakeTimeout = 30 * time.Second
	// idleTimeout ends a connection on which nothing moves.
	idleTimeout = time.Minute
	// listBytes bounds what a server may send that is no file: names of 100,000
	// files are less.
	listBytes = 32 << 20
)

// hostKeys are asked for in this order. It is written down because the first
// that a server has is the one that gets pinned.
var hostKeys = []string{
	ssh.KeyAlgoED25519,
	ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

// session is a connection that is signed in.
type session struct {
	*sftp.Client
	conn *guarded
	stop func() bool
}

// dial connects, checks the host key, and only then signs in.
func dial(ctx context.Context, set settings, secrets map[string]string) (_ *session, err error) {
	auth, err := methods(secrets)
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(set.Host, strconv.Itoa(set.Port))
	tcp, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, connector.Unreachable("no connection to %s (%s): check server and port, and that the hub is let through there", address, plain(err))
	}
	s := &session{conn: &guarded{Conn: tcp}}
	s.conn.allow(listBytes)
	s.stop = context.AfterFunc(ctx, func() { _ = tcp.Close() })
	slow := time.AfterFunc(handshakeTimeout, func() { _ = tcp.Close() })
	defer slow.Stop()
	defer func() {
		if err != nil {
			s.close()
		}
	}()

	var keyErr error
	conn, channels, requests, err := ssh.NewClientConn(s.conn, address, &ssh.ClientConfig{
		User: set.User, Auth: auth, HostKeyAlgorithms: hostKeys,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			keyErr = checkHostKey(address, set.HostKey, ssh.FingerprintSHA256(key))
			return keyErr
		},
	})
	switch {
	case keyErr != nil:
		return nil, keyErr
	case errors.Is(err, errMore):
		return nil, refused("SFTP_AUTH_FAILED", "%s asks user %q for more than a password, a code for example: make an account that signs in with a key or a password alone", address, set.User)
	case err != nil && strings.Contains(err.Error(), "unable to authenticate"):
		return nil, refused("SFTP_AUTH_FAILED", "%s does not let user %q in with %s: check user name and secrets, and that the account may use SFTP", address, set.User, offered(secrets))
	case err != nil:
		return nil, connector.Unreachable("%s did not complete the sign-in (%s): check that it is an SFTP server, and its log", address, plain(err))
	}
	if s.Client, err = sftp.NewClient(ssh.NewClient(conn, channels, requests)); err != nil {
		broken := s.conn.broken.Load()
		_ = conn.Close()
		if broken {
			return nil, connector.Unreachable("%s broke the connection off (%s)", address, plain(err))
		}
		return nil, refused("SFTP_NO_SFTP", "%s lets user %q in, but gives no access to files over SFTP: allow it for the account", address, set.User)
	}
	return s, nil
}

// close ends the connection; there is nothing left to be said on it.
func (s *session) close() {
	s.stop()
	_ = s.conn.Close()
	if s.Client != nil {
		_ = s.Close()
		_ = s.Wait() // for its goroutines
	}
}

// checkHostKey compares a server's key with the one that was confirmed.
func checkHostKey(address, confirmed, shown string) error {
	switch confirmed {
	case shown:
		return nil
	case "":
		return connector.ToConfirm(refused("SFTP_HOST_KEY_UNCONFIRMED",
			"%s shows the key %s, which nobody has confirmed: compare it with what the server's operator says, then save it as the source's host key. No password was sent", address, shown),
			"hostKey", shown)
	}
	return connector.ToConfirm(refused("SFTP_HOST_KEY_CHANGED",
		"%s shows the key %s instead of %s: it was set up anew, or something else answers in its place. Ask the server's operator; only if the new key is right, save it as the source's host key. Nothing was sent or fetched", address, shown, confirmed),
		"hostKey", shown)
}

// methods are the ways to sign in that the secrets allow.
func methods(secrets map[string]string) ([]ssh.AuthMethod, error) {
	var out []ssh.AuthMethod
	if text := secrets["privateKey"]; text != "" {
		signer, err := parseKey(text, secrets["passphrase"])
		if err != nil {
			return nil, err
		}
		out = append(out, ssh.PublicKeys(signer))
	}
	if password := secrets["password"]; password != "" {
		out = append(out, ssh.Password(password), ssh.KeyboardInteractive(answer(password)))
	}
	return out, nil
}

func parseKey(text, passphrase string) (ssh.Signer, error) {
	fault := func(what string) error {
		return errs.Errorf(codes.InvalidArgument, "SFTP_KEY_UNREADABLE", "the private key cannot be read: %s", what)
	}
	signer, err := ssh.ParsePrivateKey([]byte(text))
	var encrypted *ssh.PassphraseMissingError
	if errors.As(err, &encrypted) {
		if passphrase == "" {
			return nil, fault("it is encrypted, and there is no passphrase")
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(text), []byte(passphrase)); err != nil {
			return nil, fault("the passphrase does not fit")
		}
	}
	if err != nil {
		return nil, fault("enter the whole file, in PEM or OpenSSH form, with its first and last line")
	}
	return signer, nil
}

var errMore = errors.New("the server asks for more than a password")

// answer gives the password to the first hidden question, and nothing to any
// other: a second one asks for something else.
func answer(password string) ssh.KeyboardInteractiveChallenge {
	asked := false
	return func(_, _ string, questions []string, echos []bool) ([]string, error) {
		if len(questions) == 0 {
			return nil, nil
		}
		if asked || len(questions) > 1 || echos[0] {
			return nil, errMore
		}
		asked = true
		return []string{password}, nil
	}
}

// offered names what was offered, for the message of a refusal.
func offered(secrets map[string]string) string {
	var out []string
	for _, s := range []struct{ name, text string }{{"privateKey", "the private key"}, {"password", "the password"}} {
		if secrets[s.name] != "" {
			out = append(out, s.text)
		}
	}
	if len(out) == 0 {
		return "neither password nor private key (the source has none)"
	}
	return strings.Join(out, " and ")
}

// failure turns an error of the server or the line into one that says what to do.
func failure(err error, what, path string) error {
	var status *sftp.StatusError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return refused("SFTP_NOT_FOUND", "%s: there is no %s: correct the folder in the source's settings", what, path)
	case errors.Is(err, fs.ErrPermission):
		return refused("SFTP_FORBIDDEN", "%s: the account may not read %s: give it the right to", what, path)
	case errors.As(err, &status):
		return refused("SFTP_FAILED", "%s %s: the server answers with error %d: see its log", what, path, status.Code)
	}
	return connector.Unreachable("%s %s: the connection broke (%s)", what, path, plain(err))
}

// plain is the innermost text of a network error, which has no addresses of ours.
func plain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	return err.Error()
}

// guarded is a connection that ends when nothing moves, and when more comes
// than was asked for.
type guarded struct {
	net.Conn
	left   atomic.Int64
	broken atomic.Bool
}

var errFlood = errors.New("the server sends more than it was asked for")

// allow lets n more bytes in.
func (g *guarded) allow(n int64) { g.left.Store(n) }

func (g *guarded) Read(p []byte) (int, error) {
	if err := g.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
		return 0, err
	}
	n, err := g.Conn.Read(p)
	if err == nil && g.left.Add(-int64(n)) < 0 {
		err = errFlood
	}
	if err != nil {
		g.broken.Store(true)
	}
	return n, err
}

func (g *guarded) Write(p []byte) (int, error) {
	if err := g.SetWriteDeadline(time.Now().Add(idleTimeout)); err != nil {
		return 0, err
	}
	n, err := g.Conn.Write(p)
	if err != nil {
		g.broken.Store(true)
		return n, fmt.Errorf("send: %w", err)
	}
	return n, nil
}
