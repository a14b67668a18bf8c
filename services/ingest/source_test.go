package ingest_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/sshd"
)

// sftpSource makes a source "files" that pulls from a real OpenSSH server.
func (h *hub) sftpSource(server *sshd.Server, folder string, secrets map[string]string) *ingestv1.Source {
	h.t.Helper()
	set, err := structpb.NewStruct(map[string]any{"host": "127.0.0.1", "port": server.Port, "user": server.User, "folder": folder})
	require.NoError(h.t, err)
	s, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "files", Source: &ingestv1.Source{
		Connector: "sftp-pull", Settings: set, Secrets: secrets,
	}})
	require.NoError(h.t, err)
	return s
}

func (h *hub) test(source string) *ingestv1.TestSourceResponse {
	h.t.Helper()
	out, err := h.sources.TestSource(h.ctx, &ingestv1.TestSourceRequest{District: "d", Source: source})
	require.NoError(h.t, err)
	return out
}

// confirm takes the settings over that a test wants to have confirmed.
func (h *hub) confirm(source *ingestv1.Source, confirm *structpb.Struct) *ingestv1.Source {
	h.t.Helper()
	next := proto.CloneOf(source.GetSettings())
	maps.Copy(next.Fields, confirm.GetFields())
	s, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: source.GetSourceId(), Settings: &ingestv1.Source{Settings: next}})
	require.NoError(h.t, err)
	return s
}

// deliver writes files that are so old, instead of those that are there.
func deliver(t *testing.T, dir string, files map[string]string, age time.Duration) {
	t.Helper()
	old, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, name := range old {
		require.NoError(t, os.Remove(name))
	}
	at := time.Now().Add(-age)
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(path, at, at))
	}
}

// messages returns those of a test as "level code file:column".
func messages(r *ingestv1.TestSourceResponse) []string {
	var out []string
	for _, m := range r.GetMessages() {
		out = append(out, m.GetLevel()+" "+m.GetCode()+" "+m.GetFile()+":"+m.GetColumn())
	}
	return out
}

// From the wizard to the second night: test, confirm, sync, nothing new, new
// files, another host key.
func TestPulledSource(t *testing.T) {
	h, server, dir := newHub(t), sshd.Start(t), t.TempDir()
	deliver(t, dir, sound(), 2*time.Hour)
	source := h.sftpSource(server, dir, map[string]string{"privateKey": server.Key})

	r := h.test("files")
	require.False(t, r.GetOk())
	require.Equal(t, []string{"error SFTP_HOST_KEY_UNCONFIRMED :"}, messages(r))
	require.Equal(t, map[string]any{"hostKey": server.Fingerprint}, r.GetConfirm().AsMap())
	s := h.wait(h.startSync("files").GetSyncId())
	require.Equal(t, ingestv1.SyncState_FAILED, s.GetState())
	require.Equal(t, "SFTP_HOST_KEY_UNCONFIRMED", s.GetErrorReason())

	source = h.confirm(source, r.GetConfirm())
	r = h.test("files")
	require.True(t, r.GetOk(), messages(r))
	require.Empty(t, r.GetRequired())
	require.EqualValues(t, 2, r.GetCounts()["users"])
	require.Empty(t, h.stored("uploads/d/files"), "a test keeps nothing")

	first := h.wait(h.startSync("files").GetSyncId())
	require.Equal(t, ingestv1.SyncState_COMPLETED, first.GetState(), first.GetError())
	require.EqualValues(t, 1, first.GetRevision())
	require.NotEmpty(t, first.GetUploadId())
	require.Positive(t, first.GetBytesPulled())
	require.InDelta(t, first.GetBytesToPull(), first.GetBytesPulled(), 0)
	require.Len(t, h.stored("uploads/d/files"), 1)

	t.Run("nothing new", func(t *testing.T) {
		s := h.wait(h.startSync("files").GetSyncId())
		require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
		require.True(t, s.GetUnchangedInput())
		require.Zero(t, s.GetRevision())
		require.Equal(t, first.GetUploadId(), s.GetUploadId())
	})
	t.Run("written anew with the same content", func(t *testing.T) {
		deliver(t, dir, sound(), 90*time.Minute)
		s := h.wait(h.startSync("files").GetSyncId())
		require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
		require.True(t, s.GetUnchangedInput())
		require.Len(t, h.stored("uploads/d/files"), 1)
	})
	t.Run("new files", func(t *testing.T) {
		next := sound()
		next["users.csv"] += "u3,,,true,s,student,ann,,Ann,Apple,,101,ann@made-up.example,,,,05,\n"
		deliver(t, dir, next, 70*time.Minute)
		s := h.wait(h.startSync("files").GetSyncId())
		require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
		require.False(t, s.GetUnchangedInput())
		require.EqualValues(t, 1, s.GetCounts()["users"].GetCreated())
	})
	t.Run("what was kept before", func(t *testing.T) {
		s, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "files", UploadId: first.GetUploadId(), DryRun: true})
		require.NoError(t, err)
		s = h.wait(s.GetSyncId())
		require.EqualValues(t, 1, s.GetCounts()["users"].GetRemoved(), s.GetError())
	})
	t.Run("files that were written lately", func(t *testing.T) {
		deliver(t, dir, sound(), 0)
		s := h.startSync("files")
		require.Eventually(t, func() bool { return h.get(s.GetSyncId()).GetWaitingFor() != "" }, testkit.Wait, 5*time.Millisecond)
		h.stop()
		h.start() // another process goes on with it
		require.Equal(t, ingestv1.SyncState_PULLING, h.get(s.GetSyncId()).GetState())
		_, err := h.syncs.CancelSync(h.ctx, &ingestv1.CancelSyncRequest{District: "d", Sync: s.GetSyncId()})
		require.NoError(t, err)
		require.Equal(t, ingestv1.SyncState_CANCELLED, h.wait(s.GetSyncId()).GetState())
		require.Eventually(t, func() bool {
			left, err := filepath.Glob(filepath.Join(h.temp, "pull-*"))
			return err == nil && len(left) == 0
		}, testkit.Wait, 5*time.Millisecond)
	})
	t.Run("nobody there", func(t *testing.T) {
		set := proto.CloneOf(source.GetSettings())
		set.Fields["host"] = structpb.NewStringValue("127.0.0.2") // nobody listens there
		_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "away", Source: &ingestv1.Source{Connector: "sftp-pull", Settings: set}})
		require.NoError(t, err)
		require.Equal(t, []string{"error SOURCE_UNREACHABLE :"}, messages(h.test("away")))
		s := h.wait(h.startSync("away").GetSyncId())
		require.Equal(t, ingestv1.SyncState_FAILED, s.GetState())
		require.Equal(t, "SOURCE_UNREACHABLE", s.GetErrorReason())
	})
	t.Run("another host key", func(t *testing.T) {
		server.RenewHostKey(t)
		s := h.wait(h.startSync("files").GetSyncId())
		require.Equal(t, ingestv1.SyncState_FAILED, s.GetState())
		require.Equal(t, "SFTP_HOST_KEY_CHANGED", s.GetErrorReason())
		require.Contains(t, s.GetError(), server.Fingerprint)
		r := h.test("files")
		require.Equal(t, []string{"error SFTP_HOST_KEY_CHANGED :"}, messages(r))
		h.confirm(source, r.GetConfirm())
		require.True(t, h.test("files").GetOk())
	})
}

func TestUploadedSourceIsTested(t *testing.T) {
	h := newHub(t)
	require.Equal(t, []string{"error UPLOAD_NEEDED :"}, messages(h.test("sis")))

	h.upload("sis", sound())
	r := h.test("sis")
	require.True(t, r.GetOk())
	require.Equal(t, map[string]int32{"orgs": 2, "academicSessions": 1, "courses": 1, "classes": 1, "users": 2, "enrollments": 2}, r.GetCounts())
	require.Equal(t, []string{"warning recommended-missing demographics.csv:", "warning recommended-missing users.csv:agentSourcedIds"}, messages(r))
	require.Len(t, r.GetRecommended(), 2)

	lacking := sound()
	delete(lacking, "enrollments.csv")
	delete(lacking, "manifest.csv")
	delete(lacking, "orgs.csv")
	lacking["classes.csv"] = strings.NewReplacer(",schoolSourcedId", ",school", ",title", ",name").Replace(lacking["classes.csv"])
	h.upload("sis", lacking)
	r = h.test("sis")
	require.False(t, r.GetOk())
	var required []string
	for _, d := range r.GetRequired() {
		required = append(required, d.GetFile()+":"+d.GetColumn())
		require.NotEmpty(t, d.GetReason())
	}
	require.Equal(t, []string{"enrollments.csv:", "classes.csv:title", "classes.csv:schoolSourcedId"}, required)
	require.Contains(t, messages(r), "error file-missing enrollments.csv:")
	require.Contains(t, messages(r), "warning recommended-missing orgs.csv:")

	_, err := h.sources.TestSource(h.ctx, &ingestv1.TestSourceRequest{District: "d", Source: "sis", UploadId: "none"})
	require.ErrorIs(t, err, errs.New(codes.NotFound, "UPLOAD_NOT_FOUND", ""))
}

func TestSecrets(t *testing.T) {
	h, server := newHub(t), sshd.Start(t)
	const password = "horse-battery-staple"
	source := h.sftpSource(server, "/", map[string]string{"password": password, "privateKey": server.Key})
	require.Empty(t, source.GetSecrets())
	require.Equal(t, []string{"password", "privateKey"}, source.GetSecretsSet())
	update := func(s *ingestv1.Source) (*ingestv1.Source, error) {
		return h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "files", Settings: s})
	}

	s, err := update(&ingestv1.Source{DisplayName: "Export"})
	require.NoError(t, err)
	require.Equal(t, []string{"password", "privateKey"}, s.GetSecretsSet(), "what is left out stays")
	s, err = update(&ingestv1.Source{Secrets: map[string]string{"password": ""}})
	require.NoError(t, err)
	require.Equal(t, []string{"privateKey"}, s.GetSecretsSet(), "what is empty is removed")
	require.Equal(t, map[string]any{"hostKey": server.Fingerprint}, h.test("files").GetConfirm().AsMap())
	s = h.confirm(s, h.test("files").GetConfirm())
	require.NotEqual(t, []string{"error SFTP_AUTH_FAILED :"}, messages(h.test("files")), "the key is still there")

	elsewhere := proto.CloneOf(s.GetSettings())
	elsewhere.Fields["host"] = structpb.NewStringValue("elsewhere.example")
	_, err = update(&ingestv1.Source{Settings: elsewhere})
	require.ErrorContains(t, err, "secrets: enter them again")
	_, err = update(&ingestv1.Source{Settings: elsewhere, Secrets: map[string]string{"password": password}})
	require.NoError(t, err)

	_, err = update(&ingestv1.Source{Secrets: map[string]string{"pasword": password}})
	require.ErrorContains(t, err, "secrets.pasword")
	require.NotContains(t, err.Error(), password)

	t.Run("only the sealed form is stored", func(t *testing.T) {
		doc, err := state.New(h.docs).Sources.Get(h.ctx, "d/files")
		require.NoError(t, err)
		text, err := proto.Marshal(doc.Value)
		require.NoError(t, err)
		require.NotContains(t, string(text), password)
		require.NotContains(t, string(text), "PRIVATE KEY")
		require.True(t, slices.Contains(doc.Value.GetSecrets().GetNames(), "password"))
	})
}

func TestCatalogue(t *testing.T) {
	h := newHub(t)
	list, err := h.sources.ListConnectors(h.ctx, &ingestv1.ListConnectorsRequest{})
	require.NoError(t, err)
	ids := map[string]bool{}
	for _, c := range list.GetConnectors() {
		ids[c.GetConnectorId()] = true
	}
	require.Equal(t, map[string]bool{"manual": true, "oneroster-csv": true, "sftp-drop": true, "sftp-pull": true}, ids)
	require.NotEmpty(t, list.GetVendors())
}
