package check

import (
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

const (
	fewClasses   = "these look like single classes that were set up incompletely"
	knownSetting = "Some export settings leave this link out on purpose."
)

var classChecks = []*Check{
	{
		ID:          "class-terms-missing",
		Title:       "Class without a term",
		Description: "The class names no term. Products then cannot tell when it begins and ends, and neither hide nor archive it in time.",
		Rollover:    true,
		Severity:    readinessv1.Severity_ALERT, NeedsFix: false,
		HowToFix:    "Let the export include the terms of classes. For single classes, assign the term in the SIS and sync again.",
		KnownIssues: knownSetting,
		Counts:      "classes",
		Many:        "the export probably leaves out the link between classes and terms",
		Few:         fewClasses,
		find: findClasses(func(v *View, c *replica.Class) string {
			if len(v.Terms(c)) == 0 {
				return "The class names no term."
			}
			return ""
		}),
	},
	{
		ID:          "class-course-missing",
		Title:       "Class without a course",
		Description: "The class names no course. Products then show it without its course and cannot group it.",
		Severity:    readinessv1.Severity_ALERT, NeedsFix: false,
		HowToFix:    "Let the export include the courses of classes. For single classes, assign the course in the SIS and sync again.",
		KnownIssues: knownSetting,
		Counts:      "classes",
		Many:        "the export probably leaves out the link between classes and courses",
		Few:         fewClasses,
		find: findClasses(func(_ *View, c *replica.Class) string {
			if c.Course == 0 {
				return "The class names no course."
			}
			return ""
		}),
	},
	{
		ID:          "class-school-missing",
		Title:       "Class without a school",
		Description: "The class names no school, or one that is not in the data. It cannot be shown in any school.",
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Assign the class to a school in the SIS, make sure that the export includes the school, and sync again.",
		KnownIssues: "A school that was removed counts as not in the data.",
		Counts:      "classes",
		Many:        "schools are probably missing from the export, or classes name them by another id",
		Few:         fewClasses,
		find: findClasses(func(v *View, c *replica.Class) string {
			switch {
			case c.School == 0:
				return "The class names no school."
			case v.Orgs.Rows[c.School].State != replica.Active:
				return "The school that the class names is not in the data."
			}
			return ""
		}),
	},
	{
		ID:          "class-course-unknown",
		Title:       "Class with an unknown course",
		Description: "The class names a course that is not in the data.",
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Make sure that the export includes the course, or correct the class in the SIS, and sync again.",
		KnownIssues: "A course that was removed counts as not in the data. A class that names no course is listed by another check.",
		Counts:      "classes",
		Many:        "the course file is probably incomplete, or classes name courses by another id",
		Few:         fewClasses,
		find: findClasses(func(v *View, c *replica.Class) string {
			if c.Course != 0 && v.Courses.Rows[c.Course].State != replica.Active {
				return "The course that the class names is not in the data."
			}
			return ""
		}),
	},
	{
		ID:          "class-term-unknown",
		Title:       "Class with an unknown term",
		Description: "The class names a term that is not in the data. Products then cannot tell when it begins and ends.",
		Rollover:    true,
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Make sure that the export includes the term, or correct the class in the SIS, and sync again.",
		KnownIssues: "A class in several terms is listed once, even if only one of them is unknown.",
		Counts:      "classes",
		Many:        "the file of academic sessions is probably incomplete, or classes name terms by another id",
		Few:         fewClasses,
		find: findClasses(func(v *View, c *replica.Class) string {
			for _, term := range v.Terms(c) {
				if v.Sessions.Rows[term].State != replica.Active {
					return "A term that the class names is not in the data."
				}
			}
			return ""
		}),
	},
	{
		ID:          "class-teacher-missing",
		Title:       "Class without a teacher",
		Description: "No teacher is enrolled in the class, so nobody sees it.",
		Rollover:    true,
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Assign a teacher in the SIS and sync again.",
		KnownIssues: "Aides and administrators do not count as teachers.",
		Counts:      "classes",
		Many:        "teacher enrollments are probably missing from the export",
		Few:         "these look like single classes without a teacher yet",
		find: findClassesByRow(func(v *View, row uint32) string {
			if v.inClass[row].teachers == 0 {
				return "No active teacher enrollment names the class."
			}
			return ""
		}),
	},
	{
		ID:          "class-students-missing",
		Title:       "Class without students",
		Description: "No student is enrolled in the class.",
		Rollover:    true,
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Enroll students in the SIS or remove the class, and sync again.",
		KnownIssues: "Classes that are kept for staff meetings or duties are listed too.",
		Counts:      "classes",
		Many:        "student enrollments are probably missing from the export",
		Few:         "these look like single classes that are not used yet, or no more",
		find: findClassesByRow(func(v *View, row uint32) string {
			if v.inClass[row].students == 0 {
				return "No active student enrollment names the class."
			}
			return ""
		}),
	},
}

// findClassesByRow finds active classes for which wrong gives a reason.
func findClassesByRow(wrong func(v *View, row uint32) string) rule {
	return rule{tables: func(v *View, report func(Finding)) (population int) {
		for i := range v.Classes.Rows {
			c := &v.Classes.Rows[i]
			if c.State != replica.Active {
				continue
			}
			population++
			if reason := wrong(v, uint32(i)); reason != "" {
				report(Finding{Entity: typev1.Entity_ENTITY_CLASSES, Row: uint32(i), School: c.School, Reason: v.because(reason)})
			}
		}
		return population
	}}
}

func findClasses(wrong func(v *View, c *replica.Class) string) rule {
	return findClassesByRow(func(v *View, row uint32) string { return wrong(v, &v.Classes.Rows[row]) })
}
