package pebblestore

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// TestLiveRecordsAreGathered finds all live records in the bottom level after
// commits that had scattered them over others, and reads what was committed.
func TestLiveRecordsAreGathered(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.OpenDistrict(t.Context(), "d"))
	d, release, err := s.use(t.Context(), "d")
	require.NoError(t, err)
	defer release()
	const n = 1000
	for day := range 3 {
		plan := store.PlanID(fmt.Sprint(day))
		_, err = s.Import(t.Context(), store.PlanHeader{District: "d", Plan: plan}, func(yield func(store.ImportRecord, error) bool) {
			for i := day; i < n; i += 1 + day {
				id := fmt.Sprintf("org-%04d", i)
				rec := &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: "active", Name: fmt.Sprint(id, day)}}}
				body, err := proto.Marshal(rec)
				if !yield(store.ImportRecord{Entity: typev1.Entity_ENTITY_ORGS, ID: id, Hash: record.HashOf(rec), Body: body}, err) {
					return
				}
			}
		})
		require.NoError(t, err)
		_, err = s.Commit(t.Context(), "d", plan, 0)
		require.NoError(t, err)
		require.NoError(t, d.db.Flush())
		d.background.Wait()
	}
	require.NoError(t, d.gatherLive())
	levels, err := d.db.SSTables(pebble.WithKeyRangeFilter([]byte{spaceLive}, []byte{spaceLive + 1}), pebble.WithApproximateSpanBytes())
	require.NoError(t, err)
	for level, tables := range levels {
		size := uint64(0)
		for _, table := range tables {
			size += table.ApproximateSpanBytes
		}
		require.Equal(t, level == len(levels)-1, size > 0, "level %d has %d bytes", level, size)
	}
	i := 0
	for rec, err := range s.Snapshot("d", 3, store.Scope{All: true}).Scan(t.Context(), store.Position{}) {
		require.NoError(t, err)
		from := store.Revision(1)
		if i%2 == 1 {
			from = 2
		}
		if i%3 == 2 {
			from = 3
		}
		require.Equal(t, from, rec.From, "%s", rec.ID)
		i++
	}
	require.Equal(t, n, i)
}
