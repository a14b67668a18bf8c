// Package api answers the calls of securly.sync.readiness.v1.
package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/readiness-engine/internal/check"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
	"github.com/securly/sync/services/readiness-engine/internal/report"
)

// Server implements ReadinessService.
type Server struct {
	readinessv1.UnimplementedReadinessServiceServer

	reports *report.Reports
	roster  replica.Roster
	ingest  Ingest
	cache   *replica.Cache
	tokens  *pagetoken.Sealer
	now     func() time.Time
	queued  func(ctx context.Context, report *readinessv1.ReadinessReport, district string)
}

// New returns a Server that calls queued for each report it has queued.
func New(
	reports *report.Reports, roster replica.Roster, ingest Ingest, cache *replica.Cache, tokens *pagetoken.Sealer, now func() time.Time,
	queued func(ctx context.Context, report *readinessv1.ReadinessReport, district string),
) *Server {
	return &Server{reports: reports, roster: roster, ingest: ingest, cache: cache, tokens: tokens, now: now, queued: queued}
}

// ListReadinessChecks returns the catalogue.
func (s *Server) ListReadinessChecks(context.Context, *readinessv1.ListReadinessChecksRequest) (*readinessv1.ListReadinessChecksResponse, error) {
	out := &readinessv1.ListReadinessChecksResponse{Products: check.Products()}
	for _, c := range check.Catalogue() {
		out.ReadinessChecks = append(out.ReadinessChecks, c.Proto())
	}
	return out, nil
}

// CreateReadinessReport queues a report over the head or another revision.
func (s *Server) CreateReadinessReport(ctx context.Context, req *readinessv1.CreateReadinessReportRequest) (*readinessv1.ReadinessReport, error) {
	summary, err := s.roster.GetSummary(ctx, &rosterv1.GetSummaryRequest{District: req.GetDistrict()})
	if err != nil {
		return nil, err
	}
	revision := summary.GetRevision()
	if req.GetRevision() != 0 {
		if req.GetRevision() < 0 || req.GetRevision() > revision {
			return nil, errs.Errorf(codes.InvalidArgument, "REVISION_UNKNOWN",
				"revision: there is no revision %d yet: the newest is %d", req.GetRevision(), revision).With("field", "revision")
		}
		revision = req.GetRevision()
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make a report id: %w", err)
	}
	return s.queue(ctx, req.GetDistrict(), id.String(), revision)
}

func (s *Server) queue(ctx context.Context, district, id string, revision int32) (*readinessv1.ReadinessReport, error) {
	queued, err := s.reports.Queue(ctx, &readinessv1.QueuedReport{
		District: district, ReportId: id, CreateTime: timestamppb.New(s.now()), Revision: revision,
	})
	if err != nil {
		return nil, fmt.Errorf("queue a report: %w", err)
	}
	s.queued(ctx, queued, district)
	return queued, nil
}

// RetryReadinessReport queues a report again that has failed.
func (s *Server) RetryReadinessReport(ctx context.Context, req *readinessv1.RetryReadinessReportRequest) (*readinessv1.ReadinessReport, error) {
	if _, err := s.get(ctx, req.GetDistrict(), req.GetReport()); err != nil {
		return nil, err
	}
	queued, err := s.reports.Retry(ctx, req.GetDistrict(), req.GetReport())
	if err != nil {
		return nil, err
	}
	s.queued(ctx, queued, req.GetDistrict())
	return queued, nil
}

// binding ties a page token to the list that it continues.
func binding(parts ...string) []byte { return []byte(strings.Join(parts, "\x00")) }

// pageRequest asks for a page of a list of a district.
type pageRequest interface {
	GetDistrict() string
	GetPageToken() string
}

// after returns where a list goes on: at its beginning, of a district that
// exists, if there is no page token.
func (s *Server) after(ctx context.Context, req pageRequest, list []byte) (string, error) {
	if req.GetPageToken() == "" {
		return "", s.known(ctx, req.GetDistrict())
	}
	position, err := s.tokens.Open(req.GetPageToken(), list)
	return string(position), err
}

// ListReadinessReports lists reports, newest first.
func (s *Server) ListReadinessReports(ctx context.Context, req *readinessv1.ListReadinessReportsRequest) (*readinessv1.ListReadinessReportsResponse, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	list := binding("reports", req.GetDistrict())
	after, err := s.after(ctx, req, list)
	if err != nil {
		return nil, err
	}
	reports, next, err := s.reports.List(ctx, req.GetDistrict(), after, size)
	if err != nil {
		return nil, err
	}
	out := &readinessv1.ListReadinessReportsResponse{ReadinessReports: reports}
	if next != "" {
		out.NextPageToken = s.tokens.Seal(list, []byte(next))
	}
	return out, nil
}

// known fails for a district that does not exist: an empty list would hide a
// mistyped name.
func (s *Server) known(ctx context.Context, district string) error {
	_, err := s.roster.GetSummary(ctx, &rosterv1.GetSummaryRequest{District: district})
	return err
}

// get returns a report; where there is none, the district may be what is wrong.
func (s *Server) get(ctx context.Context, district, id string) (*readinessv1.StoredReport, error) {
	stored, err := s.reports.Get(ctx, district, id)
	if errors.Is(err, report.ErrNotFound) {
		if unknown := s.known(ctx, district); unknown != nil {
			return nil, unknown
		}
	}
	return stored, err
}

// EraseDistrict removes all reports and the replica of a district.
func (s *Server) EraseDistrict(ctx context.Context, req *readinessv1.EraseDistrictRequest) (*readinessv1.EraseDistrictResponse, error) {
	if err := s.reports.Erase(ctx, req.GetDistrict()); err != nil {
		return nil, err
	}
	if err := s.cache.Forget(ctx, req.GetDistrict()); err != nil {
		return nil, err
	}
	return &readinessv1.EraseDistrictResponse{}, nil
}
