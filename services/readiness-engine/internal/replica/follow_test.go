package replica

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

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
	lines chan *line // of watches, once script was called
	*Cache
}

// line is a watch of which the test decides when it says what.
type line struct {
	grpc.ServerStreamingClient[rosterv1.WatchResponse]
	ctx    context.Context
	frames chan *rosterv1.WatchResponse // a closed one has broken
}

func (l *line) RecvMsg(into any) error {
	select {
	case frame, open := <-l.frames:
		if !open {
			return errors.New("the wire was cut")
		}
		body, err := proto.Marshal(frame)
		if err != nil {
			return err
		}
		return proto.Unmarshal(body, into.(proto.Message))
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
}

// scripted is a roster whose watches are lines.
type scripted struct {
	Roster
	lines chan *line
}

func (s scripted) Watch(ctx context.Context, _ *rosterv1.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[rosterv1.WatchResponse], error) {
	l := &line{ctx: ctx, frames: make(chan *rosterv1.WatchResponse)}
	s.lines <- l
	return l, nil
}

// script has the test hold the other end of each watch from now on.
func (f *followed) script() {
	f.lines = make(chan *line, 10)
	f.roster = scripted{f.roster, f.lines}
}

func begin(revision int32) *rosterv1.WatchResponse {
	return &rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Begin{Begin: &rosterv1.RevisionBegin{Revision: revision}}}
}

func changes(records ...*typev1.Record) *rosterv1.WatchResponse {
	return &rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Changes{Changes: &rosterv1.Changes{Records: records}}}
}

func ended(revision int32) *rosterv1.WatchResponse {
	return &rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_End{End: &rosterv1.RevisionEnd{Revision: revision}}}
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

func school(id string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: "active", Name: "S", Type: "school"}}}
}

func (f *followed) commit(district string) int32 { return f.store.Commit(district, school("s")) }

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

// A watch that lags behind brings what is known already.
func TestFollowBehind(t *testing.T) {
	f := newFollowed(t, 10)
	f.script()
	f.use("d", f.commit("d"))
	slow := <-f.lines
	f.commit("d")
	go func() {
		catchUp := <-f.lines
		for _, frame := range []*rosterv1.WatchResponse{begin(2), changes(school("s")), ended(2)} {
			catchUp.frames <- frame
		}
	}()
	f.use("d", 2)
	for _, frame := range []*rosterv1.WatchResponse{begin(2), changes(school("no such school")), ended(2), begin(3), changes(school("s3")), ended(3)} {
		slow.frames <- frame
	}
	f.commit("d")
	f.at("d", 3)
	require.NoError(t, f.Use(f.ctx, "d", 3, func(r *Replica) error {
		require.Zero(t, r.Orgs.Find("no such school"), "a revision is taken over once")
		require.NotZero(t, r.Orgs.Find("s3"))
		return nil
	}))
	require.Equal(t, 1, f.store.Exports())
}

// A watch that breaks in the middle of a revision takes the replica with it.
func TestFollowBroken(t *testing.T) {
	f := newFollowed(t, 10)
	f.script()
	f.use("d", f.commit("d"))
	torn := <-f.lines
	f.store.Commit("d", school("s2"), school("s3"))
	torn.frames <- begin(2)
	torn.frames <- changes(school("s2"))

	// Whoever needs it meanwhile waits, no longer than is asked of them.
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	require.ErrorIs(t, f.Use(ctx, "d", 2, func(*Replica) error { return nil }), context.Canceled)

	close(torn.frames)
	require.NoError(t, f.Use(f.ctx, "d", 2, func(r *Replica) error {
		require.NotZero(t, r.Orgs.Find("s3"))
		return nil
	}))
	require.Equal(t, 2, f.store.Exports())
	again := <-f.lines
	require.NoError(t, again.ctx.Err())
	require.Error(t, torn.ctx.Err())
}

// A watch belongs to one replica. While somebody waits for the district, which
// keeps its entry, the replica is forgotten and one of an older revision loaded.
func TestFollowForgotten(t *testing.T) {
	f := newFollowed(t, 10)
	f.script()
	f.use("d", f.store.Commit("d", school("s1")))
	f.store.Commit("d", school("s2"))
	f.store.Commit("d", school("s3"))
	first := <-f.lines
	for _, frame := range []*rosterv1.WatchResponse{begin(2), changes(school("s2")), ended(2)} {
		first.frames <- frame
	}
	f.at("d", 2)
	waits := f.enter("d")
	defer f.leave(waits)
	require.NoError(t, f.Forget(f.ctx, "d"))
	f.use("d", 1)
	<-f.lines
	require.Error(t, first.ctx.Err(), "it knows of another replica")
	f.at("d", 1)
	require.Equal(t, 1, f.Cache.watches)
}

// A replica that leaves takes its watch along, and nothing is followed beyond
// the bound on memory.
func TestFollowWithinBounds(t *testing.T) {
	f := newFollowed(t, 10)
	f.limit = 1
	f.use("a", f.commit("a"))
	f.watches("a", 0)
	require.Empty(t, f.entries)
	require.Zero(t, f.Cache.watches)
}
