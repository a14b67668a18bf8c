package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/semaphore"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// district is an open one.
type district struct {
	id   store.DistrictID
	copy int    // of its database, see erase.go
	dir  string // of that copy
	db   *pebble.DB
	opts *pebble.Options

	runRecords, largeCommit int // see Config

	// ctx ends when the store is closed or the district erased, with the cause
	// that its users then return.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Under Store.mu.
	users  int
	used   uint64
	left   chan struct{} // closed when the last user has left, if somebody waits
	onLeft func()        // called when the last user has left, if it is retired

	staging *semaphore.Weighted // held by each who stages a plan
	write   *semaphore.Weighted // of one: held by whoever makes a revision or changes meta values; taken after staging
	// retired says that the district was copied and is to be used no more. It
	// changes when write and all of staging are held.
	retired bool
	busy    sync.Map // PlanID → nothing: plans being staged or committed

	background sync.WaitGroup // what goes on without a caller; close waits for it
	gathering  sync.Mutex     // held while live records are gathered

	times   times
	matches *lru.Cache[matchKey, *match]
	changes *lru.Cache[changesKey, []string]
	unions  *lru.Cache[unionKey, []string]
}

// stagings is more than are ever at work.
const stagings = 1 << 30

// formatVersion is of the keyspaces and of the terms that search extracts. A
// folder of another version is refused.
const formatVersion = 3

// Names in spaceMeta.
const (
	metaFormat  = "format"
	metaHead    = "head"    // head and floor
	metaFence   = "fence"   // highest fence seen
	metaSummary = "summary" // summaryDoc of the head
	metaErase   = "erase/"  // and the id of a person: what is to be forgotten is still in some file
)

// summaryDoc counts what a revision holds.
type summaryDoc struct {
	Active, Total map[store.Entity]int
	Families      map[record.Family]int
}

// revisionDoc is kept per revision.
type revisionDoc struct {
	store.RevisionInfo
	// Total records per entity, for pages as of this revision.
	Total map[store.Entity]int
	// Bulk revisions have no change log: they created every record they hold.
	Bulk bool
}

// planDoc is kept per finished plan.
type planDoc struct {
	store.Plan
	// Undo is that of the header.
	Undo *store.Undo
	// Bulk plans are staged as table files that become part of the database.
	Bulk    bool
	Summary summaryDoc // of the revision a bulk plan makes
	// Outcome is set when the commit is done; also when it made no revision.
	Outcome *store.Outcome
}

func (s *Store) options() *pebble.Options {
	o := &pebble.Options{
		Cache:              s.cache,
		FileCache:          s.files,
		FormatMajorVersion: pebble.FormatNewest,
		MemTableSize:       4 << 20, // two of them come off the cache
		Logger:             pebbleLog{s.cfg.Log},
	}
	// Reading does not make the database compact: see gather.
	o.Experimental.ReadSamplingMultiplier = -1
	o.EnsureDefaults()
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
	}
	if s.cfg.plain {
		o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	}
	return o
}

// createDistrict makes the folder of an empty district.
func (s *Store) createDistrict(dir string) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	db, err := pebble.Open(filepath.Join(dir, "1"), s.options())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close(), syncDir(dir)) }()
	b := db.NewBatch()
	summary, err := json.Marshal(summaryDoc{})
	if err != nil {
		return err
	}
	return errors.Join(
		b.Set(metaKey(metaFormat), []byte{formatVersion}, nil),
		b.Set(metaKey(metaHead), headValue(0, 0), nil),
		b.Set(metaKey(metaSummary), summary, nil),
		b.Commit(pebble.Sync),
	)
}

// openDistrict opens the database, drops stagings that were never finished and
// finishes erasing persons.
func (s *Store) openDistrict(id store.DistrictID) (*district, error) {
	dir := s.dir(id)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("district %s: %w", id, store.ErrDistrictUnknown)
	}
	n, err := newestCopy(dir)
	var d *district
	if err == nil {
		d, err = s.openCopy(id, n)
	}
	if err == nil {
		d, err = s.finishErasing(d)
	}
	if err != nil {
		return nil, fmt.Errorf("open district %s: %w", id, err)
	}
	return d, nil
}

// newestCopy returns the number of the newest complete copy of a district's
// database, each of which has a folder, and removes all others.
func newestCopy(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	newest := 0
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			newest = max(newest, n)
		}
	}
	if newest == 0 {
		return 0, fmt.Errorf("%s holds no data of format %d, which this program reads: use the program that wrote it", dir, formatVersion)
	}
	for _, e := range entries {
		if e.Name() == strconv.Itoa(newest) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return 0, err
		}
	}
	return newest, nil
}

func (s *Store) openCopy(id store.DistrictID, n int) (*district, error) {
	d := &district{
		id: id, copy: n, dir: filepath.Join(s.dir(id), strconv.Itoa(n)), opts: s.options(),
		runRecords: s.cfg.runRecords, largeCommit: s.cfg.largeCommit, staging: semaphore.NewWeighted(stagings), write: semaphore.NewWeighted(1),
	}
	var err error
	if d.db, err = pebble.Open(d.dir, d.opts); err != nil {
		return nil, err
	}
	d.ctx, d.cancel = context.WithCancelCause(s.ctx)
	if d.matches, err = lru.New[matchKey, *match](256); err == nil {
		d.changes, err = lru.New[changesKey, []string](8)
	}
	if err == nil {
		d.unions, err = lru.New[unionKey, []string](8)
	}
	if err == nil {
		err = d.prepare()
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *district) prepare() error {
	format, err := get(d.db, metaKey(metaFormat))
	if err != nil {
		return err
	}
	if !slices.Equal(format, []byte{formatVersion}) {
		return fmt.Errorf("data has format %v, this program reads %d: use the program that wrote it", format, formatVersion)
	}
	if err := d.times.load(d.db); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(d.dir, scratchDir)); err != nil {
		return err
	}
	return d.dropUnfinished()
}

// dropUnfinished removes what is left of stagings that did not finish, and of
// plans that were committed, before the process ended.
func (d *district) dropUnfinished() error {
	ids, damaged, err := d.stagedPlans(d.db)
	if err != nil {
		return err
	}
	if damaged != nil {
		return fmt.Errorf("damaged key of a staged change")
	}
	for _, id := range ids {
		doc, err := d.plan(d.db, id)
		switch {
		case err != nil:
			return err
		case doc == nil || doc.Outcome != nil:
			err = d.dropStaged(id)
		case doc.Bulk: // its tables count, not what stageLate has made of them
			err = d.dropChanges(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stagedPlans returns the plans for which there are staged changes or tables,
// and the first key of a staged change that names no plan, if there is one.
func (d *district) stagedPlans(r reader) (ids []store.PlanID, damaged []byte, err error) {
	it, err := r.NewIter(span([]byte{spaceStaged}))
	if err != nil {
		return nil, nil, err
	}
	for ok := it.First(); ok && damaged == nil; {
		name, _, valid := unescape(it.Key()[1:])
		if !valid {
			damaged = bytes.Clone(it.Key())
			continue
		}
		ids = append(ids, store.PlanID(name))
		ok = it.SeekGE(afterKey(planKey(spaceStaged, store.PlanID(name))))
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, nil, err
	}
	dirs, err := os.ReadDir(filepath.Join(d.dir, stagedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, e := range dirs {
		if name, err := hex.DecodeString(e.Name()); err == nil && !slices.Contains(ids, store.PlanID(name)) {
			ids = append(ids, store.PlanID(name))
		}
	}
	return ids, damaged, nil
}

func (d *district) close() error {
	d.cancel(store.ErrClosed)
	d.background.Wait()
	if err := d.db.Close(); err != nil {
		return fmt.Errorf("close district %s: %w", d.id, err)
	}
	return nil
}

// check fails if the caller has given up, the store is closed or the district
// erased.
func (d *district) check(ctx context.Context) error {
	if d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	return context.Cause(ctx)
}

// Folders inside that of the database, so that erasing takes them along.
const (
	stagedDir  = "staged"
	scratchDir = "scratch" // of a call that is running
)

func (d *district) stagingDir(id store.PlanID) string {
	return filepath.Join(d.dir, stagedDir, hex.EncodeToString([]byte(id)))
}

func headValue(head, floor store.Revision) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(head)), uint64(floor))
}

// head returns the newest revision and the oldest that was not pruned.
func head(r reader) (head, floor store.Revision, err error) {
	v, err := get(r, metaKey(metaHead))
	if err != nil {
		return 0, 0, err
	}
	if len(v) != 16 {
		return 0, 0, fmt.Errorf("damaged head of %d bytes", len(v))
	}
	return store.Revision(binary.BigEndian.Uint64(v)), store.Revision(binary.BigEndian.Uint64(v[8:])), nil
}

// getDoc reads a JSON document; false without an error if there is none.
func getDoc(r reader, key []byte, doc any) (bool, error) {
	v, err := get(r, key)
	if err != nil || v == nil {
		return false, err
	}
	if err := json.Unmarshal(v, doc); err != nil {
		return false, fmt.Errorf("read document of key space %c: %w", key[0], err)
	}
	return true, nil
}

// setter is a batch or a table being written.
type setter interface {
	Set(key, value []byte, o *pebble.WriteOptions) error
}

func setDoc(w setter, key []byte, doc any) error {
	v, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("write document of key space %c: %w", key[0], err)
	}
	return w.Set(key, v, nil)
}

func (d *district) plan(r reader, id store.PlanID) (*planDoc, error) {
	doc := &planDoc{}
	if ok, err := getDoc(r, planKey(spacePlan, id), doc); !ok {
		return nil, err
	}
	return doc, nil
}

func (d *district) revision(r reader, rev store.Revision) (revisionDoc, error) {
	var doc revisionDoc
	if rev == 0 {
		return doc, nil
	}
	ok, err := getDoc(r, revisionKey(spaceRevision, rev), &doc)
	if err == nil && !ok {
		err = fmt.Errorf("revision %d of %s has no document", rev, d.id)
	}
	return doc, err
}

// times are the commit times of all revisions, also of pruned ones, because
// they stand in for dateLastModified where the source left it blank.
type times struct {
	mu     sync.RWMutex
	at     []time.Time // by revision - 1
	stamps []string
}

func (t *times) load(r reader) error {
	it, err := r.NewIter(span([]byte{spaceTime}))
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		t.set(store.Revision(len(t.at)+1), time.UnixMilli(int64(binary.BigEndian.Uint64(v))))
	}
	return errors.Join(it.Error(), it.Close())
}

// of returns the zero time for revision 0.
func (t *times) of(rev store.Revision) time.Time {
	if rev == 0 {
		return time.Time{}
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.at[rev-1]
}

// stamp is the time as dateLastModified states it.
func (t *times) stamp(rev store.Revision) string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.stamps[rev-1]
}

// set is called before the revision becomes visible.
func (t *times) set(rev store.Revision, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at = append(t.at[:rev-1], at.UTC())
	t.stamps = append(t.stamps[:rev-1], at.UTC().Format(record.TimeFormat))
}

func timeValue(at time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
}

// begin claims a plan for the caller until end is called.
func (d *district) begin(id store.PlanID) (end func(), err error) {
	if _, taken := d.busy.LoadOrStore(id, struct{}{}); taken {
		return nil, fmt.Errorf("plan %q of %s: %w", id, d.id, store.ErrPlanBusy)
	}
	return func() { d.busy.Delete(id) }, nil
}

// raiseFence refuses a fence below one seen and remembers a higher one.
func (d *district) raiseFence(fence store.Fence) error {
	v, err := get(d.db, metaKey(metaFence))
	if err != nil {
		return err
	}
	seen := store.Fence(0)
	if len(v) == 8 {
		seen = store.Fence(binary.BigEndian.Uint64(v))
	}
	if fence < seen {
		return fmt.Errorf("fence %d of %s, seen %d: %w", fence, d.id, seen, store.ErrFenced)
	}
	if fence == seen {
		return nil
	}
	return d.db.Set(metaKey(metaFence), binary.BigEndian.AppendUint64(nil, uint64(fence)), pebble.Sync)
}
