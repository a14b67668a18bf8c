package check

import (
	"slices"
	"strings"
	"time"

	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// View is a replica with what all checks have found in it. It follows the
// replica: what a change cannot have touched is not looked at again.
type View struct {
	*replica.Replica
	today    string   // by the district's clocks
	declared []string // the district's email domains

	state  []replica.State // of users; small enough to stay in the processor's cache
	holder []replica.UserRow
	named  chains // relationships of active users, by the user that they name; holder says whose they are
	whole  []uint16
	pairs  int // relationships of two active users; whole says how many each student has

	emails   chains // active users by EmailKey
	bearer   []replica.UserRow
	keys     chains   // keys of active users, by text; bearer says whose they are
	person   []uint32 // the representative of each user row's person
	domainOf []uint32 // of active students and staff, by user row
	domains  domains

	members          []int32     // how often active users name an org, by its row
	people           []headcount // active users with a role at an org, by its row
	inClass, inOrg   []headcount // active enrollments, by row
	enrollments      int         // active ones
	orgs             []orgPresence
	schools, central []bool // whether an org is a school or a district, by its row
	schoolCount      int    // active schools

	found   []found // by check, in the order of the catalogue
	reasons []string
	scratch subject
}

// headcount is how many there are, in all and of a family.
type headcount struct{ all, teachers, students int32 }

func (h *headcount) add(f replica.Families, n int32) {
	h.all += n
	if f.Has(replica.Teacher) {
		h.teachers += n
	}
	if f.Has(replica.Student) {
		h.students += n
	}
}

func (h *headcount) plus(o headcount) {
	h.all += o.all
	h.teachers += o.teachers
	h.students += o.students
}

type orgPresence struct {
	classes  int       // active classes
	enrolled headcount // at the org itself or in one of them
}

// Given is what checks go by that no record says.
type Given struct {
	Now     time.Time // by the district's clocks; decides which session is current
	Domains []string  // of the district's emails, lower case; none if it has not declared any
}

// Day is the date of Now.
func (g Given) Day() string { return g.Now.Format(time.DateOnly) }

// NewView looks at all of r.
func NewView(r *replica.Replica, given Given) *View {
	r.Track()
	v := &View{Replica: r}
	v.look(given, &dirty{all: true})
	return v
}

// Update follows the changes of the replica since NewView or the last Update.
func (v *View) Update(given Given) {
	d := &dirty{changes: v.Changes()}
	// Where very much has changed, or what everything depends on, it is cheaper
	// and plainer to begin anew.
	if len(d.changes.Users) > len(v.Users.Rows)/8+64 || len(d.changes.Enrollments) > len(v.Enrollments.Rows)/4+64 ||
		v.kindsChange(d.changes.Orgs) || !slices.Equal(v.declared, given.Domains) {
		*v = View{Replica: v.Replica, found: v.found, reasons: v.reasons}
		d = &dirty{all: true}
	}
	v.look(given, d)
}

// Size estimates the memory in bytes.
func (v *View) Size() int {
	n := cap(v.state) + 4*cap(v.holder) + v.named.size() + 2*cap(v.whole) + v.emails.size() + 4*cap(v.bearer) + v.keys.size() +
		4*cap(v.person) + 4*cap(v.domainOf) + 100*len(v.domains.users) + 12*cap(v.inClass) + 48*cap(v.orgs)
	for i := range v.found {
		n += 24 * cap(v.found[i].findings)
	}
	return n
}

const internalPrefix = "securlyinternal:"

// internal tells whether a user is one the hub itself made up.
func (v *View) internal(u replica.UserRow) bool {
	return strings.HasPrefix(v.Users.ID(uint32(u)), internalPrefix)
}

func (v *View) user(u replica.UserRow) *replica.User { return &v.Users.Rows[u] }

// sides tells who of a link is the student. The record of a student names
// guardians, any other record names students.
func (v *View) sides(holder, other replica.UserRow) (student, guardian replica.UserRow, ok bool) {
	h, o := v.user(holder), v.user(other)
	unknown := o.State == replica.Unknown
	switch {
	case holder == other:
		return 0, 0, false
	case h.Families.Has(replica.Student) && (unknown || o.Families != replica.Student):
		return holder, other, true
	case h.Families != replica.Student && (unknown || o.Families.Has(replica.Student)):
		return other, holder, true
	}
	return 0, 0, false
}

// schoolOf returns the school that a user belongs to first, or the org where
// there is no school.
func (v *View) schoolOf(u *replica.User) replica.OrgRow {
	if v.schools[u.PrimaryOrg] {
		return u.PrimaryOrg
	}
	at := u.PrimaryOrg
	for _, r := range v.Roles(u) {
		if v.schools[r.Org] {
			return r.Org
		}
		if at == 0 {
			at = r.Org
		}
	}
	return at
}

// schoolOfEnrollment returns the school of an enrollment, or of its class.
func (v *View) schoolOfEnrollment(e *replica.Enrollment) replica.OrgRow {
	if e.School != 0 {
		return e.School
	}
	return v.Classes.Rows[e.Class].School
}
