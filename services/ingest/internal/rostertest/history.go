package rostertest

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

// GetRecordHistory lists the versions of a record, newest first, without fields.
func (s *Store) GetRecordHistory(_ context.Context, req *rosterv1.GetRecordHistoryRequest) (*rosterv1.GetRecordHistoryResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.get(req.GetDistrict())
	if err != nil {
		return nil, err
	}
	e, err := record.ParseEntity(req.GetEntity())
	if err != nil {
		return nil, err
	}
	out := &rosterv1.GetRecordHistoryResponse{}
	for _, rev := range slices.Backward(slices.Sorted(maps.Keys(d.past))) {
		if v := d.past[rev][e][req.GetSourcedId()]; v != nil && v.rev == rev {
			out.Versions = append(out.Versions, &rosterv1.RecordVersion{FromRevision: rev, CommitTime: timestamppb.New(commitTime(rev)), Record: decode(v.body)})
		}
	}
	if len(out.GetVersions()) == 0 {
		return nil, errs.New(codes.NotFound, "RECORD_NOT_FOUND", "unknown record")
	}
	return out, nil
}
