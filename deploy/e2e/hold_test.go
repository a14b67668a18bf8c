package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
)

// pupils are those of a made-up district, by school, with a version and in what
// class they are.
type pupils map[string]map[int][2]int

// files writes a complete package, as loose files.
func (p pupils) files(t *testing.T) []string {
	t.Helper()
	out := map[string]*strings.Builder{}
	row := func(file, format string, args ...any) {
		if out[file] == nil {
			out[file] = &strings.Builder{}
		}
		_, _ = fmt.Fprintf(out[file], format+"\n", args...) // never fails
	}
	row("manifest", "propertyName,value\nmanifest.version,1.0\noneroster.version,1.1\nfile.orgs,bulk\nfile.users,bulk\nfile.classes,bulk\nfile.enrollments,bulk\nfile.academicSessions,bulk\nfile.courses,bulk")
	row("orgs", "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\nd,,,Made-up District,district,,")
	row("academicSessions", "sourcedId,status,dateLastModified,title,type,startDate,endDate,parentSourcedId,schoolYear\ny,,,2026/27,schoolYear,2026-08-01,2097-06-30,,2027")
	row("courses", "sourcedId,status,dateLastModified,schoolYearSourcedId,title,courseCode,grades,orgSourcedId,subjects,subjectCodes\nco,,,y,Art,ART1,05,d,,")
	row("classes", "sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,schoolSourcedId,termSourcedIds,subjects,subjectCodes,periods")
	row("users", "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,password")
	row("enrollments", "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,primary,beginDate,endDate")
	for school, of := range p {
		row("orgs", "%s,,,School %s,school,,d", school, school)
		for class := range 4 {
			row("classes", "c-%s-%d,,,Art %d,05,co,A,scheduled,,%s,y,,,", school, class, class, school)
		}
		for i, v := range of {
			id := fmt.Sprintf("%s-%03d", school, i)
			email := id + "@made-up.example"
			if v[0] == 9 {
				email = ""
			}
			row("users", "%s,,,true,%s,student,%s,,Student,Number%d,,%s,%s,,,,05,", id, school, id, v[0], id, email)
			row("enrollments", "e-%s-%d,,,c-%s-%d,%s,%s,student,,2026-08-15,2027-06-15", id, v[1], school, v[1], school, id)
		}
	}
	dir := t.TempDir()
	var paths []string
	for name, text := range out {
		path := filepath.Join(dir, name+".csv")
		require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
		paths = append(paths, path)
	}
	return paths
}

type partial struct {
	hubtest.Sync
	AppliedPart *struct {
		Mode     string
		Revision int
	}
}

func (h hub) partial(t *testing.T, s hubtest.Sync) partial {
	t.Helper()
	var out partial
	h.get(t, "/v1/"+s.Name, &out)
	return out
}

// shown are all changes of a sync, with their fields.
func (h hub) shown(t *testing.T, s hubtest.Sync) (all difference) {
	t.Helper()
	for token := ""; ; token = all.NextPageToken {
		var page difference
		h.get(t, "/v1/"+s.Name+"/changes?pageSize=100&pageToken="+url.QueryEscape(token), &page)
		page.Changes = append(all.Changes, page.Changes...)
		if all = page; page.NextPageToken == "" {
			require.Len(t, all.Changes, all.TotalSize)
			return all
		}
	}
}

// made are the changes of one revision, as the roster has them.
func (h hub) made(t *testing.T, district string, revision int) difference {
	t.Helper()
	return h.diff(t, district, fmt.Sprintf("from=%d&to=%d", revision-1, revision))
}

// Random deliveries under random policies: a part is applied or nothing is, what
// waits is shown, and what was shown is what is applied once it is approved.
func TestWhatIsShownIsWhatIsApplied(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "holds")
		r := rand.New(rand.NewPCG(5, 6))
		p := pupils{"a": {}, "b": {}, "c": {}}
		for _, of := range p {
			for i := range 100 {
				of[i] = [2]int{}
			}
		}
		h.sync(t, "holds", p.files(t)...)
		approved, parts, types := 0, 0, map[string]bool{}
		for range 30 {
			for _, school := range []string{"a", "b", "c"} {
				kind := r.IntN(6) // of change
				for i := range 110 {
					v, there := p[school][i]
					switch {
					case r.IntN(6) == 0:
						p[school][i] = [2]int{r.IntN(5), r.IntN(4)}
					case kind == 0 && r.IntN(2) == 0:
						delete(p[school], i)
					case kind == 1 && there && r.IntN(3) == 0:
						p[school][i] = [2]int{9, v[1]} // without email
					case kind == 2 && there: // only moved
						p[school][i] = [2]int{v[0], r.IntN(4)}
					}
				}
			}
			mode := []string{"HOLD_ALL", "HOLD_SCHOOLS", "APPLY_SAFE"}[r.IntN(3)]
			require.NoError(t, h.Call(t.Context(), http.MethodPatch, "/v1/districts/holds/sources/sis", map[string]any{"holdPolicy": map[string]any{"mode": mode}}, nil))
			s, err := h.UploadAndSync(within(t, 2*time.Minute), "holds", p.files(t)...)
			require.NoError(t, err)
			if part := h.partial(t, s).AppliedPart; part != nil {
				parts++
				require.Equal(t, mode, part.Mode)
				applied := map[string]bool{}
				for _, c := range h.made(t, "holds", part.Revision).Changes {
					applied[c.Entity+" "+c.SourcedID] = true
					require.False(t, mode == "APPLY_SAFE" && c.Kind == "removed")
				}
				for _, c := range h.shown(t, s).Changes {
					require.False(t, applied[c.Entity+" "+c.SourcedID], "a change is applied, or it waits")
				}
			}
			if s.State != "ON_HOLD" {
				require.Equal(t, "COMPLETED", s.State, s.Error)
				if s.Revision > 0 {
					require.Equal(t, h.made(t, "holds", s.Revision).Changes, h.shown(t, s).Changes)
				}
				continue
			}
			for _, reason := range s.HoldReasons {
				types[reason["type"].(string)] = true
				require.NotEmpty(t, reason["nextStep"])
			}
			shown := h.shown(t, s)
			require.NotEmpty(t, shown.Changes)
			switch r.IntN(4) {
			case 0:
				require.Equal(t, "DISCARDED", h.decide(t, s, "discard", nil).State)
			case 1:
				s = h.decide(t, s, "approve", map[string]any{"withoutRemovals": true})
				require.Equal(t, "COMPLETED", s.State, s.Error)
			default:
				approved++
				s = h.decide(t, s, "approve", nil)
				require.Equal(t, "COMPLETED", s.State, s.Error)
				require.Equal(t, shown.Changes, h.made(t, "holds", s.Revision).Changes)
				require.Zero(t, h.sync(t, "holds", p.files(t)...).Revision, "nothing is left to apply")
			}
		}
		t.Logf("approved %d plans, applied %d parts, reasons %v", approved, parts, types)
		require.Greater(t, approved, 5)
		require.Greater(t, parts, 2)
		require.Contains(t, types, "many-removals")
		require.Contains(t, types, "emails-blanked")
	})
}

// The rollover windows of a district's readiness raise the thresholds of its plans.
func TestRolloverWindowOfPlans(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "rollover")
		p := pupils{"a": {}}
		for i := range 200 {
			p["a"][i] = [2]int{}
		}
		h.sync(t, "rollover", p.files(t)...)
		lose := func(n int) {
			for i := range p["a"] {
				if n--; n < 0 {
					return
				}
				delete(p["a"], i)
			}
		}
		window := func(from, to time.Time) {
			require.NoError(t, h.Call(t.Context(), http.MethodPatch, "/v1/districts/rollover/readinessSettings", map[string]any{"rolloverWindows": []any{
				map[string]any{"startDate": from.Format(time.DateOnly), "endDate": to.Format(time.DateOnly)},
			}}, nil))
		}
		day := 24 * time.Hour
		window(time.Now().Add(-2*day), time.Now().Add(2*day))
		lose(50)
		h.sync(t, "rollover", p.files(t)...)
		window(time.Now().Add(-9*day), time.Now().Add(-3*day)) // as if it had ended
		lose(30)
		s, err := h.UploadAndSync(within(t, 2*time.Minute), "rollover", p.files(t)...)
		require.NoError(t, err)
		require.Equal(t, "ON_HOLD", s.State, s.Error)
	})
}
