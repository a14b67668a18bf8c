package e2e

import (
	"bytes"
	"encoding/csv"
	"net/http"
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
