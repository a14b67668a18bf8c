package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/encoding/protowire"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// view is a district at one revision within one scope, for the length of one
// call. What it reads does not change while it is open.
type view struct {
	d    *district
	snap *pebble.Snapshot
	head store.Revision
	rev  store.Revision
	// scope is that of the caller.
	scope store.Scope
}

// see opens a view; release must be called.
func (s *Store) see(ctx context.Context, id store.DistrictID, rev store.Revision, scope store.Scope) (*view, func(), error) {
	d, release, err := s.use(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	v := &view{d: d, snap: d.db.NewSnapshot(), rev: rev, scope: scope}
	done := func() {
		// Closing a snapshot fails only when it was closed before.
		_ = v.snap.Close()
		release()
	}
	var floor store.Revision
	if v.head, floor, err = head(v.snap); err == nil {
		err = checkRevision(d.id, rev, v.head, floor)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return v, done, nil
}

func checkRevision(d store.DistrictID, rev, head, floor store.Revision) error {
	switch {
	case rev < floor:
		return fmt.Errorf("revision %d of %s, the oldest kept is %d: %w", rev, d, floor, store.ErrRevisionGone)
	case rev > head:
		return fmt.Errorf("revision %d of %s, the newest is %d: %w", rev, d, head, store.ErrRevisionUnknown)
	}
	return nil
}

// Head implements store.Reads.
func (s *Store) Head(ctx context.Context, id store.DistrictID) (store.RevisionInfo, error) {
	d, release, err := s.use(ctx, id)
	if err != nil {
		return store.RevisionInfo{}, err
	}
	defer release()
	snap := d.db.NewSnapshot()
	defer snap.Close()
	rev, _, err := head(snap)
	if err != nil {
		return store.RevisionInfo{}, err
	}
	doc, err := d.revision(snap, rev)
	return doc.RevisionInfo, err
}

// Revisions implements store.Reads.
func (s *Store) Revisions(ctx context.Context, id store.DistrictID, before store.Revision, limit int) ([]store.RevisionInfo, error) {
	d, release, err := s.use(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	o := span([]byte{spaceRevision})
	if before > 0 {
		o.UpperBound = revisionKey(spaceRevision, before)
	}
	it, err := d.db.NewIter(o)
	if err != nil {
		return nil, err
	}
	var out []store.RevisionInfo
	for ok := it.Last(); ok && len(out) < limit; ok = it.Prev() {
		doc, err := d.revision(d.db, store.Revision(binary.BigEndian.Uint64(it.Key()[1:])))
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		out = append(out, doc.RevisionInfo)
	}
	return out, it.Close()
}

// RevisionAt implements store.Reads.
func (s *Store) RevisionAt(ctx context.Context, id store.DistrictID, t time.Time) (store.Revision, error) {
	d, release, err := s.use(ctx, id)
	if err != nil {
		return 0, err
	}
	defer release()
	rev, _, err := head(d.db)
	if err != nil {
		return 0, err
	}
	for rev > 0 && d.times.of(rev).After(t) {
		rev--
	}
	return rev, nil
}

// Summary implements store.Reads.
func (s *Store) Summary(ctx context.Context, id store.DistrictID, scope store.Scope) (store.Summary, error) {
	d, release, err := s.use(ctx, id)
	if err != nil {
		return store.Summary{}, err
	}
	defer release()
	v := &view{d: d, snap: d.db.NewSnapshot(), scope: scope}
	defer v.snap.Close()
	if v.head, _, err = head(v.snap); err != nil {
		return store.Summary{}, err
	}
	v.rev = v.head
	rev, err := d.revision(v.snap, v.rev)
	if err != nil {
		return store.Summary{}, err
	}
	out := store.Summary{Head: rev.RevisionInfo}
	if scope.All {
		var doc summaryDoc
		if _, err := getDoc(v.snap, metaKey(metaSummary), &doc); err != nil {
			return store.Summary{}, err
		}
		out.Active, out.Total, out.Families = doc.Active, doc.Total, doc.Families
		return out, nil
	}
	return out, v.countScope(ctx, &out)
}

func (v *view) countScope(ctx context.Context, out *store.Summary) error {
	out.Active, out.Total, out.Families = map[store.Entity]int{}, map[store.Entity]int{}, map[record.Family]int{}
	count := func(q store.Query) (int, error) {
		p, err := v.page(ctx, q, "", 0)
		return p.Total, err
	}
	var errs []error
	for _, e := range record.Entities() {
		var err error
		out.Total[e], err = count(store.Query{Entity: e})
		errs = append(errs, err)
		out.Active[e], err = count(store.Query{Entity: e, Status: record.StatusActive})
		errs = append(errs, err)
	}
	for _, f := range record.Families() {
		var err error
		out.Families[f], err = count(store.Query{Entity: users, Role: string(f), Status: record.StatusActive})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Snapshot implements store.Reads.
func (s *Store) Snapshot(d store.DistrictID, rev store.Revision, scope store.Scope) store.Reader {
	return snapshot{s, d, rev, scope}
}

type snapshot struct {
	s     *Store
	id    store.DistrictID
	rev   store.Revision
	scope store.Scope
}

// Get implements store.Reader.
func (r snapshot) Get(ctx context.Context, e store.Entity, id string) (store.Record, error) {
	v, done, err := r.s.see(ctx, r.id, r.rev, r.scope)
	if err != nil {
		return store.Record{}, err
	}
	defer done()
	rec, ok, err := v.get(e, id)
	if err == nil && ok {
		ok, err = v.inScope(e, id, rec.Body)
	}
	if err == nil && !ok {
		err = fmt.Errorf("%s %q at revision %d of %s: %w", record.EntityName(e), id, r.rev, r.id, store.ErrRecordUnknown)
	}
	if err != nil {
		return store.Record{}, err
	}
	return rec, nil
}

// Page implements store.Reader.
func (r snapshot) Page(ctx context.Context, q store.Query, after string, limit int) (store.Page, error) {
	v, done, err := r.s.see(ctx, r.id, r.rev, r.scope)
	if err != nil {
		return store.Page{}, err
	}
	defer done()
	return v.page(ctx, q, after, limit)
}

// Scan implements store.Reader.
func (r snapshot) Scan(ctx context.Context, after store.Position, entities ...store.Entity) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		v, done, err := r.s.see(ctx, r.id, r.rev, r.scope)
		if err != nil {
			yield(store.Record{}, err)
			return
		}
		defer done()
		for _, e := range entitiesFrom(after.Entity) {
			if len(entities) > 0 && !slices.Contains(entities, e) {
				continue
			}
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

// History implements store.Reader.
func (r snapshot) History(ctx context.Context, e store.Entity, id string) ([]store.Record, error) {
	if _, err := r.Get(ctx, e, id); err != nil {
		return nil, err
	}
	v, done, err := r.s.see(ctx, r.id, r.rev, r.scope)
	if err != nil {
		return nil, err
	}
	defer done()
	live, err := v.live(e, id)
	if err != nil {
		return nil, err
	}
	out := []store.Record{live}
	o := span(escape([]byte{spaceOld, byte(e)}, id))
	it, err := v.snap.NewIter(o)
	if err != nil {
		return nil, err
	}
	for ok := it.Last(); ok; ok = it.Prev() {
		rec, err := v.old(it, e, id)
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		out = append(out, rec)
	}
	out = slices.DeleteFunc(out, func(rec store.Record) bool { return rec.From > v.rev })
	if len(out) > 0 && out[0].To > v.rev {
		out[0].To = 0
	}
	return out, it.Close()
}

// get returns the version of a record visible at the revision.
func (v *view) get(e store.Entity, id string) (store.Record, bool, error) {
	return v.at(e, id, v.rev)
}

func (v *view) at(e store.Entity, id string, rev store.Revision) (store.Record, bool, error) {
	live, err := v.live(e, id)
	if err != nil || live.From == 0 {
		return store.Record{}, false, err
	}
	if live.From <= rev {
		return live, true, nil
	}
	return v.past(e, id, rev)
}

// live returns the live version; From is 0 if there is no such record.
func (v *view) live(e store.Entity, id string) (store.Record, error) {
	value, closer, err := v.snap.Get(recordKey(spaceLive, e, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return store.Record{}, nil
	}
	if err != nil {
		return store.Record{}, fmt.Errorf("read %s: %w", record.EntityName(e), err)
	}
	rec, err := v.d.record(nil, e, id, value)
	return rec, errors.Join(err, closer.Close())
}

// past looks for the version visible at a revision among the superseded ones.
func (v *view) past(e store.Entity, id string, rev store.Revision) (store.Record, bool, error) {
	o := span(escape([]byte{spaceOld, byte(e)}, id))
	o.UpperBound = versionKey(spaceOld, e, id, rev+1)
	it, err := v.snap.NewIter(o)
	if err != nil {
		return store.Record{}, false, err
	}
	if !it.Last() {
		return store.Record{}, false, errors.Join(it.Error(), it.Close())
	}
	rec, err := v.old(it, e, id)
	if err = errors.Join(err, it.Close()); err != nil || rec.To <= rev {
		return store.Record{}, false, err
	}
	if rec.To > v.rev {
		rec.To = 0
	}
	return rec, true, nil
}

// old reads the superseded version at an iterator.
func (v *view) old(it *pebble.Iterator, e store.Entity, id string) (store.Record, error) {
	value, err := it.ValueAndErr()
	if err != nil {
		return store.Record{}, err
	}
	to, flags, body, err := revFlags(value)
	if err != nil {
		return store.Record{}, err
	}
	from := store.Revision(binary.BigEndian.Uint64(it.Key()[len(it.Key())-8:]))
	return store.Record{Entity: e, ID: id, From: from, To: to, Body: v.d.body(nil, e, from, flags, body)}, nil
}

// record reads a live value; the body is appended to buf.
func (d *district) record(buf []byte, e store.Entity, id string, value []byte) (store.Record, error) {
	from, flags, body, err := revFlags(value)
	if err != nil {
		return store.Record{}, err
	}
	return store.Record{Entity: e, ID: id, From: from, Body: d.body(buf, e, from, flags, body)}, nil
}

// body appends a stored body to buf. Where the source left dateLastModified
// blank it also states the commit time: a second occurrence of the inner
// message is merged into the first by every protobuf reader, so nothing needs
// decoding.
func (d *district) body(buf []byte, e store.Entity, from store.Revision, flags byte, body []byte) []byte {
	buf = append(slices.Grow(buf, len(body)+stampSize), body...)
	if flags&flagBlankDate == 0 {
		return buf
	}
	buf = protowire.AppendTag(buf, recordField[e], protowire.BytesType)
	buf = append(buf, byte(stampSize-2))
	buf = protowire.AppendTag(buf, dateField, protowire.BytesType)
	buf = append(buf, byte(len(record.TimeFormat)))
	return append(buf, d.times.stamp(from)...)
}

// The numbers of type.v1.Record's fields, by entity, and of dateLastModified in
// all of them. A test compares them with the protos.
var recordField = [...]protowire.Number{
	typev1.Entity_ENTITY_ORGS:              1,
	typev1.Entity_ENTITY_ACADEMIC_SESSIONS: 2,
	typev1.Entity_ENTITY_COURSES:           3,
	typev1.Entity_ENTITY_CLASSES:           4,
	typev1.Entity_ENTITY_USERS:             5,
	typev1.Entity_ENTITY_ENROLLMENTS:       6,
	typev1.Entity_ENTITY_DEMOGRAPHICS:      7,
}

const (
	dateField = 3
	stampSize = 4 + len(record.TimeFormat)
)

// scan yields the records of one entity with ids after the given one.
func (v *view) scan(ctx context.Context, e store.Entity, after string) iter.Seq2[store.Record, error] {
	if !v.scope.All && !search.ForAll(e) {
		return v.scanScope(ctx, e, after)
	}
	return func(yield func(store.Record, error) bool) {
		o := span([]byte{spaceLive, byte(e)})
		o.LowerBound = next(recordKey(spaceLive, e, after))
		it, err := v.snap.NewIter(o)
		if err != nil {
			yield(store.Record{}, err)
			return
		}
		defer it.Close()
		var buf []byte
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			if n++; n%1024 == 0 {
				if err := v.d.check(ctx); err != nil {
					yield(store.Record{}, err)
					return
				}
			}
			value, err := it.ValueAndErr()
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			rec, err := v.d.record(buf[:0], e, string(it.Key()[2:]), value)
			found := true
			if err == nil {
				buf = rec.Body
				if rec.From > v.rev {
					rec, found, err = v.past(e, rec.ID, v.rev)
				}
			}
			if (err != nil || found) && (!yield(rec, err) || err != nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(store.Record{}, err)
		}
	}
}

// scanScope follows the lists of the caller's schools.
func (v *view) scanScope(ctx context.Context, e store.Entity, after string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for {
			p, err := v.page(ctx, store.Query{Entity: e}, after, 1000)
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			for _, rec := range p.Records {
				if !yield(rec, nil) {
					return
				}
				after = rec.ID
			}
			if !p.More {
				return
			}
		}
	}
}

// inScope tells whether the caller may see a record.
func (v *view) inScope(e store.Entity, id string, body []byte) (bool, error) {
	if v.scope.All || search.ForAll(e) {
		return true, nil
	}
	terms, err := v.terms(e, id, body, v.rev)
	if err != nil {
		return false, err
	}
	conditions, err := search.Conditions(store.Query{Entity: e}, v.scope)
	return search.AllMet(conditions, terms), err
}

// terms returns all terms of a record whose body is that of a revision.
func (v *view) terms(e store.Entity, id string, body []byte, rev store.Revision) ([]search.Term, error) {
	f, err := search.Read(e, id, body)
	if err != nil {
		return nil, err
	}
	if !search.Derives(e) {
		return append(f.Terms, schoolTerms(f.Schools)...), nil
	}
	derived, err := v.derivedAt(e, id, rev)
	return append(f.Terms, derived...), err
}

// derivedAt returns the terms that follow from other records, as of a revision:
// the first that were superseded after it, or the live ones.
func (v *view) derivedAt(e store.Entity, id string, rev store.Revision) ([]search.Term, error) {
	if rev < v.head {
		o := span(escape([]byte{spaceOldTerms, byte(e)}, id))
		o.LowerBound = versionKey(spaceOldTerms, e, id, rev+1)
		it, err := v.snap.NewIter(o)
		if err != nil {
			return nil, err
		}
		if it.First() {
			value, err := it.ValueAndErr()
			var terms []search.Term
			if err == nil {
				terms, err = termsOf(value)
			}
			return terms, errors.Join(err, it.Close())
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return nil, err
		}
	}
	return derivedTerms(v.snap, e, id)
}
