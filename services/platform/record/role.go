package record

import (
	"strings"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// Family groups role tokens for filters, counts and checks (product: all
// administrator roles are one family, so are parent, guardian and relative).
type Family string

// The families. A token outside of them is FamilyOther.
const (
	FamilyStudent       Family = "student"
	FamilyTeacher       Family = "teacher"
	FamilyAide          Family = "aide"
	FamilyAdministrator Family = "administrator"
	FamilyGuardian      Family = "guardian"
	FamilyOther         Family = "other"
)

// Families lists all families in the order to show them.
func Families() []Family {
	return []Family{FamilyStudent, FamilyTeacher, FamilyAide, FamilyAdministrator, FamilyGuardian, FamilyOther}
}

// FamilyOf returns the family of a role token, whatever its case and with or
// without the prefix "ext:".
func FamilyOf(role string) Family {
	if len(role) > 4 && strings.EqualFold(role[:4], "ext:") {
		role = role[4:]
	}
	switch strings.ToLower(role) {
	case "student":
		return FamilyStudent
	case "teacher":
		return FamilyTeacher
	case "aide":
		return FamilyAide
	case "administrator", "principal", "siteadministrator", "districtadministrator", "systemadministrator", "counselor":
		return FamilyAdministrator
	case "guardian", "parent", "relative":
		return FamilyGuardian
	}
	return FamilyOther
}

// HasFamily tells whether u has any role of the family.
func HasFamily(u *typev1.User, f Family) bool {
	for _, r := range u.GetRoles() {
		if FamilyOf(r.GetRole()) == f {
			return true
		}
	}
	return false
}

// HasAddress tells whether any part of the address is there.
func HasAddress(u *typev1.User) bool {
	a := u.GetAddress()
	return a.GetStreet() != "" || a.GetCity() != "" || a.GetState() != "" || a.GetZip() != ""
}
