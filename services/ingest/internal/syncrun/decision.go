package syncrun

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/plan"
)

// judge returns why a plan has to wait, and what of it is applied nevertheless:
// what the policy of the source lets pass, or what a person has approved of a plan
// that was made anew and is the same. No reasons and no choice: all of it.
func (r *Runner) judge(ctx context.Context, s *ingestv1.SyncDocument, p *rosterv1.Plan, fence int64) ([]*ingestv1.HoldReason, *ingestv1.Selection, error) {
	if p.GetBaseRevision() == 0 {
		return nil, nil, nil // an empty district has nothing to lose
	}
	chosen := proto.CloneOf(s.GetSelection())
	approved := len(s.GetApprovedDigest()) > 0
	if approved && bytes.Equal(s.GetApprovedDigest(), p.GetDigest()) && (chosen == nil || len(s.GetRebuild()) == 0) {
		if chosen != nil {
			chosen.Plan = partOf(s)
		}
		return nil, chosen, nil
	}
	schools, err := r.removedSchools(ctx, s, p)
	if err != nil {
		return nil, nil, err
	}
	undo, err := r.acknowledged(ctx, s, p.GetLastUndo())
	if err != nil {
		return nil, nil, err
	}
	policy, thresholds, err := r.policy(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	facts := plan.Facts{
		RemovedSchools: schools, KnownUndo: undo, SourceRemoved: s.GetSync().GetRemovesSource(),
		Approved: approved || chosen != nil && !applies(s),
	}
	reasons, err := r.withGuardians(ctx, s, p, plan.Holds(p, facts, thresholds))
	if err != nil {
		return nil, nil, err
	}
	if s.GetSync().GetAppliedPart() != nil {
		if len(reasons) == 0 && plan.Changes(p) > 0 {
			reasons = s.GetSync().GetHoldReasons() // the rest waits, however little it is
		}
		return reasons, nil, nil
	}
	choice := plan.Choose(policy.GetMode(), p, reasons)
	if choice == nil || s.GetSync().GetDryRun() || len(s.GetRebuild()) > 0 { // what is left out could not stay as it was
		return reasons, nil, nil
	}
	choice.Plan = partOf(s)
	part, err := r.selectPlan(ctx, s, choice, fence)
	if err != nil {
		return nil, nil, err
	}
	still, err := r.withGuardians(ctx, s, part, plan.Holds(part, facts, thresholds))
	if err != nil {
		return nil, nil, err
	}
	if plan.Changes(part) == 0 || len(still) > 0 {
		return reasons, nil, r.discardPlans(ctx, s.GetDistrict(), choice.GetPlan())
	}
	return reasons, choice, nil
}

// partOf is the plan that holds what is chosen of a sync's plan, if anything is.
func partOf(s *ingestv1.SyncDocument) string {
	if s.GetPlan() == "" {
		return ""
	}
	return s.GetPlan() + "-part"
}

// policy returns what holds the plans of a source today.
func (r *Runner) policy(ctx context.Context, s *ingestv1.SyncDocument) (*ingestv1.HoldPolicy, plan.Thresholds, error) {
	source, err := r.deps.Store.Source(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil {
		return nil, plan.Thresholds{}, err
	}
	policy := source.Value.GetSource().GetHoldPolicy()
	rollover, err := r.inRollover(ctx, s.GetDistrict())
	return policy, plan.ThresholdsOf(policy, rollover), err
}

// inRollover tells whether today, by the district's clocks, is in one of the
// windows that the settings of its readiness declare. If they cannot be read it is
// a day like any other, which at worst has a person look at a plan.
func (r *Runner) inRollover(ctx context.Context, district string) (bool, error) {
	doc, err := r.deps.Store.District(ctx, district)
	if err != nil {
		return false, err
	}
	zone, err := time.LoadLocation(doc.Value.GetDistrict().GetTimeZone())
	if err != nil {
		return false, fmt.Errorf("time zone of %s: %w", district, err)
	}
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	settings, err := r.deps.Readiness.GetReadinessSettings(asking, &readinessv1.GetReadinessSettingsRequest{District: district})
	if err != nil {
		r.deps.Log.WarnContext(ctx, "rollover windows are not known, plans are held as usual", "district", district, "error", err)
		return false, nil
	}
	return plan.InRollover(settings.GetRolloverWindows(), r.deps.Now().In(zone)), nil
}

func (r *Runner) selectPlan(ctx context.Context, s *ingestv1.SyncDocument, choice *ingestv1.Selection, fence int64) (*rosterv1.Plan, error) {
	part, err := r.deps.Roster.SelectPlan(ctx, &rosterv1.SelectPlanRequest{
		District: s.GetDistrict(), Plan: s.GetPlan(), Selection: choice.GetPlan(), Fence: fence,
		WithoutRemovals: choice.GetWithoutRemovals(), Schools: choice.GetSchools(),
	})
	if err != nil {
		return nil, fmt.Errorf("choose changes: %w", err)
	}
	return part, nil
}

// decided returns the plan that is to be committed: all of it, or the part that
// a person has chosen, which is a plan of its own.
func (r *Runner) decided(ctx context.Context, s *ingestv1.SyncDocument, fence int64) (plan string, part *rosterv1.Plan, err error) {
	choice := s.GetSelection()
	if choice == nil {
		return s.GetPlan(), nil, nil
	}
	part, err = r.selectPlan(ctx, s, choice, fence)
	return choice.GetPlan(), part, err
}

// shownReasons is how many reasons a sync tells.
const shownReasons = 100

func setReasons(s *ingestv1.Sync, reasons []*ingestv1.HoldReason) {
	s.HoldReasons, s.HoldReasonsCount = reasons[:min(len(reasons), shownReasons)], int32(len(reasons))
}

// PlanOf is the plan whose changes are those of the sync: what was applied, or
// would be.
func PlanOf(d *ingestv1.SyncDocument) string {
	if d.GetSync().GetState() == ingestv1.SyncState_COMPLETED && d.GetSelection() != nil {
		return d.GetSelection().GetPlan()
	}
	return d.GetPlan()
}

// withhold counts what of a plan was applied and what was left out.
func withhold(s *ingestv1.Sync, part *rosterv1.Plan) {
	for name, c := range s.GetCounts() {
		all, applied := c.GetCreated()+c.GetUpdated()+c.GetRemoved(), part.GetCounts()[name]
		c.Created, c.Updated, c.Removed = applied.GetCreated(), applied.GetUpdated(), applied.GetRemoved()
		c.Withheld = all - c.GetCreated() - c.GetUpdated() - c.GetRemoved()
	}
	s.Schools = schoolChanges(part)
}

func schoolChanges(p *rosterv1.Plan) []*ingestv1.SchoolChanges {
	var out []*ingestv1.SchoolChanges
	for _, school := range p.GetSchools() {
		sum := &ingestv1.SchoolChanges{SchoolId: school.GetSchoolId(), Name: school.GetName()}
		for _, c := range school.GetCounts() {
			sum.Created += c.GetCreated()
			sum.Updated += c.GetUpdated()
			sum.Removed += c.GetRemoved()
		}
		out = append(out, sum)
	}
	return out
}

// acknowledged is the newest revision that took the roster back and that the
// source has committed after. A source that has never committed counts with the
// others, since its plan would bring back what they hold.
func (r *Runner) acknowledged(ctx context.Context, s *ingestv1.SyncDocument, last int32) (int32, error) {
	layers, err := r.layers(ctx, s.GetDistrict())
	if err != nil {
		return 0, err
	}
	for _, l := range layers {
		switch {
		case l.GetSync() == "":
		case l.GetSource() == s.GetSync().GetSource():
			return l.GetUndo(), nil
		default:
			last = min(last, l.GetUndo())
		}
	}
	return last, nil
}
