package pebblestore_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// killDir tells the test program that it is the process to be killed.
const killDir = "STORE_KILL_DIR"

const killRecords = 3000

// TestKilledProcessLosesNothing kills a process that commits in a loop, again
// and again, and looks at what it has left.
func TestKilledProcessLosesNothing(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		commitForever(t, dir)
	}
	dir := t.TempDir()
	for round := range 5 {
		acknowledged := runUntilKilled(t, dir, round)
		s := open(t, dir)
		info, err := s.Head(t.Context(), "d")
		require.NoError(t, err)
		require.GreaterOrEqual(t, info.Revision, acknowledged)
		names := map[string]int{}
		for rec, err := range s.Snapshot("d", info.Revision, store.Scope{All: true}).Scan(t.Context(), store.Position{}) {
			require.NoError(t, err)
			r := &typev1.Record{}
			require.NoError(t, proto.Unmarshal(rec.Body, r))
			names[r.GetOrg().GetName()]++
		}
		want := fmt.Sprint("Version ", info.Revision)
		require.Equal(t, map[string]int{want: killRecords}, names)
		p, err := s.Snapshot("d", info.Revision, store.Scope{All: true}).Page(t.Context(), store.Query{Entity: 1, Text: want}, "", 0)
		require.NoError(t, err)
		require.Equal(t, killRecords, p.Total)
		require.NoError(t, s.Close())
	}
}

// runUntilKilled returns the last revision that the process has acknowledged.
func runUntilKilled(t *testing.T, dir string, round int) store.Revision {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledProcessLosesNothing$")
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	var last store.Revision
	// Rounds end after different numbers of commits, in the middle of the next.
	for range round + 1 {
		require.True(t, lines.Scan(), "the process ended by itself")
		n, err := strconv.Atoi(lines.Text())
		require.NoError(t, err)
		last = store.Revision(n)
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	return last
}

func commitForever(t *testing.T, dir string) {
	s := open(t, dir)
	ctx := context.Background()
	require.NoError(t, s.OpenDistrict(ctx, "d"))
	for {
		info, err := s.Head(ctx, "d")
		require.NoError(t, err)
		rev := info.Revision + 1
		h := store.PlanHeader{District: "d", Plan: store.PlanID(fmt.Sprint(rev)), Complete: record.Entities()}
		_, err = s.Import(ctx, h, func(yield func(store.ImportRecord, error) bool) {
			for i := range killRecords {
				id := fmt.Sprintf("o%05d", i)
				org := &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: "active", Name: fmt.Sprint("Version ", rev)}}}
				body, err := proto.Marshal(org)
				if !yield(store.ImportRecord{Entity: 1, ID: id, Hash: record.HashOf(org), Body: body}, err) {
					return
				}
			}
		})
		require.NoError(t, err)
		out, err := s.Commit(ctx, "d", h.Plan, 0)
		require.NoError(t, err)
		fmt.Println(out.Revision)
	}
}
