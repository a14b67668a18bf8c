package check_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/check"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

var update = flag.Bool("update", false, "write the golden files anew")

var today = time.Date(2026, time.October, 14, 12, 0, 0, 0, time.UTC)

func ref(id string) *typev1.Ref {
	if id == "" {
		return nil
	}
	return &typev1.Ref{SourcedId: id}
}

func org(id, kind string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: "active", Name: "Org " + id, Type: kind}}}
}

func session(id, start, end string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_AcademicSession{AcademicSession: &typev1.AcademicSession{
		SourcedId: id, Status: "active", Title: "Session " + id, Type: "term", StartDate: start, EndDate: end,
	}}}
}

func course(id string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{SourcedId: id, Status: "active", Title: "Course " + id}}}
}

func class(id, courseID, school string, terms ...string) *typev1.Record {
	c := &typev1.Class{
		SourcedId: id, Status: "active", Title: "Class " + id, Course: ref(courseID), School: ref(school),
	}
	for _, t := range terms {
		c.Terms = append(c.Terms, ref(t))
	}
	return &typev1.Record{Record: &typev1.Record_Class{Class: c}}
}

func enrollment(id, user, class, role, end string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
		SourcedId: id, Status: "active", User: ref(user), Class: ref(class), Role: role, EndDate: end,
	}}}
}

func demographics(id string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{SourcedId: id, Status: "active"}}}
}

// user makes a complete user; changes make it less so.
func user(id, role, orgID, email string, changes ...func(*typev1.User)) *typev1.Record {
	u := &typev1.User{
		SourcedId: id, Status: "active", Username: id, GivenName: "Given", FamilyName: "Family " + id, Email: email,
		Phone: "206-555-0100", Address: &typev1.Address{City: "Anytown"},
		Roles: []*typev1.Role{{RoleType: "primary", Role: role, Org: ref(orgID)}},
	}
	for _, change := range changes {
		change(u)
	}
	return &typev1.Record{Record: &typev1.Record_User{User: u}}
}

func student(id string, changes ...func(*typev1.User)) *typev1.Record {
	return user(id, "student", "s1", id+"@district.example", changes...)
}

func teacher(id string, changes ...func(*typev1.User)) *typev1.Record {
	return user(id, "teacher", "s1", id+"@district.example", changes...)
}

func guardian(id string, changes ...func(*typev1.User)) *typev1.Record {
	return user(id, "guardian", "s1", id+"@mail.example", changes...)
}

func email(e string) func(*typev1.User)      { return func(u *typev1.User) { u.Email = e } }
func identifier(i string) func(*typev1.User) { return func(u *typev1.User) { u.Identifier = i } }
func noAddress(u *typev1.User)               { u.Address = nil }
func noPhone(u *typev1.User)                 { u.Phone, u.Sms = "", "" }
func removed(u *typev1.User)                 { u.Status = "tobedeleted" }

func userID(kind, id string) func(*typev1.User) {
	return func(u *typev1.User) { u.UserIds = append(u.UserIds, &typev1.UserId{Type: kind, Identifier: id}) }
}

func agents(ids ...string) func(*typev1.User) {
	return func(u *typev1.User) {
		for _, id := range ids {
			u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: id})
		}
	}
}

func emergency(id string) func(*typev1.User) {
	return func(u *typev1.User) {
		u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: id, ContactType: "emergency"})
	}
}

func role(token, orgID string) func(*typev1.User) {
	return func(u *typev1.User) {
		u.Roles = append(u.Roles, &typev1.Role{RoleType: "secondary", Role: token, Org: ref(orgID)})
	}
}

// tiny is a district to be counted by hand: each flaw is named beside it.
func tiny() []*typev1.Record {
	return []*typev1.Record{
		org("d", "district"), org("s1", "school"), org("s2", "school"), org("s3", "school"),
		org("s4", "school"), // school-empty
		session("year", "2026-08-20", "2027-06-15"),
		session("backwards", "2027-06-15", "2027-01-10"), // session-dates-invalid
		course("math"),

		class("c1", "math", "s1", "year"),
		class("c2", "math", "s1"),                    // class-terms-missing
		class("c3", "", "s1", "year"),                // class-course-missing
		class("c4", "gone", "s1", "year"),            // class-course-unknown
		class("c5", "math", "s1", "year", "nowhere"), // class-term-unknown
		class("c6", "math", "", "year"),              // class-school-missing
		class("c7", "math", "s2", "year"),            // teacher-enrollments-missing s2, class-teacher-missing
		class("c8", "math", "s3", "year"),            // student-enrollments-missing s3, class-students-missing

		student("stu1", agents("g1", "g2")),
		student("stu2", agents("g1")),
		student("stu3", email(" "), agents("g3")),                                 // student-email-missing
		student("stu4"),                                                           // student-guardians-missing
		student("stu5", agents("g3"), email("Same@District.example")),             // student-email-duplicate
		student("stu6", agents("g3"), email("same@district.example ")),            // student-email-duplicate
		student("stu7", agents("g3"), email("stu7@elsewhere.example")),            // email-domain-unexpected
		student("stu8", agents("g3", "g4", "g5", "g6", "g7", "g8")),               // guardians-too-many
		student("stu9", agents("g3"), func(u *typev1.User) { u.FamilyName = "" }), // user-required-missing
		student("stu10", agents("g3"), email("")),                                 // student-email-missing
		user("stu11", "student", "s2", "stu11@district.example", agents("g9")),    // email-shared-across-roles with g9
		user("stu12", "student", "s2", "", agents("g3"), func(u *typev1.User) { u.Status = "tobedeleted" }),

		teacher("t1"), teacher("t2", email("t3@district.example")), teacher("t3"), // teacher-email-duplicate twice
		teacher("t4", email("")), // user-email-missing
		user("a1", "principal", "s1", "a1@district.example"),
		user("a2", "siteAdministrator", "s1", "A1@DISTRICT.example"), // admin-email-duplicate with a1

		guardian("g1", email(""), noAddress), // of two students: guardian-email-missing and guardian-address-missing twice
		guardian("g2", noPhone),              // guardian-phone-missing
		guardian("g3"), guardian("g4"), guardian("g5"), guardian("g6"), guardian("g7"), guardian("g8"),
		guardian("g9", email("STU11@district.example")),
		guardian("g10"), // guardian-unlinked
		user("g11", "parent", "d", "g11@mail.example", agents("stu1")), // guardian-district-only

		enrollment("e1", "stu1", "c1", "student", "2027-06-15"), enrollment("e2", "t1", "c1", "teacher", "2027-06-15"),
		enrollment("e3", "stu1", "c2", "student", "2027-06-15"), enrollment("e4", "t1", "c2", "teacher", "2027-06-15"),
		enrollment("e5", "stu1", "c3", "student", "2027-06-15"), enrollment("e6", "t1", "c3", "teacher", "2027-06-15"),
		enrollment("e7", "stu1", "c4", "student", "2027-06-15"), enrollment("e8", "t1", "c4", "teacher", "2027-06-15"),
		enrollment("e9", "stu1", "c5", "student", "2027-06-15"), enrollment("e10", "t1", "c5", "teacher", "2027-06-15"),
		enrollment("e11", "stu1", "c6", "student", "2027-06-15"), enrollment("e12", "t1", "c6", "teacher", "2027-06-15"),
		enrollment("e13", "stu11", "c7", "student", "2027-06-15"),
		enrollment("e14", "t1", "c8", "teacher", ""),                   // enrollment-end-date-missing
		enrollment("e15", "nobody", "c1", "student", "2027-06-15"),     // enrollment-user-missing
		enrollment("e16", "stu1", "no class", "student", "2027-06-15"), // enrollment-class-missing

		demographics("stu1"),
		demographics("nobody"), // demographics-user-missing
	}
}

// TestTinyDistrict compares every finding with testdata/tiny.golden, which
// go test -update writes anew; read the difference before you keep it.
func TestTinyDistrict(t *testing.T) {
	r := replica.New(nil)
	apply(t, r, tiny()...)
	var out strings.Builder
	v := check.NewView(r, check.Given{Now: today})
	for _, c := range check.Catalogue() {
		res := v.Result(c)
		fmt.Fprintf(&out, "%s %d of %d\n", c.ID, res.Actionable, res.Population)
		if diagnosis := v.Diagnose(&res, check.Before{}); diagnosis != "" {
			fmt.Fprintf(&out, "    %s\n", diagnosis)
		}
		for _, found := range res.Findings {
			f := v.Proto(found)
			fmt.Fprintf(&out, "  - %s %s %q role=%s email=%q school=%s related=%s actionable=%t: %s\n",
				f.Entity, f.SourcedId, f.DisplayName, f.Role, f.Email, f.SchoolId, f.RelatedSourcedId, f.Actionable, f.Reason)
		}
	}
	const golden = "testdata/tiny.golden"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")))
}
