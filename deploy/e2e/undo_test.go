package e2e

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/rostergen"
)

// decide approves or discards a sync and waits for its end.
func (h hub) decide(t *testing.T, s hubtest.Sync, verb string, body any) hubtest.Sync {
	t.Helper()
	require.NoError(t, h.Call(t.Context(), http.MethodPost, "/v1/"+s.Name+":"+verb, body, nil))
	var out hubtest.Sync
	require.NoError(t, waitFor(t, "the end of "+s.Name, func() (bool, error) {
		out = hubtest.Sync{}
		err := h.Call(t.Context(), http.MethodGet, "/v1/"+s.Name, nil, &out)
		return out.Ended() || out.State == "ON_HOLD", err
	}))
	return out
}

// held uploads a file and wants its sync to be on hold for reasons of the types.
func (h hub) held(t *testing.T, district, file string, types ...string) hubtest.Sync {
	t.Helper()
	s, err := h.UploadAndSync(within(t, 2*time.Minute), district, file)
	require.NoError(t, err)
	require.Equal(t, "ON_HOLD", s.State, s.Error)
	got := map[string]bool{}
	for _, r := range s.HoldReasons {
		got[r["type"].(string)] = true
		require.NotEmpty(t, r["message"])
		require.NotEmpty(t, r["nextStep"])
	}
	for _, kind := range types {
		require.Contains(t, got, kind)
	}
	return s
}

type restored struct {
	Revision  int
	Committed bool
	Counts    map[string]map[string]int
}

func (h hub) restore(t *testing.T, district, revision string, body any) restored {
	t.Helper()
	var out restored
	require.NoError(t, h.Call(t.Context(), http.MethodPost, "/v1/districts/"+district+"/revisions/"+revision+":restore", body, &out))
	return out
}

type difference struct {
	Changes []struct {
		Entity, SourcedID, Kind string
		Fields                  []struct{ Field, Before, After string }
	}
	NextPageToken       string
	TotalSize, From, To int
	Counts              map[string]map[string]int
}

// diff reads all pages.
func (h hub) diff(t *testing.T, district, query string) difference {
	t.Helper()
	var all difference
	for token := ""; ; token = all.NextPageToken {
		var page difference
		h.get(t, "/v1/districts/"+district+"/revisions:diff?pageSize=900&"+query+"&pageToken="+url.QueryEscape(token), &page)
		if token != "" {
			require.Equal(t, all.Counts, page.Counts, "every page has the counts of all")
		}
		page.Changes = append(all.Changes, page.Changes...)
		if all = page; page.NextPageToken == "" {
			require.Len(t, all.Changes, all.TotalSize)
			return all
		}
	}
}

// A bad export is approved by mistake; its revision is undone; the same file
// does not come back at night; a corrected one does, once a person agrees.
func TestUndo(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "undo")
		good, want := generate(t, rostergen.Config{Seed: 21, Students: 300})
		bad, _ := generate(t, rostergen.Config{Seed: 21, Students: 100})
		h.sync(t, "undo", good)
		s := h.decide(t, h.held(t, "undo", bad, "many-removals"), "approve", nil)
		require.Equal(t, 2, s.Revision, s.Error)

		came := h.diff(t, "undo", "from=1&to=2")
		require.Equal(t, s.Counts["users"]["removed"], came.Counts["users"]["removed"])
		back := h.diff(t, "undo", "from=2&to=1")
		require.Equal(t, came.TotalSize, back.TotalSize)
		require.Equal(t, came.Counts["users"]["removed"], back.Counts["users"]["created"])
		require.Equal(t, back, h.diff(t, "undo", "from=2&to=1&entity="))
		require.NotEmpty(t, back.Changes[0].Fields)
		require.Len(t, h.diff(t, "undo", "kind=removed&entity=users").Changes, came.Counts["users"]["removed"], "the newest and the one before it")

		shown := h.restore(t, "undo", "1", map[string]any{"dryRun": true})
		require.Equal(t, 2, shown.Revision)
		require.False(t, shown.Committed)
		require.Equal(t, back.Counts["enrollments"]["created"], shown.Counts["enrollments"]["created"])
		h.problem(t, http.MethodPost, "/v1/districts/undo/revisions/1:restore", map[string]any{"head": 1}, http.StatusConflict, "head")
		h.problem(t, http.MethodPost, "/v1/districts/undo/revisions/99:restore", nil, http.StatusNotFound, "99")
		h.problem(t, http.MethodPost, "/v1/districts/undo/revisions/-1:restore", nil, http.StatusBadRequest, "revision")

		done := h.restore(t, "undo", "1", map[string]any{"head": 2})
		require.Equal(t, restored{Revision: 3, Committed: true, Counts: shown.Counts}, done)
		h.wantEntities(t, "undo", want)
		h.wantReport(t, "undo", want, 3)
		require.Zero(t, h.diff(t, "undo", "from=1&to=3").TotalSize)
		require.Equal(t, came.TotalSize, h.diff(t, "undo", "from=1&to=2").TotalSize, "nothing is lost")
		require.Equal(t, restored{Revision: 3, Counts: map[string]map[string]int{}}, h.restore(t, "undo", "3", nil))
		var list struct {
			Revisions []struct {
				Revision int
				Undo     *struct{ To int }
			}
		}
		h.get(t, "/v1/districts/undo/revisions", &list)
		require.Equal(t, 1, list.Revisions[0].Undo.To)
		require.Nil(t, list.Revisions[1].Undo)

		// The same bad file, and then a small change to the good one.
		s = h.decide(t, h.held(t, "undo", bad, "revision-restored", "many-removals"), "discard", nil)
		require.Equal(t, "DISCARDED", s.State)
		next, want := generate(t, rostergen.Config{Seed: 21, Students: 300, Day: 2, ChangeShare: 0.02})
		s = h.held(t, "undo", next, "revision-restored")
		require.Len(t, s.HoldReasons, 1)
		require.Equal(t, 4, h.decide(t, s, "approve", nil).Revision)
		h.wantEntities(t, "undo", want)
		next, want = generate(t, rostergen.Config{Seed: 21, Students: 300, Day: 3, ChangeShare: 0.02})
		require.Equal(t, 5, h.sync(t, "undo", next).Revision, "approving was enough for once")
		h.wantEntities(t, "undo", want)

		// A file that changes nothing after a restore does not wait.
		require.Equal(t, 6, h.restore(t, "undo", "4", nil).Revision)
		require.Equal(t, 7, h.restore(t, "undo", "5", nil).Revision)
		require.Zero(t, h.sync(t, "undo", next).Revision)
	})
}

// problem wants a call to be refused, with a text.
func (h hub) problem(t *testing.T, method, path string, body any, status int, text string) {
	t.Helper()
	a, err := h.Do(t.Context(), method, path, body)
	require.NoError(t, err)
	require.Equal(t, status, a.Status, string(a.Body))
	require.Contains(t, string(a.Body), text)
}

// A plan on hold is applied in parts; what was left out comes again.
func TestPartialApproval(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "parts")
		good, want := generate(t, rostergen.Config{Seed: 22, Students: 400})
		bad, less := generate(t, rostergen.Config{Seed: 22, Students: 200, Day: 2, ChangeShare: 0.05})
		h.sync(t, "parts", good)

		s := h.held(t, "parts", bad, "many-removals")
		planned := s.Counts
		h.problem(t, http.MethodPost, "/v1/"+s.Name+":approve", map[string]any{"schools": []string{"nobody"}}, http.StatusBadRequest, "schools")
		s = h.decide(t, s, "approve", map[string]any{"withoutRemovals": true})
		require.Equal(t, "COMPLETED", s.State, s.Error)
		require.Equal(t, 2, s.Revision)
		applied := 0
		for entity, c := range planned {
			require.Zero(t, s.Counts[entity]["removed"], entity)
			require.Equal(t, c["created"]+c["updated"]+c["removed"], s.Counts[entity]["created"]+s.Counts[entity]["updated"]+s.Counts[entity]["withheld"], entity)
			require.GreaterOrEqual(t, s.Counts[entity]["withheld"], c["removed"], "%s: who stays keeps enrollments and the links of relatives", entity)
			require.Equal(t, c["unchanged"], s.Counts[entity]["unchanged"], entity)
			applied += s.Counts[entity]["created"] + s.Counts[entity]["updated"]
		}
		var changes struct {
			Changes   []struct{ Kind string }
			TotalSize int
		}
		h.get(t, "/v1/"+s.Name+"/changes?pageSize=1000", &changes)
		require.Equal(t, applied, changes.TotalSize, "the changes are those that were applied")
		var students struct{ TotalSize int }
		h.get(t, "/v1/districts/parts/users?role=student&status=active", &students)
		require.GreaterOrEqual(t, students.TotalSize, want.Roles["student"], "nobody was removed")

		// The same file: what was left out is planned again, and one school of it
		// is approved.
		first := s.Counts
		s = h.held(t, "parts", bad, "many-removals")
		for entity, c := range planned {
			require.Equal(t, c["removed"], s.Counts[entity]["removed"], entity)
			require.Zero(t, s.Counts[entity]["created"], entity)
			require.Equal(t, first[entity]["withheld"], s.Counts[entity]["removed"]+s.Counts[entity]["updated"], entity)
		}
		rest := s.Counts["users"]
		var full struct {
			Schools []struct {
				SchoolID, Name string
				Removed        int
			}
		}
		h.get(t, "/v1/"+s.Name, &full)
		require.NotEmpty(t, full.Schools)
		school := full.Schools[0]
		for _, other := range full.Schools {
			if other.Removed > school.Removed {
				school = other
			}
		}
		s = h.decide(t, s, "approve", map[string]any{"schools": []string{school.SchoolID}})
		require.Equal(t, "COMPLETED", s.State, s.Error)
		require.Positive(t, s.Counts["users"]["removed"])
		require.Equal(t, rest["removed"]+rest["updated"], s.Counts["users"]["removed"]+s.Counts["users"]["updated"]+s.Counts["users"]["withheld"])

		// And the rest.
		s = h.decide(t, h.held(t, "parts", bad), "approve", nil)
		require.Equal(t, "COMPLETED", s.State, s.Error)
		h.wantEntities(t, "parts", less)
	})
}
