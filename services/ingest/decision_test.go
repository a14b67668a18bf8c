package ingest_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/plan"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

// fewer is large with a new student and without most of the others.
func fewer() map[string]string {
	files := large(50)
	files["users.csv"] += "new,,,true,s,student,new,,New,Student,,,new@made-up.example,,,,05,\n"
	return files
}

func (h *hub) approvePart(req *ingestv1.ApproveSyncRequest) error {
	req.District = "d"
	_, err := h.syncs.ApproveSync(h.ctx, req)
	return err
}

func types(s *ingestv1.Sync) (out []string) {
	for _, r := range s.GetHoldReasons() {
		out = append(out, r.GetType())
	}
	return out
}

// A runner may die at any point of a partial approval: what was chosen is
// applied once, what was left out is counted and planned again.
func TestRunnerDiesInPartialApproval(t *testing.T) {
	for _, at := range []string{"", "SelectPlan", "SelectPlan done", "CommitPlan", "CommitPlan done"} {
		t.Run("at "+at, func(t *testing.T) {
			h := newHub(t)
			h.completed(h.sync("sis", large(200)))
			held := h.sync("sis", fewer())
			require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
			var once sync.Once
			reached := make(chan struct{})
			h.roster.FailWith(func(method string) error {
				if method != at {
					return nil
				}
				err := error(nil)
				once.Do(func() {
					close(reached)
					err = errs.New(codes.Unavailable, "", "the process is gone")
				})
				return err
			})
			require.NoError(t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), WithoutRemovals: true}))
			if at != "" {
				<-reached
				h.stop()
				h.start()
			}
			s := h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
			require.EqualValues(t, 2, s.GetRevision())
			require.EqualValues(t, 2, h.roster.Revision("d"))
			require.Len(t, h.roster.Active("d", users), 203)
			c := s.GetCounts()["users"]
			require.Equal(t, []int32{1, 0, 150}, []int32{c.GetCreated(), c.GetRemoved(), c.GetWithheld()})
			require.Equal(t, held.GetCounts()["users"].GetUnchanged(), c.GetUnchanged())
			changes, err := h.syncs.ListSyncChanges(h.ctx, &ingestv1.ListSyncChangesRequest{District: "d", Sync: s.GetSyncId()})
			require.NoError(t, err)
			require.EqualValues(t, 1, changes.GetTotalSize(), "what was applied")
			require.Eventually(t, func() bool { return h.roster.Plans("d") == 0 }, testkit.Wait, 5*time.Millisecond, "no plan is left over")

			again := h.wait(h.startSync("sis").GetSyncId())
			require.Equal(t, ingestv1.SyncState_ON_HOLD, again.GetState())
			require.EqualValues(t, 150, again.GetCounts()["users"].GetRemoved(), "what was left out is planned again")
			h.approve(again.GetSyncId())
			h.completed(h.wait(again.GetSyncId(), ingestv1.SyncState_COMPLETED))
			require.Len(t, h.roster.Active("d", users), 53)
		})
	}
}

// A choice of changes that are no longer the plan is not applied, and neither is
// all of the plan that is made anew.
func TestPartialApprovalOfAnOvertakenPlan(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", large(200)))
	files := fewer()
	files["users.csv"] += "st-0199,,,true,s,student,st199,,Other,Name,,,st199@made-up.example,,,,05,\n"
	held := h.sync("sis", files)
	h.roster.Touch("d", "st-0199")
	require.NoError(t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), WithoutRemovals: true}))
	s := h.wait(held.GetSyncId(), ingestv1.SyncState_ON_HOLD)
	require.Contains(t, types(s), plan.PlanChanged)
	require.Len(t, h.roster.Active("d", users), 202, "nothing was applied")
	require.NotEqual(t, held.GetDigest(), s.GetDigest())
	require.ErrorIs(t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), Digest: held.GetDigest()}), errs.New(codes.Aborted, "PLAN_CHANGED", ""), "another plan was looked at")
	require.Equal(t, ingestv1.SyncState_ON_HOLD, h.get(held.GetSyncId()).GetState())
	require.NoError(t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), Digest: s.GetDigest(), WithoutRemovals: true}))
	h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
	require.Len(t, h.roster.Active("d", users), 203)
	require.Eventually(t, func() bool { return h.roster.Plans("d") == 0 }, testkit.Wait, 5*time.Millisecond, "no plan is left over")
}

// No other package brings again what is left out of one that has only changes.
func TestAPartOfAPackageOfChangesIsRefused(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", large(300)))
	held := h.sync("sis", removals("new"))
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	for _, choice := range []*ingestv1.ApproveSyncRequest{{WithoutRemovals: true}, {Schools: []string{"s"}}} {
		choice.Sync = held.GetSyncId()
		require.ErrorIs(t, h.approvePart(choice), errs.New(codes.FailedPrecondition, "SYNC_HAS_CHANGES_ONLY", ""))
	}
	require.Equal(t, ingestv1.SyncState_ON_HOLD, h.get(held.GetSyncId()).GetState())
	h.through(held)
	require.Len(t, h.roster.Active("d", users), 302-100+1)
}

func TestChosenSchoolsAreThoseOfThePlan(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", large(200)))
	held := h.sync("sis", fewer())
	err := h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), Schools: []string{"nobody"}})
	var known *errs.Error
	require.ErrorAs(t, err, &known)
	require.Equal(t, codes.InvalidArgument, known.Code)
	require.Equal(t, "schools", known.Detail("field"))
	require.Equal(t, ingestv1.SyncState_ON_HOLD, h.get(held.GetSyncId()).GetState())
}

// After a restore the next plan of each source waits, unless it changes nothing.
func TestPlansAfterARestoreWait(t *testing.T) {
	h := newHub(t)
	h.newSource("second", nil)
	good, bad := sound(), sound()
	bad["users.csv"] = strings.Replace(bad["users.csv"], "Zoé", "Wrong", 1)
	header, _, _ := strings.Cut(good["users.csv"], "\n")
	extra := func(names ...string) map[string]string {
		text := header + "\n"
		for _, n := range names {
			text += n + ",,,true,s,student," + n + ",,Extra,One,,," + n + "@made-up.example,,,,05,\n"
		}
		files := sound()
		files["users.csv"] = text
		return files
	}
	h.completed(h.sync("sis", good))
	h.completed(h.sync("second", extra("x1")))
	require.EqualValues(t, 3, h.completed(h.sync("sis", bad)).GetRevision())
	restore := func(to int32) *ingestv1.RestoreRevisionResponse {
		done, err := h.syncs.RestoreRevision(h.ctx, &ingestv1.RestoreRevisionRequest{District: "d", Revision: to})
		require.NoError(t, err)
		return done
	}
	done := restore(2)
	require.True(t, done.GetCommitted())
	require.EqualValues(t, 4, done.GetRevision())
	require.Equal(t, "Zoé", h.roster.Active("d", users)["u1"].GetUser().GetGivenName())

	s := h.sync("sis", bad)
	require.Equal(t, ingestv1.SyncState_ON_HOLD, s.GetState())
	require.Equal(t, []string{plan.RevisionRestored}, types(s))
	h.completed(h.sync("sis", good)) // supersedes the other, changes nothing
	require.EqualValues(t, 5, h.completed(h.sync("sis", bad)).GetRevision(), "the source has shown the right records in between")

	require.EqualValues(t, 6, restore(4).GetRevision())
	s = h.sync("second", extra("x1", "x2"))
	require.Equal(t, []string{plan.RevisionRestored}, types(s), "the other source too")
	h.approve(s.GetSyncId())
	h.completed(h.wait(s.GetSyncId(), ingestv1.SyncState_COMPLETED))
	s = h.sync("second", extra("x1"))
	h.completed(s)
	s = h.sync("sis", good)
	require.Equal(t, []string{plan.RevisionRestored}, types(s), "each source for itself")
	h.newSource("third", nil)
	s = h.sync("third", extra("x3"))
	require.Equal(t, []string{plan.RevisionRestored}, types(s), "it would bring in what sis has")
}

// A commit that was broken off goes first.
func TestRestoreWaitsForACommit(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	reached, broken := make(chan struct{}, 100), atomic.Bool{}
	broken.Store(true)
	h.roster.FailWith(func(method string) error {
		if method != "CommitPlan done" || !broken.Load() {
			return nil
		}
		reached <- struct{}{}
		return errs.New(codes.Unavailable, "", "the answer is lost")
	})
	changed := sound()
	changed["users.csv"] = strings.Replace(changed["users.csv"], "Zoé", "Wrong", 1)
	h.upload("sis", changed)
	id := h.startSync("sis").GetSyncId()
	<-reached
	restored := make(chan error, 1)
	go func() {
		_, err := h.syncs.RestoreRevision(h.ctx, &ingestv1.RestoreRevisionRequest{District: "d", Revision: 1})
		restored <- err
	}()
	<-reached // the runner has tried again meanwhile
	require.Empty(t, restored)
	broken.Store(false)
	require.NoError(t, <-restored)
	require.EqualValues(t, 2, h.completed(h.wait(id)).GetRevision())
	require.EqualValues(t, 3, h.roster.Revision("d"))
	require.Equal(t, "Zoé", h.roster.Active("d", users)["u1"].GetUser().GetGivenName())
}

func TestRestoreIsRefused(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	for _, test := range []struct {
		field string
		req   *ingestv1.RestoreRevisionRequest
	}{
		{"revision", &ingestv1.RestoreRevisionRequest{District: "d", Revision: -1}},
		{"head", &ingestv1.RestoreRevisionRequest{District: "d", Revision: 0, Head: 7}},
		{"head", &ingestv1.RestoreRevisionRequest{District: "d"}}, // a forgotten revision would remove everything
	} {
		_, err := h.syncs.RestoreRevision(h.ctx, test.req)
		var known *errs.Error
		require.ErrorAs(t, err, &known)
		require.Equal(t, test.field, known.Detail("field"))
	}
	require.EqualValues(t, 1, h.roster.Revision("d"))
}

// A restore that ends half way leaves no plan.
func TestABrokenOffRestoreLeavesNothing(t *testing.T) {
	for _, why := range []string{"the commit fails", "the caller leaves"} {
		t.Run(why, func(t *testing.T) {
			h := newHub(t)
			h.completed(h.sync("sis", sound()))
			h.completed(h.sync("sis", with(map[string]string{"users.csv": strings.Replace(sound()["users.csv"], "Zoé", "Wrong", 1)})))
			ctx, leave := context.WithCancel(h.ctx)
			defer leave()
			h.roster.FailWith(func(method string) error {
				if method != "CommitPlan" {
					return nil
				}
				if why == "the caller leaves" {
					leave()
				}
				return errs.New(codes.Unavailable, "", "not now")
			})
			_, err := h.syncs.RestoreRevision(ctx, &ingestv1.RestoreRevisionRequest{District: "d", Revision: 1})
			require.Error(t, err)
			require.Eventually(t, func() bool { return h.roster.Plans("d") == 0 }, testkit.Wait, 5*time.Millisecond, "no plan is left over")
			h.roster.FailWith(nil)
			done, err := h.syncs.RestoreRevision(h.ctx, &ingestv1.RestoreRevisionRequest{District: "d", Revision: 1})
			require.NoError(t, err)
			require.True(t, done.GetCommitted())
		})
	}
}

func TestHistoryIsForgottenOncePerDay(t *testing.T) {
	h := newHub(t)
	pruned := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return len(h.roster.Pruned()) == n }, testkit.Wait, 5*time.Millisecond)
	}
	pruned(1)
	first := h.roster.Pruned()[0]
	require.Equal(t, "d", first.GetDistrict())
	require.WithinDuration(t, time.Now().AddDate(0, 0, -400), first.GetBefore().AsTime(), time.Hour)
	require.Eventually(t, func() bool {
		mark, err := state.New(h.docs).Retention.Get(t.Context(), "d")
		return err == nil && mark.Value.GetNextTime().AsTime().After(time.Now().Add(2*time.Hour))
	}, testkit.Wait, 5*time.Millisecond, "it is noted")
	h.stop()
	h.start() // a restart does not repeat it
	_, err := h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "d", Settings: &ingestv1.District{HistoryDays: proto.Int32(30)}})
	require.NoError(t, err)
	h.clock.Store(int64(day - time.Minute))
	h.completed(h.sync("sis", sound()))
	require.Len(t, h.roster.Pruned(), 1)

	tried := make(chan struct{}, 100)
	h.stop()
	h.roster.FailWith(func(method string) error {
		if method != "PruneHistory" {
			return nil
		}
		tried <- struct{}{}
		return errs.New(codes.Unavailable, "", "not now")
	})
	h.clock.Store(int64(day + time.Minute))
	h.start()
	<-tried
	h.stop()
	require.Empty(t, tried, "what has failed is tried again later")
	h.roster.FailWith(nil)
	h.start()
	h.clock.Store(int64(day + 2*time.Hour))
	pruned(2)
	require.WithinDuration(t, time.Now().Add(day).AddDate(0, 0, -30), h.roster.Pruned()[1].GetBefore().AsTime(), 3*time.Hour)
}

func TestHistoryDaysAreChecked(t *testing.T) {
	h := newHub(t)
	d, err := h.districts.GetDistrict(h.ctx, &ingestv1.GetDistrictRequest{District: "d"})
	require.NoError(t, err)
	require.EqualValues(t, 400, d.GetHistoryDays())
	for _, days := range []int32{0, -1, 40_000} {
		_, err := h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "d", Settings: &ingestv1.District{HistoryDays: &days}})
		var known *errs.Error
		require.ErrorAs(t, err, &known)
		require.Equal(t, "historyDays", known.Detail("field"))
		_, err = h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "e", District: &ingestv1.District{HistoryDays: &days}})
		require.ErrorAs(t, err, &known)
		require.Equal(t, "district.historyDays", known.Detail("field"))
	}
	d, err = h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "d", Settings: &ingestv1.District{HistoryDays: proto.Int32(1)}})
	require.NoError(t, err)
	require.EqualValues(t, 1, d.GetHistoryDays())
}
