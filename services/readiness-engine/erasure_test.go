package readiness_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

func TestEraseLeavesNothing(t *testing.T) {
	e := start(t)
	defer e.run()()
	e.commit("d1", school("s1"), student("a", ""))
	e.commit("d2", school("s1"), student("a", ""))
	e.await("d1", "rev-1")
	e.await("d2", "rev-1")
	e.roster.Erase("d1")
	_, err := e.client.EraseDistrict(e.ctx, &readinessv1.EraseDistrictRequest{District: "d1"})
	require.NoError(t, err)
	_, err = e.client.GetReadinessReport(e.ctx, &readinessv1.GetReadinessReportRequest{District: "d1", Report: "rev-1"})
	require.Equal(t, codes.NotFound, errs.Status(err).Code())
	it := e.blobs.List(nil)
	for {
		object, err := it.Next(e.ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(object.Key, "d2/"), object.Key)
	}
	require.NotNil(t, e.await("d2", "rev-1"))
}

// A person that is erased, by another engine than the one that keeps a replica, is
// in no report any more and in none to come.
func TestAnErasedPersonDoesNotComeBack(t *testing.T) {
	e := start(t)
	defer e.run()()
	e.commit("d1", school("s1"), student("gone", ""), student("stays", ""))
	e.await("d1", "rev-1")
	named := func(report, name string) bool {
		return slices.ContainsFunc(e.csv(&readinessv1.DownloadReadinessReportRequest{District: "d1", Report: report}), func(row []string) bool {
			return strings.Contains(strings.Join(row, " "), name)
		})
	}
	require.True(t, named("rev-1", "Family gone"))

	blanked := student("gone", "")
	blanked.GetUser().GivenName, blanked.GetUser().FamilyName, blanked.GetUser().Status = "", "", "tobedeleted"
	e.roster.Commit("d1", blanked)
	upkeep := readinessv1.NewUpkeepServiceClient(testkit.Server(t, e.service().Register))
	erased, err := upkeep.ErasePersonFindings(e.ctx, &readinessv1.ErasePersonFindingsRequest{District: "d1", SourcedId: "gone"})
	require.NoError(t, err)
	require.EqualValues(t, 2, erased.FindingsFiles, "without email, without guardian")
	e.commit("d1", student("new", ""))
	require.EqualValues(t, 2, count(e.await("d1", "rev-3"), "student-email-missing"))
	for _, report := range []string{"rev-1", "rev-3"} {
		require.False(t, named(report, "Family gone"), report)
		require.True(t, named(report, "Family stays"), report)
	}
	require.Equal(t, 2, e.roster.Exports(), "the replica from before is not used any more")
}

// An engine that did not hear of the erasure of a district has its replica still.
// It is none of another district's of the same name.
func TestADistrictUnderTheNameOfAnErasedOne(t *testing.T) {
	e := start(t)
	stop := e.run()
	e.commit("d1", school("s1"), student("a", ""))
	e.commit("d1", student("b", ""))
	require.EqualValues(t, 2, count(e.await("d1", "rev-2"), "student-email-missing"))

	e.roster.Erase("d1")
	other := readinessv1.NewReadinessServiceClient(testkit.Server(t, e.service().Register))
	_, err := other.EraseDistrict(e.ctx, &readinessv1.EraseDistrictRequest{District: "d1"})
	require.NoError(t, err)
	e.roster.Commit("d1", school("s1"), student("c", ""))
	e.roster.Commit("d1", student("c", "c@district.example"))
	r := e.await("d1", e.create("d1").ReportId)
	require.EqualValues(t, 2, r.Revision)
	require.EqualValues(t, 0, count(r, "student-email-missing"), "students of the district that was erased")
	stop()
}
