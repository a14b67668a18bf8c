package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/rostergen"
)

// A district shares one of its schools: what the preview says is what the roster
// has then, without another upload, and all of it comes back.
func TestSharing(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		roster, expected := generate(t, rostergen.Config{Students: 1500})
		h.newDistrict(t, "share")
		h.sync(t, "share", roster)
		const source = "/v1/districts/share/sources/sis"
		type counts map[string]struct {
			Kept, Dropped int
			Rules         map[string]int
		}
		type synced struct {
			hubtest.Sync
			Remerge bool
			Shared  counts
		}
		var preview struct {
			Counts  counts
			Sync    string
			Choices struct {
				Schools []struct{ SchoolID, Name string }
				Grades  map[string]int
			}
		}
		require.NoError(t, h.Call(t.Context(), "POST", source+":previewSharing", map[string]any{}, &preview))
		require.Greater(t, len(preview.Choices.Schools), 1)
		require.Equal(t, expected.Rows["users"], preview.Counts["users"].Kept)
		sharing := map[string]any{"schools": []string{preview.Choices.Schools[0].SchoolID}}
		require.NoError(t, h.Call(t.Context(), "POST", source+":previewSharing", map[string]any{"sharing": sharing}, &preview))

		change := func(sharing map[string]any) (s synced) {
			t.Helper()
			var changed struct{ LastSync string }
			require.NoError(t, h.Call(t.Context(), "PATCH", source+"?updateMask=sharing", map[string]any{"sharing": sharing}, &changed))
			path := "/v1/districts/share/syncs/" + changed.LastSync
			wait := func(states string) {
				t.Helper()
				require.NoError(t, waitFor(t, "the source to be shared anew", func() (bool, error) {
					err := h.Call(t.Context(), "GET", path, nil, &s)
					return strings.Contains(states, s.State), err
				}))
			}
			wait("COMPLETED ON_HOLD FAILED")
			if s.State == "ON_HOLD" {
				require.NoError(t, h.Call(t.Context(), "POST", path+":approve", map[string]any{}, nil))
				wait("COMPLETED FAILED")
			}
			require.Equal(t, "COMPLETED", s.State, s.Error)
			require.True(t, s.Remerge)
			return s
		}
		s := change(sharing)
		require.Equal(t, preview.Counts, s.Shared)
		for name, c := range preview.Counts {
			var list struct{ TotalSize int }
			h.get(t, "/v1/districts/share/"+name+"?status=active", &list)
			require.Equal(t, c.Kept, list.TotalSize, name)
		}
		require.Positive(t, s.Shared["users"].Rules["schools"])
		require.Empty(t, change(nil).Shared)
		var users struct{ TotalSize int }
		h.get(t, "/v1/districts/share/users?status=active", &users)
		require.Equal(t, expected.Rows["users"], users.TotalSize)

		answer, err := h.Do(t.Context(), "PATCH", source, map[string]any{"sharing": map[string]any{"contactTypes": []string{"aunt"}}})
		require.NoError(t, err)
		require.Equal(t, 400, answer.Status)
		require.Contains(t, string(answer.Body), "sharing.contactTypes[0]")
	})
}
