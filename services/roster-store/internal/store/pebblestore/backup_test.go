package pebblestore

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// A store that is opened on a backup has what the other one had, whether a
// district was open or not: revisions, those still to be announced, plans.
func TestBackup(t *testing.T) {
	for _, maxOpen := range []int{1, 10} {
		t.Run(fmt.Sprint("open=", maxOpen), func(t *testing.T) {
			s, err := Open(Config{Dir: t.TempDir(), MaxOpen: maxOpen, Log: testkit.Log(t)})
			require.NoError(t, err)
			ids := []store.DistrictID{"a", "b", "c", "d"}
			for _, d := range ids {
				require.NoError(t, s.OpenDistrict(t.Context(), d))
			}
			one, two := person("u1", "Quokka"), person("u2", "Wombat")
			importRecords(t, s, "a", "p1", true, one)
			importRecords(t, s, "a", "p2", true, one, two)
			importRecords(t, s, "b", "p1", false, one, two) // a first load, not committed
			importRecords(t, s, "c", "p1", true, one)
			importRecords(t, s, "c", "p2", false, two)
			require.NoError(t, s.MarkPublished(t.Context(), "a", 1))
			require.NoError(t, s.ErasePerson(t.Context(), "c", "u1"))

			to := filepath.Join(t.TempDir(), "backup")
			require.NoError(t, s.Backup(t.Context(), to))
			importRecords(t, s, "a", "p3", true, two) // comes too late
			require.NoError(t, s.Close())

			s, err = Open(Config{Dir: to, Log: testkit.Log(t)})
			require.NoError(t, err)
			var got []store.DistrictID
			for d, err := range s.Districts(t.Context()) {
				require.NoError(t, err)
				got = append(got, d)
				for p, err := range s.Check(t.Context(), d, false) {
					require.NoError(t, err)
					t.Errorf("%s: %v", d, p)
				}
			}
			require.Equal(t, ids, got)
			var pending []string
			for p, err := range s.Pending(t.Context()) {
				require.NoError(t, err)
				pending = append(pending, fmt.Sprint(p.District, p.Revision.Revision))
			}
			require.ElementsMatch(t, []string{"a2", "c1"}, pending)
			for d, head := range map[store.DistrictID]store.Revision{"a": 2, "b": 0, "c": 1, "d": 0} {
				info, err := s.Head(t.Context(), d)
				require.NoError(t, err)
				require.Equal(t, head, info.Revision, d)
			}
			for plan, d := range map[store.PlanID]store.DistrictID{"p1": "b", "p2": "c"} {
				out, err := s.Commit(t.Context(), d, plan, 1)
				require.NoError(t, err)
				require.True(t, out.Committed)
				r, err := s.Snapshot(d, out.Revision, store.Scope{All: true}).Get(t.Context(), typev1.Entity_ENTITY_USERS, "u2")
				require.NoError(t, err)
				require.NotEmpty(t, r.Body)
			}
			require.NoError(t, s.Close())
		})
	}
}
