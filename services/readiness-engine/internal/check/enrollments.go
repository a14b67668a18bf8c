package check

import (
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

const knownSchools = "Only schools with active classes are looked at. An enrollment counts for its own school and for the school of its class."

var enrollmentChecks = []*Check{
	{
		ID:          "teacher-enrollments-missing",
		Title:       "School without teacher enrollments",
		Description: "The school has classes, but no teacher is enrolled in any of them.",
		Rollover:    true,
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Make sure that the export includes teacher enrollments for the school; some SIS settings hide them. Then sync again.",
		KnownIssues: knownSchools,
		Counts:      "schools",
		Many:        "teacher enrollments are probably missing from the export",
		Few:         "the enrollments of single schools are probably not exported",
		find:        enrollmentsMissing(func(h headcount) int32 { return h.teachers }, "The school has classes, but no active teacher enrollment."),
	},
	{
		ID:          "student-enrollments-missing",
		Title:       "School without student enrollments",
		Description: "The school has classes, but no student is enrolled in any of them.",
		Rollover:    true,
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Make sure that the export includes student enrollments for the school. Then sync again.",
		KnownIssues: knownSchools,
		Counts:      "schools",
		Many:        "student enrollments are probably missing from the export",
		Few:         "the enrollments of single schools are probably not exported",
		find:        enrollmentsMissing(func(h headcount) int32 { return h.students }, "The school has classes, but no active student enrollment."),
	},
	{
		ID:          "enrollment-end-date-missing",
		Title:       "Enrollment without an end date",
		Description: "The enrollment has no end date. Rollover and the archiving of classes depend on it.",
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Let the export include the end dates of enrollments. For single enrollments, enter the date in the SIS and sync again.",
		KnownIssues: "Enrollments of users or in classes that were removed or never delivered are listed as informational.",
		Counts:      "enrollments",
		Many:        "the end date is probably missing from the export or mapped to another field",
		Few:         "these look like single data entry gaps",
		find:        rule{enrollment: endDateMissing},
	},
	{
		ID:          "enrollment-user-missing",
		Title:       "Enrollment of an unknown user",
		Description: "The enrollment names no user, or one that is not in the data, so somebody is missing from a class.",
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Make sure that the export includes all users who are enrolled, and sync again.",
		KnownIssues: "Enrollments of users who were removed are listed as informational.",
		Counts:      "enrollments",
		Many:        "the user file is probably incomplete, or enrollments name users by another id",
		Few:         "these are probably left over from users who have gone",
		find: rule{enrollment: func(v *View, e *replica.Enrollment) (reason string, informational bool) {
			switch {
			case e.User == 0:
				return "The enrollment names no user.", false
			case v.state[e.User] == replica.Unknown:
				return "The user was never delivered.", false
			case v.state[e.User] == replica.Removed:
				return "The user was removed: the enrollment is left over.", true
			}
			return "", false
		}},
	},
	{
		ID:          "enrollment-class-missing",
		Title:       "Enrollment in an unknown class",
		Description: "The enrollment names no class, or one that is not in the data.",
		Rollover:    true,
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Make sure that the export includes all classes with enrollments, and sync again.",
		KnownIssues: "Enrollments in classes that were removed are listed as informational.",
		Counts:      "enrollments",
		Many:        "the class file is probably incomplete, or enrollments name classes by another id",
		Few:         "these are probably left over from classes that have gone",
		find: rule{enrollment: func(v *View, e *replica.Enrollment) (reason string, informational bool) {
			switch {
			case e.Class == 0:
				return "The enrollment names no class.", false
			case v.Classes.Rows[e.Class].State == replica.Unknown:
				return "The class was never delivered.", false
			case v.Classes.Rows[e.Class].State == replica.Removed:
				return "The class was removed: the enrollment is left over.", true
			}
			return "", false
		}},
	},
}

// enrollmentsMissing finds schools that have active classes and no active
// enrollment of a family.
func enrollmentsMissing(enrolled func(headcount) int32, reason string) rule {
	return rule{tables: func(v *View, report func(Finding)) (population int) {
		for i := range v.Orgs.Rows {
			if v.Orgs.Rows[i].State != replica.Active || v.orgs[i].classes == 0 {
				continue
			}
			population++
			if enrolled(v.orgs[i].enrolled) == 0 {
				report(v.orgFinding(uint32(i), reason))
			}
		}
		return population
	}}
}

func (v *View) orgFinding(row uint32, reason string) Finding {
	return Finding{Entity: typev1.Entity_ENTITY_ORGS, Row: row, School: replica.OrgRow(row), Reason: v.because(reason)}
}

func endDateMissing(v *View, e *replica.Enrollment) (reason string, informational bool) {
	switch {
	case e.HasEndDate:
		return "", false
	case v.state[e.User] != replica.Active:
		return "The user was removed or never delivered: the enrollment is left over.", true
	case v.Classes.Rows[e.Class].State != replica.Active:
		return "The class was removed or never delivered: the enrollment is left over.", true
	}
	return "The enrollment has no end date.", false
}
