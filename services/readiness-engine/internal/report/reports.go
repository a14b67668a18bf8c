// Package report makes readiness reports and keeps them.
//
// A report is a document with a state. It waits in a queue, which is a second
// collection; an engine claims it with a lease, which is a third. Whatever is
// lost between two writes is found again: the queue's entry is written first
// and removed last, and holds all that the report document begins with. So any
// number of engines may run, and any may stop at any time.
package report

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"gocloud.dev/blob"
	"google.golang.org/grpc/codes"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
)

// The errors of reading reports.
var (
	ErrNotFound     = errs.New(codes.NotFound, "REPORT_NOT_FOUND", "there is no such readiness report in this district")
	ErrNotFailed    = errs.New(codes.FailedPrecondition, "REPORT_NOT_FAILED", "only a report that has failed can be tried again: create a new one")
	ErrNotCompleted = errs.New(codes.FailedPrecondition, "REPORT_NOT_COMPLETED", "the report is not completed: ask again when it is")
)

// Reports are the stored reports of all districts.
type Reports struct {
	reports   *docstore.Collection[*readinessv1.StoredReport]
	queue     *docstore.Collection[*readinessv1.QueuedReport]
	leases    *docstore.Collection[*readinessv1.ReportLease]
	districts *docstore.Collection[*readinessv1.ReportedDistrict]
	schools   *docstore.Collection[*readinessv1.StoredSchools] // under the id of the report
	settings  *docstore.Collection[*readinessv1.ReadinessSettings]
	findings  findings
	declares  Districts
}

// Open returns the reports in docs, whose findings are in bucket.
func Open(docs docstore.Store, bucket *blob.Bucket, declares Districts) *Reports {
	return &Reports{
		declares: declares,
		reports: docstore.NewCollection(docs, "readiness-reports", func(r *readinessv1.StoredReport) string {
			return r.GetDistrict() + "/" + stamp(r.GetReport().GetCreateTime().AsTime())
		}),
		queue: docstore.NewCollection(docs, "readiness-queue", func(q *readinessv1.QueuedReport) string {
			return stamp(q.GetCreateTime().AsTime())
		}),
		leases: docstore.NewCollection(docs, "readiness-leases", func(l *readinessv1.ReportLease) string {
			return l.GetDistrict() + "/" + l.GetReportId() + "/"
		}),
		districts: docstore.NewCollection[*readinessv1.ReportedDistrict](docs, "readiness-districts", nil),
		schools: docstore.NewCollection(docs, "readiness-report-schools", func(s *readinessv1.StoredSchools) string {
			return s.GetDistrict() + "/"
		}),
		settings: docstore.NewCollection[*readinessv1.ReadinessSettings](docs, "readiness-settings", nil),
		findings: findings{bucket},
	}
}

// stamp sorts like the time.
func stamp(t time.Time) string { return t.UTC().Format("20060102T150405.000000000") }

// OfRevision is the id of the report that a revision gets without anybody asking
// for it.
func OfRevision(revision int32) string { return fmt.Sprintf("rev-%d", revision) }

func documentID(district, report string) string { return district + "/" + report }

const traceParent = "traceparent"

// newReport is how a report begins.
func newReport(q *readinessv1.QueuedReport) *readinessv1.StoredReport {
	return &readinessv1.StoredReport{
		District: q.GetDistrict(),
		Report: &readinessv1.ReadinessReport{
			Name:       "districts/" + q.GetDistrict() + "/readinessReports/" + q.GetReportId(),
			ReportId:   q.GetReportId(),
			CreateTime: q.GetCreateTime(),
			State:      readinessv1.ReportState_QUEUED,
			Revision:   q.GetRevision(),
			Automatic:  q.GetAutomatic(),
		},
	}
}

// Queue makes a report wait for an engine. A report of that id which is there
// already is left as it is and returned.
func (r *Reports) Queue(ctx context.Context, q *readinessv1.QueuedReport) (*readinessv1.ReadinessReport, error) {
	id := documentID(q.GetDistrict(), q.GetReportId())
	switch doc, err := r.reports.Get(ctx, id); {
	case err == nil:
		return doc.Value.GetReport(), nil
	case !errors.Is(err, docstore.ErrNotFound):
		return nil, err
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	q.TraceParent = carrier[traceParent]
	if _, err := r.queue.Create(ctx, id, q); err != nil && !errors.Is(err, docstore.ErrExists) {
		return nil, err
	}
	return r.create(ctx, q)
}

// Retry makes a report that has failed wait for an engine again.
func (r *Reports) Retry(ctx context.Context, district, report string) (*readinessv1.ReadinessReport, error) {
	stored, err := r.Get(ctx, district, report)
	if err != nil {
		return nil, err
	}
	failed := stored.GetReport()
	if failed.GetState() != readinessv1.ReportState_FAILED {
		return nil, ErrNotFailed
	}
	id := documentID(district, report)
	// First into the queue: what is there is found again, whatever stops here. An
	// engine that is faster than the second write takes the failed report as well.
	err = docstore.ErrNotFound
	for errors.Is(err, docstore.ErrNotFound) {
		_, err = r.queue.Create(ctx, id, &readinessv1.QueuedReport{
			District: district, ReportId: report, CreateTime: failed.GetCreateTime(), Revision: failed.GetRevision(),
			Automatic: failed.GetAutomatic(), Retry: true,
		})
		if errors.Is(err, docstore.ErrExists) { // The engine that failed is about to take the entry away.
			_, err = r.queue.Modify(ctx, id, func(q *readinessv1.QueuedReport) error {
				q.Retry = true
				return nil
			})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("queue a report again: %w", err)
	}
	doc, err := r.reports.Modify(ctx, id, func(s *readinessv1.StoredReport) error {
		if s.Report.State == readinessv1.ReportState_FAILED && s.Report.EndTime.AsTime().Equal(failed.GetEndTime().AsTime()) {
			s.Report.State, s.Report.Error, s.Report.EndTime = readinessv1.ReportState_QUEUED, "", nil
		}
		return nil
	})
	if errors.Is(err, docstore.ErrNotFound) {
		return nil, ErrNotFound
	}
	return doc.Value.GetReport(), err
}

// create makes the document of a queued report, unless there is one.
func (r *Reports) create(ctx context.Context, q *readinessv1.QueuedReport) (*readinessv1.ReadinessReport, error) {
	id := documentID(q.GetDistrict(), q.GetReportId())
	doc, err := r.reports.Create(ctx, id, newReport(q))
	if errors.Is(err, docstore.ErrExists) {
		doc, err = r.reports.Get(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	return doc.Value.GetReport(), nil
}

// Get returns a report.
func (r *Reports) Get(ctx context.Context, district, report string) (*readinessv1.StoredReport, error) {
	doc, err := r.reports.Get(ctx, documentID(district, report))
	if errors.Is(err, docstore.ErrNotFound) {
		return nil, ErrNotFound
	}
	return doc.Value, err
}

// List returns a page of reports, newest first, as the settings have them, and
// the cursor of the next.
func (r *Reports) List(ctx context.Context, district, after string, limit int) ([]*readinessv1.ReadinessReport, string, error) {
	lens, err := r.Lens(ctx, district, Filter{})
	if err != nil {
		return nil, "", err
	}
	docs, next, err := r.reports.List(ctx, docstore.Query{Prefix: district + "/", After: after, Limit: limit, Descending: true})
	if err != nil {
		return nil, "", fmt.Errorf("list reports of %s: %w", district, err)
	}
	reports := make([]*readinessv1.ReadinessReport, len(docs))
	for i, d := range docs {
		reports[i] = d.Value.GetReport()
		if reports[i].Checks, err = r.Results(ctx, d.Value, lens); err != nil {
			return nil, "", err
		}
	}
	return reports, next, nil
}

// newest yields the reports of a district, newest first.
func (r *Reports) newest(ctx context.Context, district string) iter.Seq2[*readinessv1.StoredReport, error] {
	return func(yield func(*readinessv1.StoredReport, error) bool) {
		for q := (docstore.Query{Prefix: district + "/", Limit: 20, Descending: true}); ; {
			docs, next, err := r.reports.List(ctx, q)
			if err != nil {
				yield(nil, fmt.Errorf("list reports of %s: %w", district, err))
				return
			}
			for _, d := range docs {
				if !yield(d.Value, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			q.After = next
		}
	}
}

// Erase removes everything that is known about a district. A report that is
// being made meanwhile finds its document gone and removes what it wrote.
func (r *Reports) Erase(ctx context.Context, district string) error {
	for doc, err := range r.queue.All(ctx, "") {
		if err == nil && doc.Value.GetDistrict() == district {
			err = docstore.IgnoreNotFound(r.queue.Delete(ctx, doc.ID))
		}
		if err != nil {
			return fmt.Errorf("erase queued reports of %s: %w", district, err)
		}
	}
	for doc, err := range r.reports.All(ctx, district+"/") {
		if err == nil {
			err = docstore.IgnoreNotFound(r.reports.Delete(ctx, doc.ID))
		}
		if err != nil {
			return fmt.Errorf("erase reports of %s: %w", district, err)
		}
	}
	for doc, err := range r.schools.All(ctx, district+"/") {
		if err == nil {
			err = docstore.IgnoreNotFound(r.schools.Delete(ctx, doc.ID))
		}
		if err != nil {
			return fmt.Errorf("erase reports of %s: %w", district, err)
		}
	}
	if err := docstore.IgnoreNotFound(r.settings.Delete(ctx, district)); err != nil {
		return err
	}
	if err := r.dropLeases(ctx, district+"/"); err != nil {
		return err
	}
	if err := docstore.IgnoreNotFound(r.districts.Delete(ctx, district)); err != nil {
		return err
	}
	return r.findings.erase(ctx, district+"/")
}

func (r *Reports) dropLeases(ctx context.Context, prefix string) error {
	for doc, err := range r.leases.All(ctx, prefix) {
		if err == nil {
			err = docstore.IgnoreNotFound(r.leases.Delete(ctx, doc.ID))
		}
		if err != nil {
			return fmt.Errorf("drop leases of %s: %w", strings.TrimSuffix(prefix, "/"), err)
		}
	}
	return nil
}
