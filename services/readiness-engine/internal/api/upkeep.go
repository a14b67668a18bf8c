package api

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
)

// Upkeep implements UpkeepService.
type Upkeep struct {
	readinessv1.UnimplementedUpkeepServiceServer
	server *Server
}

// NewUpkeep returns the upkeep of what a Server serves.
func NewUpkeep(s *Server) *Upkeep { return &Upkeep{server: s} }

// ErasePersonFindings blanks a person in the findings of all reports.
func (u *Upkeep) ErasePersonFindings(ctx context.Context, req *readinessv1.ErasePersonFindingsRequest) (*readinessv1.ErasePersonFindingsResponse, error) {
	if req.GetSourcedId() == "" {
		return nil, errs.New(codes.InvalidArgument, "INVALID_ARGUMENT", "sourcedId: is required").With("field", "sourcedId")
	}
	n, err := u.server.reports.ErasePerson(ctx, u.server.cache, req.GetDistrict(), req.GetSourcedId())
	if err != nil {
		return nil, err
	}
	return &readinessv1.ErasePersonFindingsResponse{FindingsFiles: int32(n)}, nil
}

// Check compares reports with the files of their findings.
func (u *Upkeep) Check(req *typev1.CheckRequest, stream grpc.ServerStreamingServer[typev1.CheckResponse]) error {
	for event, err := range u.server.reports.Check(stream.Context(), u.server.roster, req.GetRepair()) {
		if err == nil {
			err = stream.Send(event)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
