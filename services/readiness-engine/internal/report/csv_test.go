package report

import (
	"encoding/csv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob/memblob"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/testkit"
)

// Each column of a finding with all there is, and no cell that a spreadsheet
// would run.
func TestCSV(t *testing.T) {
	bucket := memblob.OpenBucket(nil)
	defer func() { require.NoError(t, bucket.Close()) }()
	r := Open(testkit.Docs(t), bucket, declared(nil))
	user, err := r.findings.store(t.Context(), "d", "1", "guardian-email-missing", of(&readinessv1.ReadinessFinding{
		Actionable: true, Reason: "=1+1", SchoolName: "+School", SchoolId: "-s1", Grades: []string{"@07", "08"}, DisplayName: "\t=Name", Role: "guardian",
		Email: "\r=mail", Entity: "users", SourcedId: "@u1", RelatedName: "=Child, \"the\"\nsecond", RelatedSourcedId: "-u2",
	}))
	require.NoError(t, err)
	enrollment, err := r.findings.store(t.Context(), "d", "1", "enrollment-end-date-missing", of(&readinessv1.ReadinessFinding{
		Entity: "enrollments", SourcedId: "e1", UserSourcedId: "u1", Reason: "Left over.",
	}))
	require.NoError(t, err)
	lens, err := r.Lens(t.Context(), "d", Filter{})
	require.NoError(t, err)
	rows := func(findings ...*readinessv1.StoredFindings) [][]string {
		var text strings.Builder
		stored := &readinessv1.StoredReport{District: "d", Report: &readinessv1.ReadinessReport{}, Findings: findings}
		for part, err := range r.CSV(t.Context(), stored, lens) {
			require.NoError(t, err)
			text.Write(part)
		}
		rows, err := csv.NewReader(strings.NewReader(text.String())).ReadAll()
		require.NoError(t, err)
		return rows
	}
	got := rows(user, enrollment)
	require.Equal(t, [][]string{
		{
			"Check", "Check ID", "Severity", "Actionable", "Reason", "School", "School ID", "Grade", "Name", "Role", "Email",
			"Entity", "Securly Internal ID", "User Securly Internal ID", "Related Name", "Related Securly Internal ID", "How To Fix",
		},
		{
			"Guardian has no email", "guardian-email-missing", "error", "yes", "'=1+1", "'+School", "'-s1", "'@07 08", "'\t=Name", "guardian", "'\r=mail",
			"users", "'@u1", "'@u1", "'=Child, \"the\"\nsecond", "'-u2", got[1][16],
		},
		{
			"Enrollment without an end date", "enrollment-end-date-missing", "alert", "no", "Left over.", "", "", "", "", "", "",
			"enrollments", "e1", "u1", "", "", got[2][16],
		},
	}, got)
	require.Contains(t, got[1][16], "Download the list")
	require.Len(t, rows(), 1, "the header alone")
}
