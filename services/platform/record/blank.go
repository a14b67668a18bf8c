package record

import (
	"slices"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// Blank returns what is kept of a user or of demographics whose person was
// erased: id, status and time stamp, and of a user the roles and the ids of
// relatives with the types of contact, without which records of others would
// change their schools, or be shared when they are not, and the counts of every
// revision would be wrong. Nothing that it keeps says who the person was. Other
// entities are of no person and are returned as they are.
func Blank(r *typev1.Record) *typev1.Record {
	switch v := r.GetRecord().(type) {
	case *typev1.Record_User:
		u := &typev1.User{
			SourcedId: v.User.GetSourcedId(), Status: v.User.GetStatus(), DateLastModified: v.User.GetDateLastModified(),
		}
		for _, role := range v.User.GetRoles() {
			u.Roles = append(u.Roles, &typev1.Role{RoleType: role.GetRoleType(), Role: role.GetRole(), Org: role.GetOrg()})
		}
		// Those that differed in their dates alone are one, however often this is done.
		u.Roles = slices.CompactFunc(u.Roles, func(x, y *typev1.Role) bool { return proto.Equal(x, y) })
		for _, a := range v.User.GetAgents() {
			u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: a.GetSourcedId(), ContactType: a.GetContactType()})
		}
		return &typev1.Record{Record: &typev1.Record_User{User: u}}
	case *typev1.Record_Demographics:
		return &typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{
			SourcedId: v.Demographics.GetSourcedId(), Status: v.Demographics.GetStatus(),
			DateLastModified: v.Demographics.GetDateLastModified(),
		}}}
	}
	return r
}

// PersonHash recognises a user or demographics by what its own row says, whatever
// that of a user takes from elsewhere or leaves as it was: status, roles, profiles
// and the organisation that follows from roles.
func PersonHash(r *typev1.Record) Hash {
	own := proto.CloneOf(r)
	SetStatus(own, "")
	if u := own.GetUser(); u != nil {
		u.Roles, u.UserProfiles, u.PrimaryOrg = nil, nil, nil
	}
	return HashOf(own)
}
