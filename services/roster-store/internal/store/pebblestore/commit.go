package pebblestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Commit implements store.Plans. The whole of it is one atomic write to the
// database, so there is nothing to roll forward after a crash.
func (s *Store) Commit(ctx context.Context, id store.DistrictID, planID store.PlanID, fence store.Fence) (store.Outcome, error) {
	d, release, err := s.useToWrite(ctx, id)
	if err != nil {
		return store.Outcome{}, err
	}
	defer release()
	out, err := s.commit(ctx, d, planID, fence)
	if err != nil {
		return store.Outcome{}, fmt.Errorf("commit plan %q of %s: %w", planID, id, err)
	}
	if out.Committed {
		s.gather(d)
	}
	return out, nil
}

func (s *Store) commit(ctx context.Context, d *district, planID store.PlanID, fence store.Fence) (store.Outcome, error) {
	var none store.Outcome
	doc, err := d.plan(d.db, planID)
	if err != nil {
		return none, err
	}
	if doc == nil {
		return none, store.ErrPlanUnknown
	}
	if doc.Outcome != nil {
		return *doc.Outcome, nil
	}
	if err := d.raiseFence(fence); err != nil {
		return none, err
	}
	rev, floor, err := head(d.db)
	if err != nil {
		return none, err
	}
	if doc.Changes() == 0 {
		doc.Outcome = &store.Outcome{Revision: rev}
		batch := d.db.NewBatch()
		defer batch.Close()
		return *doc.Outcome, errors.Join(setDoc(batch, planKey(spacePlan, planID), doc), batch.Commit(pebble.Sync))
	}
	if doc.Bulk && rev != 0 {
		if err := d.stageLate(ctx, doc); err != nil {
			return none, err
		}
	}
	// The mark comes before what it announces: a mark without a pending
	// revision costs one look, a revision without a mark would stay silent.
	if err := s.markPending(d.id); err != nil {
		return none, err
	}
	last, err := d.revision(d.db, rev)
	if err != nil {
		return none, err
	}
	at := s.now()
	if at.Before(last.CommitTime) {
		at = last.CommitTime
	}
	doc.Revision = rev + 1
	doc.Outcome = &store.Outcome{Revision: rev + 1, Committed: true}
	info := revisionDoc{
		RevisionInfo: store.RevisionInfo{
			Revision: rev + 1, CommitTime: at, Sync: doc.Sync, Plan: doc.ID, Counts: doc.Counts,
			Undo: doc.Undo, LastUndo: last.LastUndo,
		},
		Bulk: doc.Bulk,
	}
	if doc.Undo != nil {
		info.LastUndo = rev + 1
	}
	d.times.set(rev+1, at)
	if doc.Bulk {
		return *doc.Outcome, d.ingest(ctx, doc, info)
	}
	return *doc.Outcome, d.apply(ctx, floor, doc, info)
}

// stageLate turns a bulk plan, which another one has come before, into one that
// was compared with the head. Its tables stay until the commit is done.
func (d *district) stageLate(ctx context.Context, doc *planDoc) error {
	batch := d.db.NewBatch()
	defer func() { _ = batch.Close() }() // fails only if it was closed before
	for _, e := range record.Entities() {
		if doc.Counts[e].Created == 0 {
			continue
		}
		if err := d.stagedRecords(ctx, doc.ID, e, func(r bulkRecord) error {
			if there, err := get(d.db, recordKey(spaceHash, e, r.id)); err != nil || there != nil {
				return cmp.Or(err, fmt.Errorf("%s %q was not there when it was planned: %w", record.EntityName(e), r.id, store.ErrStale))
			}
			st := staged{kind: store.Created, flags: r.flags, hash: r.hash, body: r.body}
			if err := batch.Set(stagedKey(doc.ID, e, r.id), st.append(nil), nil); err != nil || batch.Len() < stageBytes {
				return err
			}
			err := errors.Join(batch.Commit(pebble.NoSync), batch.Close())
			batch = d.db.NewBatch()
			return err
		}); err != nil {
			return err
		}
	}
	doc.Bulk = false
	return batch.Commit(pebble.NoSync)
}

// apply writes a plan that was compared with the head.
func (d *district) apply(ctx context.Context, floor store.Revision, doc *planDoc, info revisionDoc) (err error) {
	c, err := newChange(d, info.Revision-1, doc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.out.close()) }()
	if err := c.apply(ctx); err != nil {
		return err
	}
	info.Total = c.summary.Total
	if err := writeRevision(c.out, floor, doc, info, c.summary); err != nil {
		return err
	}
	if err := d.check(ctx); err != nil {
		return err
	}
	if err := c.out.commit(ctx); err != nil {
		return err
	}
	// The plan is committed; what was staged for it only takes room, and is
	// dropped when the district is opened if it cannot be dropped now.
	return d.dropStaged(doc.ID)
}

// writeRevision writes what makes a revision the head, in the order of keys.
func writeRevision(w setter, floor store.Revision, doc *planDoc, info revisionDoc, summary summaryDoc) error {
	rev := info.Revision
	return errors.Join(
		w.Set(metaKey(metaHead), headValue(rev, floor), nil),
		setDoc(w, metaKey(metaSummary), summary),
		setDoc(w, planKey(spacePlan, doc.ID), doc),
		w.Set(revisionKey(spacePending, rev), nil, nil),
		setDoc(w, revisionKey(spaceRevision, rev), info),
		w.Set(revisionKey(spaceTime, rev), timeValue(info.CommitTime), nil),
	)
}

// ingest makes the tables of a staged bulk plan part of the database.
func (d *district) ingest(ctx context.Context, doc *planDoc, info revisionDoc) error {
	// What a crash has left of an earlier try is written again.
	dir := d.stagingDir(doc.ID)
	info.Total = doc.Summary.Total
	meta := &series{d: d, dir: dir, name: "revision"}
	err := errors.Join(writeRevision(meta, 0, doc, info, doc.Summary), meta.close())
	if err != nil {
		return err
	}
	paths, err := d.stagedTables(doc.ID, "")
	if err != nil {
		return err
	}
	if err := d.check(ctx); err != nil {
		return err
	}
	if err := d.db.Ingest(ctx, paths); err != nil {
		return fmt.Errorf("ingest tables: %w", err)
	}
	return os.RemoveAll(dir)
}

// Discard implements store.Plans.
func (s *Store) Discard(ctx context.Context, id store.DistrictID, planID store.PlanID) error {
	d, release, err := s.useToWrite(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	end, err := d.begin(planID)
	if err != nil {
		return err
	}
	defer end()
	doc, err := d.plan(d.db, planID)
	if err != nil || doc == nil {
		return err
	}
	if doc.Outcome != nil && doc.Outcome.Committed {
		return fmt.Errorf("discard plan %q of %s: %w", planID, id, store.ErrCommitted)
	}
	// Without its document the rest is an unfinished staging.
	if err := d.db.Delete(planKey(spacePlan, planID), pebble.Sync); err != nil {
		return fmt.Errorf("discard plan %q of %s: %w", planID, id, err)
	}
	return d.dropStaged(planID)
}

func (s *Store) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Millisecond) }
