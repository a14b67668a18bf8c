// Package replica keeps what the checks need of a district's roster in memory:
// flat slices of small numbers instead of objects, so that a district of
// 100,000 students fits into 100 MB that the garbage collector need not
// look at, and a check is a scan.
//
// Every id has a row number in the table of its entity, whether its record was
// delivered or only referred to. A reference is therefore a row number, and a
// check follows it without a search; the target's State tells whether it is
// there. Row 0 of each table is "no reference".
package replica

import (
	"reflect"
	"slices"

	"github.com/securly/sync/services/platform/record"
)

// State of a row.
type State uint8

// The states. Unknown is an id that some record refers to and no record has.
const (
	Unknown State = iota
	Removed
	Active
)

// Text is the number of a text in a replica; 0 is the empty text.
type Text uint32

// Row numbers have types of their own, so that those of different tables are
// not mixed up.
type (
	// OrgRow is a row of Replica.Orgs.
	OrgRow uint32
	// SessionRow is a row of Replica.Sessions.
	SessionRow uint32
	// CourseRow is a row of Replica.Courses.
	CourseRow uint32
	// ClassRow is a row of Replica.Classes.
	ClassRow uint32
	// UserRow is a row of Replica.Users.
	UserRow uint32
)

// Org is a school, a district or another unit.
type Org struct {
	Name, Type Text
	State      State
}

// Session is an academic session; Start and End as the source has them.
type Session struct {
	Title, Type, Start, End Text
	Parent                  SessionRow
	State                   State
}

// Course is an entry of the course catalogue.
type Course struct {
	Title Text
	State State
}

// Class is a section of a course.
type Class struct {
	Title         Text
	Course        CourseRow
	School        OrgRow
	terms, grades span
	State         State
}

// Flags of a user.
type Flags uint8

// The flags. A demographics record has the id of its user, so it needs no more
// than a flag on the user's row.
const (
	HasAddress Flags = 1 << iota
	HasPhone
	HasUsername
	HasGivenName
	HasFamilyName
	HasDemographics // an active demographics record
)

// User is a student, a member of staff or a guardian.
type User struct {
	Given, Family, Email          Text
	EmailKey                      Text // Email trimmed and in lower case, 0 when blank
	PrimaryOrg                    OrgRow
	roles, agents, grades, person span
	Families                      Families
	Flags                         Flags
	State                         State
}

// Role is what a user is at one org.
type Role struct {
	Token  Text
	Org    OrgRow
	Family Families
}

// Agent is one relationship as its holder states it.
type Agent struct {
	User      UserRow
	Emergency bool // an emergency contact, who is no guardian
}

// Enrollment puts a user into a class.
type Enrollment struct {
	User       UserRow
	Class      ClassRow
	School     OrgRow
	Family     Families
	HasEndDate bool
	State      State
}

// Families is a set of role families.
type Families uint8

// The families, and Staff, everybody who is paid.
const (
	Student Families = 1 << iota
	Teacher
	Aide
	Administrator
	Guardian
	Other

	Staff = Teacher | Aide | Administrator
)

func familyOf(token string) Families {
	switch record.FamilyOf(token) {
	case record.FamilyStudent:
		return Student
	case record.FamilyTeacher:
		return Teacher
	case record.FamilyAide:
		return Aide
	case record.FamilyAdministrator:
		return Administrator
	case record.FamilyGuardian:
		return Guardian
	}
	return Other
}

// Has tells whether the two sets have a family in common.
func (f Families) Has(other Families) bool { return f&other != 0 }

// table holds the rows of one entity under their ids.
type table[R comparable] struct {
	ids     dict
	Rows    []R // by row number; row 0 is none
	changes tracker[R]
}

// set writes a row.
func (t *table[R]) set(row uint32, r R) {
	if t.Rows[row] != r {
		t.changes.note(row, t.Rows[row])
		t.Rows[row] = r
	}
}

// row returns the row number of id, a new empty row when it has none.
func (t *table[R]) row(id []byte) uint32 {
	n, added := t.ids.number(id)
	if added || len(t.Rows) == 0 {
		for len(t.Rows) <= int(n) {
			t.Rows = append(t.Rows, *new(R))
		}
	}
	return n
}

// reserve makes room for n records and for a few that are only referred to.
func (t *table[R]) reserve(n int) {
	n += n / 64
	t.ids.reserve(n)
	if cap(t.Rows) < n+1 {
		t.Rows = append(make([]R, 0, n+1), t.Rows...)
	}
	if len(t.Rows) == 0 {
		t.Rows = append(t.Rows, *new(R))
	}
}

func (t *table[R]) size() int {
	row := int(reflect.TypeFor[R]().Size())
	return t.ids.size() + cap(t.Rows)*row + cap(t.changes.list)*(row+4) + 8*cap(t.changes.noted)
}

// ID returns the sourcedId of a row.
func (t *table[R]) ID(row uint32) string { return t.ids.text(row) }

// Find returns the row of an id, 0 when the replica has never met it.
func (t *table[R]) Find(id string) uint32 { return t.ids.find([]byte(id)) }

// span is a part of a pool.
type span struct{ at, n uint32 }

// pool holds the lists that rows have.
type pool[T comparable] struct{ items []T }

func (p *pool[T]) size() int { return cap(p.items) * int(reflect.TypeFor[T]().Size()) }

func (p *pool[T]) get(s span) []T { return p.items[s.at : s.at+s.n : s.at+s.n] }

// put stores a list, unless it is the old one. It never writes over a list, so
// that those of a row as it was stay readable; Worn says when that has become
// too much.
func (p *pool[T]) put(old span, list []T) span {
	if slices.Equal(p.get(old), list) {
		return old
	}
	if len(list) == 0 {
		return span{}
	}
	s := span{at: uint32(len(p.items)), n: uint32(len(list))}
	p.items = append(p.items, list...)
	return s
}

// Replica is one district at one revision. It is not safe for concurrent use.
type Replica struct {
	Revision int32

	Orgs        table[Org]
	Sessions    table[Session]
	Courses     table[Course]
	Classes     table[Class]
	Users       table[User]
	Enrollments table[Enrollment]

	texts    dict
	terms    pool[SessionRow]
	grades   pool[Text]
	roles    pool[Role]
	agents   pool[Agent]
	persons  pool[Text]
	families map[Text]Families

	// Derived is what was worked out about the replica and stays true while it
	// does not change. It is kept and lost together with the replica.
	Derived interface{ Size() int }

	// replaced counts rows written over, each of which may leave waste behind.
	replaced, loaded int

	scratch decoder
}

// New returns an empty replica at revision 0 with room for as many records as
// stated per entity name.
func New(counts map[string]int32) *Replica {
	r := &Replica{families: map[Text]Families{}}
	r.Orgs.reserve(int(counts["orgs"]))
	r.Sessions.reserve(int(counts["academicSessions"]))
	r.Courses.reserve(int(counts["courses"]))
	r.Classes.reserve(int(counts["classes"]))
	r.Users.reserve(int(counts["users"]))
	r.Enrollments.reserve(int(counts["enrollments"]))
	return r
}

// Text returns a text of the replica.
func (r *Replica) Text(t Text) string { return r.texts.text(uint32(t)) }

// Terms returns the sessions of a class.
func (r *Replica) Terms(c *Class) []SessionRow { return r.terms.get(c.terms) }

// Roles returns the roles of a user.
func (r *Replica) Roles(u *User) []Role { return r.roles.get(u.roles) }

// Agents returns the relationships that the user's own record states.
func (r *Replica) Agents(u *User) []Agent { return r.agents.get(u.agents) }

// AgentsAt returns the number of the first of Agents; the others follow. No two
// relationships ever have the same number, and Numbers is above all of them.
func (r *Replica) AgentsAt(u *User) uint32 { return u.agents.at }

// Persons returns the keys that identify the person behind a user.
func (r *Replica) Persons(u *User) []Text { return r.persons.get(u.person) }

// PersonsAt is to Persons what AgentsAt is to Agents.
func (r *Replica) PersonsAt(u *User) uint32 { return u.person.at }

// Numbers returns how many numbers AgentsAt and PersonsAt have given out.
func (r *Replica) Numbers() (agents, persons int) { return len(r.agents.items), len(r.persons.items) }

// Grades returns the grades of a user.
func (r *Replica) Grades(u *User) []string { return r.gradeTexts(u.grades) }

// GradeTexts returns the grades of a user as texts of the replica.
func (r *Replica) GradeTexts(u *User) []Text { return r.grades.get(u.grades) }

// ClassGradeTexts returns the grades of a class as texts of the replica.
func (r *Replica) ClassGradeTexts(c *Class) []Text { return r.grades.get(c.grades) }

// ClassGrades returns the grades of a class.
func (r *Replica) ClassGrades(c *Class) []string { return r.gradeTexts(c.grades) }

func (r *Replica) gradeTexts(s span) []string {
	var out []string
	for _, g := range r.grades.get(s) {
		out = append(out, r.Text(g))
	}
	return out
}

// Texts returns how many different texts the replica has met; every Text is
// below.
func (r *Replica) Texts() int { return r.texts.len() }

// Worn tells that so much has been replaced that a fresh copy is smaller.
func (r *Replica) Worn() bool { return r.replaced > r.loaded/2+1000 }

// Size estimates the memory in bytes.
func (r *Replica) Size() int {
	derived := 0
	if r.Derived != nil {
		derived = r.Derived.Size()
	}
	return derived + r.Orgs.size() + r.Sessions.size() + r.Courses.size() + r.Classes.size() + r.Users.size() + r.Enrollments.size() +
		r.texts.size() + r.terms.size() + r.grades.size() + r.roles.size() + r.agents.size() + r.persons.size()
}
