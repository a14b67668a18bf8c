package search_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

func enrollment() *typev1.Enrollment {
	return &typev1.Enrollment{
		SourcedId: "e1", Status: "active", DateLastModified: "2026-01-02T03:04:05.000Z",
		Metadata: map[string]string{"a": "1", "b": "2"}, User: &typev1.Ref{SourcedId: "u1"}, Class: &typev1.Ref{SourcedId: "k1"},
		School: &typev1.Ref{SourcedId: "s1"}, Role: "teacher", Primary: proto.Bool(true), BeginDate: "2026-08-17",
	}
}

func TestReadEnrollment(t *testing.T) {
	for name, change := range map[string]func(*typev1.Enrollment){
		"all there":          func(*typev1.Enrollment) {},
		"tombstone":          func(e *typev1.Enrollment) { e.Status = record.StatusToBeDeleted },
		"no date":            func(e *typev1.Enrollment) { e.DateLastModified = "" },
		"no references":      func(e *typev1.Enrollment) { e.User, e.Class, e.School = nil, nil, nil },
		"empty reference":    func(e *typev1.Enrollment) { e.User = &typev1.Ref{} },
		"administrator":      func(e *typev1.Enrollment) { e.Role = "administrator" },
		"extension role":     func(e *typev1.Enrollment) { e.Role = "ext:Parent" },
		"no status nor role": func(e *typev1.Enrollment) { e.Status, e.Role = "", "" },
	} {
		e := enrollment()
		change(e)
		rec := &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: e}}
		body, err := proto.Marshal(rec)
		require.NoError(t, err)
		got, err := search.Read(typev1.Entity_ENTITY_ENROLLMENTS, "e1", body)
		require.NoError(t, err, name)
		require.Empty(t, cmp.Diff(search.FactsOf(rec), got, cmpopts.EquateEmpty()), name)
	}
}

func FuzzReadEnrollment(f *testing.F) {
	body, err := proto.Marshal(&typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: enrollment()}})
	require.NoError(f, err)
	f.Add(body)
	f.Add(append(body, body...)) // merged: the last one counts
	f.Fuzz(func(t *testing.T, body []byte) {
		rec, err := search.Decode(typev1.Entity_ENTITY_ENROLLMENTS, "e1", body)
		if err != nil {
			return
		}
		got, err := search.Read(typev1.Entity_ENTITY_ENROLLMENTS, "e1", body)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(search.FactsOf(rec), got, cmpopts.EquateEmpty()))
	})
}

func TestWords(t *testing.T) {
	user := &typev1.Record{Record: &typev1.Record_User{User: &typev1.User{
		SourcedId: "u1", GivenName: "Mary Ann", FamilyName: "O'Brien-Åse", Email: "Mary.OB@North.k12.example",
	}}}
	terms := search.FactsOf(user).Terms
	for text, want := range map[string]bool{
		"mary": true, "MAR": true, "ann": true, "o'b": true, "brien": true, "åse": true, "mary obrien": false, "ann o'brien-å": true,
		"mary.ob@north.k12.example": true, "mary.ob@n": true, "north": true, "k12": true, "rien": false, "@north": false, "ob": true,
	} {
		conditions, err := search.Conditions(store.Query{Entity: typev1.Entity_ENTITY_USERS, Text: text}, store.Scope{All: true})
		require.NoError(t, err)
		require.Equal(t, want, search.AllMet(conditions, terms), text)
	}
}

func TestUserSchools(t *testing.T) {
	child := search.Person{Schools: []string{"s2", "s1"}, Student: true}
	teacher := search.Person{Schools: []string{"s3"}}
	require.Equal(t, []string{"s1", "s2"}, search.UserSchools(search.Person{}, []search.Person{child, teacher}))
	require.Equal(t, []string{"s4"}, search.UserSchools(search.Person{Schools: []string{"s4", "s4"}, Student: true}, []search.Person{child}))
}
