package e2e

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/rostergen"
)

// Whatever was acknowledged before a SIGKILL is there afterwards, and a sync
// that was under way comes to its end by itself.
func TestKilledWhileSyncing(t *testing.T) {
	t.Parallel()
	zip, want := generate(t, rostergen.Config{Seed: 11, Students: 2000})
	// Each state is where the kill hits, or later: the hub does not wait for it.
	for _, state := range []string{"QUEUED", "NORMALISING", "PLANNING", "COMMITTING", "COMPLETED"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			first, err := startHub(within(t, time.Minute), hubtest.Single)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, os.RemoveAll(first.DataDir)) })
			first.newDistrict(t, "killed")
			upload, err := first.Upload(t.Context(), "killed", "sis", zip)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, upload.Status)
			var s hubtest.Sync
			require.NoError(t, first.Call(t.Context(), "POST", "/v1/districts/killed/sources/sis:sync", map[string]any{}, &s))
			order := map[string]int{"QUEUED": 1, "PULLING": 2, "NORMALISING": 3, "PLANNING": 4, "COMMITTING": 5, "COMPLETED": 6}
			require.NoError(t, waitFor(t, state, func() (bool, error) {
				err := first.Call(t.Context(), "GET", "/v1/"+s.Name, nil, &s)
				return order[s.State] >= order[state], err
			}))
			first.Kill()

			again, err := hubtest.Single(within(t, time.Minute), first.DataDir)
			require.NoError(t, err)
			defer func() { require.NoError(t, again.Stop()) }()
			c, err := again.Client(t.Context())
			require.NoError(t, err)
			h := hub{again, c}
			require.NoError(t, waitFor(t, "the end of the sync", func() (bool, error) {
				err := h.Call(t.Context(), "GET", "/v1/"+s.Name, nil, &s)
				return s.Ended(), err
			}))
			require.Equal(t, "COMPLETED", s.State, s.Error)
			require.Equal(t, 1, s.Revision)
			h.wantEntities(t, "killed", want)
			h.wantReport(t, "killed", want, 1)
			require.Zero(t, h.sync(t, "killed", zip).Revision, "the same again changes nothing")
		})
	}
}
