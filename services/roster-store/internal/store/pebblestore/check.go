package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// What Check looks for beyond what every engine does.
const (
	brokenSchool   = "counts of a school are not those of its records"
	brokenLength   = "the length of an index list is wrong"
	brokenPast     = "superseded index entries and their log differ"
	brokenTime     = "a revision has no commit time"
	brokenChange   = "a change has no version"
	brokenVersions = "versions of a revision are not those of its changes"
	brokenPending  = "an announcement would never be made"
)

// Check implements store.Upkeep. It reads one snapshot. What follows from live
// records is worked out anew, in the way of a first load, and compared: memory
// is bounded like there. With repair nobody else writes while it runs.
func (s *Store) Check(ctx context.Context, id store.DistrictID, repair bool) iter.Seq2[store.Problem, error] {
	return func(yield func(store.Problem, error) bool) {
		open := s.use
		if repair {
			open = s.useAlone
		}
		d, release, err := open(ctx, id)
		if err != nil {
			yield(store.Problem{}, err)
			return
		}
		defer release()
		k := &check{s: s, d: d, ctx: ctx, snap: d.db.NewSnapshot(), repair: repair, tell: yield, made: map[store.Revision]map[store.Entity]int{}}
		err = k.run()
		err = errors.Join(err, k.snap.Close())
		if err != nil && !errors.Is(err, errEnough) {
			yield(store.Problem{}, fmt.Errorf("check %s: %w", id, err))
		}
	}
}

// errEnough ends a check that nobody listens to any more.
var errEnough = errors.New("enough")

type check struct {
	s      *Store
	d      *district
	ctx    context.Context
	snap   *pebble.Snapshot
	repair bool
	tell   func(store.Problem, error) bool
	batch  *pebble.Batch // of repairs

	head, floor store.Revision
	docs        map[store.Revision]*revisionDoc
	made        map[store.Revision]map[store.Entity]int // how many versions each revision brought
	n           int
}

// tallies are numbers of changes by entity.
type tallies map[store.Entity]store.Counts

func (k *check) run() (err error) {
	k.batch = k.d.db.NewBatch()
	defer func() { err = errors.Join(err, k.batch.Close()) }()
	if k.head, k.floor, err = head(k.snap); err != nil {
		return err
	}
	for _, step := range []func() error{k.revisions, k.announcements, k.plans, k.orphans, k.records, k.changes, k.past} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := k.fixed(pebble.Sync); err != nil {
		return err
	}
	if k.repair {
		k.d.matches.Purge()
		k.d.changes.Purge()
		k.d.unions.Purge()
	}
	return nil
}

// report tells a problem. If there is a repair, and repairs are wanted, it is
// made.
func (k *check) report(invariant, where string, repair func() error) error {
	p := store.Problem{Invariant: invariant, Where: where, Repaired: k.repair && repair != nil}
	if p.Repaired {
		if err := repair(); err != nil {
			return fmt.Errorf("repair %s, %s: %w", where, invariant, err)
		}
		if k.batch.Len() > stageBytes {
			if err := k.fixed(pebble.NoSync); err != nil {
				return err
			}
		}
	}
	if !k.tell(p, nil) {
		return errors.Join(k.fixed(pebble.Sync), errEnough)
	}
	return nil
}

// fixed writes the repairs made so far.
func (k *check) fixed(o *pebble.WriteOptions) error {
	if k.batch.Empty() {
		return nil
	}
	err := errors.Join(k.batch.Commit(o), k.batch.Close())
	k.batch = k.d.db.NewBatch()
	return err
}

func (k *check) delete(key []byte) func() error {
	key = bytes.Clone(key)
	return func() error { return k.batch.Delete(key, nil) }
}

func (k *check) set(key, value []byte) func() error {
	key, value = bytes.Clone(key), bytes.Clone(value)
	return func() error { return k.batch.Set(key, value, nil) }
}

// each walks a key space of the snapshot.
func (k *check) each(o *pebble.IterOptions, do func(key, value []byte) error) error {
	it, err := k.snap.NewIter(o)
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			err = k.pause()
		}
		if err == nil {
			err = do(it.Key(), v)
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// pause fails now and then if the caller has left.
func (k *check) pause() error {
	if k.n++; k.n%1024 == 0 {
		return k.d.check(k.ctx)
	}
	return nil
}

func whereRecord[T string | []byte](e store.Entity, id T) string {
	return fmt.Sprintf("%s %q", record.EntityName(e), id)
}

func whereRevision(rev store.Revision) string { return fmt.Sprintf("revision %d", rev) }

func wherePlan(id store.PlanID) string { return fmt.Sprintf("plan %q", id) }

// first is the oldest revision of which everything is kept.
func (k *check) first() store.Revision { return max(k.floor, 1) }

// revisions looks at what is kept per revision.
func (k *check) revisions() error {
	k.docs = map[store.Revision]*revisionDoc{}
	for rev := store.Revision(1); rev <= k.head; rev++ {
		at, err := get(k.snap, revisionKey(spaceTime, rev))
		if err != nil {
			return err
		}
		if len(at) != 8 {
			if err := k.report(brokenTime, whereRevision(rev), nil); err != nil {
				return err
			}
		}
		if rev < k.first() {
			continue
		}
		doc := &revisionDoc{}
		if ok, err := getDoc(k.snap, revisionKey(spaceRevision, rev), doc); err != nil || !ok || doc.Revision != rev {
			if err := k.report(store.BrokenRevision, whereRevision(rev), nil); err != nil {
				return err
			}
			continue
		}
		k.docs[rev] = doc
		plan, err := k.d.plan(k.snap, doc.Plan)
		if err != nil || plan == nil || plan.Revision != rev {
			if err := k.report(store.BrokenPlan, whereRevision(rev), nil); err != nil {
				return err
			}
		}
	}
	o := span([]byte{spaceRevision})
	o.LowerBound = revisionKey(spaceRevision, k.head+1)
	return k.each(o, func(key, _ []byte) error {
		return k.report(store.BrokenBeyond, whereRevision(store.Revision(binary.BigEndian.Uint64(key[1:]))), nil)
	})
}

// announcements looks for what would stop the outbox, or never come out of it.
func (k *check) announcements() error {
	if err := k.each(span([]byte{spacePending}), func(key, _ []byte) error {
		rev := store.Revision(binary.BigEndian.Uint64(key[1:]))
		if k.docs[rev] == nil {
			return k.report(brokenPending, whereRevision(rev), k.delete(key))
		}
		return nil
	}); err != nil {
		return err
	}
	unmarked, err := k.still(func() (bool, error) {
		if _, err := os.Stat(k.s.pendingFile(k.d.id)); !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		return some(k.d.db, span([]byte{spacePending}))
	})
	if err != nil || !unmarked {
		return err
	}
	return k.report(brokenPending, "district", func() error { return k.s.markPending(k.d.id) })
}

// still asks while nobody commits, for what is not part of the snapshot.
func (k *check) still(ask func() (bool, error)) (bool, error) {
	if !k.repair { // else nobody can
		if err := k.d.write.Acquire(k.ctx, 1); err != nil {
			return false, err
		}
		defer k.d.write.Release(1)
	}
	return ask()
}

// hasStaged tells whether anything is staged for a plan.
func (d *district) hasStaged(id store.PlanID) (bool, error) {
	if _, err := os.Stat(d.stagingDir(id)); !errors.Is(err, fs.ErrNotExist) {
		return err == nil, err
	}
	return some(d.db, span(planKey(spaceStaged, id)))
}

// plans looks at what is staged for plans that are not committed.
func (k *check) plans() error {
	return k.each(span([]byte{spacePlan}), func(key, _ []byte) error {
		name, _, _ := unescape(key[1:])
		id := store.PlanID(name)
		doc, err := k.d.plan(k.snap, id)
		switch {
		case err != nil || doc == nil:
			return k.report(store.BrokenLost, wherePlan(id), nil)
		case doc.Outcome != nil && doc.Outcome.Revision > k.head:
			return k.report(store.BrokenBeyond, wherePlan(id), nil)
		case doc.Outcome != nil:
			return nil
		case doc.Bulk:
			if paths, err := k.d.stagedTables(id, "live-"); err == nil && len(paths) > 0 {
				return nil
			}
			if now, err := k.d.plan(k.d.db, id); err != nil || now == nil || now.Outcome != nil {
				return err // discarded or committed meanwhile
			}
			return k.report(store.BrokenLost, wherePlan(id), nil)
		}
		found := tallies{}
		prefix := planKey(spaceStaged, id)
		if err := k.each(span(prefix), func(key, value []byte) error {
			e, _ := recordOf(key[len(prefix):])
			st, err := stagedOf(value)
			if err == nil {
				found.count(e, st.kind)
			}
			return nil
		}); err != nil {
			return err
		}
		if !found.equal(doc.Counts) {
			return k.report(store.BrokenLost, wherePlan(id), nil)
		}
		return nil
	})
}

func (t tallies) count(e store.Entity, kind store.Kind) {
	n := t[e]
	countKind(&n, kind)
	t[e] = n
}

func (t tallies) equal(counts map[store.Entity]store.Counts) bool {
	for _, e := range record.Entities() {
		a, b := t[e], counts[e]
		if a.Created != b.Created || a.Updated != b.Updated || a.Removed != b.Removed {
			return false
		}
	}
	return true
}

// orphans looks for what is staged for no plan.
func (k *check) orphans() error {
	ids, damaged, err := k.d.stagedPlans(k.snap)
	if err != nil {
		return err
	}
	if damaged != nil {
		if err := k.report(store.BrokenStaged, fmt.Sprintf("a key of %d bytes", len(damaged)), k.delete(damaged)); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := k.orphan(id); err != nil {
			return err
		}
	}
	return nil
}

// orphan reports what is staged for a plan that does not exist and is not being
// made, or was committed.
func (k *check) orphan(id store.PlanID) error {
	orphaned, err := k.still(func() (bool, error) {
		// An import may have ended, or begun, since the snapshot.
		_, before := k.d.busy.Load(id)
		doc, err := k.d.plan(k.d.db, id)
		if err != nil || doc != nil && doc.Outcome == nil {
			return false, err
		}
		staged, err := k.d.hasStaged(id)
		_, after := k.d.busy.Load(id)
		return staged && !before && !after, err
	})
	if err != nil || !orphaned {
		return err
	}
	return k.report(store.BrokenStaged, wherePlan(id), func() error { return k.d.dropStaged(id) })
}
