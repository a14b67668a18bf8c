package record

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// HashSize is the length of a Hash in bytes.
const HashSize = 16

// Hash tells whether two versions of a record are the same to a reader.
type Hash [HashSize]byte

// HashVersion starts the hashed text. It changes only when the text of
// existing fields changes; every record then counts as updated once.
const HashVersion = 1

var hashBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// HashOf hashes the fields of r in the order stated by appendCanonical. It does
// not depend on the encoding, so that a newer protobuf library changes no hash;
// metadata counts as sorted pairs; dateLastModified does not count. A field
// that is added later must be appended only where it is not empty.
func HashOf(r *typev1.Record) Hash {
	buf := hashBuffers.Get().(*[]byte)
	*buf = appendCanonical(append((*buf)[:0], HashVersion), r)
	sum := sha256.Sum256(*buf)
	hashBuffers.Put(buf)
	return Hash(sum[:HashSize])
}

// text appends s with its length, so that no two different lists of texts
// read the same.
func text(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func list(b []byte, ss []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(ss)))
	for _, s := range ss {
		b = text(b, s)
	}
	return b
}

// ref distinguishes no reference from a reference to "".
func ref(b []byte, r *typev1.Ref) []byte {
	if r == nil {
		return append(b, 0)
	}
	return text(append(b, 1), r.SourcedId)
}

func flag(b []byte, v *bool) []byte {
	switch {
	case v == nil:
		return append(b, 0)
	case *v:
		return append(b, 2)
	}
	return append(b, 1)
}

func metadata(b []byte, m map[string]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(m)))
	if len(m) == 0 {
		return b
	}
	for _, k := range sortedKeys(m) {
		b = text(text(b, k), m[k])
	}
	return b
}

func appendCanonical(b []byte, r *typev1.Record) []byte {
	entity, base := Of(r)
	b = append(b, byte(entity))
	if base == nil {
		return b
	}
	b = text(b, base.GetSourcedId())
	b = text(b, base.GetStatus())
	b = metadata(b, base.GetMetadata())
	switch v := base.(type) {
	case *typev1.Org:
		b = text(text(text(b, v.Name), v.Type), v.Identifier)
		b = ref(b, v.Parent)
	case *typev1.AcademicSession:
		b = text(text(text(text(b, v.Title), v.Type), v.StartDate), v.EndDate)
		b = text(ref(b, v.Parent), v.SchoolYear)
	case *typev1.Course:
		b = ref(text(b, v.Title), v.SchoolYear)
		b = list(text(b, v.CourseCode), v.Grades)
		b = list(list(ref(b, v.Org), v.Subjects), v.SubjectCodes)
	case *typev1.Class:
		b = text(text(text(text(b, v.Title), v.ClassCode), v.ClassType), v.Location)
		b = list(list(b, v.Grades), v.Subjects)
		b = ref(ref(b, v.Course), v.School)
		b = binary.AppendUvarint(b, uint64(len(v.Terms)))
		for _, t := range v.Terms {
			b = text(b, t.GetSourcedId())
		}
		b = list(list(b, v.SubjectCodes), v.Periods)
	case *typev1.User:
		b = user(b, v)
	case *typev1.Enrollment:
		b = ref(ref(ref(b, v.User), v.Class), v.School)
		b = flag(text(b, v.Role), v.Primary)
		b = text(text(b, v.BeginDate), v.EndDate)
	case *typev1.Demographics:
		b = text(text(b, v.BirthDate), v.Sex)
		for _, f := range []*bool{
			v.AmericanIndianOrAlaskaNative, v.Asian, v.BlackOrAfricanAmerican,
			v.NativeHawaiianOrOtherPacificIslander, v.White,
			v.DemographicRaceTwoOrMoreRaces, v.HispanicOrLatinoEthnicity,
		} {
			b = flag(b, f)
		}
		b = text(text(b, v.CountryOfBirthCode), v.StateOfBirthAbbreviation)
		b = text(text(b, v.CityOfBirth), v.PublicSchoolResidenceStatus)
	}
	return b
}

func user(b []byte, v *typev1.User) []byte {
	b = text(text(b, v.UserMasterIdentifier), v.Username)
	b = binary.AppendUvarint(b, uint64(len(v.UserIds)))
	for _, id := range v.UserIds {
		b = text(text(b, id.Type), id.Identifier)
	}
	b = flag(b, v.EnabledUser)
	for _, s := range [...]string{
		v.GivenName, v.FamilyName, v.MiddleName,
		v.PreferredFirstName, v.PreferredMiddleName, v.PreferredLastName, v.Pronouns,
	} {
		b = text(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(v.Roles)))
	for _, r := range v.Roles {
		b = ref(text(text(b, r.RoleType), r.Role), r.Org)
		b = ref(text(text(b, r.BeginDate), r.EndDate), r.UserProfile)
	}
	b = binary.AppendUvarint(b, uint64(len(v.UserProfiles)))
	for _, p := range v.UserProfiles {
		b = text(text(text(text(b, p.ProfileId), p.ProfileType), p.VendorId), p.ApplicationId)
		b = text(text(text(b, p.Description), p.CredentialType), p.Username)
	}
	b = ref(b, v.PrimaryOrg)
	b = text(text(text(text(b, v.Identifier), v.Email), v.Sms), v.Phone)
	b = binary.AppendUvarint(b, uint64(len(v.Agents)))
	for _, a := range v.Agents {
		b = text(text(text(b, a.SourcedId), a.Relationship), a.ContactType)
		b = flag(flag(b, a.Custody), a.DataAccess)
		b = text(binary.AppendVarint(b, int64(a.Priority)), a.Source)
	}
	b = list(b, v.Grades)
	if a := v.Address; a != nil {
		b = text(text(text(text(b, a.Street), a.City), a.State), a.Zip)
	}
	return b
}
