package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/selection"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// OpenDistrict implements RosterService.
func (s *Server) OpenDistrict(ctx context.Context, req *rosterv1.OpenDistrictRequest) (*rosterv1.OpenDistrictResponse, error) {
	return &rosterv1.OpenDistrictResponse{}, outward(req.GetDistrict(), s.store.OpenDistrict(ctx, store.DistrictID(req.GetDistrict())))
}

// EraseDistrict implements RosterService.
func (s *Server) EraseDistrict(ctx context.Context, req *rosterv1.EraseDistrictRequest) (*rosterv1.EraseDistrictResponse, error) {
	return &rosterv1.EraseDistrictResponse{}, outward(req.GetDistrict(), s.store.EraseDistrict(ctx, store.DistrictID(req.GetDistrict())))
}

// Import implements RosterService.
func (s *Server) Import(stream rosterv1.RosterService_ImportServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	h := first.GetHeader()
	if h == nil || h.GetPlan() == "" {
		return invalid("header", "must be the first message and name a plan")
	}
	ctx := stream.Context()
	unsent, err := s.unsent(ctx, h)
	if err != nil {
		return err
	}
	plan, err := s.store.Import(ctx, store.PlanHeader{
		District: store.DistrictID(h.GetDistrict()), Plan: store.PlanID(h.GetPlan()), Sync: store.SyncID(h.GetSync()),
		Complete: h.GetComplete(), Unsent: unsent, Fence: store.Fence(h.GetFence()),
	}, candidate(stream, h.GetBaseRevision() > 0))
	if err != nil {
		return outward(h.GetDistrict(), err)
	}
	if base := h.GetBaseRevision(); base > 0 && count(plan.Base) != base {
		return errors.Join(errBaseMoved, s.store.Discard(ctx, store.DistrictID(h.GetDistrict()), plan.ID))
	}
	out, err := s.planMessage(ctx, store.DistrictID(h.GetDistrict()), plan)
	if err != nil {
		return err
	}
	return stream.SendAndClose(out)
}

// unsent checks that the base of a header is the head, and says how many records
// are therefore left out.
func (s *Server) unsent(ctx context.Context, h *rosterv1.PlanHeader) (map[store.Entity]int, error) {
	if h.GetBaseRevision() == 0 {
		return nil, nil
	}
	if len(h.GetComplete()) > 0 {
		return nil, invalid("header.complete", "has no meaning with a base_revision")
	}
	head, err := s.store.Head(ctx, store.DistrictID(h.GetDistrict()))
	if err != nil {
		return nil, outward(h.GetDistrict(), err)
	}
	if count(head.Revision) != h.GetBaseRevision() || !head.CommitTime.Equal(h.GetBaseCommitTime().AsTime()) {
		return nil, errBaseMoved
	}
	out := map[store.Entity]int{}
	for name, n := range h.GetUnsent() {
		e, err := record.ParseEntity(name)
		if err != nil || n < 0 {
			return nil, invalid("header.unsent", "has %d records of %q", n, name)
		}
		out[e] = int(n)
	}
	return out, nil
}

// candidate yields the records of an import stream, receiving ahead of what is
// taken. A stream that breaks is an error, never the end of the candidate.
// Records that are gone are named in a difference alone.
func candidate(stream rosterv1.RosterService_ImportServer, difference bool) iter.Seq2[store.ImportRecord, error] {
	type received struct {
		batch *rosterv1.ImportBatch
		err   error
	}
	return func(yield func(store.ImportRecord, error) bool) {
		stopped := make(chan struct{})
		defer close(stopped)
		ahead := make(chan received, 2)
		go func() { // ends at the latest with the stream
			for {
				m, err := stream.Recv()
				if err == nil && m.GetBatch() == nil {
					err = invalid("batch", "must follow the header")
				}
				select {
				case ahead <- received{m.GetBatch(), err}:
				case <-stopped:
					return
				}
				if err != nil {
					return
				}
			}
		}()
		for {
			in := <-ahead
			if errors.Is(in.err, io.EOF) {
				return
			}
			if in.err != nil {
				yield(store.ImportRecord{}, in.err)
				return
			}
			for _, r := range in.batch.GetRecords() {
				if difference && len(r.GetBody()) == 0 && len(r.GetHash()) == 0 {
					if !yield(store.ImportRecord{Entity: in.batch.GetEntity(), ID: r.GetSourcedId()}, nil) {
						return
					}
					continue
				}
				if len(r.GetHash()) != record.HashSize {
					yield(store.ImportRecord{}, invalid("hash", "of %q must have %d bytes", r.GetSourcedId(), record.HashSize))
					return
				}
				if !yield(store.ImportRecord{
					Entity: in.batch.GetEntity(), ID: r.GetSourcedId(), Hash: record.Hash(r.GetHash()), Body: r.GetBody(),
				}, nil) {
					return
				}
			}
		}
	}
}

// GetPlan implements RosterService.
func (s *Server) GetPlan(ctx context.Context, req *rosterv1.GetPlanRequest) (*rosterv1.Plan, error) {
	d := store.DistrictID(req.GetDistrict())
	plan, err := s.store.Plan(ctx, d, store.PlanID(req.GetPlan()))
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	return s.planMessage(ctx, d, plan)
}

func (s *Server) planMessage(ctx context.Context, d store.DistrictID, p store.Plan) (*rosterv1.Plan, error) {
	out := &rosterv1.Plan{
		Plan: string(p.ID), Sync: string(p.Sync), BaseRevision: count(p.Base), Counts: counts(p.Counts),
		CreateTime: timestamppb.New(p.CreateTime), Revision: count(p.Revision), LastUndo: count(p.LastUndo),
		Populations: populations(p.Effect), Signals: planSignals(p.Effect), Digest: p.Digest,
	}
	for id, c := range p.Schools {
		effect := p.SchoolEffects[id]
		out.Schools = append(out.Schools, &rosterv1.SchoolPlan{
			SchoolId: id, Counts: counts(c), Populations: populations(effect), Signals: planSignals(effect),
		})
	}
	slices.SortFunc(out.Schools, func(a, b *rosterv1.SchoolPlan) int { return cmp.Compare(a.SchoolId, b.SchoolId) })
	return out, s.nameSchools(ctx, d, p, out.Schools)
}

func populations(e store.Effect) map[string]int32 {
	out := make(map[string]int32, len(e.Active))
	for entity, n := range e.Active {
		out[record.EntityName(entity)] = count(n)
	}
	return out
}

func planSignals(e store.Effect) *rosterv1.PlanSignals {
	return &rosterv1.PlanSignals{
		Students: count(e.Students), Emails: count(e.Emails), EmailsBlanked: count(e.EmailsBlanked),
		UsersRekeyed: count(e.UsersRekeyed), RolesFlipped: count(e.RolesFlipped),
		StudentsManyGuardians: count(e.ManyGuardians), EmergencyContactsTurned: count(e.EmergencyTurned),
		SessionsEnded: count(e.SessionsEnded), ClassesHalved: count(e.ClassesHalved), StudentsLosingEnrollments: count(e.LosingEnrollments),
		Teachers: count(e.Teachers), TeachersLosingEnrollments: count(e.TeachersLosing),
	}
}

// nameSchools fills in the names that the plan brings, or else those of the head.
func (s *Server) nameSchools(ctx context.Context, d store.DistrictID, p store.Plan, schools []*rosterv1.SchoolPlan) error {
	names := map[string]string{}
	learn := func(body []byte) error {
		var r typev1.Record
		if err := proto.Unmarshal(body, &r); err != nil {
			return fmt.Errorf("decode an org: %w", err)
		}
		names[r.GetOrg().GetSourcedId()] = r.GetOrg().GetName()
		return nil
	}
	for r, err := range s.store.Snapshot(d, p.Base, store.Scope{All: true}).Scan(ctx, store.Position{}, typev1.Entity_ENTITY_ORGS) {
		if err == nil {
			err = learn(r.Body)
		}
		if err != nil && !errors.Is(err, store.ErrRevisionGone) {
			return outward(string(d), err)
		}
	}
	q := store.ChangeQuery{Entity: typev1.Entity_ENTITY_ORGS, Limit: 1000}
	for more := true; more; {
		page, err := s.store.PlanChanges(ctx, d, p.ID, q)
		if err != nil {
			return outward(string(d), err)
		}
		for _, c := range page.Changes {
			if err := learn(c.After); err != nil {
				return err
			}
			q.After = store.Position{Entity: c.Entity, ID: c.ID}
		}
		more = page.More
	}
	for _, school := range schools {
		school.Name = names[school.SchoolId]
	}
	return nil
}

var kindNames = map[store.Kind]string{store.Created: "created", store.Updated: "updated", store.Removed: "removed"}

// ListPlanChanges implements RosterService.
func (s *Server) ListPlanChanges(ctx context.Context, req *rosterv1.ListPlanChangesRequest) (*rosterv1.ListPlanChangesResponse, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	q, err := changeQuery(req)
	if err != nil {
		return nil, err
	}
	q.Limit = size
	bound := binding(req.GetDistrict(), "plan", req.GetPlan(), req.GetEntity(), req.GetKind())
	if req.GetPageToken() != "" {
		position, err := s.tokens.Open(req.GetPageToken(), bound)
		if err != nil {
			return nil, err
		}
		q.After = store.Position{Entity: typev1.Entity(position[0]), ID: string(position[1:])}
	}
	page, err := s.store.PlanChanges(ctx, store.DistrictID(req.GetDistrict()), store.PlanID(req.GetPlan()), q)
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	out := &rosterv1.ListPlanChangesResponse{TotalSize: count(page.Total)}
	for _, c := range page.Changes {
		m, err := changeMessage(c)
		if err != nil {
			return nil, err
		}
		out.Changes = append(out.Changes, m)
	}
	if page.More {
		last := page.Changes[len(page.Changes)-1]
		out.NextPageToken = s.tokens.Seal(bound, append([]byte{byte(last.Entity)}, last.ID...))
	}
	return out, nil
}

// changeQuery reads the conditions of a list of changes.
func changeQuery(req interface {
	GetEntity() string
	GetKind() string
},
) (q store.ChangeQuery, err error) {
	if req.GetEntity() != "" {
		if q.Entity, err = entityOf(req.GetEntity()); err != nil {
			return q, err
		}
	}
	for k, name := range kindNames {
		if name == req.GetKind() {
			q.Kind = k
		}
	}
	if req.GetKind() != "" && q.Kind == 0 {
		return q, invalid("kind", "must be created, updated or removed")
	}
	return q, nil
}

func changeMessage(c store.Change) (*rosterv1.Change, error) {
	bodies := [2]*typev1.Record{}
	for i, body := range [][]byte{c.Before, c.After} {
		if body == nil {
			continue
		}
		bodies[i] = &typev1.Record{}
		if err := proto.Unmarshal(body, bodies[i]); err != nil {
			return nil, fmt.Errorf("decode a change of %s: %w", record.EntityName(c.Entity), err)
		}
	}
	fields, err := fieldChanges(bodies[0], bodies[1])
	if err != nil {
		return nil, err
	}
	return &rosterv1.Change{Entity: record.EntityName(c.Entity), SourcedId: c.ID, Kind: kindNames[c.Kind], Fields: fields}, nil
}

// SelectPlan implements RosterService.
func (s *Server) SelectPlan(ctx context.Context, req *rosterv1.SelectPlanRequest) (*rosterv1.Plan, error) {
	if req.GetSelection() == "" {
		return nil, invalid("selection", "must name the plan to make")
	}
	d := store.DistrictID(req.GetDistrict())
	made, err := selection.Make(ctx, s.store, store.PlanID(req.GetPlan()),
		store.PlanHeader{District: d, Plan: store.PlanID(req.GetSelection()), Fence: store.Fence(req.GetFence())},
		selection.Choice{WithoutRemovals: req.GetWithoutRemovals(), Schools: req.GetSchools()})
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	return s.planMessage(ctx, d, made)
}

// CommitPlan implements RosterService.
func (s *Server) CommitPlan(ctx context.Context, req *rosterv1.CommitPlanRequest) (*rosterv1.CommitPlanResponse, error) {
	done, err := s.store.Commit(ctx, store.DistrictID(req.GetDistrict()), store.PlanID(req.GetPlan()), store.Fence(req.GetFence()))
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	if done.Committed {
		s.commits.Committed(ctx, req.GetDistrict(), done.Revision)
		s.log.InfoContext(ctx, "revision committed", "district", req.GetDistrict(), "plan", req.GetPlan(), "revision", done.Revision)
	}
	return &rosterv1.CommitPlanResponse{Revision: count(done.Revision), Committed: done.Committed}, nil
}

// DiscardPlan implements RosterService.
func (s *Server) DiscardPlan(ctx context.Context, req *rosterv1.DiscardPlanRequest) (*rosterv1.DiscardPlanResponse, error) {
	return &rosterv1.DiscardPlanResponse{}, outward(req.GetDistrict(), s.store.Discard(ctx, store.DistrictID(req.GetDistrict()), store.PlanID(req.GetPlan())))
}
