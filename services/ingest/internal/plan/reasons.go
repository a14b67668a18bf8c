package plan

import (
	"cmp"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
)

// Types of reasons that are measured, see the table below.
const (
	EntityEmptied  = "entity-emptied"
	ManyRemovals   = "many-removals"
	ManyUpdates    = "many-updates"
	EmailsBlanked  = "emails-blanked"
	UsersRekeyed   = "users-rekeyed"
	RolesFlipped   = "roles-flipped"
	ManyGuardians  = "many-guardians"
	ContactsTurned = "contacts-turned"
	TeachersLosing = "teachers-unenrolled"
	ClassesHalved  = "classes-halved"
	TermsEnded     = "terms-ended"
	SchoolsRemoved = "schools-removed"
)

// kind is a type of reason. In its message {n} is the count and what it is a part
// of, {what} the entity and {where} the school.
type kind struct {
	name   string
	entity string // empty for those of every entity
	// usual and rollover are the default thresholds: the one under "", and those
	// of entities under their names.
	usual, rollover map[string]*ingestv1.HoldThreshold
	// measure returns what a plan has of it, and what that is a part of if there
	// is such a thing; nil for those of every entity, whose counts say it.
	measure       func(place, Facts) (count, population int32)
	message, next string
	// removals: it goes away if removals wait.
	removals bool
	// district: it concerns what all schools have in common.
	district bool
	// alone: it is no part of anything.
	alone bool
}

func at(percent, min int32) map[string]*ingestv1.HoldThreshold {
	return map[string]*ingestv1.HoldThreshold{"": {Percent: percent, Min: min}}
}

func off() map[string]*ingestv1.HoldThreshold {
	return map[string]*ingestv1.HoldThreshold{"": {Off: true}}
}

// emptied is about every entity, and has no threshold.
var emptied = kind{
	name: EntityEmptied, removals: true, district: true,
	message: "all {n} {what}{where} would be removed",
	next:    "check that the export is complete; approve if they are really gone, else discard and send a complete export",
}

// unenrolled are the removals of enrollments: students count, not rows. Teachers
// are too few beside them, and have a type of their own.
var unenrolled = kind{
	name: ManyRemovals, removals: true,
	message: "{n} students{where} would lose enrollments and get no others",
	next:    removals.next,
}

// Removals and updates are about every entity too. A new school year replaces
// classes, and what is left of the old ones says nothing.
var (
	removals = kind{
		name: ManyRemovals, removals: true, usual: at(10, 25),
		rollover: map[string]*ingestv1.HoldThreshold{
			"": {Percent: 30, Min: 25}, "academicSessions": {Off: true}, "courses": {Off: true}, "classes": {Off: true}, "enrollments": {Off: true},
		},
		message: "{n} {what}{where} would be removed",
		next:    "look at the removals; approve if they are right, for example at the end of a school year, else discard and correct the export",
	}
	updates = kind{
		name: ManyUpdates, usual: at(75, 25), rollover: off(),
		message: "{n} {what}{where} would be changed",
		next:    "look at the changes for a column that was mapped or filled in another way; approve if they are right, else discard and correct the export",
	}
)

// signals are about a plan as a whole, or about one school.
var signals = []kind{
	{
		name: EmailsBlanked, entity: "users", usual: at(5, 10), rollover: at(5, 10),
		measure: func(p place, _ Facts) (int32, int32) {
			return p.signals.GetEmailsBlanked(), cmp.Or(p.signals.GetEmails(), p.users())
		},
		message: "{n} users with an email{where} would have none",
		next:    "check that the column of emails is still filled and mapped; approve if the emails are really gone, else discard and correct the export",
	}, {
		name: UsersRekeyed, entity: "users", usual: at(5, 10), rollover: at(5, 10),
		measure: func(p place, _ Facts) (int32, int32) { return p.signals.GetUsersRekeyed(), p.users() },
		message: "{n} users{where} would be removed and come back under another id",
		next:    "products lose their link to these people: discard and have the source keep its ids, or approve if new ids are meant",
	}, {
		name: RolesFlipped, entity: "users", usual: at(5, 10), rollover: at(5, 10),
		measure: func(p place, _ Facts) (int32, int32) { return p.signals.GetRolesFlipped(), p.users() },
		message: "{n} users{where} would be of another role",
		next:    "look whether students have become staff or the other way round; approve if that is right, else discard and correct the roles in the export",
	}, {
		name: ManyGuardians, entity: "users", usual: at(2, 5), rollover: at(2, 5),
		measure: func(p place, _ Facts) (int32, int32) { return p.signals.GetStudentsManyGuardians(), p.students() },
		message: "{n} students{where} would come to have six or more guardians",
		next:    "look whether other contacts are sent as guardians; approve if they are guardians, else discard and leave them out of the export",
	}, {
		name: ContactsTurned, entity: "users", usual: at(5, 10), rollover: at(5, 10),
		measure: func(p place, _ Facts) (int32, int32) { return p.signals.GetEmergencyContactsTurned(), p.students() },
		message: "emergency contacts of {n} students{where} would become guardians",
		next:    "guardians see more than emergency contacts: approve if they are guardians, else discard and have their contact type sent as before",
	}, {
		name: TeachersLosing, entity: "enrollments", usual: at(10, 10), rollover: off(), removals: true,
		measure: func(p place, _ Facts) (int32, int32) {
			return p.signals.GetTeachersLosingEnrollments(), cmp.Or(p.signals.GetTeachers(), p.users())
		},
		message: "{n} teachers{where} would lose enrollments and get no others",
		next:    "they would lose the classes that they teach: check that the file of enrollments is complete; approve if they have really left these classes, else discard and send a complete export",
	}, {
		name: ClassesHalved, entity: "classes", usual: at(10, 5), rollover: off(), removals: true,
		measure: func(p place, _ Facts) (int32, int32) { return p.signals.GetClassesHalved(), p.populations["classes"] },
		message: "{n} classes{where} would lose more than half of their students",
		next:    "check that the file of enrollments is complete; approve if the students have really left these classes, else discard and send a complete export",
	}, {
		name: TermsEnded, entity: "academicSessions", usual: at(0, 1), rollover: off(), district: true, alone: true,
		measure: func(p place, _ Facts) (int32, int32) { return p.signals.GetSessionsEnded(), 0 },
		message: "terms whose end would be moved to the past: {n}",
		next:    "products archive the classes of such terms: approve if the dates are right, else discard and correct them in the source",
	}, {
		name: SchoolsRemoved, entity: "orgs", usual: at(0, 1), rollover: at(0, 1), district: true, alone: true,
		measure: func(_ place, f Facts) (int32, int32) { return int32(f.RemovedSchools), 0 },
		message: "schools that would be removed: {n}",
		next:    "approve if the schools have closed or left the district, else discard and correct the export",
	},
}
