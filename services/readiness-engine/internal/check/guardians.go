package check

import (
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

const (
	relationships = "student–guardian relationships"

	knownRelations = "Counts relationships: a guardian of two children counts twice. Relationships with guardians who were removed, or whose record never came, and with placeholders of the hub (securlyinternal:) are listed as informational."
	notConnected   = "guardian data is probably not connected for this district"
	guardianColumn = "the column is probably missing from the guardian data, or guardians are not matched to it"
)

var guardianChecks = []*Check{
	{
		ID:          "guardian-address-missing",
		Title:       "Guardian has no address",
		Description: "The guardian of a student has no address, so On-Call cannot show one while working on a case.",
		Products:    []string{onCall},
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Download the list, enter the addresses in the SIS and sync again. If many relationships are listed, the address columns of the guardian data may not be connected.",
		KnownIssues: knownRelations,
		Counts:      relationships,
		Many:        guardianColumn,
		Few:         "these look like single data entry gaps",
		find: relationsLacking("The guardian has no address.",
			func(g *replica.User) bool { return g.Flags&replica.HasAddress == 0 }),
	},
	{
		ID:          "guardian-email-missing",
		Title:       "Guardian has no email",
		Description: "The guardian of a student has no email address. Guardians sign in to Home with it, and On-Call recognises them by it.",
		Products:    []string{onCall, home},
		Severity:    readinessv1.Severity_ERROR, NeedsFix: true,
		HowToFix:    "Download the list, enter the emails in the SIS and sync again. If many relationships are listed, look at the email column of the guardian data.",
		KnownIssues: knownRelations,
		Counts:      relationships,
		Many:        guardianColumn,
		Few:         "these look like single data entry gaps",
		find: relationsLacking("The guardian has no email.",
			func(g *replica.User) bool { return g.EmailKey == 0 }),
	},
	{
		ID:          "guardian-phone-missing",
		Title:       "Guardian has no phone number",
		Description: "The guardian of a student has neither a phone nor a text message number, so On-Call cannot offer one to call.",
		Products:    []string{onCall},
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Download the list, enter the numbers in the SIS and sync again.",
		KnownIssues: knownRelations,
		Counts:      relationships,
		Many:        guardianColumn,
		Few:         "these look like single data entry gaps",
		find: relationsLacking("The guardian has no phone number.",
			func(g *replica.User) bool { return g.Flags&replica.HasPhone == 0 }),
	},
	{
		ID:          "guardian-unlinked",
		Title:       "Guardian without a student",
		Description: "An active guardian is linked with no active student, from either side. The account would show nothing.",
		Products:    []string{home, onCall},
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Link the guardian with the student in the SIS, or remove the guardian, and sync again.",
		KnownIssues: knownInternal,
		Counts:      "guardians",
		Many:        "the links between students and guardians are probably not exported or do not match",
		All:         "the links between students and guardians are not in the data",
		Few:         "these are probably left over from students who have gone",
		find:        guardianUnlinked(),
	},
	{
		ID:          "guardian-district-only",
		Title:       "Guardian attached to the district only",
		Description: "The guardian belongs to the district and to no school. Products that work by school do not show this guardian.",
		Products:    []string{home, onCall},
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Attach the guardian to the child's school in the SIS and sync again.",
		KnownIssues: knownInternal,
		Counts:      "guardians",
		Many:        "the export probably names the district where it should name the school",
		Few:         "these look like single data entry mistakes",
		find:        guardianDistrictOnly(),
	},
	{
		ID:          "guardians-too-many",
		Title:       "Student has six guardians or more",
		Description: "Six or more active guardians are linked with the student. Emergency contacts are often sent as guardians, who then get access that they should not have.",
		Products:    []string{home, onCall},
		Severity:    readinessv1.Severity_ALERT, NeedsFix: true,
		HowToFix:    "Export only parents and guardians, or mark the others as emergency contacts, and sync again.",
		KnownIssues: "Contacts that the data marks as emergency contacts do not count.",
		Counts:      "students",
		Many:        "emergency contacts are probably exported as guardians",
		Few:         "these look like single students with many contacts",
		find:        guardiansTooMany(),
	},
}

// relations of a student that name no active guardian have this in common.
const reasonGuardiansGone = "All guardians named for the student were removed or never delivered."

func guardiansMissing() rule {
	return rule{
		counts: active(replica.Student),
		user: func(v *View, s *subject, report func(Finding)) {
			switch {
			case s.active > 0:
			case len(s.guardians) > 0:
				report(v.userFinding(s.row, replica.Student, reasonGuardiansGone))
			default:
				report(v.userFinding(s.row, replica.Student, "No guardian is linked with the student, from either side."))
			}
		},
	}
}

// relationsLacking finds relationships whose guardian lacks something. A
// relationship that does not lead to two active records is informational.
func relationsLacking(reason string, lacks func(guardian *replica.User) bool) rule {
	return rule{pairs: true, user: func(v *View, s *subject, report func(Finding)) {
		for _, row := range s.guardians {
			guardian := v.user(row)
			if !lacks(guardian) {
				continue
			}
			f := Finding{
				Entity: typev1.Entity_ENTITY_USERS, Row: uint32(row),
				RelatedEntity: typev1.Entity_ENTITY_USERS, Related: uint32(s.row),
				School: v.schoolOf(s.User), Role: ^replica.Student,
				Informational: true,
			}
			switch {
			case guardian.State == replica.Removed:
				f.Reason = v.because("The guardian was removed: the relationship is left over.")
			case guardian.State == replica.Unknown:
				f.Reason = v.because("The guardian's record was never delivered: the relationship leads nowhere.")
			case s.State != replica.Active:
				f.Reason = v.because("The student was removed or never delivered: the relationship is left over.")
			case v.internal(row) || v.internal(s.row):
				f.Reason = v.because("One side of the relationship is a placeholder of the hub: nothing to fix.")
			default:
				f.Informational, f.Reason = false, v.because(reason)
			}
			report(f)
		}
	}}
}

func guardianUnlinked() rule {
	return rule{
		counts: active(replica.Guardian),
		user: func(v *View, s *subject, report func(Finding)) {
			if !s.linked {
				report(v.userFinding(s.row, replica.Guardian, "No active student is linked with the guardian, from either side."))
			}
		},
	}
}

func guardianDistrictOnly() rule {
	return rule{
		counts: active(replica.Guardian),
		user: func(v *View, s *subject, report func(Finding)) {
			central := v.central[s.PrimaryOrg]
			if v.schools[s.PrimaryOrg] {
				return
			}
			for _, r := range v.Roles(s.User) {
				if v.schools[r.Org] {
					return
				}
				central = central || v.central[r.Org]
			}
			if central {
				report(v.userFinding(s.row, replica.Guardian, "The district is the only org that the guardian belongs to."))
			}
		},
	}
}

// tooManyGuardians is how many guardians of one student are suspicious.
const tooManyGuardians = 6

func guardiansTooMany() rule {
	return rule{
		counts: active(replica.Student),
		user: func(v *View, s *subject, report func(Finding)) {
			if s.active >= tooManyGuardians {
				report(v.userFinding(s.row, replica.Student, "Six or more active guardians are linked with the student."))
			}
		},
	}
}
