package api

import (
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/pebblestore"
	"github.com/securly/sync/services/roster-store/internal/watch"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// orgs is a candidate of several megabytes: more than a connection takes up on
// its own.
func orgs(n int, name string) iter.Seq2[store.ImportRecord, error] {
	return func(yield func(store.ImportRecord, error) bool) {
		for i := range n {
			id := fmt.Sprintf("o%05d", i)
			r := &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{
				SourcedId: id, Status: record.StatusActive, Name: name, Identifier: strings.Repeat("x", 2000),
			}}}
			body, err := proto.Marshal(r)
			if !yield(store.ImportRecord{Entity: typev1.Entity_ENTITY_ORGS, ID: id, Hash: record.HashOf(r), Body: body}, err) {
				return
			}
		}
	}
}

// noted tells when a watch ends.
type noted struct {
	*Server
	ended chan error
}

func (n *noted) Watch(req *rosterv1.WatchRequest, stream rosterv1.RosterService_WatchServer) error {
	err := n.Server.Watch(req, stream)
	n.ended <- err
	return err
}

// A watcher that takes nothing is told to come again, holds up nobody, and
// misses nothing when it does.
func TestSlowWatcherIsToldToResume(t *testing.T) {
	engine, err := pebblestore.Open(pebblestore.Config{Dir: t.TempDir(), Log: testkit.Log(t)})
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Close()) }()
	commits := watch.NewCommits()
	server := &noted{New(engine, commits, pagetoken.New([]byte("test")), testkit.Log(t)), make(chan error, 2)}
	server.sendIdle = 200 * time.Millisecond
	const records = 2000
	require.NoError(t, engine.OpenDistrict(t.Context(), "d"))
	commit := func(rev int) {
		h := store.PlanHeader{District: "d", Plan: store.PlanID(fmt.Sprint(rev))}
		_, err := engine.Import(t.Context(), h, orgs(records, fmt.Sprint("revision ", rev)))
		require.NoError(t, err)
		out, err := engine.Commit(t.Context(), "d", h.Plan, 0)
		require.NoError(t, err)
		require.EqualValues(t, rev, out.Revision)
		commits.Committed(t.Context(), "d", out.Revision)
	}
	commit(1)
	client := rosterv1.NewRosterServiceClient(testkit.Server(t, func(r grpc.ServiceRegistrar) {
		rosterv1.RegisterRosterServiceServer(r, server)
	}))
	ctx := testkit.As(t, t.Context(), testkit.Service())
	stuck, err := client.Watch(ctx, &rosterv1.WatchRequest{District: "d"})
	require.NoError(t, err)
	commit(2) // while nobody reads

	// take reads a stream to its end, or until the second revision is complete.
	after, names := int32(0), map[string]string{}
	take := func(stream rosterv1.RosterService_WatchClient) error {
		for after < 2 {
			m, err := stream.Recv()
			if err != nil {
				return err
			}
			for _, r := range m.GetChanges().GetRecords() {
				names[r.GetOrg().GetSourcedId()] = r.GetOrg().GetName()
			}
			if m.GetEnd() != nil {
				after = m.GetEnd().GetRevision()
			}
		}
		return nil
	}
	require.ErrorIs(t, <-server.ended, errSlow)
	require.ErrorIs(t, take(stuck), errSlow)
	require.Less(t, len(names), records)
	again, err := client.Watch(ctx, &rosterv1.WatchRequest{District: "d", After: after})
	require.NoError(t, err)
	require.NoError(t, take(again))
	require.Len(t, names, records)
	for id, name := range names {
		require.Equal(t, "revision 2", name, id)
	}
}
