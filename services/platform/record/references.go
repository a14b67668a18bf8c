package record

import (
	"iter"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// References yields the records that r refers to, empty references left out.
// Demographics refer to the user whose id they bear. What a user holds itself,
// its profiles for example, is no record.
func References(r *typev1.Record) iter.Seq2[typev1.Entity, string] {
	return func(yield func(typev1.Entity, string) bool) {
		to := func(e typev1.Entity, id string) bool { return id == "" || yield(e, id) }
		ref := func(e typev1.Entity, ref *typev1.Ref) bool { return to(e, ref.GetSourcedId()) }
		const (
			orgs     = typev1.Entity_ENTITY_ORGS
			sessions = typev1.Entity_ENTITY_ACADEMIC_SESSIONS
			courses  = typev1.Entity_ENTITY_COURSES
			classes  = typev1.Entity_ENTITY_CLASSES
			users    = typev1.Entity_ENTITY_USERS
		)
		switch v := r.GetRecord().(type) {
		case *typev1.Record_Org:
			ref(orgs, v.Org.GetParent())
		case *typev1.Record_AcademicSession:
			ref(sessions, v.AcademicSession.GetParent())
		case *typev1.Record_Course:
			_ = ref(sessions, v.Course.GetSchoolYear()) && ref(orgs, v.Course.GetOrg())
		case *typev1.Record_Class:
			if !ref(courses, v.Class.GetCourse()) || !ref(orgs, v.Class.GetSchool()) {
				return
			}
			for _, term := range v.Class.GetTerms() {
				if !ref(sessions, term) {
					return
				}
			}
		case *typev1.Record_User:
			for _, role := range v.User.GetRoles() {
				if !ref(orgs, role.GetOrg()) {
					return
				}
			}
			if !ref(orgs, v.User.GetPrimaryOrg()) {
				return
			}
			for _, agent := range v.User.GetAgents() {
				if !to(users, agent.GetSourcedId()) {
					return
				}
			}
		case *typev1.Record_Enrollment:
			_ = ref(users, v.Enrollment.GetUser()) && ref(classes, v.Enrollment.GetClass()) && ref(orgs, v.Enrollment.GetSchool())
		case *typev1.Record_Demographics:
			to(users, v.Demographics.GetSourcedId())
		}
	}
}
