package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/roster-store/internal/store"
)

func revisions(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	info, err := s.Head(t.Context(), district)
	require.NoError(t, err)
	require.Equal(t, store.RevisionInfo{}, info)
	start := time.Now().Add(-time.Second)
	for _, id := range []store.PlanID{"a", "b", "c"} {
		complete(t, s, id, append(smallRecords(), org(string(id), ""))...)
		commit(t, s, id)
	}
	all, err := s.Revisions(t.Context(), district, 0, 10)
	require.NoError(t, err)
	require.Len(t, all, 3)
	for i, info := range all {
		require.Equal(t, store.Revision(3-i), info.Revision)
		require.Equal(t, []store.PlanID{"c", "b", "a"}[i], info.Plan)
		require.Equal(t, "sync of "+store.SyncID(info.Plan), info.Sync)
		at, err := s.RevisionAt(t.Context(), district, info.CommitTime)
		require.NoError(t, err)
		// Commits within a millisecond share a time.
		require.GreaterOrEqual(t, at, info.Revision)
		require.Equal(t, info.CommitTime, all[3-at].CommitTime)
	}
	head, err := s.Head(t.Context(), district)
	require.NoError(t, err)
	require.Equal(t, all[0], head)
	some, err := s.Revisions(t.Context(), district, 3, 1)
	require.NoError(t, err)
	require.Equal(t, all[1:2], some)
	rev, err := s.RevisionAt(t.Context(), district, start)
	require.NoError(t, err)
	require.Zero(t, rev)
}

func snapshots(t *testing.T, s suite) {
	small(t, s)
	r := s.Snapshot(district, 1, whole)
	before := scanAll(t, r, store.Position{})
	complete(t, s, "second", smallRecords()[:4]...)
	commit(t, s, "second")
	require.Empty(t, cmp.Diff(before, scanAll(t, r, store.Position{}), protocmp.Transform()))
	rec, err := r.Get(t.Context(), users, "u1")
	require.NoError(t, err)
	require.Equal(t, store.Revision(1), rec.From)
	require.Zero(t, rec.To, "what came later is not to be seen")
	require.Equal(t, []string{"u1"}, idsOf(t, r, store.Query{Entity: users, Email: "ANN@example.org", Status: "active"}, 10))

	require.NoError(t, s.OpenDistrict(t.Context(), "d2"))
	for _, r := range []store.Reader{s.Snapshot(district, 3, whole), s.Snapshot("d2", 1, whole)} {
		_, err = r.Get(t.Context(), users, "u1")
		require.ErrorIs(t, err, store.ErrRevisionUnknown)
		_, err = r.Page(t.Context(), store.Query{Entity: users}, "", 1)
		require.ErrorIs(t, err, store.ErrRevisionUnknown)
		_, err = r.History(t.Context(), users, "u1")
		require.ErrorIs(t, err, store.ErrRevisionUnknown)
		require.ErrorIs(t, endOf(r.Scan(t.Context(), store.Position{})), store.ErrRevisionUnknown)
	}
	_, err = s.Snapshot(district, 2, whole).Page(t.Context(), store.Query{Entity: 99}, "", 1)
	require.ErrorIs(t, err, store.ErrInvalid)
	// Revision 0 is the empty district.
	require.Empty(t, scanAll(t, s.Snapshot(district, 0, whole), store.Position{}))
	require.Empty(t, idsOf(t, s.Snapshot(district, 0, whole), store.Query{Entity: users, Status: "active"}, 10))
}

func history(t *testing.T, s suite) {
	small(t, s)
	for _, name := range []string{"Two", "Three"} {
		delta(t, s, store.PlanID(name), org("s1", name))
		commit(t, s, store.PlanID(name))
	}
	delta(t, s, "other", org("s2", "Other"))
	commit(t, s, "other")
	type version struct {
		From, To store.Revision
		Name     string
	}
	for rev, want := range map[store.Revision][]version{
		4: {{3, 0, "Three"}, {2, 3, "Two"}, {1, 2, "North High"}},
		2: {{2, 0, "Two"}, {1, 2, "North High"}},
		1: {{1, 0, "North High"}},
	} {
		records, err := s.Snapshot(district, rev, whole).History(t.Context(), orgs, "s1")
		require.NoError(t, err)
		var got []version
		for _, rec := range records {
			got = append(got, version{rec.From, rec.To, decode(t, rec.Body).GetOrg().GetName()})
		}
		require.Equal(t, want, got, "history at %d", rev)
	}
	_, err := s.Snapshot(district, 4, whole).History(t.Context(), orgs, "none")
	require.ErrorIs(t, err, store.ErrRecordUnknown)
}

func scanResumes(t *testing.T, s suite) {
	small(t, s)
	complete(t, s, "second", smallRecords()[2:]...)
	commit(t, s, "second")
	for rev := range store.Revision(3) {
		r := s.Snapshot(district, rev, whole)
		all := scanAll(t, r, store.Position{})
		for from := range all {
			want := map[store.Position]*typev1.Record{}
			for at, rec := range all {
				if comparePositions(at, from) > 0 {
					want[at] = rec
				}
			}
			require.Empty(t, cmp.Diff(want, scanAll(t, r, from), protocmp.Transform()), "after %v", from)
			for at := range want {
				if at.Entity != users && at.Entity != orgs {
					delete(want, at)
				}
			}
			require.Empty(t, cmp.Diff(want, scanAll(t, r, from, users, orgs), protocmp.Transform()), "some after %v", from)
		}
	}
}

func changesAtHead(t *testing.T, s suite) {
	small(t, s)
	complete(t, s, "second", append(smallRecords()[1:], org("s3", "West"))...)
	commit(t, s, "second")
	type step struct {
		Phase store.Phase
		Rev   store.Revision
		Kind  store.Kind
		ID    string
	}
	follow := func(after, last store.Revision) []step {
		var got []step
		for ev, err := range s.Changes(t.Context(), district, after, last) {
			require.NoError(t, err)
			got = append(got, step{ev.Phase, ev.Revision.Revision, ev.Kind, ev.Record.ID})
		}
		return got
	}
	second := []step{
		{store.Begin, 2, 0, ""}, {store.Data, 2, store.Removed, "s1"}, {store.Data, 2, store.Created, "s3"}, {store.End, 2, 0, ""},
	}
	require.Equal(t, second, follow(1, 0))
	require.Empty(t, follow(2, 0))
	all := follow(0, 0)
	require.Len(t, all, 13+4)
	require.Equal(t, second, all[13:])
	for _, beyond := range [][2]store.Revision{{3, 0}, {0, 3}, {2, 3}, {3, 3}} {
		require.ErrorIs(t, endOf(s.Changes(t.Context(), district, beyond[0], beyond[1])), store.ErrRevisionUnknown, beyond)
	}

	// With a last revision the stream ends there, whatever came later.
	require.Equal(t, all[:13], follow(0, 1))
	require.Equal(t, all, follow(0, 2))
	require.Equal(t, second, follow(1, 2))
	require.Empty(t, follow(1, 1))
	require.Empty(t, follow(2, 2))
	delta(t, s, "third", org("s1", "Third"))
	commit(t, s, "third")
	require.Equal(t, all, follow(0, 2))
	require.Equal(t, second, follow(1, 2))
	for ev, err := range s.Changes(t.Context(), district, 0, 1) {
		require.NoError(t, err)
		if ev.Record.ID == "s1" {
			require.Equal(t, "North High", decode(t, ev.Record.Body).GetOrg().GetName(), "the record of that revision")
		}
	}
}

func scopes(t *testing.T, s suite) {
	small(t, s)
	in := func(rev store.Revision, e store.Entity, schools ...string) []string {
		return idsOf(t, s.Snapshot(district, rev, store.Scope{Schools: schools}), store.Query{Entity: e}, 10)
	}
	require.Equal(t, []string{"g1", "u1", "u2"}, in(1, users, "s1"), "a guardian by its child, a teacher by an enrollment")
	require.Equal(t, []string{"u2"}, in(1, users, "s2"))
	require.Equal(t, []string{"g1", "u1", "u2"}, in(1, users, "s2", "s1"))
	require.Equal(t, []string{"c1"}, in(1, courses, "s1"))
	require.Empty(t, in(1, courses, "s2"))
	require.Equal(t, []string{"u1"}, in(1, demographics, "s1"))
	require.Equal(t, []string{"s1", "s2"}, in(1, orgs))
	require.Equal(t, []string{"t1"}, in(1, sessions))
	require.Empty(t, in(1, users))

	// The class, with its enrollments, moves to s2; the user records stay as they are.
	delta(t, s, "move", class("k1", "s2", "c1", "Algebra I, period 1"),
		enrollment("e1", "u1", "k1", "s2", "student"), enrollment("e2", "u2", "k1", "s2", "teacher"))
	commit(t, s, "move")
	require.Equal(t, []string{"g1", "u1"}, in(2, users, "s1"))
	require.Equal(t, []string{"g1", "u1", "u2"}, in(2, users, "s2"), "the guardian follows its child")
	require.Empty(t, in(2, courses, "s1"))
	require.Equal(t, []string{"c1"}, in(2, courses, "s2"))
	require.Equal(t, []string{"u2"}, in(1, users, "s2"), "as of then nothing has changed")
	require.Equal(t, []string{"g1", "u1", "u2"}, in(1, users, "s1"))

	hidden := s.Snapshot(district, 1, store.Scope{Schools: []string{"s2"}})
	_, err := hidden.Get(t.Context(), users, "g1")
	require.ErrorIs(t, err, store.ErrRecordUnknown)
	_, err = hidden.History(t.Context(), users, "g1")
	require.ErrorIs(t, err, store.ErrRecordUnknown)
	rec, err := s.Snapshot(district, 2, store.Scope{Schools: []string{"s2"}}).Get(t.Context(), users, "g1")
	require.NoError(t, err)
	require.Equal(t, "g1", rec.ID)

	// The link held by the guardian's side counts as well; without it the
	// guardian belongs to no school.
	delta(t, s, "turn", user("u1", "student", "Ann", "Smith", "ann@example.org", "s1"),
		agents(user("g1", "parent", "Cy", "Smith", "cy@example.com"), "u1"))
	commit(t, s, "turn")
	require.Equal(t, []string{"g1", "u1"}, in(3, users, "s1"))
	delta(t, s, "cut", user("g1", "parent", "Cy", "Smith", "cy@example.com"))
	commit(t, s, "cut")
	require.Equal(t, []string{"u1"}, in(4, users, "s1"))
	require.Equal(t, []string{"g1", "u1"}, in(3, users, "s1"))
	// A user that joins a school by an enrollment brings its demographics.
	require.Equal(t, []string{"u1"}, in(4, demographics, "s2"))
}

func prune(t *testing.T, s suite) {
	small(t, s)
	for _, name := range []string{"Two", "Three", "Four"} {
		delta(t, s, store.PlanID(name), org("s1", name))
		commit(t, s, store.PlanID(name))
	}
	want := scanAll(t, s.Snapshot(district, 3, whole), store.Position{})
	require.NoError(t, s.Prune(t.Context(), district, 3))
	require.NoError(t, s.Prune(t.Context(), district, 2), "less than before changes nothing")
	for rev := range store.Revision(3) {
		gone := s.Snapshot(district, rev, whole)
		_, err := gone.Get(t.Context(), users, "u1")
		require.ErrorIs(t, err, store.ErrRevisionGone)
		_, err = gone.Page(t.Context(), store.Query{Entity: users, Status: "active"}, "", 10)
		require.ErrorIs(t, err, store.ErrRevisionGone)
		_, err = gone.History(t.Context(), orgs, "s1")
		require.ErrorIs(t, err, store.ErrRevisionGone)
		require.ErrorIs(t, endOf(gone.Scan(t.Context(), store.Position{})), store.ErrRevisionGone)
	}
	for _, after := range []store.Revision{0, 1} {
		require.ErrorIs(t, endOf(s.Changes(t.Context(), district, after, 0)), store.ErrRevisionGone)
	}
	require.NoError(t, endOf(s.Changes(t.Context(), district, 2, 0)), "revision 3 is kept")
	require.Empty(t, cmp.Diff(want, scanAll(t, s.Snapshot(district, 3, whole), store.Position{}), protocmp.Transform()))
	infos, err := s.Revisions(t.Context(), district, 0, 10)
	require.NoError(t, err)
	require.Len(t, infos, 2)
	for _, id := range []store.PlanID{"small", "Two"} {
		_, err = s.Plan(t.Context(), district, id)
		require.ErrorIs(t, err, store.ErrPlanUnknown)
		if s.excused["PlanChangesShowBeforeAndAfter"] == "" {
			_, err = s.PlanChanges(t.Context(), district, id, store.ChangeQuery{Limit: 10})
			require.ErrorIs(t, err, store.ErrPlanUnknown)
			p, err := s.PlanChanges(t.Context(), district, "Four", store.ChangeQuery{Limit: 10})
			require.NoError(t, err)
			require.Len(t, p.Changes, 1)
			require.Equal(t, "Three", decode(t, p.Changes[0].Before).GetOrg().GetName())
		}
	}
	require.Equal(t, []string{"s1"}, idsOf(t, s.Snapshot(district, 3, whole), store.Query{Entity: orgs, Text: "three"}, 10))
	require.Empty(t, idsOf(t, s.Snapshot(district, 4, whole), store.Query{Entity: orgs, Text: "three"}, 10))
	records, err := s.Snapshot(district, 4, whole).History(t.Context(), orgs, "s1")
	require.NoError(t, err)
	require.Len(t, records, 2)
	// A blank date of a pruned revision stays what it was.
	rec, err := s.Snapshot(district, 4, whole).Get(t.Context(), users, "u1")
	require.NoError(t, err)
	require.NotEmpty(t, decode(t, rec.Body).GetUser().GetDateLastModified())

	require.NoError(t, s.Prune(t.Context(), district, 99), "lowered to the head")
	s.restart(t)
	require.Len(t, scanAll(t, s.Snapshot(district, 4, whole), store.Position{}), 11)
	require.Equal(t, store.Revision(4), headOf(t, s))
	sound(t, s, district)
}
