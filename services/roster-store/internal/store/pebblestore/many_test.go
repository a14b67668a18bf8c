package pebblestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/roster-store/internal/store"
)

var districts = flag.Int("districts", 200, "how many districts TestManyDistricts has")

// TestManyDistricts writes and reads thousands of districts, in turn and from
// several goroutines, with few of them open at a time.
func TestManyDistricts(t *testing.T) {
	const workers, open, files = 4, 16, 32
	s, err := Open(Config{Dir: t.TempDir(), MaxOpen: open, MaxFiles: files})
	require.NoError(t, err)
	defer s.Close()
	var most atomic.Int64
	each := func(do func(id store.DistrictID)) {
		var wait sync.WaitGroup
		for w := range workers {
			wait.Go(func() {
				for i := w; i < *districts && !t.Failed(); i += workers {
					do(store.DistrictID(fmt.Sprint("d", i)))
					if i%50 == 0 {
						fds, err := os.ReadDir("/proc/self/fd")
						if err != nil {
							t.Error(err)
						}
						for n := int64(len(fds)); n > most.Load(); {
							most.Store(n)
						}
					}
				}
			})
		}
		wait.Wait()
	}
	each(func(id store.DistrictID) {
		if err := s.OpenDistrict(t.Context(), id); err != nil {
			t.Error(err)
			return
		}
		importRecords(t, s, id, "first", true, person("p", "name of "+string(id)))
	})
	each(func(id store.DistrictID) {
		p, err := s.Snapshot(id, 1, store.Scope{All: true}).Page(t.Context(), store.Query{Entity: users, Text: "gname " + string(id)}, "", 10)
		if err != nil || p.Total != 1 {
			t.Errorf("%s has %d: %v", id, p.Total, err)
		}
	})
	t.Log("most open files:", most.Load())
	require.Less(t, most.Load(), int64((open+2*workers)*10+files+30))
}

// TestSlowDistrictStopsNoOther has somebody who takes long over one district,
// be it to open, close, make or erase it.
func TestSlowDistrictStopsNoOther(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), MaxOpen: 1})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.OpenDistrict(t.Context(), "slow"))
	s.mu.Lock()
	sl, err := s.claim(t.Context(), "slow")
	s.mu.Unlock()
	require.NoError(t, err)

	heads := make(chan error, 2)
	for range cap(heads) {
		go func() {
			_, err := s.Head(t.Context(), "slow")
			heads <- err
		}()
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	left := make(chan error, 1)
	go func() { left <- s.EraseDistrict(ctx, "slow") }()
	for i := range 3 {
		id := store.DistrictID(fmt.Sprint("quick", i))
		require.NoError(t, s.OpenDistrict(t.Context(), id))
		importRecords(t, s, id, "first", true, person("p", "name"))
	}
	why := errors.New("the caller has left")
	cancel(why)
	require.ErrorIs(t, <-left, why, "who waits may leave")
	require.Empty(t, heads)
	s.mu.Lock()
	s.end("slow", sl)
	s.mu.Unlock()
	for range cap(heads) {
		require.NoError(t, <-heads)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	require.LessOrEqual(t, len(s.slots), 1)
}
