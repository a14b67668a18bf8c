// Package auth is the auth service: it signs access tokens and keeps clients, sign-in links and
// browser sessions.
package auth

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/auth/internal/api"
	"github.com/securly/sync/services/auth/internal/client"
	"github.com/securly/sync/services/auth/internal/session"
	"github.com/securly/sync/services/auth/internal/token"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/pagetoken"
)

// Config of the service. Zero durations mean the defaults.
type Config struct {
	// BootstrapClient is "id:secret" of a client with every scope on all districts, created once;
	// empty for none.
	BootstrapClient config.Secret
	// ServiceSecret is what the hub's own services sign in with. Empty lets none in.
	ServiceSecret config.Secret
	// TokenLife is how long an access token is valid: 15 minutes.
	TokenLife time.Duration
	// KeyLife is how long a key signs before the next one takes over: 30 days.
	KeyLife time.Duration
	// SessionLife is how long a browser stays signed in: 12 hours.
	SessionLife time.Duration
	// LinkLife is how long a sign-in link can be used: 1 hour.
	LinkLife time.Duration
}

func (c *Config) setDefaults() {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.TokenLife, 15*time.Minute)
	set(&c.KeyLife, 30*24*time.Hour)
	set(&c.SessionLife, 12*time.Hour)
	set(&c.LinkLife, time.Hour)
}

// Deps of the service; whoever opened them closes them.
type Deps struct {
	Docs docstore.Store
	Log  *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Service is the auth service.
type Service struct {
	api *api.Server
	log *slog.Logger
}

// New checks cfg and returns a service that has started nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.setDefaults()
	if deps.Now == nil {
		deps.Now = time.Now
	}
	clients, err := client.NewRegistry(deps.Docs, deps.Now, deps.Log, cfg.ServiceSecret.Reveal(), cfg.BootstrapClient.Reveal())
	if err != nil {
		return nil, err
	}
	// Without a secret in common, pages go on only at the replica that began them.
	pageKey := []byte(cfg.ServiceSecret.Reveal())
	if len(pageKey) == 0 {
		pageKey = pagetoken.Key()
	}
	keys := token.NewKeys(deps.Docs, deps.Now, cfg.KeyLife, cfg.TokenLife)
	return &Service{
		api: &api.Server{
			Keys:     keys,
			Issuer:   token.NewIssuer(keys, deps.Now, cfg.TokenLife),
			Clients:  clients,
			Sessions: session.NewStore(deps.Docs, deps.Now, cfg.LinkLife, cfg.SessionLife),
			Pages:    pagetoken.New(pageKey),
			Now:      deps.Now,
		},
		log: deps.Log,
	}, nil
}

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { authv1.RegisterAuthServiceServer(r, s.api) }

// Keys returns the keys that verify tokens, as a JSON Web Key Set. It is the key source of the
// verifier in the auth service's own process; others ask over gRPC.
func (s *Service) Keys(ctx context.Context) ([]byte, error) { return s.api.Keys.JWKS(ctx) }

// Run creates the bootstrap client and forgets sessions and links that have ended, until ctx does.
func (s *Service) Run(ctx context.Context) error {
	if err := s.api.Clients.Prepare(ctx); err != nil {
		return err
	}
	hourly := time.NewTicker(time.Hour)
	defer hourly.Stop()
	for {
		if err := s.api.Sessions.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "sweeping ended sessions failed; it is tried again in an hour", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-hourly.C:
		}
	}
}
