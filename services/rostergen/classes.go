package rostergen

import (
	"strconv"
	"time"
)

const dateLayout = "2006-01-02"

type session struct {
	id, title, kind, start, end, parent, year string
}

// Positions in District.sessions.
const (
	schoolYear = iota
	fall
	spring
)

// planSessions lays out the school year that the reference date lies in, or
// the one before for a district without a current session.
func (d *District) planSessions() {
	ref := d.cfg.ReferenceDate
	end := ref.Year() // a school year is named by the year it ends in
	if ref.Month() >= time.July {
		end++
	}
	if d.cfg.Flaws.Counts[SessionNoneCurrent] > 0 {
		end--
	}
	at := func(year int, m time.Month, dd int) string {
		return time.Date(year, m, dd, 0, 0, 0, 0, time.UTC).Format(dateLayout)
	}
	id := func(i int) string { return d.id(idSession, 0, i) }
	name := strconv.Itoa(end-1) + "-" + strconv.Itoa(end)
	y := strconv.Itoa(end)
	a, b := end-1, end
	d.sessions = []session{
		{id(0), name + " School Year", "schoolYear", at(a, 7, 1), at(b, 6, 30), "", y},
		{id(1), name + " Fall Semester", "semester", at(a, 8, 10), at(a, 12, 20), id(0), y},
		{id(2), name + " Spring Semester", "semester", at(b, 1, 5), at(b, 6, 12), id(0), y},
		{id(3), name + " Quarter 1", "gradingPeriod", at(a, 8, 10), at(a, 10, 16), id(1), y},
		{id(4), name + " Quarter 2", "gradingPeriod", at(a, 10, 19), at(a, 12, 20), id(1), y},
		{id(5), name + " Quarter 3", "gradingPeriod", at(b, 1, 5), at(b, 3, 19), id(2), y},
		{id(6), name + " Quarter 4", "gradingPeriod", at(b, 3, 22), at(b, 6, 12), id(2), y},
		{
			id(7), strconv.Itoa(end-2) + "-" + strconv.Itoa(end-1) + " School Year", "schoolYear",
			at(a-1, 7, 1), at(a, 6, 30), "", strconv.Itoa(end - 1),
		},
	}
	for i := range d.cfg.Flaws.Counts[SessionDatesInvalid] {
		k := len(d.sessions)
		d.sessions = append(d.sessions, session{
			id(k), name + " Intersession " + strconv.Itoa(i+1), "term",
			at(a, 9, 20+i%10), at(a, 9, 3+i%10), id(0), y,
		})
	}
}

type course struct {
	id, title, code, grades, subject, subjectCode string
}

type subject struct{ title, code string }

var (
	elementarySubjects = []subject{{"Homeroom", "23"}, {"Art", "05"}, {"Music", "05"}, {"Physical Education", "08"}, {"Library", "23"}}
	middleSubjects     = []subject{
		{"English Language Arts", "01"},
		{"Mathematics", "02"},
		{"Science", "03"},
		{"Social Studies", "04"},
		{"Physical Education", "08"},
		{"Exploratory Arts", "05"},
		{"Advisory", "23"},
	}
	highSubjects = [4][6]subject{
		{{"English 9", "01"}, {"Algebra I", "02"}, {"Biology", "03"}, {"World History", "04"}, {"Spanish I", "24"}, {"Physical Education 9", "08"}},
		{{"English 10", "01"}, {"Geometry", "02"}, {"Chemistry", "03"}, {"Modern History", "04"}, {"Spanish II", "24"}, {"Health", "08"}},
		{{"English 11", "01"}, {"Algebra II", "02"}, {"Physics", "03"}, {"US History", "04"}, {"Spanish III", "24"}, {"Fitness", "08"}},
		{{"English 12", "01"}, {"Statistics", "02"}, {"Earth Science", "03"}, {"Government and Economics", "04"}, {"Spanish IV", "24"}, {"Lifetime Sports", "08"}},
	}
	electives = []subject{{"Ceramics", "05"}, {"Computer Science", "10"}, {"Journalism", "11"}, {"Marketing", "12"}, {"Robotics", "21"}}
)

const coursesPerGrade = 11 // places, not all of them taken

// planCourses makes the district's catalogue. The course of a grade and a
// subject stands at grade*coursesPerGrade + subject, electives from 6.
func (d *District) planCourses() {
	d.courses = make([]course, 13*coursesPerGrade)
	for g := range gradeCodes {
		var list []subject
		prefix := ""
		switch {
		case g < 6:
			list, prefix = elementarySubjects, "Grade "+strconv.Itoa(g)+" "
			if g == 0 {
				prefix = "Kindergarten "
			}
		case g < 9:
			list, prefix = middleSubjects, "Grade "+strconv.Itoa(g)+" "
		default:
			list = append(append(list, highSubjects[g-9][:]...), electives...)
		}
		for i, s := range list {
			k := g*coursesPerGrade + i
			title := prefix + s.title
			if g >= 9 && i >= 6 {
				title += " " + strconv.Itoa(g)
			}
			d.courses[k] = course{
				id: d.id(idCourse, 0, k), title: title, code: s.code + gradeCodes[g] + strconv.Itoa(i),
				grades: gradeCodes[g], subject: s.title, subjectCode: s.code,
			}
		}
	}
}

func (d *District) courseOf(s *school, cohort, slot int) *course {
	k := slot
	switch s.level {
	case middle:
		k = 6
		if slot > 0 {
			k = (slot - 1) / 2
		}
	case high:
		k = slot / 2
		if k == 6 {
			k += cohort % len(electives)
		}
	}
	return &d.courses[(levels[s.level].firstGrade+s.gradeOfCohort(cohort))*coursesPerGrade+k]
}

// termOf returns the session of a slot; schoolYear stands for both semesters.
func termOf(l level, slot int) int {
	switch {
	case l == middle && slot > 0:
		return fall + (slot-1)%2
	case l == high:
		return fall + slot%2
	}
	return schoolYear
}

func (d *District) districtID() string          { return d.id(idOrg, 0, 0) }
func (d *District) schoolID(i int) string       { return d.id(idOrg, 0, 1+i) }
func (d *District) programID(i int) string      { return d.id(idOrg, 0, 1+len(d.schools)+i) }
func (d *District) classID(i int) string        { return d.id(idClass, 0, i) }
func (d *District) programClassID(i int) string { return d.id(idClass, 0, d.total.classes+i) }
func (d *District) flawOfClass(at, cohort, slot int) victim {
	if slot == 0 {
		return sound
	}
	v, _ := d.classPool.at(d.poolStart[at] + cohort*(d.schools[at].slots()-1) + slot - 1)
	return v
}

func (d *District) orgs() int {
	return 1 + len(d.schools) + d.programs + d.cfg.Flaws.Counts[SchoolEmpty]
}

func (d *District) orgRow(_, i int, r []string) ([]string, bool) {
	id := d.id(idOrg, 0, i)
	number := strconv.Itoa(10_000 + i)
	if i == 0 {
		return append(r, id, "", "", d.Name(), "district", "00"+number, ""), true
	}
	name := ""
	switch k := i - 1; {
	case k < len(d.schools):
		name = d.schools[k].name
	case k < len(d.schools)+d.programs:
		name = d.name + " Online Academy " + strconv.Itoa(k-len(d.schools)+1)
	default:
		name = d.name + " Annex " + strconv.Itoa(k-len(d.schools)-d.programs+1)
	}
	return append(r, id, "", "", name, "school", "00"+number, d.districtID()), true
}

func (d *District) sessionRow(_, i int, r []string) ([]string, bool) {
	s := &d.sessions[i]
	return append(r, s.id, "", "", s.title, s.kind, s.start, s.end, s.parent, s.year), true
}

func (d *District) courseRow(_, i int, r []string) ([]string, bool) {
	c := &d.courses[i]
	return append(r, c.id, "", "", d.sessions[schoolYear].id, c.title, c.code, c.grades, d.districtID(), c.subject, c.subjectCode), c.id != ""
}

func (d *District) terms(term int) string {
	if term == schoolYear {
		return d.sessions[fall].id + "," + d.sessions[spring].id
	}
	return d.sessions[term].id
}

func (d *District) classRow(day, i int, r []string) ([]string, bool) {
	if i >= d.total.classes {
		return d.programClassRow(i-d.total.classes, r), true
	}
	at := find(d.classStart, i)
	s := &d.schools[at]
	cohort, slot := (i-d.classStart[at])/s.slots(), (i-d.classStart[at])%s.slots()
	grade := s.gradeOfCohort(cohort)
	section := cohort - s.cohortStart[grade]
	c := d.courseOf(s, cohort, slot)
	term := termOf(s.level, slot)

	title := c.title + " " + sectionName(section)
	kind, period := "scheduled", ""
	switch {
	case slot == 0 && s.level != high:
		kind = "homeroom"
	case s.level == middle:
		period = strconv.Itoa(((slot-1)/2+cohort)%6 + 1)
	case s.level == high:
		period = strconv.Itoa((slot/2+cohort)%7 + 1)
	}
	if term != schoolYear {
		title += " S" + strconv.Itoa(term)
	}
	room := strconv.Itoa(100 + (s.teacherOf(cohort, slot)+d.version(idClass, i, day))%400)
	code := c.code + "-" + strconv.Itoa(section+1)
	courseID, school, terms := c.id, d.schoolID(at), d.terms(term)
	switch d.flawOfClass(at, cohort, slot) {
	case noTerms:
		terms = ""
	case strangeTerm:
		terms = d.id(idSession, unknown, i)
	case noCourse:
		courseID = ""
	case strangeCourse:
		courseID = d.id(idCourse, unknown, i)
	case noSchool:
		school = ""
	}
	return append(r, d.classID(i), "", "", title, c.grades, courseID, code, kind, "Room "+room, school, terms, c.subject, c.subjectCode, period), true
}

func sectionName(i int) string {
	name := string(rune('A' + i%26))
	if i >= 26 {
		name += strconv.Itoa(i / 26)
	}
	return name
}

func (d *District) programClassRow(i int, r []string) []string {
	c := &d.courses[12*coursesPerGrade]
	return append(r, d.programClassID(i), "", "", "Online "+c.title, c.grades, c.id, c.code+"-OL", "scheduled", "Online",
		d.programID(i), d.terms(schoolYear), c.subject, c.subjectCode, "")
}

func (d *District) enrollments() int {
	n := d.cfg.Flaws.Counts
	return d.total.enrollments + programMembers*n[TeacherEnrollmentsMissing] + n[StudentEnrollmentsMissing] +
		n[EnrollmentUserMissing] + n[EnrollmentClassMissing]
}

// enrollmentRow: a school's places are one per student and slot, then two per
// class for those who teach.
func (d *District) enrollmentRow(day, i int, r []string) ([]string, bool) {
	if i >= d.total.enrollments {
		return d.extraEnrollmentRow(i-d.total.enrollments, i, r), true
	}
	at := find(d.enrollmentStart, i)
	s := &d.schools[at]
	slots, local := s.slots(), i-d.enrollmentStart[at]
	var userID, role, primary string
	var cohort, slot, incarnation int
	endless := false
	if local < slots*s.students {
		slot = local % slots
		student := d.studentStart[at] + local/slots
		cohort, _ = s.cohortOf(local / slots)
		st := d.seat(student, day)
		if st.empty || d.flawOfClass(at, cohort, slot) == noStudents {
			return r, false
		}
		if slot == 0 {
			v, _ := d.endDates.at(student)
			endless = v == noTerms
		}
		incarnation = st.incarnation
		userID, role, primary = d.id(idStudent, incarnation, student), "student", "false"
	} else {
		local -= slots * s.students
		class, second := local/2, local%2 == 1
		cohort, slot = class/slots, class%slots
		if d.flawOfClass(at, cohort, slot) == noTeacher {
			return r, false
		}
		staff := s.teacherOf(cohort, slot)
		role, primary = "teacher", "true"
		if second {
			var aide, ok bool
			if staff, aide, ok = s.secondOf(cohort, slot); !ok {
				return r, false
			}
			primary = "false"
			if aide {
				role = "proctor" // the vocabulary has no aide here
			}
		}
		userID = d.id(idStaff, 0, d.staffStart[at]+staff)
	}
	term := termOf(s.level, slot)
	begin, end := d.sessions[fall].start, d.sessions[spring].end
	if term != schoolYear {
		begin, end = d.sessions[term].start, d.sessions[term].end
	}
	if v := d.version(idEnrollment, i, day); v > 0 {
		begin = later(begin, 7*(v%10))
	}
	if endless {
		end = ""
	}
	return append(r, d.id(idEnrollment, incarnation, i), "", "", d.classID(d.classStart[at]+cohort*slots+slot),
		d.schoolID(at), userID, role, primary, begin, end), true
}

func later(date string, days int) string {
	t, err := time.Parse(dateLayout, date)
	if err != nil {
		panic(err) // dates come from planSessions
	}
	return t.AddDate(0, 0, days).Format(dateLayout)
}

// extraEnrollmentRow returns the enrollments that exist for the sake of a flaw.
func (d *District) extraEnrollmentRow(i, place int, r []string) []string {
	n := d.cfg.Flaws.Counts
	begin, end := d.sessions[fall].start, d.sessions[spring].end
	row := func(class, school, user, role string) []string {
		return append(r, d.id(idEnrollment, 0, place), "", "", class, school, user, role, strconv.FormatBool(role == "teacher"), begin, end)
	}
	if i < programMembers*n[TeacherEnrollmentsMissing] {
		p := i / programMembers
		student := d.childAt(d.familyOfSingle(d.singles.member(inProgram, i)).child)
		return row(d.programClassID(p), d.programID(p), d.id(idStudent, 0, student), "student")
	}
	i -= programMembers * n[TeacherEnrollmentsMissing]
	if i < n[StudentEnrollmentsMissing] {
		p := n[TeacherEnrollmentsMissing] + i
		return row(d.programClassID(p), d.programID(p), d.extraID(programTeacher, i), "teacher")
	}
	i -= n[StudentEnrollmentsMissing]
	at := i % len(d.schools)
	if i < n[EnrollmentUserMissing] {
		return row(d.classID(d.classStart[at]), d.schoolID(at), d.id(idStudent, unknown, i), "student")
	}
	// The first student of a school leads a cohort and so never leaves.
	return row(d.id(idClass, unknown, d.total.classes+i), d.schoolID(at), d.id(idStudent, 0, d.studentStart[at]), "student")
}

func (d *District) demographicsRow(day, i int, r []string) ([]string, bool) {
	student := i
	var st seat
	id, age := "", 12
	if i < d.cfg.Students {
		if st = d.seat(student, day); st.empty {
			return r, false
		}
		id = d.id(idStudent, st.incarnation, student)
		at := find(d.studentStart, student)
		s := &d.schools[at]
		age = 5 + levels[s.level].firstGrade + s.gradeOf(student-d.studentStart[at])
	} else {
		id = d.id(idStudent, unknown, d.cfg.Flaws.Counts[EnrollmentUserMissing]+i-d.cfg.Students)
	}
	h := d.hash(topicBirth, student, st.incarnation)
	born := time.Date(d.cfg.ReferenceDate.Year()-age, time.September, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, -int(h%365))
	sex := "female"
	if h>>16&1 == 0 {
		sex = "male"
	}
	race := d.hash(topicRace, student, st.incarnation)
	var is [7]string
	for k := range is {
		is[k] = "false"
	}
	switch k := race % 20; {
	case k < 1:
		is[0] = "true"
	case k < 4:
		is[1] = "true"
	case k < 8:
		is[2] = "true"
	case k < 9:
		is[3] = "true"
	case k < 18:
		is[4] = "true"
	default:
		is[1], is[4], is[5] = "true", "true", "true"
	}
	if race>>32%4 == 0 {
		is[6] = "true"
	}
	city := pick(cities, h>>20+uint64(d.version(idRole, student, day)))
	r = append(r, id, "", "", born.Format(dateLayout), sex)
	r = append(r, is[:]...)
	return append(r, "US", "WA", city, "01652"), true
}
