package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/rostergen"
)

var (
	kills = flag.Int("kills", 5, "how often TestKilledAtRandom kills a syncing hub")
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments of TestKilledAtRandom")
)

// A hub is killed at random moments of its syncs, from the upload's answer to
// after the end, and started again: every sync that was acknowledged comes to
// its end, with one revision and exact counts; holds and approvals stay what
// they were. The log has the outcome of each.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	t.Logf("-seed %d", *seed)
	r := rand.New(rand.NewPCG(*seed, 1))
	h, err := startHub(within(t, time.Minute), hubtest.Single)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, h.Stop())
		require.NoError(t, os.RemoveAll(h.DataDir))
	})
	h.newDistrict(t, "killed")
	files := func(day, students int) (string, rostergen.Expected) {
		return generate(t, rostergen.Config{Seed: 21, Students: students, Day: day, ChangeShare: 0.05})
	}
	zip, _ := files(1, 1000)
	h.sync(t, "killed", zip)
	zip, _ = files(2, 1000)
	began := time.Now()
	revision := h.sync(t, "killed", zip).Revision
	usual := time.Since(began)

	outcomes := map[string]int{}
	for n := range *kills {
		students := 1000
		if n%8 >= 4 { // so many less, or more, that it is held
			students = 700
		}
		zip, want := files(3+n%90, students)
		upload, err := h.Upload(t.Context(), "killed", "sis", zip)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, upload.Status)
		var s hubtest.Sync
		require.NoError(t, h.Call(t.Context(), "POST", "/v1/districts/killed/sources/sis:sync", map[string]any{}, &s))
		settled := func() {
			t.Helper()
			require.NoError(t, waitFor(t, "the end of the sync, or a hold", func() (bool, error) {
				s = hubtest.Sync{Name: s.Name}
				err := h.Call(t.Context(), "GET", "/v1/"+s.Name, nil, &s)
				return s.Ended() || s.State == "ON_HOLD", err
			}))
		}
		approve := func() {
			t.Helper()
			require.NoError(t, h.Call(t.Context(), "POST", "/v1/"+s.Name+":approve", map[string]any{}, nil))
		}
		state := ""
		if n%4 == 0 && n > 0 {
			settled()
			require.Equal(t, "ON_HOLD", s.State, s.Error)
			approve()
			state = "after approval, "
		}
		moment(t, time.Duration(r.Int64N(int64(usual))))
		require.NoError(t, h.Call(t.Context(), "GET", "/v1/"+s.Name, nil, &s))
		state += s.State
		require.NoError(t, h.Restart(within(t, time.Minute)))
		settled()
		if s.State == "ON_HOLD" {
			state += " (held)"
			approve()
			require.NoError(t, waitFor(t, "the end of the sync", func() (bool, error) {
				s = hubtest.Sync{Name: s.Name}
				err := h.Call(t.Context(), "GET", "/v1/"+s.Name, nil, &s)
				return s.Ended(), err
			}))
		}
		require.Equal(t, "COMPLETED", s.State, "killed in %s: %s", state, s.Error)
		require.Equal(t, revision+1, s.Revision, "killed in %s", state)
		revision = s.Revision
		h.wantEntities(t, "killed", want)
		outcomes["killed in "+state+": COMPLETED, one revision, exact counts"]++
	}
	var table []string
	for outcome, n := range outcomes {
		table = append(table, fmt.Sprintf("%3d %s", n, outcome))
	}
	slices.Sort(table)
	t.Logf("%d kills:\n%s", *kills, strings.Join(table, "\n"))

	bin, err := hubtest.Binary("securly-sync")
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), bin, "doctor", "--data-dir", h.DataDir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "nothing is wrong")
}

// moment passes, unless the test ends before.
func moment(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}
