package rosterstore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/mongotest"
	rosterstore "github.com/securly/sync/services/roster-store"
)

// onEachEngine runs a case with a district "d" on a fresh store.
func onEachEngine(t *testing.T, run func(t *testing.T, c rosterv1.RosterServiceClient)) {
	open := func(t *testing.T, c rosterv1.RosterServiceClient) rosterv1.RosterServiceClient {
		_, err := c.OpenDistrict(testkit.As(t, t.Context(), testkit.Service()), &rosterv1.OpenDistrictRequest{District: "d"})
		require.NoError(t, err)
		return c
	}
	t.Run("embedded", func(t *testing.T) { run(t, open(t, start(t))) })
	t.Run("MongoDB", func(t *testing.T) {
		run(t, open(t, startOn(t, rosterstore.Config{
			MongoDB: config.Secret(mongotest.Find(t).URI), MongoDatabase: mongotest.Database(t),
		})))
	})
}

func named(r *typev1.Record, name string) *typev1.Record {
	r.GetUser().GivenName = name
	return r
}

func TestDiffAndRestore(t *testing.T) {
	onEachEngine(t, func(t *testing.T, c rosterv1.RosterServiceClient) {
		ctx := testkit.As(t, t.Context(), testkit.Service())
		commit(ctx, t, c, "d", "p1", school("s1"), student("A", "s1"), student("B", "s1"), student("C", "s1"))
		commit(ctx, t, c, "d", "p2", school("s1"), student("A", "s1"), named(student("B", "s1"), "Other"), student("D", "s1"))
		commit(ctx, t, c, "d", "p3", school("s1"), named(student("A", "s1"), "Other"), student("B", "s1"), student("D", "s1"))
		diff := func(from, to string) (out []string) {
			t.Helper()
			req := &rosterv1.DiffRevisionsRequest{District: "d", From: from, To: to, PageSize: 1}
			for {
				page, err := c.DiffRevisions(ctx, req)
				require.NoError(t, err)
				for _, change := range page.GetChanges() {
					fields := make([]string, len(change.GetFields()))
					for i, f := range change.GetFields() {
						fields[i] = f.GetField()
					}
					out = append(out, fmt.Sprint(change.GetEntity(), " ", change.GetSourcedId(), " ", change.GetKind(), " ", strings.Join(fields, ",")))
				}
				if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
					require.EqualValues(t, len(out), page.GetTotalSize())
					return out
				}
			}
		}
		require.Equal(t, []string{
			"users A updated givenName", "users C removed status", "users D created email,familyName,givenName,roles,sourcedId,status",
		}, diff("1", "3"), "B is again what it was")
		require.Equal(t, []string{"users A updated givenName", "users C created status", "users D removed status"}, diff("3", "1"))
		require.Equal(t, diff("2", "3"), diff("", ""), "the newest and the one before")
		require.Len(t, diff("0", "1"), 4)
		require.Empty(t, diff("3", "3"))
		for _, req := range []*rosterv1.DiffRevisionsRequest{{From: "x"}, {To: "-1"}, {Entity: "people"}, {Kind: "gone"}, {PageToken: "x"}, {PageSize: -1}} {
			req.District = "d"
			_, err := c.DiffRevisions(ctx, req)
			require.Equal(t, codes.InvalidArgument, errs.Status(err).Code())
		}
		_, err := c.DiffRevisions(ctx, &rosterv1.DiffRevisionsRequest{District: "d", To: "4"})
		wantCode(t, err, codes.NotFound, "REVISION_NOT_FOUND")

		before, err := c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users", AsOf: "1", Status: "active"})
		require.NoError(t, err)
		p, err := c.StageRestore(ctx, &rosterv1.StageRestoreRequest{District: "d", Revision: 1, Plan: "back"})
		require.NoError(t, err)
		changes, err := c.ListPlanChanges(ctx, &rosterv1.ListPlanChangesRequest{District: "d", Plan: "back"})
		require.NoError(t, err)
		shown, err := c.DiffRevisions(ctx, &rosterv1.DiffRevisionsRequest{District: "d", From: "3", To: "1"})
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(shown.GetChanges(), changes.GetChanges(), protocmp.Transform()), "what is shown is what is applied")
		require.EqualValues(t, 1, p.GetCounts()["users"].GetCreated())
		done, err := c.CommitPlan(ctx, &rosterv1.CommitPlanRequest{District: "d", Plan: "back"})
		require.NoError(t, err)
		require.EqualValues(t, 4, done.GetRevision())
		after, err := c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users", Status: "active"})
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(before.GetUsers(), after.GetUsers(), protocmp.Transform()), "to the time stamp")
		list, err := c.ListRevisions(ctx, &rosterv1.ListRevisionsRequest{District: "d", PageSize: 2})
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(&rosterv1.Undo{To: 1}, list.GetRevisions()[0].GetUndo(), protocmp.Transform()))
		require.Nil(t, list.GetRevisions()[1].GetUndo())
		next, err := plan(ctx, t, c, "d", "p5", school("s1"))
		require.NoError(t, err)
		require.EqualValues(t, 4, next.GetLastUndo())
	})
}

func TestSelectPlan(t *testing.T) {
	onEachEngine(t, func(t *testing.T, c rosterv1.RosterServiceClient) {
		ctx := testkit.As(t, t.Context(), testkit.Service())
		commit(ctx, t, c, "d", "p1", school("s1"), school("s2"), student("A", "s1"), student("B", "s2"), student("C", "s1"))
		moved := student("C", "s2")
		_, err := plan(ctx, t, c, "d", "full", school("s1"), school("s2"), named(student("A", "s1"), "New"), moved, student("D", "s1"))
		require.NoError(t, err)
		choose := func(as string, withoutRemovals bool, schools ...string) (out []string) {
			t.Helper()
			p, err := c.SelectPlan(ctx, &rosterv1.SelectPlanRequest{District: "d", Plan: "full", Selection: as, WithoutRemovals: withoutRemovals, Schools: schools})
			require.NoError(t, err)
			require.Equal(t, "sync-full", p.GetSync())
			changes, err := c.ListPlanChanges(ctx, &rosterv1.ListPlanChangesRequest{District: "d", Plan: as})
			require.NoError(t, err)
			for _, change := range changes.GetChanges() {
				out = append(out, change.GetSourcedId()+" "+change.GetKind())
			}
			return out
		}
		require.Equal(t, []string{"A updated", "C updated", "D created"}, choose("a", true))
		require.Equal(t, []string{"A updated", "D created"}, choose("b", false, "s1"), "C touches both")
		require.Equal(t, []string{"B removed"}, choose("c", false, "s2"))
		require.Equal(t, []string{"A updated", "B removed", "C updated", "D created"}, choose("e", false, "s1", "s2"))
		_, err = c.SelectPlan(ctx, &rosterv1.SelectPlanRequest{District: "d", Plan: "full"})
		wantCode(t, err, codes.InvalidArgument, "INVALID_ARGUMENT")
		_, err = c.SelectPlan(ctx, &rosterv1.SelectPlanRequest{District: "d", Plan: "nobody's", Selection: "f"})
		wantCode(t, err, codes.NotFound, "PLAN_NOT_FOUND")
		_, err = c.CommitPlan(ctx, &rosterv1.CommitPlanRequest{District: "d", Plan: "b"})
		require.NoError(t, err)
		_, err = c.SelectPlan(ctx, &rosterv1.SelectPlanRequest{District: "d", Plan: "full", Selection: "g", Schools: []string{"s1"}})
		wantCode(t, err, codes.Aborted, "PLAN_STALE")
		require.Equal(t, []string{"B removed"}, choose("h", false, "s2"))
	})
}

func TestPruneHistory(t *testing.T) {
	onEachEngine(t, func(t *testing.T, c rosterv1.RosterServiceClient) {
		ctx := testkit.As(t, t.Context(), testkit.Service())
		for i, name := range []string{"1", "2", "3", "4"} {
			commit(ctx, t, c, "d", fmt.Sprint("p", i), school("s1"), named(student("A", "s1"), name))
		}
		list, err := c.ListRevisions(ctx, &rosterv1.ListRevisionsRequest{District: "d"})
		require.NoError(t, err)
		times := list.GetRevisions()
		old := proto.CloneOf(times[3].GetCommitTime()) // of revision 1
		old.Seconds--
		none, err := c.PruneHistory(ctx, &rosterv1.PruneHistoryRequest{District: "d", Before: old})
		require.NoError(t, err)
		require.Zero(t, none.GetOldest(), "all of it is younger")
		done, err := c.PruneHistory(ctx, &rosterv1.PruneHistoryRequest{District: "d", Before: times[1].GetCommitTime()})
		require.NoError(t, err)
		require.EqualValues(t, 3, done.GetOldest(), "what was seen at that time still is")

		for _, asOf := range []string{"2", times[2].GetCommitTime().AsTime().Format(time.RFC3339Nano)} {
			_, err = c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users", AsOf: asOf})
			wantCode(t, err, codes.OutOfRange, "REVISION_GONE")
			require.Contains(t, err.Error(), "the oldest kept is 3")
			_, err = c.DiffRevisions(ctx, &rosterv1.DiffRevisionsRequest{District: "d", From: asOf})
			wantCode(t, err, codes.OutOfRange, "REVISION_GONE")
		}
		_, err = c.StageRestore(ctx, &rosterv1.StageRestoreRequest{District: "d", Revision: 1, Plan: "back"})
		wantCode(t, err, codes.OutOfRange, "REVISION_GONE")
		users, err := c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users", AsOf: "3"})
		require.NoError(t, err)
		require.Equal(t, "3", users.GetUsers()[0].GetGivenName())
		history, err := c.GetRecordHistory(ctx, &rosterv1.GetRecordHistoryRequest{District: "d", Entity: "users", SourcedId: "A"})
		require.NoError(t, err)
		require.Len(t, history.GetVersions(), 2)
		again, err := c.PruneHistory(ctx, &rosterv1.PruneHistoryRequest{District: "d", Before: old})
		require.NoError(t, err)
		require.LessOrEqual(t, again.GetOldest(), done.GetOldest(), "nothing comes back and nothing more goes")
		_, err = c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users", AsOf: "3"})
		require.NoError(t, err)
		_, err = c.PruneHistory(ctx, &rosterv1.PruneHistoryRequest{District: "d"})
		wantCode(t, err, codes.InvalidArgument, "INVALID_ARGUMENT")
	})
}

func TestSearchTakesNamesAsTheyAreListed(t *testing.T) {
	c := start(t)
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
	require.NoError(t, err)
	commit(ctx, t, c, "d", "p1", school("s1"), named(student("A", "s1"), "Hannah"))
	for _, q := range []string{"hannah", "Family, Hannah", "Fam;Han", "=Family hannah"} {
		got, err := c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users", Q: q})
		require.NoError(t, err)
		require.EqualValues(t, 1, got.GetTotalSize(), q)
	}
	for asOf, n := range map[string]int32{"2999-01-01T00:00:00 01:00": 1, "2999-01-01": 1, record.TimeFormat: 0} {
		got, err := c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users", AsOf: asOf})
		require.NoError(t, err, asOf)
		require.Equal(t, n, got.GetTotalSize(), asOf)
	}
}
