package sharing

import (
	"slices"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// guardian is a user who is a guardian and nothing else.
type guardian struct {
	own    Verdict // what its own roles say
	person string  // the type that follows from its role
	linked bool
	shared bool    // by a link to a user who is
	lost   Verdict // what another user is left out by
}

// link is one as a user has it.
type link struct{ from, to string }

// only tells whether there are roles, all of one family.
func only(roles []*typev1.Role, f record.Family) bool {
	return len(roles) > 0 && !slices.ContainsFunc(roles, func(r *typev1.Role) bool { return record.FamilyOf(r.GetRole()) != f })
}

// roles are those of a user that can be shared, or all of a user who has none:
// guardians are shared for their children's sake.
func (f *Filter) roles(u *typev1.User) []*typev1.Role {
	out := slices.DeleteFunc(slices.Clone(u.GetRoles()), func(r *typev1.Role) bool { return !f.shares(f.at(r.GetOrg())) })
	if len(out) == 0 {
		return slices.Clone(u.GetRoles())
	}
	return out
}

func (f *Filter) learnUsers(records Records) error {
	if !f.Touches(typev1.Entity_ENTITY_DEMOGRAPHICS) {
		return nil
	}
	guardians, types := map[string]*guardian{}, map[pair]string{}
	var links []link
	err := each(records, typev1.Entity_ENTITY_USERS, func(rec *typev1.Record) {
		u := rec.GetUser()
		id := u.GetSourcedId()
		for _, a := range u.GetAgents() {
			links = append(links, link{id, a.GetSourcedId()})
			if f.people != nil && a.GetContactType() != "" {
				types[pairOf(id, a.GetSourcedId())] = a.GetContactType()
			}
		}
		verdict, roles := f.staff(u), f.roles(u)
		switch {
		case only(roles, record.FamilyStudent):
			verdict = f.student(u)
		case only(roles, record.FamilyGuardian):
			guardians[id] = &guardian{own: verdict, person: person(roles)}
			return
		}
		if verdict.Rule != "" {
			f.users[id] = verdict
		}
	})
	if err != nil {
		return err
	}
	for _, l := range links {
		f.link(l, types, guardians)
	}
	for id, g := range guardians {
		verdict := Verdict{}
		switch {
		case g.shared:
		case g.lost.Rule != "":
			verdict = g.lost
		case g.linked:
			verdict = Verdict{Rule: ContactTypes}
		default:
			verdict = g.own
		}
		if verdict.Rule != "" {
			f.users[id] = verdict
		}
	}
	return nil
}

// link decides about a link, and what it means for a guardian at either end.
func (f *Filter) link(l link, types map[pair]string, guardians map[string]*guardian) {
	a, b := guardians[l.from], guardians[l.to]
	both := pairOf(l.from, l.to)
	kind := types[both]
	for _, g := range []*guardian{a, b} {
		if g != nil && kind == "" {
			kind = g.person
		}
	}
	cut := f.people != nil && kind != "" && !f.people[kind]
	if cut {
		f.cut[both] = true
	}
	if (a == nil) == (b == nil) {
		return
	}
	g, other := a, l.to
	if b != nil {
		g, other = b, l.from
	}
	g.linked = true
	switch lost := f.users[other]; {
	case cut:
	case lost.Rule == "":
		g.shared = true
	default:
		g.lost = of(lost, typev1.Entity_ENTITY_USERS, other)
	}
}

// person is the type of contact that follows from the roles of a guardian.
func person(roles []*typev1.Role) string {
	for _, r := range roles {
		if slices.Contains(contactTypes, r.GetRole()) {
			return r.GetRole()
		}
	}
	return ""
}

func (f *Filter) student(u *typev1.User) Verdict {
	all := f.schoolsOf(u)
	mine := all
	if f.primaryOnly {
		if mine = f.primarySchools(u, all); len(mine) > 0 {
			f.primary[u.GetSourcedId()] = mine
		}
	}
	switch {
	case f.schools != nil && !slices.ContainsFunc(all, f.shares):
		return Verdict{Rule: Schools}
	case f.schools != nil && !slices.ContainsFunc(mine, f.shares):
		return Verdict{Rule: PrimarySchoolOnly}
	case f.grades != nil && !slices.ContainsFunc(u.GetGrades(), func(g string) bool { return f.grades[g] }):
		return Verdict{Rule: Grades}
	}
	return Verdict{}
}

// schoolsOf are those in which a user is a student.
func (f *Filter) schoolsOf(u *typev1.User) []string {
	var out []string
	for _, r := range u.GetRoles() {
		if s := f.school(f.at(r.GetOrg())); s != "" && record.FamilyOf(r.GetRole()) == record.FamilyStudent && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// primarySchools are those of all that are the primary one of a student. They
// are all of them if the source does not say.
func (f *Filter) primarySchools(u *typev1.User, all []string) []string {
	if s := f.school(f.at(u.GetPrimaryOrg())); slices.Contains(all, s) {
		return []string{s}
	}
	var out []string
	for _, r := range u.GetRoles() {
		if s := f.school(f.at(r.GetOrg())); slices.Contains(all, s) && r.GetRoleType() == "primary" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return all
	}
	return out
}

// staff is any user but a student or a guardian with children: of the orgs of
// its roles, or of its primary one if these have none.
func (f *Filter) staff(u *typev1.User) Verdict {
	if f.schools == nil {
		return Verdict{}
	}
	orgs := []*typev1.Ref{u.GetPrimaryOrg()}
	for _, r := range u.GetRoles() {
		if r.GetOrg() != nil {
			orgs = append(orgs, r.GetOrg())
		}
	}
	if len(orgs) > 1 {
		orgs = orgs[1:]
	}
	if slices.ContainsFunc(orgs, func(o *typev1.Ref) bool { return o != nil && f.shares(f.at(o)) }) {
		return Verdict{}
	}
	return Verdict{Rule: Schools}
}
