package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/errgroup"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
	"github.com/securly/sync/services/roster-store/internal/store/signals"
)

// bulk stages the first plan of an empty district: as the table files that the
// commit makes part of the database, with the indexes built. There is nothing
// to compare with, and nothing to sort but the terms.
type bulk struct {
	d        *district
	dir      string
	plan     planDoc
	summary  summaryDoc
	finished bool
	// derivedOnly leaves out the records themselves.
	derivedOnly bool

	entity  store.Entity
	counts  store.Counts
	live    *series
	hashes  *series
	indexes map[store.Entity]*indexBuilder
	links   links
	schools populations
	signals *signals.Counter
	crowded []string // students, see signals.Crowded

	// The indexes of entities that are complete are written meanwhile.
	indexing errgroup.Group
	mu       sync.Mutex // of plan.Schools

	// Tables and indexes are written side by side, chunk by chunk, while the
	// next one is read.
	chunk   *chunk
	writers *errgroup.Group
	failed  context.Context // ends when a writer has failed
	tables  chan *chunk
	listing chan *chunk
}

// chunk holds records that are read and not written yet. Nobody changes it once
// it is handed on.
type chunk struct {
	records []bulkRecord
	bytes   int
}

type bulkRecord struct {
	id    string
	hash  record.Hash
	body  []byte
	flags byte
	facts search.Facts
}

// chunkBytes is about how large a chunk becomes.
const chunkBytes = 256 << 10

func newBulk(d *district, dir string, plan planDoc) (*bulk, error) {
	b := &bulk{
		d: d, dir: dir, plan: plan,
		indexes: map[store.Entity]*indexBuilder{}, schools: populations{}, signals: signals.New(plan.CreateTime),
	}
	b.links.init()
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make staging folder: %w", err)
	}
	return b, nil
}

func (b *bulk) begin(e store.Entity) error {
	b.entity, b.counts = e, store.Counts{}
	b.live = &series{d: b.d, dir: b.dir, name: fmt.Sprintf("live-%d", e)}
	b.hashes = &series{d: b.d, dir: b.dir, name: fmt.Sprintf("hash-%d", e)}
	b.indexes[e] = newIndexBuilder(b.d, b.dir, e)
	b.chunk, b.tables, b.listing = &chunk{}, make(chan *chunk, 2), make(chan *chunk, 2)
	b.writers, b.failed = errgroup.WithContext(b.d.ctx)
	tables, listing := b.tables, b.listing
	b.writers.Go(func() error { return each(tables, b.writeTables) })
	b.writers.Go(func() error { return each(listing, b.list) })
	return nil
}

// each takes chunks until there are no more, or until one fails.
func each(chunks <-chan *chunk, do func(*chunk) error) error {
	for c := range chunks {
		if err := do(c); err != nil {
			return err
		}
	}
	return nil
}

func (b *bulk) put(r store.ImportRecord) error {
	if r.Body == nil {
		return nil // it is not there
	}
	body := bytes.Clone(r.Body) // what is read from it may refer to it
	facts, err := search.Read(r.Entity, r.ID, body)
	if err != nil {
		return err
	}
	return b.add(bulkRecord{r.ID, r.Hash, body, flagsOf(facts), facts})
}

func (b *bulk) add(r bulkRecord) error {
	b.counts.Received++
	b.counts.Created++
	b.summary.add(b.entity, r.facts, 1)
	b.signals.Digest(b.entity, r.id, store.Created, record.Hash{}, r.hash)
	if signals.Crowded(r.facts) {
		b.crowded = append(b.crowded, r.id)
	}
	b.chunk.records = append(b.chunk.records, r)
	if b.chunk.bytes += len(r.body); b.chunk.bytes < chunkBytes {
		return nil
	}
	return b.handOn()
}

// handOn gives the chunk to the writers, or says why they have stopped.
func (b *bulk) handOn() error {
	c := b.chunk
	b.chunk = &chunk{}
	for _, to := range []chan *chunk{b.tables, b.listing} {
		select {
		case to <- c:
		case <-b.failed.Done():
			return cmp.Or(b.drain(), context.Cause(b.failed))
		}
	}
	return nil
}

// drain waits until the writers have written what they were given.
func (b *bulk) drain() error {
	if b.writers == nil {
		return nil
	}
	close(b.tables)
	close(b.listing)
	err := b.writers.Wait()
	b.writers = nil
	return err
}

func (b *bulk) writeTables(c *chunk) error {
	if b.derivedOnly {
		return nil
	}
	var buf []byte
	for _, r := range c.records {
		buf = appendVersion(buf[:0], 1, r.flags, r.body)
		if err := b.live.Set(recordKey(spaceLive, b.entity, r.id), buf, nil); err != nil {
			return err
		}
		buf = appendVersion(buf[:0], 1, r.flags, r.hash[:])
		if err := b.hashes.Set(recordKey(spaceHash, b.entity, r.id), buf, nil); err != nil {
			return err
		}
	}
	return nil
}

func (b *bulk) list(c *chunk) error {
	x := b.indexes[b.entity]
	derives := search.Derives(b.entity)
	for _, r := range c.records {
		if !derives && x.len() == b.d.runRecords {
			if err := x.flush(); err != nil {
				return err
			}
		}
		n := x.record(r.id)
		for _, t := range r.facts.Terms {
			x.term(n, t)
		}
		m := memberOf(b.entity, r.facts)
		if derives {
			x.members = append(x.members, m)
		} else {
			b.schools.add(b.entity, r.facts.Schools, m, 1)
			for _, s := range r.facts.Schools {
				x.term(n, search.Term{Field: search.FieldSchool, Value: s})
			}
		}
		b.links.add(b.entity, r.id, r.facts)
	}
	return nil
}

func (b *bulk) end() error {
	b.plan.Counts[b.entity] = b.counts
	if err := b.handOn(); err != nil {
		return err
	}
	if err := b.drain(); err != nil {
		return err
	}
	err := errors.Join(b.live.close(), b.hashes.close())
	if err != nil || search.Derives(b.entity) {
		return err
	}
	b.index(b.entity)
	return nil
}

// index begins to write the index of an entity, whose builder is complete.
func (b *bulk) index(e store.Entity) {
	x := b.indexes[e]
	delete(b.indexes, e)
	b.indexing.Go(func() error {
		if err := x.finish(b.d.ctx); err != nil {
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for school, n := range x.schools {
			per := b.plan.Schools[school]
			if per == nil {
				per = map[store.Entity]store.Counts{}
				b.plan.Schools[school] = per
			}
			per[e] = store.Counts{Created: n}
		}
		return nil
	})
}

// writeStaged writes what follows from all records together.
func (b *bulk) writeStaged() error {
	b.links.join()
	if err := b.writeTallies(); err != nil {
		return err
	}
	for _, e := range []store.Entity{courses, users, demographics} {
		if b.indexes[e] == nil {
			continue
		}
		if err := b.writeDerived(e); err != nil {
			return err
		}
		b.index(e)
	}
	schools := &series{d: b.d, dir: b.dir, name: "schools"}
	for _, school := range slices.Sorted(maps.Keys(b.schools)) {
		v := b.schools[school].append(nil)
		if err := schools.Set(populationKey(school), v, nil); err != nil {
			return errors.Join(err, schools.close())
		}
	}
	if err := errors.Join(schools.close(), b.indexing.Wait()); err != nil {
		return err
	}
	return errors.Join(syncDir(b.dir), syncDir(filepath.Dir(b.dir)), syncDir(b.d.dir))
}

func (b *bulk) finish() (store.Plan, error) {
	if err := b.writeStaged(); err != nil {
		return store.Plan{}, err
	}
	for _, id := range b.crowded {
		b.signals.Crowded(schoolsIn(b.links.derived(users, id)))
	}
	if err := b.signals.Finish(b.d.ctx, nil, &b.plan.Plan); err != nil {
		return store.Plan{}, err
	}
	batch := b.d.db.NewBatch()
	defer batch.Close()
	b.plan.Bulk, b.plan.Summary = b.plan.Changes() > 0, b.summary
	if err := setDoc(batch, planKey(spacePlan, b.plan.ID), b.plan); err != nil {
		return store.Plan{}, err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return store.Plan{}, err
	}
	b.finished = true
	return b.plan.Plan, nil
}

// writeTallies writes which schools enrollments and classes give.
func (b *bulk) writeTallies() error {
	out := &series{d: b.d, dir: b.dir, name: "enrol"}
	for _, part := range []struct {
		entity store.Entity
		names  *names
		given  adjacency
	}{
		{courses, &b.links.courses, b.links.taught},
		{users, &b.links.users, b.links.enrolled},
	} {
		for _, n := range part.names.sorted() {
			given := part.given.of(n)
			if len(given) == 0 {
				continue
			}
			tally := map[string]int{}
			for _, s := range given {
				tally[b.links.schools.list[s]]++
			}
			value := appendTally(nil, tally)
			if err := out.Set(recordKey(spaceEnrol, part.entity, part.names.list[n]), value, nil); err != nil {
				return errors.Join(err, out.close())
			}
		}
	}
	return out.close()
}

// writeDerived works out the terms that follow from other records.
func (b *bulk) writeDerived(e store.Entity) error {
	out := &series{d: b.d, dir: b.dir, name: fmt.Sprintf("terms-%d", e)}
	x := b.indexes[e]
	for n := range uint32(x.len()) {
		terms := b.links.derived(e, string(x.id(n)))
		if len(terms) == 0 {
			continue
		}
		for _, t := range terms {
			x.term(n, t)
		}
		b.schools.add(e, schoolsIn(terms), x.members[n], 1)
		if err := out.Set(recordKey(spaceTerms, e, x.id(n)), appendTerms(nil, terms), nil); err != nil {
			return errors.Join(err, out.close())
		}
	}
	return out.close()
}

func (b *bulk) close() error {
	var errs []error
	errs = append(errs, b.drain(), b.indexing.Wait())
	for _, s := range []*series{b.live, b.hashes} {
		if s != nil {
			errs = append(errs, s.close())
		}
	}
	if !b.finished || b.plan.Changes() == 0 {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}

// add counts a record in (by 1) or out (by -1).
func (s *summaryDoc) add(e store.Entity, f search.Facts, by int) {
	if s.Total == nil {
		s.Active, s.Total, s.Families = map[store.Entity]int{}, map[store.Entity]int{}, map[record.Family]int{}
	}
	s.Total[e] += by
	if f.Tombstone {
		return
	}
	s.Active[e] += by
	for _, family := range f.Families {
		s.Families[family] += by
	}
}

// stagedTables lists the files of a staged bulk plan, those whose names begin
// with prefix.
func (d *district) stagedTables(id store.PlanID, prefix string) ([]string, error) {
	dir := d.stagingDir(id)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read staged plan: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// stagedRecords yields the records of an entity that a bulk plan has staged,
// without their facts.
func (d *district) stagedRecords(ctx context.Context, plan store.PlanID, e store.Entity, do func(bulkRecord) error) (err error) {
	live, err := d.openTables(ctx, plan, "live", spaceLive, e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	hashes, err := d.openTables(ctx, plan, "hash", spaceHash, e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hashes.Close()) }()
	n := 0
	ok, also := live.First(), hashes.First()
	for ; ok && also; ok, also = live.Next(), hashes.Next() {
		if n++; n%1024 == 0 {
			if err := d.check(ctx); err != nil {
				return err
			}
		}
		r := bulkRecord{id: string(live.Key()[2:])}
		v, err := live.ValueAndErr()
		if err == nil {
			_, r.flags, r.body, err = revFlags(bytes.Clone(v))
		}
		if err == nil {
			v, err = hashes.ValueAndErr()
		}
		var hash []byte
		if err == nil {
			_, _, hash, err = revFlags(v)
		}
		if err != nil {
			return err
		}
		copy(r.hash[:], hash)
		if err := do(r); err != nil {
			return err
		}
	}
	if err := errors.Join(live.Error(), hashes.Error()); err != nil {
		return err
	}
	if ok != also {
		return fmt.Errorf("staged %s and their hashes are not the same", record.EntityName(e))
	}
	return nil
}

// openTables walks the staged tables of a bulk plan that hold a key space of an
// entity.
func (d *district) openTables(ctx context.Context, plan store.PlanID, name string, space byte, e store.Entity) (*pebble.Iterator, error) {
	paths, err := d.stagedTables(plan, fmt.Sprintf("%s-%d-", name, e))
	if err != nil {
		return nil, err
	}
	return d.readTables(ctx, paths, span([]byte{space, byte(e)}))
}
