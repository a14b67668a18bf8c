package syncrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
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

// A batch is sent when it has so many bytes or records.
const (
	batchBytes   = 1 << 20
	batchRecords = 10_000
)

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
		if err := r.discardPlans(ctx, s.GetDistrict(), s.GetPlan(), partOf(s)); err != nil {
			return err
		}
		err := r.enter(ctx, s, ingestv1.SyncState_PLANNING, func(d *ingestv1.SyncDocument) {
			d.Plans++
			d.Plan = fmt.Sprintf("%s-%d", d.GetSync().GetSyncId(), d.GetPlans())
		}, ingestv1.SyncState_PLANNING)
		if err != nil {
			return err
		}
		work, stop := r.follow(ctx, s, nil)
		defer stop()
		p, candidate, err := r.stage(work, s, fence)
		if err != nil {
			if work.Err() != nil && ctx.Err() == nil {
				return errMoved
			}
			return err
		}
		stop()
		reasons, choice, err := r.judge(ctx, s, p, fence)
		if err != nil {
			return err
		}
		to := ingestv1.SyncState_COMMITTING
		switch {
		case s.GetSync().GetDryRun():
			to = ingestv1.SyncState_COMPLETED
		case len(reasons) > 0 && choice == nil:
			to = ingestv1.SyncState_ON_HOLD
		}
		if !s.GetSync().GetDryRun() {
			if err := r.supersede(ctx, s); err != nil {
				return err
			}
		}
		err = r.enter(ctx, s, to, func(d *ingestv1.SyncDocument) {
			d.Candidate, d.Undo, d.Selection, d.Digest = candidate, p.GetLastUndo(), choice, p.GetDigest()
			if to == ingestv1.SyncState_ON_HOLD {
				d.ApprovedDigest = nil
			}
			setReasons(d.GetSync(), reasons)
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
	s.Schools = schoolChanges(p)
}

// layers returns the current layers of the district's sources in the order in
// which the sources were created.
func (r *Runner) layers(ctx context.Context, district string) ([]*ingestv1.LayerDocument, error) {
	var sources []*ingestv1.Source
	for doc, err := range r.deps.Store.Sources.All(ctx, state.Within(district)) {
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
		l, err := r.deps.Store.Layer(ctx, district, source.GetSourceId())
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
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

// overtaken tells whether another source has committed a layer since the plan
// was made: also one that brought no revision, since what it has may be hidden
// by what the plan removes. A plan that is visible already stands.
func (r *Runner) overtaken(ctx context.Context, s *ingestv1.SyncDocument) (bool, error) {
	current, err := r.layers(ctx, s.GetDistrict())
	if err != nil {
		return false, err
	}
	m := &merging{r: r, sync: s, current: current}
	// Files may be the same after another sync, and others after an erasure.
	if m.fingerprint(true) == s.GetCandidate().GetLayers() || maps.Equal(m.others(), s.GetCandidate().GetSyncs()) {
		return false, nil
	}
	for _, l := range current {
		if l.GetSync() == s.GetSync().GetSyncId() && !l.GetInPart() {
			return false, nil // its commit was broken off right behind
		}
	}
	p, err := r.deps.Roster.GetPlan(ctx, &rosterv1.GetPlanRequest{District: s.GetDistrict(), Plan: cmp.Or(s.GetSelection().GetPlan(), s.GetPlan())})
	if errors.Is(err, errPlanUnknown) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the plan: %w", err)
	}
	return p.GetRevision() == 0, nil
}

func (r *Runner) commitPlan(ctx context.Context, s *ingestv1.SyncDocument, fence int64) error {
	if follows, err := r.follows(ctx, s); err != nil || !follows {
		return err
	}
	if overtaken, err := r.overtaken(ctx, s); err != nil {
		return err
	} else if overtaken {
		return r.enter(ctx, s, ingestv1.SyncState_PLANNING, nil, ingestv1.SyncState_COMMITTING)
	}
	plan, part, err := r.decided(ctx, s, fence)
	next := &ingestv1.LayerDocument{
		District: s.GetDistrict(), Source: s.GetSync().GetSource(), Files: s.GetLayer(), Sync: s.GetSync().GetSyncId(), UpdateTime: timestamppb.New(r.deps.Now()),
		Undo: s.GetUndo(), Over: s.GetOver(), Fill: s.GetFill(), Shared: s.GetShared(), Guardians: s.GetSync().GetGuardians(), GuardiansBase: s.GetGuardiansBase(),
	}
	if err == nil && part != nil {
		err = r.holdBack(ctx, s, part, next) // while nothing is visible yet: what it reads may be damaged
	}
	var answer *rosterv1.CommitPlanResponse
	if err == nil {
		answer, err = r.deps.Roster.CommitPlan(ctx, &rosterv1.CommitPlanRequest{District: s.GetDistrict(), Plan: plan, Fence: fence})
	}
	if errors.Is(err, errPlanStale) || errors.Is(err, errPlanUnknown) {
		// Something in the plan has changed since: it is made anew, and held
		// again if it has to be.
		return r.enter(ctx, s, ingestv1.SyncState_PLANNING, nil, ingestv1.SyncState_COMMITTING)
	}
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	next.Candidate = r.committed(ctx, s, answer)
	if err := r.deps.Store.SetLayer(ctx, next); err != nil {
		return fmt.Errorf("make the layer current: %w", err)
	}
	if applies(s) {
		return r.takeRest(ctx, s, part, answer)
	}
	return r.enter(ctx, s, ingestv1.SyncState_COMPLETED, func(d *ingestv1.SyncDocument) {
		if answer.GetCommitted() {
			d.Sync.Revision = answer.GetRevision()
		}
		if part != nil {
			withhold(d.GetSync(), part)
		}
	}, ingestv1.SyncState_COMMITTING)
}
