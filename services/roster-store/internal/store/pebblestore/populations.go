package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// population counts the active records that belong to a school, and the students
// among them. Differences of populations are negative as well.
type population struct {
	active   map[store.Entity]int
	students int
}

func populationKey[T string | []byte](school T) []byte {
	return recordKey(spaceSchool, typev1.Entity_ENTITY_ORGS, school)
}

// append codes a population; nil for one of nobody.
func (p population) append(b []byte) []byte {
	any := p.students
	b = binary.AppendUvarint(b, uint64(p.students))
	for _, e := range record.Entities() {
		any |= p.active[e]
		b = binary.AppendUvarint(b, uint64(p.active[e]))
	}
	if any == 0 {
		return nil
	}
	return b
}

func populationIn(r reader, school string) (population, error) {
	p := population{active: map[store.Entity]int{}}
	v, err := get(r, populationKey(school))
	if err != nil || v == nil {
		return p, err
	}
	read := func() int {
		n, size := binary.Uvarint(v)
		if size <= 0 {
			err = fmt.Errorf("damaged population of %d bytes", len(v))
			return 0
		}
		v = v[size:]
		return int(n)
	}
	p.students = read()
	for _, e := range record.Entities() {
		p.active[e] = read()
	}
	return p, err
}

// member is what a record counts as in its schools.
type member struct{ active, student bool }

func memberOf(e store.Entity, f search.Facts) member {
	return member{!f.Tombstone, !f.Tombstone && e == users && f.IsStudent()}
}

// populations are those of schools by their ids.
type populations map[string]*population

func (p populations) add(e store.Entity, schools []string, m member, by int) {
	if !m.active {
		return
	}
	for _, school := range schools {
		of := p[school]
		if of == nil {
			of = &population{active: map[store.Entity]int{}}
			p[school] = of
		}
		of.active[e] += by
		if m.student {
			of.students += by
		}
	}
}

// write adds the differences to what there is.
func (p populations) write(r reader, out sink) error {
	for _, school := range slices.Sorted(maps.Keys(p)) {
		now, err := populationIn(r, school)
		if err != nil {
			return err
		}
		now.students += p[school].students
		for e, by := range p[school].active {
			now.active[e] += by
		}
		if v := now.append(nil); v != nil {
			err = out.Set(populationKey(school), v, nil)
		} else {
			err = out.Delete(populationKey(school), nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// schoolsIn lists the schools among terms.
func schoolsIn(terms []search.Term) []string {
	var out []string
	for _, t := range terms {
		if t.Field == search.FieldSchool {
			out = append(out, t.Value)
		}
	}
	return out
}

// baseOf answers what the signals of a plan need to know of its base.
type baseOf struct {
	d    *district
	snap *pebble.Snapshot
	rev  store.Revision // the head of snap
}

func (b baseOf) summary() (doc summaryDoc, err error) {
	_, err = getDoc(b.snap, metaKey(metaSummary), &doc)
	return doc, err
}

// Active implements signals.Base.
func (b baseOf) Active(_ context.Context, school string, entities []store.Entity) (map[store.Entity]int, error) {
	var active map[store.Entity]int
	if school == "" {
		doc, err := b.summary()
		if err != nil {
			return nil, err
		}
		active = doc.Active
	} else {
		p, err := populationIn(b.snap, school)
		if err != nil {
			return nil, err
		}
		active = p.active
	}
	out := make(map[store.Entity]int, len(entities))
	for _, e := range entities {
		out[e] = active[e]
	}
	return out, nil
}

// Students implements signals.Base.
func (b baseOf) Students(_ context.Context, school string) (int, error) {
	if school == "" {
		doc, err := b.summary()
		return doc.Families[record.FamilyStudent], err
	}
	p, err := populationIn(b.snap, school)
	return p.students, err
}

// Teachers implements signals.Base.
func (b baseOf) Teachers(ctx context.Context, school string) (int, error) {
	if school == "" {
		doc, err := b.summary()
		return doc.Families[record.FamilyTeacher], err
	}
	base := &view{d: b.d, snap: b.snap, head: b.rev, rev: b.rev, scope: store.Scope{All: true}}
	p, err := base.page(ctx, store.Query{Entity: users, SchoolID: school, Role: string(record.FamilyTeacher), Status: record.StatusActive}, "", 0)
	return p.Total, err
}

// Class implements signals.Base.
func (b baseOf) Class(_ context.Context, id string) (students int, schools []string, ok bool, err error) {
	class, ok, err := factsIn(b.snap, typev1.Entity_ENTITY_CLASSES, id)
	if err != nil || !ok || class.Tombstone {
		return 0, nil, false, err
	}
	const enrollments = typev1.Entity_ENTITY_ENROLLMENTS
	l, err := openList(b.snap, listKey(spaceIndex, enrollments, search.Term{Field: search.FieldClass, Value: id}))
	if err != nil {
		return 0, nil, false, err
	}
	more, err := l.seek(nil)
	for ; more && err == nil; more, err = l.next() {
		var f search.Facts
		if f, _, err = factsIn(b.snap, enrollments, string(l.id())); err != nil {
			break
		}
		if f.EnrolsStudent() {
			students++
		}
	}
	return students, class.Schools, true, errors.Join(err, l.close())
}

// Emails implements signals.Base.
func (b baseOf) Emails(ctx context.Context) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		if err := b.emails(ctx, yield); err != nil {
			yield(nil, err)
		}
	}
}

func (b baseOf) emails(ctx context.Context, yield func([]string, error) bool) (err error) {
	live, err := b.snap.NewIter(span([]byte{spaceLive, byte(users)}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, live.Error(), live.Close()) }()
	terms, err := b.snap.NewIter(span([]byte{spaceTerms, byte(users)}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, terms.Error(), terms.Close()) }()
	n := 0
	for more, ok := terms.First(), live.First(); ok; ok = live.Next() {
		if n++; n%1024 == 0 {
			if err := b.d.check(ctx); err != nil {
				return err
			}
		}
		id := live.Key()[2:]
		for more && bytes.Compare(terms.Key()[2:], id) < 0 {
			more = terms.Next()
		}
		v, err := live.ValueAndErr()
		if err != nil {
			return err
		}
		_, _, body, err := revFlags(v)
		if err != nil {
			return err
		}
		f, err := search.Read(users, string(id), body)
		if err != nil {
			return err
		}
		if f.Tombstone || f.Value(search.FieldEmail) == "" {
			continue
		}
		var schools []string
		if more && bytes.Equal(terms.Key()[2:], id) {
			if v, err = terms.ValueAndErr(); err != nil {
				return err
			}
			list, err := termsOf(v)
			if err != nil {
				return err
			}
			schools = schoolsIn(list)
		}
		if !yield(schools, nil) {
			return nil
		}
	}
	return nil
}
