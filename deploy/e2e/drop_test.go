package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/platform/testkit/sftpclient"
)

// A district drops its files with OpenSSH's client, and the roster follows by
// itself.
func TestDrop(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "drop")
		call := func(method, path string, in, out any) {
			t.Helper()
			require.NoError(t, h.Call(t.Context(), method, path, in, out))
		}
		call("POST", "/v1/districts/drop/sources?sourceId=nightly", map[string]any{
			"connector": "sftp-drop", "settings": map[string]any{"sentinel": "done.txt"},
		}, nil)
		var account struct {
			Drop struct {
				User    string `json:"user"`
				HostKey string `json:"hostKey"`
			} `json:"drop"`
			Password string `json:"password"`
		}
		call("POST", "/v1/districts/drop/sources/nightly:resetDropPassword", map[string]any{}, &account)
		_, port, err := net.SplitHostPort(h.SFTPAddr)
		require.NoError(t, err)
		number, err := strconv.Atoi(port)
		require.NoError(t, err)
		client := sftpclient.Client{Port: number, User: account.Drop.User, Password: account.Password, Fingerprint: account.Drop.HostKey}

		dir := t.TempDir()
		var puts []string
		for name, text := range soundFiles() {
			path := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			puts = append(puts, "put "+path+" "+name+".tmp", "rename "+name+".tmp "+name)
		}
		done := filepath.Join(dir, "done.txt")
		require.NoError(t, os.WriteFile(done, nil, 0o600))
		_, err = client.Run(t.Context(), t, append(puts, "put "+done)...)
		require.NoError(t, err)

		var list struct {
			Syncs []hubtest.Sync `json:"syncs"`
		}
		require.NoError(t, waitFor(t, "the end of a sync that has started by itself", func() (bool, error) {
			list.Syncs = nil
			err := h.Call(t.Context(), "GET", "/v1/districts/drop/syncs", nil, &list)
			return len(list.Syncs) > 0 && list.Syncs[0].Ended(), err
		}))
		require.Equal(t, "COMPLETED", list.Syncs[0].State, list.Syncs[0].Error)
		require.Equal(t, 1, list.Syncs[0].Revision)
		out, err := client.Run(t.Context(), t, "ls -1 /incoming", "ls -1 /processed")
		require.NoError(t, err)
		require.NotContains(t, out, "users.csv")
		require.Regexp(t, `/processed/20\d\d-`, out)
	})
}
