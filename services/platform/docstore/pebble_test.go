package docstore_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/docstore/docstoretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryDisk loses at a crash what was not synced.
type memoryDisk struct {
	fs    *vfs.MemFS
	store docstore.Store
}

func (d *memoryDisk) Open(t testing.TB) docstore.Store {
	s, err := docstore.OpenPebbleOn("documents", d.fs)
	require.NoError(t, err)
	d.store = s
	return s
}

func (d *memoryDisk) Crash(t testing.TB) {
	left := d.fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, d.store.Close()) // What it still writes is lost.
	d.fs = left
}

func TestPebble(t *testing.T) {
	docstoretest.Run(t, func(testing.TB) docstoretest.Disk { return &memoryDisk{fs: vfs.NewCrashableMem()} })
}

func TestPebbleOnDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := docstore.OpenPebble(dir)
	require.NoError(t, err)
	_, err = docstore.OpenPebble(dir)
	require.Error(t, err, "a folder has one user")
	require.NoError(t, s.Close())
	s, err = docstore.OpenPebble(dir)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// BenchmarkPebbleCreate shows what writers at the same time gain from sharing syncs.
func BenchmarkPebbleCreate(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			s, err := docstore.OpenPebble(b.TempDir())
			require.NoError(b, err)
			defer func() { require.NoError(b, s.Close()) }()
			c := docstore.NewCollection(s, "clients", (*authv1.Client).GetDisplayName)
			value := &authv1.Client{DisplayName: "a client of the benchmark", Scopes: []string{"rosters.read"}}
			ids := make(chan int)
			go func() {
				defer close(ids)
				for i := range b.N {
					ids <- i
				}
			}()
			b.ResetTimer()
			failures := make(chan error, writers)
			for range writers {
				go func() {
					for i := range ids {
						if _, err := c.Create(b.Context(), fmt.Sprint(i), value); err != nil {
							failures <- err
							return
						}
					}
					failures <- nil
				}()
			}
			for range writers {
				require.NoError(b, <-failures)
			}
		})
	}
}

// A copy has what was written before, and writers wait until it is let go.
func TestCheckpoint(t *testing.T) {
	s, err := docstore.OpenPebble(t.TempDir())
	require.NoError(t, err)
	c := docstore.NewCollection(s, "clients", (*authv1.Client).GetDisplayName)
	_, err = c.Create(t.Context(), "before", &authv1.Client{})
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "copy")
	release, err := docstore.Checkpoint(s, dir)
	require.NoError(t, err)
	written := make(chan error, 1)
	go func() {
		_, err := c.Create(context.Background(), "after", &authv1.Client{})
		written <- err
	}()
	_, err = c.Get(t.Context(), "before")
	require.NoError(t, err, "readers go on")
	require.Empty(t, written, "writers wait")
	release()
	require.NoError(t, <-written)
	require.NoError(t, s.Close())

	s, err = docstore.OpenPebble(dir)
	require.NoError(t, err)
	c = docstore.NewCollection(s, "clients", (*authv1.Client).GetDisplayName)
	all, _, err := c.List(t.Context(), docstore.Query{})
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.NoError(t, s.Close())
}
