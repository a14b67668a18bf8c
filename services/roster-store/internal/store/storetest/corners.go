package storetest

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// awkwardIDs are pairwise different, but not to who normalizes, unescapes,
// trims, folds or cuts.
func awkwardIDs() []string {
	ids := []string{
		"a b", " a b", "a b ", "a  b", "a\tb", "a\nb", "a/b", "a%2Fb", "a%2fb", "a%252Fb", "a:b", "A:B", "a+b", "a&b=c?d#e", `a\b`, `a"b'c`,
		"\u00c5", "A\u030a", "\u212b", "a\u200bb", "\x01", "\x01\x01", "\x7f", "\u00ff", "\U0001f600", "$a.b", ".", "..", "*", "[a-z]",
		"0", "00", "null", strings.Repeat("x", 255), strings.Repeat("x", 254), strings.Repeat("x", 254) + "y",
	}
	slices.Sort(ids)
	return ids
}

func byteExact(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	ids := awkwardIDs()
	people := func(name string) []*typev1.Record {
		var out []*typev1.Record
		for i, id := range ids {
			out = append(out, user(id, "student", fmt.Sprint(name, i), "Poe", ""))
			out = append(out, enrollment(id, id, id, id, "student"))
		}
		return out
	}
	require.Equal(t, len(ids), complete(t, s, "first", people("First")...).Counts[users].Created)
	commit(t, s, "first")
	require.Equal(t, store.Counts{Received: len(ids), Updated: len(ids)}, delta(t, s, "second", people("Second")...).Counts[users])

	if s.excused["PlanChangesShowBeforeAndAfter"] == "" {
		var planned []string
		q := store.ChangeQuery{Entity: users, Limit: 5}
		for more := true; more; {
			p, err := s.PlanChanges(t.Context(), district, "second", q)
			require.NoError(t, err)
			for _, c := range p.Changes {
				planned = append(planned, c.ID)
				q.After = store.Position{Entity: c.Entity, ID: c.ID}
			}
			more = p.More
		}
		require.Equal(t, ids, planned)
	}
	commit(t, s, "second")
	require.Zero(t, complete(t, s, "same", people("Second")...).Changes())

	for rev, name := range map[store.Revision]string{1: "First", 2: "Second"} {
		r := s.Snapshot(district, rev, whole)
		require.Equal(t, ids, idsOf(t, r, store.Query{Entity: users}, 7))
		require.Len(t, scanAll(t, r, store.Position{}), 2*len(ids))
		for i, id := range ids {
			rec, err := r.Get(t.Context(), users, id)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(name, i), decode(t, rec.Body).GetUser().GetGivenName(), "%q", id)
			versions, err := r.History(t.Context(), users, id)
			require.NoError(t, err)
			require.Len(t, versions, int(rev), "%q", id)
			require.Equal(t, []string{id}, idsOf(t, r, store.Query{Entity: users, SourcedID: id}, 7))
			for _, q := range []store.Query{{UserID: id}, {ClassID: id}, {OrgID: id}, {SchoolID: id}} {
				q.Entity = enrollments
				require.Equal(t, []string{id}, idsOf(t, r, q, 7), "%+v", q)
			}
			require.Equal(t, []string{id}, idsOf(t, s.Snapshot(district, rev, store.Scope{Schools: []string{id}}), store.Query{Entity: users}, 7))
			require.Len(t, scanAll(t, r, store.Position{Entity: users, ID: id}, users), len(ids)-i-1)
		}
	}
	var changed []string
	for ev, err := range s.Changes(t.Context(), district, 1, 2) {
		require.NoError(t, err)
		if ev.Record.Entity == users {
			changed = append(changed, ev.Record.ID)
		}
	}
	require.Equal(t, ids, changed)
	sound(t, s, district)
}

// racingImporters has two callers who stage side by side, and then commit side
// by side.
func racingImporters(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	head := store.Revision(0)
	for name, c := range map[string]struct {
		first, second []*typev1.Record
		stale         int
	}{
		"different records": {[]*typev1.Record{org("a1", "A"), org("a2", "A")}, []*typev1.Record{org("b1", "B"), org("b2", "B")}, 0},
		"a common record":   {[]*typev1.Record{org("c1", "A"), org("c2", "A")}, []*typev1.Record{org("c2", "B"), org("c3", "B")}, 1},
	} {
		for _, when := range []string{"before the first revision", "later"} {
			if when != "later" {
				require.NoError(t, s.EraseDistrict(t.Context(), district))
				require.NoError(t, s.OpenDistrict(t.Context(), district))
				head = 0
			}
			// Each has been asked for its second record before one may give it.
			var reached [2]chan struct{}
			var errs [2]chan error
			for i := range reached {
				reached[i], errs[i] = make(chan struct{}), make(chan error, 1)
			}
			proceed := make(chan struct{})
			plan := func(i int) store.PlanID { return store.PlanID(fmt.Sprint(name, " ", when, " ", i)) }
			for i, records := range [][]*typev1.Record{c.first, c.second} {
				if when == "later" {
					records = slices.Clone(records)
					for j, r := range records {
						records[j] = org(r.GetOrg().GetSourcedId(), r.GetOrg().GetName()+" later")
					}
				}
				go func() {
					_, err := s.Import(t.Context(), header(plan(i)), func(yield func(store.ImportRecord, error) bool) {
						if yield(importRecord(records[0]), nil) {
							close(reached[i])
							<-proceed
							yield(importRecord(records[1]), nil)
						}
					})
					errs[i] <- err
				}()
			}
			<-reached[0]
			<-reached[1]
			close(proceed)
			require.NoError(t, errors.Join(<-errs[0], <-errs[1]), name)
			for i := range errs {
				go func() {
					_, err := s.Commit(t.Context(), district, plan(i), 0)
					errs[i] <- err
				}()
			}
			stale := 0
			for i := range errs {
				if err := <-errs[i]; err != nil {
					require.ErrorIs(t, err, store.ErrStale, "%s %s", name, when)
					stale++
				}
			}
			require.Equal(t, c.stale, stale, "%s %s", name, when)
			head += store.Revision(2 - stale)
			require.Equal(t, head, headOf(t, s), "%s %s", name, when)
			infos, err := s.Revisions(t.Context(), district, 0, 10)
			require.NoError(t, err)
			require.Len(t, infos, int(head))
		}
	}
	sound(t, s, district)
}

func emptyDistrict(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	for range 2 {
		require.Zero(t, headOf(t, s))
		infos, err := s.Revisions(t.Context(), district, 0, 10)
		require.NoError(t, err)
		require.Empty(t, infos)
		rev, err := s.RevisionAt(t.Context(), district, time.Now())
		require.NoError(t, err)
		require.Zero(t, rev)
		for _, scope := range []store.Scope{whole, {}} {
			summary, err := s.Summary(t.Context(), district, scope)
			require.NoError(t, err)
			for _, e := range record.Entities() {
				require.Zero(t, summary.Total[e])
				require.Empty(t, idsOf(t, s.Snapshot(district, 0, scope), store.Query{Entity: e}, 10))
			}
		}
		_, err = s.Snapshot(district, 0, whole).Get(t.Context(), users, "u1")
		require.ErrorIs(t, err, store.ErrRecordUnknown)
		_, err = s.Snapshot(district, 0, whole).History(t.Context(), users, "u1")
		require.ErrorIs(t, err, store.ErrRecordUnknown)
		require.Empty(t, scanAll(t, s.Snapshot(district, 0, whole), store.Position{}))
		_, err = s.Snapshot(district, 1, whole).Get(t.Context(), users, "u1")
		require.ErrorIs(t, err, store.ErrRevisionUnknown)
		require.Empty(t, collect(t, s.Changes(t.Context(), district, 0, 0)))
		require.ErrorIs(t, endOf(s.Changes(t.Context(), district, 1, 0)), store.ErrRevisionUnknown)
		require.NoError(t, s.Prune(t.Context(), district, 1))
		require.ErrorIs(t, s.ErasePerson(t.Context(), district, "u1"), store.ErrRecordUnknown)
		sound(t, s, district)
		s.restart(t)
	}
	complete(t, s, "first", smallRecords()...)
	require.Equal(t, store.Revision(1), commit(t, s, "first"))
}

// prunedMeanwhile prunes while streams run: they see all of their revision, or
// are told that it is gone.
func prunedMeanwhile(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	n := s.size(1500, 300)
	complete(t, s, "first", many(n)...)
	commit(t, s, "first")
	changed := many(n)
	for _, r := range changed {
		r.GetOrg().Name = "Changed"
	}
	for _, id := range []store.PlanID{"second", "third"} {
		complete(t, s, id, append(changed, org("z", string(id)))...)
		commit(t, s, id)
	}
	scan, stopScan := iter.Pull2(s.Snapshot(district, 1, whole).Scan(t.Context(), store.Position{}))
	defer stopScan()
	follow, stopFollow := iter.Pull2(s.Changes(t.Context(), district, 0, 1))
	defer stopFollow()
	rec, err, _ := scan()
	require.NoError(t, err)
	require.Equal(t, "Org", decode(t, rec.Body).GetOrg().GetName())
	_, err, _ = follow()
	require.NoError(t, err)

	require.NoError(t, s.Prune(t.Context(), district, 3))
	seen := 1
	for rec, err, more := scan(); more; rec, err, more = scan() {
		if err != nil {
			require.ErrorIs(t, err, store.ErrRevisionGone)
			seen = n
			break
		}
		seen++
		require.Equal(t, "Org", decode(t, rec.Body).GetOrg().GetName(), "%s is not that of the revision", rec.ID)
	}
	require.Equal(t, n, seen, "the scan is not whole")
	seen = 0
	for ev, err, more := follow(); more; ev, err, more = follow() {
		if err != nil {
			require.ErrorIs(t, err, store.ErrRevisionGone)
			seen = n
			break
		}
		if ev.Phase == store.Data {
			seen++
			require.Equal(t, "Org", decode(t, ev.Record.Body).GetOrg().GetName(), "%s is not that of the revision", ev.Record.ID)
		}
	}
	require.Equal(t, n, seen, "the stream is not whole")
	sound(t, s, district)
}
