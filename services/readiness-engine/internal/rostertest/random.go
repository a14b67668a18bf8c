package rostertest

import (
	"math/rand/v2"
	"strconv"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// Random makes records over so few ids and values that they collide, refer to
// each other, to nothing and to what is removed.
func Random(r *rand.Rand) *typev1.Record {
	id := func(kind string, n int) string { return kind + strconv.Itoa(r.IntN(n)) }
	maybe := func(s string) string {
		if r.IntN(4) == 0 {
			return ""
		}
		return s
	}
	refTo := func(kind string, n int) *typev1.Ref { return ref(maybe(id(kind, n))) }
	status := "active"
	if r.IntN(5) == 0 {
		status = "tobedeleted"
	}
	switch r.IntN(12) {
	case 0:
		return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{
			SourcedId: id("org", 4), Status: status, Name: maybe("Name " + id("", 3)), Type: []string{"school", "district", "School"}[r.IntN(3)],
		}}}
	case 1:
		return &typev1.Record{Record: &typev1.Record_AcademicSession{AcademicSession: &typev1.AcademicSession{
			SourcedId: id("session", 3), Status: status, Title: id("", 3), StartDate: maybe("2026-0" + id("", 9) + "-01"), EndDate: maybe("2026-12-01"),
			Parent: refTo("session", 4),
		}}}
	case 2:
		return &typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{SourcedId: id("course", 3), Status: status, Title: "Course"}}}
	case 3:
		return &typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{SourcedId: id("user", 30), Status: status}}}
	case 4, 5:
		c := &typev1.Class{
			SourcedId: id("class", 6), Status: status, Title: id("Class ", 3), Grades: []string{id("", 3)},
			Course: refTo("course", 4), School: refTo("org", 5),
		}
		for range r.IntN(3) {
			c.Terms = append(c.Terms, refTo("session", 4))
		}
		return &typev1.Record{Record: &typev1.Record_Class{Class: c}}
	case 6, 7, 8:
		return &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
			SourcedId: id("enrollment", 20), Status: status, User: refTo("user", 32), Class: refTo("class", 7), School: refTo("org", 5),
			Role: []string{"student", "teacher", "aide"}[r.IntN(3)], EndDate: maybe("2026-12-01"),
		}}}
	}
	u := &typev1.User{
		SourcedId: id("user", 30), Status: status, Username: maybe("name"), GivenName: maybe(id("Given ", 3)), FamilyName: maybe("Family"),
		Email: maybe([]string{" ", ""}[r.IntN(2)] + []string{"a", "B", "É"}[r.IntN(3)] + id("", 4) + []string{"@district.example", "@b.example", "@C.example", "@d.example", ""}[r.IntN(5)]),
		Phone: maybe("206-555-0100"), Identifier: maybe(id("", 12)), PrimaryOrg: refTo("org", 5), Metadata: map[string]string{"lunch": id("", 9)},
	}
	if r.IntN(10) == 0 {
		u.SourcedId = "securlyinternal:" + id("", 2)
	}
	for range r.IntN(3) {
		u.Roles = append(u.Roles, &typev1.Role{
			RoleType: "primary", Role: []string{"student", "student", "teacher", "guardian", "parent", "principal", "ext:coach"}[r.IntN(7)], Org: refTo("org", 5),
		})
	}
	for range r.IntN(4) {
		u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: id("user", 32), ContactType: maybe([]string{"parent", "emergency"}[r.IntN(2)])})
	}
	for range r.IntN(3) {
		u.UserIds = append(u.UserIds, &typev1.UserId{Type: id("kind", 2), Identifier: maybe(id("", 12))})
		u.Grades = append(u.Grades, id("", 12))
	}
	if r.IntN(2) == 0 {
		enabled := r.IntN(2) == 0
		u.EnabledUser = &enabled
		u.Address = &typev1.Address{City: maybe(" "), Zip: maybe("00123")}
	}
	return &typev1.Record{Record: &typev1.Record_User{User: u}}
}
