package ingest_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/record"
)

// world is what a source could deliver: students with a version, and whether
// they are there.
type world struct {
	r        *rand.Rand
	name     string
	versions map[string]int
}

const worldStudents = 80

// day changes some of it; now and then so much that the plan is held.
func (w *world) day() {
	often := 20
	if w.r.IntN(8) == 0 {
		often = 3
	}
	for i := range worldStudents {
		id := fmt.Sprintf("st-%03d", i)
		switch w.r.IntN(often) {
		case 0:
			delete(w.versions, id)
		case 1:
			w.versions[id] = w.r.IntN(4) // sources agree now and then
		}
	}
}

// complete is a package of all there is, in any order of the rows.
func (w *world) complete() map[string]string {
	files := with(map[string]string{"manifest.csv": ""})
	ids := slices.Sorted(maps.Keys(w.versions))
	w.r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids {
		files["users.csv"] += w.user(id)
		files["enrollments.csv"] += fmt.Sprintf("en-%s,,,cl,s,%s,student,,2026-08-15,2027-06-15\n", id, id)
	}
	return files
}

func (w *world) user(id string) string {
	return fmt.Sprintf("%s,active,,true,s,student,%s,,Student,Number%d,,,%s@made-up.example,,,,05,\n", id, id, w.versions[id], id)
}

// delta is a package of a few changes.
func (w *world) delta() map[string]string {
	head, _, _ := strings.Cut(sound()["users.csv"], "\n")
	users := head + "\n"
	for i := range worldStudents {
		id := fmt.Sprintf("st-%03d", i)
		switch w.r.IntN(15) {
		case 0:
			delete(w.versions, id)
			users += id + ",tobedeleted,,,,,,,,,,,,,,,,\n"
		case 1:
			w.versions[id] = w.r.IntN(4)
			users += w.user(id)
		}
	}
	return delta(map[string]string{"users.csv": users})
}

// A plan that is made of what differs from the head is the one that the complete
// candidate makes, whatever happens: two hubs get the same packages, and the
// store of one of them takes nothing but complete candidates.
func TestDifferencesMakeTheSameSyncs(t *testing.T) {
	one, other := newHub(t), newHub(t)
	other.roster.Complete = true
	both := []*hub{one, other}
	for _, h := range both {
		h.newSource("second", nil)
	}
	r := rand.New(rand.NewPCG(7, 8))
	sources := []*world{{r, "sis", map[string]int{}}, {r, "second", map[string]int{}}}
	for step := range 50 {
		w := sources[r.IntN(2)]
		var files map[string]string
		if r.IntN(3) == 0 && step > 10 {
			files = w.delta()
		} else {
			w.day()
			files = w.complete()
		}
		decision, touched, damaged := r.IntN(3), r.IntN(10) == 0, r.IntN(10) == 0
		var syncs []*ingestv1.Sync
		for _, h := range both {
			if step > 10 && touched {
				h.roster.Touch("d", "u1") // a revision that no sync has made
			}
			if step > 10 && damaged {
				h.damage(w.name, "users", "cut")
			}
			s := h.sync(w.name, files)
			if s.GetState() == ingestv1.SyncState_ON_HOLD {
				switch decision {
				case 0:
					_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: s.GetSyncId()})
					require.NoError(t, err)
				case 1:
					_, err := h.syncs.ApproveSync(h.ctx, &ingestv1.ApproveSyncRequest{District: "d", Sync: s.GetSyncId()})
					require.NoError(t, err)
					s = h.wait(s.GetSyncId(), ingestv1.SyncState_COMPLETED)
				}
			}
			syncs = append(syncs, s)
		}
		if diff := cmp.Diff(syncs[1], syncs[0], protocmp.Transform(),
			protocmp.IgnoreFields(&ingestv1.Sync{}, "name", "sync_id", "upload_id", "create_time", "end_time", "steps", "waiting_for", "rows_read", "rows_expected"),
		); diff != "" {
			t.Fatalf("sync %d of %s (-complete +difference):\n%s", step, w.name, diff)
		}
		for _, e := range record.Entities() {
			if diff := cmp.Diff(other.roster.Active("d", e), one.roster.Active("d", e), protocmp.Transform()); diff != "" {
				t.Fatalf("records after sync %d of %s (-complete +difference):\n%s", step, w.name, diff)
			}
		}
		if syncs[0].GetState() == ingestv1.SyncState_FAILED { // a complete package heals what is damaged
			for _, h := range both {
				h.sync(w.name, w.complete())
			}
		}
	}
	require.Greater(t, one.roster.Differences, 20)
	require.Zero(t, other.roster.Differences)
}
