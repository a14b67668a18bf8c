// Package mongostore is the MongoDB engine of the roster store, for clusters. It
// needs no transactions: nothing is atomic beyond one document, and whatever
// must have one winner is a unique insert. ADR 0006 tells how that gives the
// promises of the contract; this is how it is laid out:
//
//	districts          name → key. All else is under the key, which is new each time a
//	                   district is opened, so that nothing returns from before an erasure
//	log                what was decided about a district, numbered without gaps: claims of
//	                   revisions, fences, floors, discards, the erasure
//	revisions          completion marks: what readers take for the head, and the outbox
//	plans, stagings    finished plans, and stagings whether finished or not
//	versions.<entity>  record versions; those staged for a plan are in a district of
//	                   their own, named after the staging
//	erased             keys of erased districts, for sweeping up late writes
//
// A sharded cluster shards versions.<entity> by (d, id) and the others by d (log,
// revisions, plans, stagings) or _id. Every _id begins with what the shard key
// is made of, so it is unique across shards.
package mongostore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Config of the engine. Zero values mean the defaults stated.
type Config struct {
	// URI of the cluster. Its read and write concerns are those of mongodb.Options.
	URI config.Secret
	// Database to use ("rosters"). Only this engine may write to it.
	Database string
	// Totals is how many totals of queries are remembered (4096).
	Totals int
	// Now tells the commit time (time.Now).
	Now func() time.Time
	Log *slog.Logger
}

// Store implements store.Store. Any number of processes may use one database.
type Store struct {
	cfg    Config
	client *mongo.Client
	db     *mongo.Database

	// ctx ends when the store is closed; its cause is store.ErrClosed.
	ctx    context.Context
	cancel context.CancelCauseFunc

	totals *lru.Cache[string, int]
	// writers has a place for one writer per district. Writers of other processes
	// are kept apart by the log alone; these would only do the same work twice.
	writers sync.Map // key → chan struct{}
	busy    sync.Map // key and plan → nothing: plans that are being staged or discarded
}

var _ store.Store = (*Store)(nil)

// Open connects, creates what indexes are missing, and finishes what a crash
// has interrupted.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg.setDefaults()
	client, err := mongodb.Connect(cfg.URI)
	if err != nil {
		return nil, fmt.Errorf("open roster store: %w", err)
	}
	s, err := open(ctx, client, cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open roster store in MongoDB: %w", err), client.Disconnect(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (c *Config) setDefaults() {
	if c.Database == "" {
		c.Database = "rosters"
	}
	if c.Totals == 0 {
		c.Totals = 4096
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
}

func open(ctx context.Context, client *mongo.Client, cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, client: client, db: client.Database(cfg.Database)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	var err error
	if s.totals, err = lru.New[string, int](cfg.Totals); err != nil {
		return nil, err
	}
	if err := s.ensureIndexes(ctx); err != nil {
		return nil, err
	}
	return s, s.sweep(ctx)
}

// Close implements store.Store.
func (s *Store) Close() error {
	if s.ctx.Err() != nil {
		return nil //nolint:nilerr // Closed already.
	}
	s.cancel(store.ErrClosed)
	if err := s.client.Disconnect(context.Background()); err != nil {
		return fmt.Errorf("close roster store: %w", err)
	}
	return nil
}

// call is one call on one district.
type call struct {
	s   *Store
	id  store.DistrictID
	key string // of the district, see districtDoc
	ctx context.Context
}

// begin starts a call; end must be called.
func (s *Store) begin(ctx context.Context, id store.DistrictID) (_ *call, end func(), err error) {
	if err := store.CheckDistrict(id); err != nil {
		return nil, nil, err
	}
	ctx, end = s.until(ctx)
	doc, err := s.district(ctx, id)
	if err == nil && doc == nil {
		err = unknown(id)
	}
	if err != nil {
		err = s.failed(ctx, err)
		end()
		return nil, nil, err
	}
	return &call{s: s, id: id, key: doc.Key, ctx: ctx}, end, nil
}

// until returns a context that also ends when the store is closed.
func (s *Store) until(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(store.ErrClosed) })
	if s.ctx.Err() != nil {
		cancel(store.ErrClosed)
	}
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// failed returns why a call on ctx has ended with err: the driver says only that
// it was canceled.
func (s *Store) failed(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case s.ctx.Err() != nil:
		return store.ErrClosed
	case ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)):
		return context.Cause(ctx)
	}
	return err
}

// fail says what has failed.
func (c *call) fail(err error, format string, args ...any) error {
	if err = c.s.failed(c.ctx, err); err == nil {
		return nil
	}
	return fmt.Errorf("%s of district %s: %w", fmt.Sprintf(format, args...), c.id, err)
}

func unknown(id store.DistrictID) error {
	return fmt.Errorf("district %s: %w", id, store.ErrDistrictUnknown)
}

// alone waits until no other call of this process writes to the district.
func (c *call) alone() (end func(), err error) {
	place, _ := c.s.writers.LoadOrStore(c.key, make(chan struct{}, 1))
	select {
	case place.(chan struct{}) <- struct{}{}:
		return func() { <-place.(chan struct{}) }, nil
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	}
}

func (s *Store) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Millisecond) }

func (s *Store) versions(e store.Entity) *mongo.Collection {
	return s.db.Collection(collVersions + record.EntityName(e))
}
