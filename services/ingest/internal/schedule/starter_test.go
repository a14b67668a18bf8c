package schedule_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/testkit"
)

// night is a hub with one source that is synced at 02:30 in Chicago.
type night struct {
	t       *testing.T
	store   *state.Store
	clock   atomic.Int64
	mu      sync.Mutex
	started []string // ids of syncs
	fail    error
}

func newNight(t *testing.T) *night {
	n := &night{t: t, store: state.New(testkit.Docs(t))}
	_, err := n.store.Districts.Create(t.Context(), "d", &ingestv1.DistrictDocument{District: &ingestv1.District{TimeZone: "America/Chicago"}})
	require.NoError(t, err)
	from := timestamppb.New(time.Date(2026, 10, 31, 12, 0, 0, 0, time.UTC))
	_, err = n.store.Sources.Create(t.Context(), "d/s", &ingestv1.SourceDocument{District: "d", ScheduledFrom: from, Source: &ingestv1.Source{
		SourceId: "s", CreateTime: from, Schedule: &ingestv1.Schedule{Times: []string{"02:30"}},
	}})
	require.NoError(t, err)
	return n
}

func (n *night) starter() *schedule.Starter {
	return &schedule.Starter{
		Store: n.store, Log: testkit.Log(n.t), Now: func() time.Time { return time.Unix(n.clock.Load(), 0) },
		Start: func(_ context.Context, _ *ingestv1.SourceDocument, id, _ string) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.fail == nil {
				n.started = append(n.started, id)
			}
			return n.fail
		},
	}
}

// at sweeps at a time by the clocks of Chicago.
func (n *night) at(local string) {
	n.t.Helper()
	at, err := time.ParseInLocation("2006-01-02 15:04:05", local, zone(n.t, "America/Chicago"))
	require.NoError(n.t, err)
	n.clock.Store(at.Unix())
	n.starter().Sweep(n.t.Context())
}

func (n *night) source() *ingestv1.SourceDocument {
	n.t.Helper()
	doc, err := n.store.Source(n.t.Context(), "d", "s")
	require.NoError(n.t, err)
	return doc.Value
}

func (n *night) change(change func(*ingestv1.SourceDocument)) {
	n.t.Helper()
	_, err := n.store.Sources.Modify(n.t.Context(), "d/s", func(d *ingestv1.SourceDocument) error { change(d); return nil })
	require.NoError(n.t, err)
}

func TestOnceForAllReplicas(t *testing.T) {
	n := newNight(t)
	n.at("2026-11-01 02:29:59")
	require.Empty(t, n.started)
	n.clock.Add(1)
	var replicas sync.WaitGroup
	for range 16 {
		replicas.Go(func() {
			for range 5 {
				n.starter().Sweep(t.Context())
			}
		})
	}
	replicas.Wait()
	require.Len(t, n.started, 1)
	run := n.source().GetSource().GetLastScheduledRun()
	require.Equal(t, "2026-11-01T02:30", run.GetSlot())
	require.Equal(t, n.started[0], run.GetSync())
	require.Equal(t, n.started[0], n.source().GetSource().GetLastSync())
	n.at("2026-11-01 23:00:00")
	require.Len(t, n.started, 1)
	n.at("2026-11-02 02:30:00")
	require.Len(t, n.started, 2)
}

func TestRepeatedHourRunsOnce(t *testing.T) {
	n := newNight(t)
	n.change(func(d *ingestv1.SourceDocument) { d.Source.Schedule.Times = []string{"01:30"} })
	for at := time.Date(2026, 11, 1, 5, 0, 0, 0, time.UTC); at.Before(time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)); at = at.Add(10 * time.Minute) {
		n.clock.Store(at.Unix())
		n.starter().Sweep(t.Context())
	}
	require.Len(t, n.started, 1)
}

func TestOnlyTheNewestMissedRuns(t *testing.T) {
	n := newNight(t)
	n.at("2026-11-20 09:00:00") // after three weeks without the hub
	n.at("2026-11-20 09:00:05")
	require.Len(t, n.started, 1)
	require.Equal(t, "2026-11-20T02:30", n.source().GetSource().GetLastScheduledRun().GetSlot())

	t.Run("none from before the schedule was made", func(t *testing.T) {
		n.change(func(d *ingestv1.SourceDocument) {
			d.Source.Schedule.Times, d.ScheduledFrom = []string{"08:00"}, timestamppb.New(time.Unix(n.clock.Load(), 0))
		})
		n.at("2026-11-20 10:00:00")
		require.Len(t, n.started, 1)
	})
}

// A replica that dies after it has claimed a slot, or cannot start the sync,
// leaves it to another one, under the same id.
func TestClaimedAndNotStarted(t *testing.T) {
	n := newNight(t)
	n.fail = errors.New("the disk is full")
	n.at("2026-11-01 02:30:00")
	slot, err := n.store.Slots.Get(t.Context(), "d/s/2026-11-01T02:30")
	require.NoError(t, err)
	require.False(t, slot.Value.GetDone())
	n.fail = nil
	n.at("2026-11-01 02:30:29")
	require.Empty(t, n.started, "who has claimed it may be at it")
	n.at("2026-11-01 02:30:31")
	require.Equal(t, []string{slot.Value.GetRun().GetSync()}, n.started)
	n.at("2026-11-01 02:31:30")
	require.Len(t, n.started, 1)
}

func TestSlotsOfADeletedSource(t *testing.T) {
	n := newNight(t)
	n.fail = state.ErrSourceNotFound
	n.at("2026-11-01 02:30:00")
	_, err := n.store.Slots.Get(t.Context(), "d/s/2026-11-01T02:30")
	require.Error(t, err, "it goes with the source")
}

func TestOldSlotsGo(t *testing.T) {
	n := newNight(t)
	for day := range 70 {
		n.at(time.Date(2026, 11, 1+day, 2, 30, 0, 0, time.UTC).Format(time.DateTime))
	}
	require.Len(t, n.started, 70)
	left := 0
	for _, err := range n.store.Slots.All(t.Context(), "") {
		require.NoError(t, err)
		left++
	}
	require.Equal(t, 60, left)
}

func TestPausedIsSkippedAndRecorded(t *testing.T) {
	n := newNight(t)
	until := time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
	n.change(func(d *ingestv1.SourceDocument) {
		d.Source.Pause = &ingestv1.Pause{StartTime: d.GetScheduledFrom(), Until: timestamppb.New(until), Message: "new student system", ByOperator: true}
	})
	n.at("2026-11-01 02:30:00")
	require.Empty(t, n.started)
	run := n.source().GetSource().GetLastScheduledRun()
	require.Equal(t, "2026-11-01T02:30", run.GetSlot())
	require.Equal(t, "paused by an operator until 2026-11-03T12:00:00Z (new student system)", run.GetSkipped())
	require.Empty(t, run.GetSync())

	n.at("2026-11-03 22:00:00") // the hub was down; what came due meanwhile was within the pause
	require.Empty(t, n.started)
	require.Equal(t, "2026-11-03T02:30", n.source().GetSource().GetLastScheduledRun().GetSlot())
	n.at("2026-11-04 02:30:00")
	require.Len(t, n.started, 1, "a pause ends by itself")

	require.ErrorContains(t, schedule.Refuse(&ingestv1.Source{SourceId: "s", Pause: &ingestv1.Pause{}}, until), "source s is paused: resume it first")
	require.NoError(t, schedule.Refuse(n.source().GetSource(), until))
}

// What is shown of a source at a moment, in hours since it was made on a Monday
// at noon in UTC.
func TestTell(t *testing.T) {
	made := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	hour := func(h int) *timestamppb.Timestamp { return timestamppb.New(made.Add(time.Duration(h) * time.Hour)) }
	daily := &ingestv1.Schedule{Times: []string{"02:00"}}
	mondays := &ingestv1.Schedule{Times: []string{"02:00"}, Weekdays: []ingestv1.Weekday{ingestv1.Weekday_MONDAY}}
	for _, c := range []struct {
		name        string
		source      *ingestv1.Source
		from        int
		now         int
		next, stale *timestamppb.Timestamp
	}{
		{name: "by hand, never", source: &ingestv1.Source{}, now: 1000},
		{name: "by hand, set", source: &ingestv1.Source{StaleAfterHours: 10}, now: 10, stale: hour(10)},
		{name: "not yet", source: &ingestv1.Source{Schedule: daily}, now: 47, next: hour(62)},
		{name: "since it was made", source: &ingestv1.Source{Schedule: daily}, now: 50, next: hour(62), stale: hour(48)},
		{name: "since the last input", source: &ingestv1.Source{Schedule: daily, LastInputTime: hour(15)}, now: 63, next: hour(86), stale: hour(63)},
		{name: "new input", source: &ingestv1.Source{Schedule: daily, LastInputTime: hour(62)}, now: 63, next: hour(86)},
		{name: "its own setting", source: &ingestv1.Source{Schedule: daily, StaleAfterHours: 72}, now: 63, next: hour(86)},
		{name: "nothing was due", source: &ingestv1.Source{Schedule: mondays}, now: 100, next: hour(158)},
		{name: "a run has its chance", source: &ingestv1.Source{Schedule: mondays}, now: 159, next: hour(158 + 168)},
		{name: "it has not used it", source: &ingestv1.Source{Schedule: mondays}, now: 160, next: hour(158 + 168), stale: hour(160)},
		{name: "paused", source: &ingestv1.Source{Schedule: daily, Pause: &ingestv1.Pause{StartTime: hour(1)}}, now: 500},
		{name: "paused until", source: &ingestv1.Source{Schedule: daily, Pause: &ingestv1.Pause{StartTime: hour(1), Until: hour(62)}}, now: 61, next: hour(62)},
		{name: "since a pause ended", source: &ingestv1.Source{Schedule: daily, Pause: &ingestv1.Pause{StartTime: hour(1), Until: hour(62)}}, now: 100, next: hour(110)},
		{name: "since it was resumed", source: &ingestv1.Source{Schedule: daily}, from: 100, now: 148, next: hour(158), stale: hour(148)},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.source.CreateTime = hour(0)
			d := &ingestv1.SourceDocument{Source: c.source, ScheduledFrom: hour(c.from)}
			paused := schedule.Paused(c.source, hour(c.now).AsTime()) != nil
			schedule.Tell(d, time.UTC, hour(c.now).AsTime())
			require.Equal(t, c.next.String(), c.source.GetNextRunTime().String())
			require.Equal(t, c.stale.String(), c.source.GetStaleSince().String())
			require.Equal(t, paused, c.source.GetPause() != nil)
		})
	}
}
