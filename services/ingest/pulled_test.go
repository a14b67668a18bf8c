package ingest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/docstore"
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
