package storetest

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

func invisibleBeforeCommit(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	for _, step := range []struct {
		plan    store.PlanID
		records []*typev1.Record
		head    store.Revision
	}{
		{"first", smallRecords(), 0},
		{"second", smallRecords()[:3], 1},
	} {
		before := scanAll(t, s.Snapshot(district, step.head, whole), store.Position{})
		complete(t, s, step.plan, step.records...)
		require.Equal(t, step.head, headOf(t, s))
		require.Empty(t, cmp.Diff(before, scanAll(t, s.Snapshot(district, step.head, whole), store.Position{}), protocmp.Transform()))
		require.Equal(t, step.head+1, commit(t, s, step.plan))
	}
}

func planCounts(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	first := complete(t, s, "first", smallRecords()...)
	require.Equal(t, store.Counts{Received: 3, Created: 3}, first.Counts[users])
	require.Equal(t, store.SyncID("sync of first"), first.Sync)
	require.Equal(t, 11, first.Changes())
	commit(t, s, "first")

	changed := smallRecords()[:10] // without demographics
	changed[6] = user("u2", "teacher", "Bob", "Jones", "bo@example.org", "s2")
	changed[8] = removed(changed[8])
	plan := complete(t, s, "second", append(changed, org("s3", "West"))...)
	require.Equal(t, store.Revision(1), plan.Base)
	require.Equal(t, map[store.Entity]store.Counts{
		orgs:         {Received: 3, Created: 1, Unchanged: 2},
		sessions:     {Received: 1, Unchanged: 1},
		courses:      {Received: 1, Unchanged: 1},
		classes:      {Received: 1, Unchanged: 1},
		users:        {Received: 3, Updated: 1, Unchanged: 2},
		enrollments:  {Received: 2, Removed: 1, Unchanged: 1},
		demographics: {Removed: 1},
	}, plan.Counts)
	commit(t, s, "second")
	info, err := s.Head(t.Context(), district)
	require.NoError(t, err)
	require.Equal(t, plan.Counts, info.Counts)
}

func planSchools(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	first := complete(t, s, "first", smallRecords()...)
	require.Equal(t, map[store.Entity]store.Counts{users: {Created: 1}}, first.Schools["s2"])
	require.Equal(t, map[store.Entity]store.Counts{
		courses: {Created: 1}, classes: {Created: 1}, users: {Created: 3}, enrollments: {Created: 2}, demographics: {Created: 1},
	}, first.Schools["s1"])
	commit(t, s, "first")

	// A move touches the school it leaves and the one it enters.
	plan := delta(t, s, "move", class("k1", "s2", "c1", "Algebra I, period 1"))
	require.Equal(t, map[string]map[store.Entity]store.Counts{
		"s1": {classes: {Updated: 1}}, "s2": {classes: {Updated: 1}},
	}, plan.Schools)
	// A teacher at s2 who teaches at s1 touches both.
	plan = delta(t, s, "teacher", user("u2", "teacher", "Bob", "Jones", "", "s2"))
	require.Equal(t, map[string]map[store.Entity]store.Counts{
		"s1": {users: {Updated: 1}}, "s2": {users: {Updated: 1}},
	}, plan.Schools)
}

// compareSchools checks that the schools of the changes of a plan add up to what
// the plan counts per school.
func compareSchools(t *testing.T, s store.Store, plan store.Plan) {
	t.Helper()
	if s, ok := s.(suite); ok && s.excused["SchoolsOfChangesAddUp"] != "" {
		return
	}
	sum := map[string]map[store.Entity]store.Counts{}
	q := store.ChangeQuery{Schools: true, Limit: 100}
	for more := true; more; {
		p, err := s.PlanChanges(t.Context(), district, plan.ID, q)
		require.NoError(t, err)
		for _, c := range p.Changes {
			q.After = store.Position{Entity: c.Entity, ID: c.ID}
			require.True(t, slices.IsSorted(c.Schools), "%v", c.Schools)
			for _, school := range c.Schools {
				if sum[school] == nil {
					sum[school] = map[store.Entity]store.Counts{}
				}
				n := sum[school][c.Entity]
				switch c.Kind {
				case store.Created:
					n.Created++
				case store.Updated:
					n.Updated++
				case store.Removed:
					n.Removed++
				}
				sum[school][c.Entity] = n
			}
		}
		more = p.More
	}
	require.Empty(t, cmp.Diff(plan.Schools, sum, cmpopts.EquateEmpty()))
}

func changeSchools(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	compareSchools(t, s, complete(t, s, "first", smallRecords()...))
	commit(t, s, "first")
	plan := complete(t, s, "second", append(smallRecords()[:8],
		class("k2", "s2", "c1", "Algebra I, period 2"),
		user("u3", "student", "Dee", "Poe", "", "s2"), demographic("u1", "2012-05-04"))...)
	compareSchools(t, s, plan)
	p, err := s.PlanChanges(t.Context(), district, "second", store.ChangeQuery{Entity: users, Limit: 10})
	require.NoError(t, err)
	require.Nil(t, p.Changes[0].Schools, "nobody has asked")
	s.restart(t)
	compareSchools(t, s, plan)

	// A commit that moves the teacher to another school, without touching a
	// record of the plan, changes nothing of what the plan was counted as.
	plan = delta(t, s, "teacher", user("u2", "teacher", "Bob", "Jones", "", "s2"))
	delta(t, s, "move", enrollment("e2", "u2", "k1", "s2", "teacher"))
	commit(t, s, "move")
	compareSchools(t, s, plan)
}

func undo(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	require.Zero(t, complete(t, s, "first", smallRecords()...).LastUndo)
	commit(t, s, "first")
	delta(t, s, "second", org("s3", "West"))
	commit(t, s, "second")
	back := func(to store.Revision, records ...*typev1.Record) store.Plan {
		t.Helper()
		h := header(store.PlanID(fmt.Sprint("back to ", to)), record.Entities()...)
		h.Undo = &store.Undo{To: to}
		plan, err := s.Import(t.Context(), h, candidate(records...))
		require.NoError(t, err)
		return plan
	}
	require.Zero(t, back(1, smallRecords()...).LastUndo)
	early := delta(t, s, "early", org("s4", "East"))
	s.restart(t)
	commit(t, s, "back to 1")
	late := delta(t, s, "late", org("s5", "Far East"))
	require.Equal(t, store.Revision(3), late.LastUndo)
	commit(t, s, "early")
	commit(t, s, "late")
	require.Equal(t, store.Revision(3), back(0).LastUndo)
	commit(t, s, "back to 0")
	s.restart(t)
	for _, want := range []store.Plan{early, late} {
		got, err := s.Plan(t.Context(), district, want.ID)
		require.NoError(t, err)
		require.Equal(t, want.LastUndo, got.LastUndo, "as of the base")
	}
	all, err := s.Revisions(t.Context(), district, 0, 10)
	require.NoError(t, err)
	want := []struct {
		undo *store.Undo
		last store.Revision
	}{{nil, 0}, {nil, 0}, {&store.Undo{To: 1}, 3}, {nil, 3}, {nil, 3}, {&store.Undo{To: 0}, 6}}
	require.Len(t, all, len(want))
	for _, got := range all {
		require.Equal(t, want[got.Revision-1].undo, got.Undo, "revision %d", got.Revision)
		require.Equal(t, want[got.Revision-1].last, got.LastUndo, "revision %d", got.Revision)
	}
	var announced []store.RevisionInfo
	for _, p := range collect(t, s.Pending(t.Context())) {
		announced = append(announced, p.Revision)
	}
	slices.Reverse(announced)
	require.Equal(t, all, announced)
	for ev, err := range s.Changes(t.Context(), district, 0, 0) {
		require.NoError(t, err)
		if ev.Phase != store.Data {
			require.Equal(t, want[ev.Revision.Revision-1].undo, ev.Revision.Undo)
		}
	}
}

func tombstones(t *testing.T, s suite) {
	small(t, s)
	all := smallRecords()
	complete(t, s, "without e1", append(all[:8:8], all[9:]...)...)
	commit(t, s, "without e1")
	rec, err := s.Snapshot(district, 2, whole).Get(t.Context(), enrollments, "e1")
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(removed(all[8]), undated(t, rec.Body), protocmp.Transform()))

	// What is gone stays gone without another change, also when the source
	// states the tombstone itself.
	require.Zero(t, complete(t, s, "again", append(all[:8:8], all[9:]...)...).Changes())
	all[8] = removed(all[8])
	require.Zero(t, complete(t, s, "stated", all...).Changes())

	require.Equal(t, store.Counts{Received: 2, Created: 1, Unchanged: 1}, complete(t, s, "back", smallRecords()...).Counts[enrollments])
	commit(t, s, "back")
	rec, err = s.Snapshot(district, 3, whole).Get(t.Context(), enrollments, "e1")
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(smallRecords()[8], undated(t, rec.Body), protocmp.Transform()))
}

func deltas(t *testing.T, s suite) {
	small(t, s)
	plan := delta(t, s, "one", user("u3", "student", "Dee", "Poe", ""))
	require.Equal(t, map[store.Entity]store.Counts{users: {Received: 1, Created: 1}}, plan.Counts)
	// Complete for one entity says nothing about the others.
	plan, err := s.Import(t.Context(), header("orgs only", orgs), candidate(org("s1", "North High")))
	require.NoError(t, err)
	require.Equal(t, map[store.Entity]store.Counts{orgs: {Received: 1, Unchanged: 1, Removed: 1}}, plan.Counts)
}

func disorder(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	u := func(id string) *typev1.Record { return user(id, "student", "A", "B", "") }
	bad := map[string]struct {
		records []*typev1.Record
		named   string
	}{
		"descending":             {[]*typev1.Record{u("b"), u("a")}, `"a"`},
		"twice":                  {[]*typev1.Record{u("a"), u("twin"), u("twin")}, `"twin"`},
		"by letter, not by byte": {[]*typev1.Record{u("a"), u("Bee")}, `"Bee"`},
		"empty id":               {[]*typev1.Record{u("")}, `""`},
		"entity in two runs":     {[]*typev1.Record{u("a"), org("b", ""), u("c")}, "users"},
	}
	for _, empty := range []bool{true, false} {
		for name, c := range bad {
			_, err := s.Import(t.Context(), header("bad"), asGiven(c.records...))
			require.ErrorIs(t, err, store.ErrInvalid, name)
			require.ErrorContains(t, err, c.named, name)
			_, err = s.Plan(t.Context(), district, "bad")
			require.ErrorIs(t, err, store.ErrPlanUnknown, name)
		}
		_, err := s.Import(t.Context(), header(""), candidate())
		require.ErrorIs(t, err, store.ErrInvalid)
		_, err = s.Import(t.Context(), header("bad", 99), candidate())
		require.ErrorIs(t, err, store.ErrInvalid)
		if empty {
			complete(t, s, "good", smallRecords()...)
			commit(t, s, "good")
		}
	}
}

func foreignBodies(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	for _, empty := range []bool{true, false} {
		good := importRecord(user("u9", "student", "A", "B", ""))
		otherID, otherEntity, garbage := good, good, good
		otherID.Body = importRecord(user("u8", "student", "A", "B", "")).Body
		otherEntity.Body = importRecord(org("u9", "A")).Body
		garbage.Body = []byte{0xff}
		for _, r := range []store.ImportRecord{otherID, otherEntity, garbage} {
			_, err := s.Import(t.Context(), header("bad"), func(yield func(store.ImportRecord, error) bool) { yield(r, nil) })
			require.ErrorIs(t, err, store.ErrInvalid)
			require.ErrorContains(t, err, `"u9"`)
		}
		if empty {
			complete(t, s, "good", smallRecords()...)
			commit(t, s, "good")
		}
	}
}

func brokenStream(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	cut := errors.New("the connection is gone")
	for i, id := range []store.PlanID{"first", "second"} {
		_, err := s.Import(t.Context(), header(id, record.Entities()...), cutAfter(org("lost", ""), cut))
		require.ErrorIs(t, err, cut)
		_, err = s.Plan(t.Context(), district, id)
		require.ErrorIs(t, err, store.ErrPlanUnknown)
		_, err = s.Commit(t.Context(), district, id, 0)
		require.ErrorIs(t, err, store.ErrPlanUnknown)
		// The same id starts over, with nothing left of the first try.
		complete(t, s, id, append(smallRecords(), org("for "+string(id), ""))...)
		require.Equal(t, store.Revision(i+1), commit(t, s, id))
		_, err = s.Snapshot(district, headOf(t, s), whole).Get(t.Context(), orgs, "lost")
		require.ErrorIs(t, err, store.ErrRecordUnknown)
	}
}

// cutAfter yields a record and then fails.
func cutAfter(r *typev1.Record, err error) iter.Seq2[store.ImportRecord, error] {
	return func(yield func(store.ImportRecord, error) bool) {
		if yield(importRecord(r), nil) {
			yield(store.ImportRecord{}, err)
		}
	}
}

func immutablePlan(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	for _, id := range []store.PlanID{"first", "second"} {
		plan := complete(t, s, id, append(smallRecords(), org(string("for "+id), ""))...)
		again, err := s.Import(t.Context(), header(id), cutAfter(org("x", ""), errors.New("read")))
		require.NoError(t, err, "a finished plan reads no record")
		require.Equal(t, plan, again)
		commit(t, s, id)
		again, err = s.Import(t.Context(), header(id), candidate())
		require.NoError(t, err)
		require.Equal(t, headOf(t, s), again.Revision)
	}
}

func stagedRestart(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	for i, id := range []store.PlanID{"first", "second"} {
		plan := complete(t, s, id, append(smallRecords(), org(string("for "+id), ""))...)
		s.restart(t)
		got, err := s.Plan(t.Context(), district, id)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(plan, got))
		require.Equal(t, store.Revision(i+1), commit(t, s, id))
		_, err = s.Snapshot(district, store.Revision(i+1), whole).Get(t.Context(), orgs, string("for "+id))
		require.NoError(t, err)
	}
}

func planChanges(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	complete(t, s, "first", smallRecords()...)
	check := func(plan store.PlanID, q store.ChangeQuery, want ...string) []store.Change {
		t.Helper()
		var got []store.Change
		var ids []string
		q.Limit = 2
		for {
			p, err := s.PlanChanges(t.Context(), district, plan, q)
			require.NoError(t, err)
			require.Equal(t, len(want), p.Total)
			for _, c := range p.Changes {
				got, ids = append(got, c), append(ids, c.ID)
				q.After = store.Position{Entity: c.Entity, ID: c.ID}
			}
			if !p.More {
				break
			}
		}
		require.Equal(t, strings.Join(want, " "), strings.Join(ids, " "))
		return got
	}
	second := append(smallRecords()[:9], org("s0", "East")) // e2 and demographics are gone
	second[7] = user("g1", "parent", "Cyd", "Smith", "cy@example.com")
	for _, committed := range []bool{false, true} {
		for _, c := range check("first", store.ChangeQuery{}, "s1", "s2", "t1", "c1", "k1", "g1", "u1", "u2", "e1", "e2", "u1") {
			require.Nil(t, c.Before)
			require.Equal(t, store.Created, c.Kind)
		}
		check("first", store.ChangeQuery{Entity: users}, "g1", "u1", "u2")
		check("first", store.ChangeQuery{Kind: store.Removed})
		if !committed {
			commit(t, s, "first")
			complete(t, s, "second", second...)
		}
	}
	for range 2 {
		changes := check("second", store.ChangeQuery{}, "s0", "g1", "e2", "u1")
		require.Equal(t, "Cy", decode(t, changes[1].Before).GetUser().GetGivenName())
		require.Equal(t, "Cyd", decode(t, changes[1].After).GetUser().GetGivenName())
		require.Empty(t, cmp.Diff(removed(smallRecords()[9]), undated(t, changes[2].After), protocmp.Transform()))
		require.Empty(t, cmp.Diff(smallRecords()[9], undated(t, changes[2].Before), protocmp.Transform()))
		check("second", store.ChangeQuery{Kind: store.Removed}, "e2", "u1")
		check("second", store.ChangeQuery{Entity: users, Kind: store.Updated}, "g1")
		commit(t, s, "second")
	}
	_, err := s.PlanChanges(t.Context(), district, "third", store.ChangeQuery{})
	require.ErrorIs(t, err, store.ErrPlanUnknown)
}

func repeatedCommit(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	complete(t, s, "first", smallRecords()...)
	for range 2 {
		out, err := s.Commit(t.Context(), district, "first", 0)
		require.NoError(t, err)
		require.Equal(t, store.Outcome{Revision: 1, Committed: true}, out)
	}
	delta(t, s, "second", org("s3", "West"))
	commit(t, s, "second")
	s.restart(t)
	require.Equal(t, store.Revision(1), commit(t, s, "first"))
	require.Equal(t, store.Revision(2), commit(t, s, "second"))
	require.Equal(t, store.Revision(2), headOf(t, s))
	_, err := s.Commit(t.Context(), district, "third", 0)
	require.ErrorIs(t, err, store.ErrPlanUnknown)
}

func emptyPlan(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	complete(t, s, "nothing", []*typev1.Record{}...)
	out, err := s.Commit(t.Context(), district, "nothing", 0)
	require.NoError(t, err)
	require.Equal(t, store.Outcome{}, out)
	complete(t, s, "first", smallRecords()...)
	commit(t, s, "first")
	complete(t, s, "same", smallRecords()...)
	for range 2 {
		out, err = s.Commit(t.Context(), district, "same", 0)
		require.NoError(t, err)
		require.Equal(t, store.Outcome{Revision: 1}, out)
	}
	require.Equal(t, store.Revision(1), headOf(t, s))
}

func discard(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	require.NoError(t, s.Discard(t.Context(), district, "never made"))
	for i := range 2 {
		complete(t, s, "plan", append(smallRecords(), org("s3", "West"))...)
		require.NoError(t, s.Discard(t.Context(), district, "plan"))
		_, err := s.Commit(t.Context(), district, "plan", 0)
		require.ErrorIs(t, err, store.ErrPlanUnknown)
		require.Equal(t, store.Revision(i), headOf(t, s))
		if i == 0 {
			complete(t, s, "good", smallRecords()...)
			commit(t, s, "good")
		}
	}
	require.ErrorIs(t, s.Discard(t.Context(), district, "good"), store.ErrCommitted)
	require.Equal(t, 1, delta(t, s, "plan", org("s4", "")).Changes(), "the id is free again")
}

func stale(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	complete(t, s, "first", smallRecords()...)
	complete(t, s, "also first", smallRecords()...)
	commit(t, s, "first")
	_, err := s.Commit(t.Context(), district, "also first", 0)
	require.ErrorIs(t, err, store.ErrStale)

	delta(t, s, "a", org("s1", "A"))
	delta(t, s, "b", org("s1", "B"))
	delta(t, s, "elsewhere", org("s2", "C"))
	delta(t, s, "new", org("s3", "D"))
	delta(t, s, "also new", org("s3", "E"))
	require.Equal(t, store.Revision(2), commit(t, s, "a"))
	require.Equal(t, store.Revision(3), commit(t, s, "elsewhere"), "an untouched record is not stale")
	require.Equal(t, store.Revision(4), commit(t, s, "new"))
	for _, id := range []store.PlanID{"b", "also new"} {
		_, err = s.Commit(t.Context(), district, id, 0)
		require.ErrorIs(t, err, store.ErrStale)
	}
	rec, err := s.Snapshot(district, 4, whole).Get(t.Context(), orgs, "s1")
	require.NoError(t, err)
	require.Equal(t, "A", decode(t, rec.Body).GetOrg().GetName())
	require.Equal(t, store.Revision(4), headOf(t, s))
}

func fences(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	complete(t, s, "old holder's", smallRecords()...)
	h := header("new holder's", record.Entities()...)
	h.Fence = 7
	_, err := s.Import(t.Context(), h, candidate(smallRecords()...))
	require.NoError(t, err)
	s.restart(t)
	_, err = s.Commit(t.Context(), district, "old holder's", 6)
	require.ErrorIs(t, err, store.ErrFenced)
	_, err = s.Import(t.Context(), header("late", record.Entities()...), candidate(smallRecords()...))
	require.ErrorIs(t, err, store.ErrFenced)
	require.Zero(t, headOf(t, s))
	out, err := s.Commit(t.Context(), district, "new holder's", 7)
	require.NoError(t, err)
	require.Equal(t, store.Revision(1), out.Revision)
}

func dates(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	const given = "2020-02-03T04:05:06.789Z"
	dated := org("dated", "D")
	record.SetDateLastModified(dated, given)
	complete(t, s, "first", dated, org("blank", "B"), user("u1", "student", "A", "B", ""))
	start := time.Now().UTC().Truncate(time.Millisecond)
	commit(t, s, "first")
	complete(t, s, "second", dated, org("blank", "B"))
	commit(t, s, "second")

	infos, err := s.Revisions(t.Context(), district, 0, 10)
	require.NoError(t, err)
	require.Len(t, infos, 2)
	require.False(t, infos[1].CommitTime.Before(start), "the time is that of the commit, not of the staging")
	date := func(rec store.Record) string {
		_, base := record.Of(decode(t, rec.Body))
		return base.GetDateLastModified()
	}
	r := s.Snapshot(district, 2, whole)
	want := map[store.Position]string{
		{Entity: orgs, ID: "dated"}: given,
		{Entity: orgs, ID: "blank"}: infos[1].CommitTime.Format(record.TimeFormat),
		{Entity: users, ID: "u1"}:   infos[0].CommitTime.Format(record.TimeFormat),
	}
	for rec, err := range r.Scan(t.Context(), store.Position{}) {
		require.NoError(t, err)
		at := store.Position{Entity: rec.Entity, ID: rec.ID}
		require.Equal(t, want[at], date(rec), at)
		one, err := r.Get(t.Context(), at.Entity, at.ID)
		require.NoError(t, err)
		require.Equal(t, want[at], date(one), at)
	}
	old, err := s.Snapshot(district, 1, whole).Get(t.Context(), users, "u1")
	require.NoError(t, err)
	require.Equal(t, infos[1].CommitTime.Format(record.TimeFormat), date(old))

	// A newer date alone is no change.
	record.SetDateLastModified(dated, "2021-02-03T04:05:06.789Z")
	require.Zero(t, delta(t, s, "third", dated).Changes())
}
