package syncrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/merge"
	"github.com/securly/sync/services/ingest/internal/plan"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

// Errors of the roster store that mean something here.
var (
	errPlanStale   = errs.New(codes.Aborted, "PLAN_STALE", "")
	errPlanUnknown = errs.New(codes.NotFound, "PLAN_NOT_FOUND", "")
)

// batchBytes is the size from which a batch is sent.
const batchBytes = 1 << 20

// committing holds the lease of a district's commits while do runs. While a
// commit of another sync is unfinished its layer is not current yet, so that a
// plan made now would undo it: such a commit goes first.
func (r *Runner) committing(ctx context.Context, s *ingestv1.SyncDocument, do func(ctx context.Context, fence int64) error) error {
	lease, err := r.deps.Leases.Acquire(ctx, state.CommitLease(s.GetDistrict()))
	if errors.Is(err, state.ErrBusy) {
		return errLater
	}
	if err != nil {
		return err
	}
	ctx, stop := lease.Keep(ctx)
	defer func() {
		stop()
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			r.deps.Log.WarnContext(ctx, "release commit lease", "district", s.GetDistrict(), "error", err)
		}
	}()
	if _, err := r.deps.Store.District(ctx, s.GetDistrict()); errors.Is(err, authn.ErrDistrictNotFound) {
		return errLater // it is being deleted, which needs the lease
	} else if err != nil {
		return err
	}
	open, err := r.open(ctx, s.GetDistrict(), "")
	if err != nil {
		return err
	}
	for _, o := range open {
		if o.GetSync() == s.GetSync().GetSyncId() {
			continue
		}
		other, err := r.deps.Store.Sync(ctx, s.GetDistrict(), o.GetSync())
		if err == nil && other.Value.GetSync().GetState() == ingestv1.SyncState_COMMITTING && s.GetSync().GetState() != ingestv1.SyncState_COMMITTING {
			return errLater
		}
	}
	return do(ctx, lease.Fence)
}

// plan stages what the sync would change and decides what becomes of it.
func (r *Runner) plan(ctx context.Context, s *ingestv1.SyncDocument) error {
	return r.committing(ctx, s, func(ctx context.Context, fence int64) error {
		if follows, err := r.follows(ctx, s); err != nil || !follows {
			return err
		}
		old := s.GetPlan()
		err := r.enter(ctx, s, ingestv1.SyncState_PLANNING, func(d *ingestv1.SyncDocument) {
			d.Plans++
			d.Plan = fmt.Sprintf("%s-%d", d.GetSync().GetSyncId(), d.GetPlans())
		}, ingestv1.SyncState_PLANNING)
		if err != nil {
			return err
		}
		if old != "" {
			if _, err := r.deps.Roster.DiscardPlan(ctx, &rosterv1.DiscardPlanRequest{District: s.GetDistrict(), Plan: old}); err != nil && !errors.Is(err, errPlanUnknown) {
				return fmt.Errorf("discard the plan before: %w", err)
			}
		}
		work, stop := r.follow(ctx, s, nil)
		defer stop()
		p, err := r.stage(work, s, fence)
		if err != nil {
			if work.Err() != nil && ctx.Err() == nil {
				return errMoved
			}
			return err
		}
		stop()
		var reasons []*ingestv1.HoldReason
		if p.GetBaseRevision() != 0 { // an empty district has nothing to lose
			schools, err := r.removedSchools(ctx, s, p)
			if err != nil {
				return err
			}
			reasons = plan.Holds(p, schools, r.cfg.Thresholds)
		}
		to := ingestv1.SyncState_COMMITTING
		switch {
		case s.GetSync().GetDryRun():
			to = ingestv1.SyncState_COMPLETED
		case len(reasons) > 0:
			to = ingestv1.SyncState_ON_HOLD
		}
		if !s.GetSync().GetDryRun() {
			if err := r.supersede(ctx, s); err != nil {
				return err
			}
		}
		err = r.enter(ctx, s, to, func(d *ingestv1.SyncDocument) {
			d.Sync.HoldReasons = reasons
			count(d.GetSync(), p)
		}, ingestv1.SyncState_PLANNING)
		if err != nil || to != ingestv1.SyncState_COMMITTING {
			return err
		}
		return r.commitPlan(ctx, s, fence)
	})
}

// count takes the numbers of a plan over into a sync.
func count(s *ingestv1.Sync, p *rosterv1.Plan) {
	if s.Counts == nil {
		s.Counts = map[string]*ingestv1.EntityCounts{}
	}
	for name, c := range p.GetCounts() {
		into := s.Counts[name]
		if into == nil {
			into = &ingestv1.EntityCounts{}
			s.Counts[name] = into
		}
		into.Created, into.Updated, into.Removed, into.Unchanged = c.GetCreated(), c.GetUpdated(), c.GetRemoved(), c.GetUnchanged()
	}
	s.Schools = nil
	for _, school := range p.GetSchools() {
		sum := &ingestv1.SchoolChanges{SchoolId: school.GetSchoolId(), Name: school.GetName()}
		for _, c := range school.GetCounts() {
			sum.Created += c.GetCreated()
			sum.Updated += c.GetUpdated()
			sum.Removed += c.GetRemoved()
		}
		s.Schools = append(s.Schools, sum)
	}
}

// stage streams the district's candidate to the roster store.
func (r *Runner) stage(ctx context.Context, s *ingestv1.SyncDocument, fence int64) (*rosterv1.Plan, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends a stream that is given up half way
	layers, err := r.layers(ctx, s)
	if err != nil {
		return nil, err
	}
	stream, err := r.deps.Roster.Import(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	send := func(m *rosterv1.ImportRequest) error {
		err := stream.Send(m)
		if errors.Is(err, io.EOF) { // the store has given up; its reason comes with the response
			_, err = stream.CloseAndRecv()
		}
		if err != nil {
			return fmt.Errorf("plan: %w", err)
		}
		return nil
	}
	err = send(&rosterv1.ImportRequest{Message: &rosterv1.ImportRequest_Header{Header: &rosterv1.PlanHeader{
		District: s.GetDistrict(), Plan: s.GetPlan(), Sync: s.GetSync().GetSyncId(), Complete: record.Entities(), Fence: fence,
	}}})
	if err != nil {
		return nil, err
	}
	for _, e := range record.Entities() {
		if err := sendEntity(e, r.candidate(ctx, layers, e), send); err != nil {
			return nil, err
		}
	}
	p, err := stream.CloseAndRecv()
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return p, nil
}

func sendEntity(e typev1.Entity, entries iter.Seq2[layer.Entry, error], send func(*rosterv1.ImportRequest) error) error {
	var batch []*rosterv1.ImportRecord
	var arena []byte
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := send(&rosterv1.ImportRequest{Message: &rosterv1.ImportRequest_Batch{Batch: &rosterv1.ImportBatch{Entity: e, Records: batch}}})
		// gRPC may read a message after Send has returned: nothing is used twice.
		batch, arena = make([]*rosterv1.ImportRecord, 0, cap(batch)), nil
		return err
	}
	for entry, err := range entries {
		if err != nil {
			return err
		}
		if arena == nil {
			arena = make([]byte, 0, batchBytes+batchBytes/8)
		}
		start := len(arena)
		arena = append(append(arena, entry.Hash[:]...), entry.Body...)
		rec := arena[start:len(arena):len(arena)]
		batch = append(batch, &rosterv1.ImportRecord{SourcedId: string(entry.ID), Hash: rec[:record.HashSize:record.HashSize], Body: rec[record.HashSize:]})
		if len(arena) >= batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// layers returns the layers of the district's sources in the order in which
// the sources were created, that of s as the sync has made it.
func (r *Runner) layers(ctx context.Context, s *ingestv1.SyncDocument) ([]*ingestv1.LayerDocument, error) {
	var sources []*ingestv1.Source
	for doc, err := range r.deps.Store.Sources.All(ctx, state.Within(s.GetDistrict())) {
		if err != nil {
			return nil, err
		}
		sources = append(sources, doc.Value.GetSource())
	}
	slices.SortStableFunc(sources, func(a, b *ingestv1.Source) int {
		return a.GetCreateTime().AsTime().Compare(b.GetCreateTime().AsTime())
	})
	var out []*ingestv1.LayerDocument
	for _, source := range sources {
		if source.GetSourceId() == s.GetSync().GetSource() {
			out = append(out, &ingestv1.LayerDocument{Source: source.GetSourceId(), Files: s.GetLayer()})
			continue
		}
		l, err := r.deps.Store.Layer(ctx, s.GetDistrict(), source.GetSourceId())
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

func (r *Runner) candidate(ctx context.Context, layers []*ingestv1.LayerDocument, e typev1.Entity) iter.Seq2[layer.Entry, error] {
	var streams []iter.Seq2[layer.Entry, error]
	for _, l := range layers {
		if f := l.GetFiles()[record.EntityName(e)]; f != nil {
			streams = append(streams, named(l.GetSource(), e, layer.Read(ctx, r.deps.Blobs, f.GetKey(), f.GetRecords())))
		}
	}
	return merge.Layers(streams...)
}

// named has a stream say whose layer file is damaged, if it is.
func named(source string, e typev1.Entity, entries iter.Seq2[layer.Entry, error]) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		for entry, err := range entries {
			if errors.Is(err, layer.ErrDamaged) {
				err = &layer.Damage{Source: source, Entity: record.EntityName(e), Err: err}
			}
			if !yield(entry, err) {
				return
			}
		}
	}
}

// removedSchools counts the schools among the orgs that a plan removes.
func (r *Runner) removedSchools(ctx context.Context, s *ingestv1.SyncDocument, p *rosterv1.Plan) (int, error) {
	orgs := record.EntityName(typev1.Entity_ENTITY_ORGS)
	if p.GetCounts()[orgs].GetRemoved() == 0 {
		return 0, nil
	}
	schools := 0
	for token := ""; ; {
		page, err := r.deps.Roster.ListPlanChanges(ctx, &rosterv1.ListPlanChangesRequest{
			District: s.GetDistrict(), Plan: s.GetPlan(), Entity: orgs, Kind: "removed", PageSize: 1000, PageToken: token,
		})
		if err != nil {
			return 0, fmt.Errorf("look at removed orgs: %w", err)
		}
		for _, c := range page.GetChanges() {
			org, err := r.deps.Roster.GetRecord(ctx, &rosterv1.GetRecordRequest{District: s.GetDistrict(), Entity: orgs, SourcedId: c.GetSourcedId()})
			if err != nil {
				return 0, fmt.Errorf("look at a removed org: %w", err)
			}
			if org.GetRecord().GetOrg().GetType() == "school" {
				schools++
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			return schools, nil
		}
	}
}

// commit makes a plan visible that was left to be committed: by a runner that
// died, or by a person who approved it.
func (r *Runner) commit(ctx context.Context, s *ingestv1.SyncDocument) error {
	return r.committing(ctx, s, func(ctx context.Context, fence int64) error { return r.commitPlan(ctx, s, fence) })
}

func (r *Runner) commitPlan(ctx context.Context, s *ingestv1.SyncDocument, fence int64) error {
	if follows, err := r.follows(ctx, s); err != nil || !follows {
		return err
	}
	answer, err := r.deps.Roster.CommitPlan(ctx, &rosterv1.CommitPlanRequest{District: s.GetDistrict(), Plan: s.GetPlan(), Fence: fence})
	if errors.Is(err, errPlanStale) || errors.Is(err, errPlanUnknown) {
		// Something in the plan has changed since: it is made anew, and held
		// again if it has to be.
		return r.enter(ctx, s, ingestv1.SyncState_PLANNING, nil, ingestv1.SyncState_COMMITTING)
	}
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	err = r.deps.Store.SetLayer(ctx, &ingestv1.LayerDocument{
		District: s.GetDistrict(), Source: s.GetSync().GetSource(), Files: s.GetLayer(), Sync: s.GetSync().GetSyncId(), UpdateTime: timestamppb.New(r.deps.Now()),
	})
	if err != nil {
		return fmt.Errorf("make the layer current: %w", err)
	}
	return r.enter(ctx, s, ingestv1.SyncState_COMPLETED, func(d *ingestv1.SyncDocument) {
		if answer.GetCommitted() {
			d.Sync.Revision = answer.GetRevision()
		}
	}, ingestv1.SyncState_COMMITTING)
}
