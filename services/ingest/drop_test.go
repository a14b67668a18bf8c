package ingest_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/sftpclient"
)

// newDrop makes a source that files are dropped for, and a client with its
// password.
func (h *hub) newDrop(district, source string, settings map[string]any) *sftpclient.Client {
	h.t.Helper()
	set, err := structpb.NewStruct(settings)
	require.NoError(h.t, err)
	made, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{
		District: district, SourceId: source, Source: &ingestv1.Source{Connector: "sftp-drop", Settings: set},
	})
	require.NoError(h.t, err)
	require.Equal(h.t, district+"."+source, made.GetDrop().GetUser())
	require.False(h.t, made.GetDrop().GetPasswordSet())
	reset, err := h.sources.ResetDropPassword(h.ctx, &ingestv1.ResetDropPasswordRequest{District: district, Source: source})
	require.NoError(h.t, err)
	require.True(h.t, reset.GetDrop().GetPasswordSet())
	return &sftpclient.Client{
		Port: h.sftpPort, User: reset.GetDrop().GetUser(), Password: reset.GetPassword(), Fingerprint: reset.GetDrop().GetHostKey(),
	}
}

// drop gives commands to OpenSSH's client, all of which must succeed.
func (h *hub) drop(c *sftpclient.Client, commands ...string) string {
	h.t.Helper()
	out, err := c.Run(h.t.Context(), h.t, commands...)
	require.NoError(h.t, err)
	return out
}

// listed returns the names in a folder.
func (h *hub) listed(c *sftpclient.Client, folder string) []string {
	h.t.Helper()
	_, names, _ := strings.Cut(h.drop(c, "ls -1 "+folder), "\n") // behind the echo of the command
	out := strings.Fields(names)
	for i, n := range out {
		out[i] = filepath.Base(n)
	}
	return out
}

// local writes files and returns the commands that put them.
func local(t testing.TB, files map[string]string) (puts []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		puts = append(puts, "put "+path)
	}
	return puts
}

// ahead lets the hub's clock go on.
func (h *hub) ahead(d time.Duration) { h.clock.Add(int64(d)) }

// syncsOf lists the syncs of a source, the newest first.
func (h *hub) syncsOf(source string) []*ingestv1.Sync {
	h.t.Helper()
	list, err := h.syncs.ListSyncs(h.ctx, &ingestv1.ListSyncsRequest{District: "d", Source: source})
	require.NoError(h.t, err)
	return list.GetSyncs()
}

// nextSync waits for sync number n of a source to end.
func (h *hub) nextSync(source string, n int) *ingestv1.Sync {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return len(h.syncsOf(source)) >= n }, testkit.Wait, 5*time.Millisecond, "a sync starts by itself")
	require.Len(h.t, h.syncsOf(source), n)
	return h.wait(h.syncsOf(source)[0].GetSyncId())
}

func TestDroppedFilesAreSynced(t *testing.T) {
	h := newHub(t)
	c := h.newDrop("d", "nightly", nil)
	h.drop(c, local(t, sound())...)
	require.Contains(t, h.listed(c, "/incoming"), "users.csv")
	drop := h.source("nightly").GetDrop()
	require.Len(t, drop.GetIncoming(), len(sound()))
	require.EqualValues(t, h.sftpPort, drop.GetPort())
	require.Empty(t, h.syncsOf("nightly"), "files may still come")
	h.ahead(6 * time.Minute)
	s := h.nextSync("nightly", 1)
	require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
	require.False(t, s.GetUnchangedInput())

	require.Empty(t, h.listed(c, "/incoming"), "what was taken is in processed")
	require.Empty(t, h.source("nightly").GetDrop().GetIncoming())
	kept := h.listed(c, "/processed")
	require.Len(t, kept, 1)
	require.Empty(t, h.stored("drops"))
	copied := filepath.Join(t.TempDir(), "package.zip")
	h.drop(c, "get /processed/"+kept[0]+"/package.zip "+copied)
	text, err := os.ReadFile(copied)
	require.NoError(t, err)
	z, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	require.NoError(t, err)
	require.Len(t, z.File, len(sound()))

	h.drop(c, local(t, sound())...)
	h.ahead(6 * time.Minute)
	s = h.nextSync("nightly", 2)
	require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
	require.True(t, s.GetUnchangedInput())
	require.Empty(t, h.listed(c, "/incoming"))

	t.Run("a package that cannot be read is tried once", func(t *testing.T) {
		h.drop(c, local(t, map[string]string{"roster.zip": "no zip"})...)
		h.ahead(6 * time.Minute)
		s := h.nextSync("nightly", 3)
		require.Equal(t, ingestv1.SyncState_FAILED, s.GetState())
		require.Equal(t, "UPLOAD_NOT_ZIP", s.GetErrorReason())
		h.ahead(time.Hour)
		require.Equal(t, []string{"roster.zip"}, h.listed(c, "/incoming"))
		require.Len(t, h.syncsOf("nightly"), 3)
		h.drop(c, "rm /incoming/roster.zip")
	})
	t.Run("another process goes on", func(t *testing.T) {
		h.drop(c, local(t, sound())...)
		h.stop()
		h.start()
		c.Port = h.sftpPort // its key is the same
		require.Len(t, h.listed(c, "/incoming"), len(sound()))
		h.ahead(6 * time.Minute)
		require.Equal(t, ingestv1.SyncState_COMPLETED, h.nextSync("nightly", 4).GetState())
	})
}

func TestDropRenames(t *testing.T) {
	h := newHub(t)
	c := h.newDrop("d", "nightly", nil)
	put := local(t, map[string]string{"users.csv.tmp": "new", "users.csv": "old", "classes.csv": "classes"})
	h.drop(c, append(put, "rename users.csv.tmp users.csv", "chmod 600 users.csv", "rm classes.csv")...)
	require.Equal(t, []string{"users.csv"}, h.listed(c, "."))
	to := filepath.Join(t.TempDir(), "copy")
	h.drop(c, "get users.csv "+to)
	text, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, "new", string(text))
	require.Len(t, h.stored("drops"), 1, "what was replaced is gone")
	for name, command := range map[string]string{
		"a rename of nothing": "rename missing.csv users.csv", "a rename out of it": "rename users.csv /processed/users.csv",
		"a removal of nothing": "rm missing.csv", "a resumed upload": "put -a " + to + " users.csv",
	} {
		_, err := c.Run(t.Context(), t, command)
		require.Error(t, err, name)
	}
}

func TestDropIsCutOff(t *testing.T) {
	h := newHub(t)
	c := h.newDrop("d", "nightly", nil)
	big := strings.Repeat("0123456789abcdef", 1<<20)
	slow := *c
	slow.Args = []string{"-l", "8000"} // a megabyte a second
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	put := local(t, map[string]string{"users.csv": big})
	go func() {
		_, err := slow.Run(ctx, t, put...)
		ended <- err
	}()
	require.Eventually(t, func() bool { return strings.Contains(fmt.Sprint(h.listed(c, "/incoming")), "users.csv.filepart") }, testkit.Wait, 10*time.Millisecond)
	kill()
	require.Error(t, <-ended)
	require.Eventually(t, func() bool {
		left, err := filepath.Glob(h.temp + "/drop-*")
		return err == nil && len(left) == 0
	}, testkit.Wait, 5*time.Millisecond, "its part is not kept")
	require.Equal(t, []string{"users.csv.filepart"}, h.listed(c, "/incoming"))
	require.Empty(t, h.stored("drops"))
	h.ahead(time.Hour)

	h.drop(c, local(t, sound())...)
	h.ahead(6 * time.Minute)
	s := h.nextSync("nightly", 1)
	require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
	require.Empty(t, h.listed(c, "/incoming"))
}

func TestDropIsLimited(t *testing.T) {
	h := newHub(t)
	c := h.newDrop("d", "nightly", nil)
	big := strings.Repeat("0123456789abcdef", 40<<16)
	put := local(t, map[string]string{"users.csv": big})
	h.drop(c, put...)
	to := filepath.Join(t.TempDir(), "copy")
	h.drop(c, "get users.csv "+to)
	text, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Len(t, text, len(big))
	require.True(t, bytes.Equal(text, []byte(big)), "what was put is what is there")
	_, err = c.Run(t.Context(), t, put[0]+" classes.csv")
	require.Error(t, err, "it is too large beside the other")
	require.Equal(t, []string{"classes.csv.filepart", "users.csv"}, h.listed(c, "."))
	h.drop(c, "rm classes.csv.filepart")
	h.drop(c, put...) // in the place of the one before
	var many []string
	small := local(t, map[string]string{"small": "x"})[0]
	for i := range 98 {
		many = append(many, fmt.Sprintf("%s file-%d", small, i))
	}
	h.drop(c, many...)
	_, err = c.Run(t.Context(), t, small+" one", small+" two", small+" three")
	require.Error(t, err, "they are too many")
	require.LessOrEqual(t, len(h.listed(c, ".")), 100)
}

func TestDropHasNoWayOut(t *testing.T) {
	h := newHub(t)
	c := h.newDrop("d", "nightly", nil)
	_, err := h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "e", District: &ingestv1.District{DisplayName: "Another"}})
	require.NoError(t, err)
	other := h.newDrop("e", "nightly", nil)
	put := local(t, map[string]string{"users.csv": "of one district"})[0]
	h.drop(c, put)
	require.Equal(t, []string{"users.csv"}, h.listed(c, "/incoming"))
	require.Empty(t, h.listed(other, "/incoming"), "the other sees nothing of it")
	require.Equal(t, []string{"incoming", "processed"}, h.listed(c, "/../.."))
	for name, command := range map[string]string{
		"above":                 put + " ../users.csv",
		"far above":             put + " ../../../../tmp/users.csv",
		"absolute":              put + " /tmp/users.csv",
		"into what is kept":     put + " /processed/users.csv",
		"below":                 put + " /incoming/users.csv/more.csv",
		"a link":                "symlink /etc/passwd passwd.csv",
		"a hard link":           "ln users.csv again.csv",
		"a folder":              "mkdir more",
		"removing the folder":   "rmdir /incoming",
		"a file of the machine": "get /etc/passwd " + filepath.Join(t.TempDir(), "x"),
		"listing the machine":   "ls /etc",
		"the other's file":      "get /d/nightly/incoming/users.csv " + filepath.Join(t.TempDir(), "x"),
		"a name for Windows":    put + ` "..\\\\users.csv"`,
	} {
		out, err := other.Run(t.Context(), t, command)
		require.Error(t, err, "%s: %s", name, out)
	}
	require.Empty(t, h.listed(other, "/incoming"))
	require.Len(t, h.stored("drops"), 1)

	shell, err := ssh.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", h.sftpPort), h.goClient(other))
	require.NoError(t, err)
	defer func() { _ = shell.Close() }()
	session, err := shell.NewSession()
	require.NoError(t, err)
	require.Error(t, session.Run("id"), "no shell")
	_ = session.Close()
	_, err = shell.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", h.sftpPort))
	require.ErrorContains(t, err, "prohibited", "no way through")
}

func (h *hub) goClient(c *sftpclient.Client) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: c.User, Auth: []ssh.AuthMethod{ssh.Password(c.Password)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: testkit.Wait}
}

func TestDropSignIn(t *testing.T) {
	h := newHub(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	c := h.newDrop("d", "nightly", map[string]any{"authorizedKeys": string(ssh.MarshalAuthorizedKey(key))})
	withKey := *c
	withKey.Key = string(pem.EncodeToMemory(block))
	h.drop(&withKey, "ls")
	h.drop(c, "ls")

	session := func(auth ...ssh.AuthMethod) *ssh.Client {
		config := h.goClient(c)
		config.Auth = auth
		conn, err := ssh.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", h.sftpPort), config)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	byKey, byPassword := session(ssh.PublicKeys(signer)), session(ssh.Password(c.Password))
	_, err = h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "nightly", Settings: &ingestv1.Source{Settings: &structpb.Struct{}}})
	require.NoError(t, err)
	require.Error(t, byKey.Wait(), "a session ends with its key")
	_, err = withKey.Run(t.Context(), t, "ls")
	require.Error(t, err)
	_, err = sftp.NewClient(byPassword)
	require.NoError(t, err, "the others go on")
	reset, err := h.sources.ResetDropPassword(h.ctx, &ingestv1.ResetDropPasswordRequest{District: "d", Source: "nightly"})
	require.NoError(t, err)
	require.Error(t, byPassword.Wait(), "and with its password")
	c.Password = reset.GetPassword()
	h.drop(c, "ls")

	t.Run("throttled", func(t *testing.T) {
		for _, user := range []string{c.User, "nobody.here", "sis", c.User, "d.sis"} {
			wrong := *c
			wrong.User, wrong.Password, wrong.Args = user, "wrong", []string{"-o", "NumberOfPasswordPrompts=3"}
			_, err := wrong.Run(t.Context(), t, "ls")
			require.Error(t, err)
		}
		_, err := c.Run(t.Context(), t, "ls")
		require.Error(t, err, "not even with the right one")
		h.ahead(time.Minute)
		h.drop(c, "ls")
	})
	t.Run("another kind of source", func(t *testing.T) {
		_, err := h.sources.ResetDropPassword(h.ctx, &ingestv1.ResetDropPasswordRequest{District: "d", Source: "sis"})
		require.Equal(t, codes.FailedPrecondition, status.Code(err))
	})
}

func TestDropEndsWithItsSource(t *testing.T) {
	for name, end := range map[string]func(h *hub) error{
		"source": func(h *hub) error {
			_, err := h.sources.DeleteSource(h.ctx, &ingestv1.DeleteSourceRequest{District: "d", Source: "nightly"})
			return err
		},
		"district": func(h *hub) error {
			_, err := h.districts.DeleteDistrict(h.ctx, &ingestv1.DeleteDistrictRequest{District: "d"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			c := h.newDrop("d", "nightly", nil)
			h.drop(c, local(t, map[string]string{"users.csv": "text"})...)
			conn, err := ssh.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", h.sftpPort), h.goClient(c))
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			client, err := sftp.NewClient(conn)
			require.NoError(t, err)
			f, err := client.Create("classes.csv")
			require.NoError(t, err)
			require.NoError(t, end(h))
			_, _ = f.Write([]byte("late")) // whether or not it is still taken
			_ = f.Close()
			require.Error(t, conn.Wait())
			require.Eventually(t, func() bool { return len(h.stored("drops")) == 0 }, testkit.Wait, 5*time.Millisecond)
			_, err = c.Run(t.Context(), t, "ls")
			require.Error(t, err)
		})
	}
}

// A person is erased from what was dropped and not read yet.
func TestDropIsErasedWithAPerson(t *testing.T) {
	h := newHub(t)
	h.sync("sis", sound())
	c := h.newDrop("d", "nightly", nil)
	h.drop(c, local(t, sound())...)
	require.NotEmpty(t, h.stored("drops"))
	_, err := h.upkeep.ErasePerson(h.ctx, &ingestv1.ErasePersonRequest{District: "d", SourcedId: "u1"})
	require.NoError(t, err)
	require.Empty(t, h.stored("drops"))
	require.Empty(t, h.listed(c, "/incoming"))
}
