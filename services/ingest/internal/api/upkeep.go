package api

import (
	"context"

	"google.golang.org/grpc"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/doctor"
)

type upkeep struct {
	ingestv1.UnimplementedUpkeepServiceServer
	Deps
}

func (s *upkeep) ErasePerson(ctx context.Context, req *ingestv1.ErasePersonRequest) (*ingestv1.ErasePersonResponse, error) {
	if req.GetSourcedId() == "" {
		return nil, invalid("sourcedId", "is required")
	}
	done, err := s.Deps.ErasePerson(ctx, req.GetDistrict(), req.GetSourcedId())
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "person erased", "district", req.GetDistrict(),
		"layer_files", done.GetLayerFiles(), "packages", done.GetPackages(), "findings_files", done.GetFindingsFiles())
	return done, nil
}

func (s *upkeep) Check(req *typev1.CheckRequest, stream grpc.ServerStreamingServer[typev1.CheckResponse]) error {
	deps := doctor.Deps{Store: s.Store, Blobs: s.Blobs, Roster: s.Roster, Now: s.Now}
	for event, err := range doctor.Check(stream.Context(), deps, req.GetRepair()) {
		if err == nil {
			err = stream.Send(event)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
