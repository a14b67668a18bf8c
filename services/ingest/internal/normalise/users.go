package normalise

import (
	"strings"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
)

const (
	userEnabled = colFirst + iota
	userOrgs
	userRole
	userUsername
	userIDs
	userGiven
	userFamily
	userMiddle
	userIdentifier
	userEmail
	userSMS
	userPhone
	userAgents
	userGrades
	userMaster
	userPreferredFirst
	userPreferredMiddle
	userPreferredLast
	userPrimaryOrg
	userPronouns
)

func (r *Reader) readUser(deleted bool) bool {
	u := &r.user
	role, ok := r.rosterRole(userRole, deleted)
	if !ok {
		return false
	}
	u.SourcedId, u.Status, u.DateLastModified, u.Metadata = r.id, r.status, r.stamp, r.metadata
	u.UserMasterIdentifier = r.get(userMaster)
	u.Username = r.get(userUsername)
	u.UserIds = parseUserIDs(r.get(userIDs))
	u.EnabledUser = r.boolean(userEnabled)
	u.GivenName = r.get(userGiven)
	u.FamilyName = r.get(userFamily)
	u.MiddleName = r.get(userMiddle)
	u.PreferredFirstName = r.get(userPreferredFirst)
	u.PreferredMiddleName = r.get(userPreferredMiddle)
	u.PreferredLastName = r.get(userPreferredLast)
	u.Pronouns = r.get(userPronouns)
	u.Identifier = r.get(userIdentifier)
	u.Email = r.get(userEmail)
	if u.Email != "" && !email(u.Email) {
		r.dropped("email-invalid", userEmail, "the value is no email address and was left out")
		u.Email = ""
	}
	u.Sms = r.get(userSMS)
	u.Phone = r.get(userPhone)
	u.Grades = r.grades(userGrades)
	u.Agents = u.Agents[:0]
	for _, id := range list(r.get(userAgents)) {
		u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: id, Source: r.t.source})
	}
	u.UserProfiles = nil
	u.PrimaryOrg = r.ref(0, userPrimaryOrg)
	u.Roles = u.Roles[:0]
	if r.t.FlatRoles {
		r.flatRoles(role)
	}
	u.Address = r.address()
	return true
}

// flatRoles makes one role per org of the one role that a 1.1 user has. The
// first org is the primary one, by habit of the senders.
func (r *Reader) flatRoles(role string) {
	u := &r.user
	orgs := list(r.get(userOrgs))
	for _, org := range orgs {
		u.Roles = append(u.Roles, &typev1.Role{RoleType: "primary", Role: role, Org: &typev1.Ref{SourcedId: org}})
	}
	if len(orgs) == 0 && role != "" {
		u.Roles = append(u.Roles, &typev1.Role{RoleType: "primary", Role: role})
	}
	if u.PrimaryOrg == nil && len(orgs) > 0 {
		r.refs[0].SourcedId = orgs[0]
		u.PrimaryOrg = &r.refs[0]
	}
}

// address gathers the parts of an address from extension columns; the first
// column that has a part wins. OneRoster has no field for it.
func (r *Reader) address() *typev1.Address {
	if r.metadata == nil {
		return nil
	}
	var parts [addressZip + 1]string
	found := false
	for _, e := range r.t.meta {
		if e.address != noAddress && parts[e.address] == "" {
			parts[e.address] = csvtext.Clean(r.fields[e.at])
			found = found || parts[e.address] != ""
		}
	}
	if !found {
		return nil
	}
	return &typev1.Address{Street: parts[addressStreet], City: parts[addressCity], State: parts[addressState], Zip: parts[addressZip]}
}

// parseUserIDs reads "{LDAP:jdoe},{state:998}". A value without braces is an
// identifier of no known type.
func parseUserIDs(s string) []*typev1.UserId {
	var out []*typev1.UserId
	for _, item := range list(s) {
		item = strings.TrimSpace(strings.Trim(item, "{}"))
		kind, id, ok := strings.Cut(item, ":")
		if !ok {
			kind, id = "", item
		}
		kind, id = strings.TrimSpace(kind), strings.TrimSpace(id)
		if id != "" {
			out = append(out, &typev1.UserId{Type: kind, Identifier: id})
		}
	}
	return out
}

func (r *Reader) readRole(deleted bool) bool {
	role, ok := r.rosterRole(roleRole, deleted)
	if !ok {
		return false
	}
	o := &r.role
	o.RoleType = r.token(roleTypes, roleType)
	if o.RoleType == "" {
		o.RoleType = "primary"
	}
	o.Role = role
	o.Org = r.ref(0, roleOrg)
	o.BeginDate = r.date(roleBegin)
	o.EndDate = r.date(roleEnd)
	o.UserProfile = r.ref(1, roleProfile)
	return true
}

// readProfile leaves the password out.
func (r *Reader) readProfile() {
	p := &r.profile
	p.ProfileId = r.get(colID)
	p.ProfileType = r.get(profileType)
	p.VendorId = r.get(profileVendor)
	p.ApplicationId = r.get(profileApplication)
	p.Description = r.get(profileDescription)
	p.CredentialType = r.get(profileCredential)
	p.Username = r.get(profileUsername)
}

// Role returns the standard's role that a word stands for.
func Role(word string) (role string, known bool) {
	if role, known = roles.token(word); known {
		return role, true
	}
	role, known = roleSynonyms[csvtext.Fold(word)]
	return role, known
}
