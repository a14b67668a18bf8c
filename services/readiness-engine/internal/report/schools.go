package report

import (
	"context"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/readiness-engine/internal/check"
)

// Newest returns the completed report of the highest revision, the newest one if
// there are several; nil if there is none. Somebody may have asked for an older
// revision since, but those that are made by themselves come in order.
func (r *Reports) Newest(ctx context.Context, district string) (*readinessv1.StoredReport, error) {
	var best *readinessv1.StoredReport
	for s, err := range r.newest(ctx, district) {
		if err != nil {
			return nil, err
		}
		if s.GetReport().GetState() != readinessv1.ReportState_COMPLETED {
			continue
		}
		best = later(best, s)
		if s.GetReport().GetAutomatic() {
			break
		}
	}
	return best, nil
}

// Schools returns the active schools of a report, with what there is to act upon
// at each as the settings have it.
func (r *Reports) Schools(ctx context.Context, stored *readinessv1.StoredReport, lens Lens) ([]*readinessv1.SchoolStatus, error) {
	schools, err := r.schoolsOf(ctx, stored)
	if err != nil {
		return nil, err
	}
	out := make([]*readinessv1.SchoolStatus, len(schools.GetSchools()))
	at := make(map[string]*readinessv1.SchoolStatus, len(out))
	for i, s := range schools.GetSchools() {
		out[i] = &readinessv1.SchoolStatus{SchoolId: s.GetSchoolId(), Name: s.GetName(), Teachers: s.GetTeachers(), Students: s.GetStudents()}
		at[s.GetSchoolId()] = out[i]
	}
	for _, found := range schools.GetChecks() {
		c := check.Find(found.GetCheckId())
		if c == nil { // This version does not have it any more.
			continue
		}
		v := lens.verdict(c.ID, stored)
		for _, n := range found.GetSchools() {
			s := at[n.GetSchoolId()]
			if mode, _ := v.at(n.GetSchoolId()); s == nil || mode != readinessv1.CheckMode_COUNTED {
				continue
			}
			if c.Severity == readinessv1.Severity_ERROR {
				s.Errors += n.GetActionable()
			} else {
				s.Alerts += n.GetActionable()
			}
		}
	}
	return out, nil
}
