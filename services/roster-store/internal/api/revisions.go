package api

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/roster-store/internal/diff"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// DiffRevisions implements RosterService. The first page goes through all that
// differs to count it; the token hands the counts on to the pages that follow.
func (s *Server) DiffRevisions(ctx context.Context, req *rosterv1.DiffRevisionsRequest) (*rosterv1.DiffRevisionsResponse, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	q, err := changeQuery(req)
	if err != nil {
		return nil, err
	}
	bound := binding(req.GetDistrict(), "diff", req.GetFrom(), req.GetTo(), req.GetEntity(), req.GetKind())
	first := req.GetPageToken() == ""
	var out *rosterv1.DiffRevisionsResponse
	if first {
		out, err = s.beginDiff(ctx, req)
	} else {
		out, q.After, err = s.resumeDiff(req.GetPageToken(), bound)
	}
	if err != nil {
		return nil, err
	}
	counted, more := map[store.Entity]store.Counts{}, false
	d, from, to := store.DistrictID(req.GetDistrict()), store.Revision(out.GetFrom()), store.Revision(out.GetTo())
	for c, err := range diff.Changes(ctx, s.store, d, from, to, q.After) {
		if err != nil {
			return nil, outward(req.GetDistrict(), err)
		}
		if q.Entity != 0 && c.Entity != q.Entity || q.Kind != 0 && c.Kind != q.Kind {
			continue
		}
		more = len(out.Changes) == size
		if more && !first {
			break
		}
		counted[c.Entity] = counted[c.Entity].Add(c.Kind)
		if more {
			continue
		}
		m, err := changeMessage(c)
		if err != nil {
			return nil, err
		}
		out.Changes = append(out.Changes, m)
	}
	if first {
		out.Counts, out.TotalSize = counts(counted), count(store.Plan{Counts: counted}.Changes())
	}
	if more {
		last := out.GetChanges()[len(out.GetChanges())-1]
		position, err := proto.Marshal(&rosterv1.DiffRevisionsResponse{
			From: out.GetFrom(), To: out.GetTo(), TotalSize: out.GetTotalSize(), Counts: out.GetCounts(),
			Changes: []*rosterv1.Change{{Entity: last.GetEntity(), SourcedId: last.GetSourcedId()}},
		})
		if err != nil {
			return nil, fmt.Errorf("write page token: %w", err)
		}
		out.NextPageToken = s.tokens.Seal(bound, position)
	}
	return out, nil
}

func (s *Server) beginDiff(ctx context.Context, req *rosterv1.DiffRevisionsRequest) (*rosterv1.DiffRevisionsResponse, error) {
	to, err := s.namedRevision(ctx, req.GetDistrict(), "to", req.GetTo())
	if err != nil {
		return nil, err
	}
	from := max(to-1, 0)
	if req.GetFrom() != "" {
		if from, err = s.namedRevision(ctx, req.GetDistrict(), "from", req.GetFrom()); err != nil {
			return nil, err
		}
	}
	return &rosterv1.DiffRevisionsResponse{From: count(from), To: count(to)}, nil
}

// resumeDiff reads a token: an answer without its changes but for the place of
// the last one.
func (s *Server) resumeDiff(token string, bound []byte) (*rosterv1.DiffRevisionsResponse, store.Position, error) {
	position, err := s.tokens.Open(token, bound)
	if err != nil {
		return nil, store.Position{}, err
	}
	out := &rosterv1.DiffRevisionsResponse{}
	if err := proto.Unmarshal(position, out); err != nil || len(out.GetChanges()) != 1 {
		return nil, store.Position{}, invalid("pageToken", "is damaged: start again from the first page")
	}
	last := out.GetChanges()[0]
	e, err := entityOf(last.GetEntity())
	out.Changes = nil
	return out, store.Position{Entity: e, ID: last.GetSourcedId()}, err
}

// StageRestore implements RosterService.
func (s *Server) StageRestore(ctx context.Context, req *rosterv1.StageRestoreRequest) (*rosterv1.Plan, error) {
	if req.GetPlan() == "" {
		return nil, invalid("plan", "must name the plan to make")
	}
	if req.GetRevision() < 0 {
		return nil, invalid("revision", "a revision is not negative")
	}
	d := store.DistrictID(req.GetDistrict())
	plan, err := diff.Restore(ctx, s.store, store.PlanHeader{
		District: d, Plan: store.PlanID(req.GetPlan()), Fence: store.Fence(req.GetFence()),
		Undo: &store.Undo{To: store.Revision(req.GetRevision())},
	})
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	return s.planMessage(ctx, d, plan)
}

// PruneHistory implements RosterService. What was the newest revision at the
// time can still be read, so that every later state can.
func (s *Server) PruneHistory(ctx context.Context, req *rosterv1.PruneHistoryRequest) (*rosterv1.PruneHistoryResponse, error) {
	if err := req.GetBefore().CheckValid(); err != nil {
		return nil, invalid("before", "must be a time")
	}
	d := store.DistrictID(req.GetDistrict())
	oldest, err := s.store.RevisionAt(ctx, d, req.GetBefore().AsTime())
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	if err := s.store.Prune(ctx, d, oldest); err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	return &rosterv1.PruneHistoryResponse{Oldest: count(oldest)}, nil
}
