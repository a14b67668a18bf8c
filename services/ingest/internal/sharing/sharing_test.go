package sharing

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/platform/record"
)

// roster is what a source has, by entity and id.
type roster map[typev1.Entity]map[string]*typev1.Record

func (r roster) add(recs ...*typev1.Record) {
	for _, rec := range recs {
		e, base := record.Of(rec)
		if r[e] == nil {
			r[e] = map[string]*typev1.Record{}
		}
		r[e][base.GetSourcedId()] = rec
	}
}

func (r roster) records(t testing.TB) Records {
	return func(e typev1.Entity) iter.Seq2[layer.Entry, error] {
		return func(yield func(layer.Entry, error) bool) {
			for _, id := range slices.Sorted(maps.Keys(r[e])) {
				body, err := (proto.MarshalOptions{Deterministic: true}).Marshal(r[e][id])
				require.NoError(t, err)
				if !yield(layer.Entry{ID: []byte(id), Hash: record.HashOf(r[e][id]), Body: body}, nil) {
					return
				}
			}
		}
	}
}

// shared returns what settings leave of a roster, and the counts.
func (r roster) shared(t testing.TB, s *ingestv1.Sharing) (roster, map[string]*ingestv1.SharingCounts) {
	f, err := New(s, r.records(t))
	require.NoError(t, err)
	out, counts := roster{}, map[string]*ingestv1.SharingCounts{}
	for _, e := range record.Entities() {
		c := &ingestv1.SharingCounts{}
		counts[record.EntityName(e)] = c
		for entry, err := range f.Apply(r.records(t)(e), c) {
			require.NoError(t, err)
			rec := &typev1.Record{}
			require.NoError(t, proto.Unmarshal(entry.Body, rec))
			require.Equal(t, record.HashOf(rec), entry.Hash)
			_, base := record.Of(rec)
			require.Equal(t, string(entry.ID), base.GetSourcedId())
			out.add(rec)
		}
		require.EqualValues(t, len(out[e]), c.GetKept())
		require.EqualValues(t, len(r[e]), c.GetKept()+c.GetDropped())
		dropped := int32(0)
		for _, n := range c.GetRules() {
			dropped += n
		}
		require.Equal(t, c.GetDropped(), dropped)
		if !f.Touches(e) {
			require.Zero(t, c.GetDropped()+c.GetChanged(), e)
		}
	}
	return out, counts
}

func ref(id string) *typev1.Ref {
	if id == "" {
		return nil
	}
	return &typev1.Ref{SourcedId: id}
}

func org(id, kind, parent string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Type: kind, Name: "Org " + id, Parent: ref(parent)}}}
}

// user has roles as "student@s1", the first of which is at its primary org.
func user(id string, roles string, change ...func(*typev1.User)) *typev1.Record {
	u := &typev1.User{SourcedId: id}
	for i, r := range strings.Fields(roles) {
		role, at, _ := strings.Cut(r, "@")
		u.Roles = append(u.Roles, &typev1.Role{RoleType: "primary", Role: role, Org: ref(at)})
		if i == 0 {
			u.PrimaryOrg = ref(at)
		}
	}
	for _, c := range change {
		c(u)
	}
	return &typev1.Record{Record: &typev1.Record_User{User: u}}
}

func grade(g ...string) func(*typev1.User) { return func(u *typev1.User) { u.Grades = g } }

// agents are written as "g1:emergency".
func agents(list string) func(*typev1.User) {
	return func(u *typev1.User) {
		for _, a := range strings.Fields(list) {
			id, kind, _ := strings.Cut(a, ":")
			u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: id, ContactType: kind})
		}
	}
}

func class(id, school, course, kind string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Class{Class: &typev1.Class{SourcedId: id, School: ref(school), Course: ref(course), ClassType: kind}}}
}

func course(id, org string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{SourcedId: id, Org: ref(org)}}}
}

func enrollment(id, user, class, school, role string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{SourcedId: id, User: ref(user), Class: ref(class), School: ref(school), Role: role}}}
}

func demographics(id string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{SourcedId: id}}}
}

// madeUp is a district of two schools.
func madeUp() roster {
	r := roster{}
	r.add(org("d", "district", ""), org("s1", "school", "d"), org("s2", "school", "d"), org("dep", "department", "s2"))
	r.add(course("math", "d"), course("art", "s2"), course("chess", "s2"), class("c1", "s1", "math", "homeroom"), class("c2", "s2", "math", "scheduled"), class("c3", "s1", "art", "scheduled"))
	r.add(
		user("ada", "student@s1 student@d", grade("05"), agents("gil:parent eve:emergency")),
		user("ben", "student@s2 student@d", grade("06"), agents("gil hal")),
		user("cy", "student@s1 student@s2", grade("06")),
		user("tom", "teacher@s1 teacher@s2"), user("tina", "teacher@s2"), user("dan", "teacher@dep"), user("sue", "administrator@d"),
		user("gil", "parent@s2"), user("hal", "guardian@d", agents("ben")), user("eve", "relative@d"), user("lone", "guardian@d"),
	)
	for i, e := range []string{"ada c1 s1", "cy c1 s1", "cy c2 s2", "ben c2 s2", "ben c3 s1"} {
		p := strings.Fields(e)
		r.add(enrollment(fmt.Sprintf("e%d", i), p[0], p[1], p[2], "student"))
	}
	r.add(enrollment("t1", "tom", "c1", "s1", "teacher"), enrollment("t2", "tina", "c2", "s2", "teacher"), demographics("ada"), demographics("ben"))
	return r
}

func ids(r roster) string {
	var out []string
	for _, e := range record.Entities() {
		out = append(out, strings.Join(slices.Sorted(maps.Keys(r[e])), " "))
	}
	return strings.Join(out, "; ")
}

func TestRules(t *testing.T) {
	for _, test := range []struct {
		name  string
		s     *ingestv1.Sharing
		want  string // orgs; sessions; courses; classes; users; enrollments; demographics
		check func(roster, map[string]*ingestv1.SharingCounts)
	}{
		{
			"one school", &ingestv1.Sharing{Schools: []string{"s1"}},
			"d s1; ; art math; c1 c3; ada cy eve gil lone sue tom; e0 e1 t1; ada",
			func(r roster, c map[string]*ingestv1.SharingCounts) {
				require.Equal(t, []*typev1.Role{{RoleType: "primary", Role: "parent"}}, r[5]["gil"].GetUser().GetRoles(), "shared with Ada, and of no school that is shared")
				require.Nil(t, r[3]["art"].GetCourse().GetOrg(), "a class of s1 refers to a course of s2")
				require.Len(t, r[5]["tom"].GetUser().GetRoles(), 1)
				require.Len(t, r[5]["ada"].GetUser().GetAgents(), 2)
				require.EqualValues(t, 4, c["users"].GetRules()["schools"])
			},
		},
		{
			"the other one", &ingestv1.Sharing{Schools: []string{"s2"}},
			"d dep s2; ; chess math; c2; ben cy dan gil hal lone sue tina tom; e2 e3 t2; ben",
			func(r roster, _ map[string]*ingestv1.SharingCounts) { // art is of s2, but of no class there
				require.Equal(t, "s2", r[5]["cy"].GetUser().GetPrimaryOrg().GetSourcedId(), "the one that is left")
			},
		},
		{
			"a grade", &ingestv1.Sharing{Grades: []string{"05"}},
			"d dep s1 s2; ; chess math; c1; ada dan eve gil lone sue tina tom; e0 t1; ada",
			func(_ roster, c map[string]*ingestv1.SharingCounts) {
				require.Equal(t, map[string]int32{"grades": 3}, c["users"].GetRules(), "Ben, Cy and Hal, who has no other child")
			},
		},
		{
			"homerooms and one more class", &ingestv1.Sharing{ClassTypes: []string{"homeroom"}, Classes: []string{"c3"}},
			"d dep s1 s2; ; art chess math; c1 c3; ada ben cy dan eve gil hal lone sue tina tom; e0 e1 e4 t1; ada ben", nil,
		},
		{
			"parents and guardians", &ingestv1.Sharing{ContactTypes: []string{"parent", "guardian"}},
			"d dep s1 s2; ; art chess math; c1 c2 c3; ada ben cy dan gil hal lone sue tina tom; e0 e1 e2 e3 e4 t1 t2; ada ben",
			func(r roster, c map[string]*ingestv1.SharingCounts) {
				require.Len(t, r[5]["ada"].GetUser().GetAgents(), 1)
				require.Equal(t, map[string]int32{"contactTypes": 1}, c["users"].GetRules())
			},
		},
		{
			"parents, as roles say", &ingestv1.Sharing{ContactTypes: []string{"parent"}},
			"d dep s1 s2; ; art chess math; c1 c2 c3; ada ben cy dan gil lone sue tina tom; e0 e1 e2 e3 e4 t1 t2; ada ben", nil,
		},
		{
			"the primary school", &ingestv1.Sharing{PrimarySchoolOnly: true},
			"d dep s1 s2; ; art chess math; c1 c2 c3; ada ben cy dan eve gil hal lone sue tina tom; e0 e1 e3 t1 t2; ada ben",
			func(r roster, c map[string]*ingestv1.SharingCounts) {
				require.Len(t, r[5]["cy"].GetUser().GetRoles(), 1)
				require.Len(t, r[5]["tom"].GetUser().GetRoles(), 2, "students alone have one")
				require.Len(t, r[5]["ada"].GetUser().GetRoles(), 2, "a district is no school")
				require.Equal(t, map[string]int32{"primarySchoolOnly": 2}, c["enrollments"].GetRules())
			},
		},
		{
			"schools that become one", &ingestv1.Sharing{MergeSchools: []*ingestv1.SchoolMerge{{From: "s2", Into: "s1"}}},
			"d dep s1; ; art chess math; c1 c2 c3; ada ben cy dan eve gil hal lone sue tina tom; e0 e1 e2 e3 e4 t1 t2; ada ben",
			func(r roster, c map[string]*ingestv1.SharingCounts) {
				require.Equal(t, "s1", r[4]["c2"].GetClass().GetSchool().GetSourcedId())
				require.Equal(t, "s1", r[1]["dep"].GetOrg().GetParent().GetSourcedId())
				require.Len(t, r[5]["cy"].GetUser().GetRoles(), 1, "both were the same role")
				require.Equal(t, map[string]int32{"mergeSchools": 1}, c["orgs"].GetRules())
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, counts := madeUp().shared(t, test.s)
			require.Equal(t, test.want, ids(got))
			if test.check != nil {
				test.check(got, counts)
			}
		})
	}
}

func TestWhy(t *testing.T) {
	r := madeUp()
	s := &ingestv1.Sharing{Schools: []string{"s1"}, Grades: []string{"05"}}
	for _, test := range []struct {
		e    typev1.Entity
		id   string
		want string
	}{
		{typev1.Entity_ENTITY_USERS, "ada", "true "},
		{typev1.Entity_ENTITY_USERS, "nobody", "false "},
		{typev1.Entity_ENTITY_USERS, "cy", "true grades"},
		{typev1.Entity_ENTITY_USERS, "hal", "true schools users/ben"},
		{typev1.Entity_ENTITY_ENROLLMENTS, "e2", "true schools classes/c2"},
		{typev1.Entity_ENTITY_ENROLLMENTS, "e1", "true grades users/cy"},
		{typev1.Entity_ENTITY_DEMOGRAPHICS, "ben", "true schools users/ben"},
		{typev1.Entity_ENTITY_COURSES, "art", "true schools"},
	} {
		v, found, err := Why(s, r.records(t), test.e, test.id)
		require.NoError(t, err)
		got := fmt.Sprint(found, " ", v.Rule)
		if v.ID != "" {
			got += " " + record.EntityName(v.Entity) + "/" + v.ID
		}
		require.Equal(t, test.want, got, test.id)
	}
}

func TestChoices(t *testing.T) {
	got, err := Choices(madeUp().records(t))
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(&ingestv1.SharingChoices{
		Schools: []*ingestv1.SchoolChoice{{SchoolId: "s1", Name: "Org s1"}, {SchoolId: "s2", Name: "Org s2"}},
		Grades:  map[string]int32{"05": 1, "06": 2}, ClassTypes: map[string]int32{"homeroom": 1, "scheduled": 2},
	}, got, protocmp.Transform()))
}

// world makes up rosters, also bad ones, and settings for them.
type world struct{ *rand.Rand }

func (r world) pick(values ...string) string { return values[r.IntN(len(values))] }

func (r world) some(values ...string) (out []string) {
	if r.IntN(2) == 0 {
		return nil
	}
	for _, v := range values {
		if r.IntN(2) == 0 {
			out = append(out, v)
		}
	}
	return out
}

var (
	orgIDs    = []string{"d", "s1", "s2", "s3", "p1", "nowhere"}
	userIDs   = []string{"u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9", "nobody"}
	classIDs  = []string{"c0", "c1", "c2", "c3", "none"}
	courseIDs = []string{"k0", "k1", "k2", "none", ""}
)

func (r world) roster() roster {
	out := roster{}
	if r.IntN(4) > 0 {
		out.add(org("d", "district", ""))
		for _, id := range []string{"s1", "s2", "s3"} {
			out.add(org(id, "school", r.pick("d", "d", "", "s1", "p1", "nowhere")))
		}
		out.add(org("p1", "department", r.pick(orgIDs...)))
	}
	for _, id := range userIDs[:10] {
		role, roles := r.pick("student", "student", "teacher", "parent", "guardian", "relative"), ""
		for range r.IntN(3) {
			roles += " " + role + "@" + r.pick(append(orgIDs, "")...)
			if r.IntN(10) == 0 {
				role = "teacher"
			}
		}
		links := ""
		for range r.IntN(3) {
			links += " " + r.pick(userIDs...) + r.pick("", "", ":parent", ":emergency")
		}
		u := user(id, roles, agents(links), grade(r.some("05", "06")...))
		if r.IntN(3) == 0 {
			u.GetUser().PrimaryOrg = ref(r.pick(append(orgIDs, "")...))
		}
		out.add(u)
		if r.IntN(2) == 0 {
			out.add(demographics(id))
		}
	}
	for _, id := range courseIDs[:3] {
		out.add(course(id, r.pick(append(orgIDs, "")...)))
	}
	for _, id := range classIDs[:4] {
		out.add(class(id, r.pick(append(orgIDs, "")...), r.pick(courseIDs...), r.pick("homeroom", "scheduled", "")))
	}
	for i := range 15 {
		out.add(enrollment(fmt.Sprintf("e%02d", i), r.pick(userIDs...), r.pick(classIDs...), r.pick(append(orgIDs, "")...), r.pick("student", "student", "teacher")))
	}
	return out
}

func (r world) settings(t testing.TB) *ingestv1.Sharing {
	for {
		s := &ingestv1.Sharing{
			Schools: r.some(orgIDs...), Grades: r.some("05", "06", "07"), Classes: r.some(classIDs...), ClassTypes: r.some("homeroom", "scheduled"),
			ContactTypes: r.some(contactTypes...), PrimarySchoolOnly: r.IntN(3) == 0,
		}
		for range r.IntN(2) {
			s.MergeSchools = append(s.MergeSchools, &ingestv1.SchoolMerge{From: r.pick(orgIDs[1:4]...), Into: r.pick(orgIDs[1:4]...)})
		}
		if normal, _, err := Normal(s); err == nil {
			return normal
		}
	}
}

// refs are the ids that a record refers to, by entity.
func refs(rec *typev1.Record) map[typev1.Entity][]string {
	out := map[typev1.Entity][]string{}
	orgs := func(r ...*typev1.Ref) {
		for _, r := range r {
			out[typev1.Entity_ENTITY_ORGS] = append(out[typev1.Entity_ENTITY_ORGS], r.GetSourcedId())
		}
	}
	switch v := rec.GetRecord().(type) {
	case *typev1.Record_Org:
		orgs(v.Org.GetParent())
	case *typev1.Record_Course:
		orgs(v.Course.GetOrg())
	case *typev1.Record_Class:
		orgs(v.Class.GetSchool())
		out[typev1.Entity_ENTITY_COURSES] = []string{v.Class.GetCourse().GetSourcedId()}
	case *typev1.Record_User:
		orgs(v.User.GetPrimaryOrg())
		for _, r := range v.User.GetRoles() {
			orgs(r.GetOrg())
		}
		for _, a := range v.User.GetAgents() {
			out[typev1.Entity_ENTITY_USERS] = append(out[typev1.Entity_ENTITY_USERS], a.GetSourcedId())
		}
	case *typev1.Record_Enrollment:
		orgs(v.Enrollment.GetSchool())
		out[typev1.Entity_ENTITY_USERS] = []string{v.Enrollment.GetUser().GetSourcedId()}
		out[typev1.Entity_ENTITY_CLASSES] = []string{v.Enrollment.GetClass().GetSourcedId()}
	case *typev1.Record_Demographics:
		out[typev1.Entity_ENTITY_USERS] = []string{v.Demographics.GetSourcedId()}
	}
	return out
}

func TestRandomRostersAreShared(t *testing.T) {
	r := world{rand.New(rand.NewPCG(5, 6))}
	for range 400 {
		all, s := r.roster(), r.settings(t)
		some, _ := all.shared(t, s)
		for e, recs := range some {
			for id, rec := range recs {
				for to, ids := range refs(rec) {
					for _, target := range ids {
						if all[to][target] != nil {
							require.Contains(t, some[to], target, "%s %s refers to what was left out by %v", record.EntityName(e), id, s)
						}
					}
				}
			}
		}
		for id, rec := range some[typev1.Entity_ENTITY_USERS] {
			if only(rec.GetUser().GetRoles(), record.FamilyStudent) && s.GetGrades() != nil {
				require.True(t, slices.ContainsFunc(rec.GetUser().GetGrades(), func(g string) bool { return slices.Contains(s.GetGrades(), g) }), id)
			}
		}
		again, counts := some.shared(t, s)
		require.Empty(t, cmp.Diff(some, again, protocmp.Transform()), "%v", s)
		for name, c := range counts {
			require.Zero(t, c.GetDropped()+c.GetChanged(), "%s %v", name, s)
		}
		f, err := New(s, all.records(t))
		require.NoError(t, err)
		for e, recs := range all {
			for id, rec := range recs {
				v := f.Judge(rec)
				require.Equal(t, some[e][id] == nil, v.Rule != "")
				if v.ID != "" && v.Entity != typev1.Entity_ENTITY_ORGS { // a school may be above one that is shared
					require.NotContains(t, some[v.Entity], v.ID, "what it is left out with is left out")
				}
			}
		}
	}
}

func TestNoRulesLeaveAllAsItIs(t *testing.T) {
	r := world{rand.New(rand.NewPCG(7, 8))}
	for range 50 {
		all := r.roster()
		for _, s := range []*ingestv1.Sharing{nil, {}} {
			got, _ := all.shared(t, s)
			require.Empty(t, cmp.Diff(all, got, protocmp.Transform()))
			print, err := Fingerprint(s)
			require.NoError(t, err)
			require.Empty(t, print)
		}
	}
}

func TestSettingsThatCannotBe(t *testing.T) {
	for _, test := range []struct {
		s     *ingestv1.Sharing
		field string
	}{
		{&ingestv1.Sharing{ContactTypes: []string{"parent", "aunt"}}, "contactTypes[1]"},
		{&ingestv1.Sharing{ClassTypes: []string{"Homeroom"}}, "classTypes[0]"},
		{&ingestv1.Sharing{Schools: []string{"s1", ""}}, "schools[1]"},
		{&ingestv1.Sharing{Classes: []string{"c", "c"}}, "classes[1]"},
		{&ingestv1.Sharing{Grades: []string{"5", "05"}}, "grades[1]"},
		{&ingestv1.Sharing{MergeSchools: []*ingestv1.SchoolMerge{{From: "a"}}}, "mergeSchools[0]"},
		{&ingestv1.Sharing{MergeSchools: []*ingestv1.SchoolMerge{{From: "a", Into: "a"}}}, "mergeSchools[0]"},
		{&ingestv1.Sharing{MergeSchools: []*ingestv1.SchoolMerge{{From: "a", Into: "b"}, {From: "a", Into: "c"}}}, "mergeSchools[1].from"},
		{&ingestv1.Sharing{MergeSchools: []*ingestv1.SchoolMerge{{From: "a", Into: "b"}, {From: "b", Into: "c"}}}, "mergeSchools[0].into"},
		{&ingestv1.Sharing{Schools: []string{"a"}, MergeSchools: []*ingestv1.SchoolMerge{{From: "a", Into: "b"}}}, "schools[0]"},
	} {
		_, field, err := Normal(test.s)
		require.Error(t, err)
		require.Equal(t, test.field, field)
	}
	normal, _, err := Normal(&ingestv1.Sharing{Grades: []string{"5", "kindergarten"}})
	require.NoError(t, err)
	require.Equal(t, []string{"05", "KG"}, normal.GetGrades())
	normal, _, err = Normal(&ingestv1.Sharing{})
	require.NoError(t, err)
	require.Nil(t, normal)
}
