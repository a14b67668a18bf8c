package check

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

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

// spelled is a finding with texts in place of rows, except for the check.
type spelled struct {
	name, role, email         string
	user                      string // id of the user whose name it is, where that is not the record's
	grades                    []replica.Text
	schoolID, school          string
	relatedID, related        string
	entity, sourcedID, reason string
	actionable                bool
}

func (v *View) spell(f Finding) spelled {
	out := spelled{
		entity: record.EntityName(f.Entity), sourcedID: v.id(f.Entity, f.Row),
		schoolID: v.Orgs.ID(uint32(f.School)), school: v.Text(v.Orgs.Rows[f.School].Name),
		actionable: !f.Informational, reason: v.reasons[f.Reason],
	}
	switch f.Entity {
	case typev1.Entity_ENTITY_ORGS:
		out.name = v.Text(v.Orgs.Rows[f.Row].Name)
	case typev1.Entity_ENTITY_ACADEMIC_SESSIONS:
		out.name = v.Text(v.Sessions.Rows[f.Row].Title)
	case typev1.Entity_ENTITY_CLASSES:
		c := &v.Classes.Rows[f.Row]
		out.name, out.grades = v.Text(c.Title), v.ClassGradeTexts(c)
	case typev1.Entity_ENTITY_USERS:
		u := &v.Users.Rows[f.Row]
		out.name, out.email = v.name(u), v.Text(u.Email)
		out.role, out.grades = v.role(u, f.Role), v.GradeTexts(u)
	case typev1.Entity_ENTITY_ENROLLMENTS:
		e := &v.Enrollments.Rows[f.Row]
		u := v.user(e.User)
		out.name, out.email, out.grades = v.name(u), v.Text(u.Email), v.GradeTexts(u)
		out.role, out.user = string(familyNames[e.Family]), v.Users.ID(uint32(e.User))
	}
	switch out.relatedID = v.id(f.RelatedEntity, f.Related); f.RelatedEntity {
	case typev1.Entity_ENTITY_CLASSES:
		out.related = v.Text(v.Classes.Rows[f.Related].Title)
	case typev1.Entity_ENTITY_USERS:
		u := &v.Users.Rows[f.Related]
		out.related = v.name(u)
		// A guardian has no grade; the child has the one to look for.
		if len(out.grades) == 0 {
			out.grades = v.GradeTexts(u)
		}
	}
	return out
}

// Proto spells a finding out, except for the check.
func (v *View) Proto(f Finding) *readinessv1.ReadinessFinding {
	s := v.spell(f)
	out := &readinessv1.ReadinessFinding{
		Entity: s.entity, SourcedId: s.sourcedID, DisplayName: s.name, Role: s.role, Email: s.email,
		SchoolId: s.schoolID, SchoolName: s.school, RelatedSourcedId: s.relatedID, RelatedName: s.related,
		Actionable: s.actionable, Reason: s.reason, UserSourcedId: s.user,
	}
	for _, g := range s.grades {
		out.Grades = append(out.Grades, v.Text(g))
	}
	return out
}

// AppendEncoded appends the encoding of Proto: reports of large districts have so
// many findings that making messages of them takes most of the time. A test
// compares the two.
func (v *View) AppendEncoded(b []byte, f Finding) []byte {
	s := v.spell(f)
	text := func(field protowire.Number, value string) {
		if value != "" {
			b = protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), value)
		}
	}
	text(2, s.entity)
	text(3, s.sourcedID)
	text(4, s.name)
	text(5, s.role)
	text(6, s.email)
	text(7, s.schoolID)
	text(8, s.school)
	for _, g := range s.grades { // also empty ones
		b = protowire.AppendString(protowire.AppendTag(b, 9, protowire.BytesType), v.Text(g))
	}
	text(10, s.relatedID)
	text(11, s.related)
	if s.actionable {
		b = protowire.AppendVarint(protowire.AppendTag(b, 12, protowire.VarintType), 1)
	}
	text(13, s.reason)
	text(14, s.user)
	return b
}

// Schools counts what a check has found by school.
func (v *View) Schools(res *Result) *readinessv1.CheckSchools {
	counts := map[replica.OrgRow]*readinessv1.SchoolCount{}
	out := &readinessv1.CheckSchools{CheckId: res.Check.ID}
	for i := range res.Findings {
		f := &res.Findings[i]
		c := counts[f.School]
		if c == nil {
			c = &readinessv1.SchoolCount{SchoolId: v.Orgs.ID(uint32(f.School))}
			counts[f.School] = c
			out.Schools = append(out.Schools, c)
		}
		if f.Informational {
			c.Informational++
		} else {
			c.Actionable++
		}
	}
	slices.SortFunc(out.Schools, func(a, b *readinessv1.SchoolCount) int { return strings.Compare(a.SchoolId, b.SchoolId) })
	return out
}

// People returns the active schools, by id, with who belongs to them.
func (v *View) People() []*readinessv1.SchoolPeople {
	var out []*readinessv1.SchoolPeople
	for i := range v.Orgs.Rows {
		if o := &v.Orgs.Rows[i]; v.schools[i] && o.State == replica.Active {
			out = append(out, &readinessv1.SchoolPeople{
				SchoolId: v.Orgs.ID(uint32(i)), Name: v.Text(o.Name), Teachers: v.people[i].teachers, Students: v.people[i].students,
			})
		}
	}
	slices.SortFunc(out, func(a, b *readinessv1.SchoolPeople) int { return strings.Compare(a.SchoolId, b.SchoolId) })
	return out
}
