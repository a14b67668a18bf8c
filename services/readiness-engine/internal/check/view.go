package check

import (
	"slices"
	"strings"
	"time"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// View is a replica with what several checks need to know about it, worked out
// once per report.
type View struct {
	*replica.Replica
	today string // in UTC, like the dates of sessions

	state     []replica.State // of users; small enough to stay in the processor's cache
	relations []relation
	guardians []uint16 // active guardians, by user row
	linked    []bool   // is someone's guardian or emergency contact, by user row

	// sharers are the active users whose email another active user has too,
	// next to each other.
	sharers []sharer
	person  []uint32 // the representative of each user row's person

	classes []replica.Families // with an active enrollment, by class row
	orgs    []orgPresence
	// What kind an org is, by its row.
	schools, districts []bool
	schoolCount        int // active schools

	reasons []string // by Reason
}

// relation is one student–guardian relationship; at least one end is active.
type relation struct{ student, guardian replica.UserRow }

type sharer struct {
	email replica.Text
	user  replica.UserRow
}

type orgPresence struct {
	classes  int              // active classes
	families replica.Families // with an active enrollment in one of them
	users    bool             // active users who belong to it
}

// NewView prepares r, which must not change while the View is in use. now
// decides which session is current.
func NewView(r *replica.Replica, now time.Time) *View {
	v := &View{Replica: r, today: now.UTC().Format(time.DateOnly)}
	v.schools, v.districts = make([]bool, len(v.Orgs.Rows)), make([]bool, len(v.Orgs.Rows))
	for i := range v.Orgs.Rows {
		kind := v.Text(v.Orgs.Rows[i].Type)
		v.schools[i], v.districts[i] = kind == "school", kind == "district"
		if v.schools[i] && v.Orgs.Rows[i].State == replica.Active {
			v.schoolCount++
		}
	}
	v.state = make([]replica.State, len(v.Users.Rows))
	for i := range v.Users.Rows {
		v.state[i] = v.Users.Rows[i].State
	}
	v.relate()
	v.identify()
	v.share()
	v.enroll()
	return v
}

const internalPrefix = "securlyinternal:"

// internal tells whether a user is one the hub itself made up.
func (v *View) internal(u replica.UserRow) bool {
	return strings.HasPrefix(v.Users.ID(uint32(u)), internalPrefix)
}

func (v *View) user(u replica.UserRow) *replica.User { return &v.Users.Rows[u] }

// activeUsers calls f with the active users that have one of the families.
func (v *View) activeUsers(families replica.Families, f func(row replica.UserRow, u *replica.User)) {
	for i := range v.Users.Rows {
		if u := &v.Users.Rows[i]; u.State == replica.Active && u.Families.Has(families) {
			f(replica.UserRow(i), u)
		}
	}
}

// relate collects the relationships that an active user states, ordered by
// student and guardian.
func (v *View) relate() {
	// A link is a guardian's row and, in the lowest bit, whether it is an
	// emergency contact; the links of one student come to stand together.
	type link struct {
		student replica.UserRow
		other   uint32
	}
	var links []link
	end := make([]uint32, len(v.Users.Rows)+1) // of each student's links
	v.linked = make([]bool, len(v.Users.Rows))
	for i := range v.Users.Rows {
		holder := &v.Users.Rows[i]
		if holder.State != replica.Active {
			continue
		}
		for _, a := range v.Agents(holder) {
			student, guardian, ok := v.sides(replica.UserRow(i), a.User)
			if !ok {
				continue
			}
			l := link{student, uint32(guardian) << 1}
			if a.Emergency {
				l.other |= 1
			}
			links = append(links, l)
			end[student+1]++
			if v.state[a.User] == replica.Active {
				v.linked[guardian] = true
			}
		}
	}
	for i := 1; i < len(end); i++ {
		end[i] += end[i-1]
	}
	grouped := make([]uint32, len(links))
	for _, l := range links {
		grouped[end[l.student]] = l.other
		end[l.student]++ // Was the beginning, becomes the end.
	}

	v.relations = make([]relation, 0, len(links))
	v.guardians = make([]uint16, len(v.Users.Rows))
	from := uint32(0)
	for i := range v.Users.Rows {
		group := grouped[from:end[i]]
		from = end[i]
		slices.Sort(group)
		for k, other := range group {
			// The last of equal guardians says whether one side calls it an emergency
			// contact; the other side may leave that open.
			if k+1 < len(group) && group[k+1]>>1 == other>>1 || other&1 == 1 {
				continue
			}
			guardian := replica.UserRow(other >> 1)
			v.relations = append(v.relations, relation{replica.UserRow(i), guardian})
			if v.state[guardian] == replica.Active && v.guardians[i] < 1<<16-1 {
				v.guardians[i]++
			}
		}
	}
}

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

// identify finds the users that are one person.
func (v *View) identify() {
	v.person = make([]uint32, len(v.Users.Rows))
	for i := range v.person {
		v.person[i] = uint32(i)
	}
	find := func(i uint32) uint32 {
		for v.person[i] != i {
			v.person[i] = v.person[v.person[i]]
			i = v.person[i]
		}
		return i
	}
	first := make([]uint32, v.Texts())
	for i := range v.Users.Rows {
		u := &v.Users.Rows[i]
		if u.State != replica.Active {
			continue
		}
		for _, key := range v.Persons(u) {
			if first[key] == 0 {
				first[key] = uint32(i)
			} else if a, b := find(first[key]), find(uint32(i)); a != b {
				v.person[max(a, b)] = min(a, b)
			}
		}
	}
	for i := range v.person {
		v.person[i] = find(uint32(i))
	}
}

// share finds the emails that several active users have.
func (v *View) share() {
	const several = ^uint32(0)
	first := make([]uint32, v.Texts())
	for i := range v.Users.Rows {
		u := &v.Users.Rows[i]
		switch {
		case u.State != replica.Active || u.EmailKey == 0:
		case first[u.EmailKey] == 0:
			first[u.EmailKey] = uint32(i)
		default:
			first[u.EmailKey] = several
		}
	}
	for i := range v.Users.Rows {
		u := &v.Users.Rows[i]
		if u.State == replica.Active && u.EmailKey != 0 && first[u.EmailKey] == several {
			v.sharers = append(v.sharers, sharer{u.EmailKey, replica.UserRow(i)})
		}
	}
	slices.SortFunc(v.sharers, func(a, b sharer) int {
		if a.email != b.email {
			return int(a.email) - int(b.email)
		}
		return strings.Compare(v.Users.ID(uint32(a.user)), v.Users.ID(uint32(b.user)))
	})
}

// enroll finds out who is enrolled where and who belongs to which org.
func (v *View) enroll() {
	v.classes = make([]replica.Families, len(v.Classes.Rows))
	v.orgs = make([]orgPresence, len(v.Orgs.Rows))
	for i := range v.Enrollments.Rows {
		e := &v.Enrollments.Rows[i]
		if e.State != replica.Active {
			continue
		}
		v.classes[e.Class] |= e.Family
		v.orgs[e.School].families |= e.Family
	}
	for i := range v.Classes.Rows {
		if c := &v.Classes.Rows[i]; c.State == replica.Active {
			v.orgs[c.School].classes++
			v.orgs[c.School].families |= v.classes[i]
		}
	}
	for i := range v.Users.Rows {
		u := &v.Users.Rows[i]
		if u.State != replica.Active {
			continue
		}
		v.orgs[u.PrimaryOrg].users = true
		for _, r := range v.Roles(u) {
			v.orgs[r.Org].users = true
		}
	}
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

// because returns the number of a reason.
func (v *View) because(text string) Reason {
	i := slices.Index(v.reasons, text)
	if i < 0 {
		i = len(v.reasons)
		v.reasons = append(v.reasons, text)
	}
	return Reason(i)
}

func (v *View) id(e typev1.Entity, row uint32) string {
	switch e {
	case typev1.Entity_ENTITY_ORGS:
		return v.Orgs.ID(row)
	case typev1.Entity_ENTITY_ACADEMIC_SESSIONS:
		return v.Sessions.ID(row)
	case typev1.Entity_ENTITY_CLASSES:
		return v.Classes.ID(row)
	case typev1.Entity_ENTITY_USERS, typev1.Entity_ENTITY_DEMOGRAPHICS:
		return v.Users.ID(row)
	case typev1.Entity_ENTITY_ENROLLMENTS:
		return v.Enrollments.ID(row)
	}
	return ""
}

func (v *View) name(u *replica.User) string {
	given, family := v.Text(u.Given), v.Text(u.Family)
	return strings.TrimSpace(given + " " + family)
}

// role returns the source's token for the role that a finding is about.
func (v *View) role(u *replica.User, families replica.Families) string {
	roles := v.Roles(u)
	for _, r := range roles {
		if r.Family.Has(families) {
			return v.Text(r.Token)
		}
	}
	if len(roles) > 0 {
		return v.Text(roles[0].Token)
	}
	return ""
}

var familyNames = map[replica.Families]record.Family{
	replica.Student: record.FamilyStudent, replica.Teacher: record.FamilyTeacher, replica.Aide: record.FamilyAide,
	replica.Administrator: record.FamilyAdministrator, replica.Guardian: record.FamilyGuardian, replica.Other: record.FamilyOther,
}

// Proto spells a finding out, except for the check.
func (v *View) Proto(f Finding) *readinessv1.ReadinessFinding {
	out := &readinessv1.ReadinessFinding{
		Entity:     record.EntityName(f.Entity),
		SourcedId:  v.id(f.Entity, f.Row),
		SchoolId:   v.Orgs.ID(uint32(f.School)),
		SchoolName: v.Text(v.Orgs.Rows[f.School].Name),
		Actionable: !f.Informational,
		Reason:     v.reasons[f.Reason],
	}
	switch f.Entity {
	case typev1.Entity_ENTITY_ORGS:
		out.DisplayName = v.Text(v.Orgs.Rows[f.Row].Name)
	case typev1.Entity_ENTITY_ACADEMIC_SESSIONS:
		out.DisplayName = v.Text(v.Sessions.Rows[f.Row].Title)
	case typev1.Entity_ENTITY_CLASSES:
		c := &v.Classes.Rows[f.Row]
		out.DisplayName, out.Grades = v.Text(c.Title), v.ClassGrades(c)
	case typev1.Entity_ENTITY_USERS:
		u := &v.Users.Rows[f.Row]
		out.DisplayName, out.Email = v.name(u), v.Text(u.Email)
		out.Role, out.Grades = v.role(u, f.Role), v.Grades(u)
	case typev1.Entity_ENTITY_ENROLLMENTS:
		e := &v.Enrollments.Rows[f.Row]
		u := v.user(e.User)
		out.DisplayName, out.Email, out.Grades = v.name(u), v.Text(u.Email), v.Grades(u)
		out.Role = string(familyNames[e.Family])
	}
	switch out.RelatedSourcedId = v.id(f.RelatedEntity, f.Related); f.RelatedEntity {
	case typev1.Entity_ENTITY_CLASSES:
		out.RelatedName = v.Text(v.Classes.Rows[f.Related].Title)
	case typev1.Entity_ENTITY_USERS:
		u := &v.Users.Rows[f.Related]
		out.RelatedName = v.name(u)
		// A guardian has no grade; the child has the one to look for.
		if out.Grades == nil {
			out.Grades = v.Grades(u)
		}
	}
	return out
}
