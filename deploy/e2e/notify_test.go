package e2e

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/platform/testkit/smtpd"
)

// A failed sync is told by e-mail, through a mail server that insists on
// encryption and on its account; the sync that follows is told as recovery.
func TestNotifications(t *testing.T) {
	for name, start := range ways {
		t.Run(name, func(t *testing.T) {
			server := smtpd.StartTLS(t)
			t.Setenv("SSL_CERT_FILE", server.CAFile)
			t.Setenv("SECURLY_SYNC_SMTP_URL", server.URL)
			t.Setenv("SECURLY_SYNC_MAIL_FROM", "sync@hub.example")
			t.Setenv("SECURLY_SYNC_PUBLIC_URL", "https://hub.example")
			h, err := startHub(t.Context(), start)
			require.NoError(t, err)
			t.Cleanup(func() {
				require.NoError(t, h.Stop())
				require.NoError(t, os.RemoveAll(h.DataDir))
			})
			h.newDistrict(t, "told")
			const it = "it@made-up.example"
			require.NoError(t, h.Call(t.Context(), "PUT", "/v1/districts/told/notifications", map[string]any{"recipients": []any{map[string]any{"email": it}}}, nil))
			require.NoError(t, h.Call(t.Context(), "POST", "/v1/districts/told/notifications:test", map[string]any{"email": it}, nil))
			require.Len(t, server.Mails(), 1)

			files := soundFiles()
			delete(files, "users.csv")
			var failed hubtest.Sync
			failed, err = h.UploadAndSync(t.Context(), "told", zipped(t, files))
			require.NoError(t, err)
			require.Equal(t, "FAILED", failed.State)
			require.NoError(t, waitFor(t, "a mail", func() (bool, error) { return len(server.Mails()) == 2, nil }))
			h.sync(t, "told", zipped(t, soundFiles()))
			require.NoError(t, waitFor(t, "another mail", func() (bool, error) { return len(server.Mails()) == 3, nil }))
			var subjects []string
			for _, m := range server.Mails() {
				require.Equal(t, it, m.To)
				subjects = append(subjects, m.Header.Get("Subject"))
			}
			require.Equal(t, []string{"District told: a test", "District told: SIS export has failed", "District told: SIS export works again"}, subjects)
		})
	}
}
