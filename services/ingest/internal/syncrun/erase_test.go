package syncrun

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAFailedErasureWaitsLongerEachTime(t *testing.T) {
	w, now := waits{}, time.Unix(0, 0)
	require.True(t, w.over("d/u1", now))
	var waited []time.Duration
	for range 9 {
		w.longer("d/u1", now, 5*time.Second)
		next := w["d/u1"].until
		require.False(t, w.over("d/u1", next.Add(-1)))
		require.True(t, w.over("d/u1", next))
		waited = append(waited, next.Sub(now))
		now = next
	}
	require.Equal(t, []time.Duration{5e9, 10e9, 20e9, 40e9, 80e9, 160e9, 320e9, 600e9, 600e9}, waited)
	require.True(t, w.over("d/u2", now), "others go on")
}
