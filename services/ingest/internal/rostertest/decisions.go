package rostertest

import (
	"context"
	"maps"

	"google.golang.org/protobuf/proto"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// remember keeps what is live for a later restore.
func (d *district) remember(p *staged) {
	if d.past == nil {
		d.past, d.by = map[int32]map[typev1.Entity]map[string]*version{}, map[int32]string{}
	}
	live := map[typev1.Entity]map[string]*version{}
	for e, records := range d.live {
		live[e] = maps.Clone(records)
	}
	d.past[d.revision], d.by[d.revision] = live, p.plan.GetSync()
	if p.undo {
		d.undo, d.undoTo = d.revision, p.undoTo
	}
}

// SelectPlan makes a plan of chosen changes of another one. What refers to
// something that is left out is not looked for: that is a matter of the real store.
func (s *Store) SelectPlan(_ context.Context, req *rosterv1.SelectPlanRequest) (*rosterv1.Plan, error) {
	if err := s.fail("SelectPlan"); err != nil {
		return nil, err
	}
	part, err := s.choose(req)
	if err != nil {
		return nil, err
	}
	return part, s.fail("SelectPlan done")
}

func (s *Store) choose(req *rosterv1.SelectPlanRequest) (*rosterv1.Plan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.get(req.GetDistrict())
	if err != nil {
		return nil, err
	}
	if made := d.plans[req.GetSelection()]; made != nil {
		return proto.CloneOf(made.plan), nil
	}
	_, full, err := s.planned(req.GetDistrict(), req.GetPlan())
	if err != nil {
		return nil, err
	}
	part := &staged{plan: proto.CloneOf(full.plan)}
	part.plan.Plan, part.plan.Counts = req.GetSelection(), map[string]*rosterv1.ChangeCounts{}
	for _, c := range full.changes {
		if req.GetWithoutRemovals() && c.kind == "removed" || !c.within(req.GetSchools()) {
			continue
		}
		if err := d.fresh(c); err != nil {
			return nil, err
		}
		part.add(c)
	}
	s.describe(d, part)
	d.plans[req.GetSelection()] = part
	return proto.CloneOf(part.plan), nil
}

func (p *staged) add(c change) {
	p.changes = append(p.changes, c)
	name := record.EntityName(c.entity)
	counts := p.plan.GetCounts()[name]
	if counts == nil {
		counts = &rosterv1.ChangeCounts{}
		p.plan.Counts[name] = counts
	}
	switch c.kind {
	case "created":
		counts.Created++
	case "updated":
		counts.Updated++
	case "removed":
		counts.Removed++
	}
}

// StageRestore stages what takes a district back. Records that came since are
// left as they are.
func (s *Store) StageRestore(_ context.Context, req *rosterv1.StageRestoreRequest) (*rosterv1.Plan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.get(req.GetDistrict())
	if err != nil {
		return nil, err
	}
	if err := d.fenced(req.GetFence()); err != nil {
		return nil, err
	}
	p := &staged{undo: true, undoTo: req.GetRevision(), plan: &rosterv1.Plan{Plan: req.GetPlan(), BaseRevision: d.revision, Counts: map[string]*rosterv1.ChangeCounts{}}}
	for e, records := range d.past[req.GetRevision()] {
		for id, old := range records {
			if live := d.live[e][id]; string(live.hash) != string(old.hash) {
				p.add(change{entity: e, id: id, kind: "updated", hash: old.hash, body: old.body, was: live, before: live.rev})
			}
		}
	}
	d.plans[req.GetPlan()] = p
	return proto.CloneOf(p.plan), nil
}

// PruneHistory notes what it was asked for, see Pruned.
func (s *Store) PruneHistory(_ context.Context, req *rosterv1.PruneHistoryRequest) (*rosterv1.PruneHistoryResponse, error) {
	if err := s.fail("PruneHistory"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pruned = append(s.pruned, req)
	return &rosterv1.PruneHistoryResponse{}, nil
}

// Pruned returns what was asked to be forgotten.
func (s *Store) Pruned() []*rosterv1.PruneHistoryRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*rosterv1.PruneHistoryRequest{}, s.pruned...)
}
