// Package record knows the shape of roster records: which entities there are,
// what identifies a record, when two versions of it are the same, and which
// role means what. It is the one place that both the side that writes records
// and the sides that read them agree on.
package record

import (
	"fmt"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// Status values of OneRoster 1.2 (spec §6).
const (
	StatusActive      = "active"
	StatusToBeDeleted = "tobedeleted"
)

// entityNames holds the OneRoster collection name of each entity, indexed by its number.
var entityNames = [...]string{
	typev1.Entity_ENTITY_UNSPECIFIED:       "",
	typev1.Entity_ENTITY_ORGS:              "orgs",
	typev1.Entity_ENTITY_ACADEMIC_SESSIONS: "academicSessions",
	typev1.Entity_ENTITY_COURSES:           "courses",
	typev1.Entity_ENTITY_CLASSES:           "classes",
	typev1.Entity_ENTITY_USERS:             "users",
	typev1.Entity_ENTITY_ENROLLMENTS:       "enrollments",
	typev1.Entity_ENTITY_DEMOGRAPHICS:      "demographics",
}

// Entities lists all entities in the order in which every stream sends them:
// what is referred to comes before what refers to it (OneRoster spec §3.13).
func Entities() []typev1.Entity {
	return []typev1.Entity{
		typev1.Entity_ENTITY_ORGS,
		typev1.Entity_ENTITY_ACADEMIC_SESSIONS,
		typev1.Entity_ENTITY_COURSES,
		typev1.Entity_ENTITY_CLASSES,
		typev1.Entity_ENTITY_USERS,
		typev1.Entity_ENTITY_ENROLLMENTS,
		typev1.Entity_ENTITY_DEMOGRAPHICS,
	}
}

// EntityName returns the OneRoster collection name, "academicSessions" for
// example, or "" for a number that is no entity.
func EntityName(e typev1.Entity) string {
	if e < 0 || int(e) >= len(entityNames) {
		return ""
	}
	return entityNames[e]
}

// ParseEntity is the inverse of EntityName.
func ParseEntity(name string) (typev1.Entity, error) {
	for i, n := range entityNames {
		if n == name && n != "" {
			return typev1.Entity(i), nil
		}
	}
	return 0, fmt.Errorf("unknown entity %q: use one of %v", name, entityNames[1:])
}

// Base is what all entities have.
type Base interface {
	// GetSourcedId returns the source's own id.
	GetSourcedId() string
	// GetStatus returns StatusActive or StatusToBeDeleted.
	GetStatus() string
	// GetDateLastModified returns a time in TimeFormat.
	GetDateLastModified() string
	// GetMetadata returns the extension columns.
	GetMetadata() map[string]string
}

// Of returns the entity and the inner message of r; zero and nil for an empty record.
func Of(r *typev1.Record) (typev1.Entity, Base) {
	switch v := r.GetRecord().(type) {
	case *typev1.Record_Org:
		return typev1.Entity_ENTITY_ORGS, v.Org
	case *typev1.Record_AcademicSession:
		return typev1.Entity_ENTITY_ACADEMIC_SESSIONS, v.AcademicSession
	case *typev1.Record_Course:
		return typev1.Entity_ENTITY_COURSES, v.Course
	case *typev1.Record_Class:
		return typev1.Entity_ENTITY_CLASSES, v.Class
	case *typev1.Record_User:
		return typev1.Entity_ENTITY_USERS, v.User
	case *typev1.Record_Enrollment:
		return typev1.Entity_ENTITY_ENROLLMENTS, v.Enrollment
	case *typev1.Record_Demographics:
		return typev1.Entity_ENTITY_DEMOGRAPHICS, v.Demographics
	}
	return 0, nil
}

// SetStatus sets the status of r in place.
func SetStatus(r *typev1.Record, status string) {
	switch v := r.GetRecord().(type) {
	case *typev1.Record_Org:
		v.Org.Status = status
	case *typev1.Record_AcademicSession:
		v.AcademicSession.Status = status
	case *typev1.Record_Course:
		v.Course.Status = status
	case *typev1.Record_Class:
		v.Class.Status = status
	case *typev1.Record_User:
		v.User.Status = status
	case *typev1.Record_Enrollment:
		v.Enrollment.Status = status
	case *typev1.Record_Demographics:
		v.Demographics.Status = status
	}
}

// SetDateLastModified sets the time stamp of r in place; see TimeFormat.
func SetDateLastModified(r *typev1.Record, stamp string) {
	switch v := r.GetRecord().(type) {
	case *typev1.Record_Org:
		v.Org.DateLastModified = stamp
	case *typev1.Record_AcademicSession:
		v.AcademicSession.DateLastModified = stamp
	case *typev1.Record_Course:
		v.Course.DateLastModified = stamp
	case *typev1.Record_Class:
		v.Class.DateLastModified = stamp
	case *typev1.Record_User:
		v.User.DateLastModified = stamp
	case *typev1.Record_Enrollment:
		v.Enrollment.DateLastModified = stamp
	case *typev1.Record_Demographics:
		v.Demographics.DateLastModified = stamp
	}
}

// TimeFormat is how dateLastModified is written, in UTC (OneRoster spec §2, §20).
const TimeFormat = "2006-01-02T15:04:05.000Z"
