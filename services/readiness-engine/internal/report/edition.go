package report

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"gocloud.dev/gcerrors"
	"google.golang.org/grpc/codes"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
)

// The edition of a district grows before a person is taken out of its findings,
// or blobs that no report names are removed. A report that was being made
// meanwhile, by whatever engine, may have either in it: it is made again. The
// first one is drawn, so that no engine takes the replica of an erased district
// for that of another of the same name.

var errOutdated = errs.New(codes.Unavailable, "REPORT_OUTDATED", "a person was erased while the report was made: it is made again")

func (r *Reports) edition(ctx context.Context, district string) (int32, error) {
	doc, err := r.districts.Get(ctx, district)
	if errors.Is(err, docstore.ErrNotFound) {
		return 0, nil
	}
	return doc.Value.GetEdition(), err
}

// begin starts the next edition of a district.
func (r *Reports) begin(ctx context.Context, district string) error {
	if _, err := r.met(ctx, district); err != nil {
		return err
	}
	_, err := r.districts.Modify(ctx, district, func(d *readinessv1.ReportedDistrict) error {
		d.Edition++
		return nil
	})
	return docstore.IgnoreNotFound(err)
}

// met returns what is noted of a district, from now on if nothing was.
func (r *Reports) met(ctx context.Context, district string) (*readinessv1.ReportedDistrict, error) {
	doc, err := r.districts.Get(ctx, district)
	if errors.Is(err, docstore.ErrNotFound) {
		first := int32(uuid.New().ID() >> 2)
		doc, err = r.districts.Create(ctx, district, &readinessv1.ReportedDistrict{District: district, Edition: first})
		if errors.Is(err, docstore.ErrExists) {
			doc, err = r.districts.Get(ctx, district)
		}
	}
	return doc.Value, err
}

// fresh returns the edition of a district, and drops a replica of an older one.
func (r *Runner) fresh(ctx context.Context, district string) (int32, error) {
	met, err := r.reports.met(ctx, district)
	if err != nil {
		return 0, err
	}
	now := met.GetEdition()
	r.mu.Lock()
	known := r.editions[district]
	r.mu.Unlock()
	if known == now {
		return now, nil
	}
	if err := r.cache.Forget(ctx, district); err != nil {
		return 0, err
	}
	r.mu.Lock()
	r.editions[district] = now
	r.mu.Unlock()
	return now, nil
}

// outdated takes a report back that was completed in an edition that is over.
func (r *Runner) outdated(ctx context.Context, q *readinessv1.QueuedReport, edition int32, stored []*readinessv1.StoredFindings) error {
	now, err := r.reports.edition(ctx, q.GetDistrict())
	if err != nil || now == edition {
		return err
	}
	_, err = r.reports.reports.Modify(ctx, documentID(q.GetDistrict(), q.GetReportId()), func(s *readinessv1.StoredReport) error {
		s.Report.State, s.Report.EndTime = readinessv1.ReportState_PROCESSING, nil
		s.Report.Checks, s.Findings = nil, nil
		return nil
	})
	if err != nil {
		return docstore.IgnoreNotFound(err)
	}
	named, err := r.reports.named(ctx, q.GetDistrict())
	if err != nil {
		return err
	}
	for _, s := range stored {
		if s.GetBlob() != "" && named[s.GetBlob()] == nil {
			if err := r.reports.findings.delete(ctx, s.GetBlob()); err != nil {
				return err
			}
		}
	}
	return errOutdated
}

// named returns the blobs that the reports of a district name.
func (r *Reports) named(ctx context.Context, district string) (map[string]*readinessv1.StoredFindings, error) {
	named := map[string]*readinessv1.StoredFindings{}
	for doc, err := range r.reports.All(ctx, district+"/") {
		if err != nil {
			return nil, fmt.Errorf("list reports of %s: %w", district, err)
		}
		for _, s := range doc.Value.GetFindings() {
			if s.GetBlob() != "" {
				named[s.GetBlob()] = s
			}
		}
	}
	return named, nil
}

// delete removes a blob that may be gone already.
func (f findings) delete(ctx context.Context, key string) error {
	if err := f.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("delete findings %s: %w", key, err)
	}
	return nil
}
