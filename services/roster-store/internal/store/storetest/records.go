package storetest

import (
	"cmp"
	"iter"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

const (
	orgs         = typev1.Entity_ENTITY_ORGS
	sessions     = typev1.Entity_ENTITY_ACADEMIC_SESSIONS
	courses      = typev1.Entity_ENTITY_COURSES
	classes      = typev1.Entity_ENTITY_CLASSES
	users        = typev1.Entity_ENTITY_USERS
	enrollments  = typev1.Entity_ENTITY_ENROLLMENTS
	demographics = typev1.Entity_ENTITY_DEMOGRAPHICS
)

const district = store.DistrictID("d1")

var whole = store.Scope{All: true}

func ref(id string) *typev1.Ref {
	if id == "" {
		return nil
	}
	return &typev1.Ref{SourcedId: id}
}

func org(id, name string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: "active", Name: name, Type: "school"}}}
}

func session(id, title string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_AcademicSession{AcademicSession: &typev1.AcademicSession{
		SourcedId: id, Status: "active", Title: title, Type: "term",
	}}}
}

func course(id, orgID, title string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{SourcedId: id, Status: "active", Title: title, Org: ref(orgID)}}}
}

func class(id, school, courseID, title string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Class{Class: &typev1.Class{
		SourcedId: id, Status: "active", Title: title, School: ref(school), Course: ref(courseID),
	}}}
}

// user has the one role at each of the orgs.
func user(id, role, given, family, email string, orgIDs ...string) *typev1.Record {
	u := &typev1.User{SourcedId: id, Status: "active", GivenName: given, FamilyName: family, Email: email}
	if len(orgIDs) == 0 {
		orgIDs = []string{""}
	}
	for _, o := range orgIDs {
		u.Roles = append(u.Roles, &typev1.Role{RoleType: "primary", Role: role, Org: ref(o)})
	}
	return &typev1.Record{Record: &typev1.Record_User{User: u}}
}

// agents relates a user to others.
func agents(r *typev1.Record, ids ...string) *typev1.Record {
	for _, id := range ids {
		r.GetUser().Agents = append(r.GetUser().Agents, &typev1.Relationship{SourcedId: id, Relationship: "parent"})
	}
	return r
}

func enrollment(id, userID, classID, school, role string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
		SourcedId: id, Status: "active", User: ref(userID), Class: ref(classID), School: ref(school), Role: role,
	}}}
}

func demographic(id, birth string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{
		SourcedId: id, Status: "active", BirthDate: birth,
	}}}
}

// removed is the tombstone of a record.
func removed(r *typev1.Record) *typev1.Record {
	r = proto.CloneOf(r)
	record.SetStatus(r, record.StatusToBeDeleted)
	return r
}

func positionOf(r *typev1.Record) store.Position {
	e, base := record.Of(r)
	return store.Position{Entity: e, ID: base.GetSourcedId()}
}

func comparePositions(a, b store.Position) int {
	return cmp.Or(cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.ID, b.ID))
}

// candidate streams records in the order that Import wants.
func candidate(records ...*typev1.Record) iter.Seq2[store.ImportRecord, error] {
	return asGiven(slices.SortedFunc(slices.Values(records), func(a, b *typev1.Record) int {
		return comparePositions(positionOf(a), positionOf(b))
	})...)
}

func asGiven(records ...*typev1.Record) iter.Seq2[store.ImportRecord, error] {
	return func(yield func(store.ImportRecord, error) bool) {
		for _, r := range records {
			if !yield(importRecord(r), nil) {
				return
			}
		}
	}
}

func importRecord(r *typev1.Record) store.ImportRecord {
	body, err := proto.Marshal(r)
	if err != nil {
		panic(err)
	}
	at := positionOf(r)
	return store.ImportRecord{Entity: at.Entity, ID: at.ID, Hash: record.HashOf(r), Body: body}
}

func decode(t testing.TB, body []byte) *typev1.Record {
	t.Helper()
	r := &typev1.Record{}
	require.NoError(t, proto.Unmarshal(body, r))
	return r
}

// undated is a stored record without dateLastModified, to compare it with what
// was imported.
func undated(t testing.TB, body []byte) *typev1.Record {
	t.Helper()
	r := decode(t, body)
	record.SetDateLastModified(r, "")
	return r
}

func header(id store.PlanID, complete ...store.Entity) store.PlanHeader {
	return store.PlanHeader{District: district, Plan: id, Sync: "sync of " + store.SyncID(id), Complete: complete}
}

// complete imports records as all there are of all entities.
func complete(t testing.TB, s store.Store, id store.PlanID, records ...*typev1.Record) store.Plan {
	t.Helper()
	plan, err := s.Import(t.Context(), header(id, record.Entities()...), candidate(records...))
	require.NoError(t, err)
	return plan
}

// delta imports records and removes none.
func delta(t testing.TB, s store.Store, id store.PlanID, records ...*typev1.Record) store.Plan {
	t.Helper()
	plan, err := s.Import(t.Context(), header(id), candidate(records...))
	require.NoError(t, err)
	return plan
}

func commit(t testing.TB, s store.Store, id store.PlanID) store.Revision {
	t.Helper()
	out, err := s.Commit(t.Context(), district, id, 0)
	require.NoError(t, err)
	return out.Revision
}

func headOf(t testing.TB, s store.Store) store.Revision {
	t.Helper()
	info, err := s.Head(t.Context(), district)
	require.NoError(t, err)
	return info.Revision
}

// idsOf reads all pages of a query and checks that totals and order hold.
func idsOf(t testing.TB, r store.Reader, q store.Query, size int) []string {
	t.Helper()
	var ids []string
	after, total := "", -1
	for {
		p, err := r.Page(t.Context(), q, after, size)
		require.NoError(t, err)
		if total < 0 {
			total = p.Total
		}
		require.Equal(t, total, p.Total, "the total changes between pages")
		require.LessOrEqual(t, len(p.Records), size)
		for _, rec := range p.Records {
			require.Greater(t, rec.ID, after, "order of ids")
			after = rec.ID
			ids = append(ids, rec.ID)
			require.Equal(t, store.Position{Entity: q.Entity, ID: rec.ID}, positionOf(decode(t, rec.Body)))
		}
		if !p.More {
			break
		}
		require.NotEmpty(t, p.Records, "more is promised after an empty page")
	}
	require.Len(t, ids, total, "total of %+v", q)
	return ids
}

// scanAll reads a revision as a map.
func scanAll(t testing.TB, r store.Reader, after store.Position, entities ...store.Entity) map[store.Position]*typev1.Record {
	t.Helper()
	out := map[store.Position]*typev1.Record{}
	last := after
	for rec, err := range r.Scan(t.Context(), after, entities...) {
		require.NoError(t, err)
		at := store.Position{Entity: rec.Entity, ID: rec.ID}
		require.Positive(t, comparePositions(at, last), "order of the scan")
		last = at
		out[at] = undated(t, rec.Body)
		require.Equal(t, at, positionOf(out[at]))
	}
	return out
}

// endOf drains a stream and returns the error it ends with.
func endOf[T any](seq iter.Seq2[T, error]) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

// smallRecords are a district with two schools and something of everything.
func smallRecords() []*typev1.Record {
	return []*typev1.Record{
		org("s1", "North High"), org("s2", "South High"),
		session("t1", "Fall 2026"),
		course("c1", "s1", "Algebra I"),
		class("k1", "s1", "c1", "Algebra I, period 1"),
		agents(user("u1", "student", "Ann", "Smith", "ann@example.org", "s1"), "g1"),
		user("u2", "teacher", "Bo", "Jones", "Bo@Example.org", "s2"),
		user("g1", "parent", "Cy", "Smith", "cy@example.com"),
		enrollment("e1", "u1", "k1", "s1", "student"),
		enrollment("e2", "u2", "k1", "s1", "teacher"),
		demographic("u1", "2012-04-05"),
	}
}

// small opens a district that holds smallRecords at revision 1.
func small(t *testing.T, s store.Store) {
	t.Helper()
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	complete(t, s, "small", smallRecords()...)
	require.Equal(t, store.Revision(1), commit(t, s, "small"))
}
