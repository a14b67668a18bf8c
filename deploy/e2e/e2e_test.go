// Package e2e uses a hub as its users do: over HTTP and gRPC, from the built
// programs. Every case runs against the single binary and against the five
// programs.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/rostergen"
)

// hub is a running hub and a caller with every right.
type hub struct {
	*hubtest.Hub
	*hubtest.Client
}

// ways are the two ways to run a hub.
var ways = map[string]func(context.Context, string) (*hubtest.Hub, error){
	"single":  hubtest.Single,
	"cluster": hubtest.Cluster,
}

// shared holds one running hub per way; cases use districts of their own.
var shared = map[string]hub{}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		for name, start := range ways {
			h, err := startHub(ctx, start)
			if h.Hub != nil {
				defer func() {
					if err := h.Stop(); err != nil {
						fmt.Fprintln(os.Stderr, "e2e:", err)
					}
					_ = os.RemoveAll(h.DataDir)
				}()
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "e2e:", err)
				return 1
			}
			shared[name] = h
		}
		return m.Run()
	}())
}

// startHub starts a hub on a fresh folder.
func startHub(ctx context.Context, start func(context.Context, string) (*hubtest.Hub, error)) (hub, error) {
	dir, err := os.MkdirTemp("", "securly-sync-e2e-")
	if err != nil {
		return hub{}, err
	}
	h, err := start(ctx, dir)
	if err != nil {
		return hub{}, err
	}
	c, err := h.Client(ctx)
	return hub{h, c}, err
}

// eachWay runs a case against both ways to run a hub.
func eachWay(t *testing.T, run func(t *testing.T, h hub)) {
	t.Helper()
	for name, h := range shared {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if t.Failed() {
					t.Log(tail(h.Output(), 60))
				}
			}()
			run(t, h)
		})
	}
}

// within bounds a wait; a run that takes as long has failed.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// generate writes a made-up district as a zip and returns its path.
func generate(t *testing.T, cfg rostergen.Config) (string, rostergen.Expected) {
	t.Helper()
	d, err := rostergen.New(cfg)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "roster.zip")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, d.WriteZip(f))
	require.NoError(t, f.Close())
	return path, d.Expected()
}

// newDistrict makes a district named after the case.
func (h hub) newDistrict(t *testing.T, id string) {
	t.Helper()
	require.NoError(t, h.CreateDistrict(t.Context(), id))
}

// sync uploads files to a district and wants the sync to complete.
func (h hub) sync(t *testing.T, district string, files ...string) hubtest.Sync {
	t.Helper()
	s, err := h.UploadAndSync(within(t, 2*time.Minute), district, files...)
	require.NoError(t, err)
	require.Equal(t, "COMPLETED", s.State, s.Error)
	return s
}

// get reads JSON.
func (h hub) get(t *testing.T, path string, out any) {
	t.Helper()
	require.NoError(t, h.Call(t.Context(), "GET", path, nil, out))
}

// waitFor bounds hubtest.Wait for a condition that should come soon.
func waitFor(t *testing.T, what string, done func() (bool, error)) error {
	t.Helper()
	return hubtest.Wait(within(t, time.Minute), what, done)
}
