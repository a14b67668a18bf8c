package check

import (
	"slices"
	"strings"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// rule is how a check finds. It has exactly one of user, email, enrollment and
// tables, which says how much has to be looked at again after a change.
type rule struct {
	// user looks at one user. With pairs, what it reports are relationships of a
	// student, who is Related.
	user  func(v *View, s *subject, report func(Finding))
	pairs bool
	// email looks at the active users that share an email, ordered by id.
	email func(v *View, bearers []replica.UserRow, report func(Finding))
	// enrollment says what is wrong with an active enrollment, if anything.
	enrollment func(v *View, e *replica.Enrollment) (reason string, informational bool)
	// tables looks at the small tables, always at the whole of them.
	tables func(v *View, report func(Finding)) (population int)

	// counts says which users are the population of user (which then sees no
	// others) or of email.
	counts func(u *replica.User) bool
}

// found is what a check has found, in order.
type found struct {
	findings   []Finding
	population int
	version    int // grows when the findings may read differently
}

func (v *View) compare(a, b Finding) int {
	if order := strings.Compare(v.id(a.Entity, a.Row), v.id(b.Entity, b.Row)); order != 0 {
		return order
	}
	return strings.Compare(v.id(a.RelatedEntity, a.Related), v.id(b.RelatedEntity, b.Related))
}

// check has every check look at what is dirty.
func (v *View) check(d *dirty) {
	fresh := make([][]Finding, len(catalogue))
	var at int
	report := func(f Finding) { fresh[at] = append(fresh[at], f) }

	for row := range d.people.each() {
		s := v.subject(row)
		v.countPairs(s)
		for i, c := range catalogue {
			if c.find.user != nil && (c.find.counts == nil || c.find.counts(s.User)) {
				at = i
				c.find.user(v, s, report)
			}
		}
	}
	var bearers []replica.UserRow
	for email := range d.emails.each() {
		if first := v.emails.first[email]; first == 0 || v.emails.next[first] == 0 {
			continue
		}
		bearers = bearers[:0]
		for row := range v.emails.of(email) {
			bearers = append(bearers, replica.UserRow(row))
		}
		slices.SortFunc(bearers, func(a, b replica.UserRow) int {
			return strings.Compare(v.Users.ID(uint32(a)), v.Users.ID(uint32(b)))
		})
		for i, c := range catalogue {
			if c.find.email != nil {
				at = i
				c.find.email(v, bearers, report)
			}
		}
	}
	for row := range d.enrollments.each() {
		e := &v.Enrollments.Rows[row]
		if e.State != replica.Active {
			continue
		}
		for i, c := range catalogue {
			if c.find.enrollment == nil {
				continue
			}
			if reason, informational := c.find.enrollment(v, e); reason != "" {
				at = i
				report(Finding{
					Entity: typev1.Entity_ENTITY_ENROLLMENTS, Row: row,
					RelatedEntity: typev1.Entity_ENTITY_CLASSES, Related: uint32(e.Class),
					School: v.schoolOfEnrollment(e), Informational: informational, Reason: v.because(reason),
				})
			}
		}
	}
	for i, c := range catalogue {
		f := &v.found[i]
		switch {
		case c.find.tables != nil:
			at = i
			f.population = c.find.tables(v, report)
		case c.find.enrollment != nil:
			f.population = v.enrollments
		case c.find.pairs:
			f.population = v.pairs
		}
		v.renew(f, c.find, fresh[i], d)
	}
}

func (v *View) countPairs(s *subject) {
	whole := 0
	if s.State == replica.Active {
		whole = min(s.active, 1<<16-1)
	}
	v.pairs += whole - int(v.whole[s.row])
	v.whole[s.row] = uint16(whole)
}

// renew replaces the findings about what was looked at again by fresh ones.
func (v *View) renew(f *found, r rule, fresh []Finding, d *dirty) {
	if len(fresh) == 0 && r.tables == nil && d.nothing() {
		return
	}
	slices.SortFunc(fresh, v.compare)
	kept := fresh
	if !d.all && r.tables == nil {
		kept = slices.DeleteFunc(slices.Clone(f.findings), func(old Finding) bool {
			switch {
			case r.enrollment != nil:
				return d.enrollments.has(old.Row)
			case r.email != nil:
				return d.users.has(old.Row) || d.emails.has(uint32(v.Users.Rows[old.Row].EmailKey))
			case r.pairs:
				return d.people.has(old.Related)
			}
			return d.people.has(old.Row)
		})
		kept = v.merge(kept, fresh)
	}
	if !slices.Equal(kept, f.findings) || slices.ContainsFunc(kept, func(f Finding) bool { return v.reads(f, d) }) {
		f.version++
		f.findings = slices.Clip(kept)
	}
}

// merge puts two ordered lists together.
func (v *View) merge(a, b []Finding) []Finding {
	if len(a) == 0 || len(b) == 0 {
		return append(a, b...)
	}
	out := make([]Finding, 0, len(a)+len(b))
	for _, f := range b {
		n, _ := slices.BinarySearchFunc(a, f, v.compare)
		out = append(append(out, a[:n]...), f)
		a = a[n:]
	}
	return append(out, a...)
}

// reads tells whether a finding speaks of a record that has changed.
func (v *View) reads(f Finding, d *dirty) bool {
	if d.orgs.has(uint32(f.School)) {
		return true
	}
	is := func(e typev1.Entity, row uint32) bool {
		switch e {
		case typev1.Entity_ENTITY_USERS, typev1.Entity_ENTITY_DEMOGRAPHICS:
			return d.users.has(row)
		case typev1.Entity_ENTITY_CLASSES:
			return d.classes.has(row)
		case typev1.Entity_ENTITY_ORGS:
			return d.orgs.has(row)
		case typev1.Entity_ENTITY_ACADEMIC_SESSIONS:
			return d.sessions.has(row)
		case typev1.Entity_ENTITY_ENROLLMENTS:
			return d.enrollments.has(row) || d.users.has(uint32(v.Enrollments.Rows[row].User))
		}
		return false
	}
	return is(f.Entity, f.Row) || is(f.RelatedEntity, f.Related)
}
