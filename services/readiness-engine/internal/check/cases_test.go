package check_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/check"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// found is what one check finds: actionable and informational.
type found struct{ act, info int }

// TestCases holds what was decided where the texts leave a choice. Checks that
// are not named are not looked at.
func TestCases(t *testing.T) {
	const internal = "securlyinternal:1"
	schools := []*typev1.Record{org("d", "district"), org("s1", "school")}
	for name, c := range map[string]struct {
		records []*typev1.Record
		want    map[string]found
	}{
		"a user with several roles is looked at in each": {
			[]*typev1.Record{
				teacher("a", role("administrator", "s1"), email("x@district.example")),
				teacher("b", email("x@district.example")),
				user("c", "principal", "s1", "x@district.example"),
			},
			map[string]found{
				"teacher-email-duplicate":   {2, 0},
				"admin-email-duplicate":     {2, 0},
				"email-shared-across-roles": {2, 0}, // b and c share no role
			},
		},
		"one person as several users, by identifier": {
			[]*typev1.Record{
				teacher("a", identifier("7"), email("x@district.example")),
				teacher("b", identifier("7"), email("x@district.example")),
			},
			map[string]found{"teacher-email-duplicate": {0, 0}},
		},
		"one person as several users, by an entry of userIds": {
			[]*typev1.Record{
				student("a", userID("state", "7"), email("x@district.example")),
				student("b", userID("hr", "1"), userID("state", "7"), email("x@district.example")),
			},
			map[string]found{"student-email-duplicate": {0, 0}},
		},
		"one person over a third user": {
			[]*typev1.Record{
				student("a", identifier("7"), email("x@district.example")),
				student("b", userID("state", "9"), email("x@district.example")),
				student("c", identifier("7"), userID("state", "9")),
			},
			map[string]found{"student-email-duplicate": {0, 0}},
		},
		"equal ids of different kinds are different persons, blank ones nobody": {
			[]*typev1.Record{
				student("a", identifier(" "), userID("state", "7"), email("x@district.example")),
				student("b", identifier(" "), userID("local", "7"), email("x@district.example")),
			},
			map[string]found{"student-email-duplicate": {2, 0}},
		},
		"two users of one person and another one": {
			[]*typev1.Record{
				student("a", identifier("7"), email("x@district.example")),
				student("b", identifier("7"), email("x@district.example")),
				student("c", email("x@district.example")),
			},
			map[string]found{"student-email-duplicate": {3, 0}},
		},
		"a parent who teaches is one person": {
			[]*typev1.Record{teacher("a", identifier("7")), guardian("b", identifier("7"), email("a@district.example"))},
			map[string]found{"email-shared-across-roles": {0, 0}},
		},
		"emails differing in case and blanks": {
			[]*typev1.Record{student("a", email(" X@District.Example")), student("b", email("x@district.example\t")), student("c", email(" \t "))},
			map[string]found{"student-email-duplicate": {2, 0}, "student-email-missing": {1, 0}},
		},
		"an email is free again when its user is removed": {
			[]*typev1.Record{student("a", email("x@district.example")), student("b", email("x@district.example"), removed)},
			map[string]found{"student-email-duplicate": {0, 0}},
		},
		"a removed record is no finding": {
			[]*typev1.Record{student("a", email(""), removed)},
			map[string]found{"student-email-missing": {0, 0}, "student-guardians-missing": {0, 0}},
		},
		"placeholders of the hub are informational": {
			[]*typev1.Record{
				user(internal, "student", "s1", ""),
				student("a", email("x@district.example")), user(internal+"2", "student", "s1", "x@district.example"),
			},
			map[string]found{
				"student-email-missing": {0, 1}, "student-email-duplicate": {0, 2}, "student-guardians-missing": {1, 2},
			},
		},
		"the link on the student's side only": {
			[]*typev1.Record{student("a", agents("g")), guardian("g", email(""), noAddress)},
			map[string]found{"student-guardians-missing": {0, 0}, "guardian-unlinked": {0, 0}, "guardian-email-missing": {1, 0}, "guardian-address-missing": {1, 0}},
		},
		"the link on the guardian's side only": {
			[]*typev1.Record{student("a"), guardian("g", agents("a"), email(""), noAddress)},
			map[string]found{"student-guardians-missing": {0, 0}, "guardian-unlinked": {0, 0}, "guardian-email-missing": {1, 0}, "guardian-address-missing": {1, 0}},
		},
		"the link on both sides counts once, two children count twice": {
			[]*typev1.Record{student("a", agents("g")), student("b"), guardian("g", agents("a", "b", "a"), email(""), noAddress, noPhone)},
			map[string]found{"guardian-email-missing": {2, 0}, "guardian-address-missing": {2, 0}, "guardian-phone-missing": {2, 0}},
		},
		"a removed guardian": {
			[]*typev1.Record{student("a", agents("g")), guardian("g", email(""), noAddress, removed)},
			map[string]found{"student-guardians-missing": {1, 0}, "guardian-email-missing": {0, 1}, "guardian-address-missing": {0, 1}, "guardian-phone-missing": {0, 0}},
		},
		"a removed guardian whom only its own record links": {
			[]*typev1.Record{student("a"), guardian("g", agents("a"), email(""), removed)},
			map[string]found{"student-guardians-missing": {1, 0}, "guardian-email-missing": {0, 0}},
		},
		"a guardian who was never delivered": {
			[]*typev1.Record{student("a", agents("nobody"))},
			map[string]found{"student-guardians-missing": {1, 0}, "guardian-email-missing": {0, 1}, "guardian-address-missing": {0, 1}, "guardian-phone-missing": {0, 1}},
		},
		"a removed student": {
			[]*typev1.Record{student("a", agents("g"), removed), guardian("g", email(""))},
			map[string]found{"student-guardians-missing": {0, 0}, "guardian-email-missing": {0, 0}, "guardian-unlinked": {1, 0}},
		},
		"a removed student whom the guardian still names": {
			[]*typev1.Record{student("a", removed), guardian("g", agents("a"), email(""))},
			map[string]found{"guardian-email-missing": {0, 1}, "guardian-unlinked": {1, 0}},
		},
		"a placeholder as guardian": {
			[]*typev1.Record{student("a", agents(internal)), user(internal, "guardian", "s1", "", noAddress)},
			map[string]found{"student-guardians-missing": {0, 0}, "guardian-email-missing": {0, 1}, "guardian-address-missing": {0, 1}},
		},
		"an emergency contact is no guardian": {
			[]*typev1.Record{student("a", emergency("g")), guardian("g", agents("a"), email(""))},
			map[string]found{"student-guardians-missing": {1, 0}, "guardian-email-missing": {0, 0}, "guardian-unlinked": {0, 0}},
		},
		"a student is no guardian of another, a teacher may be": {
			[]*typev1.Record{student("a", agents("b")), student("b"), student("c", agents("t")), teacher("t", email(""))},
			map[string]found{"student-guardians-missing": {2, 0}, "guardian-email-missing": {1, 0}, "user-email-missing": {1, 0}},
		},
		"a grown-up student with a child of their own": {
			[]*typev1.Record{student("a", role("parent", "s1"), agents("b"), email("")), student("b")},
			map[string]found{"student-guardians-missing": {1, 0}, "guardian-email-missing": {1, 0}, "guardian-unlinked": {0, 0}},
		},
		"five guardians are not too many": {
			[]*typev1.Record{
				student("a", agents("g1", "g2", "g3", "g4", "g5", "nobody")), guardian("g1"), guardian("g2"), guardian("g3"), guardian("g4"), guardian("g5"),
			},
			map[string]found{"guardians-too-many": {0, 0}},
		},
		"a guardian of a school and the district": {
			[]*typev1.Record{user("g", "guardian", "d", "", role("guardian", "s1")), user("h", "guardian", "", "")},
			map[string]found{"guardian-district-only": {0, 0}},
		},
		"a class in several terms, one of them unknown": {
			[]*typev1.Record{
				course("m"), session("t1", "2026-08-01", "2026-12-31"), session("t2", "2027-01-01", "2027-06-30"),
				class("a", "m", "s1", "t1", "t2"), class("b", "m", "s1", "t1", "x", "y"),
			},
			map[string]found{"class-terms-missing": {0, 0}, "class-term-unknown": {1, 0}, "session-none-current": {0, 0}},
		},
		"a district without terms": {
			[]*typev1.Record{course("m"), class("a", "m", "s1"), class("b", "m", "s1")},
			map[string]found{"class-terms-missing": {2, 0}, "class-term-unknown": {0, 0}, "session-none-current": {1, 0}, "session-dates-invalid": {0, 0}},
		},
		"a district without classes needs no session": {
			[]*typev1.Record{student("a")},
			map[string]found{"session-none-current": {0, 0}, "class-terms-missing": {0, 0}, "teacher-enrollments-missing": {0, 0}},
		},
		"the first and the last day belong to a session": {
			[]*typev1.Record{class("a", "", "s1"), session("t", "2026-10-14", "2026-10-14"), session("u", "soon", "2026-10-14")},
			map[string]found{"session-none-current": {0, 0}, "session-dates-invalid": {1, 0}},
		},
		"unknown references of a class": {
			[]*typev1.Record{class("a", "x", "y", "z")},
			map[string]found{
				"class-course-unknown": {1, 0}, "class-course-missing": {0, 0}, "class-term-unknown": {1, 0}, "class-terms-missing": {0, 0},
				"class-school-missing": {1, 0}, "teacher-enrollments-missing": {0, 0},
			},
		},
		"enrollments that lead nowhere": {
			[]*typev1.Record{
				class("a", "", "s1"), student("b"), student("r", removed),
				enrollment("e1", "b", "a", "student", ""), enrollment("e2", "nobody", "a", "student", ""),
				enrollment("e3", "b", "nothing", "student", ""), enrollment("e4", "r", "a", "student", ""), enrollment("e5", "", "", "student", "2027-06-01"),
			},
			map[string]found{"enrollment-end-date-missing": {1, 3}, "enrollment-user-missing": {2, 1}, "enrollment-class-missing": {2, 0}},
		},
		"an aide is no teacher of a class": {
			[]*typev1.Record{class("a", "", "s1"), teacher("t"), student("b"), enrollment("e1", "t", "a", "aide", "x"), enrollment("e2", "b", "a", "student", "x")},
			map[string]found{"class-teacher-missing": {1, 0}, "class-students-missing": {0, 0}, "teacher-enrollments-missing": {1, 0}, "student-enrollments-missing": {0, 0}},
		},
		"a removed user's demographics": {
			[]*typev1.Record{student("a", removed), demographics("a"), student("b"), demographics("b")},
			map[string]found{"demographics-user-missing": {0, 1}},
		},
		"few users of a second domain": {
			[]*typev1.Record{student("a"), student("b"), student("c", email("c@private.example")), student("x", email("no domain")), teacher("t", email("t@staff.example"))},
			map[string]found{"email-domain-unexpected": {2, 0}},
		},
		"required fields": {
			[]*typev1.Record{
				student("a", func(u *typev1.User) { u.Username = " " }), guardian("g", func(u *typev1.User) { u.Username = "" }),
				student("b", func(u *typev1.User) { u.GivenName, u.FamilyName = "", " " }), student("c", func(u *typev1.User) { u.Roles = nil }),
			},
			map[string]found{"user-required-missing": {3, 0}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := replica.New(nil)
			apply(t, r, append(c.records, schools...)...) // A reference may come before its target.
			v := check.NewView(r, check.Given{Now: today})
			got := map[string]found{}
			for id := range c.want {
				res := v.Result(check.Find(id))
				got[id] = found{res.Actionable, len(res.Findings) - res.Actionable}
			}
			require.Equal(t, c.want, got)
		})
	}
}

// TestDeclaredDomains: what a district has declared goes before what its users
// have most.
func TestDeclaredDomains(t *testing.T) {
	r := replica.New(nil)
	apply(t, r, org("s1", "school"), student("a"), student("b"), student("c", email("c@other.example")), student("d", email("d@pupils.other.example")),
		student("e", email("e@another.example")), student("x", email("no domain")), teacher("t", email("T@Other.Example ")))
	v := check.NewView(r, check.Given{Now: today})
	for _, c := range []struct {
		domains []string
		want    []string
	}{
		{nil, []string{"d", "e", "x"}}, // the teacher is the only one, so other.example is the staff's
		{[]string{"other.example"}, []string{"a", "b", "e", "x"}},
		{[]string{"other.example", "district.example"}, []string{"e", "x"}},
		{nil, []string{"d", "e", "x"}},
	} {
		v.Update(check.Given{Now: today, Domains: c.domains})
		var got []string
		for _, f := range v.Result(check.Find("email-domain-unexpected")).Findings {
			got = append(got, r.Users.ID(f.Row))
		}
		require.Equal(t, c.want, got, "declared: %v", c.domains)
	}
}

// TestPeople counts a user once per school and family, wherever it has roles.
func TestPeople(t *testing.T) {
	r := replica.New(nil)
	apply(t, r, org("d", "district"), org("s1", "school"), org("s2", "school"), org("s3", "school"),
		student("a"), student("b", role("student", "s2"), role("student", "s2")), student("c", removed),
		teacher("t", role("teacher", "s2"), role("principal", "s1")), teacher("u", role("student", "d")), guardian("g"), user("p", "principal", "s2", ""))
	var got []string
	for _, s := range check.NewView(r, check.Given{Now: today}).People() {
		got = append(got, fmt.Sprintf("%s (%s): %d teachers, %d students", s.GetSchoolId(), s.GetName(), s.GetTeachers(), s.GetStudents()))
	}
	require.Equal(t, []string{
		"s1 (Org s1): 2 teachers, 2 students", "s2 (Org s2): 1 teachers, 1 students", "s3 (Org s3): 0 teachers, 0 students",
	}, got)
}

// TestDiagnosis says what the rules make of typical districts: four schools with
// thirty students each, in six grades, some of whom have no email.
func TestDiagnosis(t *testing.T) {
	const column = "the email column is probably missing from the export or mapped to another field."
	for name, c := range map[string]struct {
		broken func(school, i int) bool
		before check.Before
		want   string
	}{
		"everywhere":   {func(int, int) bool { return true }, check.Before{}, "All students are affected: " + column},
		"nearly":       {func(s, i int) bool { return s+i > 0 }, check.Before{}, "Nearly all students are affected: " + column},
		"one school":   {func(s, _ int) bool { return s == 1 }, check.Before{}, "All are at Org s1: look at the data of that school first."},
		"one grade":    {func(_, i int) bool { return i%6 == 2 }, check.Before{}, "All are in grade 2: look at how that grade is entered or exported first."},
		"a third":      {func(_, i int) bool { return i%3 == 0 }, check.Before{}, "33 % of the students are affected: " + column},
		"a third, new": {func(_, i int) bool { return i%3 == 0 }, check.Before{Known: true, Revision: 7, Count: 3}, "New since revision 7, which had 3: look at what changed in the export since, " + column},
		"a third, old": {func(_, i int) bool { return i%3 == 0 }, check.Before{Known: true, Revision: 7, Count: 39}, "33 % of the students are affected: " + column},
		"a few":        {func(_, i int) bool { return i == 0 }, check.Before{}, "3.3 % of the students are affected: these look like single data entry gaps."},
		"a few left":   {func(_, i int) bool { return i == 0 }, check.Before{Known: true, Revision: 7, Count: 20}, "Down from 20 at revision 7: these look like single data entry gaps."},
		"none":         {func(int, int) bool { return false }, check.Before{Known: true, Count: 20}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := replica.New(nil)
			for school := range 4 {
				id := string(rune('0' + school))
				apply(t, r, org("s"+id, "school"))
				for i := range 30 {
					address := "x" + id + "-" + string(rune('A'+i)) + "@district.example"
					if c.broken(school, i) {
						address = ""
					}
					apply(t, r, user("u"+id+"-"+string(rune('A'+i)), "student", "s"+id, address, func(u *typev1.User) { u.Grades = []string{string(rune('0' + i%6))} }))
				}
			}
			require.Equal(t, c.want, diagnosis(check.NewView(r, check.Given{Now: today}), "student-email-missing", c.before))
			require.Equal(t, "All students are affected: guardian data is probably not connected for this district.",
				diagnosis(check.NewView(r, check.Given{Now: today}), "student-guardians-missing", check.Before{}))
		})
	}
}

func TestDiagnosisOfOneColumn(t *testing.T) {
	r := replica.New(nil)
	for i := range 40 {
		apply(t, r, student(string(rune('A'+i)), func(u *typev1.User) {
			switch {
			case i < 6:
				u.Username = ""
			case i == 6:
				u.GivenName = ""
			}
		}))
	}
	require.Equal(t, "86 % have one reason, which points to one column of the source: the user name is blank.",
		diagnosis(check.NewView(r, check.Given{Now: today}), "user-required-missing", check.Before{}))
}

func TestDiagnosisOfNothingToDo(t *testing.T) {
	r := replica.New(nil)
	apply(t, r, user("securlyinternal:1", "student", "s1", ""))
	require.Equal(t, "Everything listed is informational: nothing needs to be fixed.",
		diagnosis(check.NewView(r, check.Given{Now: today}), "student-email-missing", check.Before{}))
}

func diagnosis(v *check.View, id string, before check.Before) string {
	res := v.Result(check.Find(id))
	return v.Diagnose(&res, before)
}

// TestCatalogue checks that every check says all that people need.
func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range check.Catalogue() {
		require.False(t, seen[c.ID], c.ID)
		seen[c.ID] = true
		for _, text := range []string{c.Title, c.Description, c.HowToFix, c.KnownIssues, c.Counts, c.Many, c.Few} {
			require.NotEmpty(t, text, c.ID)
		}
		require.NotZero(t, c.Severity, c.ID)
		for _, p := range c.Products {
			require.True(t, check.IsProduct(p), p)
		}
		require.NotEmpty(t, c.Proto().Products)
	}
	require.Len(t, seen, 31)
	require.Len(t, check.Products(), 11)
}
