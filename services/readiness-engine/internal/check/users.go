package check

import (
	"cmp"
	"slices"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

const knownInternal = `Records whose id begins with "securlyinternal:" are placeholders of the hub and are listed as informational.`

var studentChecks = []*Check{
	{
		ID:          "student-email-missing",
		Title:       "Student has no email",
		Description: "The student's record has no email address. Every product recognises students by their email, so this student cannot be matched to an account.",
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Enter the email in the SIS and sync again. If many students are listed, look at the export first: its email column may be missing or mapped to another field.",
		KnownIssues: knownInternal,
		Counts:      "students",
		Many:        "the email column is probably missing from the export or mapped to another field",
		Few:         "these look like single data entry gaps",
		find:        emailMissing(replica.Student, 0),
	},
	{
		ID:          "student-guardians-missing",
		Title:       "Student has no guardian",
		Description: "No active guardian is linked with the student. Home gives guardians access through this link and On-Call finds contacts by it.",
		Products:    []string{home, onCall},
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Link the student with a guardian in the SIS and sync again. If many students are listed, guardian data may not be connected or may not match the students' ids.",
		KnownIssues: "Either side may hold the link. Emergency contacts do not count as guardians. " + knownInternal,
		Counts:      "students",
		Many:        "guardian data is probably incomplete or matches the students' ids only in part",
		All:         notConnected,
		Few:         "the link is probably missing for single students",
		find:        guardiansMissing(),
	},
	{
		ID:          "student-email-duplicate",
		Title:       "Student email used by several students",
		Description: "Another student has the same email address. Products expect an email to belong to exactly one student, so one of them gets the other's account.",
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Give each student an email of their own in the SIS and sync again. If many are listed, a column with another meaning (a parent's or a shared email) is probably mapped to email.",
		KnownIssues: "One person with several records, one per school for example, is not listed when the records share an identifier. " + knownInternal,
		Counts:      "students",
		Many:        "a column with another meaning is probably mapped to email",
		Few:         "these look like single data entry mistakes",
		find:        emailDuplicate(replica.Student),
	},
}

var staffChecks = []*Check{
	{
		ID:          "teacher-email-duplicate",
		Title:       "Teacher email used by several teachers",
		Description: "Another teacher has the same email address. Products expect an email to belong to exactly one teacher, so one of them sees the other's classes.",
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Correct the emails in the SIS and sync again. If many are listed, look at how the email column of the export is mapped.",
		KnownIssues: "One teacher with several records is not listed when the records share an identifier. " + knownInternal,
		Counts:      "teachers",
		Many:        "a column with another meaning is probably mapped to email",
		Few:         "these look like single data entry mistakes, or one person with two records and no common identifier",
		find:        emailDuplicate(replica.Teacher),
	},
	{
		ID:          "admin-email-duplicate",
		Title:       "Administrator email used by several administrators",
		Description: "Another administrator has the same email address. Products expect an email to belong to exactly one administrator.",
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Correct the emails in the SIS and sync again. If many are listed, look at how the email column of the export is mapped.",
		KnownIssues: "One administrator with several records is not listed when the records share an identifier. " + knownInternal,
		Counts:      "administrators",
		Many:        "a column with another meaning is probably mapped to email",
		Few:         "these look like single data entry mistakes, or one person with two records and no common identifier",
		find:        emailDuplicate(replica.Administrator),
	},
}

var userChecks = []*Check{
	{
		ID:          "user-email-missing",
		Title:       "Staff member has no email",
		Description: "A teacher, an aide or an administrator has no email address and cannot sign in to products.",
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Enter the email in the SIS and sync again.",
		KnownIssues: knownInternal,
		Counts:      "staff members",
		Many:        "the email column of the staff export is probably missing or mapped to another field",
		Few:         "these look like single data entry gaps",
		find:        emailMissing(replica.Staff, replica.Student),
	},
	{
		ID:                "user-required-missing",
		Title:             "User lacks a required field",
		Description:       "An active user has no given name, no family name or no role; a student or a staff member may also lack the user name.",
		ReasonsAreColumns: true,
		Severity:          readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Fill in the field that the reason names in the SIS and sync again.",
		KnownIssues: knownInternal,
		Counts:      "users",
		Many:        "a required column is probably missing from the export or mapped to another field",
		Few:         "these look like single data entry gaps",
		find:        requiredMissing(),
	},
	{
		ID:          "email-domain-unexpected",
		Title:       "Email outside of the district's domains",
		Description: "A student or a staff member has an email in a domain that is not the district's. It is probably private and cannot be signed in with.",
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Replace private emails by those of the district in the SIS and sync again.",
		KnownIssues: "The district's domains are those in its settings, with what is below them. As long as there are none, a domain counts as the district's when it is the most used one of the students or of the staff, or when one in twenty of them uses it. Emails without a domain are listed.",
		Counts:      "students and staff members",
		Many:        "a column with private emails is probably mapped to email",
		Few:         "these look like private emails that somebody typed in",
		find:        domainUnexpected(),
	},
	{
		ID:          "email-shared-across-roles",
		Title:       "Email shared between roles",
		Description: "Another person in quite another role has the same email address, a student and a guardian for example. Who signs in with it may get the wrong role.",
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Give each person an email of their own. If both records are one person, give them the same identifier in the SIS.",
		KnownIssues: "A parent who teaches is not listed when both records share an identifier. " + knownInternal,
		Counts:      "users",
		Many:        "guardian emails are probably mapped into the student export, or the other way round",
		Few:         "these look like single data entry mistakes, or one person with two records and no common identifier",
		find:        emailAcrossRoles(),
	},
}

const reasonInternal = "The record is a placeholder of the hub: nothing to fix."

// userFinding is a finding about one user as a member of some families.
func (v *View) userFinding(row replica.UserRow, families replica.Families, reason string) Finding {
	f := Finding{
		Entity: typev1.Entity_ENTITY_USERS, Row: uint32(row),
		School: v.schoolOf(v.user(row)), Role: families, Reason: v.because(reason),
	}
	if v.internal(row) {
		f.Informational, f.Reason = true, v.because(reasonInternal)
	}
	return f
}

// active selects the active members of some families.
func active(families replica.Families) func(*replica.User) bool {
	return func(u *replica.User) bool { return u.State == replica.Active && u.Families.Has(families) }
}

// emailMissing finds members of some families, and of none of the others, who
// have no email.
func emailMissing(families, except replica.Families) rule {
	return rule{
		counts: func(u *replica.User) bool {
			return u.State == replica.Active && u.Families.Has(families) && !u.Families.Has(except)
		},
		user: func(v *View, s *subject, report func(Finding)) {
			if s.EmailKey == 0 {
				report(v.userFinding(s.row, families, "The email is blank."))
			}
		},
	}
}

// emailDuplicate finds members of a family whose email another person of that
// family has.
func emailDuplicate(family replica.Families) rule {
	return sharedEmails(family, "Another person in the same role has this email too.",
		func(_, other replica.Families) bool { return other.Has(family) })
}

func emailAcrossRoles() rule {
	return sharedEmails(^replica.Families(0), "Another person in another role has this email too.",
		func(own, other replica.Families) bool { return other != 0 && !own.Has(other) })
}

// sharedEmails finds members of some families with whose email another person
// conflicts. A conflict with placeholders alone is informational.
func sharedEmails(families replica.Families, reason string, conflict func(own, other replica.Families) bool) rule {
	return rule{
		counts: func(u *replica.User) bool {
			return u.State == replica.Active && u.Families.Has(families) && u.EmailKey != 0
		},
		email: func(v *View, bearers []replica.UserRow, report func(Finding)) {
			others := v.candidates(bearers)
			for _, row := range bearers {
				own := v.user(row).Families
				if !own.Has(families) {
					continue
				}
				var other, placeholder replica.UserRow
				for i := range others {
					if conflict(own, others[i].families) {
						other = cmp.Or(other, others[i].real.notOf(v, row))
						placeholder = cmp.Or(placeholder, others[i].placeholder.notOf(v, row))
					}
				}
				if other == 0 && placeholder == 0 {
					continue
				}
				f := v.userFinding(row, families, reason)
				f.RelatedEntity, f.Related = typev1.Entity_ENTITY_USERS, uint32(cmp.Or(other, placeholder))
				if other == 0 {
					f.Informational = true
					f.Reason = v.because("Only a placeholder of the hub has this email too: nothing to fix.")
				}
				report(f)
			}
		},
	}
}

// twoPersons are users of two different persons: at least one of them is
// another person than any given user is.
type twoPersons [2]replica.UserRow

func (t *twoPersons) add(v *View, u replica.UserRow) {
	switch {
	case t[0] == 0:
		t[0] = u
	case t[1] == 0 && v.person[t[0]] != v.person[u]:
		t[1] = u
	}
}

func (t *twoPersons) notOf(v *View, u replica.UserRow) replica.UserRow {
	for _, other := range t {
		if other != 0 && v.person[other] != v.person[u] {
			return other
		}
	}
	return 0
}

// candidate stands for all users of an email that have the same families.
type candidate struct {
	families          replica.Families
	real, placeholder twoPersons
}

// candidates keeps the work linear where thousands share one email.
func (v *View) candidates(bearers []replica.UserRow) []candidate {
	var out []candidate
	for _, row := range bearers {
		families := v.user(row).Families
		i := slices.IndexFunc(out, func(c candidate) bool { return c.families == families })
		if i < 0 {
			i = len(out)
			out = append(out, candidate{families: families})
		}
		if v.internal(row) {
			out[i].placeholder.add(v, row)
		} else {
			out[i].real.add(v, row)
		}
	}
	return out
}

func requiredMissing() rule {
	const everybody = ^replica.Families(0)
	return rule{
		counts: func(u *replica.User) bool { return u.State == replica.Active },
		user: func(v *View, s *subject, report func(Finding)) {
			reason := ""
			switch {
			case s.Flags&(replica.HasGivenName|replica.HasFamilyName) == 0:
				reason = "Given name and family name are blank."
			case s.Flags&replica.HasGivenName == 0:
				reason = "The given name is blank."
			case s.Flags&replica.HasFamilyName == 0:
				reason = "The family name is blank."
			case s.Families == 0:
				reason = "The user has no role."
			case s.Families.Has(replica.Student|replica.Staff) && s.Flags&replica.HasUsername == 0:
				reason = "The user name is blank."
			default:
				return
			}
			report(v.userFinding(s.row, everybody, reason))
		},
	}
}
