package state

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/platform/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestLeaseRace(t *testing.T) {
	store := New(testkit.Docs(t))
	var (
		mu      sync.Mutex
		holders int
		fences  []int64
		wg      sync.WaitGroup
	)
	for range 8 {
		wg.Go(func() {
			l := &Leases{Store: store, Holder: NewID(), Life: time.Minute, Now: time.Now}
			for range 30 {
				lease, err := l.Acquire(t.Context(), CommitLease("d"))
				if errors.Is(err, ErrBusy) {
					continue
				}
				require.NoError(t, err)
				mu.Lock()
				holders++
				require.Equal(t, 1, holders, "one at a time")
				fences = append(fences, lease.Fence)
				mu.Unlock()

				mu.Lock()
				holders--
				mu.Unlock()
				require.NoError(t, lease.Release(t.Context()))
			}
		})
	}
	wg.Wait()
	require.NotEmpty(t, fences)
	for i := 1; i < len(fences); i++ {
		require.Greater(t, fences[i], fences[i-1], "numbers only grow")
	}
}

func TestLeaseRunsOut(t *testing.T) {
	now := time.Now()
	l := &Leases{Store: New(testkit.Docs(t)), Holder: "a", Life: time.Minute, Now: func() time.Time { return now }}
	first, err := l.Acquire(t.Context(), "x")
	require.NoError(t, err)
	now = now.Add(50 * time.Second)
	_, err = l.Acquire(t.Context(), "x")
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, first.Renew(t.Context()))
	now = now.Add(50 * time.Second)
	_, err = l.Acquire(t.Context(), "x")
	require.ErrorIs(t, err, ErrBusy, "it was renewed")
	now = now.Add(50 * time.Second)
	second, err := l.Acquire(t.Context(), "x")
	require.NoError(t, err)
	require.Greater(t, second.Fence, first.Fence)
	require.ErrorIs(t, first.Renew(t.Context()), ErrLeaseLost)
	require.NoError(t, first.Release(t.Context()), "there is nothing to give back")
	require.NoError(t, second.Renew(t.Context()))
	require.NoError(t, second.Release(t.Context()))
	third, err := l.Acquire(t.Context(), "x")
	require.NoError(t, err)
	require.Greater(t, third.Fence, second.Fence)
}

func TestKeepEndsWithTheLease(t *testing.T) {
	l := &Leases{Store: New(testkit.Docs(t)), Holder: "a", Life: 30 * time.Millisecond, Now: time.Now}
	lease, err := l.Acquire(t.Context(), "x")
	require.NoError(t, err)
	ctx, stop := lease.Keep(t.Context())
	defer stop()
	require.NoError(t, ctx.Err())
	require.NoError(t, lease.Release(t.Context()))
	require.Eventually(t, func() bool { // until the holder's next renewal has not come in between
		other, err := l.Acquire(t.Context(), "x")
		return err == nil && other != nil
	}, testkit.Wait, time.Millisecond)
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), ErrLeaseLost)
}

func TestLeaseOfAProcessThatIsGone(t *testing.T) {
	store := New(testkit.Docs(t))
	dead := &Leases{Store: store, Holder: "dead", Life: time.Hour, Now: time.Now}
	left, err := dead.Acquire(t.Context(), "x")
	require.NoError(t, err)
	_, err = (&Leases{Store: store, Holder: "other", Life: time.Hour, Now: time.Now}).Acquire(t.Context(), "x")
	require.ErrorIs(t, err, ErrBusy, "it may live")
	alone := &Leases{Store: store, Holder: "next", Life: time.Hour, Alone: true, Now: time.Now}
	lease, err := alone.Acquire(t.Context(), "x")
	require.NoError(t, err)
	require.Greater(t, lease.Fence, left.Fence)
	_, err = alone.Acquire(t.Context(), "x")
	require.ErrorIs(t, err, ErrBusy, "its own one is held")
}
