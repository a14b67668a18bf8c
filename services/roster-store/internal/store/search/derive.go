package search

import (
	"slices"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Person is what other records need to know about a user.
type Person struct {
	// Schools the user names itself and those of its active enrollments.
	Schools []string
	Student bool
}

// UserSchools works out the schools of a user: its own, those of its
// enrollments, and, for who is not a student, those of the students it is
// related to, whichever side holds the link.
func UserSchools(self Person, related []Person) []string {
	schools := slices.Clone(self.Schools)
	if !self.Student {
		for _, p := range related {
			if p.Student {
				schools = append(schools, p.Schools...)
			}
		}
	}
	slices.Sort(schools)
	return slices.Compact(schools)
}

// RoleTerms are the terms that demographics take over from their user.
func RoleTerms(user Facts) []Term {
	var out []Term
	for _, t := range user.Terms {
		if t.Field == FieldRole {
			out = append(out, t)
		}
	}
	return out
}

// SameRelations tells whether two versions of a user mean the same to all that
// follows from it: its schools, its relatives' and its demographics.
func SameRelations(a, b Facts) bool {
	return a.IsStudent() == b.IsStudent() && slices.Equal(a.Schools, b.Schools) && slices.Equal(a.Agents, b.Agents) &&
		slices.Equal(RoleTerms(a), RoleTerms(b))
}

// Derives tells whether the schools of an entity follow from other records and
// not from its own facts.
func Derives(e store.Entity) bool {
	switch e {
	case typev1.Entity_ENTITY_USERS, typev1.Entity_ENTITY_COURSES, typev1.Entity_ENTITY_DEMOGRAPHICS:
		return true
	}
	return false
}

// ForAll tells whether the records of an entity are in the scope of all schools.
func ForAll(e store.Entity) bool {
	return e == typev1.Entity_ENTITY_ORGS || e == typev1.Entity_ENTITY_ACADEMIC_SESSIONS
}

// IsStudent tells whether the facts are those of a student.
func (f Facts) IsStudent() bool {
	return slices.Contains(f.Families, record.FamilyStudent)
}
