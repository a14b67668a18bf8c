// Package pebblestore is the embedded engine of the roster store: one folder
// with one Pebble database per district, so that a district is isolated, backed
// up and erased by itself. README.md states its limits.
package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/roster-store/internal/store"
)

// Config of the engine. Zero values mean the defaults stated.
type Config struct {
	// Dir holds one folder per district. Only one process may use it.
	Dir string
	// MaxOpen is how many idle districts stay open (64). Each holds about ten
	// files of its own; data files are shared up to MaxFiles (512).
	MaxOpen, MaxFiles int
	// CacheBytes is for data blocks and memtables of all districts together (80 MiB).
	CacheBytes int64
	// Now tells the commit time (time.Now).
	Now func() time.Time
	Log *slog.Logger

	// runRecords is how many records of an entity are indexed in memory at a
	// time when a district is loaded (2 million).
	runRecords int
	// largeCommit is from how many changed records on a commit goes through
	// table files, so that it is not held in memory (100,000).
	largeCommit int
	// plain leaves out compression, so that a test can read the files.
	plain bool
}

// Store implements store.Store.
type Store struct {
	cfg   Config
	cache *pebble.Cache
	files *pebble.FileCache

	// ctx ends when the store is closed; its cause is store.ErrClosed.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// mu is never held while a file is touched: what happens to one district
	// does not stop the others.
	mu      sync.Mutex
	slots   map[store.DistrictID]*slot
	closing int    // slots being closed because there are too many
	clock   uint64 // of uses, for closing the least recently used
	closed  bool
}

var _ store.Store = (*Store)(nil)

const (
	// Folders whose names begin with a dot are no districts.
	pendingDir  = ".pending" // marks of districts with revisions to announce
	erasingDir  = ".erasing" // marks of districts with persons to forget
	newPrefix   = ".new-"
	erasePrefix = ".erased-"
)

// Open prepares the folder and finishes what a crash has interrupted.
func Open(cfg Config) (*Store, error) {
	cfg.setDefaults()
	for _, marks := range []string{pendingDir, erasingDir} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, marks), 0o700); err != nil {
			return nil, fmt.Errorf("open roster store: %w", err)
		}
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open roster store: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), erasePrefix) {
			if err := os.RemoveAll(filepath.Join(cfg.Dir, e.Name())); err != nil {
				return nil, fmt.Errorf("open roster store: finish erasing: %w", err)
			}
		}
	}
	s := &Store{
		cfg:   cfg,
		cache: pebble.NewCache(cfg.CacheBytes),
		files: pebble.NewFileCache(4, cfg.MaxFiles),
		slots: map[store.DistrictID]*slot{},
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if err := s.resumeErasing(); err != nil {
		return nil, fmt.Errorf("open roster store: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

func (c *Config) setDefaults() {
	if c.MaxOpen == 0 {
		c.MaxOpen = 64
	}
	if c.MaxFiles == 0 {
		c.MaxFiles = 512
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 80 << 20
	}
	if c.runRecords == 0 {
		c.runRecords = 2_000_000
	}
	if c.largeCommit == 0 {
		c.largeCommit = 100_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.cancel(store.ErrClosed)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for len(s.slots) > 0 {
		for id, sl := range s.slots {
			if sl.busy == nil {
				errs = append(errs, s.closeSlot(id, sl))
			} else {
				s.await(sl.busy)
			}
			break // the map has changed meanwhile
		}
	}
	s.files.Unref()
	s.cache.Unref()
	return errors.Join(errs...)
}

func (s *Store) dir(id store.DistrictID) string { return filepath.Join(s.cfg.Dir, string(id)) }

func (s *Store) pendingFile(id store.DistrictID) string {
	return filepath.Join(s.cfg.Dir, pendingDir, string(id))
}

func (s *Store) erasingFile(id store.DistrictID) string {
	return filepath.Join(s.cfg.Dir, erasingDir, string(id))
}

// Districts implements store.Store.
func (s *Store) Districts(ctx context.Context) iter.Seq2[store.DistrictID, error] {
	return func(yield func(store.DistrictID, error) bool) {
		if err := s.check(ctx); err != nil {
			yield("", err)
			return
		}
		entries, err := os.ReadDir(s.cfg.Dir)
		if err != nil {
			yield("", fmt.Errorf("list districts: %w", err))
			return
		}
		for _, e := range entries {
			id := store.DistrictID(e.Name())
			if store.CheckDistrict(id) != nil {
				continue
			}
			if err := s.check(ctx); err != nil {
				yield("", err)
				return
			}
			if !yield(id, nil) {
				return
			}
		}
	}
}

// check fails if the caller has given up or the store is closed.
func (s *Store) check(ctx context.Context) error {
	if s.ctx.Err() != nil {
		return store.ErrClosed
	}
	return context.Cause(ctx)
}

// syncDir makes the names in a folder survive a power loss.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
