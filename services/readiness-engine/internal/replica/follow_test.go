package replica

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/readiness-engine/internal/rostertest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// followed is a cache that runs on a store.
type followed struct {
	t     *testing.T
	ctx   context.Context
	store *rostertest.Store
	*Cache
}

func newFollowed(t *testing.T, maxWatches int) *followed {
	store := rostertest.New()
	client := rosterv1.NewRosterServiceClient(testkit.Server(t, store.Register))
	f := &followed{t: t, ctx: testkit.As(t, t.Context(), testkit.Service()), store: store, Cache: NewCache(client, 1<<30, maxWatches, testkit.Log(t))}
	ctx, cancel := context.WithCancel(f.ctx)
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	require.Eventually(t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.running != nil
	}, testkit.Wait, time.Millisecond)
	return f
}

func (f *followed) commit(district string) int32 {
	return f.store.Commit(district, &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: "s", Status: "active", Name: "S", Type: "school"}}})
}

func (f *followed) use(district string, revision int32) {
	f.t.Helper()
	require.NoError(f.t, f.Use(f.ctx, district, revision, func(r *Replica) error {
		require.Equal(f.t, revision, r.Revision)
		return nil
	}))
}

// at waits until the replica of a district is at a revision.
func (f *followed) at(district string, revision int32) {
	f.t.Helper()
	e := f.enter(district)
	defer f.leave(e)
	require.Eventually(f.t, func() bool {
		<-e.turn
		defer func() { e.turn <- struct{}{} }()
		return e.replica.Revision == revision
	}, testkit.Wait, time.Millisecond)
}

func (f *followed) watches(district string, n int) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return f.store.Watches(district) == n }, testkit.Wait, time.Millisecond, "watches of %s", district)
}

// A replica that was used is there before it is used again, one revision ahead
// and no more.
func TestFollow(t *testing.T) {
	f := newFollowed(t, 10)
	f.use("d", f.commit("d"))
	f.watches("d", 1)
	f.commit("d")
	f.at("d", 2)
	f.use("d", 2)
	f.commit("d")
	f.at("d", 3)
	f.commit("d")
	f.watches("d", 0)
	f.at("d", 3)
	f.use("d", 3)
	f.at("d", 4)
	f.commit("d")
	f.use("d", 5)
	require.Equal(t, 1, f.store.Exports())

	f.store.BreakWatches()
	f.watches("d", 0)
	f.commit("d")
	f.use("d", 6)
	f.watches("d", 1)
	f.commit("d")
	f.at("d", 7)
	require.Equal(t, 1, f.store.Exports())

	require.NoError(t, f.Forget(f.ctx, "d"))
	f.watches("d", 0)
	f.use("d", 7)
	require.Equal(t, 2, f.store.Exports())
}

// The district that was used longest ago leaves when too many are followed.
func TestFollowFew(t *testing.T) {
	f := newFollowed(t, 2)
	for _, d := range []string{"a", "b", "a", "c"} {
		if f.store.Watches(d) == 0 {
			f.commit(d)
		}
		f.use(d, 1)
		f.watches(d, 1)
	}
	f.watches("b", 0)
	f.watches("a", 1)
	f.commit("b")
	f.use("b", 2)
	f.watches("a", 0)
	require.Equal(t, 3, f.store.Exports())
}
