package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/schedule"
)

const slotForm = "2006-01-02T15:04"

func zone(t require.TestingT, name string) *time.Location {
	z, err := time.LoadLocation(name)
	require.NoError(t, err)
	return z
}

func parse(t require.TestingT, s *ingestv1.Schedule, z *time.Location) *schedule.Plan {
	p, field, err := schedule.Parse(s, z)
	require.NoError(t, err, field)
	return p
}

// oracle finds when clocks first show a time, or something later if they skip
// it, by looking at them every minute.
func oracle(t require.TestingT, name string, z *time.Location) time.Time {
	local, err := time.Parse(slotForm, name)
	require.NoError(t, err)
	for at := local.Add(-36 * time.Hour); at.Before(local.Add(36 * time.Hour)); at = at.Add(time.Minute) {
		if shown := at.In(z).Format(slotForm); shown == name || shown > name && at.Add(-time.Minute).In(z).Format(slotForm) < name {
			return at
		}
	}
	require.Fail(t, "never shown", name)
	return time.Time{}
}

// The days on which clocks are changed, hour by hour, at half past.
func TestHourByHour(t *testing.T) {
	var times []string
	for h := range 24 {
		times = append(times, fmt.Sprintf("%02d:30", h))
	}
	days := []struct{ zone, day string }{
		{"America/Chicago", "2026-03-08"},
		{"America/Chicago", "2026-11-01"},
		{"America/Phoenix", "2026-03-08"},
		{"America/Phoenix", "2026-11-01"},
		{"Europe/London", "2026-03-29"},
		{"Europe/London", "2026-10-25"},
		{"Pacific/Chatham", "2026-04-05"},
		{"Pacific/Chatham", "2026-09-27"},
	}
	var table strings.Builder
	for _, d := range days {
		z := zone(t, d.zone)
		p := parse(t, &ingestv1.Schedule{Times: times}, z)
		fmt.Fprintf(&table, "%s\n", d.zone)
		first := d.day + "T00:30"
		slot, ok := p.Next(oracle(t, first, z).Add(-time.Nanosecond))
		var got []string
		for ; ok && strings.HasPrefix(slot.Name, d.day); slot, ok = p.Next(slot.At) {
			require.Equal(t, oracle(t, slot.Name, z).UTC(), slot.At.UTC(), slot.Name)
			fmt.Fprintf(&table, "  %s  runs at %s, clocks show %s\n", slot.Name, slot.At.UTC().Format("2006-01-02T15:04Z"), slot.At.Format("15:04 -0700"))
			got = append(got, slot.Name[len(d.day)+1:])
		}
		require.Equal(t, times, got, "each hour of %s in %s, once", d.day, d.zone)
	}
	const golden = "testdata/dst.golden"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile(golden, []byte(table.String()), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), table.String())
	t.Log("\n" + table.String())
}

func TestClocksThatChange(t *testing.T) {
	for _, c := range []struct{ zone, slot, at string }{
		{"America/Chicago", "2026-03-08T01:59", "2026-03-08T07:59:00Z"},
		{"America/Chicago", "2026-03-08T02:00", "2026-03-08T08:00:00Z"}, // skipped: at 03:00
		{"America/Chicago", "2026-03-08T02:59", "2026-03-08T08:00:00Z"},
		{"America/Chicago", "2026-03-08T03:00", "2026-03-08T08:00:00Z"},
		{"America/Chicago", "2026-11-01T01:00", "2026-11-01T06:00:00Z"}, // shown twice: the first time
		{"America/Chicago", "2026-11-01T01:59", "2026-11-01T06:59:00Z"},
		{"America/Chicago", "2026-11-01T02:00", "2026-11-01T08:00:00Z"},
		{"America/Phoenix", "2026-03-08T02:30", "2026-03-08T09:30:00Z"},
		{"Europe/London", "2026-03-29T01:30", "2026-03-29T01:00:00Z"},
		{"Europe/London", "2026-10-25T01:30", "2026-10-25T00:30:00Z"},
		{"Pacific/Chatham", "2026-04-05T03:00", "2026-04-04T13:15:00Z"},
		{"Pacific/Chatham", "2026-09-27T03:30", "2026-09-26T14:00:00Z"},
		{"Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00:00Z"}, // the day that Samoa skipped
	} {
		t.Run(c.zone+" "+c.slot, func(t *testing.T) {
			z := zone(t, c.zone)
			p := parse(t, &ingestv1.Schedule{Times: []string{c.slot[11:]}}, z)
			at, err := time.Parse(time.RFC3339, c.at)
			require.NoError(t, err)
			next, ok := p.Next(at.Add(-time.Nanosecond))
			require.True(t, ok)
			require.Equal(t, c.at, next.At.UTC().Format(time.RFC3339))
			require.Equal(t, c.slot, next.Name)
			last, ok := p.Last(time.Time{}, at)
			require.True(t, ok)
			require.Equal(t, next, last)
		})
	}
}

// Several slots that the clocks skip are at one moment, and one run.
func TestSkippedTogether(t *testing.T) {
	p := parse(t, &ingestv1.Schedule{Times: []string{"02:15", "02:45", "03:00"}}, zone(t, "America/Chicago"))
	at := time.Date(2026, 3, 8, 8, 0, 0, 0, time.UTC)
	next, ok := p.Next(at.Add(-time.Hour))
	require.True(t, ok)
	require.Equal(t, "2026-03-08T03:00", next.Name)
	last, _ := p.Last(time.Time{}, at.Add(time.Hour))
	require.Equal(t, next, last)
	after, _ := p.Next(next.At)
	require.Equal(t, "2026-03-09T02:15", after.Name)
}

// Over a year and a half, in any zone, each local day has its slot exactly once,
// when the oracle says, and the newest slot at any moment is the one before the next.
func TestEachDayOnce(t *testing.T) {
	zones := []string{"America/Chicago", "America/Phoenix", "Europe/London", "Pacific/Chatham", "Australia/Lord_Howe", "America/St_Johns", "Africa/Cairo", "America/Santiago", "Asia/Gaza", "UTC"}
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		name := zones[int(seed)%len(zones)]
		z := zone(t, name)
		at := fmt.Sprintf("%02d:%02d", random.IntN(24), random.IntN(60))
		if seed%2 == 0 { // where most clocks are changed
			at = fmt.Sprintf("%02d:%02d", random.IntN(5), random.IntN(60))
		}
		t.Log(seed, name, at)
		p := parse(t, &ingestv1.Schedule{Times: []string{at}}, z)
		day := time.Date(2020+random.IntN(10), 1, 1, 0, 0, 0, 0, time.UTC)
		checked := random.IntN(30)
		before, ok := p.Last(time.Time{}, oracle(t, day.Format("2006-01-02T")+at, z))
		require.True(t, ok)
		for n := range 540 {
			want := day.AddDate(0, 0, n+1).Format("2006-01-02T") + at
			slot, ok := p.Next(before.At)
			require.True(t, ok)
			require.Equal(t, want, slot.Name)
			if changes := slot.At.Sub(before.At) != 24*time.Hour; changes || n%30 == checked {
				require.Equal(t, oracle(t, want, z).UTC(), slot.At.UTC(), want)
			}
			last, ok := p.Last(before.At.Add(-time.Hour), slot.At.Add(-time.Nanosecond))
			require.True(t, ok)
			require.Equal(t, before, last)
			_, ok = p.Last(slot.At, slot.At.Add(time.Minute))
			require.False(t, ok, "a slot is not after itself")
			before = slot
		}
	}
}

func TestWeekdaysAndBlackouts(t *testing.T) {
	// 2026-12-21 is a Monday.
	from := time.Date(2026, 12, 20, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name     string
		schedule *ingestv1.Schedule
		want     []string
	}{
		{"every day, in order", &ingestv1.Schedule{Times: []string{"14:00", "02:30", "14:00"}}, []string{"2026-12-20T14:00", "2026-12-21T02:30", "2026-12-21T14:00"}},
		{"weekdays", &ingestv1.Schedule{Times: []string{"02:30"}, Weekdays: []ingestv1.Weekday{ingestv1.Weekday_SUNDAY, ingestv1.Weekday_TUESDAY}}, []string{"2026-12-22T02:30", "2026-12-27T02:30", "2026-12-29T02:30"}},
		{"dates", &ingestv1.Schedule{Times: []string{"02:30"}, BlackoutDates: []*ingestv1.BlackoutDates{{FirstDate: "2026-12-21"}, {FirstDate: "2026-12-23", LastDate: "2027-01-01"}}}, []string{"2026-12-22T02:30", "2027-01-02T02:30"}},
		{"hours of a day", &ingestv1.Schedule{Times: []string{"08:00", "12:00"}, BlackoutHours: []*ingestv1.BlackoutHours{{Weekdays: []ingestv1.Weekday{ingestv1.Weekday_MONDAY}, StartTime: "08:00", EndTime: "12:00"}}}, []string{"2026-12-21T12:00", "2026-12-22T08:00"}},
		{"hours over midnight", &ingestv1.Schedule{Times: []string{"00:30", "23:30"}, BlackoutHours: []*ingestv1.BlackoutHours{{Weekdays: []ingestv1.Weekday{ingestv1.Weekday_SUNDAY}, StartTime: "23:00", EndTime: "01:00"}}}, []string{"2026-12-21T23:30", "2026-12-22T00:30"}},
		{"to the end of the day", &ingestv1.Schedule{Times: []string{"00:00", "23:30"}, BlackoutHours: []*ingestv1.BlackoutHours{{StartTime: "23:00", EndTime: "24:00"}}}, []string{"2026-12-21T00:00", "2026-12-22T00:00"}},
		{"always", &ingestv1.Schedule{Times: []string{"02:30"}, BlackoutHours: []*ingestv1.BlackoutHours{{StartTime: "02:00", EndTime: "02:00"}}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parse(t, c.schedule, time.UTC)
			at := from
			for _, want := range c.want {
				slot, ok := p.Next(at)
				require.True(t, ok)
				require.Equal(t, want, slot.Name)
				at = slot.At
			}
			if c.want == nil {
				_, ok := p.Next(at)
				require.False(t, ok)
				_, ok = p.Last(time.Time{}, at)
				require.False(t, ok)
			}
		})
	}
	t.Run("clocks put forward into one", func(t *testing.T) {
		p := parse(t, &ingestv1.Schedule{Times: []string{"02:30"}, BlackoutHours: []*ingestv1.BlackoutHours{{StartTime: "03:00", EndTime: "04:00"}}}, zone(t, "America/Chicago"))
		slot, ok := p.Next(time.Date(2026, 3, 7, 20, 0, 0, 0, time.UTC))
		require.True(t, ok)
		require.Equal(t, "2026-03-09T02:30", slot.Name)
	})
}

func TestParseNamesTheField(t *testing.T) {
	ok := []string{"02:30"}
	for _, c := range []struct {
		schedule    *ingestv1.Schedule
		field, text string
	}{
		{&ingestv1.Schedule{}, "times", "1 to 24 entries"},
		{&ingestv1.Schedule{Times: make([]string, 25)}, "times", "1 to 24 entries"},
		{&ingestv1.Schedule{Times: []string{"02:30", "24:00"}}, "times", "entry 2 is no time"},
		{&ingestv1.Schedule{Times: []string{"2:30"}}, "times", "entry 1 is no time"},
		{&ingestv1.Schedule{Times: ok, Weekdays: []ingestv1.Weekday{8}}, "weekdays", "entry 1 is no weekday"},
		{&ingestv1.Schedule{Times: ok, BlackoutDates: []*ingestv1.BlackoutDates{{}}}, "blackoutDates", "firstDate of entry 1 is no date"},
		{&ingestv1.Schedule{Times: ok, BlackoutDates: []*ingestv1.BlackoutDates{{FirstDate: "2026-02-30"}}}, "blackoutDates", "firstDate of entry 1 is no date"},
		{&ingestv1.Schedule{Times: ok, BlackoutDates: []*ingestv1.BlackoutDates{{FirstDate: "2026-02-03", LastDate: "2026-02-02"}}}, "blackoutDates", "lastDate of entry 1 is before"},
		{&ingestv1.Schedule{Times: ok, BlackoutDates: make([]*ingestv1.BlackoutDates, 101)}, "blackoutDates", "more than 100"},
		{&ingestv1.Schedule{Times: ok, BlackoutHours: []*ingestv1.BlackoutHours{{StartTime: "8"}}}, "blackoutHours", "entry 1: startTime is no time"},
		{&ingestv1.Schedule{Times: ok, BlackoutHours: []*ingestv1.BlackoutHours{{StartTime: "08:00", EndTime: "25:00"}}}, "blackoutHours", "entry 1: endTime is no time"},
		{&ingestv1.Schedule{Times: ok, BlackoutHours: []*ingestv1.BlackoutHours{{Weekdays: []ingestv1.Weekday{0}}}}, "blackoutHours", "entry 1: weekdays: entry 1"},
		{&ingestv1.Schedule{Times: ok, BlackoutHours: make([]*ingestv1.BlackoutHours, 101)}, "blackoutHours", "more than 100"},
	} {
		_, field, err := schedule.Parse(c.schedule, time.UTC)
		require.Equal(t, c.field, field)
		require.ErrorContains(t, err, c.text)
	}
}
