package readiness_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/testkit"
	readiness "github.com/securly/sync/services/readiness-engine"
)

func TestSchoolStatuses(t *testing.T) {
	e := start(t)
	defer e.run()()
	list := func(ctx context.Context, size int32) (lines []string, last *readinessv1.ListSchoolStatusesResponse) {
		t.Helper()
		req := &readinessv1.ListSchoolStatusesRequest{District: "d1", PageSize: size}
		for {
			page, err := e.client.ListSchoolStatuses(ctx, req)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Schools), int(size))
			for _, s := range page.Schools {
				lines = append(lines, fmt.Sprintf("%s %s: %d/%d, %d errors, %d alerts", s.SchoolId, s.Status.State, s.Teachers, s.Students, s.Errors, s.Alerts))
			}
			if req.PageToken = page.NextPageToken; req.PageToken == "" {
				return lines, page
			}
		}
	}
	e.roster.Open("d1")
	lines, page := list(e.ctx, 10)
	require.Empty(t, lines, "nothing was reported yet")
	require.Empty(t, page.Report)

	source := &ingestv1.Source{SourceId: "sis", DisplayName: "SIS"}
	done := &ingestv1.Sync{SyncId: "1", Source: "sis", State: ingestv1.SyncState_COMPLETED}
	e.ingest.Sync("d1", []*ingestv1.Source{source}, []*ingestv1.Sync{done})
	e.commit("d1", school("s1"), school("s2"), school("s3"), school("s4"),
		student("a", ""), student("b", "b@district.example"), studentAt("s2", "c", ""), studentAt("s2", "d", ""), studentAt("s3", "f", "f@district.example"))
	e.await("d1", "rev-1")

	lines, page = list(e.ctx, 3)
	require.Equal(t, []string{"s2", "s1", "s3", "s4"}, first(lines), "what there is to fix comes first: %q", lines)
	require.EqualValues(t, 4, page.TotalSize)
	require.EqualValues(t, 1, page.Revision)
	require.Equal(t, "districts/d1/readinessReports/rev-1", page.Report)
	require.Equal(t, "SIS", page.Sources[0].DisplayName)
	require.Contains(t, lines[0], "CONNECTED: 0/2")
	whole, _ := list(e.ctx, 1000)
	require.Equal(t, whole, lines, "pages are the list")

	// A plan on hold goes before, for the schools that it touches.
	held := &ingestv1.Sync{SyncId: "2", Source: "sis", State: ingestv1.SyncState_ON_HOLD, Schools: []*ingestv1.SchoolChanges{{SchoolId: "s4"}}}
	e.ingest.Sync("d1", []*ingestv1.Source{source}, []*ingestv1.Sync{held, done})
	lines, page = list(e.ctx, 1)
	require.Equal(t, []string{"s4", "s2", "s1", "s3"}, first(lines))
	require.Contains(t, lines[0], "ON_HOLD")
	require.Equal(t, "2", page.Sources[0].Status.SyncId)

	// Settings apply to the reading.
	_, err := e.client.UpdateReadinessSettings(e.ctx, &readinessv1.UpdateReadinessSettingsRequest{District: "d1", Settings: &readinessv1.ReadinessSettings{
		Rules: []*readinessv1.CheckRule{{CheckId: "student-email-missing", Mode: readinessv1.CheckMode_OFF, SchoolId: "s2"}},
	}})
	require.NoError(t, err)
	before := lines
	lines, _ = list(e.ctx, 10)
	require.Equal(t, []string{"s4", "s1", "s2", "s3"}, first(lines), "was %q, is %q", before, lines)

	// Who is limited to schools sees these alone.
	principal := authn.Principal{Subject: "p", Scopes: []string{"readiness.read"}, Districts: []string{"d1"}, Schools: []string{"s3", "s2", "elsewhere"}}
	lines, page = list(testkit.As(t, t.Context(), principal), 1)
	require.Equal(t, []string{"s2", "s3"}, first(lines))
	require.EqualValues(t, 2, page.TotalSize)
	require.Empty(t, page.Sources)
	stolen, err := e.client.ListSchoolStatuses(e.ctx, &readinessv1.ListSchoolStatusesRequest{District: "d1", PageSize: 1})
	require.NoError(t, err)
	_, err = e.client.ListSchoolStatuses(testkit.As(t, t.Context(), principal),
		&readinessv1.ListSchoolStatusesRequest{District: "d1", PageSize: 1, PageToken: stolen.NextPageToken})
	require.Equal(t, "PAGE_TOKEN_INVALID", reason(err))

	e.ingest.Away(true)
	_, err = e.client.ListSchoolStatuses(e.ctx, &readinessv1.ListSchoolStatusesRequest{District: "d1"})
	require.Error(t, err, "a status that nobody knows is not made up")
}

// first returns the first word of each line.
func first(lines []string) (ids []string) {
	for _, l := range lines {
		var id string
		_, _ = fmt.Sscan(l, &id)
		ids = append(ids, id)
	}
	return ids
}

// The domains that a district declares count from the next report on, which the
// sweep asks for.
func TestDeclaredDomainsOfADistrict(t *testing.T) {
	e := startWith(t, readiness.Config{Compare: 20 * time.Millisecond})
	defer e.run()()
	e.ingest.Set("d1", &ingestv1.District{Etag: "1", EmailDomains: []string{"district.example"}})
	e.commit("d1", school("s1"), student("a", "a@district.example"), student("b", "b@other.example"))
	require.EqualValues(t, 1, count(e.await("d1", "rev-1"), "email-domain-unexpected"))

	e.ingest.Set("d1", &ingestv1.District{Etag: "2", EmailDomains: []string{"nowhere.example"}})
	require.EqualValues(t, 2, count(e.await("d1", "rev-1-2"), "email-domain-unexpected"))
	require.EqualValues(t, 1, count(e.get("d1", "rev-1", ""), "email-domain-unexpected"), "a report never changes")

	// While ingest is away, those that were known last are gone by.
	e.ingest.Away(true)
	e.commit("d1", student("c", "c@nowhere.example"))
	require.EqualValues(t, 2, count(e.await("d1", "rev-2"), "email-domain-unexpected"))
	e.ingest.Set("d1", &ingestv1.District{Etag: "3"})
	e.ingest.Away(false)
	require.EqualValues(t, 0, count(e.await("d1", "rev-2-3"), "email-domain-unexpected"), "each domain is the most used one")
	require.Never(t, func() bool {
		page, err := e.client.ListReadinessReports(e.ctx, &readinessv1.ListReadinessReportsRequest{District: "d1"})
		return err != nil || len(page.ReadinessReports) != 4
	}, 100*time.Millisecond, 20*time.Millisecond, "the same declaration asks for no other report")
}
