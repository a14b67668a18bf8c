package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// state is a whole district at one revision, kept as plainly as possible. It is
// what the store is compared with.
type state map[store.Position]*typev1.Record

func (s state) clone() state { return maps.Clone(s) }

// become applies a complete candidate, or a delta, and returns the kinds of
// change.
func (s state) become(records []*typev1.Record, complete bool) map[store.Position]store.Kind {
	kinds := map[store.Position]store.Kind{}
	given := map[store.Position]bool{}
	for _, r := range records {
		at := positionOf(r)
		given[at] = true
		old, ok := s[at]
		switch {
		case ok && record.HashOf(old) == record.HashOf(r):
			continue
		case !ok, isTombstone(old) && !isTombstone(r):
			kinds[at] = store.Created
		case !isTombstone(old) && isTombstone(r):
			kinds[at] = store.Removed
		default:
			kinds[at] = store.Updated
		}
		s[at] = r
	}
	if complete {
		for at, old := range s {
			if !given[at] && !isTombstone(old) {
				kinds[at] = store.Removed
				s[at] = removed(old)
			}
		}
	}
	return kinds
}

func isTombstone(r *typev1.Record) bool {
	_, base := record.Of(r)
	return base.GetStatus() == record.StatusToBeDeleted
}

// scopes works out which schools each record is in the scope of, from the rule
// in words: users by roles and enrollments, guardians by their children,
// courses by classes.
func (s state) scopes() map[store.Position]map[string]bool {
	out := map[store.Position]map[string]bool{}
	add := func(e store.Entity, id, school string) {
		at := store.Position{Entity: e, ID: id}
		if out[at] == nil {
			out[at] = map[string]bool{}
		}
		if school != "" {
			out[at][school] = true
		}
	}
	for at, r := range s {
		switch at.Entity {
		case classes:
			school := r.GetClass().GetSchool().GetSourcedId()
			add(classes, at.ID, school)
			if !isTombstone(r) {
				add(courses, r.GetClass().GetCourse().GetSourcedId(), school)
			}
		case enrollments:
			school := r.GetEnrollment().GetSchool().GetSourcedId()
			add(enrollments, at.ID, school)
			if !isTombstone(r) {
				add(users, r.GetEnrollment().GetUser().GetSourcedId(), school)
			}
		case users:
			for _, role := range r.GetUser().GetRoles() {
				add(users, at.ID, role.GetOrg().GetSourcedId())
			}
		}
	}
	// Who is related to a student has the student's schools too.
	inherited := map[string][]string{}
	inherit := func(id, student string) {
		if !isStudent(s[store.Position{Entity: users, ID: id}].GetUser()) && isStudent(s[store.Position{Entity: users, ID: student}].GetUser()) {
			inherited[id] = slices.AppendSeq(inherited[id], maps.Keys(out[store.Position{Entity: users, ID: student}]))
		}
	}
	for at, r := range s {
		for _, a := range r.GetUser().GetAgents() {
			inherit(at.ID, a.GetSourcedId())
			inherit(a.GetSourcedId(), at.ID)
		}
	}
	for id, schools := range inherited {
		for _, school := range schools {
			add(users, id, school)
		}
	}
	for at := range s {
		if at.Entity == demographics {
			out[at] = out[store.Position{Entity: users, ID: at.ID}]
		}
	}
	return out
}

func isStudent(u *typev1.User) bool { return record.HasFamily(u, record.FamilyStudent) }

func hasAgent(u *typev1.User, id string) bool {
	return slices.ContainsFunc(u.GetAgents(), func(a *typev1.Relationship) bool { return a.GetSourcedId() == id })
}

// past is a state to be asked.
type past struct {
	state
	schools map[store.Position]map[string]bool
}

// matches tells whether a record meets a query, from the words of the contract.
func (s past) matches(at store.Position, q store.Query, scope store.Scope) bool {
	r := s.state[at]
	_, base := record.Of(r)
	u, e := r.GetUser(), r.GetEnrollment()
	if at.Entity == demographics {
		u = s.state[store.Position{Entity: users, ID: at.ID}].GetUser()
	}
	forAll := at.Entity == orgs || at.Entity == sessions
	schools := s.schools[at]
	switch {
	case at.Entity != q.Entity,
		q.SourcedID != "" && q.SourcedID != at.ID,
		q.Status != "" && q.Status != base.GetStatus(),
		q.Email != "" && !strings.EqualFold(q.Email, r.GetUser().GetEmail()),
		q.ClassID != "" && q.ClassID != e.GetClass().GetSourcedId(),
		q.SchoolID != "" && !forAll && !schools[q.SchoolID],
		!scope.All && !forAll && !slices.ContainsFunc(scope.Schools, func(id string) bool { return schools[id] }):
		return false
	}
	if q.Role != "" {
		roles := []string{e.GetRole()}
		for _, r := range u.GetRoles() {
			roles = append(roles, r.GetRole())
		}
		if !slices.ContainsFunc(roles, func(role string) bool {
			return role != "" && (role == q.Role || record.FamilyOf(role) != record.FamilyOther && string(record.FamilyOf(role)) == q.Role)
		}) {
			return false
		}
	}
	if q.OrgID != "" {
		ids := []string{
			r.GetOrg().GetParent().GetSourcedId(), r.GetCourse().GetOrg().GetSourcedId(),
			r.GetClass().GetSchool().GetSourcedId(), e.GetSchool().GetSourcedId(),
		}
		for _, role := range r.GetUser().GetRoles() {
			ids = append(ids, role.GetOrg().GetSourcedId())
		}
		if !slices.Contains(ids, q.OrgID) {
			return false
		}
	}
	if q.UserID != "" && q.UserID != e.GetUser().GetSourcedId() && !hasAgent(r.GetUser(), q.UserID) &&
		(at.Entity != demographics || at.ID != q.UserID) {
		return false
	}
	for w := range strings.FieldsSeq(strings.ToLower(q.Text)) {
		if !slices.ContainsFunc(words(r), func(have string) bool { return strings.HasPrefix(have, w) }) {
			return false
		}
	}
	return true
}

// words are what a text search looks at: what stands between spaces, and its parts.
func words(r *typev1.Record) []string {
	var out []string
	for _, text := range []string{
		r.GetOrg().GetName(), r.GetAcademicSession().GetTitle(), r.GetCourse().GetTitle(), r.GetClass().GetTitle(),
		r.GetUser().GetGivenName(), r.GetUser().GetFamilyName(), r.GetUser().GetEmail(),
	} {
		out = append(out, strings.Fields(strings.ToLower(text))...)
		out = append(out, strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r)
		})...)
	}
	return out
}

func (s past) ids(q store.Query, scope store.Scope) []string {
	var out []string
	for at := range s.state {
		if s.matches(at, q, scope) {
			out = append(out, at.ID)
		}
	}
	slices.Sort(out)
	return out
}

// world makes random states of a small district, in which everything refers to
// everything and ids are awkward.
type world struct {
	r           *rand.Rand
	enrollments int
}

func (w world) id(kind string, n int) string {
	return [...]string{"", "a/", "ä:", "%2F", "z\x00", "Z "}[n%6] + fmt.Sprint(kind, "-", n)
}

func (w world) one(kind string, n int) string { return w.id(kind, w.r.IntN(n)) }

// sizes of the world; users and classes are few so that lists become long.
const (
	worldSchools, worldCourses, worldClasses, worldUsers = 4, 6, 12, 60
)

func (w world) records() []*typev1.Record {
	var out []*typev1.Record
	some := func(n, percent int, f func(i int) *typev1.Record) {
		for i := range n {
			if w.r.IntN(100) < percent {
				out = append(out, f(i))
			}
		}
	}
	some(worldSchools, 90, func(i int) *typev1.Record { return org(w.id("s", i), w.name()) })
	some(2, 90, func(i int) *typev1.Record {
		r := session(w.id("t", i), w.name())
		r.GetAcademicSession().EndDate = [...]string{"", "2020-06-30", "2999-06-30", "2999-07-01"}[w.r.IntN(4)]
		return r
	})
	some(worldCourses, 80, func(i int) *typev1.Record { return course(w.id("c", i), w.one("s", worldSchools), w.name()) })
	some(worldClasses, 80, func(i int) *typev1.Record {
		return class(w.id("k", i), w.one("s", worldSchools), w.one("c", worldCourses), w.name())
	})
	some(worldUsers, 85, w.user)
	some(w.enrollments, 90, func(i int) *typev1.Record {
		n := i % worldUsers
		if w.r.IntN(50) == 0 {
			n = w.r.IntN(worldUsers)
		}
		role := "student"
		if n%7 == 0 {
			role = "teacher"
		}
		school := w.id("s", n%worldSchools)
		if w.r.IntN(100) == 0 {
			school = w.one("s", worldSchools)
		}
		return enrollment(w.id("e", i), w.id("u", n), w.id("k", i%worldClasses), school, role)
	})
	some(worldUsers, 50, func(i int) *typev1.Record {
		return demographic(w.id("u", i), fmt.Sprintf("2012-01-%02d", 1+w.r.IntN(3)))
	})
	for i, r := range out {
		if w.r.IntN(40) == 0 {
			out[i] = removed(r)
		}
	}
	return out
}

func (w world) user(i int) *typev1.Record {
	role := [...]string{"student", "student", "student", "teacher", "parent", "guardian", "districtAdministrator", "student"}[i%8]
	if w.r.IntN(30) == 0 {
		role = "teacher"
	}
	email := ""
	if i%3 > 0 {
		email = fmt.Sprintf("U%d.%s@Example.org", i, w.name())
	}
	if i%10 == 5 {
		email = "Shared@example.org"
	}
	r := user(w.id("u", i), role, w.name(), w.name(), strings.ReplaceAll(email, " ", ""), w.id("s", i%worldSchools))
	if role == "parent" {
		r = user(w.id("u", i), role, w.name(), w.name(), "")
	}
	for w.r.IntN(3) == 0 || i%16 == 0 && w.r.IntN(9) > 0 {
		r = agents(r, w.one("u", worldUsers))
		if w.r.IntN(4) == 0 {
			list := r.GetUser().GetAgents()
			list[len(list)-1].ContactType = "Emergency"
		}
	}
	r.GetUser().Identifier = [...]string{"", "1", "2", "3"}[w.r.IntN(4)]
	r.GetUser().Username = [...]string{"", "Ann", "ann", "bo"}[w.r.IntN(4)]
	return r
}

func (w world) name() string {
	return [...]string{"Ann", "Anna Lee", "O'Brien", "Smith-Jones", "ÅSE", "Bo"}[w.r.IntN(6)]
}

// queries ask for something of everything.
func (w world) queries() []store.Query {
	var out []store.Query
	for _, e := range record.Entities() {
		out = append(out,
			store.Query{Entity: e},
			store.Query{Entity: e, Status: "active"},
			store.Query{Entity: e, Status: "tobedeleted", SchoolID: w.one("s", worldSchools)},
			store.Query{Entity: e, SchoolID: w.one("s", worldSchools)},
			store.Query{Entity: e, OrgID: w.one("s", worldSchools)},
			store.Query{Entity: e, Role: "student", SchoolID: w.one("s", worldSchools)},
			store.Query{Entity: e, Role: [...]string{"teacher", "guardian", "administrator", "parent"}[w.r.IntN(4)]},
			store.Query{Entity: e, UserID: w.one("u", worldUsers)},
			store.Query{Entity: e, Text: [...]string{"an", "o'b", "jones", "smith-j", "lee anna", "å", "none"}[w.r.IntN(7)]},
		)
	}
	n := w.r.IntN(worldUsers)
	return append(out,
		store.Query{Entity: enrollments, ClassID: w.one("k", worldClasses), Role: "student", Status: "active"},
		store.Query{Entity: users, Email: "u1.ANN@example.org"},
		store.Query{Entity: users, Email: "shared@example.org", Status: "active"},
		store.Query{Entity: users, Text: "u1.a EXAMPLE"},
		store.Query{Entity: users, SourcedID: w.id("u", n)},
		store.Query{Entity: users, SourcedID: w.id("u", n), Role: "student"},
	)
}

// runModel commits random plans and compares everything that can be read, at
// every revision, with a plain model.
func runModel(t *testing.T, s store.Store, w world, rounds int) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	states := []state{{}}
	kinds := []map[store.Position]store.Kind{nil}
	records := w.records()
	for round := range rounds {
		whole := w.r.IntN(3) > 0
		if round > 0 {
			records = w.next(records, whole)
		}
		next := states[len(states)-1].clone()
		changes := next.become(records, whole)
		id := store.PlanID(fmt.Sprint("plan ", round))
		var plan store.Plan
		if whole {
			plan = complete(t, s, id, records...)
		} else {
			plan = delta(t, s, id, records...)
		}
		require.Equal(t, len(changes), plan.Changes(), "changes of round %d", round)
		compareSchools(t, s, plan)
		compareEffects(t, plan, states[len(states)-1], next, changes)
		require.Equal(t, store.Revision(len(states)-1), headOf(t, s))
		commit(t, s, id)
		if len(changes) > 0 {
			states, kinds = append(states, next), append(kinds, changes)
		}
		require.Equal(t, store.Revision(len(states)-1), headOf(t, s))
	}
	w.compare(t, s, states, kinds)
	sound(t, s, district)
}

// next changes, drops and adds some records.
func (w world) next(records []*typev1.Record, whole bool) []*typev1.Record {
	fresh := map[store.Position]*typev1.Record{}
	for _, r := range w.records() {
		fresh[positionOf(r)] = r
	}
	var out []*typev1.Record
	for _, r := range records {
		n := w.r.IntN(100)
		other := fresh[positionOf(r)]
		delete(fresh, positionOf(r))
		switch {
		case n < 4 && other != nil:
			out = append(out, other)
		case n < 5:
			out = append(out, removed(r))
		case n < 7 || !whole && n < 60:
		default:
			out = append(out, r)
		}
	}
	for _, at := range slices.SortedFunc(maps.Keys(fresh), comparePositions) {
		if w.r.IntN(20) == 0 {
			out = append(out, fresh[at])
		}
	}
	return out
}

func (w world) compare(t *testing.T, s store.Store, states []state, kinds []map[store.Position]store.Kind) {
	for i := range states {
		want := past{states[i], states[i].scopes()}
		rev := store.Revision(i)
		r := s.Snapshot(district, rev, whole)
		if diff := cmp.Diff(map[store.Position]*typev1.Record(want.state), scanAll(t, r, store.Position{}), protocmp.Transform()); diff != "" {
			t.Fatalf("revision %d differs (-want +got):\n%s", i, diff)
		}
		for _, q := range w.queries() {
			require.Equal(t, want.ids(q, whole), idsOf(t, r, q, 7+w.r.IntN(100)), "revision %d: %+v", i, q)
		}
		scope := store.Scope{Schools: []string{w.one("s", worldSchools), w.one("s", worldSchools)}}
		scoped := s.Snapshot(district, rev, scope)
		for _, q := range w.queries() {
			require.Equal(t, want.ids(q, scope), idsOf(t, scoped, q, 50), "revision %d, %+v: %+v", i, scope, q)
		}
		visible := map[store.Position]*typev1.Record{}
		for at, r := range want.state {
			if want.matches(at, store.Query{Entity: at.Entity}, scope) {
				visible[at] = r
			}
		}
		if diff := cmp.Diff(visible, scanAll(t, scoped, store.Position{}), protocmp.Transform()); diff != "" {
			t.Fatalf("revision %d in scope differs (-want +got):\n%s", i, diff)
		}
	}
	newest := states[len(states)-1]
	w.compareSummary(t, s, past{newest, newest.scopes()})
	w.compareChanges(t, s, states, kinds)
}

func (w world) compareSummary(t *testing.T, s store.Store, want past) {
	for _, scope := range []store.Scope{whole, {Schools: []string{w.one("s", worldSchools)}}, {}} {
		got, err := s.Summary(t.Context(), district, scope)
		require.NoError(t, err)
		for _, e := range record.Entities() {
			require.Equal(t, len(want.ids(store.Query{Entity: e}, scope)), got.Total[e], "total %v in %+v", e, scope)
			require.Equal(t, len(want.ids(store.Query{Entity: e, Status: "active"}, scope)), got.Active[e], "active %v in %+v", e, scope)
		}
		for _, f := range record.Families() {
			if f != record.FamilyOther {
				n := len(want.ids(store.Query{Entity: users, Role: string(f), Status: "active"}, scope))
				require.Equal(t, n, got.Families[f], "family %s in %+v", f, scope)
			}
		}
	}
}

// compareChanges follows the stream from every revision and from nothing.
func (w world) compareChanges(t *testing.T, s store.Store, states []state, kinds []map[store.Position]store.Kind) {
	for from := range states {
		replica := states[from].clone()
		at := store.Revision(from)
		open := false
		var last store.Position
		for ev, err := range s.Changes(t.Context(), district, store.Revision(from), 0) {
			require.NoError(t, err)
			switch ev.Phase {
			case store.Begin:
				require.False(t, open)
				require.Equal(t, at+1, ev.Revision.Revision)
				at, open, last = at+1, true, store.Position{}
			case store.Data:
				require.True(t, open)
				require.Equal(t, at, ev.Revision.Revision)
				require.Equal(t, at, ev.Record.From)
				pos := store.Position{Entity: ev.Record.Entity, ID: ev.Record.ID}
				require.Positive(t, comparePositions(pos, last))
				last = pos
				require.Equal(t, kinds[at][pos], ev.Kind)
				replica[pos] = undated(t, ev.Record.Body)
			case store.End:
				require.Equal(t, at, ev.Revision.Revision)
				open = false
				require.Len(t, replica, len(states[at]))
				for pos, want := range states[at] {
					require.True(t, proto.Equal(want, replica[pos]), "%v at %d", pos, at)
				}
			}
		}
		require.False(t, open)
		require.Equal(t, store.Revision(len(states)-1), at)
	}
}
