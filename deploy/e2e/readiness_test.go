package e2e

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/rostergen"
)

type checkResult struct {
	CheckID                   string
	Count, InformationalCount int
	Mode, ModeReason          string
}

// A district's settings change how its reports read; reports are compared,
// followed over time, filtered and asked for at earlier revisions.
func TestReadinessOverHTTP(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		const reports, check = "/v1/districts/readiness/readinessReports", "student-email-missing"
		h.newDistrict(t, "readiness")
		first, before := generate(t, rostergen.Config{Seed: 31, Students: 200, Flaws: rostergen.Each(2)})
		second, after := generate(t, rostergen.Config{Seed: 31, Students: 200, Flaws: rostergen.Each(2), Day: 2, ChangeShare: 0.03})
		h.sync(t, "readiness", first)
		h.wantReport(t, "readiness", before, 1)
		h.sync(t, "readiness", second)
		h.wantReport(t, "readiness", after, 2)

		count := func(product string) checkResult {
			var r struct{ Checks []checkResult }
			h.get(t, reports+"/rev-2?product="+product, &r)
			for _, c := range r.Checks {
				if c.CheckID == check {
					return c
				}
			}
			return checkResult{}
		}
		want := after.Checks[rostergen.Check(check)]
		require.Equal(t, want, count("").Count)
		require.Equal(t, "COUNTED", count("").Mode)
		const settings = "/v1/districts/readiness/readinessSettings"
		var stored struct{ Etag string }
		require.NoError(t, h.Call(t.Context(), http.MethodPatch, settings, map[string]any{
			"rules": []map[string]string{{"checkId": check, "mode": "INFORMATIONAL", "product": "filter"}},
		}, &stored))
		require.Equal(t, want, count("").Count)
		require.Zero(t, count("filter").Count)
		require.Equal(t, "INFORMATIONAL", count("filter").Mode)
		require.NotEmpty(t, count("filter").ModeReason)
		h.problem(t, http.MethodPatch, settings, map[string]any{"rules": []map[string]string{{"checkId": "none", "mode": "OFF"}}}, http.StatusBadRequest, "rules[0].checkId")
		require.NoError(t, h.Call(t.Context(), http.MethodPatch, settings, map[string]any{"rules": []any{}, "etag": stored.Etag}, nil))
		require.Equal(t, want, count("filter").Count, "an empty list takes all rules back")
		h.get(t, settings, &stored)

		var trend struct{ Points []struct{ Revision int } }
		h.get(t, reports+":trend?checkId="+check, &trend)
		require.GreaterOrEqual(t, len(trend.Points), 4)
		require.Equal(t, 1, trend.Points[len(trend.Points)-1].Revision)
		var changes struct {
			Base   struct{ Revision int }
			Checks []struct{ Now, Then checkResult }
		}
		h.get(t, reports+"/rev-2:compare?baseRevision=1", &changes)
		require.Equal(t, 1, changes.Base.Revision)
		require.Len(t, changes.Checks, 31)

		var earlier struct {
			Name     string
			Revision int
		}
		require.NoError(t, h.Call(t.Context(), http.MethodPost, reports, map[string]any{"revision": 1}, &earlier))
		require.Equal(t, 1, earlier.Revision)
		h.problem(t, http.MethodPost, reports, map[string]any{"revision": 99}, http.StatusBadRequest, "revision")
		h.problem(t, http.MethodPost, reports+"/rev-2:retry", map[string]any{}, http.StatusBadRequest, "failed")

		var page struct {
			Findings  []struct{ SchoolID string }
			TotalSize int
		}
		h.get(t, reports+"/rev-2/findings?pageSize=1&actionable=true&checkId="+check, &page)
		require.Equal(t, want, page.TotalSize)
		all := page.TotalSize
		h.get(t, reports+"/rev-2/findings?actionable=true&checkId="+check+"&schoolId="+page.Findings[0].SchoolID, &page)
		require.Positive(t, page.TotalSize)
		require.LessOrEqual(t, page.TotalSize, all)
		a, err := h.Do(t.Context(), http.MethodGet, reports+"/rev-2:download?actionable=true&checkId="+check+"&schoolId="+page.Findings[0].SchoolID, nil)
		require.NoError(t, err)
		rows, err := csv.NewReader(bytes.NewReader(a.Body)).ReadAll()
		require.NoError(t, err, strconv.Itoa(a.Status))
		require.Len(t, rows, 1+page.TotalSize)
	})
}

// The schools of a district, for an administrator of the district and of one
// school; what the district declares of its emails counts in its next report.
func TestSchoolStatusesOverHTTP(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		const district, list = "/v1/districts/schools", "/v1/districts/schools/schools:status"
		type status struct{ State, Reason, SourceID, SyncID string }
		type answer struct {
			Schools []struct {
				SchoolID, Name                     string
				Status                             status
				Teachers, Students, Errors, Alerts int
			}
			Sources       []struct{ Status status }
			NextPageToken string
			TotalSize     int
			Revision      int
		}
		h.newDistrict(t, "schools")
		var empty answer
		h.get(t, list, &empty)
		require.Empty(t, empty.Schools)
		require.Equal(t, "SETUP", empty.Sources[0].Status.State)

		zip, want := generate(t, rostergen.Config{Seed: 33, Students: 300, Flaws: rostergen.Each(2)})
		h.sync(t, "schools", zip)
		h.wantReport(t, "schools", want, 1)
		var all answer
		h.get(t, list, &all)
		require.Equal(t, 1, all.Revision)
		require.Len(t, all.Schools, all.TotalSize)
		require.NotEmpty(t, all.Schools)
		require.Equal(t, "CONNECTED", all.Sources[0].Status.State)
		for i, s := range all.Schools {
			require.Equal(t, "CONNECTED", s.Status.State, s.Status.Reason)
			require.NotEmpty(t, s.Name)
			require.True(t, i == 0 || s.Errors <= all.Schools[i-1].Errors, "what there is to fix comes first")
			for role, got := range map[string]int{"student": s.Students, "teacher": s.Teachers} {
				var users struct{ TotalSize int }
				h.get(t, district+"/users?pageSize=1&status=active&role="+role+"&orgId="+url.QueryEscape(s.SchoolID), &users)
				require.Equal(t, users.TotalSize, got, "%ss of %s, as the data viewer finds them", role, s.SchoolID)
			}
		}
		require.Positive(t, all.Schools[0].Errors)
		var paged answer
		h.get(t, list+"?pageSize=1", &paged)
		require.Equal(t, all.Schools[:1], paged.Schools)
		if all.TotalSize > 1 {
			h.get(t, list+"?pageSize=1&pageToken="+url.QueryEscape(paged.NextPageToken), &paged)
			require.Equal(t, all.Schools[1:2], paged.Schools)
		}

		mine := all.Schools[len(all.Schools)-1].SchoolID
		var made struct{ ClientID, ClientSecret string }
		require.NoError(t, h.Call(t.Context(), http.MethodPost, "/v1/clients", map[string]any{
			"displayName": "Principal", "scopes": []string{"readiness.read"}, "districts": []string{"schools"}, "schools": []string{mine},
		}, &made))
		principal, err := h.ClientAs(t.Context(), made.ClientID, made.ClientSecret)
		require.NoError(t, err)
		var own answer
		require.NoError(t, principal.Call(t.Context(), http.MethodGet, list, nil, &own))
		require.Len(t, own.Schools, 1)
		require.Equal(t, mine, own.Schools[0].SchoolID)
		require.Empty(t, own.Sources)

		require.NoError(t, h.Call(t.Context(), http.MethodPatch, district, map[string]any{"emailDomains": []string{"nowhere.example"}}, nil))
		_, err = h.RunReport(t.Context(), "schools")
		require.NoError(t, err)
		var again answer
		h.get(t, list, &again)
		alerts := 0
		for i := range again.Schools {
			alerts += again.Schools[i].Alerts - all.Schools[i].Alerts
		}
		require.Greater(t, alerts, 300, "nobody's email is in the declared domain")

		smaller, _ := generate(t, rostergen.Config{Seed: 33, Students: 100})
		s := h.held(t, "schools", smaller, "many-removals")
		var held answer
		h.get(t, list, &held)
		require.Equal(t, status{State: "ON_HOLD", Reason: held.Schools[0].Status.Reason, SourceID: "sis", SyncID: s.SyncID}, held.Schools[0].Status)
		require.Equal(t, "ON_HOLD", held.Sources[0].Status.State)
	})
}
