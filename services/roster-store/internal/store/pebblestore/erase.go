package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// A person is erased in two steps. One atomic write blanks all that can be read.
// But what a database has deleted stays in its files: in tables until they are
// compacted, in logs until they are written over, in manifests as the bounds of
// tables. So what can be read is then copied to a fresh database, which takes
// the place of the old one; the old one is removed when its last reader has
// left. Readers need not wait for any of this, writers wait for the copy.

// ErasePerson implements store.Upkeep.
func (s *Store) ErasePerson(ctx context.Context, id store.DistrictID, userID string) error {
	d, release, err := s.useAlone(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	s.erasing(id, 1)
	removed, err := s.erasePerson(ctx, d, userID)
	if err == nil && removed == nil {
		s.erasing(id, -1)
		return nil
	}
	if err != nil {
		s.erasing(id, -1)
		return fmt.Errorf("erase a person of %s: %w", id, err)
	}
	release()
	select {
	case err = <-removed:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("erase a person of %s: it is blanked, but still in files that are being read: %w", id, err)
	}
	return nil
}

// erasePerson returns no channel if the person is in no file any more: to copy a
// district takes long, and whoever is not sure that it was done asks again.
func (s *Store) erasePerson(ctx context.Context, d *district, userID string) (removed <-chan error, err error) {
	if err := d.blankPerson(ctx, userID, s.erasingFile(d.id)); err != nil {
		return nil, err
	}
	left, err := some(d.db, span(metaKey(metaErase)))
	if err != nil || !left && s.copied(d.id) {
		return nil, err
	}
	next, err := s.copyDistrict(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("it is blanked, but still in the files: %w", err)
	}
	if removed, err = s.replace(d, next); err != nil {
		return nil, errors.Join(err, next.close(), withdraw(next.dir))
	}
	return removed, nil
}

// erasing counts who erases a person of a district, which is in use, and returns
// how many do.
func (s *Store) erasing(id store.DistrictID, more int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots[id].erasing += more
	return s.slots[id].erasing
}

func (s *Store) copied(id store.DistrictID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots[id].copied
}

func (s *Store) setCopied(id store.DistrictID, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots[id].copied = is
}

// resumeErasing opens the districts whose persons a process has not finished to
// erase, which does it. What cannot be opened now is not forgotten.
func (s *Store) resumeErasing() error {
	entries, err := os.ReadDir(filepath.Join(s.cfg.Dir, erasingDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		id := store.DistrictID(e.Name())
		d, release, err := s.use(s.ctx, id)
		unfinished := false
		if err == nil {
			unfinished, err = some(d.db, span(metaKey(metaErase)))
			release()
		}
		if err == nil && !unfinished || errors.Is(err, store.ErrDistrictUnknown) {
			err = removeFile(s.erasingFile(id))
		}
		if err != nil {
			s.cfg.Log.Error("finish erasing persons", "district", id, "error", err)
		}
	}
	return nil
}

// personal are the entities that record.Blank blanks.
var personal = []store.Entity{users, demographics}

// blankPerson blanks all that can be read of a person, except staged tables,
// and notes that the files still hold it: in a mark, which says where to look,
// and in the database.
func (d *district) blankPerson(ctx context.Context, id, markFile string) (err error) {
	// Nobody stages anything now: what has no plan is left over.
	if err := d.dropUnfinished(); err != nil {
		return err
	}
	c := &change{d: d, out: batchSink{d.db.NewBatch()}, edits: listEdits{d: d}}
	defer func() { err = errors.Join(err, c.out.close()) }()
	known, blanked := false, false
	for _, e := range personal {
		has, more, err := c.blankVersions(e, id)
		if err != nil {
			return err
		}
		known, blanked = known || has, blanked || more
	}
	plans, err := d.openPlans()
	if err != nil {
		return err
	}
	for _, doc := range plans {
		has, more, err := c.blankStaged(ctx, doc, id)
		if err != nil {
			return err
		}
		known, blanked = known || has, blanked || more
	}
	if !known {
		return store.ErrRecordUnknown
	}
	if !blanked {
		return nil
	}
	if err := errors.Join(c.writeLists(ctx), c.out.Set(metaKey(metaErase+id), nil, nil), mark(markFile)); err != nil {
		return err
	}
	return c.out.commit(ctx)
}

// blankVersions blanks all versions of a record, and says whether there are any
// and whether they held more than what is kept.
func (c *change) blankVersions(e store.Entity, id string) (has, blanked bool, err error) {
	live, err := get(c.d.db, recordKey(spaceLive, e, id))
	if err != nil || live == nil {
		return false, false, err
	}
	from, flags, body, err := revFlags(live)
	if err != nil {
		return false, false, err
	}
	before, err := search.Read(e, id, body)
	if err != nil {
		return false, false, err
	}
	if body, blanked, err = blankBody(e, id, body); err != nil {
		return false, false, err
	}
	now, err := search.Read(e, id, body)
	if err != nil {
		return false, false, err
	}
	if blanked {
		hash, err := get(c.d.db, recordKey(spaceHash, e, id))
		if err == nil {
			_, _, hash, err = revFlags(hash)
		}
		if err := errors.Join(err,
			c.move(e, id, before.Terms, now.Terms),
			c.out.Set(recordKey(spaceLive, e, id), appendVersion(nil, from, flags|flagErased, body), nil),
			c.out.Set(recordKey(spaceHash, e, id), appendVersion(nil, from, flags|flagErased, hash), nil),
		); err != nil {
			return false, false, err
		}
	}
	it, err := c.d.db.NewIter(span(escape([]byte{spaceOld, byte(e)}, id)))
	if err != nil {
		return false, false, err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		more := false
		if v, err = it.ValueAndErr(); err == nil {
			from, flags, body, err = revFlags(v) // from is to here
		}
		if err == nil {
			body, more, err = blankBody(e, id, body)
		}
		if err == nil && more {
			blanked = true
			err = c.out.Set(it.Key(), appendVersion(nil, from, flags|flagErased, body), nil)
		}
	}
	return true, blanked, errors.Join(err, it.Error(), it.Close())
}

// blankStaged blanks what a plan would write of a person, and says whether it
// would write anything and whether that held more than what is kept. Staged
// tables are only looked at: they are written anew when they are copied.
func (c *change) blankStaged(ctx context.Context, doc *planDoc, id string) (has, blanked bool, err error) {
	for _, e := range personal {
		var found, more bool
		if doc.Bulk {
			found, more, err = c.d.bulkHas(ctx, doc.ID, e, id)
		} else {
			found, more, err = c.blankChange(doc.ID, e, id)
		}
		if err != nil {
			return false, false, err
		}
		has, blanked = has || found, blanked || more
	}
	return has, blanked, nil
}

func (c *change) blankChange(plan store.PlanID, e store.Entity, id string) (found, blanked bool, err error) {
	key := stagedKey(plan, e, id)
	v, err := get(c.d.db, key)
	if err != nil || v == nil {
		return false, false, err
	}
	st, err := stagedOf(v)
	if err == nil {
		st.body, blanked, err = blankBody(e, id, st.body)
	}
	if err == nil && blanked {
		st.flags |= flagErased
		err = c.out.Set(key, st.append(nil), nil)
	}
	return true, blanked, err
}

func (d *district) bulkHas(ctx context.Context, plan store.PlanID, e store.Entity, id string) (found, more bool, err error) {
	it, err := d.openTables(ctx, plan, "live", spaceLive, e)
	if err != nil {
		return false, false, err
	}
	defer func() { err = errors.Join(err, it.Error(), it.Close()) }()
	key := recordKey(spaceLive, e, id)
	if !it.SeekGE(key) || !bytes.Equal(it.Key(), key) {
		return false, false, nil
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return true, false, err
	}
	_, _, body, err := revFlags(v)
	if err == nil {
		_, more, err = blankBody(e, id, body)
	}
	return true, more, err
}

// blankBody returns what is kept of an erased person, and whether there was more.
func blankBody(e store.Entity, id string, body []byte) (_ []byte, more bool, err error) {
	rec, err := search.Decode(e, id, body)
	if err != nil {
		return nil, false, err
	}
	blank := record.Blank(rec)
	if proto.Equal(rec, blank) {
		return body, false, nil
	}
	if body, err = proto.Marshal(blank); err != nil {
		return nil, false, fmt.Errorf("blank %s %q: %w", record.EntityName(e), id, err)
	}
	return body, true, nil
}

// copyDistrict copies what can be read of a district to a fresh database.
func (s *Store) copyDistrict(ctx context.Context, d *district) (*district, error) {
	dir := filepath.Join(s.dir(d.id), strconv.Itoa(d.copy+1))
	fresh := dir + ".new"
	err := os.RemoveAll(fresh)
	if err == nil {
		err = s.fill(ctx, d, fresh)
	}
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("copy district %s: %w", d.id, errors.Join(err, os.RemoveAll(fresh)))
	}
	var next *district
	if err = syncDir(s.dir(d.id)); err == nil {
		next, err = s.openCopy(d.id, d.copy+1)
	}
	if err != nil {
		return nil, fmt.Errorf("copy district %s: %w", d.id, errors.Join(err, withdraw(dir)))
	}
	return next, nil
}

// withdraw removes a complete copy that will not be used: what is written to the
// old one from now on would be lost. The first step makes it incomplete.
func withdraw(dir string) error {
	return errors.Join(os.Rename(dir, dir+".new"), syncDir(filepath.Dir(dir)), os.RemoveAll(dir+".new"))
}

func (s *Store) fill(ctx context.Context, d *district, dir string) (err error) {
	to := &district{id: d.id, dir: dir, opts: s.options(), runRecords: d.runRecords, ctx: d.ctx}
	if to.db, err = pebble.Open(dir, to.opts); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.db.Close()) }()
	tables := filepath.Join(dir, stagedDir, "copy")
	if err := os.MkdirAll(tables, 0o700); err != nil {
		return err
	}
	out := &series{d: to, dir: tables, name: "copy"}
	erased, err := d.copyTo(ctx, out)
	if err = errors.Join(err, out.close()); err != nil {
		return err
	}
	if err := to.db.Ingest(ctx, out.paths); err != nil {
		return fmt.Errorf("ingest tables: %w", err)
	}
	if err := os.RemoveAll(tables); err != nil {
		return err
	}
	plans, err := d.openPlans()
	if err != nil {
		return err
	}
	for _, doc := range plans {
		if !doc.Bulk {
			continue
		}
		if err := d.restage(ctx, to, doc, erased); err != nil {
			return fmt.Errorf("copy plan %q: %w", doc.ID, err)
		}
	}
	return nil
}

// copyTo copies all keys but the notes of who is being erased, and returns
// these.
func (d *district) copyTo(ctx context.Context, out setter) (erased map[string]bool, err error) {
	it, err := d.db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	erased = map[string]bool{}
	note := metaKey(metaErase)
	n := 0
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if n++; n%1024 == 0 {
			err = d.check(ctx)
		}
		if id, is := bytes.CutPrefix(it.Key(), note); is {
			erased[string(id)] = true
			continue
		}
		var v []byte
		if err == nil {
			v, err = it.ValueAndErr()
		}
		if err == nil {
			err = out.Set(it.Key(), v, nil)
		}
	}
	return erased, errors.Join(err, it.Error(), it.Close())
}

// restage stages a bulk plan anew, without the persons that are to be erased.
func (d *district) restage(ctx context.Context, to *district, doc *planDoc, erased map[string]bool) (err error) {
	b, err := newBulk(to, to.stagingDir(doc.ID), planDoc{Plan: store.Plan{
		ID: doc.ID, Counts: map[store.Entity]store.Counts{}, Schools: map[string]map[store.Entity]store.Counts{},
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, e := range record.Entities() {
		if doc.Counts[e].Created == 0 {
			continue
		}
		if err := b.begin(e); err != nil {
			return err
		}
		if err := d.stagedRecords(ctx, doc.ID, e, func(r bulkRecord) (err error) {
			if erased[r.id] && slices.Contains(personal, e) {
				more := false
				if r.body, more, err = blankBody(e, r.id, r.body); err != nil {
					return err
				}
				if more {
					r.flags |= flagErased
				}
			}
			if r.facts, err = search.Read(e, r.id, r.body); err != nil {
				return err
			}
			return b.add(r)
		}); err != nil {
			return err
		}
		if err := b.end(); err != nil {
			return err
		}
	}
	// The document of the plan is among what was copied.
	err = b.writeStaged()
	b.finished = err == nil
	return err
}

// replace lets all who come from now on use the copy of a district. The channel
// gets the outcome when the last user of the old one has left and its folder is
// removed.
func (s *Store) replace(d, next *district) (removed <-chan error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.ctx.Err() != nil {
		return nil, context.Cause(d.ctx)
	}
	done := make(chan error, 1)
	d.retired = true
	d.onLeft = func() {
		err := d.close()
		if err == nil {
			err = os.RemoveAll(d.dir)
		}
		if err == nil {
			err = syncDir(filepath.Dir(d.dir))
		}
		if left := s.erasing(d.id, -1); err == nil && left == 0 {
			err = removeFile(s.erasingFile(d.id))
		}
		if err != nil {
			s.cfg.Log.Error("remove the old copy of a district", "district", d.id, "error", err)
		}
		done <- err
		s.release(next)
	}
	// The old one is a user of the copy: while it is there, the district is
	// neither closed nor erased. Who ends the copy's calls ends its calls too.
	next.users, next.used = 1, d.used
	cancel := next.cancel
	next.cancel = func(cause error) {
		cancel(cause)
		d.cancel(cause)
	}
	s.slots[d.id].d, s.slots[d.id].copied = next, true
	return done, nil
}

// finishErasing copies a district if a process has ended before it did, and
// returns the one to use.
func (s *Store) finishErasing(d *district) (*district, error) {
	erasing, err := some(d.db, span(metaKey(metaErase)))
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	if !erasing {
		return d, nil
	}
	next, err := s.copyDistrict(s.ctx, d)
	if err != nil {
		// Nobody was told that it is done, so the district may be used.
		s.cfg.Log.Error("finish erasing persons", "district", d.id, "error", err)
		return d, nil
	}
	if err := errors.Join(d.close(), os.RemoveAll(d.dir), syncDir(filepath.Dir(d.dir))); err != nil {
		return nil, errors.Join(err, next.close())
	}
	return next, nil
}

// openPlans lists the finished plans that were not committed.
func (d *district) openPlans() ([]*planDoc, error) {
	var out []*planDoc
	it, err := d.db.NewIter(span([]byte{spacePlan}))
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		doc := &planDoc{}
		if _, err = getDoc(d.db, it.Key(), doc); err == nil && doc.Outcome == nil {
			out = append(out, doc)
		}
	}
	return out, errors.Join(err, it.Error(), it.Close())
}
