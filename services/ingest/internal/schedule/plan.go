// Package schedule decides when sources are synced by themselves, by the clocks
// of their districts, and starts these syncs, once however many replicas run.
// It also tells whether a source is paused and whether it has become stale.
package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
)

const (
	maxTimes     = 24
	maxBlackouts = 100
	// horizon bounds the search for a time that no blackout covers.
	horizon = 2 * 366
	day     = 24 * time.Hour
	minute  = "15:04"
	// slotForm is a local time without a zone: times of slots read as UTC.
	slotForm = "2006-01-02T15:04"
)

// Plan is a schedule in a time zone.
type Plan struct {
	zone     *time.Location
	times    []time.Duration // since midnight, as clocks show it; ascending
	weekdays [7]bool
	dates    [][2]time.Time // first and last, as UTC
	hours    []hours
}

type hours struct {
	weekdays   [7]bool
	start, end time.Duration // the end is past 24 h if it is on the next day
}

// Slot is one time of a schedule.
type Slot struct {
	// Name is the time by the district's clocks, 2026-11-01T02:30. It is never
	// given twice, also where clocks show a time twice.
	Name string
	// At is when that is.
	At time.Time
}

// Parse reads a schedule. With an error it returns the field that is at fault.
func Parse(s *ingestv1.Schedule, zone *time.Location) (*Plan, string, error) {
	p := &Plan{zone: zone}
	if n := len(s.GetTimes()); n == 0 || n > maxTimes {
		return nil, "times", fmt.Errorf("must have 1 to %d entries", maxTimes)
	}
	for i, text := range s.GetTimes() {
		at, err := clock(text)
		if err != nil {
			return nil, "times", fmt.Errorf("entry %d %w", i+1, err)
		}
		p.times = append(p.times, at)
	}
	slices.Sort(p.times)
	p.times = slices.Compact(p.times)
	var err error
	if p.weekdays, err = weekdays(s.GetWeekdays()); err != nil {
		return nil, "weekdays", err
	}
	if len(s.GetBlackoutDates()) > maxBlackouts {
		return nil, "blackoutDates", fmt.Errorf("must not have more than %d entries", maxBlackouts)
	}
	for i, b := range s.GetBlackoutDates() {
		first, err := date(b.GetFirstDate())
		if err != nil {
			return nil, "blackoutDates", fmt.Errorf("firstDate of entry %d %w", i+1, err)
		}
		last, err := date(cmp.Or(b.GetLastDate(), b.GetFirstDate()))
		if err != nil {
			return nil, "blackoutDates", fmt.Errorf("lastDate of entry %d %w", i+1, err)
		}
		if last.Before(first) {
			return nil, "blackoutDates", fmt.Errorf("lastDate of entry %d is before its firstDate", i+1)
		}
		p.dates = append(p.dates, [2]time.Time{first, last})
	}
	if len(s.GetBlackoutHours()) > maxBlackouts {
		return nil, "blackoutHours", fmt.Errorf("must not have more than %d entries", maxBlackouts)
	}
	for i, b := range s.GetBlackoutHours() {
		h, err := parseHours(b)
		if err != nil {
			return nil, "blackoutHours", fmt.Errorf("entry %d: %w", i+1, err)
		}
		p.hours = append(p.hours, h)
	}
	return p, "", nil
}

func parseHours(b *ingestv1.BlackoutHours) (h hours, err error) {
	if h.weekdays, err = weekdays(b.GetWeekdays()); err != nil {
		return h, fmt.Errorf("weekdays: %w", err)
	}
	if h.start, err = clock(b.GetStartTime()); err != nil {
		return h, fmt.Errorf("startTime %w", err)
	}
	if b.GetEndTime() == "24:00" {
		h.end = day
	} else if h.end, err = clock(b.GetEndTime()); err != nil {
		return h, fmt.Errorf("endTime %w", err)
	}
	if h.end <= h.start {
		h.end += day
	}
	return h, nil
}

func clock(text string) (time.Duration, error) {
	t, err := time.Parse(minute, text)
	if err != nil || t.Format(minute) != text {
		return 0, errors.New("is no time of the form HH:MM; 02:30 would be one")
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

func date(text string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, errors.New("is no date of the form YYYY-MM-DD; 2026-12-24 would be one")
	}
	return t, nil
}

func weekdays(list []ingestv1.Weekday) (out [7]bool, err error) {
	for i, d := range list {
		if d < ingestv1.Weekday_MONDAY || d > ingestv1.Weekday_SUNDAY {
			return out, fmt.Errorf("entry %d is no weekday; MONDAY would be one", i+1)
		}
		out[d%7] = true // time.Sunday is 0
	}
	if len(list) == 0 {
		return [7]bool{true, true, true, true, true, true, true}, nil
	}
	return out, nil
}

// Next returns the first slot after a moment. Where clocks are put forward over
// several of them, these are at the same moment, and the last one stands for all.
func (p *Plan) Next(after time.Time) (Slot, bool) {
	var found Slot
	today := p.local(after).Truncate(day)
	for n := -1; n <= horizon; n++ {
		for _, at := range p.times {
			slot, ok := p.slot(today.AddDate(0, 0, n).Add(at))
			if !ok || !slot.At.After(after) {
				continue
			}
			if found.Name != "" && slot.At.After(found.At) {
				return found, true
			}
			found = slot
		}
	}
	return found, found.Name != ""
}

// Last returns the newest slot that is not after a moment, and is after another.
func (p *Plan) Last(after, upTo time.Time) (Slot, bool) {
	today, oldest := p.local(upTo).Truncate(day), p.local(after).Add(-2*day)
	for n := 1; n >= -horizon && today.AddDate(0, 0, n).After(oldest); n-- {
		for _, at := range slices.Backward(p.times) {
			slot, ok := p.slot(today.AddDate(0, 0, n).Add(at))
			if !ok || slot.At.After(upTo) {
				continue
			}
			return slot, slot.At.After(after)
		}
	}
	return Slot{}, false
}

// slot returns the slot at a local time, if the schedule has it.
func (p *Plan) slot(local time.Time) (Slot, bool) {
	if !p.weekdays[local.Weekday()] || p.blackout(local) {
		return Slot{}, false
	}
	at := resolve(local, p.zone)
	if p.blackout(p.local(at)) { // the clocks were put forward into it
		return Slot{}, false
	}
	return Slot{Name: local.Format(slotForm), At: at}, true
}

func (p *Plan) blackout(local time.Time) bool {
	today := local.Truncate(day)
	for _, d := range p.dates {
		if !today.Before(d[0]) && !today.After(d[1]) {
			return true
		}
	}
	at := local.Sub(today)
	for _, h := range p.hours {
		if h.weekdays[local.Weekday()] && h.start <= at && at < h.end ||
			h.weekdays[(local.Weekday()+6)%7] && at+day < h.end {
			return true
		}
	}
	return false
}

// local is what the clocks show, as UTC.
func (p *Plan) local(at time.Time) time.Time { return shown(at.In(p.zone)) }

func shown(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// resolve returns when clocks show a local time: the first time if they show it
// twice, and when they have been put forward if they skip it.
func resolve(local time.Time, zone *time.Location) time.Time {
	y, m, d := local.Date()
	t := time.Date(y, m, d, local.Hour(), local.Minute(), 0, 0, zone)
	start, end := t.ZoneBounds()
	switch s := shown(t); {
	case s.After(local):
		return start
	case s.Before(local):
		return end
	}
	if start.IsZero() {
		return t
	}
	before := start.Add(-time.Nanosecond)
	_, offset := before.Zone()
	if first := local.Add(-time.Duration(offset) * time.Second); first.Before(start) {
		return first.In(zone)
	}
	return t
}
