// Package testkit is what the tests of every service need: a server with the
// real interceptors, tokens, a bus and a document store.
package testkit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/rpc"
)

// Wait is how long a test waits for something that should happen soon.
const Wait = 30 * time.Second

// Main runs the tests of a package and fails if goroutines are left:
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
func Main(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const keyID = "test"

// signingKey signs all test tokens.
var signingKey = sync.OnceValue(func() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("a key for tests"))
	return ed25519.NewKeyFromSeed(seed[:])
})

// Keys is the source of the key that verifies Token's tokens.
func Keys(context.Context) ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: signingKey().Public(), KeyID: keyID, Algorithm: string(jose.EdDSA), Use: "sig",
	}}})
}

// Token returns a token for p that lasts an hour.
func Token(t testing.TB, p authn.Principal) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: signingKey(), KeyID: keyID},
	}, nil)
	require.NoError(t, err)
	token, err := authn.Sign(signer, p, time.Now(), time.Hour)
	require.NoError(t, err)
	return token
}

// As returns a context whose calls are made as p.
func As(t testing.TB, ctx context.Context, p authn.Principal) context.Context {
	t.Helper()
	return authn.WithToken(ctx, Token(t, p))
}

// Operator may do everything but what only services may.
func Operator() authn.Principal {
	return authn.Principal{
		Subject:     "operator",
		DisplayName: "Test Operator",
		Districts:   []string{authn.AllDistricts},
		Scopes: []string{
			"districts.read", "districts.write", "sources.read", "sources.write", "syncs.run", "syncs.approve",
			"rosters.read", "readiness.read", "readiness.run", "products.read", "products.write", "users.manage", "audit.read",
		},
	}
}

// Service may do everything, as one of the hub's own services.
func Service() authn.Principal {
	p := Operator()
	p.Subject, p.DisplayName, p.Service = "test-service", "", true
	p.Scopes = append(p.Scopes, "internal.import", "internal.sessions", "internal.operate")
	return p
}

// Server serves what register registers until the test ends, and returns a
// connection to it. Calls need a token: see As.
func Server(t testing.TB, register func(grpc.ServiceRegistrar), opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	network := rpc.NewInMemory()
	server := rpc.NewServer(rpc.ServerOptions{Log: Log(t), Verifier: authn.NewVerifier(Keys)})
	register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(network.Listener()) }()
	conn, err := network.Dial(opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-served)
	})
	return conn
}

// Bus returns a bus on an embedded event server with a folder of its own.
func Bus(t testing.TB) *events.Bus {
	t.Helper()
	embedded, err := events.StartEmbedded(t.TempDir(), Log(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, embedded.Close()) })
	bus, err := events.NewBus(t.Context(), embedded.Conn(), Log(t))
	require.NoError(t, err)
	return bus
}

// Docs returns an empty document store.
func Docs(t testing.TB) docstore.Store {
	t.Helper()
	store, err := docstore.OpenPebble(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// Log writes to the standard error when tests are verbose, else nowhere. It
// does not write to t: a server may log while the test ends.
func Log(testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
