package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/rostergen"
)

// A guardian file of a made-up district comes to what was counted beforehand, and
// is matched again by itself when the roster changes.
func TestGuardianFile(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		cfg := rostergen.Config{Students: 400, Flaws: rostergen.Realistic(400)}
		roster, expected := generate(t, cfg)
		d, err := rostergen.New(cfg)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "guardianData.csv")
		f, err := os.Create(path)
		require.NoError(t, err)
		want, err := d.WriteGuardians(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())

		h.newDistrict(t, "family")
		h.sync(t, "family", roster)
		const source = "/v1/districts/family/sources/guardians"
		call := func(method, path string, in, out any) {
			t.Helper()
			require.NoError(t, h.Call(t.Context(), method, path, in, out))
		}
		call("POST", "/v1/districts/family/sources?sourceId=guardians", map[string]any{
			"connector": "oneroster-csv", "guardians": map[string]any{"studentKey": "SOURCED_ID"},
		}, nil)
		answer, err := h.Upload(t.Context(), "family", "guardians", path)
		require.NoError(t, err)
		require.Equal(t, 200, answer.Status, string(answer.Body))

		type report struct {
			Rows, MatchedRows, Relationships, Students, GuardiansKnown, GuardiansCreated int
			MatchPercent                                                                 float64
		}
		var preview struct {
			File    string
			Columns []struct{ Name, Field string }
			Keys    []struct {
				Key         string
				MatchedRows int
			}
			Report      report
			HoldReasons []any
		}
		call("POST", source+":previewGuardians", map[string]any{}, &preview)
		require.Equal(t, "guardianData.csv", preview.File)
		require.Equal(t, "SOURCED_ID", preview.Keys[0].Key)
		require.Equal(t, want.Matched, preview.Keys[0].MatchedRows)
		require.Empty(t, preview.HoldReasons)

		type synced struct {
			hubtest.Sync
			Guardians report
		}
		var s synced
		call("POST", source+":sync", map[string]any{}, &s)
		wait := func(name string) (s synced) {
			t.Helper()
			require.NoError(t, waitFor(t, "the sync of the guardian file", func() (bool, error) {
				err := h.Call(t.Context(), "GET", "/v1/"+name, nil, &s)
				return s.State == "COMPLETED" || s.State == "FAILED" || s.State == "ON_HOLD", err
			}))
			require.Equal(t, "COMPLETED", s.State, s.Error)
			return s
		}
		s = wait(s.Name)
		require.Equal(t, preview.Report, s.Guardians)
		require.Equal(t, want, rostergen.Guardians{
			Rows: s.Guardians.Rows, Matched: s.Guardians.MatchedRows, Relationships: s.Guardians.Relationships, Students: s.Guardians.Students,
			Known: s.Guardians.GuardiansKnown, Created: s.Guardians.GuardiansCreated,
		})
		var users struct{ TotalSize int }
		h.get(t, "/v1/districts/family/users", &users)
		require.Equal(t, expected.Rows["users"]+want.Created, users.TotalSize)

		// Another day's roster: students come and go, and nobody has to start it.
		cfg.Day, cfg.ChangeShare = 2, 0.02
		roster, _ = generate(t, cfg)
		h.sync(t, "family", roster)
		var list struct{ Syncs []synced }
		require.NoError(t, waitFor(t, "the guardian file to be matched again", func() (bool, error) {
			err := h.Call(within(t, time.Minute), "GET", "/v1/districts/family/syncs?source=guardians", nil, &list)
			return len(list.Syncs) > 1, err
		}))
		again := wait(list.Syncs[0].Name)
		require.Less(t, again.Guardians.MatchedRows, want.Matched, "some have left")
	})
}
