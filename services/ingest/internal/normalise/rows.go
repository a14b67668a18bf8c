package normalise

import (
	"strings"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/mapping"
	"github.com/securly/sync/services/platform/record"
)

// maxID bounds a sourcedId. The standard says fewer than 256 characters.
const maxID = 1024

// The columns of each file behind the common three, in the order of specs.
const (
	orgName = colFirst + iota
	orgType
	orgIdentifier
	orgParent
)

const (
	sessionTitle = colFirst + iota
	sessionType
	sessionStart
	sessionEnd
	sessionParent
	sessionYear
)

const (
	courseYear = colFirst + iota
	courseTitle
	courseCode
	courseGrades
	courseOrg
	courseSubjects
	courseSubjectCodes
)

const (
	classTitle = colFirst + iota
	classGrades
	classCourse
	classCode
	classType
	classLocation
	classSchool
	classTerms
	classSubjects
	classSubjectCodes
	classPeriods
)

const (
	roleUser = colFirst + iota
	roleType
	roleRole
	roleBegin
	roleEnd
	roleOrg
	roleProfile
)

const (
	profileUser = colFirst + iota
	profileType
	profileVendor
	profileApplication
	profileDescription
	profileCredential
	profileUsername
)

const (
	enrollmentClass = colFirst + iota
	enrollmentSchool
	enrollmentUser
	enrollmentRole
	enrollmentPrimary
	enrollmentBegin
	enrollmentEnd
)

const (
	demographicsBirth = colFirst + iota
	demographicsSex
	demographicsFlags
	demographicsCountry = demographicsFlags + 7 + iota - 3
	demographicsState
	demographicsCity
	demographicsResidence
)

// Row is what one row says.
type Row struct {
	// ID is the sourcedId; of roles and profiles that of their user.
	ID string
	// Message is a *typev1.Record, a *typev1.Role or a *typev1.UserProfile. It
	// is valid until the next row.
	Message proto.Message
	// Deleted tells that the row deletes what it names.
	Deleted bool
	// Bare tells that the row says nothing but its id and status.
	Bare bool
}

// Reader reads the rows of one file. Each worker has its own: it keeps the
// message of the last row to fill it anew.
type Reader struct {
	// Unknown, if it is set, is told of values that should be mapped to others: of
	// the standard's column, and what the findings call that.
	Unknown func(column, shown, value string)

	t      *Table
	report *finding.Report
	text   *finding.Report

	made   []string // the row, if it is mapped
	fields []string
	number int
	id     string
	status string
	stamp  string
	odd    bool

	org        typev1.Org
	session    typev1.AcademicSession
	course     typev1.Course
	class      typev1.Class
	user       typev1.User
	role       typev1.Role
	profile    typev1.UserProfile
	enrollment typev1.Enrollment
	demo       typev1.Demographics
	record     typev1.Record
	refs       [3]typev1.Ref
	metadata   map[string]string
}

// NewReader returns a reader of rows with the header t. What is wrong with the
// text of a row, whatever is made of it, goes to the report text.
func (t *Table) NewReader(report, text *finding.Report) *Reader {
	r := &Reader{t: t, report: report, text: text}
	switch t.kind {
	case Orgs:
		r.record.Record = &typev1.Record_Org{Org: &r.org}
	case AcademicSessions:
		r.record.Record = &typev1.Record_AcademicSession{AcademicSession: &r.session}
	case Courses:
		r.record.Record = &typev1.Record_Course{Course: &r.course}
	case Classes:
		r.record.Record = &typev1.Record_Class{Class: &r.class}
	case Users:
		r.record.Record = &typev1.Record_User{User: &r.user}
	case Enrollments:
		r.record.Record = &typev1.Record_Enrollment{Enrollment: &r.enrollment}
	case Demographics:
		r.record.Record = &typev1.Record_Demographics{Demographics: &r.demo}
	}
	return r
}

// Blank tells whether a row has no value at all; such rows are passed over.
func Blank(fields []string) bool {
	for _, f := range fields {
		if csvtext.Clean(f) != "" {
			return false
		}
	}
	return true
}

// Read reads one row. False means that it was rejected, with a finding.
func (r *Reader) Read(number int, fields []string) (Row, bool) {
	r.fields, r.number, r.id, r.odd = fields, number, "", false
	t := r.t
	if len(fields) < t.Width() || len(fields) > t.Width() && !Blank(fields[t.Width():]) {
		r.text.Reject("row-ragged", number, "", "", "the row has another number of values than the header: check commas and quotes")
		return Row{}, false
	}
	if t.mapped != nil && !r.makeRow(fields) {
		return Row{}, false
	}
	key := t.kind.key()
	r.id = r.get(key)
	switch {
	case r.id == "":
		r.report.Reject("id-missing", number, t.names[key], "", "the row has no id and cannot be kept")
		return Row{}, false
	case len(r.id) > maxID:
		r.report.Reject("id-too-long", number, t.names[key], "", "the id is longer than 1024 bytes")
		return Row{}, false
	}
	deleted := r.common()
	row := Row{ID: r.id, Message: &r.record, Deleted: deleted}
	if deleted {
		row.Bare = true
		for i, f := range r.fields[:t.width] {
			if i != t.at[colID] && i != t.at[colStatus] && i != t.at[colModified] && csvtext.Clean(f) != "" {
				row.Bare = false
				break
			}
		}
	} else if t.deletesOnly {
		r.report.Reject("row-incomplete", number, "", r.id, "the file has no columns but id and status, so its rows can only delete")
		return Row{}, false
	}
	ok := true
	switch t.kind {
	case Orgs:
		r.readOrg()
	case AcademicSessions:
		r.readSession()
	case Courses:
		r.readCourse()
	case Classes:
		r.readClass()
	case Users:
		ok = r.readUser(deleted)
	case Roles:
		row.Message = &r.role
		ok = r.readRole(deleted)
	case UserProfiles:
		row.Message = &r.profile
		r.readProfile()
	case Enrollments:
		ok = r.readEnrollment(deleted)
	case Demographics:
		r.readDemographics()
	}
	return row, ok
}

// key is the column with the id of what a row is about.
func (k Kind) key() int {
	switch k {
	case Roles:
		return roleUser
	case UserProfiles:
		return profileUser
	}
	return colID
}

// makeRow makes the row of a file that is mapped. False means that it was
// rejected.
func (r *Reader) makeRow(cells []string) bool {
	m := r.t.mapped
	r.made = r.made[:0]
	id := ""
	if at := r.t.at[r.t.kind.key()]; at >= 0 {
		id, _ = m.Value(at, cells)
	}
	for i, name := range m.Header() {
		v, problem := m.Value(i, cells)
		switch problem {
		case mapping.Uncovered:
			if r.Unknown != nil {
				r.Unknown(name, m.Column(i), m.Raw(i, cells))
			}
			r.report.Reject("value-unmapped", r.number, m.Column(i), id, "the mapping does not say what the value stands for in "+name+": add it to the values of the field, or say what others stand for")
			return false
		case mapping.BadDate:
			r.odd = true
			r.report.Value("date-invalid", r.number, m.Column(i), id, "the date is not written as the mapping says and was left out: correct it, or the date format of "+name)
		}
		r.made = append(r.made, v)
	}
	r.fields = r.made
	return true
}

func (r *Reader) unknown(column int, value string) {
	if r.Unknown != nil {
		r.Unknown(r.t.kind.Columns()[column], r.t.names[column], value)
	}
}

// get returns the cleaned value of a standard column.
func (r *Reader) get(column int) string {
	at := r.t.at[column]
	if at < 0 {
		return ""
	}
	return csvtext.Clean(r.fields[at])
}

// Odd tells whether the last row gave rise to a finding.
func (r *Reader) Odd() bool { return r.odd }

func (r *Reader) notice(code string, column int, message string) {
	r.odd = true
	r.report.Notice(code, r.number, r.t.names[column], message)
}

func (r *Reader) dropped(code string, column int, message string) {
	r.odd = true
	r.report.Value(code, r.number, r.t.names[column], r.id, message)
}

// common reads status, time stamp and metadata.
func (r *Reader) common() (deleted bool) {
	r.status = record.StatusActive
	switch s := r.get(colStatus); {
	case s == "", s == record.StatusActive, strings.EqualFold(s, record.StatusActive):
	case strings.EqualFold(s, record.StatusToBeDeleted), strings.EqualFold(s, "inactive"):
		r.status = record.StatusToBeDeleted
	default:
		r.dropped("status-unknown", colStatus, "the status is neither active nor tobedeleted; the row was read as active")
	}
	stamp, ok := modified(r.get(colModified))
	if !ok {
		r.dropped("date-invalid", colModified, "the time cannot be read and was left out: write it as 2026-08-12T10:30:00.000Z")
	}
	r.stamp = stamp
	r.metadata = nil
	for _, e := range r.t.meta {
		if v := csvtext.Clean(r.fields[e.at]); v != "" {
			if r.metadata == nil {
				r.metadata = make(map[string]string, len(r.t.meta))
			}
			r.metadata[e.name] = v
		}
	}
	return r.status == record.StatusToBeDeleted
}

// ref points at a record, using one of the reader's own messages.
func (r *Reader) ref(slot, column int) *typev1.Ref {
	id := r.get(column)
	if id == "" {
		return nil
	}
	r.refs[slot].SourcedId = id
	return &r.refs[slot]
}

func (r *Reader) date(column int) string {
	d, ok := date(r.get(column))
	if !ok {
		r.dropped("date-invalid", column, "the date cannot be read and was left out: write it as 2026-08-12")
	}
	return d
}

func (r *Reader) boolean(column int) *bool {
	b, ok := boolean(r.get(column))
	if !ok {
		r.dropped("boolean-invalid", column, "the value is neither true nor false and was left out")
	}
	return b
}

// token keeps an unknown token, because the record is of use all the same.
func (r *Reader) token(v vocabulary, column int) string {
	t, known := v.token(r.get(column))
	if !known {
		r.unknown(column, t)
		r.notice("token-unknown", column, "the value is not in the standard's vocabulary; it was kept")
	}
	return t
}

// rosterRole reads a role. False means that the row was rejected.
func (r *Reader) rosterRole(column int, deleted bool) (string, bool) {
	s := r.get(column)
	role, known := roles.token(s)
	if known {
		return role, true
	}
	if role, known = roleSynonyms[csvtext.Fold(s)]; known {
		r.notice("role-mapped", column, "a common word for a role was read as the standard's role "+role)
		return role, true
	}
	if deleted {
		return "", true
	}
	r.unknown(column, s)
	r.report.Reject("role-unknown", r.number, r.t.names[column], r.id,
		"the role is not one of OneRoster's: correct it at the source, or have it mapped to a role that is known")
	return "", false
}

func (r *Reader) grades(column int) []string {
	out := list(r.get(column))
	for i, g := range out {
		normal, known := grade(g)
		if !known {
			r.unknown(column, g)
			r.notice("grade-unknown", column, "the grade is not one that is known; it was kept")
		}
		out[i] = normal
	}
	return out
}

func (r *Reader) readOrg() {
	o := &r.org
	o.SourcedId, o.Status, o.DateLastModified, o.Metadata = r.id, r.status, r.stamp, r.metadata
	o.Name = r.get(orgName)
	o.Type = r.token(orgTypes, orgType)
	o.Identifier = r.get(orgIdentifier)
	o.Parent = r.ref(0, orgParent)
}

func (r *Reader) readSession() {
	s := &r.session
	s.SourcedId, s.Status, s.DateLastModified, s.Metadata = r.id, r.status, r.stamp, r.metadata
	s.Title = r.get(sessionTitle)
	s.Type = r.token(sessionTypes, sessionType)
	s.StartDate = r.date(sessionStart)
	s.EndDate = r.date(sessionEnd)
	s.Parent = r.ref(0, sessionParent)
	schoolYear, ok := year(r.get(sessionYear))
	if !ok {
		r.dropped("number-invalid", sessionYear, "the school year is no year and was left out: write the year in which it ends")
		schoolYear = ""
	}
	s.SchoolYear = schoolYear
}

func (r *Reader) readCourse() {
	c := &r.course
	c.SourcedId, c.Status, c.DateLastModified, c.Metadata = r.id, r.status, r.stamp, r.metadata
	c.Title = r.get(courseTitle)
	c.SchoolYear = r.ref(0, courseYear)
	c.CourseCode = r.get(courseCode)
	c.Grades = r.grades(courseGrades)
	c.Org = r.ref(1, courseOrg)
	c.Subjects = list(r.get(courseSubjects))
	c.SubjectCodes = list(r.get(courseSubjectCodes))
}

func (r *Reader) readClass() {
	c := &r.class
	c.SourcedId, c.Status, c.DateLastModified, c.Metadata = r.id, r.status, r.stamp, r.metadata
	c.Title = r.get(classTitle)
	c.ClassCode = r.get(classCode)
	c.ClassType = r.token(classTypes, classType)
	c.Location = r.get(classLocation)
	c.Grades = r.grades(classGrades)
	c.Subjects = list(r.get(classSubjects))
	c.Course = r.ref(0, classCourse)
	c.School = r.ref(1, classSchool)
	c.Terms = c.Terms[:0]
	for _, id := range list(r.get(classTerms)) {
		c.Terms = append(c.Terms, &typev1.Ref{SourcedId: id})
	}
	c.SubjectCodes = list(r.get(classSubjectCodes))
	c.Periods = list(r.get(classPeriods))
}

func (r *Reader) readEnrollment(deleted bool) bool {
	e := &r.enrollment
	role, ok := r.rosterRole(enrollmentRole, deleted)
	if !ok {
		return false
	}
	e.SourcedId, e.Status, e.DateLastModified, e.Metadata = r.id, r.status, r.stamp, r.metadata
	e.Role = role
	e.User = r.ref(0, enrollmentUser)
	e.Class = r.ref(1, enrollmentClass)
	e.School = r.ref(2, enrollmentSchool)
	e.Primary = r.boolean(enrollmentPrimary)
	e.BeginDate = r.date(enrollmentBegin)
	e.EndDate = r.date(enrollmentEnd)
	return true
}

func (r *Reader) readDemographics() {
	d := &r.demo
	d.SourcedId, d.Status, d.DateLastModified, d.Metadata = r.id, r.status, r.stamp, r.metadata
	d.BirthDate = r.date(demographicsBirth)
	d.Sex = r.token(sexes, demographicsSex)
	for i, flag := range []**bool{
		&d.AmericanIndianOrAlaskaNative, &d.Asian, &d.BlackOrAfricanAmerican, &d.NativeHawaiianOrOtherPacificIslander,
		&d.White, &d.DemographicRaceTwoOrMoreRaces, &d.HispanicOrLatinoEthnicity,
	} {
		*flag = r.boolean(demographicsFlags + i)
	}
	d.CountryOfBirthCode = r.get(demographicsCountry)
	d.StateOfBirthAbbreviation = r.get(demographicsState)
	d.CityOfBirth = r.get(demographicsCity)
	d.PublicSchoolResidenceStatus = r.get(demographicsResidence)
}
