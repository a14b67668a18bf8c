// Package ingest brings rosters into the hub: it keeps districts and their
// sources, takes in packages, turns them into layers of canonical records,
// merges the layers of a district, and has the roster store plan and commit
// what changed.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/secrets"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/securly/sync/proto/gen/securly/sync/event/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/api"
	"github.com/securly/sync/services/ingest/internal/notify"
	"github.com/securly/sync/services/ingest/internal/sealed"
	"github.com/securly/sync/services/ingest/internal/sftpserver"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/syncrun"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/pagetoken"
)

// Config of the service. Zero values mean the defaults.
type Config struct {
	// TempDir is for uploads and sorting, for this process alone. What is in it
	// when the service runs is deleted. Empty means a folder of the system's.
	TempDir string
	// MaxUpload bounds one package in bytes, uploaded or fetched: 2 GiB.
	MaxUpload int64
	// Concurrency is how many sources are synced at the same time: 2.
	Concurrency int
	// LeaseLife is how long the work of a process that died waits for another: 15 s.
	LeaseLife time.Duration
	// Alone tells that no other process uses Docs, so that the work of one that
	// died need not wait.
	Alone bool
	// Sweep is how often the documents are searched for work: every 5 s.
	Sweep time.Duration
	// Retain is how often districts are searched for one whose history is due
	// to be cut short: every 10 minutes.
	Retain time.Duration
	// Notify is how often it is looked for what people are to be told that no
	// event told of, and for mails to be sent again: every minute.
	Notify time.Duration
	// SFTPKey is the file with the key of the SFTP server, made if it is not there.
	SFTPKey string
	// Mail is how notifications are sent.
	Mail Mail
	// TokenKey seals page tokens; all replicas share it. Empty means a random one.
	TokenKey []byte
}

// Mail is how notifications are sent.
type Mail struct {
	// Server is the address of a mail server: smtp://user:password@host:587 must
	// offer STARTTLS, smtps://user:password@host:465 is TLS from the start, and
	// smtp://host:25?tls=none is a relay within an own network. Empty for none.
	Server config.Secret
	// From is the sender.
	From string
	// PublicURL is where people open the hub; empty for mails without links.
	PublicURL string
}

func (c *Config) setDefaults() {
	if c.MaxUpload == 0 {
		c.MaxUpload = 2 << 30
	}
	if c.Concurrency == 0 {
		c.Concurrency = 2
	}
	if c.LeaseLife == 0 {
		c.LeaseLife = 15 * time.Second
	}
	if c.Sweep == 0 {
		c.Sweep = 5 * time.Second
	}
	if c.Retain == 0 {
		c.Retain = 10 * time.Minute
	}
	if c.Notify == 0 {
		c.Notify = time.Minute
	}
	if len(c.TokenKey) == 0 {
		c.TokenKey = pagetoken.Key()
	}
}

// Deps of the service. The connections behind the clients carry the
// credentials of this service.
type Deps struct {
	Docs   docstore.Store
	Bus    *events.Bus
	Blobs  *blob.Bucket
	Roster rosterv1.RosterServiceClient
	// Readiness is told when a district is erased, and knows rollover windows.
	Readiness readinessv1.ReadinessServiceClient
	// RosterUpkeep and ReadinessUpkeep are told when a person is erased.
	RosterUpkeep    rosterv1.UpkeepServiceClient
	ReadinessUpkeep readinessv1.UpkeepServiceClient
	Log             *slog.Logger
	// SFTP is where districts drop files; nil for no SFTP server. Run closes it.
	SFTP net.Listener
	// Secrets is the key that the secrets of sources are sealed with; OpenKeeper
	// opens it, and who opened it closes it.
	Secrets *secrets.Keeper
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// OpenKeeper opens the key that secrets are sealed with: the one at url, or, if
// that is empty, the one in a file, which is made if there is none yet.
func OpenKeeper(ctx context.Context, url, file string) (*secrets.Keeper, error) {
	return sealed.OpenKeeper(ctx, url, file)
}

// Service is the ingest service.
type Service struct {
	cfg     Config
	api     api.Deps
	runner  *syncrun.Runner
	drops   *sftpserver.Server // nil for none
	door    net.Listener
	notices *notify.Notifier // nil for none
	tempDir string           // to remove, if it is our own
}

// New checks cfg and returns a service that has started nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.setDefaults()
	switch {
	case deps.Docs == nil, deps.Bus == nil, deps.Blobs == nil, deps.Roster == nil, deps.Readiness == nil,
		deps.RosterUpkeep == nil, deps.ReadinessUpkeep == nil, deps.Secrets == nil, deps.Log == nil:
		return nil, errors.New("ingest: Docs, Bus, Blobs, Roster, Readiness, the upkeep of both, Secrets and Log are required")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	s := &Service{}
	if cfg.TempDir == "" {
		dir, err := os.MkdirTemp("", "securly-sync-ingest-*")
		if err != nil {
			return nil, fmt.Errorf("ingest: make a folder for temporary files: %w", err)
		}
		cfg.TempDir, s.tempDir = dir, dir
	} else if err := empty(cfg.TempDir); err != nil {
		return nil, fmt.Errorf("ingest: empty the folder for temporary files: %w", err)
	}
	store, sealer := state.New(deps.Docs), sealed.New(deps.Secrets)
	leases := &state.Leases{Store: store, Holder: state.NewID(), Life: cfg.LeaseLife, Alone: cfg.Alone, Now: deps.Now}
	s.cfg = cfg
	s.runner = syncrun.New(syncrun.Config{
		Concurrency: cfg.Concurrency, Sweep: cfg.Sweep, Progress: min(time.Second, cfg.Sweep), TempDir: cfg.TempDir, MaxPackage: cfg.MaxUpload, Patience: time.Minute,
	}, syncrun.Deps{
		Store: store, Leases: leases, Secrets: sealer, RosterUpkeep: deps.RosterUpkeep, ReadinessUpkeep: deps.ReadinessUpkeep,
		Roster: deps.Roster, Readiness: deps.Readiness, Bus: deps.Bus, Blobs: deps.Blobs, Log: deps.Log, Now: deps.Now,
	})
	s.api = api.Deps{
		Store: store, Leases: leases, Roster: deps.Roster, Readiness: deps.Readiness, Bus: deps.Bus, Blobs: deps.Blobs,
		Tokens: pagetoken.New(cfg.TokenKey), Secrets: sealer, Log: deps.Log, Now: deps.Now, Wake: s.runner.Wake, ErasePerson: s.runner.ErasePerson,
		GuardianBase: s.runner.GuardianBase,
		TempDir:      cfg.TempDir, MaxUpload: cfg.MaxUpload,
	}
	if cfg.Mail.Server != "" {
		server, err := notify.NewServer(cfg.Mail.Server.Reveal(), cfg.Mail.From)
		if err != nil {
			return nil, fmt.Errorf("ingest: %w", err)
		}
		s.api.Mail = server
		s.notices = &notify.Notifier{Store: store, Leases: leases, Server: server, PublicURL: cfg.Mail.PublicURL, Log: deps.Log, Now: deps.Now}
	}
	if deps.SFTP == nil {
		return s, nil
	}
	key, err := sftpserver.HostKey(cfg.SFTPKey)
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	s.door, s.api.HostKey = deps.SFTP, ssh.FingerprintSHA256(key.PublicKey())
	if addr, ok := deps.SFTP.Addr().(*net.TCPAddr); ok {
		s.api.SFTPPort = int32(addr.Port)
	}
	s.drops = sftpserver.New(
		sftpserver.Config{HostKey: key, TempDir: cfg.TempDir, MaxBytes: cfg.MaxUpload, Check: cfg.Sweep},
		sftpserver.Deps{Store: store, Blobs: deps.Blobs, Log: deps.Log, Now: deps.Now})
	return s, nil
}

// empty removes what a process that died has left behind.
func empty(dir string) error {
	return errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
}

// Register adds the services to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { api.Register(r, s.api) }

// Run carries out syncs, starts those that are scheduled, goes on with deletions
// that were broken off, and has old history forgotten, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.runner.Run(ctx) })
	group.Go(func() error { return repeat(ctx, s.cfg.Sweep, s.erase) })
	group.Go(func() error { return repeat(ctx, s.cfg.Sweep, api.Starter(s.api).Sweep) })
	group.Go(func() error { return repeat(ctx, s.cfg.Retain, s.retain) })
	group.Go(func() error {
		return repeat(ctx, s.cfg.Sweep, func(ctx context.Context) { api.SyncDropped(ctx, s.api) })
	})
	group.Go(func() error {
		return repeat(ctx, s.cfg.Sweep, func(ctx context.Context) { api.ShareAnew(ctx, s.api) })
	})
	group.Go(func() error {
		return repeat(ctx, s.cfg.Sweep, func(ctx context.Context) { api.MatchAgain(ctx, s.api) })
	})
	if s.notices != nil {
		group.Go(func() error { return repeat(ctx, s.cfg.Notify, s.notices.Sweep) })
		group.Go(func() error { return s.notify(ctx) })
	}
	if s.drops != nil {
		group.Go(func() error { return s.drops.Serve(ctx, s.door) })
	}
	return group.Wait()
}

// repeat does something now and again and again until ctx ends.
func repeat(ctx context.Context, every time.Duration, do func(context.Context)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		do(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// notify has people told of a sync as soon as it has ended or is on hold.
func (s *Service) notify(ctx context.Context) error {
	err := s.api.Bus.Consume(ctx, events.Consumer{
		Durable: "ingest-notifier", Filter: events.Subject("ingest", "*", "sync-ended"),
	}, func(ctx context.Context, _ string, payload []byte) error {
		var ended eventv1.SyncEnded
		if err := proto.Unmarshal(payload, &ended); err != nil {
			return fmt.Errorf("read sync-ended: %w", err)
		}
		return s.notices.District(ctx, ended.GetDistrict(), ended.GetSync())
	})
	if ctx.Err() == nil {
		return err
	}
	return nil // told to stop, perhaps while it began
}

// erase goes on with the deletion of districts.
func (s *Service) erase(ctx context.Context) {
	for doc, err := range s.api.Store.Districts.All(ctx, "") {
		if err == nil && !doc.Value.GetDeleting() {
			continue
		}
		if err == nil {
			err = api.Erase(ctx, s.api, doc.ID)
		}
		if err != nil && ctx.Err() == nil {
			s.api.Log.WarnContext(ctx, "delete district", "district", doc.ID, "error", err)
		}
	}
}

// Close removes the temporary folder.
func (s *Service) Close() error {
	if s.tempDir == "" {
		return nil
	}
	return os.RemoveAll(s.tempDir)
}
