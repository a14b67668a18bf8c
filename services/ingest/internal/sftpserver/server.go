// Package sftpserver is the SFTP server that districts drop files into. Every
// source has an account of its own and sees two folders: incoming, for what was
// not taken yet, and processed, for the packages that are kept. Neither is a
// folder of any disk; there are no links, no shell and no way out.
package sftpserver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"gocloud.dev/blob"
	"golang.org/x/crypto/ssh"

	"github.com/securly/sync/services/ingest/internal/state"
)

// Config of the server. Zero values mean the defaults.
type Config struct {
	HostKey ssh.Signer
	// TempDir is where files are received.
	TempDir string
	// MaxBytes bounds all files of a source together.
	MaxBytes int64
	// Check is how often it is looked whether an account is still what it was
	// when somebody signed in: every 5 s.
	Check time.Duration
	// Handshake is how long signing in may take (30 s), and Idle for how long a
	// session may be silent (10 minutes).
	Handshake, Idle time.Duration
	// Connections at the same time, in all (200), and sessions of one account (10).
	Connections, Sessions int
}

func (c *Config) setDefaults() {
	c.Check, c.Handshake, c.Idle = cmp.Or(c.Check, 5*time.Second), cmp.Or(c.Handshake, 30*time.Second), cmp.Or(c.Idle, 10*time.Minute)
	c.Connections, c.Sessions = cmp.Or(c.Connections, 200), cmp.Or(c.Sessions, 10)
}

// Deps of the server.
type Deps struct {
	Store *state.Store
	Blobs *blob.Bucket
	Log   *slog.Logger
	Now   func() time.Time
}

// Server is a server that Serve runs.
type Server struct {
	Config
	Deps
	ssh      *ssh.ServerConfig
	failures *failures

	mu       sync.Mutex
	sessions map[*session]bool
	// receiving is how many bytes of files that are being written each account has.
	receiving map[string]int64
}

// New returns a server that has started nothing.
func New(cfg Config, deps Deps) *Server {
	cfg.setDefaults()
	s := &Server{Config: cfg, Deps: deps, failures: newFailures(deps.Now), sessions: map[*session]bool{}, receiving: map[string]int64{}}
	s.ssh = &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-SecurlySync", MaxAuthTries: 6,
		PasswordCallback: s.checkPassword, PublicKeyCallback: s.checkKey,
	}
	s.ssh.AddHostKey(cfg.HostKey)
	return s
}

// session is one connection.
type session struct {
	id   string
	conn *conn
	// Of one that has signed in.
	account *account
	log     *slog.Logger
}

// Serve accepts connections until ctx ends; then it closes all of them.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		_ = l.Close()
		s.closeSessions(func(*session) bool { return true })
	})()
	all.Go(func() { s.watch(ctx) })
	for {
		raw, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = raw.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // too many open files, for example: others will be closed
			s.Log.WarnContext(ctx, "sftp: accept", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		one := s.admit(raw)
		if one == nil {
			_ = raw.Close()
			continue
		}
		if ctx.Err() != nil { // it has come after all others were closed
			_ = raw.Close()
		}
		all.Go(func() {
			defer s.leave(one)
			s.serve(ctx, one)
		})
	}
}

// admit takes a connection unless there are too many, or its address has failed
// to sign in too often.
func (s *Server) admit(raw net.Conn) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	address, strangers := addressOf(raw.RemoteAddr()), 0
	for one := range s.sessions {
		if one.account == nil && addressOf(one.conn.RemoteAddr()) == address {
			strangers++
		}
	}
	if len(s.sessions) >= s.Connections || strangers >= maxStrangers || s.failures.tooMany(address) {
		s.Log.Warn("sftp: connection refused", "address", raw.RemoteAddr().String())
		return nil
	}
	one := &session{id: state.NewID(), conn: &conn{Conn: raw, idle: s.Idle}}
	one.log = s.Log.With("session", one.id, "address", raw.RemoteAddr().String())
	s.sessions[one] = true
	return one
}

// maxStrangers of one address may be signing in.
const maxStrangers = 20

func (s *Server) leave(one *session) {
	_ = one.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, one)
}

func (s *Server) closeSessions(which func(*session) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for one := range s.sessions {
		if which(one) {
			_ = one.conn.Close()
		}
	}
}

// watch ends sessions whose account is gone, or has another password or other
// keys than it was entered with.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(s.Check)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.failures.forget()
		s.mu.Lock()
		accounts := map[*session]*account{}
		for one := range s.sessions {
			if one.account != nil {
				accounts[one] = one.account
			}
		}
		s.mu.Unlock()
		for one, a := range accounts {
			switch valid, err := s.valid(ctx, a); {
			case err != nil:
				s.Log.WarnContext(ctx, "sftp: look at account", "user", a.user, "error", err)
			case !valid:
				one.log.InfoContext(ctx, "sftp: session ended, its account has changed")
				_ = one.conn.Close()
			}
		}
	}
}

// enter notes who has signed in, unless the account has too many sessions.
func (s *Server) enter(one *session, a *account) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for other := range s.sessions {
		if other.account != nil && other.account.user == a.user {
			n++
		}
	}
	if n >= s.Sessions {
		return false
	}
	one.account = a
	return true
}

func (s *Server) serve(ctx context.Context, one *session) {
	if err := one.conn.SetDeadline(time.Now().Add(s.Handshake)); err != nil {
		return
	}
	signedIn, channels, requests, err := ssh.NewServerConn(one.conn, s.ssh)
	if err != nil {
		one.log.InfoContext(ctx, "sftp: nobody signed in", "error", err)
		return
	}
	defer func() { _ = signedIn.Close() }()
	a, ok := signedIn.Permissions.ExtraData[accountKey{}].(*account)
	if !ok {
		return
	}
	one.log = one.log.With("user", a.user, "district", a.source.GetDistrict(), "source", a.source.GetSource().GetSourceId())
	if !s.enter(one, a) {
		one.log.WarnContext(ctx, "sftp: too many sessions of this account")
		return
	}
	one.conn.open()
	one.log.InfoContext(ctx, "sftp: signed in", "with", a.with)
	defer one.log.InfoContext(ctx, "sftp: signed out")
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { ssh.DiscardRequests(requests) })
	var open atomic.Int32
	for c := range channels {
		if c.ChannelType() != "session" || open.Load() >= maxChannels {
			_ = c.Reject(ssh.Prohibited, "only SFTP")
			continue
		}
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		open.Add(1)
		all.Go(func() {
			defer open.Add(-1)
			s.serveChannel(ctx, one, channel, requests)
		})
	}
}

// maxChannels of one connection.
const maxChannels = 4

// serveChannel serves SFTP and nothing else.
func (s *Server) serveChannel(ctx context.Context, one *session, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = channel.Close() }()
	for r := range requests {
		ok := r.Type == "subsystem" && len(r.Payload) > 4 && string(r.Payload[4:]) == "sftp"
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		if !ok {
			continue
		}
		var rest sync.WaitGroup
		rest.Go(func() { ssh.DiscardRequests(requests) })
		t := &tree{server: s, session: one, account: one.account, ctx: ctx}
		// How it ends does not matter: files that were not closed are not kept.
		_ = sftp.NewRequestServer(channel, sftp.Handlers{FileGet: t, FilePut: t, FileCmd: t, FileList: t}, sftp.WithStartDirectory("/"+incoming)).Serve()
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{}))
		_ = channel.Close()
		rest.Wait()
		return
	}
}

// conn ends when it has been silent for too long.
type conn struct {
	net.Conn
	idle   time.Duration
	opened atomic.Bool
}

// open begins with that, in the place of the deadline for signing in.
func (c *conn) open() {
	c.opened.Store(true)
	_ = c.SetDeadline(time.Now().Add(c.idle)) // a connection that is closed fails soon enough
}

func (c *conn) Read(p []byte) (int, error) {
	if c.opened.Load() {
		if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

func (c *conn) Write(p []byte) (int, error) {
	if c.opened.Load() {
		if err := c.SetWriteDeadline(time.Now().Add(c.idle)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}
