package rostertest

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

type upkeep struct {
	rosterv1.UnimplementedUpkeepServiceServer
	s *Store
}

// ErasePersonRecords blanks the live user and demographics and those of plans.
func (u upkeep) ErasePersonRecords(_ context.Context, req *rosterv1.ErasePersonRecordsRequest) (*rosterv1.ErasePersonRecordsResponse, error) {
	if err := u.s.fail("ErasePersonRecords"); err != nil {
		return nil, err
	}
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	d, err := u.s.get(req.GetDistrict())
	if err != nil {
		return nil, err
	}
	found := false
	for _, e := range []typev1.Entity{typev1.Entity_ENTITY_USERS, typev1.Entity_ENTITY_DEMOGRAPHICS} {
		if v := d.live[e][req.GetSourcedId()]; v != nil {
			v.body, found = blank(v.body), true
		}
		for _, p := range d.plans {
			for i, c := range p.changes {
				if c.entity == e && c.id == req.GetSourcedId() && c.body != nil {
					p.changes[i].body, found = blank(c.body), true
				}
			}
		}
	}
	if !found {
		return nil, errs.New(codes.NotFound, "RECORD_NOT_FOUND", "unknown record")
	}
	return &rosterv1.ErasePersonRecordsResponse{}, u.s.fail("ErasePersonRecords done")
}

func blank(body []byte) []byte {
	out, err := proto.Marshal(record.Blank(decode(body)))
	if err != nil {
		panic(err)
	}
	return out
}
