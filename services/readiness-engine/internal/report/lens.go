package report

import (
	"context"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/readiness-engine/internal/check"
)

// Lens is how the report of a district is read: the settings apply to the
// reading, so that a change of them is seen at once and no report changes.
type Lens struct {
	Filter
	settings *readinessv1.ReadinessSettings
}

// Lens returns the way to read the reports of a district.
func (r *Reports) Lens(ctx context.Context, district string, filter Filter) (Lens, error) {
	if err := filter.Validate(); err != nil {
		return Lens{}, err
	}
	settings, err := r.Settings(ctx, district)
	return Lens{filter, settings}, err
}

// The reasons for findings that count elsewhere, or at another time.
const (
	reasonSetting  = "The district's settings have this check as informational."
	reasonRollover = "Expected while the school year changes over: informational during the declared rollover window."
)

// verdict is what becomes of the findings of one check.
type verdict struct {
	mode     readinessv1.CheckMode
	reason   string
	bySchool map[string]verdict // where it is another one
}

func (v *verdict) at(school string) (readinessv1.CheckMode, string) {
	if special, ok := v.bySchool[school]; ok {
		return special.mode, special.reason
	}
	return v.mode, v.reason
}

// verdict says how a check is to be read in a report.
func (l Lens) verdict(checkID string, stored *readinessv1.StoredReport) verdict {
	v := verdict{mode: readinessv1.CheckMode_COUNTED}
	if c := check.Find(checkID); c != nil && c.Rollover && l.inRollover(stored.GetDay()) {
		v.mode, v.reason = readinessv1.CheckMode_INFORMATIONAL, reasonRollover
	}
	// One for the product goes before one for all, so it comes last.
	for _, product := range []string{"", l.Product} {
		for _, rule := range l.settings.GetRules() {
			if rule.GetCheckId() != checkID || rule.GetProduct() != product {
				continue
			}
			set := verdict{mode: rule.GetMode()}
			if set.mode == readinessv1.CheckMode_INFORMATIONAL {
				set.reason = reasonSetting
			}
			if school := rule.GetSchoolId(); school == "" {
				set.bySchool = v.bySchool
				v = set
			} else {
				if v.bySchool == nil {
					v.bySchool = map[string]verdict{}
				}
				v.bySchool[school] = set
			}
		}
		if l.Product == "" {
			break
		}
	}
	return v
}

func (l Lens) inRollover(day string) bool {
	for _, w := range l.settings.GetRolloverWindows() {
		if w.GetStartDate() <= day && day <= w.GetEndDate() {
			return true
		}
	}
	return false
}

// Results returns the checks of a report as they are to be read.
func (r *Reports) Results(ctx context.Context, stored *readinessv1.StoredReport, lens Lens) ([]*readinessv1.CheckResult, error) {
	counts, err := r.counter(ctx, stored, lens)
	if err != nil {
		return nil, err
	}
	var out []*readinessv1.CheckResult
	for _, c := range stored.GetReport().GetChecks() {
		if !lens.Selects(c.GetCheckId()) {
			continue
		}
		v := lens.verdict(c.GetCheckId(), stored)
		c.Mode, c.ModeReason = v.mode, v.reason
		c.Count, c.InformationalCount = counts.of(c, v, "", false)
		if c.Mode == readinessv1.CheckMode_OFF && c.Count+c.InformationalCount == 0 {
			c.Diagnosis = ""
		}
		out = append(out, c)
	}
	return out, nil
}

// counter counts findings without reading them.
type counter map[string]*readinessv1.CheckSchools

// counter reads where the findings of a report are if that matters.
func (r *Reports) counter(ctx context.Context, stored *readinessv1.StoredReport, lens Lens) (counter, error) {
	needed := lens.School != ""
	for _, rule := range lens.settings.GetRules() {
		needed = needed || rule.GetSchoolId() != ""
	}
	if !needed || stored.GetReport().GetState() != readinessv1.ReportState_COMPLETED {
		return nil, nil
	}
	schools, err := r.schoolsOf(ctx, stored)
	if err != nil {
		return nil, err
	}
	c := counter{}
	for _, s := range schools.GetChecks() {
		c[s.GetCheckId()] = s
	}
	return c, nil
}

// of counts the findings of a check, at one school only if so wanted.
func (c counter) of(res *readinessv1.CheckResult, v verdict, school string, oneSchool bool) (actionable, informational int32) {
	add := func(mode readinessv1.CheckMode, a, i int32) {
		switch mode {
		case readinessv1.CheckMode_OFF:
		case readinessv1.CheckMode_INFORMATIONAL:
			informational += a + i
		default:
			actionable, informational = actionable+a, informational+i
		}
	}
	if !oneSchool && len(v.bySchool) == 0 {
		add(v.mode, res.GetCount(), res.GetInformationalCount())
		return actionable, informational
	}
	for _, s := range c[res.GetCheckId()].GetSchools() {
		if !oneSchool || s.GetSchoolId() == school {
			mode, _ := v.at(s.GetSchoolId())
			add(mode, s.GetActionable(), s.GetInformational())
		}
	}
	return actionable, informational
}
