// Package gateway is the hub's door for browsers and for HTTP clients: the API as JSON, sign-in, the
// UI. It keeps no state and speaks gRPC to the services.
package gateway

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"google.golang.org/grpc"

	"github.com/securly/sync/gateway/internal/edge"
	"github.com/securly/sync/gateway/internal/problem"
	"github.com/securly/sync/gateway/internal/ui"
	"github.com/securly/sync/gateway/web"
	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/proto/openapi"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/lifecycle"
)

// DefaultMaxUpload is enough for the loose CSV files of a million students.
const DefaultMaxUpload = 2 << 30

// Config of the gateway.
type Config struct {
	// ServiceSecret is what the hub's own services sign in with.
	ServiceSecret config.Secret
	// MaxUpload bounds an upload in bytes; 0 means DefaultMaxUpload.
	MaxUpload int64
	// BodyTimeout is how long the body of a request may take, except that of an upload; 0 means 30
	// seconds.
	BodyTimeout time.Duration
	// Grace is how long requests may take to end when the gateway stops; 0 means 10 seconds.
	Grace time.Duration
}

// Deps of the gateway; whoever opened them closes them. The connections carry no credentials.
type Deps struct {
	Auth, Ingest, Roster, Readiness grpc.ClientConnInterface
	Log                             *slog.Logger
	// Health answers /healthz and /readyz, Metrics answers /metrics; nil for none.
	Health, Metrics http.Handler
}

// Gateway serves HTTP.
type Gateway struct {
	handler  http.Handler
	stopping chan struct{}
	grace    time.Duration
	log      *slog.Logger
}

// New checks cfg and returns a gateway that has started nothing.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if cfg.MaxUpload == 0 {
		cfg.MaxUpload = DefaultMaxUpload
	}
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = 30 * time.Second
	}
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Second
	}
	g := &Gateway{stopping: make(chan struct{}), grace: cfg.Grace, log: deps.Log}
	api, err := edge.New(
		edge.Conns{Auth: deps.Auth, Ingest: deps.Ingest, Roster: deps.Roster, Readiness: deps.Readiness},
		authn.ServiceCredentials(authv1.NewAuthServiceClient(deps.Auth), "service:gateway", cfg.ServiceSecret.Reveal()),
		cfg.MaxUpload, g.stopping, deps.Log)
	if err != nil {
		return nil, err
	}
	dist, err := fs.Sub(web.Dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("open the built UI: %w", err)
	}
	pages, err := ui.Pages(dist)
	if err != nil {
		return nil, err
	}
	docs, err := ui.Docs(openapi.JSON)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	answers := api.Handler()
	for _, path := range []string{"/v1", "/oauth2", "/auth", "/.well-known"} {
		// Both, because a redirect to one would meet withoutTrailingSlash, which leads to the other.
		mux.Handle(path, answers)
		mux.Handle(path+"/", answers)
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(openapi.JSON) //nolint:errcheck // the client is gone
	})
	mux.Handle("GET /docs", docs)
	if deps.Health != nil {
		mux.Handle("GET /healthz", deps.Health)
		mux.Handle("GET /readyz", deps.Health)
	}
	if deps.Metrics != nil {
		mux.Handle("GET /metrics", deps.Metrics)
	}
	mux.Handle("/", pages)
	g.handler = otelhttp.NewHandler(impatient(cfg.BodyTimeout, identified(ui.Secure(withoutTrailingSlash(mux)))), "http",
		otelhttp.WithFilter(isTraced),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method + " " + route(r.URL.Path) }))
	return g, nil
}

// Handler returns the whole gateway.
func (g *Gateway) Handler() http.Handler { return g.handler }

// Serve answers requests that come to l until ctx ends, and lets those that it is answering then
// come to their end, for a while.
func (g *Gateway) Serve(l net.Listener) func(ctx context.Context) error {
	server := &http.Server{
		Handler:           g.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	// Watches would never end by themselves.
	server.RegisterOnShutdown(sync.OnceFunc(func() { close(g.stopping) }))
	return lifecycle.ServeHTTP(server, l, g.grace)
}

// identified gives each request an id that its error answer and the log share.
func identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(problem.WithTraceID(r.Context())))
	})
}

// withoutTrailingSlash makes /v1/districts/ the same as /v1/districts.
func withoutTrailingSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := strings.TrimRight(r.URL.Path, "/"); path != "" && path != r.URL.Path {
			u := *r.URL
			u.Path, u.RawPath = path, strings.TrimRight(u.RawPath, "/")
			r = r.WithContext(r.Context())
			r.URL = &u
		}
		next.ServeHTTP(w, r)
	})
}

// isTraced leaves out what probes and browsers ask for all the time.
func isTraced(r *http.Request) bool {
	switch first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); first {
	case "v1", "oauth2", "auth":
		return true
	}
	return false
}

// route names a request for traces: without ids, which would make every name different.
func route(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if parts[0] != "v1" {
		return "/" + parts[0]
	}
	for i := 2; i < len(parts); i += 2 {
		verb := ""
		if at := strings.LastIndexByte(parts[i], ':'); at >= 0 {
			verb = parts[i][at:]
		}
		parts[i] = "{id}" + verb
	}
	return "/" + strings.Join(parts, "/")
}
