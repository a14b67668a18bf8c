package check

import (
	"slices"
	"strings"

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
		out.UserSourcedId = v.Users.ID(uint32(e.User))
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
