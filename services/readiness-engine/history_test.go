package readiness_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
	readiness "github.com/securly/sync/services/readiness-engine"
)

func TestTrendAndComparison(t *testing.T) {
	e := start(t)
	defer e.run()()
	e.commit("d1", school("s1"), student("a", ""), student("b", "b@district.example"))
	e.await("d1", "rev-1")
	e.commit("d1", student("b", ""), student("c", ""))
	e.await("d1", "rev-2")
	e.commit("d1", student("c", "c@district.example"))
	e.await("d1", "rev-3")

	trend := &readinessv1.GetReadinessTrendRequest{District: "d1", CheckId: "student-email-missing", PageSize: 2}
	var counts []int32
	for {
		page, err := e.client.GetReadinessTrend(e.ctx, trend)
		require.NoError(t, err)
		for _, p := range page.Points {
			require.Len(t, p.Checks, 1)
			counts = append(counts, p.Checks[0].Count)
		}
		if trend.PageToken = page.NextPageToken; trend.PageToken == "" {
			break
		}
	}
	require.Equal(t, []int32{2, 3, 1}, counts, "newest first")

	compare := func(req *readinessv1.CompareReadinessReportsRequest) *readinessv1.CompareReadinessReportsResponse {
		req.District, req.Report = "d1", "rev-3"
		out, err := e.client.CompareReadinessReports(e.ctx, req)
		require.NoError(t, err)
		return out
	}
	since := compare(&readinessv1.CompareReadinessReportsRequest{BaseRevision: 1})
	require.Equal(t, "rev-1", since.Base.ReportId)
	require.Equal(t, "student-email-missing", since.Checks[0].CheckId, "what got worse comes first")
	require.True(t, since.Checks[0].Worse)
	require.Equal(t, []int32{2, 1}, []int32{since.Checks[0].Now.Count, since.Checks[0].Then.Count})
	require.Len(t, since.Checks, 31)
	before := compare(&readinessv1.CompareReadinessReportsRequest{})
	require.Equal(t, "rev-2", before.Base.ReportId)
	last := before.Checks[len(before.Checks)-1]
	require.Equal(t, "student-email-missing", last.CheckId)
	require.False(t, last.Worse)
	require.Equal(t, "rev-1", compare(&readinessv1.CompareReadinessReportsRequest{Base: "rev-1"}).Base.ReportId)
	_, err := e.client.CompareReadinessReports(e.ctx, &readinessv1.CompareReadinessReportsRequest{District: "d1", Report: "rev-3", BaseRevision: 9})
	require.Equal(t, codes.InvalidArgument, errs.Status(err).Code())
	_, err = e.client.CompareReadinessReports(e.ctx, &readinessv1.CompareReadinessReportsRequest{District: "d1", Report: "rev-1"})
	require.Equal(t, codes.NotFound, errs.Status(err).Code())

	old, err := e.client.CreateReadinessReport(e.ctx, &readinessv1.CreateReadinessReportRequest{District: "d1", Revision: 2})
	require.NoError(t, err)
	require.EqualValues(t, 3, count(e.await("d1", old.ReportId), "student-email-missing"))
	_, err = e.client.CreateReadinessReport(e.ctx, &readinessv1.CreateReadinessReportRequest{District: "d1", Revision: 9})
	require.Equal(t, codes.InvalidArgument, errs.Status(err).Code())
}

// Commits that come faster than reports leave revisions without one: it is made
// for the comparison.
func TestComparisonWithARevisionThatHasNoReport(t *testing.T) {
	e := start(t)
	defer e.run()()
	e.roster.Commit("d1", school("s1"), student("a", ""))
	e.roster.Commit("d1", student("b", ""))
	e.commit("d1", student("c", ""))
	e.await("d1", "rev-3")
	compare := func(base int32) (*readinessv1.CompareReadinessReportsResponse, error) {
		return e.client.CompareReadinessReports(e.ctx, &readinessv1.CompareReadinessReportsRequest{District: "d1", Report: "rev-3", BaseRevision: base})
	}
	reader := testkit.As(t, t.Context(), authn.Principal{Subject: "reader", Districts: []string{"d1"}, Scopes: []string{"readiness.read"}})
	request := &readinessv1.CompareReadinessReportsRequest{District: "d1", Report: "rev-3", BaseRevision: 1}
	_, err := e.client.CompareReadinessReports(reader, request)
	require.Equal(t, authn.ReasonScope, reason(err), "a reader has no reports made")
	since, err := compare(1)
	require.NoError(t, err)
	_, err = e.client.CompareReadinessReports(reader, request)
	require.NoError(t, err, "and reads those that are there")
	require.Equal(t, "rev-1", since.Base.ReportId)
	require.Equal(t, "student-email-missing", since.Checks[0].CheckId)
	require.Equal(t, []int32{3, 1}, []int32{since.Checks[0].Now.Count, since.Checks[0].Then.Count})

	e.roster.FailExports(5)
	_, err = compare(2)
	require.Equal(t, "REPORT_BASE_FAILED", reason(err))
	_, err = compare(2)
	require.NoError(t, err, "what has failed is tried again")
	schools, err := e.client.ListSchoolStatuses(e.ctx, &readinessv1.ListSchoolStatusesRequest{District: "d1"})
	require.NoError(t, err)
	require.EqualValues(t, 3, schools.Revision, "reports of earlier revisions that are made later are not the newest")

	// Nor is one of them, made last, what the next report is compared with.
	_, err = e.client.CreateReadinessReport(e.ctx, &readinessv1.CreateReadinessReportRequest{District: "d1", Revision: 1})
	require.NoError(t, err)
	e.commit("d1", student("d", "d@district.example"))
	e.await("d1", "rev-4")
	before, err := e.client.CompareReadinessReports(e.ctx, &readinessv1.CompareReadinessReportsRequest{District: "d1", Report: "rev-4"})
	require.NoError(t, err)
	require.Equal(t, "rev-3", before.Base.ReportId)
	_, err = e.client.CompareReadinessReports(e.ctx, &readinessv1.CompareReadinessReportsRequest{District: "d1", Report: "rev-1"})
	require.Equal(t, "REPORT_BASE_NOT_FOUND", reason(err), "no revision is before the first")
}

func TestFailedReportsCanBeRetried(t *testing.T) {
	e := start(t)
	defer e.run()()
	e.roster.FailExports(5)
	e.commit("d1", school("s1"), student("a", ""))
	r := e.await("d1", "rev-1")
	require.Equal(t, readinessv1.ReportState_FAILED, r.State)
	require.NotEmpty(t, r.Error)
	_, err := e.client.RetryReadinessReport(e.ctx, &readinessv1.RetryReadinessReportRequest{District: "d1", Report: "rev-1"})
	require.NoError(t, err)
	r = e.await("d1", "rev-1")
	require.Equal(t, readinessv1.ReportState_COMPLETED, r.State, r.Error)
	require.Empty(t, r.Error)
	require.EqualValues(t, 1, count(r, "student-email-missing"))
	_, err = e.client.RetryReadinessReport(e.ctx, &readinessv1.RetryReadinessReportRequest{District: "d1", Report: "rev-1"})
	require.Equal(t, codes.FailedPrecondition, errs.Status(err).Code())
	_, err = e.client.RetryReadinessReport(e.ctx, &readinessv1.RetryReadinessReportRequest{District: "d1", Report: "none"})
	require.Equal(t, codes.NotFound, errs.Status(err).Code())
}

func TestRequestsForOneRevisionShareTheWork(t *testing.T) {
	e := start(t)
	e.commit("d1", school("s1"), student("a", ""))
	e.commit("d1", student("b", ""))
	var ids []string
	for range 4 {
		r, err := e.client.CreateReadinessReport(e.ctx, &readinessv1.CreateReadinessReportRequest{District: "d1", Revision: 1})
		require.NoError(t, err)
		ids = append(ids, r.ReportId)
	}
	defer e.run()()
	for _, id := range ids {
		require.EqualValues(t, 1, count(e.await("d1", id), "student-email-missing"))
	}
	require.EqualValues(t, 2, count(e.await("d1", "rev-2"), "student-email-missing"))
	exports := e.roster.Exports()
	require.LessOrEqual(t, exports, 2, "one for each revision")
	// The replica has gone on, so that a report of revision 1 would cost an export.
	for range 2 {
		r, err := e.client.CreateReadinessReport(e.ctx, &readinessv1.CreateReadinessReportRequest{District: "d1", Revision: 1})
		require.NoError(t, err)
		require.EqualValues(t, 1, count(e.await("d1", r.ReportId), "student-email-missing"))
	}
	require.Equal(t, exports, e.roster.Exports(), "the work is done")
}

// A district that queues much does not keep the others waiting.
func TestDistrictsTakeTurns(t *testing.T) {
	e := startWith(t, readiness.Config{Workers: 1})
	type queued struct{ district, id string }
	var all []queued
	queue := func(district string, n int) {
		e.roster.Commit(district, school("s1"), student("a", ""))
		for range n {
			all = append(all, queued{district, e.create(district).ReportId})
		}
	}
	queue("busy", 40)
	for i := range 5 {
		queue(fmt.Sprintf("calm-%d", i), 1)
	}
	defer e.run()()
	type ended struct {
		queued
		at time.Time
	}
	var order []ended
	for _, q := range all {
		r := e.await(q.district, q.id)
		require.Equal(t, readinessv1.ReportState_COMPLETED, r.State)
		order = append(order, ended{q, r.EndTime.AsTime()})
	}
	slices.SortFunc(order, func(a, b ended) int { return a.at.Compare(b.at) })
	for i, o := range order {
		if o.district != "busy" {
			require.Less(t, i, 8, "%s came after many of the district that queued 40", o.district)
		}
	}
}

// Old reports go; what those that stay share with them does not.
func TestOldReportsAreRemoved(t *testing.T) {
	e := startWith(t, readiness.Config{Newest: 2})
	stop := e.run()
	e.commit("d1", school("s1"), student("a", ""))
	e.await("d1", "rev-1")
	e.commit("d1", student("b", ""))
	e.await("d1", "rev-2")
	e.commit("d1", school("s2"))
	e.await("d1", "rev-3")
	e.commit("d1", student("b", "b@district.example"))
	e.await("d1", "rev-4")
	blobs := len(e.keys())
	// Retention leaves a district alone that waits for a report, and an engine that
	// is stopped now would find rev-4 in the queue or queue it once more.
	noted := docstore.NewCollection[*readinessv1.ReportedDistrict](e.docs, "readiness-districts", nil)
	waiting := docstore.NewCollection[*readinessv1.QueuedReport](e.docs, "readiness-queue", nil)
	require.Eventually(t, func() bool {
		d, err := noted.Get(e.ctx, "d1")
		_, gone := waiting.Get(e.ctx, "d1/rev-4")
		return err == nil && d.Value.GetRevision() == 4 && errors.Is(gone, docstore.ErrNotFound)
	}, testkit.Wait, time.Millisecond)
	stop()

	stop = e.run() // A round of retention begins with it.
	require.Eventually(t, func() bool {
		list, err := e.client.ListReadinessReports(e.ctx, &readinessv1.ListReadinessReportsRequest{District: "d1"})
		return err == nil && len(list.ReadinessReports) == 2 && len(e.keys()) < blobs
	}, 10*time.Second, 5*time.Millisecond)
	_, err := e.client.GetReadinessReport(e.ctx, &readinessv1.GetReadinessReportRequest{District: "d1", Report: "rev-2"})
	require.Equal(t, codes.NotFound, errs.Status(err).Code())
	require.Len(t, e.csv(&readinessv1.DownloadReadinessReportRequest{District: "d1", Report: "rev-3", CheckId: "student-email-missing"}), 1+2)
	require.Len(t, e.csv(&readinessv1.DownloadReadinessReportRequest{District: "d1", Report: "rev-4"}), 1+1+2+1, "two students without guardians, one without email, one empty school")
	e.commit("d1", student("c", ""))
	require.EqualValues(t, 2, count(e.await("d1", "rev-5"), "student-email-missing"))
	require.Len(t, e.csv(&readinessv1.DownloadReadinessReportRequest{District: "d1", Report: "rev-5", CheckId: "student-email-missing"}), 1+2)
	stop()
}
