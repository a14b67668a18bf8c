package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// Changes implements store.Reads.
func (s *Store) Changes(ctx context.Context, id store.DistrictID, after, last store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		d, release, err := s.use(ctx, id)
		if err != nil {
			yield(store.Event{}, err)
			return
		}
		defer release()
		snap := d.db.NewSnapshot()
		defer snap.Close()
		after = max(after, 0)
		newest, floor, err := head(snap)
		if err == nil {
			// The first revision to send must be there, not the one before it.
			err = checkRevision(id, min(after+1, max(newest, after)), newest, floor)
		}
		if last == 0 {
			last = newest
		} else if err == nil && last > newest {
			err = checkRevision(id, last, newest, floor)
		}
		if err != nil {
			yield(store.Event{}, err)
			return
		}
		for rev := after + 1; rev <= last; rev++ {
			v := &view{d: d, snap: snap, head: newest, rev: rev, scope: store.Scope{All: true}}
			doc, err := d.revision(snap, rev)
			if err != nil {
				yield(store.Event{}, err)
				return
			}
			if !yield(store.Event{Phase: store.Begin, Revision: doc.RevisionInfo}, nil) {
				return
			}
			for c, err := range v.changes(ctx, doc, store.Position{}) {
				ev := store.Event{Phase: store.Data, Kind: c.kind, Record: c.rec}
				ev.Revision.Revision = rev
				if !yield(ev, err) || err != nil {
					return
				}
			}
			if !yield(store.Event{Phase: store.End, Revision: doc.RevisionInfo}, nil) {
				return
			}
		}
	}
}

// changed is a record as the revision of a view has made it; the body is valid
// until the next step.
type changed struct {
	kind store.Kind
	rec  store.Record
}

// changes yields what the revision of the view brought, after a position.
func (v *view) changes(ctx context.Context, doc revisionDoc, after store.Position) iter.Seq2[changed, error] {
	return func(yield func(changed, error) bool) {
		if doc.Bulk {
			// It created all that it holds, so it has no log.
			for rec, err := range v.scanFrom(ctx, after) {
				if !yield(changed{store.Created, rec}, err) || err != nil {
					return
				}
			}
			return
		}
		o := span(revisionKey(spaceChange, v.rev))
		if after.Entity != 0 {
			o.LowerBound = next(logKey(spaceChange, v.rev, after.Entity, after.ID))
		}
		it, err := v.snap.NewIter(o)
		if err != nil {
			yield(changed{}, err)
			return
		}
		defer it.Close()
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			var c changed
			if n++; n%1024 == 0 {
				err = v.d.check(ctx)
			}
			if err == nil {
				c, err = v.changed(it)
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(changed{}, err)
		}
	}
}

func (v *view) changed(it *pebble.Iterator) (changed, error) {
	kind, err := it.ValueAndErr()
	if err != nil {
		return changed{}, err
	}
	e, id := recordOf(it.Key()[9:])
	rec, ok, err := v.get(e, string(id))
	if err == nil && (!ok || rec.From != v.rev || len(kind) != 1) {
		err = fmt.Errorf("revision %d of %s: a changed record has no version of it", v.rev, v.d.id)
	}
	if err != nil {
		return changed{}, err
	}
	return changed{store.Kind(kind[0]), rec}, nil
}

// scanFrom yields all records after a position.
func (v *view) scanFrom(ctx context.Context, after store.Position) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for _, e := range entitiesFrom(after.Entity) {
			start := ""
			if e == after.Entity {
				start = after.ID
			}
			for rec, err := range v.scan(ctx, e, start) {
				if !yield(rec, err) || err != nil {
					return
				}
			}
		}
	}
}

// Plan implements store.Plans.
func (s *Store) Plan(ctx context.Context, id store.DistrictID, planID store.PlanID) (store.Plan, error) {
	d, release, err := s.use(ctx, id)
	if err != nil {
		return store.Plan{}, err
	}
	defer release()
	doc, err := d.plan(d.db, planID)
	if err == nil && doc == nil {
		err = fmt.Errorf("plan %q of %s: %w", planID, id, store.ErrPlanUnknown)
	}
	if err != nil {
		return store.Plan{}, err
	}
	return doc.Plan, nil
}

// PlanChanges implements store.Plans.
func (s *Store) PlanChanges(ctx context.Context, id store.DistrictID, planID store.PlanID, q store.ChangeQuery) (store.ChangePage, error) {
	d, release, err := s.use(ctx, id)
	if err != nil {
		return store.ChangePage{}, err
	}
	defer release()
	snap := d.db.NewSnapshot()
	defer snap.Close()
	newest, _, err := head(snap)
	if err != nil {
		return store.ChangePage{}, err
	}
	doc, err := d.plan(snap, planID)
	if err == nil && doc == nil {
		err = store.ErrPlanUnknown
	}
	if err != nil {
		return store.ChangePage{}, fmt.Errorf("plan %q of %s: %w", planID, id, err)
	}
	page := store.ChangePage{Total: countChanges(doc.Plan, q)}
	// A change of the entity asked for comes after all smaller entities.
	if q.Entity > q.After.Entity {
		q.After = store.Position{Entity: q.Entity}
	}
	v := &view{d: d, snap: snap, head: newest, rev: doc.Revision, scope: store.Scope{All: true}}
	for c, err := range v.planChanges(ctx, doc, q.After) {
		if err != nil {
			return store.ChangePage{}, fmt.Errorf("changes of plan %q of %s: %w", planID, id, err)
		}
		if q.Entity != 0 && c.Entity != q.Entity {
			break
		}
		if q.Kind != 0 && c.Kind != q.Kind {
			continue
		}
		if len(page.Changes) == q.Limit {
			page.More = true
			break
		}
		if c.Before, err = v.before(c, doc); err != nil {
			return store.ChangePage{}, err
		}
		c.After = bytes.Clone(c.After)
		if !q.Schools {
			c.Schools = nil
		}
		page.Changes = append(page.Changes, c)
	}
	if q.Schools && doc.Bulk && doc.Revision == 0 {
		if err := d.bulkSchools(ctx, doc.ID, page.Changes); err != nil {
			return store.ChangePage{}, fmt.Errorf("changes of plan %q of %s: %w", planID, id, err)
		}
	}
	return page, nil
}

func countChanges(p store.Plan, q store.ChangeQuery) int {
	n := 0
	for e, c := range p.Counts {
		if q.Entity != 0 && e != q.Entity {
			continue
		}
		switch q.Kind {
		case 0:
			n += c.Created + c.Updated + c.Removed
		case store.Created:
			n += c.Created
		case store.Updated:
			n += c.Updated
		case store.Removed:
			n += c.Removed
		}
	}
	return n
}

// planChanges yields changes without what was before, from where they are: in
// the revision, in staged tables or among the staged changes. What is after is
// valid until the next step.
func (v *view) planChanges(ctx context.Context, doc *planDoc, after store.Position) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		if doc.Revision > 0 {
			rev, err := v.d.revision(v.snap, doc.Revision)
			if err != nil {
				yield(store.Change{}, err)
				return
			}
			for c, err := range v.changes(ctx, rev, after) {
				if !yield(store.Change{Entity: c.rec.Entity, ID: c.rec.ID, Kind: c.kind, After: c.rec.Body}, err) || err != nil {
					return
				}
			}
			return
		}
		it, skip, err := v.openStaged(ctx, doc, after)
		if err != nil || it == nil {
			if err != nil {
				yield(store.Change{}, err)
			}
			return
		}
		defer it.Close()
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			if n++; n%1024 == 0 {
				err = v.d.check(ctx)
			}
			e, id := recordOf(it.Key()[skip:])
			c := store.Change{Entity: e, ID: string(id)}
			if err == nil {
				err = stagedChange(it, doc.Bulk, &c)
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(store.Change{}, err)
		}
	}
}

// openStaged opens what is staged after a position; keys have skip bytes before
// the entity.
func (v *view) openStaged(ctx context.Context, doc *planDoc, after store.Position) (it *pebble.Iterator, skip int, err error) {
	if !doc.Bulk {
		prefix := planKey(spaceStaged, doc.ID)
		o := span(prefix)
		if after.Entity != 0 {
			o.LowerBound = next(stagedKey(doc.ID, after.Entity, after.ID))
		}
		it, err = v.snap.NewIter(o)
		return it, len(prefix), err
	}
	paths, err := v.d.stagedTables(doc.ID, "live-")
	if err != nil {
		return nil, 0, err
	}
	o := span([]byte{spaceLive})
	if after.Entity != 0 {
		o.LowerBound = next(recordKey(spaceLive, after.Entity, after.ID))
	}
	it, err = v.d.readTables(ctx, paths, o)
	return it, 1, err
}

func stagedChange(it *pebble.Iterator, bulk bool, c *store.Change) error {
	value, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	if bulk {
		c.Kind = store.Created
		_, _, c.After, err = revFlags(value)
		return err
	}
	st, err := stagedOf(value)
	c.Kind, c.After, c.Schools = st.kind, st.body, st.schools
	return err
}

// bulkSchools fills in the schools of changes of a staged bulk plan. Those that
// follow from other records are in its tables.
func (d *district) bulkSchools(ctx context.Context, id store.PlanID, changes []store.Change) error {
	paths, err := d.stagedTables(id, "terms-")
	if err != nil {
		return err
	}
	it, err := d.readTables(ctx, paths, nil)
	if err != nil {
		return err
	}
	for i, c := range changes {
		var terms []search.Term
		if !search.Derives(c.Entity) {
			var f search.Facts
			f, err = search.Read(c.Entity, c.ID, c.After)
			terms = schoolTerms(f.Schools)
		} else if key := recordKey(spaceTerms, c.Entity, c.ID); it.SeekGE(key) && bytes.Equal(it.Key(), key) {
			var value []byte
			if value, err = it.ValueAndErr(); err == nil {
				terms, err = termsOf(value)
			}
		}
		for _, t := range terms {
			if t.Field == search.FieldSchool {
				changes[i].Schools = append(changes[i].Schools, t.Value)
			}
		}
		if err = cmp.Or(err, it.Error()); err != nil {
			break
		}
	}
	return errors.Join(err, it.Close())
}

// before returns the body that a change replaces, nil if there is none.
func (v *view) before(c store.Change, doc *planDoc) ([]byte, error) {
	rev := v.head
	if doc.Revision > 0 {
		rev = doc.Revision - 1
	}
	rec, ok, err := v.at(c.Entity, c.ID, rev)
	if err != nil || !ok {
		return nil, err
	}
	return rec.Body, nil
}

// entitiesFrom lists the entities from one on.
func entitiesFrom(first store.Entity) []store.Entity {
	var out []store.Entity
	for _, e := range record.Entities() {
		if e >= first {
			out = append(out, e)
		}
	}
	return out
}
