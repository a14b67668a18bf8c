package rostergen

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Check is the id of a readiness check.
type Check string

// The readiness checks, and what rostergen understands each to count among
// active records. Where a check speaks of a link, either side may hold it.
const (
	StudentEmailMissing       Check = "student-email-missing"       // students
	StudentGuardiansMissing   Check = "student-guardians-missing"   // students without an active guardian
	StudentEmailDuplicate     Check = "student-email-duplicate"     // students whose email another person has too who is a student
	TeacherEmailDuplicate     Check = "teacher-email-duplicate"     // the same for teachers
	AdminEmailDuplicate       Check = "admin-email-duplicate"       // the same for administrators
	GuardianAddressMissing    Check = "guardian-address-missing"    // student-guardian relationships
	GuardianEmailMissing      Check = "guardian-email-missing"      // student-guardian relationships
	GuardianPhoneMissing      Check = "guardian-phone-missing"      // student-guardian relationships; neither phone nor sms
	GuardianUnlinked          Check = "guardian-unlinked"           // guardians without any student
	GuardianDistrictOnly      Check = "guardian-district-only"      // guardians who belong to the district and to no school
	GuardiansTooMany          Check = "guardians-too-many"          // students with six or more guardians
	ClassTermsMissing         Check = "class-terms-missing"         // classes without a term id
	ClassTermUnknown          Check = "class-term-unknown"          // classes with a term id that no session has
	ClassCourseMissing        Check = "class-course-missing"        // classes without a course id
	ClassCourseUnknown        Check = "class-course-unknown"        // classes with a course id that no course has
	ClassSchoolMissing        Check = "class-school-missing"        // classes without a school id
	ClassTeacherMissing       Check = "class-teacher-missing"       // classes without a teacher enrollment
	ClassStudentsMissing      Check = "class-students-missing"      // classes without a student enrollment
	TeacherEnrollmentsMissing Check = "teacher-enrollments-missing" // schools with classes, but no teacher enrollment
	StudentEnrollmentsMissing Check = "student-enrollments-missing" // schools with classes, but no student enrollment
	SchoolEmpty               Check = "school-empty"                // schools without users, classes and enrollments
	EnrollmentEndDateMissing  Check = "enrollment-end-date-missing" // enrollments
	EnrollmentUserMissing     Check = "enrollment-user-missing"     // enrollments of a user id that no user has
	EnrollmentClassMissing    Check = "enrollment-class-missing"    // enrollments in a class id that no class has
	UserEmailMissing          Check = "user-email-missing"          // staff
	UserRequiredMissing       Check = "user-required-missing"       // users with a blank given or family name
	EmailDomainUnexpected     Check = "email-domain-unexpected"     // students and staff
	EmailSharedAcrossRoles    Check = "email-shared-across-roles"   // users whose email another person of another role family has too
	DemographicsUserMissing   Check = "demographics-user-missing"   // demographics of a user id that no user has
	SessionDatesInvalid       Check = "session-dates-invalid"       // sessions that end before they start
	SessionNoneCurrent        Check = "session-none-current"        // 1 if no session covers the reference date
)

// Checks lists every check a district can be given flaws for.
var Checks = []Check{
	StudentEmailMissing, StudentGuardiansMissing, StudentEmailDuplicate, TeacherEmailDuplicate, AdminEmailDuplicate,
	GuardianAddressMissing, GuardianEmailMissing, GuardianPhoneMissing, GuardianUnlinked, GuardianDistrictOnly,
	GuardiansTooMany, ClassTermsMissing, ClassTermUnknown, ClassCourseMissing, ClassCourseUnknown, ClassSchoolMissing,
	ClassTeacherMissing, ClassStudentsMissing, TeacherEnrollmentsMissing, StudentEnrollmentsMissing, SchoolEmpty,
	EnrollmentEndDateMissing, EnrollmentUserMissing, EnrollmentClassMissing, UserEmailMissing, UserRequiredMissing,
	EmailDomainUnexpected, EmailSharedAcrossRoles, DemographicsUserMissing, SessionDatesInvalid, SessionNoneCurrent,
}

// Flaws says what is wrong with a district. The zero value is a sound one.
type Flaws struct {
	// Counts is how many findings to put in per check. A check that compares
	// emails needs at least two; SessionNoneCurrent is 0 or 1. Some findings
	// imply others (a school without teacher enrollments has a class without
	// a teacher): Expected tells the sums.
	Counts map[Check]int

	// Noise that must not be taken for a flaw:

	// TombstonedGuardians are marked tobedeleted, blank, and still referred to
	// by a student who has other guardians.
	TombstonedGuardians int
	// InternalGuardians have ids that begin "securlyinternal:" and no email.
	InternalGuardians int
	// GoneGuardians are ids that a student who has other guardians refers to and
	// that no record has.
	GoneGuardians int
	// SamePersons are teachers who are a second user as well, in another school
	// or as an administrator, with the same identifier and email.
	SamePersons int
}

// Each returns n findings for every check (at least two where emails are
// compared) and n of each kind of noise; n 0 is no flaw at all.
func Each(n int) Flaws {
	f := Flaws{Counts: map[Check]int{}, TombstonedGuardians: n, InternalGuardians: n, GoneGuardians: n, SamePersons: n}
	if n == 0 {
		return f
	}
	for _, c := range Checks {
		f.Counts[c] = n
	}
	for _, c := range []Check{StudentEmailDuplicate, TeacherEmailDuplicate, AdminEmailDuplicate, EmailSharedAcrossRoles} {
		f.Counts[c] = max(n, 2)
	}
	f.Counts[SessionNoneCurrent] = 1
	return f
}

// Realistic returns what a plausible, somewhat neglected district of that many
// students, 200 or more, suffers from.
func Realistic(students int) Flaws {
	share := func(perMille float64, least int) int { return max(least, int(float64(students)*perMille/1000)) }
	return Flaws{
		Counts: map[Check]int{
			StudentEmailMissing:       share(12, 3),
			StudentGuardiansMissing:   share(25, 4),
			StudentEmailDuplicate:     share(3, 4),
			TeacherEmailDuplicate:     share(0.2, 2),
			AdminEmailDuplicate:       share(0.05, 2),
			GuardianAddressMissing:    share(40, 6),
			GuardianEmailMissing:      share(60, 8),
			GuardianPhoneMissing:      share(15, 3),
			GuardianUnlinked:          share(4, 2),
			GuardianDistrictOnly:      share(3, 2),
			GuardiansTooMany:          share(0.5, 1),
			ClassTermsMissing:         share(2, 3),
			ClassTermUnknown:          share(0.5, 1),
			ClassCourseMissing:        share(1.5, 2),
			ClassCourseUnknown:        share(0.5, 1),
			ClassTeacherMissing:       share(1.5, 2),
			ClassStudentsMissing:      share(1.5, 2),
			TeacherEnrollmentsMissing: share(0.02, 1),
			StudentEnrollmentsMissing: share(0.02, 1),
			SchoolEmpty:               share(0.02, 1),
			EnrollmentEndDateMissing:  share(80, 10),
			EnrollmentUserMissing:     share(2, 2),
			EnrollmentClassMissing:    share(1, 2),
			UserEmailMissing:          share(0.6, 1),
			UserRequiredMissing:       share(1, 1),
			EmailDomainUnexpected:     share(2, 2),
			EmailSharedAcrossRoles:    share(2, 2),
			DemographicsUserMissing:   share(1, 1),
			SessionDatesInvalid:       1,
		},
		TombstonedGuardians: share(8, 3),
		InternalGuardians:   share(5, 2),
		GoneGuardians:       share(6, 2),
		SamePersons:         share(0.5, 2),
	}
}

// victim is what befalls the member of a pool at some rank. A pool hands out
// disjoint ranges of ranks, so one flaw never feeds another.
type victim int

const (
	sound victim = iota
	noEmail
	noGuardians
	sameEmail
	strangeDomain
	noName
	emailShared
	emailSharedTwice
	noAddress
	noMail
	noPhone
	districtOnly
	tooMany
	tombstoned
	internal
	gone
	inProgram
	noTerms
	strangeTerm
	noCourse
	strangeCourse
	noSchool
	noTeacher
	noStudents
	secondUser
	unlinked
	programTeacher
)

type share struct {
	kind victim
	from int
}

// pool assigns victims to the first ranks of a population.
type pool struct {
	order  perm
	shares []share
	used   int
}

func newPool(size int, key uint64) pool { return pool{order: newPerm(size, key)} }

func (p *pool) give(kind victim, n int) {
	if n > 0 {
		p.shares = append(p.shares, share{kind, p.used})
		p.used += n
	}
}

// at returns what befalls member i, and its number among those of that kind.
func (p *pool) at(i int) (victim, int) {
	if p.used == 0 {
		return sound, 0
	}
	return p.atRank(p.order.rank(i))
}

func (p *pool) atRank(rank int) (victim, int) {
	if rank >= p.used {
		return sound, 0
	}
	k := len(p.shares) - 1
	for p.shares[k].from > rank {
		k--
	}
	return p.shares[k].kind, rank - p.shares[k].from
}

// member returns the n-th member that a kind befalls.
func (p *pool) member(kind victim, n int) int {
	for _, s := range p.shares {
		if s.kind == kind {
			return p.order.at(s.from + n)
		}
	}
	panic(fmt.Sprintf("rostergen: no victim %d in this pool", kind))
}

func (p *pool) check(what string) error {
	if uint64(p.used) > p.order.n {
		return fmt.Errorf("the flaws need %d %s and the district has %d: ask for fewer flaws or more students", p.used, what, p.order.n)
	}
	return nil
}

// programMembers is how many students of other schools go to a program school.
const programMembers = 3

// extraGuardians is how many guardians a family gets at most to have too many.
const extraGuardians = 4

// assignFlaws fills the pools.
func (d *District) assignFlaws() error {
	f := d.cfg.Flaws
	n := func(c Check) int { return f.Counts[c] }
	for c, count := range f.Counts {
		switch {
		case !slices.Contains(Checks, c):
			return fmt.Errorf("flaws: unknown check %q", c)
		case count < 0, c == SessionNoneCurrent && count > 1:
			return fmt.Errorf("flaws: %s cannot be %d", c, count)
		}
	}
	for _, c := range []Check{StudentEmailDuplicate, TeacherEmailDuplicate, AdminEmailDuplicate, EmailSharedAcrossRoles} {
		if n(c) == 1 {
			return fmt.Errorf("flaws: %s cannot be 1: it takes two to share an email", c)
		}
	}
	if min(f.TombstonedGuardians, f.InternalGuardians, f.GoneGuardians, f.SamePersons) < 0 {
		return errors.New("flaws: a count of noise cannot be negative")
	}
	d.programs = n(TeacherEnrollmentsMissing) + n(StudentEnrollmentsMissing)

	blocks := d.cfg.Students / blockChildren
	singles := newPool(blocks*blockSingles+d.cfg.Students%blockChildren, d.hash(topicPerm, 2, 0))
	doubles := newPool(blocks*blockDoubles, d.hash(topicPerm, 3, 0))
	singles.give(noEmail, n(StudentEmailMissing))
	singles.give(noGuardians, n(StudentGuardiansMissing))
	singles.give(sameEmail, n(StudentEmailDuplicate))
	singles.give(strangeDomain, n(EmailDomainUnexpected))
	singles.give(noName, n(UserRequiredMissing))
	shared := n(EmailSharedAcrossRoles)
	singles.give(emailSharedTwice, shared%2)
	singles.give(emailShared, (shared-3*(shared%2))/2)
	// A guardian of two children counts twice; up to half of the count is made so.
	for _, g := range []struct {
		kind  victim
		check Check
	}{{noAddress, GuardianAddressMissing}, {noMail, GuardianEmailMissing}, {noPhone, GuardianPhoneMissing}} {
		pairs := min(n(g.check)/4, int(doubles.order.n)/4)
		doubles.give(g.kind, pairs)
		singles.give(g.kind, n(g.check)-2*pairs)
	}
	singles.give(districtOnly, n(GuardianDistrictOnly))
	singles.give(tooMany, n(GuardiansTooMany))
	singles.give(tombstoned, f.TombstonedGuardians)
	singles.give(internal, f.InternalGuardians)
	singles.give(gone, f.GoneGuardians)
	singles.give(inProgram, programMembers*d.programs)

	teachers := newPool(d.total.teachers, d.hash(topicPerm, 4, 0))
	teachers.give(sameEmail, n(TeacherEmailDuplicate))
	teachers.give(noEmail, n(UserEmailMissing))
	teachers.give(secondUser, f.SamePersons)

	cohorts := 0
	for i := range d.schools {
		d.poolStart = append(d.poolStart, d.classStart[i]-cohorts)
		cohorts += d.schools[i].cohorts
	}
	classes := newPool(d.total.classes-cohorts, d.hash(topicPerm, 5, 0))
	classes.give(noTerms, n(ClassTermsMissing))
	classes.give(strangeTerm, n(ClassTermUnknown))
	classes.give(noCourse, n(ClassCourseMissing))
	classes.give(strangeCourse, n(ClassCourseUnknown))
	classes.give(noSchool, n(ClassSchoolMissing))
	classes.give(noTeacher, n(ClassTeacherMissing))
	classes.give(noStudents, n(ClassStudentsMissing))

	enrollments := newPool(d.cfg.Students, d.hash(topicPerm, 6, 0))
	enrollments.give(noTerms, n(EnrollmentEndDateMissing))

	d.extras.give(tooMany, extraGuardians*n(GuardiansTooMany))
	d.extras.give(unlinked, n(GuardianUnlinked))
	d.extras.give(tombstoned, f.TombstonedGuardians)
	d.extras.give(internal, f.InternalGuardians)
	d.extras.give(sameEmail, n(AdminEmailDuplicate))
	d.extras.give(secondUser, f.SamePersons)
	d.extras.give(programTeacher, n(StudentEnrollmentsMissing))

	d.singles, d.doubles, d.teacherPool, d.classPool, d.endDates = singles, doubles, teachers, classes, enrollments
	return errors.Join(singles.check("only children"), doubles.check("families with two children"),
		teachers.check("teachers"), classes.check("classes beside each cohort's first"), enrollments.check("students"))
}

// leader returns which of n sharers of emails gives its own to number i:
// sharers go in pairs, and the last three together when n is odd.
func leader(i, n int) int {
	if n%2 == 1 && i >= n-3 {
		return n - 3
	}
	return i - i%2
}

// findings returns the expected findings per check, those that a person has
// to act on and those that are only noise.
func (d *District) findings() (actionable, informational map[Check]int) {
	f := d.cfg.Flaws
	actionable = map[Check]int{}
	for _, c := range Checks {
		actionable[c] = 0
	}
	maps.Copy(actionable, f.Counts)
	actionable[ClassTeacherMissing] += f.Counts[TeacherEnrollmentsMissing]
	actionable[ClassStudentsMissing] += f.Counts[StudentEnrollmentsMissing]
	// A relationship with a record that is gone lacks everything, and nobody can
	// do anything about it.
	left := f.TombstonedGuardians + f.GoneGuardians
	return actionable, map[Check]int{
		GuardianEmailMissing:   f.InternalGuardians + left,
		GuardianAddressMissing: left,
		GuardianPhoneMissing:   left,
	}
}
