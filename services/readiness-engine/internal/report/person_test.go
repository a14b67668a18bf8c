package report

import (
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob/memblob"
	"google.golang.org/protobuf/proto"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// of yields findings, all made up, as they are stored.
func of(found ...*readinessv1.ReadinessFinding) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, f := range found {
			if !yield(proto.Marshal(f)) {
				return
			}
		}
	}
}

func (r *Reports) all(t *testing.T, report string) (out []*readinessv1.ReadinessFinding) {
	t.Helper()
	s, err := r.Get(t.Context(), "d", report)
	require.NoError(t, err)
	for _, stored := range s.GetFindings() {
		for f, err := range r.findings.read(t.Context(), stored, 0) {
			require.NoError(t, err)
			out = append(out, f)
		}
	}
	return out
}

func TestErasingAPersonFromReports(t *testing.T) {
	bucket := memblob.OpenBucket(nil)
	defer func() { require.NoError(t, bucket.Close()) }()
	r := Open(testkit.Docs(t), bucket, declared(nil))
	cache := replica.NewCache(nil, 1<<20, 10, testkit.Log(t))
	shared, err := r.findings.store(t.Context(), "d", "1", "student-email-duplicate", of(
		&readinessv1.ReadinessFinding{Entity: "users", SourcedId: "gone", DisplayName: "Gone Person", Email: "gone@made-up.example", Grades: []string{"05"}, Role: "student", RelatedSourcedId: "stays", RelatedName: "Stays Here"},
		&readinessv1.ReadinessFinding{Entity: "users", SourcedId: "stays", DisplayName: "Stays Here", Email: "stays@made-up.example", Grades: []string{"06"}, RelatedSourcedId: "gone", RelatedName: "Gone Person"},
		&readinessv1.ReadinessFinding{Entity: "enrollments", SourcedId: "e", UserSourcedId: "gone", DisplayName: "Gone Person", RelatedSourcedId: "class", RelatedName: "Art"},
		&readinessv1.ReadinessFinding{Entity: "classes", SourcedId: "gone", DisplayName: "A class of that id"},
	))
	require.NoError(t, err)
	var many []*readinessv1.ReadinessFinding
	for i := range 2*frameFindings + 1 {
		many = append(many, &readinessv1.ReadinessFinding{Entity: "users", SourcedId: fmt.Sprint(i), DisplayName: "Somebody Else"})
	}
	other, err := r.findings.store(t.Context(), "d", "1", "student-grade-missing", of(many...))
	require.NoError(t, err)
	for _, id := range []string{"1", "2"} {
		_, err := r.reports.Create(t.Context(), documentID("d", id), &readinessv1.StoredReport{
			District: "d", Findings: []*readinessv1.StoredFindings{shared, other},
			Report: &readinessv1.ReadinessReport{ReportId: id, State: readinessv1.ReportState_COMPLETED},
		})
		require.NoError(t, err)
	}
	leftOver, err := r.findings.store(t.Context(), "d", "1", "left-over", of(&readinessv1.ReadinessFinding{DisplayName: "Gone Person"}))
	require.NoError(t, err)

	for _, want := range []int{1, 0} { // again, there is nothing to do
		n, err := r.ErasePerson(t.Context(), cache, "d", "gone")
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	for _, id := range []string{"1", "2"} {
		got := r.all(t, id)
		require.Len(t, got, 4+len(many))
		require.Equal(t, "gone", got[0].GetSourcedId())
		require.Equal(t, "student", got[0].GetRole())
		require.Equal(t, "Stays Here", got[0].GetRelatedName())
		require.Equal(t, "stays@made-up.example", got[1].GetEmail())
		require.Equal(t, "A class of that id", got[3].GetDisplayName())
		for _, f := range got {
			require.NotContains(t, f.String(), "Gone Person")
			require.NotContains(t, f.String(), "gone@made-up.example")
		}
	}
	for key, err := range r.findings.keys(t.Context(), "") {
		require.NoError(t, err)
		require.NotContains(t, []string{shared.GetBlob(), leftOver.GetBlob()}, key)
	}
}

// Findings that nobody can read are erased as a whole, and others none the less.
func TestErasingAPersonFromDamagedFindings(t *testing.T) {
	bucket := memblob.OpenBucket(nil)
	defer func() { require.NoError(t, bucket.Close()) }()
	r := Open(testkit.Docs(t), bucket, declared(nil))
	gone := &readinessv1.ReadinessFinding{Entity: "users", SourcedId: "gone", DisplayName: "Gone Person"}
	damaged, err := r.findings.store(t.Context(), "d", "1", "a", of(gone))
	require.NoError(t, err)
	sound, err := r.findings.store(t.Context(), "d", "1", "b", of(gone))
	require.NoError(t, err)
	require.NoError(t, bucket.WriteAll(t.Context(), damaged.GetBlob(), []byte("Gone Person"), nil))
	_, err = r.reports.Create(t.Context(), documentID("d", "1"), &readinessv1.StoredReport{
		District: "d", Findings: []*readinessv1.StoredFindings{damaged, sound},
		Report: &readinessv1.ReadinessReport{ReportId: "1", State: readinessv1.ReportState_COMPLETED},
	})
	require.NoError(t, err)
	for _, want := range []int{1, 0} {
		n, err := r.ErasePerson(t.Context(), replica.NewCache(nil, 1<<20, 10, testkit.Log(t)), "d", "gone")
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	there, err := bucket.Exists(t.Context(), damaged.GetBlob())
	require.NoError(t, err)
	require.False(t, there)
	s, err := r.Get(t.Context(), "d", "1")
	require.NoError(t, err)
	for f, err := range r.findings.read(t.Context(), s.GetFindings()[1], 0) {
		require.NoError(t, err)
		require.Empty(t, f.GetDisplayName())
	}
}

// Whoever made a report of data from before an erasure makes it again.
func TestAReportThatAnErasureOvertakes(t *testing.T) {
	bucket := memblob.OpenBucket(nil)
	defer func() { require.NoError(t, bucket.Close()) }()
	reports := Open(testkit.Docs(t), bucket, declared(nil))
	cache := replica.NewCache(nil, 1<<20, 10, testkit.Log(t))
	r := NewRunner(RunnerConfig{}, reports, cache, testkit.Log(t), time.Now)
	edition, err := r.fresh(t.Context(), "d")
	require.NoError(t, err)
	late, err := reports.findings.store(t.Context(), "d", "1", "late", of(&readinessv1.ReadinessFinding{DisplayName: "Gone Person"}))
	require.NoError(t, err)
	_, err = reports.reports.Create(t.Context(), documentID("d", "1"), &readinessv1.StoredReport{
		District: "d", Findings: []*readinessv1.StoredFindings{late},
		Report: &readinessv1.ReadinessReport{ReportId: "1", State: readinessv1.ReportState_COMPLETED},
	})
	require.NoError(t, err)
	q := &readinessv1.QueuedReport{District: "d", ReportId: "1"}
	require.NoError(t, r.outdated(t.Context(), q, edition, []*readinessv1.StoredFindings{late}), "nothing has happened")

	require.NoError(t, reports.begin(t.Context(), "d"))
	require.ErrorIs(t, r.outdated(t.Context(), q, edition, []*readinessv1.StoredFindings{late}), errOutdated)
	s, err := reports.Get(t.Context(), "d", "1")
	require.NoError(t, err)
	require.Equal(t, readinessv1.ReportState_PROCESSING, s.GetReport().GetState())
	there, err := bucket.Exists(t.Context(), late.GetBlob())
	require.NoError(t, err)
	require.False(t, there)
	next, err := r.fresh(t.Context(), "d")
	require.NoError(t, err)
	require.NoError(t, r.outdated(t.Context(), q, next, nil))
}
