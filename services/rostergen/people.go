package rostergen

import (
	"strconv"
	"strings"
)

// user is a user of either version: orgs[0] is the primary one.
type user struct {
	id, status, role              string
	given, middle, family         string
	username, userIDs, identifier string
	email, phone, sms             string
	orgs                          []string
	agents, grades                string
	address, city, state, zip     string
}

// seat is what happened to a student's place, and with it to the family of an
// only child, up to a day: who sits there now and how often they changed.
type seat struct {
	incarnation, version int
	empty                bool
}

// happens tells whether a record changes on a day, and a number to decide how.
func (d *District) happens(kind idKind, i, day int) (uint64, bool) {
	h := d.hash(topicEvent, int(kind)<<40|i, day)
	return h >> 8 & 0xffff, float64(h>>32)/(1<<32) < d.cfg.ChangeShare
}

// version returns how often a record was edited up to a day.
func (d *District) version(kind idKind, i, day int) (v int) {
	for t := 2; t <= day; t++ {
		if _, ok := d.happens(kind, i, t); ok {
			v++
		}
	}
	return v
}

func (d *District) seat(student, day int) (s seat) {
	for t := 2; t <= day; t++ {
		how, ok := d.happens(idStudent, student, t)
		switch {
		case !ok:
		case s.empty:
			s.empty = false
			s.incarnation++
		case how%10 > 2 || !d.movable(student):
			s.version++
		case how%10 == 0:
			s.empty = true
		default:
			s.incarnation++
		}
	}
	return s
}

// movable tells whether a student may leave: an only child without a flaw who
// is not needed to keep a class from running empty.
func (d *District) movable(student int) bool {
	i := find(d.studentStart, student)
	if _, lead := d.schools[i].cohortOf(student - d.studentStart[i]); lead {
		return false
	}
	f := d.familyOfStudent(student)
	if f.single < 0 {
		return false
	}
	if k, _ := d.singles.at(f.single); k != sound {
		return false
	}
	k, _ := d.endDates.at(student)
	return k == sound
}

// familySeat returns the incarnation of a family, which goes with its only
// child.
func (d *District) familySeat(f family, day int) seat {
	if day < 2 || f.single < 0 {
		return seat{}
	}
	s := d.seat(d.childAt(f.child), day)
	s.version = 0
	return s
}

func (d *District) flawOf(f family) (victim, int) {
	switch {
	case f.single >= 0:
		return d.singles.at(f.single)
	case f.double >= 0:
		return d.doubles.at(f.double)
	}
	return sound, 0
}

// grow makes numbers of successive occupants of a place distinct.
func grow(incarnation, i int) int { return incarnation*10_000_000 + i }

func pick(list []string, h uint64) string { return list[h%uint64(len(list))] }

// name fills in the names that go with three hashes and returns the beginning
// of an email address, which the number makes unique.
func (u *user) name(given, family, middle uint64, number int) (mail string) {
	g, f := given%uint64(len(givenNames)), family%uint64(len(familyNames))
	u.given, u.family, u.middle = givenNames[g], familyNames[f], pick(givenNames, middle)
	if middle>>32%4 == 0 {
		u.middle = ""
	}
	return givenMail[g] + "." + familyMail[f] + strconv.Itoa(number)
}

var gradeCodes = [...]string{"KG", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"}

// student returns the user in a student's seat; ok is false if it is empty.
func (d *District) student(i, day int) (u user, ok bool) {
	st := d.seat(i, day)
	if st.empty {
		return u, false
	}
	f := d.familyOfStudent(i)
	flaw, n := d.flawOf(f)
	at := find(d.studentStart, i)
	s := &d.schools[at]
	number := grow(st.incarnation, i)
	mail := u.name(d.hash(topicGiven, i, st.incarnation), d.hash(topicFamily, f.index, st.incarnation),
		d.hash(topicMiddle, i, st.incarnation)|7<<32, number)
	u.middle = givenNames[(d.hash(topicMiddle, i, st.incarnation)+uint64(st.version))%uint64(len(givenNames))]
	u.id, u.role = d.id(idStudent, st.incarnation, i), "student"
	u.username, u.email = mail, mail+"@students."+d.domain
	u.identifier = strconv.Itoa(100_000_000 + number)
	u.userIDs = "{state:" + u.identifier + "}"
	u.orgs = []string{d.schoolID(at)}
	u.grades = gradeCodes[levels[s.level].firstGrade+s.gradeOf(i-d.studentStart[at])]
	if flaw != noGuardians && (d.linkHeldBy(f) != heldByGuardian || flaw == tombstoned || flaw == gone) {
		u.agents = d.guardiansOf(f, flaw, n, st.incarnation)
	}
	if f.single < 0 {
		return u, true // the flaws of larger families are their guardians'
	}
	switch flaw {
	case noEmail:
		u.email = ""
	case sameEmail:
		count := d.cfg.Flaws.Counts[StudentEmailDuplicate]
		if l := leader(n, count); l != n {
			u.email = d.emailOf(d.childAt(d.familyOfSingle(d.singles.member(sameEmail, l)).child))
			if n%4 == 1 {
				u.email = strings.ToUpper(u.email) // the same all the same
			}
		}
	case strangeDomain:
		u.email = mail + "@playmail.example"
	case noName:
		if n%2 == 0 {
			u.family = ""
		} else {
			u.given = ""
		}
	case inProgram:
		u.orgs = append(u.orgs, d.programID(n/programMembers))
	}
	return u, true
}

// emailOf returns the email of a student who never leaves and has no email flaw.
func (d *District) emailOf(student int) string {
	var u user
	f := d.familyOfStudent(student)
	return u.name(d.hash(topicGiven, student, 0), d.hash(topicFamily, f.index, 0), 0, student) + "@students." + d.domain
}

type linkHolder int

const (
	heldByBoth linkHolder = iota
	heldByStudent
	heldByGuardian
)

// linkHeldBy tells which side names the other: in one family of eight only one.
func (d *District) linkHeldBy(f family) linkHolder {
	switch d.hash(topicLink, f.index, 0) % 16 {
	case 0:
		return heldByStudent
	case 1:
		return heldByGuardian
	}
	return heldByBoth
}

func (d *District) guardiansOf(f family, flaw victim, n, incarnation int) string {
	ids := make([]string, 0, 7)
	for j := range f.guardians {
		ids = append(ids, d.id(idGuardian, incarnation, f.firstGuardian+j))
	}
	if f.single >= 0 {
		switch flaw {
		case tooMany:
			for j := range 6 - f.guardians {
				ids = append(ids, d.extraID(tooMany, n*extraGuardians+j))
			}
		case tombstoned, internal:
			ids = append(ids, d.extraID(flaw, n))
		case gone:
			ids = append(ids, d.id(idGuardian, unknown, n))
		}
	}
	return strings.Join(ids, ",")
}

// childrenOf returns the ids and the schools of a family's children.
func (d *District) childrenOf(f family, incarnation int) (ids string, orgs []string) {
	list := make([]string, 0, 3)
	for k := range f.size {
		c := d.childAt(f.child + k)
		list = append(list, d.id(idStudent, incarnation, c))
		org := d.schoolID(find(d.studentStart, c))
		if len(orgs) == 0 || orgs[0] != org && orgs[len(orgs)-1] != org {
			orgs = append(orgs, org)
		}
	}
	return strings.Join(list, ","), orgs
}

var guardianDomains = [...]string{"@mailbox.example", "@homepost.example", "@webmail.example", "@letters.example"}

// guardian returns a guardian of a family; ok is false if the family has left
// or is to have no guardians.
func (d *District) guardian(i, day int) (u user, ok bool) {
	f := d.familyOfGuardian(i)
	flaw, n := d.flawOf(f)
	st := d.familySeat(f, day)
	if st.empty || f.single >= 0 && flaw == noGuardians {
		return u, false
	}
	surname := d.hash(topicFamily, f.index, st.incarnation)
	if d.hash(topicFamily, i, -1)%7 == 0 {
		surname = d.hash(topicFamily, i, -2)
	}
	d.fillGuardian(&u, i, st.incarnation, d.version(idGuardian, i, day), surname, f.index)
	children, orgs := d.childrenOf(f, st.incarnation)
	u.orgs = orgs
	if d.linkHeldBy(f) != heldByStudent {
		u.agents = children
	}
	if i != f.firstGuardian && (flaw != emailSharedTwice || i != f.firstGuardian+1) {
		return u, true
	}
	switch flaw {
	case noAddress:
		u.address, u.city, u.state, u.zip = "", "", "", ""
	case noMail:
		u.email = ""
	case noPhone:
		u.phone, u.sms = "", ""
	case districtOnly:
		u.orgs = []string{d.districtID()}
	case emailShared, emailSharedTwice:
		u.email = d.emailOf(d.childAt(f.child))
		if n%2 == 1 {
			u.email = strings.ToUpper(u.email)
		}
	}
	return u, true
}

// fillGuardian fills in what all guardians have. Number is unique among them,
// home is the same for those who live together.
func (d *District) fillGuardian(u *user, number, incarnation, version int, surname uint64, home int) {
	mail := u.name(d.hash(topicGiven, number, incarnation-1000), surname, d.hash(topicMiddle, number, incarnation-1000),
		grow(incarnation, number))
	h := d.hash(topicAddress, home, incarnation)
	u.id, u.role = d.id(idGuardian, incarnation, number), "guardian"
	if h>>60 < 6 {
		u.role = "parent"
	}
	u.email = mail + pick(guardianDomains[:], h>>50)
	u.username = u.email
	u.phone = phone(d.hash(topicPhone, number, incarnation) + uint64(version))
	if h>>58&1 == 0 {
		u.sms = u.phone
	}
	u.address = strconv.Itoa(int(h%9800)+100) + " " + pick(streets, h>>16)
	if h>>40%8 == 0 {
		u.address += ", Apt " + strconv.Itoa(int(h>>44%60)+1)
	}
	u.city, u.state, u.zip = pick(cities, h>>24), "WA", "00"+strconv.Itoa(int(h>>32%800)+100)
}

// phone returns a number of the range kept for fiction; successive numbers differ.
func phone(h uint64) string {
	return strconv.Itoa(int(h/100%700)+200) + "-555-01" + string(rune('0'+h/10%10)) + string(rune('0'+h%10))
}

// staff returns a member of a school's staff: teachers, aides, administrators.
func (d *District) staff(i, day int) user {
	at := find(d.staffStart, i)
	s := &d.schools[at]
	local := i - d.staffStart[at]
	u := d.employee(i, day)
	u.orgs = []string{d.schoolID(at)}
	switch {
	case local < s.teachers:
		u.role = "teacher"
		if next := (at + 1) % len(d.schools); next != at && d.hash(topicSecondOrg, i, 0)%30 == 0 {
			u.orgs = append(u.orgs, d.schoolID(next))
		}
		switch flaw, n := d.teacherPool.at(d.teacherStart[at] + local); flaw {
		case noEmail:
			u.email = ""
		case sameEmail:
			if l := leader(n, d.cfg.Flaws.Counts[TeacherEmailDuplicate]); l != n {
				u.email = d.employee(d.staffOfTeacher(d.teacherPool.member(sameEmail, l)), day).email
			}
		}
	case local < s.teachers+s.aides:
		u.role = "aide"
	case local == s.teachers+s.aides:
		u.role = "principal"
	default:
		u.role = "siteAdministrator"
	}
	return u
}

func (d *District) staffOfTeacher(teacher int) int {
	at := find(d.teacherStart, teacher)
	return d.staffStart[at] + teacher - d.teacherStart[at]
}

// employee fills in what all staff has.
func (d *District) employee(number, day int) (u user) {
	mail := u.name(d.hash(topicGiven, number, -1), d.hash(topicFamily, number, -3), 0, number)
	u.middle = givenNames[(d.hash(topicMiddle, number, -1)+uint64(d.version(idStaff, number, day)))%uint64(len(givenNames))]
	u.id = d.id(idStaff, 0, number)
	u.email = mail + "@" + d.domain
	u.username = u.email
	u.identifier = "E" + strconv.Itoa(100_000+number)
	u.userIDs = "{hr:" + u.identifier + "}"
	u.phone = phone(d.hash(topicPhone, number, -1))
	return u
}

// districtStaff is how many people work at the district's office.
func (d *District) districtStaff() int { return 4 + len(d.schools)/10 }

func (d *District) officer(i, day int) user {
	u := d.employee(d.total.staff+i, day)
	u.role, u.orgs = "districtAdministrator", []string{d.districtID()}
	if i < 2 {
		u.role = "systemAdministrator"
	}
	return u
}

// extraID returns the id of the n-th extra user of a kind.
func (d *District) extraID(kind victim, n int) string {
	for _, s := range d.extras.shares {
		if s.kind != kind {
			continue
		}
		switch kind {
		case internal:
			return "securlyinternal:" + d.id(idGuardian, 0, d.guardians+s.from+n)
		case tooMany, unlinked, tombstoned:
			return d.id(idGuardian, 0, d.guardians+s.from+n)
		default:
			return d.id(idStaff, 0, d.total.staff+d.districtStaff()+s.from+n)
		}
	}
	return ""
}

// extra returns a user who exists for the sake of a flaw only.
func (d *District) extra(i, day int) (u user, ok bool) {
	kind, n := d.extras.atRank(i)
	switch kind {
	case tooMany, tombstoned, internal:
		per := 1
		if kind == tooMany {
			per = extraGuardians
		}
		f := d.familyOfSingle(d.singles.member(kind, n/per))
		if kind == tooMany && n%per >= 6-f.guardians {
			return u, false
		}
		d.fillGuardian(&u, d.guardians+i, 0, 0, d.hash(topicFamily, i, -4), f.index)
		children, orgs := d.childrenOf(f, 0)
		u.orgs = orgs
		if d.linkHeldBy(f) != heldByStudent {
			u.agents = children
		}
		switch kind {
		case tombstoned:
			u.status, u.email, u.phone, u.sms, u.agents = toBeDeleted, "", "", "", ""
			u.address, u.city, u.state, u.zip = "", "", "", ""
		case internal:
			u.id, u.email = d.extraID(internal, n), ""
		}
	case unlinked:
		d.fillGuardian(&u, d.guardians+i, 0, 0, d.hash(topicFamily, i, -4), -1-i)
		u.orgs = []string{d.schoolID(n % len(d.schools))}
	case sameEmail:
		u = d.employee(d.total.staff+d.districtStaff()+i, day)
		u.role, u.orgs = "siteAdministrator", []string{d.schoolID(n % len(d.schools))}
		if l := leader(n, d.cfg.Flaws.Counts[AdminEmailDuplicate]); l != n {
			u.email = d.employee(d.total.staff+d.districtStaff()+i-n+l, day).email
		}
	case secondUser:
		first := d.staffOfTeacher(d.teacherPool.member(secondUser, n))
		u = d.employee(first, day)
		u.id = d.extraID(secondUser, n)
		u.username = "2." + u.username
		u.userIDs = ""
		u.orgs = []string{d.schoolID((find(d.staffStart, first) + 1) % len(d.schools))}
		u.role = "teacher"
		if n%2 == 1 {
			u.role = "siteAdministrator"
		}
	case programTeacher:
		u = d.employee(d.total.staff+d.districtStaff()+i, day)
		u.role = "teacher"
		u.orgs = []string{d.programID(d.cfg.Flaws.Counts[TeacherEnrollmentsMissing] + n)}
	}
	return u, true
}

// users is the number of places in the file of users.
func (d *District) users() int {
	return d.cfg.Students + d.total.staff + d.districtStaff() + d.guardians + d.extras.used
}

// user returns the user at a place; ok is false if there is none on that day.
func (d *District) user(i, day int) (user, bool) {
	if i < d.cfg.Students {
		return d.student(i, day)
	}
	if i -= d.cfg.Students; i < d.total.staff {
		return d.staff(i, day), true
	}
	if i -= d.total.staff; i < d.districtStaff() {
		return d.officer(i, day), true
	}
	if i -= d.districtStaff(); i < d.guardians {
		return d.guardian(i, day)
	}
	return d.extra(i-d.guardians, day)
}
