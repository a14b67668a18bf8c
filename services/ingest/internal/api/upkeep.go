package api

import (
	"context"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
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
