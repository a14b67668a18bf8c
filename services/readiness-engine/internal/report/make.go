package report

import (
	"context"
	"errors"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/readiness-engine/internal/check"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

var tracer = otel.Tracer("github.com/securly/sync/services/readiness-engine/internal/report")

// desk is what an engine keeps beside a replica to make the next report by what
// has changed.
type desk struct {
	view    *check.View
	edition int32 // in which the blobs of kept were written
	kept    map[*check.Check]paper
}

// paper is one check as it was last stored.
type paper struct {
	version  int
	findings *readinessv1.StoredFindings
	schools  *readinessv1.CheckSchools
}

func (d *desk) Size() int { return d.view.Size() + 256*len(d.kept) }

func deskOf(rep *replica.Replica, given check.Given, edition int32) *desk {
	d, ok := rep.Derived.(*desk)
	if !ok {
		d = &desk{view: check.NewView(rep, given)}
		rep.Derived = d
	} else {
		d.view.Update(given)
	}
	if d.kept == nil || d.edition != edition {
		d.edition, d.kept = edition, map[*check.Check]paper{}
	}
	return d
}

// writers is how many checks of a report are written at a time.
const writers = 12

// content is all that the checks say for a report.
type content struct {
	results  []*readinessv1.CheckResult
	findings []*readinessv1.StoredFindings
	schools  *readinessv1.StoredSchools
}

// make completes a report. One that is completed already, or was erased, is left
// alone.
func (r *Runner) make(ctx context.Context, q *readinessv1.QueuedReport) (err error) {
	origin := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{traceParent: q.GetTraceParent()})
	ctx, span := tracer.Start(ctx, "make readiness report", trace.WithLinks(trace.LinkFromContext(origin)), trace.WithAttributes(
		attribute.String("district", q.GetDistrict()), attribute.String("report", q.GetReportId()), attribute.Int("revision", int(q.GetRevision()))))
	defer func() {
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}()
	if _, err := r.reports.create(ctx, q); err != nil {
		return err
	}
	id := documentID(q.GetDistrict(), q.GetReportId())
	doc, err := r.reports.reports.Modify(ctx, id, func(s *readinessv1.StoredReport) error {
		switch state := s.Report.State; {
		case state == readinessv1.ReportState_QUEUED, state == readinessv1.ReportState_FAILED && q.GetRetry():
			s.Report.State, s.Report.Error, s.Report.EndTime = readinessv1.ReportState_PROCESSING, "", nil
		}
		return nil
	})
	if err != nil || doc.Value.GetReport().GetState() != readinessv1.ReportState_PROCESSING {
		return docstore.IgnoreNotFound(err)
	}
	edition, err := r.fresh(ctx, q.GetDistrict())
	if err != nil {
		return err
	}
	given, err := r.reports.given(ctx, q, r.now(), r.log)
	if err != nil {
		return err
	}
	before, same, err := r.earlier(ctx, doc.Value.GetReport(), q.GetDistrict(), given)
	if err != nil {
		return err
	}
	var made *content
	if same != nil && !q.GetAnew() {
		made, err = r.copy(ctx, same)
	} else {
		made, err = r.look(ctx, q, given, edition, before)
	}
	if err != nil {
		return err
	}
	if err := r.reports.setSchools(ctx, id, made.schools); err != nil {
		return err
	}
	_, err = r.reports.reports.Modify(ctx, id, func(s *readinessv1.StoredReport) error {
		s.Report.State = readinessv1.ReportState_COMPLETED
		s.Report.EndTime = timestamppb.New(r.now())
		s.Report.Checks, s.Findings = made.results, made.findings
		s.EmailDomains, s.TimeZone, s.Day = given.Domains, given.Now.Location().String(), given.Day()
		return nil
	})
	if errors.Is(err, docstore.ErrNotFound) { // Erased meanwhile: leave nothing behind.
		if err := docstore.IgnoreNotFound(r.reports.schools.Delete(ctx, id)); err != nil {
			return err
		}
		return r.reports.findings.erase(ctx, q.GetDistrict()+"/")
	}
	if err != nil {
		return err
	}
	return r.outdated(ctx, q, edition, made.findings)
}

// earlier finds the completed report to compare with: that of the revision
// before. If this engine has completed one of the same revision and by the same
// email domains today, the work is done: same.
func (r *Runner) earlier(ctx context.Context, report *readinessv1.ReadinessReport, district string, given check.Given) (before *readinessv1.ReadinessReport, same *readinessv1.StoredReport, err error) {
	var base *readinessv1.StoredReport
	for s, err := range r.reports.newest(ctx, district) {
		if err != nil {
			return nil, nil, err
		}
		other := s.GetReport()
		if other.GetState() != readinessv1.ReportState_COMPLETED {
			continue
		}
		switch {
		case other.GetRevision() == report.GetRevision() && s.GetDay() == given.Day() && !other.GetEndTime().AsTime().Before(r.started) &&
			slices.Equal(s.GetEmailDomains(), given.Domains):
			return nil, s, nil
		case other.GetRevision() < report.GetRevision():
			if base = later(base, s); other.GetAutomatic() { // See Base.
				return base.GetReport(), nil, nil
			}
		}
	}
	return base.GetReport(), nil, nil
}

// copy takes over what another report of the same revision says.
func (r *Runner) copy(ctx context.Context, from *readinessv1.StoredReport) (*content, error) {
	schools, err := r.reports.schoolsOf(ctx, from)
	if err != nil {
		return nil, err
	}
	return &content{from.GetReport().GetChecks(), from.GetFindings(), schools}, nil
}

// look runs the checks over the report's revision.
func (r *Runner) look(ctx context.Context, q *readinessv1.QueuedReport, given check.Given, edition int32, before *readinessv1.ReadinessReport) (*content, error) {
	made := &content{schools: &readinessv1.StoredSchools{District: q.GetDistrict()}}
	err := r.cache.Use(ctx, q.GetDistrict(), q.GetRevision(), func(rep *replica.Replica) error {
		ctx, span := tracer.Start(ctx, "run checks")
		defer span.End()
		d := deskOf(rep, given, edition)
		made.schools.Schools = d.view.People()
		checks := check.Catalogue()
		results, papers := make([]check.Result, len(checks)), make([]paper, len(checks))
		// The findings that read differently than before are written side by side:
		// each has to reach the disk.
		group, writing := errgroup.WithContext(ctx)
		group.SetLimit(writers)
		for i, c := range checks {
			results[i] = d.view.Result(c)
			if papers[i] = d.kept[c]; papers[i].findings != nil && papers[i].version == results[i].Version {
				continue
			}
			group.Go(func() (err error) {
				defer r.survive(ctx, q, &err)
				papers[i] = paper{version: results[i].Version, schools: d.view.Schools(&results[i])}
				papers[i].findings, err = r.reports.findings.write(writing, q.GetDistrict(), q.GetReportId(), d.view, &results[i])
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		for i, c := range checks {
			d.kept[c] = papers[i]
			made.results = append(made.results, results[i].Proto(d.view.Diagnose(&results[i], countBefore(before, c.ID))))
			made.findings = append(made.findings, papers[i].findings)
			if len(papers[i].schools.GetSchools()) > 0 {
				made.schools.Checks = append(made.schools.Checks, papers[i].schools)
			}
		}
		return nil
	})
	return made, err
}

func countBefore(before *readinessv1.ReadinessReport, checkID string) check.Before {
	i := slices.IndexFunc(before.GetChecks(), func(c *readinessv1.CheckResult) bool { return c.GetCheckId() == checkID })
	if i < 0 {
		return check.Before{}
	}
	return check.Before{Known: true, Revision: before.GetRevision(), Count: int(before.GetChecks()[i].GetCount())}
}

// setSchools keeps where the findings of a report are, for a report that is not
// completed yet.
func (r *Reports) setSchools(ctx context.Context, id string, schools *readinessv1.StoredSchools) error {
	_, err := r.schools.Create(ctx, id, schools)
	if errors.Is(err, docstore.ErrExists) { // by an attempt that was interrupted
		_, err = r.schools.Modify(ctx, id, func(s *readinessv1.StoredSchools) error {
			s.Checks, s.Schools = schools.GetChecks(), schools.GetSchools()
			return nil
		})
	}
	return err
}

func (r *Reports) schoolsOf(ctx context.Context, s *readinessv1.StoredReport) (*readinessv1.StoredSchools, error) {
	doc, err := r.schools.Get(ctx, documentID(s.GetDistrict(), s.GetReport().GetReportId()))
	return doc.Value, docstore.IgnoreNotFound(err)
}
