package mongostore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

const (
	courses      = typev1.Entity_ENTITY_COURSES
	classes      = typev1.Entity_ENTITY_CLASSES
	users        = typev1.Entity_ENTITY_USERS
	enrollments  = typev1.Entity_ENTITY_ENROLLMENTS
	demographics = typev1.Entity_ENTITY_DEMOGRAPHICS
)

// deriver works out the terms that follow from other records, of what an owner
// has at a revision. It reads and compares terms only. What it computes depends
// on nothing but the records of that revision, so that any number of processes
// may do the same work at once.
type deriver struct {
	s     *Store
	owner string
	rev   store.Revision
}

var onlyTerms = bson.D{{Key: "id", Value: 1}, {Key: "f", Value: 1}, {Key: "t", Value: 1}, {Key: "x", Value: 1}}

// found collects the newest visible terms by id: for a moment a document and
// the one with its new terms are both visible.
type found map[string]version

func (f found) add(v version) error {
	if had, ok := f[v.Record]; !ok || had.From < v.From {
		f[v.Record] = v
	}
	return nil
}

// values lists those of the terms that begin with prefix, without it.
func (v version) values(prefix string) []string {
	var out []string
	for _, t := range v.Terms {
		if s, ok := strings.CutPrefix(t, prefix); ok {
			out = append(out, s)
		}
	}
	return out
}

func (v version) isStudent() bool {
	return slices.Contains(v.Terms, fieldPrefix(search.FieldRole)+string(record.FamilyStudent))
}

// byTerm calls f with the visible versions that have one of the values.
func (d *deriver) byTerm(ctx context.Context, e store.Entity, prefix string, values []string, f func(version) error) error {
	for part := range portions(values, idsPerQuery, sizeOfText) {
		filter := append(at(d.owner, d.rev), in("t", withPrefix(prefix, part)))
		if err := each(ctx, d.s.versions(e), filter, f, find(indexTerms).SetProjection(onlyTerms)); err != nil {
			return fmt.Errorf("read %s: %w", record.EntityName(e), err)
		}
	}
	return nil
}

// people are users with all that their schools follow from.
type people struct {
	users   found
	related map[string][]string
	given   map[string][]string // schools that enrollments give
}

// related lists the users that others are related to, whichever side holds the
// link.
func (d *deriver) related(ctx context.Context, ids []string, self found) (map[string][]string, error) {
	user := fieldPrefix(search.FieldUser)
	out := make(map[string][]string, len(ids))
	for _, id := range ids {
		out[id] = self[id].values(user)
	}
	incoming := found{}
	if err := d.byTerm(ctx, users, user, ids, incoming.add); err != nil {
		return nil, err
	}
	for other, v := range incoming {
		for _, id := range v.values(user) {
			if _, wanted := out[id]; wanted {
				out[id] = append(out[id], other)
			}
		}
	}
	return out, nil
}

func (d *deriver) terms(ctx context.Context, e store.Entity, ids []string, into found) error {
	return d.s.ofIDs(ctx, e, at(d.owner, d.rev), ids, into.add, find(indexRecord).SetProjection(onlyTerms))
}

func (d *deriver) people(ctx context.Context, ids []string) (*people, error) {
	p := &people{users: found{}, given: map[string][]string{}}
	if err := d.terms(ctx, users, ids, p.users); err != nil {
		return nil, err
	}
	var err error
	if p.related, err = d.related(ctx, ids, p.users); err != nil {
		return nil, err
	}
	var others []string
	for id, list := range p.related {
		if !p.users[id].isStudent() {
			others = append(others, list...)
		}
	}
	slices.Sort(others)
	others = slices.Compact(others)
	if err := d.terms(ctx, users, others, p.users); err != nil {
		return nil, err
	}
	all := slices.Concat(ids, others)
	slices.Sort(all)
	return p, d.give(ctx, enrollments, fieldPrefix(search.FieldUser), slices.Compact(all), p.given)
}

// give collects the schools that active records of an entity give to those they
// name with a term.
func (d *deriver) give(ctx context.Context, e store.Entity, prefix string, to []string, given map[string][]string) error {
	return d.byTerm(ctx, e, prefix, to, func(v version) error {
		if v.Tombstone {
			return nil
		}
		for _, id := range v.values(prefix) {
			for _, school := range v.values(fieldPrefix(search.FieldSchool)) {
				if !slices.Contains(given[id], school) {
					given[id] = append(given[id], school)
				}
			}
		}
		return nil
	})
}

func (p *people) person(id string) search.Person {
	self := p.users[id]
	return search.Person{
		Schools: append(self.values(fieldPrefix(search.FieldOrg)), p.given[id]...),
		Student: self.isStudent(),
	}
}

// schools of a user.
func (p *people) schools(id string) []string {
	self := p.person(id)
	var related []search.Person
	if !self.Student {
		for _, other := range p.related[id] {
			related = append(related, p.person(other))
		}
	}
	return search.UserSchools(self, related)
}

// derived returns the terms of records that follow from other records.
func (d *deriver) derived(ctx context.Context, e store.Entity, ids []string) (map[string][]string, error) {
	school := fieldPrefix(search.FieldSchool)
	out := make(map[string][]string, len(ids))
	if e == courses {
		given := map[string][]string{}
		if err := d.give(ctx, classes, termCourse, ids, given); err != nil {
			return nil, err
		}
		for _, id := range ids {
			slices.Sort(given[id])
			out[id] = withPrefix(school, given[id])
		}
		return out, nil
	}
	p, err := d.people(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		out[id] = withPrefix(school, p.schools(id))
		if e == demographics {
			role := fieldPrefix(search.FieldRole)
			out[id] = append(out[id], withPrefix(role, p.users[id].values(role))...)
		}
	}
	return out, nil
}

// refresh gives the records with these ids the terms they should have. A
// document of the revision itself is corrected; an older one is closed and
// goes on in a copy. seen, if any, is called with each.
func (d *deriver) refresh(ctx context.Context, e store.Entity, ids []string, seen func(version)) error {
	current := found{}
	var closed []string
	if err := d.s.ofIDs(ctx, e, at(d.owner, d.rev), ids, func(v version) error {
		// Two are visible where someone has stopped between copying and closing.
		if had, ok := current[v.Record]; ok {
			closed = append(closed, min(had.ID, v.ID))
		}
		return current.add(v)
	}); err != nil {
		return err
	}
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		_, ok := current[id]
		return !ok
	})
	derived, err := d.derived(ctx, e, ids)
	if err != nil {
		return err
	}
	var corrected, copied []version
	for _, id := range ids {
		v := current[id]
		was := v.Terms
		v.Terms = append(slices.DeleteFunc(slices.Clone(was), func(t string) bool { return isDerived(e, t) }), derived[id]...)
		if seen != nil {
			seen(v)
		}
		if slices.Equal(was, v.Terms) {
			continue
		}
		if v.From == d.rev {
			corrected = append(corrected, v)
			continue
		}
		closed = append(closed, v.ID)
		v.ID, v.From, v.Kind = versionID(d.owner, d.rev, id), d.rev, 0
		copied = append(copied, v)
	}
	// The copy comes first: whoever does the same work must always find one.
	if err := d.s.insertVersions(ctx, e, copied); err != nil {
		return err
	}
	if err := d.s.closeVersions(ctx, e, d.owner, closed, d.rev); err != nil {
		return err
	}
	if all, err := d.s.setTerms(ctx, e, corrected); err != nil || all {
		return err
	}
	// Some were blanked meanwhile: their terms follow from what is left.
	return d.refresh(ctx, e, ids, nil)
}

func isDerived(e store.Entity, term string) bool {
	return strings.HasPrefix(term, fieldPrefix(search.FieldSchool)) ||
		e == demographics && strings.HasPrefix(term, fieldPrefix(search.FieldRole))
}
