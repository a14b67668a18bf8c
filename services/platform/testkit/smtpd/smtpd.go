// Package smtpd runs a real SMTP server for tests, which keeps what it is sent.
package smtpd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// The account of a server with TLS.
const (
	user     = "hub"
	password = "made-up-password"
)

// Server is a running mail server.
type Server struct {
	// URL is the address as the hub takes it.
	URL string
	// CAFile has the certificate that a server with TLS is to be trusted by.
	CAFile string

	secure  bool
	mu      sync.Mutex
	mails   []Mail
	answers map[string]*smtp.SMTPError // by recipient
}

// Mail is a message that was taken.
type Mail struct {
	From, To string
	Header   mail.Header
	Text     string
}

// Start starts a server without encryption that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{answers: map[string]*smtp.SMTPError{}}
	s.URL = fmt.Sprintf("smtp://%s?tls=none", s.serve(t, nil))
	return s
}

// StartTLS starts one that insists on STARTTLS and on its account.
func StartTLS(t testing.TB) *Server {
	t.Helper()
	s := &Server{answers: map[string]*smtp.SMTPError{}, secure: true, CAFile: filepath.Join(t.TempDir(), "ca.pem")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "made-up mail server"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	address := s.serve(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	s.URL = fmt.Sprintf("smtp://%s:%s@%s", user, password, address)
	return s
}

func (s *Server) serve(t testing.TB, encryption *tls.Config) (address string) {
	t.Helper()
	door, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{server: s}, nil }))
	server.Domain, server.TLSConfig = "localhost", encryption
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(door) // ends with Close
	}()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		<-ended
	})
	return door.Addr().String()
}

// Answer has the server refuse mails to a recipient with a code, 450 or 550 for
// example; 0 has it take them again.
func (s *Server) Answer(recipient string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.answers, recipient); code != 0 {
		s.answers[recipient] = &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 0, 0}, Message: "made-up refusal"}
	}
}

// Mails returns what was taken, in its order.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

type session struct {
	server   *Server
	signedIn bool
	from, to string
}

func (c *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (c *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, u, p string) error {
		if c.signedIn = u == user && p == password; !c.signedIn {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (c *session) Mail(from string, _ *smtp.MailOptions) error {
	if c.server.secure && !c.signedIn {
		return smtp.ErrAuthRequired
	}
	c.from = from
	return nil
}

func (c *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if refusal := c.server.answers[to]; refusal != nil {
		return refusal
	}
	c.to = to
	return nil
}

func (c *session) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.mails = append(c.server.mails, Mail{From: c.from, To: c.to, Header: m.Header, Text: string(text)})
	return nil
}

func (c *session) Reset()        { c.from, c.to = "", "" }
func (c *session) Logout() error { return nil }
