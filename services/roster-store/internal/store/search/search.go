// Package search says by what a record can be found and to which schools it
// belongs. It is the one place where this is worked out, whatever the engine.
//
// A record is found by terms. Most follow from the record itself (Facts); the
// schools of users and courses, and everything about demographics, follow from
// other records (see Facts.Schools and the Link fields).
package search

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Field is what a term is about. The numbers are stored: never change one.
type Field uint8

// The searched fields.
const (
	FieldStatus Field = iota + 1
	FieldRole
	FieldEmail
	FieldOrg
	FieldClass
	FieldUser
	FieldText
	FieldSchool
	// FieldInitials holds the first letter and the first two letters of each
	// word: what would otherwise be the union of thousands of lists.
	FieldInitials

	fieldEnd
)

// Fields is more than the number of any field.
const Fields = int(fieldEnd)

// Term is one value of a searched field.
type Term struct {
	Field Field
	Value string
}

// Facts is what a single record says.
type Facts struct {
	// Terms finds the record, without its schools.
	Terms     []Term
	Tombstone bool
	// Stamped tells that the record brings its own dateLastModified.
	Stamped bool
	// Schools are those the record names itself.
	Schools []string
	// Families of a user's roles, sorted, each once.
	Families []record.Family
	// LinkUser is the user of an enrollment, LinkCourse the course of a class:
	// they are in the scope of Schools while the record is active.
	LinkUser, LinkCourse string
	// Agents are the users a user is related to. Emergency are those of them who
	// are its emergency contacts, Guardians those who are something else to it.
	Agents, Emergency, Guardians []string
	// Identifier and Username of a user.
	Identifier, Username string
	// End is the last day of an academic session.
	End string
}

// Value returns the value of a term of a field, "" if there is none.
func (f Facts) Value(field Field) string {
	for _, t := range f.Terms {
		if t.Field == field {
			return t.Value
		}
	}
	return ""
}

// EnrolsStudent tells whether an enrollment is that of a student and counts.
func (f Facts) EnrolsStudent() bool {
	return !f.Tombstone && slices.Contains(f.Terms, Term{FieldRole, string(record.FamilyStudent)})
}

// Decode reads a stored or imported body and checks that it is what it is said
// to be.
func Decode(e store.Entity, id string, body []byte) (*typev1.Record, error) {
	rec := &typev1.Record{}
	if err := proto.Unmarshal(body, rec); err != nil {
		return nil, fmt.Errorf("%s %q: body is no record: %w: %w", record.EntityName(e), id, store.ErrInvalid, err)
	}
	got, base := record.Of(rec)
	if got != e || base.GetSourcedId() != id {
		return nil, fmt.Errorf("%s %q: body holds another record: %w", record.EntityName(e), id, store.ErrInvalid)
	}
	return rec, nil
}

// FactsOf reads a record.
func FactsOf(rec *typev1.Record) Facts {
	var f Facts
	_, base := record.Of(rec)
	status := base.GetStatus()
	f.Tombstone = status == record.StatusToBeDeleted
	f.Stamped = base.GetDateLastModified() != ""
	f.add(FieldStatus, status)
	switch r := rec.GetRecord().(type) {
	case *typev1.Record_Org:
		f.add(FieldOrg, r.Org.GetParent().GetSourcedId())
		f.words(r.Org.GetName())
	case *typev1.Record_AcademicSession:
		f.End = r.AcademicSession.GetEndDate()
		f.words(r.AcademicSession.GetTitle())
	case *typev1.Record_Course:
		f.add(FieldOrg, r.Course.GetOrg().GetSourcedId())
		f.words(r.Course.GetTitle())
		f.words(r.Course.GetCourseCode())
	case *typev1.Record_Class:
		f.school(r.Class.GetSchool().GetSourcedId())
		f.LinkCourse = r.Class.GetCourse().GetSourcedId()
		f.words(r.Class.GetTitle())
		f.words(r.Class.GetClassCode())
	case *typev1.Record_User:
		f.user(r.User)
	case *typev1.Record_Enrollment:
		f.school(r.Enrollment.GetSchool().GetSourcedId())
		f.role(r.Enrollment.GetRole())
		f.add(FieldClass, r.Enrollment.GetClass().GetSourcedId())
		f.LinkUser = r.Enrollment.GetUser().GetSourcedId()
		f.add(FieldUser, f.LinkUser)
	case *typev1.Record_Demographics:
		f.add(FieldUser, r.Demographics.GetSourcedId())
	}
	return f
}

func (f *Facts) user(u *typev1.User) {
	for _, r := range u.GetRoles() {
		f.role(r.GetRole())
		f.addFamily(record.FamilyOf(r.GetRole()))
		if org := r.GetOrg().GetSourcedId(); org != "" {
			f.addOnce(FieldOrg, org)
			f.addSchool(org)
		}
	}
	slices.Sort(f.Families)
	for _, a := range u.GetAgents() {
		id := a.GetSourcedId()
		if id == "" {
			continue
		}
		if !slices.Contains(f.Agents, id) {
			f.Agents = append(f.Agents, id)
			f.add(FieldUser, id)
		}
		as := &f.Guardians
		if strings.EqualFold(a.GetContactType(), "emergency") {
			as = &f.Emergency
		}
		if !slices.Contains(*as, id) {
			*as = append(*as, id)
		}
	}
	f.Identifier, f.Username = u.GetIdentifier(), u.GetUsername()
	email := strings.ToLower(u.GetEmail())
	f.add(FieldEmail, email)
	f.words(u.GetGivenName())
	f.words(u.GetMiddleName())
	f.words(u.GetFamilyName())
	f.words(u.GetPreferredFirstName())
	f.words(u.GetPreferredLastName())
	// A word with an @ is looked up in FieldEmail as a whole.
	f.parts(email)
}

func (f *Facts) add(field Field, value string) {
	if value != "" {
		f.Terms = append(f.Terms, Term{field, value})
	}
}

func (f *Facts) addOnce(field Field, value string) {
	if t := (Term{field, value}); value != "" && !slices.Contains(f.Terms, t) {
		f.Terms = append(f.Terms, t)
	}
}

func (f *Facts) addFamily(family record.Family) {
	if !slices.Contains(f.Families, family) {
		f.Families = append(f.Families, family)
	}
}

func (f *Facts) addSchool(id string) {
	if id != "" && !slices.Contains(f.Schools, id) {
		f.Schools = append(f.Schools, id)
	}
}

// school is the one school of a class or enrollment.
func (f *Facts) school(id string) {
	f.add(FieldOrg, id)
	f.addSchool(id)
}

// role is found by its token and by its family.
func (f *Facts) role(token string) {
	if token == "" {
		return
	}
	f.addOnce(FieldRole, token)
	if family := record.FamilyOf(token); family != record.FamilyOther {
		f.addOnce(FieldRole, string(family))
	}
}

// words adds what stands between spaces, and the parts of it: "Smith-Jones" is
// found by "smith-j" and by "jones".
func (f *Facts) words(s string) {
	for w := range strings.FieldsSeq(strings.ToLower(s)) {
		f.word(w)
		f.parts(w)
	}
}

func (f *Facts) word(w string) {
	f.addOnce(FieldText, w)
	_, n := utf8.DecodeRuneInString(w)
	f.addOnce(FieldInitials, w[:n])
	if _, m := utf8.DecodeRuneInString(w[n:]); m > 0 {
		f.addOnce(FieldInitials, w[:n+m])
	}
}

func (f *Facts) parts(s string) {
	for p := range strings.FieldsFuncSeq(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	}) {
		f.word(p)
	}
}
