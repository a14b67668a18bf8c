package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/securly/sync/proto/gen/securly/sync/event/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// Commits sees to it that every district has a report over its head. Events
// only wake it: what counts is the head compared with what was queued last.
type Commits struct {
	reports *Reports
	roster  replica.Roster
	bus     *events.Bus
	queued  func(ctx context.Context, report *readinessv1.ReadinessReport, district string)
	every   time.Duration
	log     *slog.Logger
	now     func() time.Time
}

// NewCommits returns a Commits that compares all districts every so often, and
// calls queued for each report it has queued.
func NewCommits(
	reports *Reports, roster replica.Roster, bus *events.Bus, every time.Duration, log *slog.Logger, now func() time.Time,
	queued func(ctx context.Context, report *readinessv1.ReadinessReport, district string),
) *Commits {
	return &Commits{reports: reports, roster: roster, bus: bus, queued: queued, every: every, log: log, now: now}
}

// Listen acts on commits until ctx ends.
func (c *Commits) Listen(ctx context.Context) error {
	return c.bus.Consume(ctx, events.Consumer{
		Durable: "readiness-commits", Filter: events.Subject("roster", "*", "revision-committed"), Concurrency: 2,
	}, func(ctx context.Context, subject string, payload []byte) error {
		event := &eventv1.RevisionCommitted{}
		if err := proto.Unmarshal(payload, event); err != nil {
			return fmt.Errorf("event on %s: %w", subject, err)
		}
		return c.Compare(ctx, event.GetDistrict())
	})
}

// Sweep compares all districts that were ever met, at once and from time to
// time, until ctx ends.
func (c *Commits) Sweep(ctx context.Context) error {
	ticker := time.NewTicker(c.every)
	defer ticker.Stop()
	for {
		for doc, err := range c.reports.districts.All(ctx, "") {
			if err == nil {
				err = errors.Join(c.Compare(ctx, doc.ID), c.redeclared(ctx, doc.ID))
			}
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				c.log.WarnContext(ctx, "readiness: cannot compare a district with its reports", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (c *Commits) queue(ctx context.Context, q *readinessv1.QueuedReport) error {
	queued, err := c.reports.Queue(ctx, q)
	if err != nil {
		return fmt.Errorf("queue a report of %s at revision %d: %w", q.GetDistrict(), q.GetRevision(), err)
	}
	c.queued(ctx, queued, q.GetDistrict())
	return nil
}

// Compare queues a report over the head of a district, unless one was queued.
// Its id comes from the revision, so that doing it twice is doing it once.
func (c *Commits) Compare(ctx context.Context, district string) error {
	summary, err := c.roster.GetSummary(ctx, &rosterv1.GetSummaryRequest{District: district})
	if errors.Is(err, authn.ErrDistrictNotFound) {
		return nil // Erased since: there is nothing to report on.
	}
	if err != nil {
		return fmt.Errorf("ask for the head of %s: %w", district, err)
	}
	head := summary.GetRevision()
	known, err := c.reports.met(ctx, district)
	if err != nil || known.GetRevision() >= head {
		return err
	}
	err = c.queue(ctx, &readinessv1.QueuedReport{
		District: district, ReportId: OfRevision(head),
		CreateTime: timestamppb.New(c.now()), Revision: head, Automatic: true,
	})
	if err != nil {
		return err
	}
	_, err = c.reports.districts.Modify(ctx, district, func(d *readinessv1.ReportedDistrict) error {
		d.Revision = max(d.Revision, head)
		return nil
	})
	return docstore.IgnoreNotFound(err)
}
