package ingest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/sshd"
)

func (h *hub) now() time.Time { return time.Now().Add(time.Duration(h.clock.Load())) }

func (h *hub) source(id string) *ingestv1.Source {
	h.t.Helper()
	s, err := h.sources.GetSource(h.ctx, &ingestv1.GetSourceRequest{District: "d", Source: id})
	require.NoError(h.t, err)
	return s
}

func (h *hub) update(id string, change *ingestv1.Source) (*ingestv1.Source, error) {
	return h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: id, Settings: change})
}

// nextRun puts the clock to the next run of a schedule and waits for what comes of it.
func (h *hub) nextRun(id string) *ingestv1.ScheduledRun {
	h.t.Helper()
	next := h.source(id).GetNextRunTime().AsTime()
	require.True(h.t, next.After(h.now()))
	h.clock.Add(int64(next.Sub(h.now()) + time.Second))
	var run *ingestv1.ScheduledRun
	require.Eventually(h.t, func() bool {
		run = h.source(id).GetLastScheduledRun()
		return run != nil && !run.GetTime().AsTime().Before(next)
	}, testkit.Wait, 5*time.Millisecond)
	return run
}

// Nights of a source with a schedule: new input, nothing new, a pause, and
// nothing for so long that it is stale.
func TestScheduledSource(t *testing.T) {
	h, server, dir := newHub(t), sshd.Start(t), t.TempDir()
	deliver(t, dir, sound(), 2*time.Hour)
	_, err := h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "d", Settings: &ingestv1.District{TimeZone: "Pacific/Chatham"}})
	require.NoError(t, err)
	h.confirm(h.sftpSource(server, dir, map[string]string{"privateKey": server.Key}), h.test("files").GetConfirm())
	s, err := h.update("files", &ingestv1.Source{Schedule: &ingestv1.Schedule{Times: []string{"02:30"}}})
	require.NoError(t, err)
	zone, err := time.LoadLocation("Pacific/Chatham")
	require.NoError(t, err)
	require.Equal(t, "02:30", s.GetNextRunTime().AsTime().In(zone).Format("15:04"))

	run := h.nextRun("files")
	first := h.wait(run.GetSync())
	require.Equal(t, ingestv1.SyncState_COMPLETED, first.GetState(), first.GetError())
	require.EqualValues(t, 1, first.GetRevision())
	require.Equal(t, "scheduled for "+run.GetSlot(), first.GetReason())
	input := h.inputAfter("files", time.Time{})

	second := h.wait(h.nextRun("files").GetSync())
	require.True(t, second.GetUnchangedInput())
	require.Equal(t, input, h.source("files").GetLastInputTime().AsTime(), "nothing new")

	t.Run("written anew with the same content is delivered", func(t *testing.T) {
		deliver(t, dir, sound(), time.Hour)
		s := h.wait(h.nextRun("files").GetSync())
		require.True(t, s.GetUnchangedInput())
		input = h.inputAfter("files", input)
	})
	t.Run("paused", func(t *testing.T) {
		_, err := h.sources.PauseSource(h.ctx, &ingestv1.PauseSourceRequest{District: "d", Source: "files", Until: timestamppb.New(h.now().Add(-time.Second))})
		field(t, "until", err)
		until := timestamppb.New(h.now().Add(30 * 24 * time.Hour))
		s, err := h.sources.PauseSource(h.ctx, &ingestv1.PauseSourceRequest{District: "d", Source: "files", Message: "the vendor moves", Until: until})
		require.NoError(t, err)
		require.Equal(t, "the vendor moves", s.GetPause().GetMessage())
		require.True(t, s.GetPause().GetByOperator())
		require.False(t, s.GetNextRunTime().AsTime().Before(until.AsTime()))

		_, err = h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "files"})
		require.Equal(t, codes.FailedPrecondition, errs.Status(err).Code())
		require.ErrorContains(t, err, "source files is paused by an operator until")
		require.ErrorContains(t, err, "(the vendor moves)")

		own := testkit.As(t, t.Context(), authn.Principal{Subject: "admin", Districts: []string{"d"}, Scopes: []string{"sources.write"}})
		_, err = h.sources.ResumeSource(own, &ingestv1.ResumeSourceRequest{District: "d", Source: "files"})
		require.Equal(t, codes.PermissionDenied, errs.Status(err).Code())

		before := h.source("files").GetLastScheduledRun().GetSlot()
		h.clock.Add(int64(4 * 24 * time.Hour))
		var run *ingestv1.ScheduledRun
		require.Eventually(t, func() bool {
			run = h.source("files").GetLastScheduledRun()
			return run.GetSlot() != before
		}, testkit.Wait, 5*time.Millisecond)
		require.Empty(t, run.GetSync())
		require.Contains(t, run.GetSkipped(), "the vendor moves")
		require.Nil(t, h.source("files").GetStaleSince(), "nothing is expected of it")

		s, err = h.sources.ResumeSource(h.ctx, &ingestv1.ResumeSourceRequest{District: "d", Source: "files"})
		require.NoError(t, err)
		require.Nil(t, s.GetPause())
		require.True(t, s.GetNextRunTime().AsTime().Before(h.now().Add(25*time.Hour)))
		require.Equal(t, ingestv1.SyncState_COMPLETED, h.wait(h.startSync("files").GetSyncId()).GetState())

		_, err = h.sources.PauseSource(own, &ingestv1.PauseSourceRequest{District: "d", Source: "files"})
		require.NoError(t, err)
		s, err = h.sources.ResumeSource(own, &ingestv1.ResumeSourceRequest{District: "d", Source: "files"})
		require.NoError(t, err, "a district ends its own pauses")
		require.Nil(t, s.GetPause())
	})
	t.Run("stale until something comes", func(t *testing.T) {
		for h.source("files").GetStaleSince() == nil {
			h.wait(h.nextRun("files").GetSync())
			require.Less(t, h.now().Sub(h.source("files").GetLastInputTime().AsTime()), 20*24*time.Hour)
		}
		deliver(t, dir, sound(), 30*time.Minute)
		h.wait(h.nextRun("files").GetSync())
		h.inputAfter("files", input)
		require.Nil(t, h.source("files").GetStaleSince())
	})
	t.Run("a sync that was claimed by a process that died", func(t *testing.T) {
		h.stop()
		next := h.source("files").GetNextRunTime().AsTime()
		id := state.NewID()
		name := next.In(zone).Format("2006-01-02T15:04")
		_, err := state.New(h.docs).Slots.Create(h.ctx, "d/files/"+name, &ingestv1.SlotDocument{
			District: "d", Source: "files", Run: &ingestv1.ScheduledRun{Slot: name, Time: timestamppb.New(next), Sync: id},
		})
		require.NoError(t, err)
		h.clock.Add(int64(next.Sub(h.now()) + time.Minute))
		h.start()
		require.Eventually(t, func() bool { return h.source("files").GetLastSync() == id }, testkit.Wait, 5*time.Millisecond)
		require.Equal(t, ingestv1.SyncState_COMPLETED, h.wait(id).GetState())
	})
}

// inputAfter waits until a source has had input after a time, and returns when.
func (h *hub) inputAfter(id string, after time.Time) time.Time {
	h.t.Helper()
	var at time.Time
	require.Eventually(h.t, func() bool {
		last := h.source(id).GetLastInputTime()
		at = last.AsTime()
		return last != nil && at.After(after)
	}, testkit.Wait, 5*time.Millisecond)
	return at
}

func TestScheduleIsChecked(t *testing.T) {
	h := newHub(t)
	create := func(s *ingestv1.Source) error {
		_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "other", Source: s})
		return err
	}
	daily := &ingestv1.Schedule{Times: []string{"02:30"}}
	_, err := h.update("sis", &ingestv1.Source{Schedule: daily})
	field(t, "schedule", err)
	require.ErrorContains(t, err, "it is synced when a package is brought")
	field(t, "source.schedule", create(&ingestv1.Source{Connector: "oneroster-csv", Schedule: daily}))
	field(t, "source.staleAfterHours", create(&ingestv1.Source{Connector: "oneroster-csv", StaleAfterHours: -1}))

	pulled := h.sftpSource(&sshd.Server{Port: 22, User: "made-up"}, "/out", nil)
	_, err = h.update("files", &ingestv1.Source{Schedule: &ingestv1.Schedule{Times: []string{"26:00"}}})
	field(t, "schedule.times", err)
	require.Nil(t, pulled.GetNextRunTime())
	s, err := h.update("files", &ingestv1.Source{Schedule: daily})
	require.NoError(t, err)
	require.NotNil(t, s.GetNextRunTime())
	s, err = h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "files", Settings: &ingestv1.Source{}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"schedule"}}})
	require.NoError(t, err)
	require.Nil(t, s.GetSchedule())
	require.Nil(t, s.GetNextRunTime())

	s, err = h.update("sis", &ingestv1.Source{StaleAfterHours: 5})
	require.NoError(t, err)
	require.Nil(t, s.GetStaleSince())
	h.clock.Add(int64(6 * time.Hour))
	require.NotNil(t, h.source("sis").GetStaleSince(), "also of one that is synced by hand, if it is set")
	h.sync("sis", sound())
	h.inputAfter("sis", time.Time{})
	require.Nil(t, h.source("sis").GetStaleSince())
}
