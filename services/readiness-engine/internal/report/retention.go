package report

import (
	"context"
	"fmt"
	"strings"
	"time"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/docstore"
)

// retentionRound is how often old reports are looked for.
const retentionRound = time.Hour

// Retain removes old reports, and the findings that no report refers to any
// more, from time to time until ctx ends.
func (r *Runner) Retain(ctx context.Context) error {
	ticker := time.NewTicker(retentionRound)
	defer ticker.Stop()
	for {
		for doc, err := range r.reports.districts.All(ctx, "") {
			if err == nil {
				_, err = r.retain(ctx, doc.ID)
			}
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				r.log.WarnContext(ctx, "readiness: cannot remove old reports, trying again later", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// retain removes the old reports of a district in which no report waits, and
// returns how many.
func (r *Runner) retain(ctx context.Context, district string) (removed int, err error) {
	old, err := r.old(ctx, district)
	if err != nil || len(old) == 0 {
		return 0, err
	}
	if free, full := r.begin(district); full || !free {
		return 0, nil // The next round will do.
	}
	defer r.finish(district)
	for doc, err := range r.reports.queue.All(ctx, "") {
		if err != nil || doc.Value.GetDistrict() == district {
			return 0, err
		}
	}
	for _, id := range old {
		if err := docstore.IgnoreNotFound(r.reports.reports.Delete(ctx, id)); err != nil {
			return removed, fmt.Errorf("remove report %s: %w", id, err)
		}
		if err := docstore.IgnoreNotFound(r.reports.schools.Delete(ctx, id)); err != nil {
			return removed, fmt.Errorf("remove report %s: %w", id, err)
		}
		removed++
	}
	return removed, r.removeUnnamed(ctx, district)
}

// limit returns the time before which reports of a district go: they are kept as
// long as its history.
func (r *Runner) limit(ctx context.Context, district string) (time.Time, error) {
	keep := r.cfg.Retain
	d, err := r.reports.declared(ctx, district)
	if err == nil && d.HistoryDays != nil {
		keep = time.Duration(d.GetHistoryDays()) * 24 * time.Hour
	}
	return r.now().Add(-keep), err
}

// old returns the documents of reports that need not be kept.
func (r *Runner) old(ctx context.Context, district string) (ids []string, err error) {
	limit, err := r.limit(ctx, district)
	if err != nil {
		return nil, err
	}
	finished := 0
	for s, err := range r.reports.newest(ctx, district) {
		if err != nil {
			return nil, err
		}
		report := s.GetReport()
		if state := report.GetState(); state != readinessv1.ReportState_COMPLETED && state != readinessv1.ReportState_FAILED {
			continue
		}
		finished++
		if finished > 1 && (finished > r.cfg.Newest || report.GetCreateTime().AsTime().Before(limit)) {
			ids = append(ids, documentID(district, report.GetReportId()))
		}
	}
	return ids, nil
}

// removeUnnamed removes the blobs that no report refers to. The next edition
// begins, so that no engine counts on one of them.
func (r *Runner) removeUnnamed(ctx context.Context, district string) error {
	named, err := r.reports.named(ctx, district)
	if err != nil {
		return err
	}
	var unnamed []string
	for key, err := range r.reports.findings.keys(ctx, district+"/") {
		if err != nil {
			return err
		}
		if named[key] == nil && !strings.HasPrefix(key, district+"/unnamed/") {
			unnamed = append(unnamed, key)
		}
	}
	if len(unnamed) == 0 {
		return nil
	}
	was, err := r.reports.edition(ctx, district)
	if err != nil {
		return err
	}
	if err := r.reports.begin(ctx, district); err != nil {
		return err
	}
	r.mu.Lock()
	if r.editions[district] == was { // The replica itself is as good as before.
		r.editions[district] = was + 1
	}
	r.mu.Unlock()
	for _, key := range unnamed {
		if err := r.reports.findings.delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
