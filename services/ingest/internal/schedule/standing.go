package schedule

import (
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/errs"
)

const (
	// defaultStale is for sources with a schedule.
	defaultStale = 48 * time.Hour
	// grace is how long a run of the schedule has to bring its input.
	grace = 2 * time.Hour
)

// Zone returns the time zone of a district.
func Zone(d *ingestv1.District) *time.Location {
	zone, err := time.LoadLocation(d.GetTimeZone())
	if err != nil { // it was checked when it was written
		return time.UTC
	}
	return zone
}

// covers tells whether a pause holds at a moment.
func covers(p *ingestv1.Pause, at time.Time) bool {
	return p != nil && !at.Before(p.GetStartTime().AsTime()) && (p.GetUntil() == nil || at.Before(p.GetUntil().AsTime()))
}

// Paused returns the pause of a source that holds now, or nil.
func Paused(s *ingestv1.Source, now time.Time) *ingestv1.Pause {
	if covers(s.GetPause(), now) {
		return s.GetPause()
	}
	return nil
}

// RefuseStopped is the answer to who wants something of a source that is stopped.
func RefuseStopped(s *ingestv1.Source) error {
	id, stop := s.GetSourceId(), s.GetStopped()
	switch {
	case stop == nil:
		return nil
	case stop.GetRemoval() != "":
		return errs.Errorf(codes.FailedPrecondition, "SOURCE_STOPPED", "source %s is removed with its records by sync %s: discard that sync to keep both", id, stop.GetRemoval()).With("source", id)
	}
	return errs.Errorf(codes.FailedPrecondition, "SOURCE_STOPPED", "source %s is stopped, and its records stay as they are: resume it first", id).With("source", id)
}

// Refuse is the answer to who starts a sync of a source by hand: an error while
// it is stopped or paused.
func Refuse(s *ingestv1.Source, now time.Time) error {
	if err := RefuseStopped(s); err != nil {
		return err
	}
	pause := Paused(s, now)
	if pause == nil {
		return nil
	}
	return errs.Errorf(codes.FailedPrecondition, "SOURCE_PAUSED", "source %s is %s: resume it first", s.GetSourceId(), describe(pause)).With("source", s.GetSourceId())
}

func describe(p *ingestv1.Pause) string {
	text := "paused"
	if p.GetByOperator() {
		text += " by an operator"
	}
	if p.GetUntil() != nil {
		text += " until " + p.GetUntil().AsTime().Format(time.RFC3339)
	}
	if p.GetMessage() != "" {
		text += fmt.Sprintf(" (%s)", p.GetMessage())
	}
	return text
}

// Tell fills in what can be said of a source only at a moment.
func Tell(d *ingestv1.SourceDocument, zone *time.Location, now time.Time) {
	s := d.GetSource()
	s.NextRunTime = nil
	pause := Paused(s, now)
	if plan := planOf(s, zone); plan != nil && s.GetStopped() == nil {
		after := now
		if pause != nil {
			after = pause.GetUntil().AsTime().Add(-time.Nanosecond)
		}
		if next, ok := plan.Next(after); ok && (pause == nil || pause.GetUntil() != nil) {
			s.NextRunTime = timestamppb.New(next.At)
		}
	}
	s.StaleSince = nil
	if at := staleAt(d, zone, now); !at.IsZero() && !at.After(now) {
		s.StaleSince = timestamppb.New(at)
	}
	s.Pause = pause
}

// staleAt returns when a source that gets no new input becomes stale; zero if
// never. A source with a schedule is not before a run had its chance: over a
// weekend without runs nothing is missed.
func staleAt(d *ingestv1.SourceDocument, zone *time.Location, now time.Time) time.Time {
	s := d.GetSource()
	plan := planOf(s, zone)
	after := time.Duration(s.GetStaleAfterHours()) * time.Hour
	if after == 0 && plan != nil {
		after = defaultStale
	}
	if after == 0 || Paused(s, now) != nil || s.GetStopped() != nil {
		return time.Time{}
	}
	from := s.GetCreateTime().AsTime()
	for _, t := range []*timestamppb.Timestamp{s.GetLastInputTime(), d.GetScheduledFrom(), s.GetPause().GetUntil()} {
		if t != nil && t.AsTime().After(from) {
			from = t.AsTime()
		}
	}
	at := from.Add(after)
	if plan != nil {
		run, ok := plan.Next(from)
		if !ok {
			return time.Time{}
		}
		if due := run.At.Add(grace); due.After(at) {
			return due
		}
	}
	return at
}

// planOf returns the schedule of a source; nil if it has none.
func planOf(s *ingestv1.Source, zone *time.Location) *Plan {
	if s.GetSchedule() == nil {
		return nil
	}
	plan, _, err := Parse(s.GetSchedule(), zone)
	if err != nil { // it was checked when it was written
		return nil
	}
	return plan
}
