package replica

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/readiness-engine/internal/rostertest"
)

func apply(t testing.TB, r *Replica, records ...*typev1.Record) {
	t.Helper()
	for _, rec := range records {
		body, err := proto.Marshal(rec)
		require.NoError(t, err)
		require.NoError(t, r.Apply(body))
	}
}

// TestDecode compares what is read from the encoding with the generated code.
func TestDecode(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	r := New(nil)
	for range 5000 {
		rec := rostertest.Random(random)
		apply(t, r, rec)
		state := Active
		if _, base := record.Of(rec); base.GetStatus() == record.StatusToBeDeleted {
			state = Removed
		}
		switch v := rec.Record.(type) {
		case *typev1.Record_Org:
			o := r.Orgs.Rows[r.Orgs.Find(v.Org.SourcedId)]
			require.Equal(t, Org{o.Name, o.Type, state}, o)
			require.Equal(t, []string{v.Org.Name, strings.ToLower(v.Org.Type)}, []string{r.Text(o.Name), r.Text(o.Type)})
		case *typev1.Record_AcademicSession:
			s := r.Sessions.Rows[r.Sessions.Find(v.AcademicSession.SourcedId)]
			require.Equal(t, state, s.State)
			require.Equal(t, []string{v.AcademicSession.Title, v.AcademicSession.StartDate, v.AcademicSession.EndDate},
				[]string{r.Text(s.Title), r.Text(s.Start), r.Text(s.End)})
			require.Equal(t, v.AcademicSession.GetParent().GetSourcedId(), r.Sessions.ID(uint32(s.Parent)))
		case *typev1.Record_Course:
			c := r.Courses.Rows[r.Courses.Find(v.Course.SourcedId)]
			require.Equal(t, state, c.State)
			require.Equal(t, v.Course.Title, r.Text(c.Title))
		case *typev1.Record_Class:
			c := r.Classes.Rows[r.Classes.Find(v.Class.SourcedId)]
			require.Equal(t, state, c.State)
			require.Equal(t, v.Class.Title, r.Text(c.Title))
			require.Equal(t, v.Class.Grades, r.ClassGrades(&c))
			require.Equal(t, v.Class.GetCourse().GetSourcedId(), r.Courses.ID(uint32(c.Course)))
			require.Equal(t, v.Class.GetSchool().GetSourcedId(), r.Orgs.ID(uint32(c.School)))
			var terms []string
			for _, term := range r.Terms(&c) {
				terms = append(terms, r.Sessions.ID(uint32(term)))
			}
			var want []string
			for _, term := range v.Class.Terms {
				if term != nil && term.SourcedId != "" {
					want = append(want, term.SourcedId)
				}
			}
			require.Equal(t, want, terms)
		case *typev1.Record_Enrollment:
			e := r.Enrollments.Rows[r.Enrollments.Find(v.Enrollment.SourcedId)]
			require.Equal(t, Enrollment{e.User, e.Class, e.School, familyOf(v.Enrollment.Role), v.Enrollment.EndDate != "", state}, e)
			require.Equal(t, v.Enrollment.GetUser().GetSourcedId(), r.Users.ID(uint32(e.User)))
			require.Equal(t, v.Enrollment.GetClass().GetSourcedId(), r.Classes.ID(uint32(e.Class)))
			require.Equal(t, v.Enrollment.GetSchool().GetSourcedId(), r.Orgs.ID(uint32(e.School)))
		case *typev1.Record_User:
			requireUser(t, r, v.User, state)
		}
	}
}

func requireUser(t *testing.T, r *Replica, want *typev1.User, state State) {
	t.Helper()
	u := &r.Users.Rows[r.Users.Find(want.SourcedId)]
	require.Equal(t, state, u.State)
	require.Equal(t, []string{want.GivenName, want.FamilyName, want.Email, strings.ToLower(strings.TrimSpace(want.Email))},
		[]string{r.Text(u.Given), r.Text(u.Family), r.Text(u.Email), r.Text(u.EmailKey)})
	require.Equal(t, want.GetPrimaryOrg().GetSourcedId(), r.Orgs.ID(uint32(u.PrimaryOrg)))
	require.Equal(t, want.Username != "", u.Flags&HasUsername != 0)
	require.Equal(t, want.Phone != "", u.Flags&HasPhone != 0)
	require.Equal(t, strings.TrimSpace(want.GetAddress().GetCity()+want.GetAddress().GetZip()) != "", u.Flags&HasAddress != 0)
	require.Equal(t, want.Grades, r.Grades(u))
	require.Len(t, r.Roles(u), len(want.Roles))
	for i, role := range r.Roles(u) {
		require.Equal(t, want.Roles[i].Role, r.Text(role.Token))
		require.Equal(t, want.Roles[i].GetOrg().GetSourcedId(), r.Orgs.ID(uint32(role.Org)))
		require.True(t, u.Families.Has(role.Family))
	}
	require.Len(t, r.Agents(u), len(want.Agents))
	for i, agent := range r.Agents(u) {
		require.Equal(t, want.Agents[i].SourcedId, r.Users.ID(uint32(agent.User)))
		require.Equal(t, want.Agents[i].ContactType == "emergency", agent.Emergency)
	}
	persons := 0
	if want.Identifier != "" {
		persons++
	}
	for _, id := range want.UserIds {
		if id.Identifier != "" {
			persons++
		}
	}
	require.Len(t, r.Persons(u), persons)
}

// FuzzApply feeds what is no record: it must be refused or taken, nothing else.
func FuzzApply(f *testing.F) {
	random := rand.New(rand.NewPCG(2, 2))
	for range 20 {
		body, err := proto.Marshal(rostertest.Random(random))
		require.NoError(f, err)
		f.Add(body)
	}
	f.Add([]byte{})
	f.Add([]byte{0x2a, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		r := New(nil)
		if err := r.Apply(body); err != nil {
			require.ErrorIs(t, err, errEncoding)
		}
	})
}

func TestDictKeepsEveryTextApart(t *testing.T) {
	var d dict
	texts := []string{"a", "A", "é", "e\u0301", " ", "\x00", strings.Repeat("long", chunkSize), strings.Repeat("long", chunkSize) + "!"}
	for i := range 50_000 {
		texts = append(texts, fmt.Sprint("text ", i*i))
	}
	numbers := map[uint32]string{}
	for _, text := range texts {
		n, added := d.number([]byte(text))
		require.True(t, added)
		require.NotZero(t, n)
		numbers[n] = text
	}
	require.Len(t, numbers, len(texts))
	for n, text := range numbers {
		require.Equal(t, text, d.text(n))
		require.Equal(t, n, d.find([]byte(text)))
		again, added := d.number([]byte(text))
		require.False(t, added)
		require.Equal(t, n, again)
	}
	require.Zero(t, d.find([]byte("nobody")))
	require.Zero(t, d.find(nil))
}

func TestWornReplicasAreKnown(t *testing.T) {
	r := New(nil)
	rec := rostertest.Random(rand.New(rand.NewPCG(3, 3)))
	for range 5000 {
		apply(t, r, rec)
	}
	require.True(t, r.Worn())
}

// The store states the commit time behind a record that has no date of its own,
// as a second occurrence of the inner message.
func TestRecordInTwoParts(t *testing.T) {
	first, err := proto.Marshal(&typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: "o1", Status: "active", Name: "North", Type: "school"}}})
	require.NoError(t, err)
	second, err := proto.Marshal(&typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{DateLastModified: "2026-09-01T00:00:00.000Z"}}})
	require.NoError(t, err)
	other, err := proto.Marshal(&typev1.Record{Record: &typev1.Record_User{User: &typev1.User{SourcedId: "u1"}}})
	require.NoError(t, err)

	whole, parts := New(nil), New(nil)
	require.NoError(t, whole.Apply(first))
	require.NoError(t, parts.Apply(slices.Concat(first, second)))
	require.Equal(t, whole.Orgs.Rows, parts.Orgs.Rows)
	require.ErrorIs(t, parts.Apply(slices.Concat(first, other)), errEncoding)
	require.ErrorIs(t, parts.Apply(nil), errEncoding)
}
