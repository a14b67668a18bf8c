package pebblestore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// bulk stages the first plan of an empty district: as the table files that the
// commit makes part of the database, with the indexes built. There is nothing
// to compare with, and nothing to sort but the terms.
type bulk struct {
	d        *district
	dir      string
	plan     store.Plan
	summary  summaryDoc
	finished bool

	entity  store.Entity
	counts  store.Counts
	live    *series
	hashes  *series
	indexes map[store.Entity]*indexBuilder
	links   links
	paths   []string
	buf     []byte
}

func newBulk(d *district, plan store.Plan) (staging, error) {
	b := &bulk{
		d: d, dir: d.stagingDir(plan.ID), plan: plan,
		indexes: map[store.Entity]*indexBuilder{},
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
	return nil
}

func (b *bulk) put(r store.ImportRecord) error {
	facts, err := search.Read(r.Entity, r.ID, r.Body)
	if err != nil {
		return err
	}
	b.counts.Received++
	b.counts.Created++
	b.summary.add(r.Entity, facts, 1)

	flags := flagsOf(facts)
	b.buf = appendVersion(b.buf[:0], 1, flags, r.Body)
	if err := b.live.Set(recordKey(spaceLive, r.Entity, r.ID), b.buf, nil); err != nil {
		return err
	}
	b.buf = appendVersion(b.buf[:0], 1, flags, r.Hash[:])
	if err := b.hashes.Set(recordKey(spaceHash, r.Entity, r.ID), b.buf, nil); err != nil {
		return err
	}

	x := b.indexes[r.Entity]
	derives := search.Derives(r.Entity)
	if !derives && x.len() == b.d.runRecords {
		if err := x.flush(); err != nil {
			return err
		}
	}
	n := x.record(r.ID)
	for _, t := range facts.Terms {
		x.term(n, t)
	}
	if !derives {
		for _, s := range facts.Schools {
			x.term(n, search.Term{Field: search.FieldSchool, Value: s})
		}
	}
	b.links.add(r.Entity, r.ID, facts)
	return nil
}

func (b *bulk) end() error {
	b.plan.Counts[b.entity] = b.counts
	err := errors.Join(b.live.close(), b.hashes.close())
	b.paths = append(append(b.paths, b.live.paths...), b.hashes.paths...)
	if err != nil || search.Derives(b.entity) {
		return err
	}
	return b.index(b.entity)
}

// index writes the index of an entity and lets go of what it was built from.
func (b *bulk) index(e store.Entity) error {
	x := b.indexes[e]
	delete(b.indexes, e)
	paths, err := x.finish(b.d.ctx)
	if err != nil {
		return err
	}
	b.paths = append(b.paths, paths...)
	for school, n := range x.schools {
		per := b.plan.Schools[school]
		if per == nil {
			per = map[store.Entity]store.Counts{}
			b.plan.Schools[school] = per
		}
		per[e] = store.Counts{Created: n}
	}
	return nil
}

func (b *bulk) finish() (store.Plan, error) {
	b.links.join()
	if err := b.writeTallies(); err != nil {
		return store.Plan{}, err
	}
	for _, e := range []store.Entity{courses, users, demographics} {
		if b.indexes[e] == nil {
			continue
		}
		if err := b.writeDerived(e); err != nil {
			return store.Plan{}, err
		}
		if err := b.index(e); err != nil {
			return store.Plan{}, err
		}
	}
	if err := errors.Join(syncDir(b.dir), syncDir(b.d.dir)); err != nil {
		return store.Plan{}, err
	}
	batch := b.d.db.NewBatch()
	defer batch.Close()
	doc := planDoc{Plan: b.plan, Bulk: b.plan.Changes() > 0, Summary: b.summary}
	if err := setDoc(batch, planKey(spacePlan, b.plan.ID), doc); err != nil {
		return store.Plan{}, err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return store.Plan{}, err
	}
	b.finished = true
	return b.plan, nil
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
	b.paths = append(b.paths, out.paths...)
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
		if err := out.Set(recordKey(spaceTerms, e, x.id(n)), appendTerms(nil, terms), nil); err != nil {
			return errors.Join(err, out.close())
		}
	}
	b.paths = append(b.paths, out.paths...)
	return out.close()
}

func (b *bulk) close() error {
	var errs []error
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
