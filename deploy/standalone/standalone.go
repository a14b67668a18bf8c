// Package standalone is the hub in one process: the same five services that run as programs of their
// own in a cluster, over an in-memory network, with embedded events and stores in one folder.
package standalone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"

	"github.com/securly/sync/gateway"
	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	operatorv1 "github.com/securly/sync/proto/gen/securly/sync/operator/v1"
	"github.com/securly/sync/services/auth"
	"github.com/securly/sync/services/ingest"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/health"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/rpc"
	rosterstore "github.com/securly/sync/services/roster-store"
)

// Config of the hub.
type Config struct {
	// DataDir is made if it is not there.
	DataDir string
	// HTTPAddr and GRPCAddr are where the hub listens; port 0 takes a free one.
	HTTPAddr, GRPCAddr string
	// SFTPAddr is where districts drop files; empty means nowhere.
	SFTPAddr string
	// BootstrapClient is "id:secret" of a client with every scope, created once; empty for none.
	BootstrapClient config.Secret
	// MaxUpload bounds an upload in bytes.
	MaxUpload int64
	// SecretsKey is the URL of the key that secrets of sources are sealed with;
	// empty means a file in DataDir.
	SecretsKey string
	// Mail is how notifications are sent; without a PublicURL they link to HTTPAddr.
	Mail ingest.Mail
	// Grace is how long running calls may take when the hub stops.
	Grace time.Duration
}

// Deps of the hub.
type Deps struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
}

// Hub is a hub that has opened all that it needs. Run starts it, Close gives everything back.
type Hub struct {
	cfg      Config
	log      *slog.Logger
	registry *prometheus.Registry
	folder   folder
	secret   config.Secret
	opened   lifecycle.Stack
	health   *health.Checks

	network    *rpc.InMemory
	plain      *grpc.ClientConn // carries only what a caller puts on it
	server     *grpc.Server
	grpcHealth *grpchealth.Server
	grpcDoor   net.Listener
	httpDoor   net.Listener
	sftpDoor   net.Listener // nil for none
	gateway    *gateway.Gateway
	services   []lifecycle.Component

	docs    map[string]docstore.Store // by service
	rosters *rosterstore.Service
}

// Open opens the hub of a data directory. It starts nothing.
func Open(ctx context.Context, cfg Config, deps Deps) (_ *Hub, err error) {
	h := newHub(cfg, deps)
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	if err := h.listen(ctx); err != nil {
		return nil, err
	}
	if err := h.open(ctx); err != nil {
		return nil, err
	}
	if err := h.folder.setRunning(running{PID: os.Getpid(), GRPCAddr: h.GRPCAddr(), HTTPURL: h.URL()}); err != nil {
		return nil, err
	}
	h.opened.Push("mark of running", h.folder.unsetRunning)
	return h, nil
}

func newHub(cfg Config, deps Deps) *Hub {
	return &Hub{
		cfg: cfg, log: deps.Log, registry: deps.Registry, folder: folder(cfg.DataDir),
		health: &health.Checks{}, docs: map[string]docstore.Store{},
	}
}

// open opens all but the doors.
func (h *Hub) open(ctx context.Context) (err error) {
	if err := h.folder.create(); err != nil {
		return err
	}
	if h.secret, err = h.folder.secret(); err != nil {
		return err
	}
	bus, err := h.events(ctx)
	if err != nil {
		return err
	}
	h.network = rpc.NewInMemory()
	if h.plain, err = h.dial(); err != nil {
		return err
	}
	if err := h.assemble(ctx, bus); err != nil {
		return err
	}
	return h.folder.removeSnapshots()
}

// listen takes the addresses first: what is most often wrong should be told before anything else.
func (h *Hub) listen(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if h.httpDoor, err = lc.Listen(ctx, "tcp", h.cfg.HTTPAddr); err != nil {
		return fmt.Errorf("listen for HTTP: %w: choose another address with --http-addr", err)
	}
	h.opened.Push("HTTP address", closeOnce(h.httpDoor))
	if h.grpcDoor, err = lc.Listen(ctx, "tcp", h.cfg.GRPCAddr); err != nil {
		return fmt.Errorf("listen for gRPC: %w: choose another address with --grpc-addr", err)
	}
	h.opened.Push("gRPC address", closeOnce(h.grpcDoor))
	if h.cfg.SFTPAddr == "" {
		return nil
	}
	if h.sftpDoor, err = lc.Listen(ctx, "tcp", h.cfg.SFTPAddr); err != nil {
		return fmt.Errorf("listen for SFTP: %w: choose another address with --sftp-addr", err)
	}
	h.opened.Push("SFTP address", closeOnce(h.sftpDoor))
	return nil
}

// closeOnce forgives that a server has closed its listener already.
func closeOnce(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func (h *Hub) events(ctx context.Context) (*events.Bus, error) {
	server, err := events.StartEmbedded(h.folder.path(eventsDir), h.log)
	if err != nil {
		return nil, inUse(err)
	}
	h.opened.Push("events", server.Close)
	bus, err := events.NewBus(ctx, server.Conn(), h.log)
	if err != nil {
		return nil, err
	}
	h.health.Add("events", bus.Ready)
	return bus, nil
}

// inUse adds the likeliest reason why a store cannot be opened.
func inUse(err error) error {
	return fmt.Errorf("%w (is another hub running on this data directory?)", err)
}

// dial connects to the hub's own server.
func (h *Hub) dial(opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	conn, err := h.network.Dial(opts...)
	if err != nil {
		return nil, err
	}
	h.opened.Push("connection", conn.Close)
	return conn, nil
}

// dialAs connects a service: its calls carry its own token.
func (h *Hub) dialAs(service string) (*grpc.ClientConn, error) {
	return h.dial(grpc.WithPerRPCCredentials(
		authn.ServiceCredentials(authv1.NewAuthServiceClient(h.plain), "service:"+service, h.secret.Reveal())))
}

// assemble makes the services, the server that they answer on, and the gateway before it.
func (h *Hub) assemble(ctx context.Context, bus *events.Bus) error {
	signer, err := h.auth()
	if err != nil {
		return err
	}
	h.grpcHealth = grpchealth.NewServer()
	h.server = rpc.NewServer(rpc.ServerOptions{
		Log: h.log, Verifier: authn.NewVerifier(signer.Keys), Registerer: h.registry, Health: h.grpcHealth,
	})
	operatorv1.RegisterOperatorServiceServer(h.server, &operatorServer{hub: h})
	h.add("auth", signer)
	if err := errors.Join(h.rosterStore(bus), h.readinessEngine(bus), h.ingest(ctx, bus)); err != nil {
		return err
	}
	h.gateway, err = gateway.New(
		gateway.Config{ServiceSecret: h.secret, MaxUpload: h.cfg.MaxUpload, Grace: h.cfg.Grace},
		gateway.Deps{
			Auth: h.plain, Ingest: h.plain, Roster: h.plain, Readiness: h.plain,
			Log:     h.log.With("part", "gateway"),
			Health:  h.health.Handler(),
			Metrics: promhttp.HandlerFor(h.registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
		})
	return err
}

// service is what all services have.
type service interface {
	Register(grpc.ServiceRegistrar)
	Run(context.Context) error
}

func (h *Hub) add(name string, s service) {
	s.Register(h.server)
	h.services = append(h.services, lifecycle.Component{Name: name, Run: s.Run})
}

func (h *Hub) auth() (*auth.Service, error) {
	docs, err := h.documents("auth")
	if err != nil {
		return nil, err
	}
	return auth.New(
		auth.Config{BootstrapClient: h.cfg.BootstrapClient, ServiceSecret: h.secret},
		auth.Deps{Docs: docs, Log: h.log.With("part", "auth")})
}

// Run serves until ctx ends or a part fails. First the hub says that it is not ready, then the doors
// close behind those who are inside, then the services stop.
func (h *Hub) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		h.health.Drain()
		h.grpcHealth.Shutdown()
	})()
	inside, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	components := append([]lifecycle.Component{
		{Name: "in-memory server", Run: lifecycle.ServeGRPC(h.server, h.network.Listener(), h.cfg.Grace)},
		{Name: "gRPC server", Run: lifecycle.ServeGRPC(h.server, h.grpcDoor, h.cfg.Grace)},
		{Name: "HTTP server", Run: func(inside context.Context) error {
			defer stop()
			open, shut := context.WithCancel(ctx)
			defer shut()
			defer context.AfterFunc(inside, shut)()
			return h.gateway.Serve(h.httpDoor)(open)
		}},
	}, h.services...)
	return lifecycle.Run(inside, components...)
}

// URL is where browsers find the hub; empty if it is opened for a command alone.
func (h *Hub) URL() string {
	if h.httpDoor == nil {
		return ""
	}
	return "http://" + reachable(h.httpDoor.Addr())
}

// GRPCAddr is where gRPC clients find the hub.
func (h *Hub) GRPCAddr() string { return reachable(h.grpcDoor.Addr()) }

// reachable names this machine where an address means all of its networks.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return a.String()
}

// Close gives back what Open has opened, after Run has returned.
func (h *Hub) Close() error { return h.opened.Close() }

// DataDir is where the hub keeps everything.
func (h *Hub) DataDir() string { return string(h.folder) }
