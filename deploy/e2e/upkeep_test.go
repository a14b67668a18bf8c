package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/rostergen"
)

// The operator's commands, as an operator types them.
func TestOperatorsCommands(t *testing.T) {
	t.Parallel()
	zip, want := generate(t, rostergen.Config{Seed: 12, Students: 300})
	h, err := startHub(within(t, time.Minute), hubtest.Single)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(h.DataDir)) })
	h.newDistrict(t, "kept")
	require.Equal(t, 1, h.sync(t, "kept", zip).Revision)
	h.wantReport(t, "kept", want, 1)
	program, err := hubtest.Binary("securly-sync")
	require.NoError(t, err)
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	backup := filepath.Join(t.TempDir(), "backup.tar")
	require.Contains(t, run("backup", "--data-dir", h.DataDir, "--out", backup), "1 districts")
	require.Contains(t, run("doctor", "--data-dir", h.DataDir), "nothing is wrong")
	h.Kill()

	restored := filepath.Join(t.TempDir(), "restored")
	require.Contains(t, run("restore", "--from", backup, "--data-dir", restored), "1 districts")
	require.Contains(t, run("doctor", "--data-dir", restored), "nothing is wrong")
	again, err := hubtest.Single(within(t, time.Minute), restored)
	require.NoError(t, err)
	defer func() { require.NoError(t, again.Stop()) }()
	c, err := again.Client(t.Context())
	require.NoError(t, err)
	h = hub{again, c}
	h.wantEntities(t, "kept", want)
	var page struct {
		Users []struct {
			SourcedID  string `json:"sourcedId"`
			FamilyName string `json:"familyName"`
		} `json:"users"`
	}
	first := "/v1/districts/kept/users?role=student&pageSize=1"
	require.NoError(t, h.Call(t.Context(), "GET", first, nil, &page))
	require.NotEmpty(t, page.Users[0].FamilyName)
	require.Contains(t, run("erase", "--data-dir", restored, "--district", "kept", "--user", page.Users[0].SourcedID), "erased from the roster")
	page.Users = nil
	require.NoError(t, h.Call(t.Context(), "GET", first, nil, &page))
	require.Empty(t, page.Users[0].FamilyName)
	require.Contains(t, run("doctor", "--data-dir", restored, "--repair"), "nothing is wrong")
}
