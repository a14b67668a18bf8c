package rosterstore_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/securly/sync/proto/gen/securly/sync/event/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/testkit"
)

// A revision that was committed is announced, whether the program is killed
// right after its answer or, with the broker away, surely before it could say
// so.
func TestKilledBeforePublish(t *testing.T) {
	c := startCluster(t)
	dir := t.TempDir()
	ctx := testkit.As(t, t.Context(), testkit.Service())
	const rounds = 6
	for round := range rounds {
		p := c.spawn(t, dir)
		roster := rosterv1.NewRosterServiceClient(p.conn)
		_, err := roster.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
		require.NoError(t, err)
		away := round%2 == 0
		if away {
			c.stopEvents()
		}
		require.EqualValues(t, round+1, commit(ctx, t, roster, "d", fmt.Sprint("p", round), school(fmt.Sprint("s", round))))
		require.Error(t, p.stop(syscall.SIGKILL), "a killed program does not end well")
		if away {
			c.startEvents(t)
		}
	}

	p := c.spawn(t, dir)
	defer func() { require.NoError(t, p.stop(syscall.SIGTERM)) }()
	conn, err := events.Connect(c.events.ClientURL(), testkit.Log(t))
	require.NoError(t, err)
	defer conn.Close()
	bus, err := events.NewBus(ctx, conn, testkit.Log(t))
	require.NoError(t, err)
	var mu sync.Mutex
	announced := map[int32]string{}
	listening, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Consume(listening, events.Consumer{
			Durable: "test", Filter: events.Subject("roster", "*", "revision-committed"),
		}, func(_ context.Context, _ string, payload []byte) error {
			var e eventv1.RevisionCommitted
			if err := proto.Unmarshal(payload, &e); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			announced[e.GetRevision()] = e.GetDistrict() + " " + e.GetSync()
			return nil
		})
	}()
	wait(t, "each revision is announced", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(announced) == rounds
	})
	stop()
	require.NoError(t, <-ended)
	for r := range int32(rounds) {
		require.Equal(t, "d sync-p"+strconv.Itoa(int(r)), announced[r+1])
	}
}
