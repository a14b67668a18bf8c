package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
)

// Trend returns a page of completed reports as points, newest first, and the
// cursor of the next.
func (r *Reports) Trend(ctx context.Context, district string, lens Lens, after string, limit int) (points []*readinessv1.TrendPoint, next string, err error) {
	docs, next, err := r.reports.List(ctx, docstore.Query{Prefix: district + "/", After: after, Limit: limit, Descending: true})
	if err != nil {
		return nil, "", fmt.Errorf("list reports of %s: %w", district, err)
	}
	for _, doc := range docs {
		report := doc.Value.GetReport()
		if report.GetState() != readinessv1.ReportState_COMPLETED {
			continue
		}
		checks, err := r.Results(ctx, doc.Value, lens)
		if err != nil {
			return nil, "", err
		}
		for _, c := range checks {
			c.Diagnosis = ""
		}
		points = append(points, &readinessv1.TrendPoint{
			ReportId: report.GetReportId(), CreateTime: report.GetCreateTime(), Revision: report.GetRevision(), Checks: checks,
		})
	}
	return points, next, nil
}

// ErrNoBase is a comparison with nothing.
var ErrNoBase = errs.New(codes.NotFound, "REPORT_BASE_NOT_FOUND", "there is no completed report to compare with")

// Base finds the earlier report of a comparison: the newest one of a revision, or
// that of the revision before.
func (r *Reports) Base(ctx context.Context, of *readinessv1.StoredReport, revision int32) (base *readinessv1.StoredReport, err error) {
	highest := of.GetReport().GetRevision() - 1
	if revision != 0 {
		highest = revision
	}
	for s, err := range r.newest(ctx, of.GetDistrict()) {
		if err != nil {
			return nil, err
		}
		switch other := s.GetReport(); {
		case other.GetState() != readinessv1.ReportState_COMPLETED || other.GetReportId() == of.GetReport().GetReportId():
		case other.GetRevision() == highest:
			return s, nil
		case revision == 0 && other.GetRevision() < highest:
			base = later(base, s)
			// Somebody may have asked for an older revision since; those that are
			// made by themselves come in order.
			if other.GetAutomatic() {
				return base, nil
			}
		}
	}
	if base == nil {
		err = ErrNoBase
	}
	return base, err
}

// later returns the report of the later revision, a if it is one for both.
func later(a, b *readinessv1.StoredReport) *readinessv1.StoredReport {
	if a == nil || a.GetReport().GetRevision() < b.GetReport().GetRevision() {
		return b
	}
	return a
}

// Compare says how each check went from one report to another, what got worse
// most first.
func (r *Reports) Compare(ctx context.Context, then, now *readinessv1.StoredReport, lens Lens) ([]*readinessv1.CheckChange, error) {
	before, err := r.Results(ctx, then, lens)
	if err != nil {
		return nil, err
	}
	after, err := r.Results(ctx, now, lens)
	if err != nil {
		return nil, err
	}
	changes := make([]*readinessv1.CheckChange, len(after))
	for i, c := range after {
		changes[i] = &readinessv1.CheckChange{CheckId: c.GetCheckId(), Now: c}
		if at := slices.IndexFunc(before, func(b *readinessv1.CheckResult) bool { return b.GetCheckId() == c.GetCheckId() }); at >= 0 {
			changes[i].Then = before[at]
			changes[i].Worse = c.GetCount() > before[at].GetCount()
		}
	}
	slices.SortStableFunc(changes, func(a, b *readinessv1.CheckChange) int {
		return cmp.Compare(b.GetNow().GetCount()-b.GetThen().GetCount(), a.GetNow().GetCount()-a.GetThen().GetCount())
	})
	return changes, nil
}
