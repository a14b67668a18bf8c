package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/docstore/mongodocs"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/health"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/rpc"
)

// Settings are the flags that all programs have.
type Settings struct {
	GRPCAddr, AdminAddr string
	DataDir             string
	NATSURL             config.Secret // May hold a password.
	MongoDBURI          config.Secret // Empty: the data folder.
	AuthAddr            string
	RosterAddr          string
	IngestAddr          string
	ReadinessAddr       string
	ServiceSecret       config.Secret
	Drain, Grace        time.Duration
	LogLevel            slog.Level
}

func (s *Settings) addFlags(f *pflag.FlagSet) {
	f.StringVar(&s.GRPCAddr, "grpc-addr", ":9090", "`address` to serve gRPC on")
	f.StringVar(&s.AdminAddr, "admin-addr", ":9091", "`address` to serve health, metrics and profiles on; keep it from the public")
	f.StringVar(&s.DataDir, "data-dir", "data", "`folder` for what the program keeps")
	f.Var(&s.NATSURL, "nats-url", "where the event servers are (default nats://nats:4222)")
	s.NATSURL = "nats://nats:4222" // After Var, which would print it as redacted.
	f.Var(&s.MongoDBURI, "mongodb-uri", "where MongoDB is: documents and rosters are kept there instead of in the data folder")
	f.StringVar(&s.AuthAddr, "auth-addr", "dns:///auth:9090", "gRPC `target` of auth")
	f.StringVar(&s.RosterAddr, "roster-addr", "dns:///roster-store:9090", "gRPC `target` of roster-store")
	f.StringVar(&s.IngestAddr, "ingest-addr", "dns:///ingest:9090", "gRPC `target` of ingest")
	f.StringVar(&s.ReadinessAddr, "readiness-addr", "dns:///readiness-engine:9090", "gRPC `target` of readiness-engine")
	f.Var(&s.ServiceSecret, "service-secret", "what the program authenticates with to the other services")
	f.DurationVar(&s.Drain, "drain", 5*time.Second, "how long to go on after saying not ready, for load balancers")
	f.DurationVar(&s.Grace, "grace", 20*time.Second, "how long running calls may take when the program stops")
	f.TextVar(&s.LogLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
}

// Env is what Program.Build builds with. Whatever its methods open, the program
// closes.
type Env struct {
	Settings *Settings
	Log      *slog.Logger
	Registry *prometheus.Registry
	Health   *health.Checks
	// Opened is closed in reverse when the program has stopped; Build pushes
	// what it opens itself.
	Opened lifecycle.Stack

	name   string
	listen func(network, addr string) (net.Listener, error) // For tests.
	auth   authv1.AuthServiceClient
}

// Docs opens the program's documents, in MongoDB or else in the data folder.
func (e *Env) Docs() (docstore.Store, error) {
	store, err := e.openDocs()
	if err != nil {
		return nil, err
	}
	e.Opened.Push("documents", store.Close)
	return store, nil
}

func (e *Env) openDocs() (docstore.Store, error) {
	if e.Settings.MongoDBURI == "" {
		return docstore.OpenPebble(filepath.Join(e.Settings.DataDir, "documents"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	return mongodocs.Open(ctx, mongodocs.Config{URI: e.Settings.MongoDBURI, Database: e.name})
}

// openTimeout is how long a server may take to be reached when a program starts.
const openTimeout = time.Minute

// Bus connects to the event servers.
func (e *Env) Bus(ctx context.Context) (*events.Bus, error) {
	conn, err := events.Connect(e.Settings.NATSURL.Reveal(), e.Log)
	if err != nil {
		return nil, err
	}
	e.Opened.Push("event connection", func() error {
		conn.Close()
		return nil
	})
	bus, err := events.NewBus(ctx, conn, e.Log)
	if err != nil {
		return nil, err
	}
	e.Health.Add("events", bus.Ready)
	return bus, nil
}

// Connect returns a connection to another service (Settings.RosterAddr for
// example). Its calls are made as this program, unless authn.Forward says
// otherwise. A service that is away does not make this one not ready: one
// outage would become one of everything.
func (e *Env) Connect(target string) (*grpc.ClientConn, error) {
	if e.Settings.ServiceSecret == "" {
		return nil, errors.New("--service-secret is not set: it is needed to call other services")
	}
	auth, err := e.authClient()
	if err != nil {
		return nil, err
	}
	return e.dial(target, grpc.WithPerRPCCredentials(
		authn.ServiceCredentials(auth, "service:"+e.name, e.Settings.ServiceSecret.Reveal())))
}

// ConnectPlain returns a connection to another service whose calls carry only what the caller puts
// on them: the gateway speaks with the tokens of its users.
func (e *Env) ConnectPlain(target string) (*grpc.ClientConn, error) { return e.dial(target) }

// authClient is for what needs no token: keys and tokens themselves.
func (e *Env) authClient() (authv1.AuthServiceClient, error) {
	if e.auth != nil {
		return e.auth, nil
	}
	conn, err := e.dial(e.Settings.AuthAddr)
	if err != nil {
		return nil, err
	}
	e.auth = authv1.NewAuthServiceClient(conn)
	return e.auth, nil
}

func (e *Env) dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	conn, err := rpc.Dial(target, opts...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.name, err)
	}
	e.Opened.Push("connection to "+target, conn.Close)
	return conn, nil
}
