package standalone_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/securly/sync/deploy/standalone"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/testkit"
)

// backUp makes a backup of a data directory with whatever operator it has.
func backUp(t *testing.T, dataDir, out string) (string, *standalone.Manifest) {
	t.Helper()
	o, err := standalone.Connect(t.Context(), dataDir, testkit.Log(t))
	require.NoError(t, err)
	file, m, err := o.Backup(t.Context(), out)
	require.NoError(t, err)
	require.NoError(t, o.Close())
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "for its owner alone")
	left, err := filepath.Glob(filepath.Join(dataDir, ".snapshot-*"))
	require.NoError(t, err)
	require.Empty(t, left)
	return file, m
}

// A backup that is made at whatever moment of a sync is one of a hub that could have died just then:
// the sync comes to its end on the copy, with the same outcome.
func TestBackupWhileSyncing(t *testing.T) {
	h := start(t, t.TempDir())
	c := h.caller(t)
	first, second := generated(t, 1), generated(t, 2)
	c.newDistrict("d")
	require.EqualValues(t, 1, c.sync("d", first).GetRevision())
	c.report("d", "rev-1")

	out := t.TempDir()
	sync := c.startSync("d", second)
	var backups []string
	for done := false; !done; {
		file, m := backUp(t, h.DataDir(), filepath.Join(out, string(rune('a'+len(backups)))+".tar"))
		require.Equal(t, []string{"d"}, m.Districts)
		backups = append(backups, file)
		s, err := ingestv1.NewSyncServiceClient(h.conn).GetSync(c.ctx, &ingestv1.GetSyncRequest{District: "d", Sync: sync.GetSyncId()})
		require.NoError(t, err)
		done = s.GetState() == ingestv1.SyncState_COMPLETED
	}
	c.ended("d", sync.GetSyncId())
	want, _ := c.export("d", 2)
	before, _ := c.export("d", 1)
	if len(backups) > 4 { // each takes its time
		backups = append(backups[:3], backups[len(backups)-1])
	}
	for _, file := range backups {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "restored")
			_, err := standalone.Restore(t.Context(), file, dir)
			require.NoError(t, err)
			require.NoDirExists(t, filepath.Join(dir, "events"))
			require.NoFileExists(t, filepath.Join(dir, "running.json"))
			again := start(t, dir)
			c := again.caller(t)
			require.EqualValues(t, 2, c.ended("d", sync.GetSyncId()).GetRevision())
			got, head := c.export("d", 0)
			require.EqualValues(t, 2, head)
			require.Len(t, got, len(want))
			got, _ = c.export("d", 1)
			require.Equal(t, before, got)
			c.report("d", "rev-2") // although nobody was told of the commit
			require.Zero(t, c.sync("d", second).GetRevision(), "the same again changes nothing")
			require.EqualValues(t, 3, c.sync("d", generated(t, 3)).GetRevision())
			require.Empty(t, doctor(t, dir, false))
		})
	}
}

func TestRestoreBringsEverythingBack(t *testing.T) {
	h := start(t, t.TempDir())
	c := h.caller(t)
	for _, d := range []string{"one", "two"} {
		c.newDistrict(d)
		c.sync(d, generated(t, 1))
	}
	c.sync("one", generated(t, 2))
	report, findings := c.report("one", "rev-2")
	require.NotEmpty(t, findings)
	c.report("two", "rev-1")
	page, err := rosterv1.NewRosterServiceClient(h.conn).ListRecords(c.ctx, &rosterv1.ListRecordsRequest{District: "one", Entity: "users", PageSize: 3})
	require.NoError(t, err)
	users := page.GetUsers()
	history := func(c caller) *rosterv1.GetRecordHistoryResponse {
		out, err := rosterv1.NewRosterServiceClient(c.conn).GetRecordHistory(c.ctx, &rosterv1.GetRecordHistoryRequest{
			District: "one", Entity: "users", SourcedId: users[0].GetSourcedId(),
		})
		require.NoError(t, err)
		return out
	}
	revisions := func(c caller) *rosterv1.ListRevisionsResponse {
		out, err := rosterv1.NewRosterServiceClient(c.conn).ListRevisions(c.ctx, &rosterv1.ListRevisionsRequest{District: "one"})
		require.NoError(t, err)
		return out
	}
	syncs := func(c caller) *ingestv1.ListSyncsResponse {
		out, err := ingestv1.NewSyncServiceClient(c.conn).ListSyncs(c.ctx, &ingestv1.ListSyncsRequest{District: "one"})
		require.NoError(t, err)
		return out
	}
	wantHistory, wantRevisions, wantSyncs := history(c), revisions(c), syncs(c)
	want := map[string][][]byte{}
	for _, d := range []string{"one", "two"} {
		want[d], _ = c.export(d, 0)
	}
	want["before"], _ = c.export("one", 1)

	running, _ := backUp(t, h.DataDir(), t.TempDir()) // a folder: the name is found
	require.Regexp(t, `securly-sync-\d{8}T\d{6}Z\.tar$`, running)
	token := c.ctx
	h.stop()
	stopped, m := backUp(t, h.DataDir(), filepath.Join(t.TempDir(), "backup.tar"))
	require.ElementsMatch(t, []string{"one", "two"}, m.Districts)
	for name, file := range map[string]string{"while running": running, "while stopped": stopped} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() // an empty folder will do
			_, err := standalone.Restore(t.Context(), file, dir)
			require.NoError(t, err)
			require.Empty(t, doctor(t, dir, false))
			h := start(t, dir)
			require.Eventually(t, func() bool { return h.get(t, "/readyz") == http.StatusOK }, testkit.Wait, time.Millisecond)
			c := caller{h, t, token} // keys are there, and so are clients
			for _, d := range []string{"one", "two"} {
				got, _ := c.export(d, 0)
				require.Equal(t, want[d], got)
			}
			got, _ := c.export("one", 1)
			require.Equal(t, want["before"], got)
			require.True(t, proto.Equal(wantHistory, history(c)))
			require.True(t, proto.Equal(wantRevisions, revisions(c)))
			require.True(t, proto.Equal(wantSyncs, syncs(c)))
			gotReport, gotFindings := c.report("one", "rev-2")
			require.True(t, proto.Equal(report, gotReport))
			require.Len(t, gotFindings, len(findings))
			for i := range findings {
				require.True(t, proto.Equal(findings[i], gotFindings[i]))
			}
			h.caller(t) // signs in anew
			o, err := h.Operator()
			require.NoError(t, err)
			link, _, err := o.SignInLink(t.Context())
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, h.get(t, strings.TrimPrefix(link, h.URL())))
			require.EqualValues(t, 3, c.sync("one", generated(t, 3)).GetRevision())

			// A product that has seen more than the backup has is told.
			in, err := rosterv1.NewRosterServiceClient(h.conn).Watch(c.ctx, &rosterv1.WatchRequest{District: "two", After: 2})
			require.NoError(t, err)
			_, err = in.Recv()
			require.ErrorContains(t, err, "load a copy that follows the changes anew")
		})
	}
}

func TestBackupNeverReplacesAFile(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, ".snapshot-left") // by a hub that died while a backup was made
	require.NoError(t, os.Mkdir(left, 0o700))
	start(t, dir).caller(t) // it answers
	require.NoDirExists(t, left)
	out := filepath.Join(t.TempDir(), "backup.tar")
	require.NoError(t, os.WriteFile(out, []byte("precious"), 0o600))
	o, err := standalone.Connect(t.Context(), dir, testkit.Log(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, o.Close()) }()
	_, _, err = o.Backup(t.Context(), out)
	require.ErrorContains(t, err, "there already")
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))

	_, _, err = o.Backup(t.Context(), filepath.Join(dir, "ingest"))
	require.ErrorContains(t, err, "choose a place outside")

	// One that is broken off leaves nothing behind.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = o.Backup(ctx, filepath.Join(filepath.Dir(out), "other.tar"))
	require.Error(t, err)
	there, err := os.ReadDir(filepath.Dir(out))
	require.NoError(t, err)
	require.Len(t, there, 1)
}

func TestRestoreRefuses(t *testing.T) {
	source := t.TempDir()
	start(t, source).stop()
	file, _ := backUp(t, source, filepath.Join(t.TempDir(), "backup.tar"))
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	// The last content before the manifest is that of the secret.
	at := strings.LastIndex(string(good), "service-secret")
	require.Positive(t, at)

	damaged := append([]byte(nil), good...)
	secret, err := os.ReadFile(filepath.Join(source, "service-secret"))
	require.NoError(t, err)
	flip := strings.Index(string(good), string(secret))
	require.Positive(t, flip)
	damaged[flip] ^= 1
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"damaged":        {damaged, "service-secret is not as it was written"},
		"cut off":        {good[:len(good)/2], "no complete backup"},
		"without end":    {good[:len(good)-4096], "no complete backup"},
		"something else": {[]byte(strings.Repeat("not a tar", 1000)), "no complete backup"},
		"empty":          {nil, "no complete backup"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := filepath.Join(t.TempDir(), "bad.tar")
			require.NoError(t, os.WriteFile(bad, tt.content, 0o600))
			dir := t.TempDir()
			_, err := standalone.Restore(t.Context(), bad, dir)
			require.ErrorContains(t, err, tt.want)
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
	t.Run("a folder in use", func(t *testing.T) {
		_, err := standalone.Restore(t.Context(), file, source)
		require.ErrorContains(t, err, "is not empty")
	})
	t.Run("after one that was broken off", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "restoring"), nil, 0o600))
		_, err := standalone.Restore(t.Context(), file, dir)
		require.ErrorContains(t, err, "is not empty")
		_, err = standalone.Open(t.Context(), standalone.Config{DataDir: dir, HTTPAddr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0"},
			standalone.Deps{Log: testkit.Log(t), Registry: prometheus.NewRegistry()})
		require.ErrorContains(t, err, "broken off")
		_, err = standalone.Connect(t.Context(), dir, testkit.Log(t))
		require.ErrorContains(t, err, "broken off")
	})
	t.Run("when it is interrupted", func(t *testing.T) {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := standalone.Restore(ctx, file, dir)
		require.ErrorIs(t, err, context.Canceled)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}
