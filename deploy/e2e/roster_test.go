package e2e

import (
	"encoding/csv"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/rostergen"
)

var entities = []string{"users", "enrollments", "classes", "courses", "academicSessions", "demographics", "orgs"}

// The main job: a package goes in, every entity comes out with exact numbers,
// the report counts the flaws that were put in, and a second day costs only
// its changes.
func TestUploadToReport(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		for _, version := range []string{rostergen.V1p1, rostergen.V1p2} {
			district := "main-" + strings.ReplaceAll(version, ".", "-")
			h.newDistrict(t, district)
			cfg := rostergen.Config{Seed: 7, Students: 1000, Version: version, Flaws: rostergen.Each(3)}
			zip, want := generate(t, cfg)

			s := h.sync(t, district, zip)
			require.Equal(t, 1, s.Revision)
			for _, entity := range entities {
				require.Equal(t, want.Rows[entity], s.Counts[entity]["received"], entity)
				require.Equal(t, want.Rows[entity], s.Counts[entity]["created"], entity)
			}
			h.wantEntities(t, district, want)
			h.wantReport(t, district, want, 1)

			again := h.sync(t, district, zip)
			require.Zero(t, again.Revision, "nothing changed")
			require.Equal(t, want.Rows["users"], again.Counts["users"]["unchanged"])

			cfg.Day, cfg.ChangeShare = 2, 0.02
			next, want := generate(t, cfg)
			cfg.Delta = true
			delta, _ := generate(t, cfg)
			s = h.sync(t, district, next)
			require.Equal(t, 2, s.Revision)
			for entity, c := range want.Changes {
				if !slices.Contains(entities, entity) {
					continue // roles.csv is part of users
				}
				require.Equal(t, c.Created, s.Counts[entity]["created"], entity)
				require.Equal(t, c.Removed, s.Counts[entity]["removed"], entity)
			}
			h.wantEntities(t, district, want)
			h.wantReport(t, district, want, 2)

			byDelta := district + "-delta"
			h.newDistrict(t, byDelta)
			h.sync(t, byDelta, zip)
			h.sync(t, byDelta, delta)
			h.wantEntities(t, byDelta, want)
		}
	})
}

// wantEntities pages through everything and compares with what was generated.
func (h hub) wantEntities(t *testing.T, district string, want rostergen.Expected) {
	t.Helper()
	for _, entity := range entities {
		seen := map[string]bool{}
		total := -1
		for token := ""; total < 0 || token != ""; {
			var page map[string]json.RawMessage
			h.get(t, "/v1/districts/"+district+"/"+entity+"?status=active&pageSize=700&pageToken="+url.QueryEscape(token), &page)
			require.Len(t, page, 4, "only the entity's own list, token, total and revision: %v", slices.Collect(maps.Keys(page)))
			var records []struct{ SourcedID string }
			require.NoError(t, json.Unmarshal(page[entity], &records))
			for _, r := range records {
				require.False(t, seen[r.SourcedID], "%s %s comes twice", entity, r.SourcedID)
				seen[r.SourcedID] = true
			}
			require.NoError(t, json.Unmarshal(page["totalSize"], &total))
			require.NoError(t, json.Unmarshal(page["nextPageToken"], &token))
		}
		require.Equal(t, want.Entities[entity], total, entity)
		require.Len(t, seen, total, entity)
	}
}

// wantReport waits for the report that follows a commit by itself, and compares
// it and one asked for with the flaws that were put in.
func (h hub) wantReport(t *testing.T, district string, want rostergen.Expected, revision int) {
	t.Helper()
	require.NoError(t, waitFor(t, "the automatic report", func() (bool, error) {
		var list struct {
			ReadinessReports []struct {
				State     string
				Revision  int
				Automatic bool
			}
		}
		err := h.Call(t.Context(), "GET", "/v1/districts/"+district+"/readinessReports", nil, &list)
		return slices.ContainsFunc(list.ReadinessReports, func(r struct {
			State     string
			Revision  int
			Automatic bool
		},
		) bool {
			return r.State == "COMPLETED" && r.Revision == revision && r.Automatic
		}), err
	}))
	r, err := h.RunReport(within(t, time.Minute), district)
	require.NoError(t, err)
	require.Equal(t, "COMPLETED", r.State, r.Error)
	require.Equal(t, revision, r.Revision)
	got := r.Counts()
	for check, n := range want.Checks {
		if _, served := got[string(check)]; served {
			require.Equal(t, n, got[string(check)], check)
		}
	}
	for _, product := range []string{"", "home", "classroom"} {
		a, err := h.Do(t.Context(), http.MethodGet, "/v1/"+r.Name+":download?product="+product, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, a.Status, string(a.Body))
		require.Contains(t, a.Header.Get("Content-Type"), "text/csv")
		rows, err := csv.NewReader(strings.NewReader(string(a.Body))).ReadAll()
		require.NoError(t, err)
		var one struct {
			Checks []struct{ Count, InformationalCount int }
		}
		h.get(t, "/v1/"+r.Name+"?product="+product, &one)
		findings := 0
		for _, c := range one.Checks {
			findings += c.Count + c.InformationalCount
		}
		require.Len(t, rows, 1+findings, "one row per finding for product %q", product)
	}
}

// Loose files are as good as a zip.
func TestLooseFiles(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "loose")
		d, err := rostergen.New(rostergen.Config{Seed: 3, Students: 100})
		require.NoError(t, err)
		dir := t.TempDir()
		require.NoError(t, d.WriteDir(dir))
		var files []string
		names, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, n := range names {
			if strings.HasSuffix(n.Name(), ".csv") {
				files = append(files, dir+"/"+n.Name())
			}
		}
		h.sync(t, "loose", files...)
		h.wantEntities(t, "loose", d.Expected())
	})
}

// The exact-match fields of the Data Viewer, one record, and its links.
func TestSearch(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "search")
		zip, want := generate(t, rostergen.Config{Seed: 5, Students: 300})
		h.sync(t, "search", zip)
		base := "/v1/districts/search/"

		type user struct {
			SourcedID, Email, GivenName string
			Roles                       []struct {
				Role string
				Org  struct{ SourcedID string }
			}
		}
		var students struct {
			Users     []user
			TotalSize int
		}
		h.get(t, base+"users?role=student", &students)
		require.Equal(t, want.Roles["student"], students.TotalSize)
		require.Len(t, students.Users, 100)
		one := students.Users[42]

		for name, query := range map[string]string{
			"id":                    "sourcedId=" + url.QueryEscape(one.SourcedID),
			"email in another case": "email=" + url.QueryEscape(strings.ToUpper(one.Email)),
			"email and role":        "role=student&email=" + url.QueryEscape(one.Email),
			"org and email":         "orgId=" + url.QueryEscape(one.Roles[0].Org.SourcedID) + "&email=" + url.QueryEscape(one.Email),
			"beginning of an email": "q=" + url.QueryEscape(one.Email[:len(one.Email)-3]),
		} {
			var found struct {
				Users     []user
				TotalSize int
			}
			h.get(t, base+"users?"+query, &found)
			require.Equal(t, 1, found.TotalSize, name)
			require.Equal(t, one, found.Users[0], name)
		}
		var enrollments struct {
			Enrollments []struct {
				SourcedID   string
				User, Class struct{ SourcedID string }
			}
			TotalSize int
		}
		h.get(t, base+"enrollments?userId="+url.QueryEscape(one.SourcedID), &enrollments)
		require.Positive(t, enrollments.TotalSize)
		e := enrollments.Enrollments[0]
		require.Equal(t, one.SourcedID, e.User.SourcedID)
		h.get(t, base+"enrollments?role=student&classId="+url.QueryEscape(e.Class.SourcedID)+"&userId="+url.QueryEscape(one.SourcedID), &enrollments)
		require.Equal(t, 1, enrollments.TotalSize)

		var got struct{ Record user }
		h.get(t, base+"users:get?sourcedId="+url.QueryEscape(one.SourcedID), &got)
		require.Equal(t, one, got.Record)

		a, err := h.Do(t.Context(), "GET", base+"users:get?sourcedId=nobody", nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusNotFound, a.Status)
		for path, field := range map[string]string{
			"classes?email=x":       "email",
			"users?status=deleted":  "status",
			"users?pageToken=bogus": "pageToken",
			"users?pageSize=-1":     "pageSize",
			"users?asOf=yesterday":  "asOf",
		} {
			a, err := h.Do(t.Context(), "GET", base+path, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusBadRequest, a.Status, path)
			require.Contains(t, string(a.Body), field, path)
		}
	})
}
