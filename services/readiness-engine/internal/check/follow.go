package check

import (
	"slices"

	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// dirty is what has changed and what has to be looked at again for it.
type dirty struct {
	all     bool // everything is new
	changes replica.Changes

	users, orgs, sessions, classes rows // changed records

	people      rows // users to look at: changed ones, those they are linked with
	emails      rows // emails whose bearers to look at, by text
	keys        rows // keys whose persons to work out anew, by text
	enrollments rows // enrollments to look at
	// Users and classes that matter to enrollments in another way than before.
	moved struct{ users, classes rows }
}

func (d *dirty) nothing() bool {
	return !d.all && d.users.empty() && d.orgs.empty() && d.sessions.empty() && d.classes.empty() && d.enrollments.empty()
}

// look brings everything up to date.
func (v *View) look(given Given, d *dirty) {
	v.today, v.declared = given.Day(), given.Domains
	v.grow()
	if d.all {
		for rows, n := range map[*rows]int{
			&d.users: len(v.Users.Rows), &d.orgs: len(v.Orgs.Rows), &d.sessions: len(v.Sessions.Rows), &d.classes: len(v.Classes.Rows),
			&d.people: len(v.Users.Rows), &d.emails: v.Texts(), &d.keys: v.Texts(), &d.enrollments: len(v.Enrollments.Rows),
		} {
			rows.all = uint32(n)
		}
		for i := range v.found {
			v.found[i].population = 0
		}
	}
	v.followOrgs(d)
	each(d.all, v.Users.Rows, d.changes.Users, func(row uint32, old, u *replica.User) { v.followUser(d, row, old, u) })
	for row := range d.users.each() {
		for link := range v.named.of(row) {
			d.people.add(uint32(v.holder[link]))
		}
	}
	v.identify(d)
	v.followDomains(d)
	v.followEnrollments(d)
	v.countOrgs()
	v.check(d)
}

func (v *View) grow() {
	users, texts := len(v.Users.Rows), v.Texts()
	agents, keys := v.Numbers()
	v.state, v.whole, v.domainOf = grown(v.state, users), grown(v.whole, users), grown(v.domainOf, users)
	v.named.grow(users, agents+1)
	v.holder = grown(v.holder, agents+1)
	v.emails.grow(texts, users)
	v.keys.grow(texts, keys+1)
	v.bearer = grown(v.bearer, keys+1)
	for row := len(v.person); row < users; row++ {
		v.person = append(v.person, uint32(row))
	}
	v.inClass = grown(v.inClass, len(v.Classes.Rows))
	orgs := len(v.Orgs.Rows)
	v.members, v.people = grown(v.members, orgs), grown(v.people, orgs)
	v.inOrg, v.orgs = grown(v.inOrg, orgs), grown(v.orgs, orgs)
	v.schools, v.central = grown(v.schools, orgs), grown(v.central, orgs)
	if v.found == nil {
		v.found = make([]found, len(catalogue))
	}
}

// each calls f with the rows that have changed; when all are new, with all of
// them as if they had been empty.
func each[R any](all bool, rows []R, changes []replica.Changed[R], f func(row uint32, old, now *R)) {
	if all {
		var none R
		for i := range rows {
			f(uint32(i), &none, &rows[i])
		}
		return
	}
	for i := range changes {
		f(changes[i].Row, &changes[i].Old, &rows[changes[i].Row])
	}
}

func (v *View) kinds(o *replica.Org) (school, central bool) {
	kind := v.Text(o.Type)
	return kind == "school", kind == "district"
}

// kindsChange tells whether an org turns into a school or a district or stops
// being one: users are counted where they belong, by the kinds of orgs.
func (v *View) kindsChange(changes []replica.Changed[replica.Org]) bool {
	return slices.ContainsFunc(changes, func(c replica.Changed[replica.Org]) bool {
		school, central := v.kinds(&v.Orgs.Rows[c.Row])
		wasSchool, wasCentral := v.kinds(&c.Old)
		return school != wasSchool || central != wasCentral
	})
}

func (v *View) followOrgs(d *dirty) {
	v.schoolCount = 0
	for i := range v.Orgs.Rows {
		v.schools[i], v.central[i] = v.kinds(&v.Orgs.Rows[i])
		if v.schools[i] && v.Orgs.Rows[i].State == replica.Active {
			v.schoolCount++
		}
	}
	for _, c := range d.changes.Orgs {
		d.orgs.add(c.Row)
	}
	for _, c := range d.changes.Sessions {
		d.sessions.add(c.Row)
	}
}

func (v *View) followUser(d *dirty, row uint32, old, u *replica.User) {
	v.state[row] = u.State
	for i, c := range catalogue {
		if counts := c.find.counts; counts != nil {
			if counts(old) {
				v.found[i].population--
			}
			if counts(u) {
				v.found[i].population++
			}
		}
	}
	if old.State == replica.Active {
		v.link(d, row, old, false)
	}
	if u.State == replica.Active {
		v.link(d, row, u, true)
	}
	if !d.all {
		d.users.add(row)
		d.people.add(row)
		if old.State != u.State {
			d.moved.users.add(row)
		}
	}
}

// link notes what an active user refers to, or forgets it.
func (v *View) link(d *dirty, row uint32, u *replica.User, add bool) {
	n := int32(1)
	change := (*chains).add
	if !add {
		n, change = -1, (*chains).remove
	}
	if u.EmailKey != 0 {
		change(&v.emails, uint32(u.EmailKey), row)
		d.emails.add(uint32(u.EmailKey))
	}
	at := v.PersonsAt(u) + 1
	for i, key := range v.Persons(u) {
		v.bearer[at+uint32(i)] = replica.UserRow(row)
		change(&v.keys, uint32(key), at+uint32(i))
		d.keys.add(uint32(key))
	}
	at = v.AgentsAt(u) + 1
	for i, a := range v.Agents(u) {
		v.holder[at+uint32(i)] = replica.UserRow(row)
		change(&v.named, uint32(a.User), at+uint32(i))
		d.people.add(uint32(a.User))
	}
	v.members[u.PrimaryOrg] += n
	roles := v.Roles(u)
	for i, r := range roles {
		v.members[r.Org] += n
		if !slices.ContainsFunc(roles[:i], func(o replica.Role) bool { return o.Org == r.Org && o.Family == r.Family }) {
			v.people[r.Org].add(r.Family, n)
		}
	}
	v.countDomain(row, u, n)
}

// identify works out anew who is one person with whom, for the keys that have
// to do with a change, and has the emails of these persons looked at.
func (v *View) identify(d *dirty) {
	for row := range d.users.each() {
		v.person[row] = row
	}
	var done rows // keys
	var users []uint32
	for key := range d.keys.each() {
		if v.keys.first[key] == 0 || done.has(key) {
			continue
		}
		// All users that this key leads to, over any number of keys.
		users = users[:0]
		first := len(done.list)
		done.add(key)
		for i := first; i < len(done.list); i++ {
			for item := range v.keys.of(done.list[i]) {
				row := uint32(v.bearer[item])
				users = append(users, row)
				for _, other := range v.Persons(v.user(replica.UserRow(row))) {
					done.add(uint32(other))
				}
			}
		}
		representative := slices.Min(users)
		for _, row := range users {
			v.person[row] = representative
			d.emails.add(uint32(v.user(replica.UserRow(row)).EmailKey))
		}
	}
}

// followEnrollments counts enrollments, and finds those to look at: the changed
// ones, and all whose user or class has come or gone.
func (v *View) followEnrollments(d *dirty) {
	for _, c := range d.changes.Classes {
		d.classes.add(c.Row)
		if now := &v.Classes.Rows[c.Row]; c.Old.State != now.State || c.Old.School != now.School {
			d.moved.classes.add(c.Row)
		}
	}
	each(d.all, v.Enrollments.Rows, d.changes.Enrollments, func(row uint32, old, e *replica.Enrollment) {
		v.countEnrollment(old, -1)
		v.countEnrollment(e, 1)
		d.enrollments.add(row)
	})
	// There is no way from a user to the enrollments: it would take more memory
	// than this scan takes time.
	if d.moved.users.empty() && d.moved.classes.empty() {
		return
	}
	for i := range v.Enrollments.Rows {
		if e := &v.Enrollments.Rows[i]; d.moved.users.has(uint32(e.User)) || d.moved.classes.has(uint32(e.Class)) {
			d.enrollments.add(uint32(i))
		}
	}
}

func (v *View) countEnrollment(e *replica.Enrollment, n int32) {
	if e.State == replica.Active {
		v.enrollments += int(n)
		v.inClass[e.Class].add(e.Family, n)
		v.inOrg[e.School].add(e.Family, n)
	}
}

func (v *View) countOrgs() {
	for i := range v.orgs {
		v.orgs[i] = orgPresence{enrolled: v.inOrg[i]}
	}
	for i := range v.Classes.Rows {
		if c := &v.Classes.Rows[i]; c.State == replica.Active {
			v.orgs[c.School].classes++
			v.orgs[c.School].enrolled.plus(v.inClass[i])
		}
	}
}

// subject is a user to look at, with what links the user with others.
type subject struct {
	*replica.User
	row       replica.UserRow
	guardians []replica.UserRow // of a student: also those who are gone
	active    int               // guardians who are there
	linked    bool              // is guardian or emergency contact of a student who is there

	links []uint32 // a guardian's row and, in the lowest bit, whether it is an emergency contact
}

// subject collects the relationships that an active user states. The subject is
// good until the next one.
func (v *View) subject(row uint32) *subject {
	s := &v.scratch
	*s = subject{User: &v.Users.Rows[row], row: replica.UserRow(row), guardians: s.guardians[:0], links: s.links[:0]}
	if s.State == replica.Active {
		for _, a := range v.Agents(s.User) {
			v.addLink(s, s.row, a.User, a.Emergency)
		}
	}
	for item := range v.named.of(row) {
		holder := v.holder[item]
		u := v.user(holder)
		v.addLink(s, holder, s.row, v.Agents(u)[item-1-v.AgentsAt(u)].Emergency)
	}
	slices.Sort(s.links)
	for i, link := range s.links {
		// The last of equal guardians says whether one side calls it an emergency
		// contact; the other side may leave that open.
		if i+1 < len(s.links) && s.links[i+1]>>1 == link>>1 || link&1 == 1 {
			continue
		}
		guardian := replica.UserRow(link >> 1)
		s.guardians = append(s.guardians, guardian)
		if v.state[guardian] == replica.Active {
			s.active++
		}
	}
	return s
}

func (v *View) addLink(s *subject, holder, other replica.UserRow, emergency bool) {
	student, guardian, ok := v.sides(holder, other)
	switch {
	case !ok:
	case guardian == s.row:
		s.linked = s.linked || v.state[other] == replica.Active
	case student == s.row:
		link := uint32(guardian) << 1
		if emergency {
			link |= 1
		}
		s.links = append(s.links, link)
	}
}
