package readiness_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
)

func (e *engine) settings(settings *readinessv1.ReadinessSettings, mask ...string) (*readinessv1.ReadinessSettings, error) {
	return e.client.UpdateReadinessSettings(e.ctx, &readinessv1.UpdateReadinessSettingsRequest{
		District: "d1", Settings: settings, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask},
	})
}

func (e *engine) findings(req *readinessv1.ListReadinessFindingsRequest) (ids []string, total int32) {
	e.t.Helper()
	req.District = "d1"
	for {
		page, err := e.client.ListReadinessFindings(e.ctx, req)
		require.NoError(e.t, err)
		for _, f := range page.Findings {
			ids = append(ids, f.SourcedId)
		}
		total = page.TotalSize
		if req.PageToken = page.NextPageToken; req.PageToken == "" {
			return ids, total
		}
	}
}

func studentAt(school, id, email string) *typev1.Record {
	r := student(id, email)
	r.GetUser().Roles[0].Org.SourcedId = school
	return r
}

func result(r *readinessv1.ReadinessReport, check string) *readinessv1.CheckResult {
	for _, c := range r.Checks {
		if c.CheckId == check {
			return c
		}
	}
	return nil
}

func TestSettingsActOnTheNextReading(t *testing.T) {
	e := start(t)
	defer e.run()()
	e.commit("d1", school("s1"), school("s2"),
		studentAt("s1", "a", ""), studentAt("s1", "b", ""), studentAt("s2", "c", ""), studentAt("s2", "securlyinternal:1", ""))
	e.await("d1", "rev-1")
	const email, guardians = "student-email-missing", "student-guardians-missing"
	read := func(product string) (emails, others [2]int32) {
		r := e.get("d1", "rev-1", product)
		pair := func(c *readinessv1.CheckResult) [2]int32 { return [2]int32{c.GetCount(), c.GetInformationalCount()} }
		return pair(result(r, email)), pair(result(r, guardians))
	}
	got, _ := read("")
	require.Equal(t, [2]int32{3, 1}, got)

	for name, c := range map[string]struct {
		rules   []*readinessv1.CheckRule
		product string
		want    [2]int32
		listed  []string
	}{
		"no rule":       {nil, "", [2]int32{3, 1}, []string{"a", "b", "c", "securlyinternal:1"}},
		"off":           {[]*readinessv1.CheckRule{{CheckId: email, Mode: readinessv1.CheckMode_OFF}}, "", [2]int32{0, 0}, nil},
		"informational": {[]*readinessv1.CheckRule{{CheckId: email, Mode: readinessv1.CheckMode_INFORMATIONAL}}, "", [2]int32{0, 4}, []string{"a", "b", "c", "securlyinternal:1"}},
		"one school off": {
			[]*readinessv1.CheckRule{{CheckId: email, SchoolId: "s1", Mode: readinessv1.CheckMode_OFF}}, "", [2]int32{1, 1}, []string{"c", "securlyinternal:1"},
		},
		"off but for one school": {
			[]*readinessv1.CheckRule{{CheckId: email, Mode: readinessv1.CheckMode_OFF}, {CheckId: email, SchoolId: "s2", Mode: readinessv1.CheckMode_COUNTED}},
			"",
			[2]int32{1, 1},
			[]string{"c", "securlyinternal:1"},
		},
		"for another product": {
			[]*readinessv1.CheckRule{{CheckId: email, Product: "home", Mode: readinessv1.CheckMode_OFF}}, "filter", [2]int32{3, 1}, []string{"a", "b", "c", "securlyinternal:1"},
		},
		"for the product, at one school": {
			[]*readinessv1.CheckRule{
				{CheckId: email, Product: "filter", SchoolId: "s2", Mode: readinessv1.CheckMode_INFORMATIONAL}, {CheckId: email, SchoolId: "s2", Mode: readinessv1.CheckMode_OFF},
			}, "filter", [2]int32{2, 2}, []string{"a", "b", "c", "securlyinternal:1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.settings(&readinessv1.ReadinessSettings{Rules: c.rules}, "rules")
			require.NoError(t, err)
			got, others := read(c.product)
			require.Equal(t, c.want, got)
			if c.product == "" {
				require.Equal(t, [2]int32{3, 1}, others, "other checks stay as they are")
			}
			ids, total := e.findings(&readinessv1.ListReadinessFindingsRequest{Report: "rev-1", CheckId: email, Product: c.product, PageSize: 1})
			require.Equal(t, c.listed, ids)
			require.EqualValues(t, len(c.listed), total)
			rows := e.csv(&readinessv1.DownloadReadinessReportRequest{District: "d1", Report: "rev-1", CheckId: email, Product: c.product})
			require.Len(t, rows, 1+len(c.listed))
			counting := 0
			for _, row := range rows[1:] {
				if row[3] == "yes" {
					counting++
				}
			}
			require.EqualValues(t, c.want[0], counting)
			yes := true
			_, total = e.findings(&readinessv1.ListReadinessFindingsRequest{Report: "rev-1", CheckId: email, Product: c.product, Actionable: &yes})
			require.Equal(t, c.want[0], total)
		})
	}
}

func TestFindingsAreFilteredBySchoolAndActionable(t *testing.T) {
	e := start(t)
	defer e.run()()
	records := []*typev1.Record{school("s1"), school("s2")}
	for i := range 1500 {
		records = append(records, studentAt([]string{"s1", "s2"}[i%2], fmt.Sprintf("%04d", i), ""))
	}
	e.commit("d1", append(records, studentAt("s1", "securlyinternal:1", ""))...)
	e.await("d1", "rev-1")
	yes, no := true, false
	for _, c := range []struct {
		school     string
		actionable *bool
		want       int
	}{{"", nil, 1501}, {"s1", nil, 751}, {"s2", nil, 750}, {"s2", &no, 0}, {"s1", &no, 1}, {"s1", &yes, 750}, {"", &no, 1}, {"s9", nil, 0}} {
		ids, total := e.findings(&readinessv1.ListReadinessFindingsRequest{
			Report: "rev-1", CheckId: "student-email-missing", SchoolId: c.school, Actionable: c.actionable, PageSize: 400,
		})
		require.Len(t, ids, c.want)
		require.Len(t, slices.Compact(ids), c.want)
		require.EqualValues(t, c.want, total)
		require.Len(t, e.csv(&readinessv1.DownloadReadinessReportRequest{
			District: "d1", Report: "rev-1", CheckId: "student-email-missing", SchoolId: c.school, Actionable: c.actionable,
		}), 1+c.want)
	}
}

func TestRolloverWindow(t *testing.T) {
	e := start(t)
	defer e.run()()
	e.commit("d1", school("s1"), &typev1.Record{Record: &typev1.Record_Class{Class: &typev1.Class{
		SourcedId: "c1", Status: "active", Title: "Class", School: &typev1.Ref{SourcedId: "s1"},
	}}})
	r := e.await("d1", "rev-1")
	require.EqualValues(t, 1, count(r, "class-students-missing"))
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	_, err := e.settings(&readinessv1.ReadinessSettings{RolloverWindows: []*readinessv1.RolloverWindow{
		{StartDate: day(-40), EndDate: day(-30)}, {StartDate: day(-1), EndDate: day(1)},
	}})
	require.NoError(t, err)
	r = e.get("d1", "rev-1", "")
	c := result(r, "class-students-missing")
	require.Equal(t, []int32{0, 1}, []int32{c.Count, c.InformationalCount})
	require.Contains(t, c.ModeReason, "rollover")
	require.EqualValues(t, 1, count(r, "class-course-missing"), "no rollover takes courses away")
	page, err := e.client.ListReadinessFindings(e.ctx, &readinessv1.ListReadinessFindingsRequest{District: "d1", Report: "rev-1", CheckId: "class-students-missing"})
	require.NoError(t, err)
	require.False(t, page.Findings[0].Actionable)
	require.Contains(t, page.Findings[0].Reason, "rollover")
}

// Days are those of the district's clocks: of two districts whose clocks are 25
// hours apart, one is in its window and its term.
func TestDaysAreTheDistricts(t *testing.T) {
	e := start(t)
	defer e.run()()
	ahead, err := time.LoadLocation("Pacific/Kiritimati")
	require.NoError(t, err)
	first, last := time.Now().In(ahead), time.Now().In(ahead).AddDate(0, 0, 1)
	e.ingest.Set("d1", &ingestv1.District{TimeZone: "Pacific/Kiritimati"})
	e.ingest.Set("d2", &ingestv1.District{TimeZone: "Pacific/Pago_Pago"})
	for _, d := range []string{"d1", "d2"} {
		e.roster.Open(d)
		_, err := e.client.UpdateReadinessSettings(e.ctx, &readinessv1.UpdateReadinessSettingsRequest{
			District: d, Settings: &readinessv1.ReadinessSettings{RolloverWindows: []*readinessv1.RolloverWindow{
				{StartDate: first.Format(time.DateOnly), EndDate: last.Format(time.DateOnly)},
			}},
		})
		require.NoError(t, err)
		e.commit(d, school("s1"), &typev1.Record{Record: &typev1.Record_Class{Class: &typev1.Class{
			SourcedId: "c1", Status: "active", Title: "Class", School: &typev1.Ref{SourcedId: "s1"},
		}}}, &typev1.Record{Record: &typev1.Record_AcademicSession{AcademicSession: &typev1.AcademicSession{
			SourcedId: "t1", Status: "active", Title: "Term", Type: "term", StartDate: first.Format(time.DateOnly), EndDate: last.Format(time.DateOnly),
		}}})
	}
	for d, want := range map[string][]int32{"d1": {0, 1, 0}, "d2": {1, 0, 1}} {
		e.await(d, "rev-1")
		e.ingest.Away(true) // The next one goes by the clocks of the last.
		e.commit(d, school("s2"))
		for _, id := range []string{"rev-1", "rev-2"} {
			r := e.await(d, id)
			students := result(r, "class-students-missing")
			require.Equal(t, want, []int32{students.Count, students.InformationalCount, count(r, "session-none-current")}, "%s in %s", id, d)
		}
		e.ingest.Away(false)
	}
}

func TestSettingsAreValidated(t *testing.T) {
	e := start(t)
	e.roster.Open("d1")
	const check = "student-guardians-missing"
	off := readinessv1.CheckMode_OFF
	for field, bad := range map[string]*readinessv1.ReadinessSettings{
		"rules[0].checkId":             {Rules: []*readinessv1.CheckRule{{CheckId: "none", Mode: off}}},
		"rules[1].checkId":             {Rules: []*readinessv1.CheckRule{{CheckId: check, Mode: off}, {CheckId: check, Mode: readinessv1.CheckMode_COUNTED}}},
		"rules[0].mode":                {Rules: []*readinessv1.CheckRule{{CheckId: check}}},
		"rules[0].product":             {Rules: []*readinessv1.CheckRule{{CheckId: check, Mode: off, Product: "filter"}}},
		"rules[0].schoolId":            {Rules: []*readinessv1.CheckRule{{CheckId: check, Mode: off, SchoolId: strings.Repeat("x", 300)}}},
		"rolloverWindows[0].startDate": {RolloverWindows: []*readinessv1.RolloverWindow{{StartDate: "July", EndDate: "2026-08-01"}}},
		"rolloverWindows[0].endDate":   {RolloverWindows: []*readinessv1.RolloverWindow{{StartDate: "2026-08-02", EndDate: "2026-08-01"}}},
		"rules":                        {Rules: make([]*readinessv1.CheckRule, 1001)},
	} {
		for i := range bad.Rules {
			if bad.Rules[i] == nil {
				bad.Rules[i] = &readinessv1.CheckRule{}
			}
		}
		_, err := e.settings(bad)
		require.Equal(t, codes.InvalidArgument, errs.Status(err).Code(), field)
		var named *errs.Error
		require.ErrorAs(t, err, &named)
		require.Equal(t, field, named.Detail("field"))
	}
	_, err := e.settings(&readinessv1.ReadinessSettings{}, "colour")
	require.Equal(t, codes.InvalidArgument, errs.Status(err).Code())

	first, err := e.settings(&readinessv1.ReadinessSettings{Rules: []*readinessv1.CheckRule{{CheckId: check, Mode: off}}})
	require.NoError(t, err)
	require.NotEmpty(t, first.Etag)
	second, err := e.settings(&readinessv1.ReadinessSettings{
		Etag: first.Etag, RolloverWindows: []*readinessv1.RolloverWindow{{StartDate: "2026-07-01", EndDate: "2026-08-01"}},
	})
	require.NoError(t, err)
	require.Len(t, second.Rules, 1, "what is not named stays")
	_, err = e.settings(&readinessv1.ReadinessSettings{Etag: first.Etag}, "rules")
	require.Equal(t, codes.Aborted, errs.Status(err).Code(), "somebody wrote since")
	got, err := e.client.GetReadinessSettings(e.ctx, &readinessv1.GetReadinessSettingsRequest{District: "d1"})
	require.NoError(t, err)
	require.Equal(t, second.Etag, got.Etag)
	_, err = e.client.GetReadinessSettings(e.ctx, &readinessv1.GetReadinessSettingsRequest{District: "nowhere"})
	require.Equal(t, codes.NotFound, errs.Status(err).Code())
}
