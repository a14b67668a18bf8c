package check

import (
	"time"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

var districtChecks = []*Check{
	{
		ID:          "school-empty",
		Title:       "School without anything",
		Description: "The school has neither users nor classes nor enrollments.",
		Severity:    readinessv1.Severity_ALERT, NeedsFix: false,
		HowToFix:    "Let the export include the school's data, or leave the school out.",
		KnownIssues: "A school that opens later, or is only used for bookkeeping, may be empty on purpose.",
		Counts:      "schools",
		Many:        "users and classes probably name schools by another id",
		Few:         "these schools are probably not included in the export",
		find:        rule{tables: schoolEmpty},
	},
	{
		ID:          "demographics-user-missing",
		Title:       "Demographics of an unknown user",
		Description: "The demographics belong to a user who is not in the data.",
		Severity:    readinessv1.Severity_ALERT, NeedsFix: false,
		HowToFix:    "Make sure that the export includes the user, or leave the demographics out.",
		KnownIssues: "Demographics of users who were removed are listed as informational.",
		Counts:      "demographics",
		Many:        "demographics probably name users by another id",
		Few:         "these are probably left over from users who have gone",
		find:        demographicsUserMissing(),
	},
	{
		ID:                "session-dates-invalid",
		Title:             "Academic session with impossible dates",
		Description:       "The session has no readable first or last day, or ends before it begins. Products cannot tell when its classes take place.",
		ReasonsAreColumns: true,
		Severity:          readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Correct the dates in the SIS and sync again.",
		KnownIssues: "A session of a single day is in order.",
		Counts:      "academic sessions",
		Many:        "the date columns are probably missing from the export or mapped to other fields",
		Few:         "these look like single data entry mistakes",
		find:        rule{tables: sessionDatesInvalid},
	},
	{
		ID:          "session-none-current",
		Title:       "No current academic session",
		Description: "The district has classes, but no academic session takes place today. Products may show no class at all.",
		Rollover:    true,
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Let the export include the sessions of the current school year and sync again.",
		KnownIssues: "During holidays between two school years this is as it should be.",
		Counts:      "districts",
		Many:        "the export probably holds no sessions, or those of another school year only",
		Few:         "the export probably holds no sessions, or those of another school year only",
		find:        rule{tables: sessionNoneCurrent},
	},
}

func schoolEmpty(v *View, report func(Finding)) (population int) {
	for i := range v.Orgs.Rows {
		if v.Orgs.Rows[i].State != replica.Active || !v.schools[i] {
			continue
		}
		population++
		if o := &v.orgs[i]; v.members[i] == 0 && o.classes == 0 && o.enrolled.all == 0 {
			report(v.orgFinding(uint32(i), "No active user, class or enrollment belongs to the school."))
		}
	}
	return population
}

func demographicsUserMissing() rule {
	return rule{
		counts: func(u *replica.User) bool { return u.Flags&replica.HasDemographics != 0 },
		user: func(v *View, s *subject, report func(Finding)) {
			f := Finding{Entity: typev1.Entity_ENTITY_DEMOGRAPHICS, Row: uint32(s.row), School: v.schoolOf(s.User)}
			switch s.State {
			case replica.Unknown:
				f.Reason = v.because("The user was never delivered.")
			case replica.Removed:
				f.Reason, f.Informational = v.because("The user was removed: the demographics are left over."), true
			default:
				return
			}
			report(f)
		},
	}
}

func isDate(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}

func sessionDatesInvalid(v *View, report func(Finding)) (population int) {
	for i := range v.Sessions.Rows {
		s := &v.Sessions.Rows[i]
		if s.State != replica.Active {
			continue
		}
		population++
		f := Finding{Entity: typev1.Entity_ENTITY_ACADEMIC_SESSIONS, Row: uint32(i)}
		switch start, end := v.Text(s.Start), v.Text(s.End); {
		case !isDate(start):
			f.Reason = v.because("The first day is missing or no date.")
		case !isDate(end):
			f.Reason = v.because("The last day is missing or no date.")
		case end < start:
			f.Reason = v.because("The session ends before it begins.")
		default:
			continue
		}
		report(f)
	}
	return population
}

// sessionNoneCurrent looks at districts that have classes; others need no
// session. The finding names the district, where the data has it.
func sessionNoneCurrent(v *View, report func(Finding)) int {
	classes := 0
	for i := range v.orgs {
		classes += v.orgs[i].classes
	}
	if classes == 0 {
		return 0
	}
	for i := range v.Sessions.Rows {
		s := &v.Sessions.Rows[i]
		if s.State == replica.Active && s.Start != 0 && v.Text(s.Start) <= v.today && v.today <= v.Text(s.End) {
			return 1
		}
	}
	district := uint32(0)
	for i := range v.Orgs.Rows {
		if v.Orgs.Rows[i].State == replica.Active && v.central[i] &&
			(district == 0 || v.Orgs.ID(uint32(i)) < v.Orgs.ID(district)) {
			district = uint32(i)
		}
	}
	report(v.orgFinding(district, "No academic session covers today."))
	return 1
}
