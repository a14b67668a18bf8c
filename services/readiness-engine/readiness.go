// Package readiness is the service that checks a district's roster for what
// products need. It keeps a replica of the districts in use, makes a report
// after every commit and on request, and serves
// securly.sync.readiness.v1.ReadinessService.
package readiness

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"gocloud.dev/blob"
	"google.golang.org/grpc"

	eventv1 "github.com/securly/sync/proto/gen/securly/sync/event/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/readiness-engine/internal/api"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
	"github.com/securly/sync/services/readiness-engine/internal/report"
)

// Config of the service. Zero values stand for the defaults.
type Config struct {
	// TokenKey seals page tokens; all engines share it. Without one, tokens are
	// good until the engine stops.
	TokenKey []byte
	// ReplicaBytes is the memory for replicas that are not in use. Default 128 MiB:
	// one district of 100,000 students.
	ReplicaBytes int
	// Watches is how many replicas are followed at a time. Default 100.
	Watches int
	// Workers is how many reports are made at a time. Default 2.
	Workers int
	// Sweep is how often the queue is looked at without being woken. Default 10 s.
	Sweep time.Duration
	// Compare is how often all districts are compared with their reports, in
	// case a commit went unnoticed. Default 5 min.
	Compare time.Duration
	// Lease is how long a report stays with an engine that fell silent. Default 15 s.
	Lease time.Duration
	// Attempts is how often a report is tried before it fails. Default 5.
	Attempts int
	// Retry is the pause before the second attempt; it doubles with each.
	// Default 1 s.
	Retry time.Duration
	// Retain is how long reports are kept of a district that does not say how
	// long its history is. Default 400 days.
	Retain time.Duration
	// Newest is how many reports of a district are kept at the most. Default 2000.
	Newest int
}

// Deps are what the service uses and does not own.
type Deps struct {
	Docs   docstore.Store
	Blobs  *blob.Bucket // findings
	Bus    *events.Bus
	Roster rosterv1.RosterServiceClient
	// Of the ingest service: what districts have declared and how they are synced.
	Districts ingestv1.DistrictServiceClient
	Sources   ingestv1.SourceServiceClient
	Syncs     ingestv1.SyncServiceClient
	Log       *slog.Logger
	Now       func() time.Time // default time.Now
}

// Service is the readiness engine.
type Service struct {
	deps    Deps
	cache   *replica.Cache
	runner  *report.Runner
	commits *report.Commits
	server  *api.Server
}

// New assembles the service; it starts and opens nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if len(cfg.TokenKey) == 0 {
		cfg.TokenKey = pagetoken.Key()
	}
	cache := replica.NewCache(deps.Roster, cmp.Or(cfg.ReplicaBytes, 128<<20), cmp.Or(cfg.Watches, 100), deps.Log)
	reports := report.Open(deps.Docs, deps.Blobs, deps.Districts)
	s := &Service{deps: deps, cache: cache}
	s.runner = report.NewRunner(report.RunnerConfig{
		Workers:  cmp.Or(cfg.Workers, 2),
		Sweep:    cmp.Or(cfg.Sweep, 10*time.Second),
		Lease:    cmp.Or(cfg.Lease, 15*time.Second),
		Attempts: cmp.Or(cfg.Attempts, 5),
		Retry:    cmp.Or(cfg.Retry, time.Second),
		Retain:   cmp.Or(cfg.Retain, 400*24*time.Hour),
		Newest:   cmp.Or(cfg.Newest, 2000),
	}, reports, cache, deps.Log, deps.Now)
	s.commits = report.NewCommits(reports, deps.Roster, deps.Bus, cmp.Or(cfg.Compare, 5*time.Minute), deps.Log, deps.Now, s.queued)
	s.server = api.New(reports, deps.Roster, api.Ingest{Districts: deps.Districts, Sources: deps.Sources, Syncs: deps.Syncs}, cache, pagetoken.New(cfg.TokenKey), deps.Now, s.queued)
	return s, nil
}

// queued wakes this engine and tells the others. A report that nobody hears of
// is found by their next look at the queue.
func (s *Service) queued(ctx context.Context, r *readinessv1.ReadinessReport, district string) {
	s.runner.Wake()
	err := s.deps.Bus.Publish(ctx, events.Subject("readiness", district, "report-queued"), r.GetName(),
		&eventv1.ReportQueued{District: district, Report: r.GetReportId()})
	if err != nil {
		s.deps.Log.WarnContext(ctx, "readiness: cannot announce a queued report", "district", district, "error", err)
	}
}

// Register adds the service to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	readinessv1.RegisterReadinessServiceServer(r, s.server)
	readinessv1.RegisterUpkeepServiceServer(r, api.NewUpkeep(s.server))
}

// Run makes reports until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	return lifecycle.Run(ctx,
		lifecycle.Component{Name: "readiness commits", Run: s.commits.Listen},
		lifecycle.Component{Name: "readiness sweep", Run: s.commits.Sweep},
		lifecycle.Component{Name: "readiness replicas", Run: s.cache.Run},
		lifecycle.Component{Name: "readiness runner", Run: s.runner.Run},
		lifecycle.Component{Name: "readiness retention", Run: s.runner.Retain},
		lifecycle.Component{Name: "readiness wake-up", Run: func(ctx context.Context) error {
			return s.deps.Bus.Subscribe(ctx, events.Subject("readiness", "*", "report-queued"),
				func(context.Context, string, []byte) { s.runner.Wake() })
		}},
	)
}
