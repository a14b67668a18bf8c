package ingest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/smtpd"
)

const it, boss = "it@made-up.example", "boss@made-up.example"

// newMailHub is a hub with a mail server; the boss wants to know of holds alone.
func newMailHub(t *testing.T) (*hub, *smtpd.Server) {
	h, server := newHub(t), smtpd.Start(t)
	h.stop()
	h.mail = server.URL
	h.start()
	h.recipients(&ingestv1.Recipient{Email: it}, &ingestv1.Recipient{Email: boss, Kinds: []ingestv1.NotificationKind{ingestv1.NotificationKind_HOLD}})
	return h, server
}

func (h *hub) recipients(all ...*ingestv1.Recipient) {
	h.t.Helper()
	_, err := h.notices.UpdateNotificationSettings(h.ctx, &ingestv1.UpdateNotificationSettingsRequest{District: "d", Settings: &ingestv1.NotificationSettings{Recipients: all}})
	require.NoError(h.t, err)
}

// noUsers is a package that cannot be taken.
func noUsers() map[string]string {
	files := sound()
	delete(files, "users.csv")
	return files
}

// subjects waits for n mails and returns them as "recipient: subject", sorted.
func subjects(t *testing.T, server *smtpd.Server, n int) []string {
	t.Helper()
	require.Eventually(t, func() bool { return len(server.Mails()) >= n }, testkit.Wait, 5*time.Millisecond, "%d mails", n)
	var out []string
	for _, m := range server.Mails() {
		out = append(out, m.To+": "+m.Header.Get("Subject"))
	}
	slices.Sort(out)
	return out
}

func TestNotifications(t *testing.T) {
	h, server := newMailHub(t)

	// A first sync that fails, one that fails again, and one that does not.
	require.Equal(t, ingestv1.SyncState_FAILED, h.sync("sis", noUsers()).GetState())
	failed := []string{it + ": Made-up District: sis has failed"}
	require.Equal(t, failed, subjects(t, server, 1))
	require.Equal(t, ingestv1.SyncState_FAILED, h.sync("sis", noUsers()).GetState())
	require.Equal(t, ingestv1.SyncState_COMPLETED, h.sync("sis", large(200)).GetState())
	want := append(failed, it+": Made-up District: sis works again")
	require.Equal(t, want, subjects(t, server, 2), "the second failure is not told")

	// A hold, told to both, and again a day later.
	held := h.sync("sis", fewer())
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	want = append([]string{boss + ": Made-up District: sis waits for your decision", it + ": Made-up District: sis waits for your decision"}, want...)
	slices.Sort(want)
	require.Equal(t, want, subjects(t, server, 4))
	for _, m := range server.Mails() {
		if m.To == boss {
			require.Contains(t, plain(m.Text), "https://hub.example/districts/d/syncs/"+held.GetSyncId())
			require.Contains(t, plain(m.Text), held.GetHoldReasons()[0].GetNextStep())
		}
		require.Equal(t, "sync@hub.example", m.From)
		require.NotContains(t, m.Text, "made-up.example", "nothing of a record")
	}
	h.clock.Add(int64(25 * time.Hour))
	require.Contains(t, subjects(t, server, 6), boss+": Made-up District: sis still waits for your decision")

	// Nothing is told twice, also by a hub that starts anew.
	h.stop()
	h.start()
	_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: held.GetSyncId()})
	require.NoError(t, err)
	require.Equal(t, ingestv1.SyncState_FAILED, h.sync("sis", noUsers()).GetState())
	require.Len(t, subjects(t, server, 7), 7)
	ids := map[string]bool{}
	for _, m := range server.Mails() {
		ids[m.Header.Get("Message-ID")] = true
	}
	require.Len(t, ids, 7)
}

// A source that has stopped to deliver, and delivers again.
func TestNotificationOfAStaleSource(t *testing.T) {
	h, server := newMailHub(t)
	_, err := h.update("sis", &ingestv1.Source{StaleAfterHours: 24})
	require.NoError(t, err)
	require.Equal(t, ingestv1.SyncState_COMPLETED, h.sync("sis", sound()).GetState())
	h.clock.Add(int64(30 * time.Hour))
	want := []string{it + ": Made-up District: sis has stopped to deliver"}
	require.Equal(t, want, subjects(t, server, 1))
	require.Equal(t, ingestv1.SyncState_COMPLETED, h.sync("sis", large(3)).GetState())
	require.Equal(t, append([]string{it + ": Made-up District: sis delivers again"}, want...), subjects(t, server, 2))
}

// What the server does not take now is tried again, also after a restart; what
// it never takes is not, and neither keeps the others from getting theirs.
func TestNotificationsThatAreRefused(t *testing.T) {
	h, server := newMailHub(t)
	const never = "never@made-up.example"
	h.recipients(&ingestv1.Recipient{Email: never}, &ingestv1.Recipient{Email: boss}, &ingestv1.Recipient{Email: it})
	server.Answer(boss, 450)
	server.Answer(never, 550)
	h.sync("sis", noUsers())
	require.Equal(t, []string{it + ": Made-up District: sis has failed"}, subjects(t, server, 1))
	h.stop()
	server.Answer(boss, 0)
	server.Answer(never, 0)
	h.start()
	h.clock.Add(int64(2 * time.Minute))
	require.Len(t, subjects(t, server, 2), 2)
	h.clock.Add(int64(2 * time.Hour))
	h.sync("sis", sound())
	require.Len(t, subjects(t, server, 5), 5)
}

func TestNotificationSettings(t *testing.T) {
	h, server := newMailHub(t)
	got, err := h.notices.GetNotificationSettings(h.ctx, &ingestv1.GetNotificationSettingsRequest{District: "d"})
	require.NoError(t, err)
	require.Len(t, got.GetRecipients(), 2)
	require.False(t, got.GetMailOff())

	for _, test := range []struct {
		name       string
		recipients []*ingestv1.Recipient
		etag       string
		code       codes.Code
	}{
		{"no address", []*ingestv1.Recipient{{Email: "someone"}}, "", codes.InvalidArgument},
		{"a name beside it", []*ingestv1.Recipient{{Email: "Some One <a@b.example>"}}, "", codes.InvalidArgument},
		{"a line break", []*ingestv1.Recipient{{Email: "a@b.example\r\nBcc: c@d.example"}}, "", codes.InvalidArgument},
		{"twice", []*ingestv1.Recipient{{Email: it}, {Email: it}}, "", codes.InvalidArgument},
		{"unknown kind", []*ingestv1.Recipient{{Email: it, Kinds: []ingestv1.NotificationKind{77}}}, "", codes.InvalidArgument},
		{"too many", make([]*ingestv1.Recipient, 51), "", codes.InvalidArgument},
		{"on top of another change", []*ingestv1.Recipient{{Email: it}}, "1", codes.Aborted},
		{"as it was read", []*ingestv1.Recipient{{Email: it}}, got.GetEtag(), codes.OK},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := h.notices.UpdateNotificationSettings(h.ctx, &ingestv1.UpdateNotificationSettingsRequest{
				District: "d", Settings: &ingestv1.NotificationSettings{Recipients: test.recipients, Etag: test.etag},
			})
			require.Equal(t, test.code, errs.Status(err).Code(), "%v", err)
		})
	}

	_, err = h.notices.SendTestNotification(h.ctx, &ingestv1.SendTestNotificationRequest{District: "d", Email: it})
	require.NoError(t, err)
	require.Equal(t, []string{it + ": Made-up District: a test"}, subjects(t, server, 1))
	_, err = h.notices.SendTestNotification(h.ctx, &ingestv1.SendTestNotificationRequest{District: "d", Email: boss})
	require.Equal(t, codes.InvalidArgument, errs.Status(err).Code(), "nobody else is written to")
	server.Answer(it, 550)
	_, err = h.notices.SendTestNotification(h.ctx, &ingestv1.SendTestNotificationRequest{District: "d", Email: it})
	require.Equal(t, codes.Unavailable, errs.Status(err).Code())
}

func TestNotificationsWithoutAMailServer(t *testing.T) {
	h := newHub(t)
	h.recipients(&ingestv1.Recipient{Email: it})
	got, err := h.notices.GetNotificationSettings(h.ctx, &ingestv1.GetNotificationSettingsRequest{District: "d"})
	require.NoError(t, err)
	require.True(t, got.GetMailOff())
	_, err = h.notices.SendTestNotification(h.ctx, &ingestv1.SendTestNotificationRequest{District: "d", Email: it})
	require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "MAIL_OFF", ""))
	_, err = h.districts.DeleteDistrict(h.ctx, &ingestv1.DeleteDistrictRequest{District: "d"})
	require.NoError(t, err)
	_, err = h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "d", District: &ingestv1.District{}})
	require.NoError(t, err)
	got, err = h.notices.GetNotificationSettings(h.ctx, &ingestv1.GetNotificationSettingsRequest{District: "d"})
	require.NoError(t, err)
	require.Empty(t, got.GetRecipients(), "the district before it had some")
}

// plain undoes the line breaks of quoted-printable text.
func plain(text string) string { return strings.NewReplacer("=\r\n", "", "=3D", "=").Replace(text) }
