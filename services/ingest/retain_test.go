package ingest_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

const day = 24 * time.Hour

func (h *hub) packages(source string) []*ingestv1.Package {
	h.t.Helper()
	out, err := h.explain.ListPackages(h.ctx, &ingestv1.ListPackagesRequest{District: "d", Source: source})
	require.NoError(h.t, err)
	return out.GetPackages()
}

// Each package that is kept can be synced from again.
func TestSyncFromAKeptPackage(t *testing.T) {
	h := newHub(t)
	first := h.completed(h.sync("sis", large(50)))
	second := h.completed(h.sync("sis", large(60)))
	kept := h.packages("sis")
	require.Len(t, kept, 2)
	require.Equal(t, []string{second.GetSyncId()}, kept[0].GetSyncs())
	require.True(t, kept[0].GetCurrent())
	require.NotEmpty(t, kept[0].GetFiles())
	require.Positive(t, kept[0].GetSize())
	again, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "sis", UploadId: kept[1].GetUploadId()})
	require.NoError(t, err)
	h.completed(h.wait(again.GetSyncId()))
	require.Len(t, h.roster.Active("d", users), 52)
	kept = h.packages("sis")
	require.Equal(t, []string{again.GetSyncId(), first.GetSyncId()}, kept[1].GetSyncs())
	require.True(t, kept[1].GetCurrent())
	require.False(t, kept[0].GetCurrent())
	_, err = h.explain.ListPackages(h.ctx, &ingestv1.ListPackagesRequest{District: "d", Source: "none"})
	require.ErrorIs(t, err, state.ErrSourceNotFound)
}

// A source that has stopped delivering has still stopped when somebody syncs
// what it has delivered last once more.
func TestAKeptPackageIsNoNewInput(t *testing.T) {
	h := newHub(t)
	first := h.completed(h.sync("sis", sound()))
	require.False(t, first.GetUnchangedInput())
	require.Eventually(t, func() bool { return h.source("sis").GetLastInputTime() != nil }, testkit.Wait, 5*time.Millisecond)
	input := h.source("sis").GetLastInputTime().AsTime()
	h.ahead(day)
	again := h.completed(h.wait(h.startSyncOf("sis", first.GetUploadId())))
	require.True(t, again.GetUnchangedInput())
	trial, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "sis", DryRun: true})
	require.NoError(t, err)
	h.completed(h.wait(trial.GetSyncId())) // nothing is left to do for the one before
	require.Equal(t, input, h.source("sis").GetLastInputTime().AsTime())
	h.completed(h.sync("sis", large(30)))
	require.Eventually(t, func() bool { return h.source("sis").GetLastInputTime().AsTime().After(input) }, testkit.Wait, 5*time.Millisecond)
}

func TestPackagesAndSyncsAreForgotten(t *testing.T) {
	h := newHub(t)
	var ended []*ingestv1.Sync
	for range 12 {
		ended = append(ended, h.completed(h.sync("sis", sound())))
	}
	require.Eventually(t, func() bool { return len(h.packages("sis")) == 10 }, testkit.Wait, 5*time.Millisecond, "the last ten")
	d, err := h.districts.GetDistrict(h.ctx, &ingestv1.GetDistrictRequest{District: "d"})
	require.NoError(t, err)
	require.EqualValues(t, 400, d.GetPackageDays(), "as long as the history")
	_, err = h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "d", Settings: &ingestv1.District{PackageDays: proto.Int32(0)}})
	require.ErrorContains(t, err, "packageDays")
	_, err = h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "d", Settings: &ingestv1.District{PackageDays: proto.Int32(7), HistoryDays: proto.Int32(30)}})
	require.NoError(t, err)
	list := func() []*ingestv1.Sync {
		out, err := h.syncs.ListSyncs(h.ctx, &ingestv1.ListSyncsRequest{District: "d"})
		require.NoError(t, err)
		return out.GetSyncs()
	}
	h.ahead(8 * day)
	require.Eventually(t, func() bool { return len(h.packages("sis")) == 0 }, testkit.Wait, 5*time.Millisecond)
	require.Empty(t, h.stored("uploads"))
	require.Len(t, list(), 12)
	_, err = h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "sis"})
	require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "UPLOAD_NEEDED", ""))

	h.ahead(31 * day)
	require.Eventually(t, func() bool { return len(list()) == 1 }, testkit.Wait, 5*time.Millisecond)
	require.Equal(t, ended[11].GetSyncId(), list()[0].GetSyncId(), "what the records are from is kept")
	require.Len(t, h.stored("findings"), 1)
	require.Eventually(t, func() bool { return len(h.doctor()) == 0 }, testkit.Wait, 20*time.Millisecond)
	h.completed(h.sync("sis", large(40))) // the source goes on
}

// What a sync waits with is not taken from under it.
func TestPackageOfAHeldSyncIsKept(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", large(300)))
	held := h.sync("sis", large(100))
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	_, err := h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "d", Settings: &ingestv1.District{PackageDays: proto.Int32(1), HistoryDays: proto.Int32(1)}})
	require.NoError(t, err)
	h.ahead(10 * day)
	require.Eventually(t, func() bool { return len(h.packages("sis")) == 1 }, testkit.Wait, 5*time.Millisecond)
	require.Equal(t, held.GetUploadId(), h.packages("sis")[0].GetUploadId())
	h.approve(held.GetSyncId())
	h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
	require.Eventually(t, func() bool { return len(h.doctor()) == 0 }, testkit.Wait, 20*time.Millisecond, "when its end is settled")
}

// doctor returns what is wrong with what the service keeps.
func (h *hub) doctor() (out []string) {
	h.t.Helper()
	stream, err := h.upkeep.Check(h.ctx, &typev1.CheckRequest{})
	require.NoError(h.t, err)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(h.t, err)
		if p := m.GetProblem(); p != nil {
			out = append(out, p.GetWhere()+": "+p.GetWhat())
		}
	}
}
