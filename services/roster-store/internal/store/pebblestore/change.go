package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// change writes all that a plan changes. It reads the database as it is before,
// with what the plan itself changes laid over it.
type change struct {
	d       *district
	base    store.Revision
	rev     store.Revision
	doc     *planDoc
	out     sink
	edits   listEdits
	summary summaryDoc

	// users holds the new facts of changed users, children the other direction
	// of their relationships.
	users    map[string]search.Facts
	incoming map[string][]string
	created  map[store.Position]bool           // of entities with derived terms
	tallies  map[store.Position]map[string]int // what enrollments and classes give more or less
	dirty    map[store.Position]bool           // records whose derived terms are worked out anew
	members  map[store.Position][2]member      // what changed records of entities with derived terms count as, before and after
	schools  populations                       // differences
}

const (
	users        = typev1.Entity_ENTITY_USERS
	courses      = typev1.Entity_ENTITY_COURSES
	demographics = typev1.Entity_ENTITY_DEMOGRAPHICS
)

func newChange(d *district, base store.Revision, doc *planDoc) (*change, error) {
	out, dir, err := d.newSink(doc.Plan)
	if err != nil {
		return nil, err
	}
	return &change{
		d: d, base: base, rev: base + 1, doc: doc, out: out, edits: listEdits{d: d, dir: dir},
		users: map[string]search.Facts{}, incoming: map[string][]string{},
		created: map[store.Position]bool{}, tallies: map[store.Position]map[string]int{}, dirty: map[store.Position]bool{},
		members: map[store.Position][2]member{}, schools: populations{},
	}, nil
}

func (c *change) apply(ctx context.Context) error {
	if _, err := getDoc(c.d.db, metaKey(metaSummary), &c.summary); err != nil {
		return err
	}
	if err := c.replace(ctx); err != nil {
		return err
	}
	if err := c.writeTallies(); err != nil {
		return err
	}
	if err := c.derive(ctx); err != nil {
		return err
	}
	if err := c.schools.write(c.d.db, c.out); err != nil {
		return err
	}
	return c.writeLists(ctx)
}

// record writes the new version of a record and moves the old one to history.
func (c *change) record(r *replacement) error {
	e, id, st := r.entity, r.id, r.staged
	isNew := r.body == nil
	if !isNew {
		c.summary.add(e, r.before, -1)
		if err := c.out.Set(versionKey(spaceOld, e, id, st.base), appendVersion(nil, c.rev, r.flags, r.body), nil); err != nil {
			return err
		}
	}
	c.summary.add(e, r.now, 1)
	return errors.Join(
		c.note(e, id, isNew, r.before, r.now),
		c.out.Set(recordKey(spaceLive, e, id), appendVersion(nil, c.rev, st.flags, st.body), nil),
		c.out.Set(recordKey(spaceHash, e, id), appendVersion(nil, c.rev, st.flags, st.hash[:]), nil),
		c.out.Set(logKey(spaceChange, c.rev, e, id), []byte{byte(st.kind)}, nil),
	)
}

// note remembers what follows from the change of one record.
func (c *change) note(e store.Entity, id string, isNew bool, before, now search.Facts) error {
	at := store.Position{Entity: e, ID: id}
	was, is := before.Terms, now.Terms
	wasMember, isMember := memberOf(e, before), memberOf(e, now)
	if isNew {
		wasMember = member{}
	}
	decisive := isNew || e == users && !search.SameRelations(before, now)
	if search.Derives(e) {
		c.members[at] = [2]member{wasMember, isMember}
		if decisive || wasMember != isMember {
			c.created[at] = isNew
			c.dirty[at] = true
		}
	} else {
		c.schools.add(e, before.Schools, wasMember, -1)
		c.schools.add(e, now.Schools, isMember, 1)
		was = append(was, schoolTerms(before.Schools)...)
		is = append(is, schoolTerms(now.Schools)...)
	}
	if err := c.move(e, id, was, is); err != nil {
		return err
	}
	if e == users {
		c.users[id] = now
		for _, a := range now.Agents {
			c.incoming[a] = append(c.incoming[a], id)
		}
		if decisive {
			for _, a := range slices.Concat(before.Agents, now.Agents) {
				c.dirty[store.Position{Entity: users, ID: a}] = true
			}
		}
	}
	c.give(before, -1)
	c.give(now, 1)
	return nil
}

// give changes the tally of who the record gives its schools to.
func (c *change) give(f search.Facts, by int) {
	if f.Tombstone {
		return
	}
	for _, to := range []store.Position{{Entity: users, ID: f.LinkUser}, {Entity: courses, ID: f.LinkCourse}} {
		if to.ID == "" {
			continue
		}
		if c.tallies[to] == nil {
			c.tallies[to] = map[string]int{}
		}
		for _, s := range f.Schools {
			c.tallies[to][s] += by
		}
	}
}

// move takes a record out of the lists of old terms and into those of new ones.
func (c *change) move(e store.Entity, id string, was, is []search.Term) error {
	for _, t := range was {
		if !slices.Contains(is, t) {
			if err := c.edits.add(e, t, id, false); err != nil {
				return err
			}
		}
	}
	for _, t := range is {
		if !slices.Contains(was, t) {
			if err := c.edits.add(e, t, id, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeTallies applies the differences. Who keeps the same schools is not dirty.
func (c *change) writeTallies() error {
	for _, at := range slices.SortedFunc(maps.Keys(c.tallies), comparePositions) {
		differences := c.tallies[at]
		tally, err := tallyIn(c.d.db, at)
		if err != nil {
			return err
		}
		had := len(tally)
		for school, by := range differences {
			_, before := tally[school]
			if tally[school] += by; tally[school] <= 0 {
				delete(tally, school)
			}
			if _, now := tally[school]; now != before {
				c.dirty[at] = true
			}
		}
		key := recordKey(spaceEnrol, at.Entity, at.ID)
		if len(tally) > 0 {
			err = c.out.Set(key, appendTally(nil, tally), nil)
		} else if had > 0 {
			err = c.out.Delete(key, nil)
		}
		if err != nil {
			return err
		}
		c.tallies[at] = tally
	}
	return nil
}

func tallyIn(r reader, at store.Position) (map[string]int, error) {
	v, err := get(r, recordKey(spaceEnrol, at.Entity, at.ID))
	if err != nil {
		return nil, err
	}
	return tallyOf(v)
}

// given returns the schools that enrollments or classes give after the change.
func (c *change) given(at store.Position) ([]string, error) {
	tally, ok := c.tallies[at]
	if !ok {
		var err error
		if tally, err = tallyIn(c.d.db, at); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(tally)), nil
}

// facts returns those of a user after the change; false if there is no such user.
func (c *change) facts(id string) (search.Facts, bool, error) {
	if f, ok := c.users[id]; ok {
		return f, true, nil
	}
	return factsIn(c.d.db, users, id)
}

func factsIn(r reader, e store.Entity, id string) (search.Facts, bool, error) {
	v, err := get(r, recordKey(spaceLive, e, id))
	if err != nil || v == nil {
		return search.Facts{}, false, err
	}
	_, _, body, err := revFlags(v)
	if err != nil {
		return search.Facts{}, false, err
	}
	f, err := search.Read(e, id, body)
	return f, err == nil, err
}

func (c *change) person(id string) (search.Person, error) {
	f, _, err := c.facts(id)
	if err != nil {
		return search.Person{}, err
	}
	given, err := c.given(store.Position{Entity: users, ID: id})
	return search.Person{Schools: append(given, f.Schools...), Student: f.IsStudent()}, err
}

// related returns the users that a user is related to after the change,
// whichever side holds the link.
func (c *change) related(id string, f search.Facts) ([]string, error) {
	ids := append(slices.Clone(f.Agents), c.incoming[id]...)
	l, err := openList(c.d.db, listKey(spaceIndex, users, search.Term{Field: search.FieldUser, Value: id}))
	if err != nil {
		return nil, err
	}
	ok, err := l.seek(nil)
	for ; ok && err == nil; ok, err = l.next() {
		if _, changed := c.users[string(l.id())]; !changed {
			ids = append(ids, string(l.id()))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), errors.Join(err, l.close())
}

// derive works out anew the terms that follow from other records.
func (c *change) derive(ctx context.Context) error {
	// A user's relatives may inherit its schools, its demographics do.
	for at := range maps.Clone(c.dirty) {
		if at.Entity != users {
			continue
		}
		f, _, err := c.facts(at.ID)
		if err != nil {
			return err
		}
		related, err := c.related(at.ID, f)
		if err != nil {
			return err
		}
		for _, id := range related {
			c.dirty[store.Position{Entity: users, ID: id}] = true
		}
	}
	for at := range maps.Clone(c.dirty) {
		if at.Entity == users {
			c.dirty[store.Position{Entity: demographics, ID: at.ID}] = true
		}
	}
	n := 0
	for _, at := range slices.SortedFunc(maps.Keys(c.dirty), comparePositions) {
		if n++; n%1024 == 0 {
			if err := c.d.check(ctx); err != nil {
				return err
			}
		}
		if err := c.deriveOne(at); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) deriveOne(at store.Position) error {
	isNew, known := c.created[at]
	members, changed := c.members[at]
	if !known {
		v, err := get(c.d.db, recordKey(spaceHash, at.Entity, at.ID))
		if v == nil {
			return err
		}
		_, flags, _, err := revFlags(v)
		if err != nil {
			return err
		}
		if !changed {
			members[0].active = flags&flagTombstone == 0
		}
	}
	was, err := derivedTerms(c.d.db, at.Entity, at.ID)
	if err != nil {
		return err
	}
	is, err := c.terms(at)
	if err != nil {
		return err
	}
	same := slices.Equal(was, is)
	if !changed {
		if !same && members[0].active && at.Entity == users {
			f, _, err := c.facts(at.ID)
			if err != nil {
				return err
			}
			members[0].student = f.IsStudent()
		}
		members[1] = members[0]
	}
	if same && members[0] == members[1] {
		return nil
	}
	c.schools.add(at.Entity, schoolsIn(was), members[0], -1)
	c.schools.add(at.Entity, schoolsIn(is), members[1], 1)
	if same {
		return nil
	}
	if err := c.move(at.Entity, at.ID, was, is); err != nil {
		return err
	}
	key := recordKey(spaceTerms, at.Entity, at.ID)
	if len(is) > 0 {
		err = c.out.Set(key, appendTerms(nil, is), nil)
	} else {
		err = c.out.Delete(key, nil)
	}
	if isNew || err != nil {
		return err
	}
	return errors.Join(
		c.out.Set(versionKey(spaceOldTerms, at.Entity, at.ID, c.rev), appendTerms(nil, was), nil),
		c.out.Set(logKey(spaceTermsLog, c.rev, at.Entity, at.ID), nil, nil),
	)
}

// terms of a record that follow from other records after the change.
func (c *change) terms(at store.Position) ([]search.Term, error) {
	if at.Entity == courses {
		schools, err := c.given(at)
		return schoolTerms(schools), err
	}
	self, err := c.person(at.ID)
	if err != nil {
		return nil, err
	}
	f, _, err := c.facts(at.ID)
	if err != nil {
		return nil, err
	}
	var related []search.Person
	if !self.Student {
		ids, err := c.related(at.ID, f)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			p, err := c.person(id)
			if err != nil {
				return nil, err
			}
			related = append(related, p)
		}
	}
	terms := schoolTerms(search.UserSchools(self, related))
	if at.Entity == demographics {
		terms = append(terms, search.RoleTerms(f)...)
	}
	return terms, nil
}

// derivedTerms returns the stored terms of a live record that follow from
// other records.
func derivedTerms(r reader, e store.Entity, id string) ([]search.Term, error) {
	if !search.Derives(e) {
		return nil, nil
	}
	v, err := get(r, recordKey(spaceTerms, e, id))
	if err != nil {
		return nil, err
	}
	return termsOf(v)
}

func comparePositions(a, b store.Position) int {
	if a.Entity != b.Entity {
		return int(a.Entity) - int(b.Entity)
	}
	return bytes.Compare([]byte(a.ID), []byte(b.ID))
}
