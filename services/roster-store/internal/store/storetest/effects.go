package storetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// effectsBase is a district in which much can go wrong.
func effectsBase() []*typev1.Record {
	records := []*typev1.Record{org("s1", "North"), org("s2", "South"), session("t1", "Fall"), class("k1", "s1", "", "Algebra"), class("k2", "s2", "", "Music")}
	records[2].GetAcademicSession().EndDate = "2999-06-30"
	for i := range 12 {
		id := fmt.Sprintf("u%02d", i)
		u := agents(user(id, "student", "Ann", "Smith", id+"@example.org", "s1"), "g1")
		u.GetUser().Agents[0].ContactType = "emergency"
		u.GetUser().Identifier = fmt.Sprint(i)
		records = append(records, u, enrollment("a"+id, id, "k1", "s1", "student"))
	}
	return append(records,
		user("v", "student", "Bo", "Jones", "", "s2"), enrollment("av", "v", "k2", "s2", "student"),
		user("w", "teacher", "Cy", "Jones", "cy@example.org", "s1", "s2"),
		enrollment("tw1", "w", "k1", "s1", "teacher"), enrollment("tw2", "w", "k2", "s2", "teacher"), user("g1", "parent", "Di", "Smith", ""))
}

func planEffects(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	first := complete(t, s, "first", effectsBase()...)
	require.Empty(t, first.Effect.Active)
	require.Zero(t, first.Effect.Signals)
	commit(t, s, "first")
	effects := func(id string, change func(records map[string]*typev1.Record)) (store.Effect, map[string]store.Effect) {
		byID := map[string]*typev1.Record{}
		for _, r := range effectsBase() {
			byID[positionOf(r).ID] = r
		}
		change(byID)
		plan := complete(t, s, store.PlanID(id), slices.Collect(maps.Values(byID))...)
		again, err := s.Plan(t.Context(), district, plan.ID)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(plan.Effect, again.Effect, cmpopts.EquateEmpty()), "it is kept with the plan")
		require.Equal(t, plan.Digest, again.Digest)
		return again.Effect, again.SchoolEffects
	}
	students := func(records map[string]*typev1.Record, change func(i int, u *typev1.User)) {
		for i := range 12 {
			change(i, records[fmt.Sprintf("u%02d", i)].GetUser())
		}
	}

	all, schools := effects("emails", func(records map[string]*typev1.Record) {
		students(records, func(i int, u *typev1.User) {
			if i < 10 {
				u.Email = ""
			}
		})
	})
	require.Equal(t, store.Signals{EmailsBlanked: 10}, all.Signals)
	require.Equal(t, 13, all.Emails)
	require.Equal(t, 13, all.Students)
	require.Equal(t, map[store.Entity]int{orgs: 2, sessions: 1, courses: 0, classes: 2, users: 15, enrollments: 15, demographics: 0}, all.Active)
	// The teacher is of both schools, the parent of its children's.
	require.Equal(t, store.Effect{
		Active: map[store.Entity]int{users: 14}, Students: 12, Emails: 13, Signals: store.Signals{EmailsBlanked: 10},
	}, schools["s1"])
	require.NotContains(t, schools, "s2")

	all, _ = effects("few emails", func(records map[string]*typev1.Record) {
		records["w"].GetUser().Email = ""
	})
	require.Equal(t, store.Signals{EmailsBlanked: 1}, all.Signals)
	require.Zero(t, all.Emails, "not counted")

	all, schools = effects("ids", func(records map[string]*typev1.Record) {
		for i, change := range []func(u *typev1.User){
			func(*typev1.User) {}, // by its identifier
			func(u *typev1.User) { u.Identifier, u.Email = "", strings.ToUpper(u.Email) },                 // by its email
			func(u *typev1.User) { u.Identifier, u.Email, u.Username = "other", "other@example.org", "" }, // is another person
		} {
			id := fmt.Sprintf("u%02d", i)
			u := proto.CloneOf(records[id])
			u.GetUser().SourcedId = "new-" + id
			change(u.GetUser())
			delete(records, id)
			records["new-"+id] = u
		}
	})
	require.Equal(t, 2, all.UsersRekeyed)
	require.Equal(t, 2, schools["s1"].UsersRekeyed)

	all, schools = effects("people", func(records map[string]*typev1.Record) {
		records["w"].GetUser().Roles[0].Role, records["w"].GetUser().Roles[1].Role = "student", "student"
		students(records, func(i int, u *typev1.User) {
			switch i {
			case 0:
				u.Agents[0].ContactType = "parent"
			case 1:
				for n := range 6 {
					u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: fmt.Sprint("parent-", n)})
				}
			case 2:
				for range 6 { // the same one
					u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: "parent"})
				}
			}
		})
		records["t1"].GetAcademicSession().EndDate = "2001-06-30"
	})
	require.Equal(t, store.Signals{RolesFlipped: 1, EmergencyTurned: 1, ManyGuardians: 1, SessionsEnded: 1}, all.Signals)
	require.Equal(t, store.Signals{RolesFlipped: 1, EmergencyTurned: 1, ManyGuardians: 1}, schools["s1"].Signals)
	require.Equal(t, store.Signals{RolesFlipped: 1}, schools["s2"].Signals)

	all, schools = effects("classes", func(records map[string]*typev1.Record) {
		for i := range 7 {
			delete(records, fmt.Sprintf("au%02d", i))
		}
		records["moved"] = enrollment("moved", "u00", "k2", "s2", "student")
	})
	require.Equal(t, store.Signals{ClassesHalved: 1, LosingEnrollments: 6}, all.Signals)
	require.Equal(t, store.Signals{ClassesHalved: 1, LosingEnrollments: 6}, schools["s1"].Signals)
	require.Zero(t, schools["s2"].Signals)

	all, _ = effects("a class that is removed", func(records map[string]*typev1.Record) {
		delete(records, "k1")
		for i := range 12 {
			records[fmt.Sprintf("au%02d", i)].GetEnrollment().Class = ref("k2")
		}
	})
	require.Zero(t, all.Signals, "its students are elsewhere")

	all, schools = effects("teachers", func(records map[string]*typev1.Record) {
		delete(records, "tw1")
	})
	require.Equal(t, store.Signals{TeachersLosing: 1}, all.Signals)
	require.Equal(t, store.Signals{TeachersLosing: 1}, schools["s1"].Signals)
	require.Equal(t, []int{1, 1}, []int{all.Teachers, schools["s1"].Teachers})
	require.Zero(t, schools["s2"].Signals)
}

func digests(t *testing.T, s suite) {
	small(t, s)
	other := user("u2", "teacher", "Bo", "Jones", "other@example.org", "s2")
	first := delta(t, s, "first", other)
	require.Len(t, first.Digest, 32)
	require.Equal(t, first.Digest, delta(t, s, "same", other).Digest)
	require.NotEqual(t, first.Digest, delta(t, s, "removal", removed(other)).Digest)
	require.NotEqual(t, first.Digest, delta(t, s, "nothing").Digest)
	delta(t, s, "elsewhere", org("s3", "West"))
	commit(t, s, "elsewhere")
	require.Equal(t, first.Digest, delta(t, s, "of another base", other).Digest)
	delta(t, s, "enrolled", enrollment("e9", "u2", "k1", "s3", "teacher"))
	commit(t, s, "enrolled")
	require.NotEqual(t, first.Digest, delta(t, s, "of another school", other).Digest, "the same part is another one")
	commit(t, s, "first")
	require.Equal(t, delta(t, s, "no change").Digest, delta(t, s, "no change either", other).Digest)
}

// compareEffects works out the effect of a plan from all that there is before
// and after.
func compareEffects(t *testing.T, plan store.Plan, was, is state, kinds map[store.Position]store.Kind) {
	t.Helper()
	o := oracle{was: was, is: is, kinds: kinds, scopes: was.scopes(), schools: map[string]store.Signals{}}
	if plan.Base == 0 {
		o.scopes = is.scopes()
	}
	o.people(plan.CreateTime)
	o.rekeyed()
	o.classes()
	o.enrolments(true, store.Signals{LosingEnrollments: 1})
	o.enrolments(false, store.Signals{TeachersLosing: 1})
	want := store.Effect{Signals: o.all}
	if plan.Base > 0 {
		want.Active, want.Students, want.Teachers, want.Emails = o.population(record.Entities(), func(store.Position) bool { return true })
	}
	if o.all.EmailsBlanked < 10 {
		want.Emails = 0
	}
	opts := []cmp.Option{cmpopts.EquateEmpty()}
	require.Empty(t, cmp.Diff(want, plan.Effect, opts...), "effect of %s (-want +got)", plan.ID)
	require.Len(t, plan.SchoolEffects, len(plan.Schools))
	for school, counts := range plan.Schools {
		want := store.Effect{Signals: o.schools[school]}
		if plan.Base > 0 {
			want.Active, want.Students, want.Teachers, want.Emails = o.population(slices.Collect(maps.Keys(counts)), func(at store.Position) bool {
				return o.scopes[at][school]
			})
			if want.TeachersLosing == 0 {
				want.Teachers = 0
			}
		}
		if o.all.EmailsBlanked < 10 {
			want.Emails = 0
		}
		require.Empty(t, cmp.Diff(want, plan.SchoolEffects[school], opts...), "effect of %s on %q (-want +got)", plan.ID, school)
	}
}

type oracle struct {
	was, is state
	kinds   map[store.Position]store.Kind
	scopes  map[store.Position]map[string]bool
	all     store.Signals
	schools map[string]store.Signals
}

func active(r *typev1.Record) bool { return r != nil && !isTombstone(r) }

func (o *oracle) population(entities []store.Entity, of func(store.Position) bool) (counts map[store.Entity]int, students, teachers, emails int) {
	counts = map[store.Entity]int{}
	for _, e := range entities {
		counts[e] = 0
	}
	for at, r := range o.was {
		if !active(r) || !of(at) {
			continue
		}
		if slices.Contains(entities, at.Entity) {
			counts[at.Entity]++
		}
		if isStudent(r.GetUser()) {
			students++
		}
		if families(r.GetUser())[record.FamilyTeacher] {
			teachers++
		}
		if r.GetUser().GetEmail() != "" {
			emails++
		}
	}
	return counts, students, teachers, emails
}

// add counts for the district and for the schools of a user.
func (o *oracle) add(s store.Signals, at store.Position) {
	o.all = o.all.Add(s)
	schools := maps.Clone(o.scopes[at])
	if schools == nil {
		schools = map[string]bool{}
	}
	for _, r := range []*typev1.Record{o.was[at], o.is[at]} {
		for _, role := range r.GetUser().GetRoles() {
			if org := role.GetOrg().GetSourcedId(); org != "" {
				schools[org] = true
			}
		}
	}
	for school := range schools {
		o.schools[school] = o.schools[school].Add(s)
	}
}

// contacts of a student by whether they are emergency contacts.
func contacts(r *typev1.Record, emergency bool) map[string]bool {
	out := map[string]bool{}
	if active(r) && isStudent(r.GetUser()) {
		for _, a := range r.GetUser().GetAgents() {
			if strings.EqualFold(a.GetContactType(), "emergency") == emergency {
				out[a.GetSourcedId()] = true
			}
		}
	}
	return out
}

func families(u *typev1.User) map[record.Family]bool {
	out := map[record.Family]bool{}
	for _, r := range u.GetRoles() {
		out[record.FamilyOf(r.GetRole())] = true
	}
	return out
}

func (o *oracle) people(now time.Time) {
	today := now.UTC().Format(time.DateOnly)
	for at := range o.kinds {
		was, is := o.was[at], o.is[at]
		if len(contacts(is, false)) >= 6 && len(contacts(was, false)) < 6 {
			o.add(store.Signals{ManyGuardians: 1}, at)
		}
		if !active(was) || !active(is) {
			continue
		}
		if before, after := was.GetAcademicSession().GetEndDate(), is.GetAcademicSession().GetEndDate(); before >= today && after != "" && after < today {
			o.all.SessionsEnded++
		}
		if at.Entity != users {
			continue
		}
		if was.GetUser().GetEmail() != "" && is.GetUser().GetEmail() == "" {
			o.add(store.Signals{EmailsBlanked: 1}, at)
		}
		kept, had := false, families(was.GetUser())
		for f := range families(is.GetUser()) {
			kept = kept || had[f]
		}
		if len(had) > 0 && !kept {
			o.add(store.Signals{RolesFlipped: 1}, at)
		}
		turned := false
		for id := range contacts(was, true) {
			turned = turned || contacts(is, false)[id] && !contacts(is, true)[id]
		}
		if turned {
			o.add(store.Signals{EmergencyTurned: 1}, at)
		}
	}
}

func (o *oracle) rekeyed() {
	taken := map[store.Position]bool{}
	ids := slices.SortedFunc(maps.Keys(o.kinds), comparePositions)
	for _, key := range []func(*typev1.User) string{
		(*typev1.User).GetIdentifier,
		func(u *typev1.User) string { return strings.ToLower(u.GetEmail()) },
		func(u *typev1.User) string { return strings.ToLower(u.GetUsername()) },
	} {
		for _, gone := range ids {
			if gone.Entity != users || taken[gone] || !active(o.was[gone]) || active(o.is[gone]) {
				continue
			}
			for _, come := range ids {
				if come.Entity != users || taken[come] || active(o.was[come]) || !active(o.is[come]) {
					continue
				}
				if k := key(o.was[gone].GetUser()); k != "" && k == key(o.is[come].GetUser()) {
					taken[gone], taken[come] = true, true
					o.add(store.Signals{UsersRekeyed: 1}, gone)
					break
				}
			}
		}
	}
}

// enrolled counts the active enrollments of students, or those of others, by
// something.
func enrolled[K comparable](s state, students bool, by func(*typev1.Enrollment) K) map[K]int {
	out := map[K]int{}
	for _, r := range s {
		if e := r.GetEnrollment(); e != nil && active(r) && (e.GetRole() == "student") == students {
			out[by(e)]++
		}
	}
	return out
}

func (o *oracle) classes() {
	class := func(e *typev1.Enrollment) string { return e.GetClass().GetSourcedId() }
	before, after := enrolled(o.was, true, class), enrolled(o.is, true, class)
	for id, n := range before {
		at := store.Position{Entity: classes, ID: id}
		if n < 5 || 2*after[id] >= n || !active(o.was[at]) || !active(o.is[at]) {
			continue
		}
		one := store.Signals{ClassesHalved: 1}
		o.all = o.all.Add(one)
		school := o.was[at].GetClass().GetSchool().GetSourcedId()
		o.schools[school] = o.schools[school].Add(one)
	}
}

func (o *oracle) enrolments(students bool, one store.Signals) {
	user := func(e *typev1.Enrollment) string { return e.GetUser().GetSourcedId() }
	before, after := enrolled(o.was, students, user), enrolled(o.is, students, user)
	at := func(e *typev1.Enrollment) [2]string { return [2]string{user(e), e.GetSchool().GetSourcedId()} }
	atBefore, atAfter := enrolled(o.was, students, at), enrolled(o.is, students, at)
	for id, n := range before {
		if after[id] < n {
			o.all = o.all.Add(one)
		}
	}
	for at, n := range atBefore {
		if id, school := at[0], at[1]; after[id] < before[id] && atAfter[at] < n {
			o.schools[school] = o.schools[school].Add(one)
		}
	}
}
