// Package rosterstore is the service that keeps every version of every record
// of every district. It serves securly.sync.roster.v1.RosterService and
// announces each committed revision.
package rosterstore

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/roster-store/internal/api"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/mongostore"
	"github.com/securly/sync/services/roster-store/internal/store/pebblestore"
	"github.com/securly/sync/services/roster-store/internal/watch"
)

// Config of the service.
type Config struct {
	// MongoDB is where rosters are kept; if it is empty, DataDir is.
	MongoDB config.Secret
	// MongoDatabase is the database in it ("rosters").
	MongoDatabase string
	// DataDir holds one folder per district.
	DataDir string
	// TokenKey seals page tokens; all replicas share it.
	TokenKey []byte
}

// Deps are what the service uses and does not own.
type Deps struct {
	Bus *events.Bus
	Log *slog.Logger
}

// Service is the roster store.
type Service struct {
	deps    Deps
	store   store.Store
	commits *watch.Commits
	server  *api.Server
}

// New opens the engine, which Close releases. It starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	engine, err := openEngine(cfg, deps)
	if err != nil {
		return nil, err
	}
	commits := watch.NewCommits()
	return &Service{
		deps: deps, store: engine, commits: commits,
		server: api.New(engine, commits, pagetoken.New(cfg.TokenKey), deps.Log),
	}, nil
}

func openEngine(cfg Config, deps Deps) (store.Store, error) {
	if cfg.MongoDB == "" {
		return pebblestore.Open(pebblestore.Config{Dir: cfg.DataDir, Log: deps.Log})
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	return mongostore.Open(ctx, mongostore.Config{URI: cfg.MongoDB, Database: cfg.MongoDatabase, Log: deps.Log})
}

// openTimeout is how long MongoDB may take to be reached and to finish what a
// crash has interrupted.
const openTimeout = 10 * time.Minute

// Register adds the service to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	rosterv1.RegisterRosterServiceServer(r, s.server)
	rosterv1.RegisterUpkeepServiceServer(r, api.NewUpkeep(s.store))
}

// Run announces commits until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	return lifecycle.Run(ctx,
		lifecycle.Component{Name: "roster-store listener", Run: func(ctx context.Context) error {
			return s.commits.Listen(ctx, s.deps.Bus)
		}},
		lifecycle.Component{Name: "roster-store relay", Run: func(ctx context.Context) error {
			return s.commits.Relay(ctx, s.store, s.deps.Bus, s.deps.Log)
		}},
	)
}

// Backup copies all districts to a folder that is not there yet, each as it is
// at some moment during the call. Only the embedded engine can; MongoDB has
// tools of its own.
func (s *Service) Backup(ctx context.Context, to string) error {
	engine, ok := s.store.(*pebblestore.Store)
	if !ok {
		return errors.New("back up rosters: they are in MongoDB: use its tools")
	}
	return engine.Backup(ctx, to)
}

// Close ends running calls and closes the engine.
func (s *Service) Close() error { return s.store.Close() }
