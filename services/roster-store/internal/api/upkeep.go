package api

import (
	"context"
	"errors"
	"iter"

	"google.golang.org/grpc"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Upkeep implements rosterv1.UpkeepServiceServer.
type Upkeep struct {
	rosterv1.UnimplementedUpkeepServiceServer
	store store.Store
}

// NewUpkeep returns a server over an engine, which stays the caller's.
func NewUpkeep(s store.Store) *Upkeep { return &Upkeep{store: s} }

// ErasePersonRecords blanks a person in every version.
func (u *Upkeep) ErasePersonRecords(ctx context.Context, req *rosterv1.ErasePersonRecordsRequest) (*rosterv1.ErasePersonRecordsResponse, error) {
	if req.GetSourcedId() == "" {
		return nil, invalid("sourcedId", "is required")
	}
	if err := u.store.ErasePerson(ctx, store.DistrictID(req.GetDistrict()), req.GetSourcedId()); err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	return &rosterv1.ErasePersonRecordsResponse{}, nil
}

// Check checks all districts, one after the other.
func (u *Upkeep) Check(req *typev1.CheckRequest, stream grpc.ServerStreamingServer[typev1.CheckResponse]) error {
	checked := int64(0)
	for d, err := range u.store.Districts(stream.Context()) {
		if err != nil {
			return err
		}
		err := tell(stream, d, u.store.Check(stream.Context(), d, req.GetRepair()))
		if errors.Is(err, store.ErrDistrictUnknown) {
			continue // erased meanwhile
		}
		if err != nil {
			return err
		}
		checked++
	}
	return stream.Send(&typev1.CheckResponse{Event: &typev1.CheckResponse_Checked{
		Checked: &typev1.Checked{What: "rosters", Count: checked},
	}})
}

// tell passes on what is wrong with a district.
func tell(stream grpc.ServerStreamingServer[typev1.CheckResponse], d store.DistrictID, problems iter.Seq2[store.Problem, error]) error {
	for p, err := range problems {
		if err != nil {
			return err
		}
		err := stream.Send(&typev1.CheckResponse{Event: &typev1.CheckResponse_Problem{
			Problem: &typev1.Problem{District: string(d), What: p.Invariant, Where: p.Where, Repaired: p.Repaired},
		}})
		if err != nil {
			return err
		}
	}
	return nil
}
