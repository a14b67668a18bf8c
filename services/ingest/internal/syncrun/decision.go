package syncrun

import (
	"context"
	"fmt"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
)

// decided returns the plan that is to be committed: all of it, or the part that
// a person has chosen, which is a plan of its own.
func (r *Runner) decided(ctx context.Context, s *ingestv1.SyncDocument, fence int64) (plan string, part *rosterv1.Plan, err error) {
	choice := s.GetSelection()
	if choice == nil {
		return s.GetPlan(), nil, nil
	}
	part, err = r.deps.Roster.SelectPlan(ctx, &rosterv1.SelectPlanRequest{
		District: s.GetDistrict(), Plan: s.GetPlan(), Selection: choice.GetPlan(), Fence: fence,
		WithoutRemovals: choice.GetWithoutRemovals(), Schools: choice.GetSchools(),
	})
	if err != nil {
		return "", nil, fmt.Errorf("choose changes: %w", err)
	}
	return choice.GetPlan(), part, nil
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
