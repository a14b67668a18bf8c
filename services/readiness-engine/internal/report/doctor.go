package report

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// Check compares the reports with the blobs of their findings and with the
// roster. If asked to, it has a report made again whose findings are lost, and
// removes blobs that no report names.
func (r *Reports) Check(ctx context.Context, roster replica.Roster, repair bool) iter.Seq2[*typev1.CheckResponse, error] {
	return func(yield func(*typev1.CheckResponse, error) bool) {
		c := &checkup{Reports: r, roster: roster, repair: repair, tell: func(p *typev1.Problem) bool {
			return yield(&typev1.CheckResponse{Event: &typev1.CheckResponse_Problem{Problem: p}}, nil)
		}}
		districts, err := c.districts(ctx)
		for _, d := range districts {
			if err == nil {
				err = c.district(ctx, d)
			}
		}
		if errors.Is(err, errEnough) {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for _, n := range []*typev1.Checked{{What: "readiness reports", Count: c.reports}, {What: "files of readiness findings", Count: c.blobs}} {
			if !yield(&typev1.CheckResponse{Event: &typev1.CheckResponse_Checked{Checked: n}}, nil) {
				return
			}
		}
	}
}

// errEnough means that nobody wants to hear more.
var errEnough = errors.New("enough")

type checkup struct {
	*Reports
	roster         replica.Roster
	repair         bool
	tell           func(*typev1.Problem) bool
	reports, blobs int64
}

func (c *checkup) problem(district, what, where string, repaired bool) error {
	if !c.tell(&typev1.Problem{District: district, What: what, Where: where, Repaired: repaired}) {
		return errEnough
	}
	return nil
}

// districts lists all that have a report or a blob.
func (c *checkup) districts(ctx context.Context) ([]string, error) {
	all := map[string]bool{}
	for doc, err := range c.Reports.reports.All(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("list reports: %w", err)
		}
		all[doc.Value.GetDistrict()] = true
	}
	for key, err := range c.findings.keys(ctx, "") {
		if err != nil {
			return nil, err
		}
		district, _, _ := strings.Cut(key, "/")
		all[district] = true
	}
	out := make([]string, 0, len(all))
	for d := range all {
		out = append(out, d)
	}
	slices.Sort(out)
	return out, nil
}

func (c *checkup) district(ctx context.Context, district string) error {
	summary, err := c.roster.GetSummary(ctx, &rosterv1.GetSummaryRequest{District: district})
	if errors.Is(err, authn.ErrDistrictNotFound) {
		return c.problem(district, "reports or findings of a district that is not there", "district "+district, false)
	}
	if err != nil {
		return fmt.Errorf("ask for the head of %s: %w", district, err)
	}
	// What is not named yet may be named soon if a report is being made.
	keys, err := c.quiet(ctx, district)
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for doc, err := range c.Reports.reports.All(ctx, district+"/") {
		if err != nil {
			return fmt.Errorf("list reports of %s: %w", district, err)
		}
		c.reports++
		for _, s := range doc.Value.GetFindings() {
			named[s.GetBlob()] = true
		}
		if err := c.report(ctx, doc.Value, summary.GetRevision()); err != nil {
			return err
		}
	}
	for _, key := range keys {
		c.blobs++
		if named[key] {
			continue
		}
		if c.repair {
			// A report that has begun since may have come upon the blob.
			if err := c.begin(ctx, district); err != nil {
				return err
			}
			if err := c.findings.delete(ctx, key); err != nil {
				return err
			}
		}
		if err := c.problem(district, "findings that no report names", "file "+key, c.repair); err != nil {
			return err
		}
	}
	return nil
}

// quiet lists the blobs of a district in which no report is being made.
func (c *checkup) quiet(ctx context.Context, district string) ([]string, error) {
	for doc, err := range c.queue.All(ctx, "") {
		if err != nil || doc.Value.GetDistrict() == district {
			return nil, err
		}
	}
	var keys []string
	for key, err := range c.findings.keys(ctx, district+"/") {
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (c *checkup) report(ctx context.Context, s *readinessv1.StoredReport, head int32) error {
	district, where := s.GetDistrict(), "report "+s.GetReport().GetReportId()
	switch s.GetReport().GetState() {
	case readinessv1.ReportState_QUEUED, readinessv1.ReportState_PROCESSING:
		return c.waiting(ctx, s)
	case readinessv1.ReportState_FAILED:
		return nil
	}
	if rev := s.GetReport().GetRevision(); rev > head {
		return c.problem(district, fmt.Sprintf("a report of revision %d, but the newest revision is %d", rev, head), where, false)
	}
	for _, f := range s.GetFindings() {
		n := int32(0)
		var failed error
		for _, err := range c.findings.read(ctx, f, 0) {
			if err != nil {
				failed = err
				break
			}
			n++
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case failed == nil && n == f.GetCount():
			continue
		case c.repair:
			if err := c.again(ctx, s); err != nil {
				return err
			}
		}
		return c.problem(district, "the findings of a report are missing or damaged", where+", check "+f.GetCheckId(), c.repair)
	}
	return nil
}

// waiting finds a report that waits although it is in no queue.
func (c *checkup) waiting(ctx context.Context, s *readinessv1.StoredReport) error {
	id := documentID(s.GetDistrict(), s.GetReport().GetReportId())
	if _, err := c.queue.Get(ctx, id); !errors.Is(err, docstore.ErrNotFound) {
		return err
	}
	now, err := c.Reports.reports.Get(ctx, id)
	if err != nil || now.Value.GetReport().GetState() != s.GetReport().GetState() {
		return docstore.IgnoreNotFound(err) // it got through meanwhile
	}
	if c.repair {
		if err := c.enqueue(ctx, s); err != nil {
			return err
		}
	}
	return c.problem(s.GetDistrict(), "a report waits although it is in no queue", "report "+s.GetReport().GetReportId(), c.repair)
}

// again has a report made anew: its damaged blobs go, so that they are not
// taken for those of the report to come.
func (c *checkup) again(ctx context.Context, s *readinessv1.StoredReport) error {
	if err := c.begin(ctx, s.GetDistrict()); err != nil { // Engines forget what they have stored.
		return err
	}
	for _, f := range s.GetFindings() {
		for _, err := range c.findings.read(ctx, f, 0) {
			if err == nil {
				continue
			}
			if err := c.findings.delete(ctx, f.GetBlob()); err != nil {
				return err
			}
		}
	}
	_, err := c.Reports.reports.Modify(ctx, documentID(s.GetDistrict(), s.GetReport().GetReportId()), func(s *readinessv1.StoredReport) error {
		s.Report.State, s.Report.EndTime = readinessv1.ReportState_QUEUED, nil
		s.Report.Checks, s.Findings = nil, nil
		return nil
	})
	if err != nil {
		return docstore.IgnoreNotFound(err)
	}
	return c.enqueue(ctx, s)
}

func (c *checkup) enqueue(ctx context.Context, s *readinessv1.StoredReport) error {
	r := s.GetReport()
	_, err := c.queue.Create(ctx, documentID(s.GetDistrict(), r.GetReportId()), &readinessv1.QueuedReport{
		District: s.GetDistrict(), ReportId: r.GetReportId(), CreateTime: r.GetCreateTime(), Revision: r.GetRevision(), Automatic: r.GetAutomatic(),
		Anew: true,
	})
	if errors.Is(err, docstore.ErrExists) {
		return nil
	}
	return err
}
