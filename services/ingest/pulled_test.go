package ingest_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/sshd"
)

// forgetful loses what is first written about a sync after a package was kept,
// as a process does that dies in between.
type forgetful struct {
	docstore.Store
	kept, lost atomic.Bool
}

func (s *forgetful) Put(ctx context.Context, collection string, row docstore.Row) (int64, error) {
	if collection == "syncs" && s.kept.Load() && s.lost.CompareAndSwap(false, true) {
		return 0, errors.New("died")
	}
	version, err := s.Store.Put(ctx, collection, row)
	if collection == "uploads" && err == nil {
		s.kept.Store(true)
	}
	return version, err
}

// A package counts as unchanged when the source was synced from it before, and
// not as soon as it is kept.
func TestUnchangedIsWhatWasSyncedBefore(t *testing.T) {
	h, server, dir := newHub(t), sshd.Start(t), t.TempDir()
	h.stop()
	docs := &forgetful{Store: h.docs}
	h.docs = docs
	h.start()
	deliver(t, dir, sound(), 2*time.Hour)
	h.confirm(h.sftpSource(server, dir, map[string]string{"privateKey": server.Key}), h.test("files").GetConfirm())
	sync := func(dry bool) *ingestv1.Sync {
		s, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "files", DryRun: dry})
		require.NoError(t, err)
		s = h.wait(s.GetSyncId())
		require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
		return s
	}
	require.False(t, sync(false).GetUnchangedInput(), "it was kept by a try that died")
	require.True(t, docs.lost.Load())
	require.Len(t, h.stored("uploads/d/files"), 1)
	require.True(t, sync(false).GetUnchangedInput())

	deliver(t, dir, with(map[string]string{"demographics.csv": "sourcedId,birthDate\nu1,2015-01-01\n"}), 90*time.Minute)
	require.False(t, sync(true).GetUnchangedInput())
	require.False(t, sync(false).GetUnchangedInput(), "a dry run has only looked at it")
	require.True(t, sync(true).GetUnchangedInput())
	require.Len(t, h.stored("uploads/d/files"), 2, "and none is fetched twice")
}

// Of packages that hold only changes none is left out, also when several came
// between two syncs; one with everything makes up for those before it.
func TestPackagesOfChangesInOrder(t *testing.T) {
	h, server, dir := newHub(t), sshd.Start(t), t.TempDir()
	put := func(name string, files map[string]string, age time.Duration) {
		path, at := filepath.Join(dir, name), time.Now().Add(-age)
		require.NoError(t, os.WriteFile(path, testkit.Zip(t, files), 0o600))
		require.NoError(t, os.Chtimes(path, at, at))
	}
	header, _, _ := strings.Cut(sound()["users.csv"], "\n")
	added := func(id string) map[string]string {
		return map[string]string{
			"manifest.csv": "propertyName,value\noneroster.version,1.1\nfile.users,delta\n",
			"users.csv":    header + "\n" + id + ",active,2026-08-20,true,s,student,x,,Ann,Apple,,,,,,,05,\n",
		}
	}
	put("2.zip", sound(), 20*time.Hour)
	put("1.zip", sound(), 21*time.Hour)
	h.confirm(h.sftpSource(server, dir, map[string]string{"privateKey": server.Key}), h.test("files").GetConfirm())
	sync := func(want ...string) *ingestv1.Sync {
		s := h.wait(h.startSync("files").GetSyncId())
		require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
		users := slices.Sorted(maps.Keys(h.roster.Active("d", typev1.Entity_ENTITY_USERS)))
		require.Equal(t, append([]string{"u1", "u2"}, want...), users)
		return s
	}
	sync()

	put("3.zip", added("u3"), 10*time.Hour)
	put("4.zip", added("u4"), 9*time.Hour)
	put("5.zip", added("u5"), 8*time.Hour)
	looked, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "files", DryRun: true})
	require.NoError(t, err)
	h.wait(looked.GetSyncId())
	sync("u3")
	sync("u3", "u4")
	sync("u3", "u4", "u5")
	require.True(t, sync("u3", "u4", "u5").GetUnchangedInput())

	put("6.zip", added("u6"), 7*time.Hour)
	put("7.zip", sound(), 6*time.Hour)
	s := h.wait(h.startSync("files").GetSyncId())
	require.EqualValues(t, 3, s.GetCounts()["users"].GetRemoved(), "the newest is complete: nobody misses the one before it")
}
