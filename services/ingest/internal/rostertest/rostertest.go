// Package rostertest is a roster store in memory for tests of the ingest
// service: it keeps the promises of the real one that ingest relies on.
package rostertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

// Store is the roster store. The zero value is not ready; use New.
type Store struct {
	rosterv1.UnimplementedRosterServiceServer

	mu        sync.Mutex
	districts map[string]*district
	pruned    []*rosterv1.PruneHistoryRequest

	failing  sync.Mutex
	failWith func(method string) error
	signals  func(*rosterv1.Plan)

	// Complete refuses all differences; Differences counts the plans that were
	// made of one.
	Complete    bool
	Differences int
}

type district struct {
	live     map[typev1.Entity]map[string]*version
	revision int32
	plans    map[string]*staged
	fence    int64
	// past is what was live at each revision, by the sync that made it, undo the
	// newest one that went back.
	past   map[int32]map[typev1.Entity]map[string]*version
	by     map[int32]string
	undo   int32
	undoTo int32
}

type version struct {
	hash []byte
	body []byte
	rev  int32
}

type staged struct {
	plan    *rosterv1.Plan
	undo    bool
	undoTo  int32
	changes []change
}

type change struct {
	entity typev1.Entity
	id     string
	kind   string
	body   []byte
	hash   []byte
	was    *version // that it replaces, nil for none
	before int32    // its revision when the change was made
}

// New returns an empty store.
func New() *Store { return &Store{districts: map[string]*district{}} }

// Register adds the store to a server.
func (s *Store) Register(r grpc.ServiceRegistrar) {
	rosterv1.RegisterRosterServiceServer(r, s)
	rosterv1.RegisterUpkeepServiceServer(r, upkeep{s: s})
}

// FailWith has f asked before each call of a method ("Import", "CommitPlan"), and
// again after it has had its effect ("Import done"). An error it returns is the
// caller's answer. Nil ends that.
func (s *Store) FailWith(f func(method string) error) {
	s.failing.Lock()
	defer s.failing.Unlock()
	s.failWith = f
}

func (s *Store) fail(method string) error {
	s.failing.Lock()
	fail := s.failWith
	s.failing.Unlock()
	if fail == nil {
		return nil
	}
	return fail(method)
}

func (s *Store) get(name string) (*district, error) {
	d := s.districts[name]
	if d == nil {
		return nil, errs.New(codes.NotFound, "DISTRICT_NOT_FOUND", "unknown district")
	}
	return d, nil
}

// planned returns a plan with its district.
func (s *Store) planned(name, plan string) (*district, *staged, error) {
	d, err := s.get(name)
	if err != nil {
		return nil, nil, err
	}
	p := d.plans[plan]
	if p == nil {
		return nil, nil, errs.New(codes.NotFound, "PLAN_NOT_FOUND", "unknown plan")
	}
	return d, p, nil
}

// fresh fails if a record has changed since a plan was made that changes it.
func (d *district) fresh(c change) error {
	if live := d.live[c.entity][c.id]; live != nil && live.rev != c.before || live == nil && c.before != 0 {
		return errs.New(codes.Aborted, "PLAN_STALE", "plan is stale")
	}
	return nil
}

// Active returns the active records of an entity by id.
func (s *Store) Active(name string, e typev1.Entity) map[string]*typev1.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]*typev1.Record{}
	d := s.districts[name]
	if d == nil {
		return out
	}
	for id, v := range d.live[e] {
		r := decode(v.body)
		if _, base := record.Of(r); base.GetStatus() == record.StatusActive {
			out[id] = r
		}
	}
	return out
}

// Revision returns the head of a district.
func (s *Store) Revision(name string) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.districts[name]; d != nil {
		return d.revision
	}
	return -1
}

// Touch changes a user behind the back of all plans.
func (s *Store) Touch(name, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.districts[name]
	d.revision++
	const users = typev1.Entity_ENTITY_USERS
	r := decode(d.live[users][id].body)
	r.GetUser().MiddleName = fmt.Sprintf("Touched %d", d.revision)
	hash := record.HashOf(r)
	d.live[users][id] = &version{body: encode(r), hash: hash[:], rev: d.revision}
	d.remember(&staged{})
}

func decode(body []byte) *typev1.Record {
	r := &typev1.Record{}
	if err := proto.Unmarshal(body, r); err != nil {
		panic(err)
	}
	return r
}

func encode(r *typev1.Record) []byte {
	body, err := proto.Marshal(r)
	if err != nil {
		panic(err)
	}
	return body
}

// OpenDistrict makes an empty district.
func (s *Store) OpenDistrict(_ context.Context, req *rosterv1.OpenDistrictRequest) (*rosterv1.OpenDistrictResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.districts[req.GetDistrict()] == nil {
		s.districts[req.GetDistrict()] = &district{live: map[typev1.Entity]map[string]*version{}, plans: map[string]*staged{}}
	}
	return &rosterv1.OpenDistrictResponse{}, nil
}

// EraseDistrict forgets a district.
func (s *Store) EraseDistrict(_ context.Context, req *rosterv1.EraseDistrictRequest) (*rosterv1.EraseDistrictResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.districts, req.GetDistrict())
	return &rosterv1.EraseDistrictResponse{}, nil
}

// Import stages a plan, checking the order and the hashes of what it gets.
func (s *Store) Import(stream grpc.ClientStreamingServer[rosterv1.ImportRequest, rosterv1.Plan]) error {
	if err := s.fail("Import"); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	header := first.GetHeader()
	candidate := map[typev1.Entity][]*rosterv1.ImportRecord{}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		e := m.GetBatch().GetEntity()
		for _, r := range m.GetBatch().GetRecords() {
			if last := candidate[e]; len(last) > 0 && last[len(last)-1].GetSourcedId() >= r.GetSourcedId() {
				return errs.New(codes.InvalidArgument, "INVALID_ARGUMENT", "records out of order")
			}
			body := decode(r.GetBody())
			if hash := record.HashOf(body); !bytes.Equal(hash[:], r.GetHash()) && (header.GetBaseRevision() == 0 || !gone(r)) {
				return errs.New(codes.InvalidArgument, "INVALID_ARGUMENT", "wrong hash")
			}
			candidate[e] = append(candidate[e], r)
		}
	}
	plan, err := s.stage(header, candidate)
	if err != nil {
		return err
	}
	if err := s.fail("Import done"); err != nil {
		return err
	}
	return stream.SendAndClose(plan)
}

func (s *Store) stage(header *rosterv1.PlanHeader, candidate map[typev1.Entity][]*rosterv1.ImportRecord) (*rosterv1.Plan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.get(header.GetDistrict())
	if err != nil {
		return nil, err
	}
	if err := d.fenced(header.GetFence()); err != nil {
		return nil, err
	}
	if base := header.GetBaseRevision(); base > 0 && (s.Complete || base != d.revision || !header.GetBaseCommitTime().AsTime().Equal(commitTime(base))) {
		return nil, errs.New(codes.FailedPrecondition, "BASE_MOVED", "the base is not the head")
	}
	p := &staged{plan: &rosterv1.Plan{
		Plan: header.GetPlan(), Sync: header.GetSync(), BaseRevision: d.revision, LastUndo: d.undo, Counts: map[string]*rosterv1.ChangeCounts{},
	}}
	for _, e := range record.Entities() {
		unsent := header.GetUnsent()[record.EntityName(e)]
		counts := &rosterv1.ChangeCounts{Received: unsent, Unchanged: unsent}
		p.plan.Counts[record.EntityName(e)] = counts
		seen := map[string]bool{}
		for _, r := range candidate[e] {
			seen[r.GetSourcedId()] = true
			live := d.live[e][r.GetSourcedId()]
			if gone(r) {
				continue
			}
			counts.Received++
			c := change{entity: e, id: r.GetSourcedId(), body: r.GetBody(), hash: r.GetHash(), was: live}
			_, base := record.Of(decode(r.GetBody()))
			gone := base.GetStatus() == record.StatusToBeDeleted
			switch {
			case live != nil && bytes.Equal(live.hash, r.GetHash()):
				counts.Unchanged++
				continue
			case live == nil:
				c.kind = "created"
				counts.Created++
			case gone:
				c.kind, c.before = "removed", live.rev
				counts.Removed++
			default:
				c.kind, c.before = "updated", live.rev
				counts.Updated++
			}
			p.changes = append(p.changes, c)
		}
		absent := slices.DeleteFunc(slices.Sorted(maps.Keys(d.live[e])), func(id string) bool { return seen[id] })
		if !slices.Contains(header.GetComplete(), e) {
			absent = nil
			for _, r := range candidate[e] {
				if gone(r) && d.live[e][r.GetSourcedId()] != nil {
					absent = append(absent, r.GetSourcedId())
				}
			}
		}
		for _, id := range absent {
			live := d.live[e][id]
			r := decode(live.body)
			if _, base := record.Of(r); base.GetStatus() == record.StatusToBeDeleted {
				continue
			}
			record.SetStatus(r, record.StatusToBeDeleted)
			hash := record.HashOf(r)
			p.changes = append(p.changes, change{entity: e, id: id, kind: "removed", body: encode(r), hash: hash[:], was: live, before: live.rev})
			counts.Removed++
		}
	}
	s.describe(d, p)
	d.plans[header.GetPlan()] = p
	if header.GetBaseRevision() > 0 {
		s.Differences++
	}
	return proto.CloneOf(p.plan), nil
}

// gone tells whether a record stands for one that is no longer there.
func gone(r *rosterv1.ImportRecord) bool { return len(r.GetBody()) == 0 && len(r.GetHash()) == 0 }

// commitTime is made up: revision n was committed n seconds into the epoch.
func commitTime(revision int32) time.Time { return time.Unix(int64(revision), 0) }

// ListRevisions lists the head alone.
func (s *Store) ListRevisions(_ context.Context, req *rosterv1.ListRevisionsRequest) (*rosterv1.ListRevisionsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.get(req.GetDistrict())
	if err != nil {
		return nil, err
	}
	head := &rosterv1.Revision{Revision: d.revision, CommitTime: timestamppb.New(commitTime(d.revision)), Sync: d.by[d.revision]}
	if d.revision == d.undo && d.undo > 0 {
		head.Undo = &rosterv1.Undo{To: d.undoTo}
	}
	return &rosterv1.ListRevisionsResponse{Revisions: []*rosterv1.Revision{head}}, nil
}

func (d *district) fenced(fence int64) error {
	if fence < d.fence {
		return errs.New(codes.Aborted, "LEASE_LOST", "lease was taken over")
	}
	d.fence = fence
	return nil
}

// CommitPlan makes a plan visible, once.
func (s *Store) CommitPlan(_ context.Context, req *rosterv1.CommitPlanRequest) (*rosterv1.CommitPlanResponse, error) {
	if err := s.fail("CommitPlan"); err != nil {
		return nil, err
	}
	answer, err := s.commit(req)
	if err != nil {
		return nil, err
	}
	return answer, s.fail("CommitPlan done")
}

func (s *Store) commit(req *rosterv1.CommitPlanRequest) (*rosterv1.CommitPlanResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, p, err := s.planned(req.GetDistrict(), req.GetPlan())
	if err != nil {
		return nil, err
	}
	if err := d.fenced(req.GetFence()); err != nil {
		return nil, err
	}
	if p.plan.GetRevision() > 0 {
		return &rosterv1.CommitPlanResponse{Revision: p.plan.GetRevision(), Committed: true}, nil
	}
	if len(p.changes) == 0 {
		return &rosterv1.CommitPlanResponse{Revision: d.revision}, nil
	}
	for _, c := range p.changes {
		if err := d.fresh(c); err != nil {
			return nil, err
		}
	}
	d.revision++
	for _, c := range p.changes {
		if d.live[c.entity] == nil {
			d.live[c.entity] = map[string]*version{}
		}
		d.live[c.entity][c.id] = &version{hash: c.hash, body: c.body, rev: d.revision}
	}
	p.plan.Revision = d.revision
	d.remember(p)
	return &rosterv1.CommitPlanResponse{Revision: d.revision, Committed: true}, nil
}

// GetPlan returns a plan.
func (s *Store) GetPlan(_ context.Context, req *rosterv1.GetPlanRequest) (*rosterv1.Plan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, p, err := s.planned(req.GetDistrict(), req.GetPlan())
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(p.plan), nil
}

// DiscardPlan drops a plan.
func (s *Store) DiscardPlan(_ context.Context, req *rosterv1.DiscardPlanRequest) (*rosterv1.DiscardPlanResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.get(req.GetDistrict())
	if err != nil {
		return nil, err
	}
	if p := d.plans[req.GetPlan()]; p != nil && p.plan.GetRevision() > 0 {
		return nil, errs.New(codes.FailedPrecondition, "PLAN_COMMITTED", "plan is committed")
	}
	delete(d.plans, req.GetPlan())
	return &rosterv1.DiscardPlanResponse{}, nil
}

// Plans counts the plans of a district that were not committed.
func (s *Store) Plans(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, p := range s.districts[name].plans {
		if p.plan.GetRevision() == 0 {
			n++
		}
	}
	return n
}

// ListPlanChanges lists the changes of a plan on one page, without fields.
func (s *Store) ListPlanChanges(_ context.Context, req *rosterv1.ListPlanChangesRequest) (*rosterv1.ListPlanChangesResponse, error) {
	if err := s.fail("ListPlanChanges"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, p, err := s.planned(req.GetDistrict(), req.GetPlan())
	if err != nil {
		return nil, err
	}
	out := &rosterv1.ListPlanChangesResponse{}
	for _, c := range p.changes {
		if name := record.EntityName(c.entity); (req.GetEntity() == "" || req.GetEntity() == name) && (req.GetKind() == "" || req.GetKind() == c.kind) {
			out.Changes = append(out.Changes, &rosterv1.Change{Entity: name, SourcedId: c.id, Kind: c.kind})
		}
	}
	out.TotalSize = int32(len(out.Changes))
	return out, nil
}

// GetRecord reads the live version of a record.
func (s *Store) GetRecord(_ context.Context, req *rosterv1.GetRecordRequest) (*rosterv1.GetRecordResponse, error) {
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
	v := d.live[e][req.GetSourcedId()]
	if v == nil {
		return nil, errs.New(codes.NotFound, "RECORD_NOT_FOUND", "unknown record")
	}
	return &rosterv1.GetRecordResponse{Record: decode(v.body), Revision: d.revision, FromRevision: v.rev}, nil
}
