package api

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/readiness-engine/internal/report"
)

// GetReadinessReport returns one report with the checks of a product, or all, as
// the settings have them.
func (s *Server) GetReadinessReport(ctx context.Context, req *readinessv1.GetReadinessReportRequest) (*readinessv1.ReadinessReport, error) {
	lens, err := s.reports.Lens(ctx, req.GetDistrict(), report.Filter{Product: req.GetProduct()})
	if err != nil {
		return nil, err
	}
	stored, err := s.get(ctx, req.GetDistrict(), req.GetReport())
	if err != nil {
		return nil, err
	}
	out := stored.GetReport()
	out.Checks, err = s.reports.Results(ctx, stored, lens)
	return out, err
}

// completed returns a report that has findings to read; with ErrNotCompleted one
// that has not.
func (s *Server) completed(ctx context.Context, district, id string) (*readinessv1.StoredReport, error) {
	stored, err := s.get(ctx, district, id)
	if err != nil {
		return nil, err
	}
	if stored.GetReport().GetState() != readinessv1.ReportState_COMPLETED {
		return stored, report.ErrNotCompleted
	}
	return stored, nil
}

// ListReadinessFindings pages through findings.
func (s *Server) ListReadinessFindings(ctx context.Context, req *readinessv1.ListReadinessFindingsRequest) (*readinessv1.ListReadinessFindingsResponse, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := report.Filter{CheckID: req.GetCheckId(), Product: req.GetProduct(), School: req.GetSchoolId(), Actionable: req.Actionable}
	lens, err := s.reports.Lens(ctx, req.GetDistrict(), filter)
	if err != nil {
		return nil, err
	}
	stored, err := s.completed(ctx, req.GetDistrict(), req.GetReport())
	if err != nil {
		return nil, err
	}
	actionable := ""
	if req.Actionable != nil {
		actionable = fmt.Sprint(req.GetActionable())
	}
	list := binding("findings", req.GetDistrict(), req.GetReport(), filter.CheckID, filter.Product, filter.School, actionable)
	// A token says where to go on, and how much there was before.
	var from, before uint64
	if req.GetPageToken() != "" {
		position, err := s.tokens.Open(req.GetPageToken(), list)
		if err != nil {
			return nil, err
		}
		var n, m int
		if from, n = binary.Uvarint(position); n > 0 {
			before, m = binary.Uvarint(position[n:])
		}
		if n <= 0 || m <= 0 {
			return nil, pagetoken.ErrInvalid
		}
	}
	total, err := s.reports.Count(ctx, stored, lens)
	if err != nil {
		return nil, err
	}
	out := &readinessv1.ListReadinessFindingsResponse{TotalSize: int32(total)}
	if int(before) >= total {
		return out, nil
	}
	for found, err := range s.reports.Findings(ctx, stored, lens, int(from)) {
		if err != nil {
			return nil, err
		}
		out.Findings = append(out.Findings, found.ReadinessFinding)
		if len(out.Findings) < size {
			continue
		}
		if end := before + uint64(size); int(end) < total {
			out.NextPageToken = s.tokens.Seal(list, binary.AppendUvarint(binary.AppendUvarint(nil, uint64(found.Next)), end))
		}
		break
	}
	return out, nil
}

// DownloadReadinessReport streams findings as CSV.
func (s *Server) DownloadReadinessReport(req *readinessv1.DownloadReadinessReportRequest, stream grpc.ServerStreamingServer[httpbody.HttpBody]) error {
	ctx := stream.Context()
	lens, err := s.reports.Lens(ctx, req.GetDistrict(),
		report.Filter{CheckID: req.GetCheckId(), Product: req.GetProduct(), School: req.GetSchoolId(), Actionable: req.Actionable})
	if err != nil {
		return err
	}
	stored, err := s.completed(ctx, req.GetDistrict(), req.GetReport())
	if err != nil {
		return err
	}
	for part, err := range s.reports.CSV(ctx, stored, lens) {
		if err != nil {
			return err
		}
		if err := stream.Send(&httpbody.HttpBody{ContentType: report.ContentType, Data: part}); err != nil {
			return err
		}
	}
	return nil
}

// GetReadinessTrend returns how counts went from report to report.
func (s *Server) GetReadinessTrend(ctx context.Context, req *readinessv1.GetReadinessTrendRequest) (*readinessv1.ReadinessTrend, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	lens, err := s.reports.Lens(ctx, req.GetDistrict(), report.Filter{CheckID: req.GetCheckId(), Product: req.GetProduct()})
	if err != nil {
		return nil, err
	}
	list := binding("trend", req.GetDistrict(), req.GetCheckId(), req.GetProduct())
	after, err := s.after(ctx, req, list)
	if err != nil {
		return nil, err
	}
	points, next, err := s.reports.Trend(ctx, req.GetDistrict(), lens, after, size)
	if err != nil {
		return nil, err
	}
	out := &readinessv1.ReadinessTrend{Points: points}
	if next != "" {
		out.NextPageToken = s.tokens.Seal(list, []byte(next))
	}
	return out, nil
}

// CompareReadinessReports compares a report with an earlier one.
func (s *Server) CompareReadinessReports(ctx context.Context, req *readinessv1.CompareReadinessReportsRequest) (*readinessv1.CompareReadinessReportsResponse, error) {
	lens, err := s.reports.Lens(ctx, req.GetDistrict(), report.Filter{Product: req.GetProduct()})
	if err != nil {
		return nil, err
	}
	now, err := s.completed(ctx, req.GetDistrict(), req.GetReport())
	if err != nil {
		return nil, err
	}
	var then *readinessv1.StoredReport
	if req.GetBase() != "" {
		then, err = s.completed(ctx, req.GetDistrict(), req.GetBase())
	} else {
		then, err = s.reports.Base(ctx, now, req.GetBaseRevision())
	}
	if errors.Is(err, report.ErrNoBase) && req.GetBaseRevision() != 0 {
		then, err = s.made(ctx, now, req.GetBaseRevision())
	}
	if err != nil {
		return nil, err
	}
	changes, err := s.reports.Compare(ctx, then, now, lens)
	if err != nil {
		return nil, err
	}
	now.Report.Checks, then.Report.Checks = nil, nil
	return &readinessv1.CompareReadinessReportsResponse{Report: now.GetReport(), Base: then.GetReport(), Checks: changes}, nil
}

// How long a comparison waits for a report that is made for it, and how often it
// looks.
const (
	madeWithin = 20 * time.Second
	madePoll   = 50 * time.Millisecond
)

// runScope is what CreateReadinessReport asks for.
const runScope = "readiness.run"

// made has a report made over an earlier revision than that of another report,
// and waits for it.
func (s *Server) made(ctx context.Context, than *readinessv1.StoredReport, revision int32) (*readinessv1.StoredReport, error) {
	if newest := than.GetReport().GetRevision(); revision < 0 || revision > newest {
		return nil, errs.Errorf(codes.InvalidArgument, "INVALID_ARGUMENT",
			"baseRevision: must not be after revision %d, which the report is of", newest).With("field", "baseRevision")
	}
	district, id := than.GetDistrict(), report.OfRevision(revision)
	if p := authn.FromContext(ctx); !p.HasScope(runScope) { // one that is there can be read
		stored, err := s.completed(ctx, district, id)
		if errors.Is(err, report.ErrNotFound) || errors.Is(err, report.ErrNotCompleted) {
			err = errs.Errorf(codes.PermissionDenied, authn.ReasonScope,
				"baseRevision: there is no report of revision %d yet, and who has one made needs scope %s", revision, runScope).With("scope", runScope)
		}
		return stored, err
	}
	queued, err := s.queue(ctx, district, id, revision)
	if err == nil && queued.GetState() == readinessv1.ReportState_FAILED {
		_, err = s.RetryReadinessReport(ctx, &readinessv1.RetryReadinessReportRequest{District: district, Report: id})
	}
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, madeWithin)
	defer cancel()
	look := time.NewTicker(madePoll)
	defer look.Stop()
	for {
		stored, err := s.completed(ctx, district, id)
		switch {
		case !errors.Is(err, report.ErrNotCompleted):
			return stored, err
		case stored.GetReport().GetState() == readinessv1.ReportState_FAILED:
			return nil, errs.Errorf(codes.FailedPrecondition, "REPORT_BASE_FAILED",
				"baseRevision: the report of revision %d cannot be made: %s", revision, stored.GetReport().GetError()).With("field", "baseRevision")
		}
		select {
		case <-look.C:
		case <-wait.Done():
			return nil, cmp.Or(ctx.Err(), err)
		}
	}
}

// GetReadinessSettings returns what counts in a district.
func (s *Server) GetReadinessSettings(ctx context.Context, req *readinessv1.GetReadinessSettingsRequest) (*readinessv1.ReadinessSettings, error) {
	if err := s.known(ctx, req.GetDistrict()); err != nil {
		return nil, err
	}
	return s.reports.Settings(ctx, req.GetDistrict())
}

// UpdateReadinessSettings changes what counts in a district.
func (s *Server) UpdateReadinessSettings(ctx context.Context, req *readinessv1.UpdateReadinessSettingsRequest) (*readinessv1.ReadinessSettings, error) {
	if err := s.known(ctx, req.GetDistrict()); err != nil {
		return nil, err
	}
	return s.reports.SetSettings(ctx, req.GetDistrict(), req.GetSettings(), req.GetUpdateMask().GetPaths(), s.now())
}
