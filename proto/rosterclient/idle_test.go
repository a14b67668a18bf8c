package rosterclient

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
)

// silence is a stream of which a few messages come, and then nothing.
type silence struct {
	grpc.ServerStreamingClient[rosterv1.WatchResponse]
	ctx   context.Context //nolint:containedctx // It is the stream's.
	first int
}

func (s *silence) Recv() (*rosterv1.WatchResponse, error) {
	if s.first--; s.first >= 0 {
		return &rosterv1.WatchResponse{}, nil
	}
	<-s.ctx.Done()
	return nil, s.ctx.Err()
}

// A connection that is lost without a word is noticed; a product that takes its
// time is not.
func TestSilentStreamIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		n := 0
		for _, err := range messages(t.Context(), func(ctx context.Context) (grpc.ServerStreamingClient[rosterv1.WatchResponse], error) {
			return &silence{ctx: ctx, first: 2}, nil
		}) {
			if n++; n <= 2 {
				require.NoError(t, err)
				<-time.After(5 * idleLimit) // the time of the product
				continue
			}
			require.Equal(t, errIdle, err)
		}
		require.Equal(t, 3, n)
		require.Equal(t, 11*idleLimit, time.Since(start))
	})
}

func TestPauses(t *testing.T) {
	for attempt := range 20 {
		d := pause(attempt)
		require.GreaterOrEqual(t, d, 100*time.Millisecond)
		require.Less(t, d, 26*time.Second)
	}
}
