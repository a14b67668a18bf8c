package ingest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

func (h *hub) approve(id string) {
	h.t.Helper()
	_, err := h.syncs.ApproveSync(h.ctx, &ingestv1.ApproveSyncRequest{District: "d", Sync: id})
	require.NoError(h.t, err)
}

// addition is a delta with one new student.
func addition(id string) map[string]string {
	head, _, _ := strings.Cut(sound()["users.csv"], "\n")
	return delta(map[string]string{"users.csv": head + "\n" + id + ",active,,true,s,student,name-" + id + ",,New,Student,,," + id + "@made-up.example,,,,05,\n"})
}

// removals is a delta that deletes so many students of large that it is held,
// and has a new one.
func removals(id string) map[string]string {
	files := addition(id)
	for i := range 100 {
		files["users.csv"] += fmt.Sprintf("st-%04d,tobedeleted,,,,,,,,,,,,,,,,\n", i)
	}
	return files
}

// Approved while a newer sync is planned, the older one is committed first, and
// the newer one is what counts in the end.
func TestApprovalWhileANewerSyncIsPlanned(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", large(300)))
	held := h.sync("sis", large(200))
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	var once sync.Once
	h.roster.FailWith(func(method string) error {
		if method == "Import done" {
			once.Do(func() { h.approve(held.GetSyncId()) })
		}
		return nil
	})
	newer := h.completed(h.sync("sis", large(310)))
	held = h.completed(h.get(held.GetSyncId()))
	require.Equal(t, []int32{2, 3}, []int32{held.GetRevision(), newer.GetRevision()})
	require.Len(t, h.roster.Active("d", users), 312)
	require.Zero(t, h.completed(h.wait(h.startSync("sis").GetSyncId())).GetRevision(), "the newer layer is current")
}

// What a sync was read on top of may not be current any more when it commits.
func TestALayerThatIsNoLongerTheNextOne(t *testing.T) {
	for name, test := range map[string]struct {
		current string
		want    ingestv1.SyncState
	}{
		"a newer sync has committed": {"ffffffff-ffff-7fff-bfff-ffffffffffff", ingestv1.SyncState_SUPERSEDED},
		"another one has":            {"00000000-0000-7000-8000-000000000000", ingestv1.SyncState_COMPLETED}, // read and planned anew, to the plan that was approved
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			h.completed(h.sync("sis", large(300)))
			held := h.sync("sis", large(200))
			require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
			_, err := state.New(h.docs).Layers.Modify(t.Context(), state.Key("d", "sis"), func(l *ingestv1.LayerDocument) error {
				l.Sync = test.current
				return nil
			})
			require.NoError(t, err)
			h.approve(held.GetSyncId())
			after := h.wait(held.GetSyncId(), test.want)
			require.Equal(t, test.want, after.GetState())
			if test.want == ingestv1.SyncState_SUPERSEDED {
				require.EqualValues(t, 1, h.roster.Revision("d"))
				return
			}
			require.Greater(t, len(after.GetSteps()), len(held.GetSteps())+3)
			require.EqualValues(t, 2, after.GetRevision())
		})
	}
}

// schools is sound with other orgs.
func schools(ids ...string) map[string]string {
	text, _, _ := strings.Cut(sound()["orgs.csv"], "\n")
	for _, id := range ids {
		text += "\n" + id + ",,,School " + id + ",school,,"
	}
	return with(map[string]string{"orgs.csv": text + "\n"})
}

// A held plan is made anew when another source has delivered since, even what is
// hidden: approved, it would remove what that source has.
func TestAHeldPlanKnowsTheOtherLayers(t *testing.T) {
	h := newHub(t)
	h.newSource("second", nil)
	h.completed(h.sync("sis", schools("s", "other")))
	h.completed(h.sync("second", schools("s")))
	held := h.sync("sis", schools("s"))
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState(), "a school goes")
	require.Zero(t, h.completed(h.sync("second", schools("s", "other"))).GetRevision(), "sis hides it")
	h.approve(held.GetSyncId())
	h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
	active := h.roster.Active("d", typev1.Entity_ENTITY_ORGS)
	require.Contains(t, active, "other")

	held = h.sync("second", schools("s"))
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	h.completed(h.sync("sis", schools("s"))) // with the files that it had
	h.approve(held.GetSyncId())
	h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
	require.Len(t, held.GetSteps(), 5)
	require.Len(t, h.get(held.GetSyncId()).GetSteps(), 6, "what was shown is what was committed")
}

// A commit that is visible stands, whatever has come before it is completed.
func TestABrokenOffCommitIsNotPlannedAgain(t *testing.T) {
	h := newHub(t)
	h.newSource("second", nil)
	h.completed(h.sync("second", schools("s")))
	var once sync.Once
	reached := make(chan struct{})
	h.roster.FailWith(func(method string) (err error) {
		if method == "CommitPlan done" {
			once.Do(func() {
				close(reached)
				err = errs.New(codes.Unavailable, "", "the process is gone")
			})
		}
		return err
	})
	h.upload("sis", schools("s", "other"))
	id := h.startSync("sis").GetSyncId()
	<-reached
	h.stop()
	_, err := state.New(h.docs).Layers.Modify(t.Context(), state.Key("d", "second"), func(l *ingestv1.LayerDocument) error {
		l.Sync, l.Files = "another", nil
		return nil
	})
	require.NoError(t, err)
	h.start()
	s := h.completed(h.wait(id))
	require.EqualValues(t, 2, s.GetRevision())
	require.Len(t, s.GetSteps(), 5)
}

func TestChangesWaitForAnOlderHold(t *testing.T) {
	for _, decision := range []string{"approved", "discarded"} {
		t.Run(decision, func(t *testing.T) {
			h := newHub(t)
			h.completed(h.sync("sis", large(300)))
			held := h.sync("sis", removals("new-1"))
			require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
			h.upload("sis", addition("new-2"))
			id := h.startSync("sis").GetSyncId()
			var waiting *ingestv1.Sync
			require.Eventually(t, func() bool {
				waiting = h.get(id)
				return waiting.GetWaitingFor() != ""
			}, testkit.Wait, 5*time.Millisecond)
			require.Equal(t, ingestv1.SyncState_QUEUED, waiting.GetState())
			require.Contains(t, waiting.GetWaitingFor(), held.GetSyncId())
			require.Equal(t, ingestv1.SyncState_ON_HOLD, h.get(held.GetSyncId()).GetState())
			want := 303
			if decision == "approved" {
				want = 302 - 100 + 2
				h.approve(held.GetSyncId())
			} else {
				_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: held.GetSyncId()})
				require.NoError(t, err)
			}
			done := h.completed(h.wait(id))
			require.Empty(t, done.GetWaitingFor())
			active := h.roster.Active("d", users)
			require.Len(t, active, want)
			require.Contains(t, active, "new-2")
			require.Equal(t, decision == "approved", active["new-1"] != nil)
		})
	}
	t.Run("a complete package comes instead of both", func(t *testing.T) {
		h := newHub(t)
		h.completed(h.sync("sis", large(300)))
		held := h.sync("sis", removals("new-1"))
		h.upload("sis", addition("new-2"))
		waiting := h.startSync("sis").GetSyncId()
		h.completed(h.sync("sis", large(301)))
		require.Equal(t, ingestv1.SyncState_SUPERSEDED, h.get(held.GetSyncId()).GetState())
		require.Equal(t, ingestv1.SyncState_SUPERSEDED, h.wait(waiting).GetState())
		require.Len(t, h.roster.Active("d", users), 303)
	})
}
