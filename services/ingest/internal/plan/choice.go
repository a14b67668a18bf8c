package plan

import (
	"slices"
	"time"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
)

// Changes is how many records a plan changes.
func Changes(p *rosterv1.Plan) int32 {
	n := int32(0)
	for _, c := range p.GetCounts() {
		n += c.GetCreated() + c.GetUpdated() + c.GetRemoved()
	}
	return n
}

// Choose returns what of a plan that has reasons to wait a mode applies at once;
// nil for nothing. Whether that may be applied is to be asked of the plan that is
// made of it.
func Choose(mode ingestv1.HoldMode, p *rosterv1.Plan, reasons []*ingestv1.HoldReason) *ingestv1.Selection {
	if len(reasons) == 0 || slices.ContainsFunc(reasons, (*ingestv1.HoldReason).GetDistrictWide) {
		return nil
	}
	switch mode {
	case ingestv1.HoldMode_HOLD_SCHOOLS:
		out := &ingestv1.Selection{Mode: mode}
		for _, s := range p.GetSchools() {
			if !slices.ContainsFunc(reasons, func(r *ingestv1.HoldReason) bool { return r.GetSchoolId() == s.GetSchoolId() }) {
				out.Schools = append(out.Schools, s.GetSchoolId())
			}
		}
		if len(out.GetSchools()) > 0 && len(out.GetSchools()) < len(p.GetSchools()) {
			return out
		}
	case ingestv1.HoldMode_APPLY_SAFE:
		if !slices.ContainsFunc(reasons, func(r *ingestv1.HoldReason) bool { return !ofRemovals(r) }) {
			return &ingestv1.Selection{Mode: mode, WithoutRemovals: true}
		}
	}
	return nil
}

// ofRemovals tells whether a reason goes away if removals wait.
func ofRemovals(r *ingestv1.HoldReason) bool {
	return slices.ContainsFunc(slices.Concat([]kind{emptied, removals}, signals), func(k kind) bool { return k.name == r.GetType() && k.removals })
}

// InRollover tells whether a time, in the zone of a district, is in one of its
// windows.
func InRollover(windows []*readinessv1.RolloverWindow, now time.Time) bool {
	day := now.Format(time.DateOnly)
	return slices.ContainsFunc(windows, func(w *readinessv1.RolloverWindow) bool { return w.GetStartDate() <= day && day <= w.GetEndDate() })
}
