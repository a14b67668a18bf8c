package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/platform/testkit/sshd"
)

// A district's own SFTP server, from the connection test to the day on which
// something else answers in its place.
func TestSFTP(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "sftp")
		server, dir := sshd.Start(t), t.TempDir()
		hours := time.Now().Add(-3 * time.Hour)
		for name, text := range soundFiles() {
			path := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			require.NoError(t, os.Chtimes(path, hours, hours))
		}
		const source = "/v1/districts/sftp/sources/files"
		settings := map[string]any{"host": "127.0.0.1", "port": server.Port, "user": server.User, "folder": dir}
		call := func(method, path string, in, out any) {
			t.Helper()
			require.NoError(t, h.Call(t.Context(), method, path, in, out))
		}
		var made map[string]any
		call("POST", "/v1/districts/sftp/sources?sourceId=files", map[string]any{
			"displayName": "Nightly export", "connector": "sftp-pull", "settings": settings, "secrets": map[string]any{"privateKey": server.Key},
		}, &made)
		require.Equal(t, []any{"privateKey"}, made["secretsSet"])
		require.NotContains(t, fmt.Sprint(made), "PRIVATE KEY", "secrets are never returned")

		type result struct {
			OK       bool           `json:"ok"`
			Counts   map[string]int `json:"counts"`
			Confirm  map[string]any `json:"confirm"`
			Messages []struct {
				Code string `json:"code"`
			} `json:"messages"`
		}
		var first result
		call("POST", source+":test", map[string]any{}, &first)
		require.False(t, first.OK)
		require.Equal(t, map[string]any{"hostKey": server.Fingerprint}, first.Confirm)
		settings["hostKey"] = first.Confirm["hostKey"]
		call("PATCH", source, map[string]any{"settings": settings}, nil)
		var second result
		call("POST", source+":test", map[string]any{}, &second)
		require.True(t, second.OK, second)
		require.Equal(t, 2, second.Counts["users"])

		type sync struct {
			hubtest.Sync
			ErrorReason    string `json:"errorReason"`
			UnchangedInput bool   `json:"unchangedInput"`
		}
		run := func() (s sync) {
			t.Helper()
			call("POST", source+":sync", map[string]any{}, &s)
			path := "/v1/" + s.Name
			require.NoError(t, waitFor(t, "the end of "+s.Name, func() (bool, error) {
				s = sync{}
				err := h.Call(t.Context(), "GET", path, nil, &s)
				return s.Ended(), err
			}))
			return s
		}
		s := run()
		require.Equal(t, "COMPLETED", s.State, s.Error)
		require.Equal(t, 1, s.Revision)
		s = run()
		require.Equal(t, "COMPLETED", s.State, s.Error)
		require.True(t, s.UnchangedInput)
		require.Zero(t, s.Revision)

		var shown struct {
			NextRunTime   time.Time `json:"nextRunTime"`
			LastInputTime time.Time `json:"lastInputTime"`
			Pause         *struct {
				Message string `json:"message"`
			} `json:"pause"`
		}
		err := h.Call(t.Context(), "PATCH", source, map[string]any{"schedule": map[string]any{"times": []string{"2:30"}}}, nil)
		require.ErrorContains(t, err, "schedule.times: entry 1 is no time of the form HH:MM")
		call("PATCH", source, map[string]any{"schedule": map[string]any{"times": []string{"02:30"}, "weekdays": []string{"MONDAY"}}}, &shown)
		chicago, err := time.LoadLocation("America/Chicago")
		require.NoError(t, err)
		require.Equal(t, "Monday 02:30", shown.NextRunTime.In(chicago).Format("Monday 15:04"))
		require.NotZero(t, shown.LastInputTime)
		call("POST", source+":pause", map[string]any{"until": "2999-01-01T00:00:00Z", "message": "summer"}, &shown)
		require.Equal(t, "summer", shown.Pause.Message)
		err = h.Call(t.Context(), "POST", source+":sync", map[string]any{}, nil)
		require.ErrorContains(t, err, "source files is paused by an operator until 2999-01-01T00:00:00Z (summer): resume it first")
		shown.Pause = nil
		call("POST", source+":resume", map[string]any{}, &shown)
		require.Nil(t, shown.Pause)

		server.RenewHostKey(t)
		s = run()
		require.Equal(t, "FAILED", s.State)
		require.Equal(t, "SFTP_HOST_KEY_CHANGED", s.ErrorReason)
		require.Contains(t, s.Error, server.Fingerprint)
	})
}
