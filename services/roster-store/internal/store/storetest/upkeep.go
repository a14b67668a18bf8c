package storetest

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// sound checks that nothing is broken.
func sound(t testing.TB, s store.Store, d store.DistrictID) {
	t.Helper()
	for _, repair := range []bool{false, true} {
		for p, err := range s.Check(t.Context(), d, repair) {
			require.NoError(t, err)
			t.Errorf("%s: %s", p.Invariant, p.Where)
		}
	}
}

// ann is u1 of the small records with all that is personal about it.
func ann(given string) *typev1.Record {
	r := agents(user("u1", "student", given, "Smith", given+"@example.org", "s1"), "g1")
	r.GetUser().Phone = "555-0100"
	r.GetUser().Metadata = map[string]string{"nickname": given}
	return r
}

// withoutPerson is a state in which a person is erased.
func withoutPerson(s map[store.Position]*typev1.Record, id string) map[store.Position]*typev1.Record {
	out := state(s).clone()
	for at, r := range s {
		if at.ID == id {
			out[at] = record.Blank(r)
		}
	}
	return out
}

func erasedPerson(t *testing.T, s suite) {
	small(t, s)
	second := append(smallRecords(), org("s3", "West"))
	second[5], second[10] = ann("Annabel"), demographic("u1", "2011-03-04")
	complete(t, s, "second", second...)
	commit(t, s, "second")
	delta(t, s, "third", ann("Annette"), demographic("u1", "2011-03-05"), user("u4", "student", "Annette", "Poe", "", "s1"))
	delta(t, s, "unrelated", org("s4", "East"))
	require.ErrorIs(t, s.ErasePerson(t.Context(), district, "nobody"), store.ErrRecordUnknown)
	require.ErrorIs(t, s.ErasePerson(t.Context(), district, "s1"), store.ErrRecordUnknown, "an org is no person")

	var states []map[store.Position]*typev1.Record
	var found [][]string
	impersonal := []store.Query{
		{Entity: users},
		{Entity: users, Role: "student"},
		{Entity: users, OrgID: "s1"},
		{Entity: users, SchoolID: "s1"},
		{Entity: users, Status: "active"},
		{Entity: users, UserID: "g1"},
		{Entity: demographics, Role: "student", SchoolID: "s1"},
	}
	ask := func(rev store.Revision) (ids []string) {
		for _, scope := range []store.Scope{whole, {Schools: []string{"s1"}}} {
			for _, q := range impersonal {
				ids = append(ids, fmt.Sprintf("%+v: %v", q, idsOf(t, s.Snapshot(district, rev, scope), q, 10)))
			}
		}
		return ids
	}
	for rev := range store.Revision(3) {
		states = append(states, withoutPerson(scanAll(t, s.Snapshot(district, rev, whole), store.Position{}), "u1"))
		found = append(found, ask(rev))
	}
	summary, err := s.Summary(t.Context(), district, whole)
	require.NoError(t, err)
	plan, err := s.Plan(t.Context(), district, "third")
	require.NoError(t, err)
	versions, err := s.Snapshot(district, 2, whole).History(t.Context(), users, "u1")
	require.NoError(t, err)

	for round := range 3 { // again, and after a restart
		require.NoError(t, s.ErasePerson(t.Context(), district, "u1"))
		for rev, want := range states {
			r := s.Snapshot(district, store.Revision(rev), whole)
			require.Empty(t, cmp.Diff(want, scanAll(t, r, store.Position{}), protocmp.Transform()), "revision %d", rev)
			require.Equal(t, found[rev], ask(store.Revision(rev)), "revision %d", rev)
			for _, q := range []store.Query{
				{Entity: users, Email: "ann@example.org"},
				{Entity: users, Email: "annabel@example.org"},
				{Entity: users, Text: "ann"},
				{Entity: users, Text: "an"},
				{Entity: users, Text: "annabel@example"},
			} {
				require.Empty(t, idsOf(t, r, q, 10), "revision %d: %+v", rev, q)
			}
		}
		again, err := s.Summary(t.Context(), district, whole)
		require.NoError(t, err)
		require.Equal(t, summary, again)
		got, err := s.Snapshot(district, 2, whole).History(t.Context(), users, "u1")
		require.NoError(t, err)
		for i, rec := range got {
			require.Equal(t, [2]store.Revision{versions[i].From, versions[i].To}, [2]store.Revision{rec.From, rec.To})
			require.Empty(t, cmp.Diff(record.Blank(decode(t, versions[i].Body)), decode(t, rec.Body), protocmp.Transform()))
		}
		for ev, err := range s.Changes(t.Context(), district, 0, 0) {
			require.NoError(t, err)
			requireBlank(t, ev.Record.ID, ev.Record.Body)
		}
		for _, id := range []store.PlanID{"small", "second", "third"} {
			p, err := s.PlanChanges(t.Context(), district, id, store.ChangeQuery{Limit: 100})
			require.NoError(t, err)
			for _, c := range p.Changes {
				requireBlank(t, c.ID, c.Before)
				requireBlank(t, c.ID, c.After)
			}
		}
		same, err := s.Plan(t.Context(), district, "third")
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(plan, same), "the plan is what it was")
		compareSchools(t, s, same)
		require.Zero(t, complete(t, s, store.PlanID(fmt.Sprint("same ", round)), second...).Changes(),
			"a source that still delivers the same record changes nothing")
		if round == 1 {
			s.restart(t)
		}
	}

	// What was planned goes on, and what comes later is kept like anything else.
	commit(t, s, "unrelated")
	require.Equal(t, store.Revision(4), commit(t, s, "third"))
	rec, err := s.Snapshot(district, 4, whole).Get(t.Context(), users, "u1")
	require.NoError(t, err)
	requireBlank(t, "u1", rec.Body)
	require.Equal(t, []string{"u4"}, idsOf(t, s.Snapshot(district, 4, whole), store.Query{Entity: users, Text: "annette"}, 10))
	require.Zero(t, delta(t, s, "third again", ann("Annette")).Changes())
	require.Equal(t, store.Counts{Received: 1, Updated: 1}, delta(t, s, "new", ann("Anna")).Counts[users])
	commit(t, s, "new")
	require.Equal(t, []string{"u1"}, idsOf(t, s.Snapshot(district, 5, whole), store.Query{Entity: users, Text: "anna"}, 10))
	require.Equal(t, []string{"u1", "u4"}, idsOf(t, s.Snapshot(district, 5, whole), store.Query{Entity: users, Text: "an"}, 10))
	// What is kept can be committed as an update, from which products learn of it.
	require.NoError(t, s.ErasePerson(t.Context(), district, "u1"))
	kept := record.Blank(ann("Anna"))
	require.Equal(t, store.Counts{Received: 1, Updated: 1}, delta(t, s, "told", kept).Counts[users])
	require.Equal(t, store.Revision(6), commit(t, s, "told"))
	var told []string
	for ev, err := range s.Changes(t.Context(), district, 5, 0) {
		require.NoError(t, err)
		if ev.Record.ID != "" {
			told = append(told, ev.Record.ID)
			requireBlank(t, ev.Record.ID, ev.Record.Body)
		}
	}
	require.Equal(t, []string{"u1"}, told)
	require.Zero(t, delta(t, s, "told again", kept).Changes())
	sound(t, s, district)
	// Who is gone from the source and was erased can still be told from others.
	complete(t, s, "without", second[:5]...)
	commit(t, s, "without")
	require.NoError(t, s.ErasePerson(t.Context(), district, "u1"))
	rec, err = s.Snapshot(district, 7, whole).Get(t.Context(), users, "u1")
	require.NoError(t, err)
	require.Equal(t, record.StatusToBeDeleted, decode(t, rec.Body).GetUser().GetStatus())
	requireBlank(t, "u1", rec.Body)
}

// requireBlank checks that nothing is left of u1.
func requireBlank(t testing.TB, id string, body []byte) {
	t.Helper()
	if id == "u1" && body != nil {
		r := decode(t, body)
		require.Empty(t, cmp.Diff(record.Blank(r), r, protocmp.Transform()))
	}
}

func erasedBeforeFirst(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	plan := complete(t, s, "small", smallRecords()...)
	require.NoError(t, s.ErasePerson(t.Context(), district, "u1"))
	same, err := s.Plan(t.Context(), district, "small")
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(plan, same))
	compareSchools(t, s, same)
	s.restart(t)
	p, err := s.PlanChanges(t.Context(), district, "small", store.ChangeQuery{Limit: 100})
	require.NoError(t, err)
	require.Len(t, p.Changes, 11)
	for _, c := range p.Changes {
		requireBlank(t, c.ID, c.After)
	}
	commit(t, s, "small")
	want := map[store.Position]*typev1.Record{}
	for _, r := range smallRecords() {
		want[positionOf(r)] = r
	}
	require.Empty(t, cmp.Diff(withoutPerson(want, "u1"), scanAll(t, s.Snapshot(district, 1, whole), store.Position{}), protocmp.Transform()))
	require.Empty(t, idsOf(t, s.Snapshot(district, 1, whole), store.Query{Entity: users, Email: "ann@example.org"}, 10))
	require.Equal(t, []string{"g1", "u1", "u2"}, idsOf(t, s.Snapshot(district, 1, whole), store.Query{Entity: users, SchoolID: "s1"}, 10))
	require.Zero(t, complete(t, s, "same", smallRecords()...).Changes())
}

// erasedMeanwhile erases a person while others read and import.
func erasedMeanwhile(t *testing.T, s suite) {
	small(t, s)
	next, stop := iter.Pull2(s.Snapshot(district, 1, whole).Scan(t.Context(), store.Position{}))
	defer stop()
	_, err, _ := next()
	require.NoError(t, err)

	// The import has begun; what it gets of the person comes later.
	taken, erasing := make(chan struct{}), make(chan struct{})
	imported := make(chan error, 1)
	go func() {
		_, err := s.Import(context.WithoutCancel(t.Context()), header("meanwhile"), func(yield func(store.ImportRecord, error) bool) {
			if !yield(importRecord(org("s9", "New")), nil) {
				return
			}
			close(taken)
			<-erasing
			_ = yield(importRecord(ann("Annette")), nil)
		})
		imported <- err
	}()
	<-taken
	erased := make(chan error, 1)
	go func() {
		close(erasing)
		erased <- s.ErasePerson(context.WithoutCancel(t.Context()), district, "u1")
	}()
	require.NoError(t, <-imported)
	// Others see what is blanked, and may write, while a stream goes on.
	for {
		rec, err := s.Snapshot(district, 1, whole).Get(t.Context(), users, "u1")
		require.NoError(t, err)
		if decode(t, rec.Body).GetUser().GetGivenName() == "" {
			break
		}
	}
	delta(t, s, "more", org("s8", "More"))
	require.Equal(t, store.Revision(2), commit(t, s, "more"))
	n := 1
	for _, err, more := next(); more; _, err, more = next() {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 11, n, "the stream is whole")
	stop()
	require.NoError(t, <-erased)
	p, err := s.PlanChanges(t.Context(), district, "meanwhile", store.ChangeQuery{Entity: users, Limit: 10})
	require.NoError(t, err)
	require.Len(t, p.Changes, 1)
	requireBlank(t, "u1", p.Changes[0].Before)
	requireBlank(t, "u1", p.Changes[0].After)
	require.Equal(t, store.Revision(3), commit(t, s, "meanwhile"))
	rec, err := s.Snapshot(district, 3, whole).Get(t.Context(), users, "u1")
	require.NoError(t, err)
	requireBlank(t, "u1", rec.Body)
}
