package guardian

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/platform/record"
)

// DerivedPrefix begins the ids of guardians whose rows have none.
const DerivedPrefix = "guardianfile:"

// Provenance is what the metadata of guardians say whom only a guardian file has.
const (
	Provenance   = "provenance"
	Augmentation = "augmentation"
)

// derivedID makes an id of what a row says. It is the same as long as the
// student, the guardian's name, and the email address or else the phone number
// are. Two districts never make the same of the same person.
func derivedID(district, student string, u *typev1.User) string {
	contact := strings.ToLower(u.GetEmail())
	if contact == "" {
		contact = strings.Map(func(r rune) rune {
			if !unicode.IsDigit(r) {
				return -1
			}
			return r
		}, u.GetPhone())
	}
	name := strings.ToLower(strings.Join(strings.Fields(u.GetGivenName()+" "+u.GetFamilyName()), " "))
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", district, student, contact, name))
	return DerivedPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:15]))
}

// Names tells whether a file that has a user has its id in a cell. Those of other
// sources do.
func Names(g *ingestv1.GuardianFile, user string) bool {
	if g == nil {
		return true
	}
	byID := g.GetStudentKey() == ingestv1.GuardianKey_SOURCED_ID || g.GetStudentKey() == ingestv1.GuardianKey_GUARDIAN_KEY_UNSPECIFIED
	return byID && !g.GetIgnoreLeadingZeros() && !strings.HasPrefix(user, DerivedPrefix)
}

// guardians makes a guardian of the rows of each.
func (m *matching) guardians(ctx context.Context) error {
	next, stop := iter.Pull2(m.Users)
	defer stop()
	users, emails := m.byUser.Buffer(), m.byEmail.Buffer()
	defer users.Close()
	defer emails.Close()
	var there layer.Entry
	more := true
	// find returns what other sources have under an id; ids ascend.
	find := func(id []byte) (known bool, _ error) {
		for more && (there.ID == nil || bytes.Compare(there.ID, id) < 0) {
			var err error
			if there, err, more = next(); err != nil {
				return false, err
			}
		}
		return more && bytes.Equal(there.ID, id), ctx.Err()
	}
	var id []byte
	var rows []*row
	total := 0
	finish := func() error {
		defer func() { rows, total = rows[:0], 0 }()
		if total == 0 {
			if id != nil {
				m.report.GuardiansUnmatched++
			}
			return nil
		}
		known, err := find(id)
		if err != nil {
			return err
		}
		g := &person{m: m, id: string(id), rows: rows}
		if known {
			if g.known, err = user(there); err != nil {
				return err
			}
		}
		switch {
		case total > maxLinks:
			g.rejectAll()
			return nil
		case known && g.known == nil:
			g.reject("guardian-deleted", "another source says that this guardian is deleted")
			return nil
		}
		return g.add(users, emails)
	}
	for it, err := range groups(m.byGuardian, finish) {
		if err != nil {
			return err
		}
		id = append(id[:0], it.ID...)
		if it.Part == partUnmatched {
			continue
		}
		if total++; total > maxLinks {
			(&person{m: m, id: string(id), rows: []*row{{number: it.Row}}}).rejectAll()
			continue
		}
		r := &row{number: it.Row, said: &typev1.User{}}
		if err := decode(it.Body, r.said); err != nil {
			return err
		}
		rows = append(rows, r)
	}
	return finish()
}

// person is a guardian with the rows that name it.
type person struct {
	m     *matching
	id    string
	rows  []*row
	known *typev1.User // as other sources have it
}

func (g *person) reject(code, message string) {
	for _, r := range g.rows {
		g.m.Report.Reject(code, r.number, g.m.Columns.name(Guardian), g.id, message)
	}
}

func (g *person) rejectAll() {
	g.reject("guardian-rows", fmt.Sprintf("more than %d rows name the same guardian: the value stands for no single one", maxLinks))
}

// value is that of a field, or of several that belong together.
type value [4]string

func (v value) filled() (n int) {
	for _, s := range v {
		if s != "" {
			n++
		}
	}
	return n
}

// most returns the value that most rows have: of several, one that has most
// parts, and else the one that comes first by its bytes, so that the order of
// the rows does not matter. several tells that there were others.
func (g *person) most(of func(*typev1.User) value) (best value, several bool) {
	votes := map[value]int{}
	for _, r := range g.rows {
		if v := of(r.said); v.filled() > 0 {
			votes[v]++
		}
	}
	first := true
	for v, n := range votes {
		order := cmp.Or(cmp.Compare(n, votes[best]), cmp.Compare(v.filled(), best.filled()), -slices.Compare(v[:], best[:]))
		if first || order > 0 {
			best, first = v, false
		}
	}
	return best, len(votes) > 1
}

// add passes the guardian on, and its links to its students.
func (g *person) add(users, emails *layer.Buffer) error {
	name, several := g.most(func(u *typev1.User) value { return value{u.GetGivenName(), u.GetFamilyName()} })
	if several {
		g.m.report.NameConflicts++
		g.m.Report.Value("guardian-names", g.rows[0].number, g.m.Columns.name(GivenName), g.id, "rows with this guardian id have several names; the one that most rows have was taken")
	}
	single := func(of func(*typev1.User) string) string {
		v, _ := g.most(func(u *typev1.User) value { return value{of(u)} })
		return v[0]
	}
	u := &typev1.User{SourcedId: g.id, Status: record.StatusActive, Agents: g.links()}
	g.m.report.Guardians++
	if strings.HasPrefix(g.id, DerivedPrefix) {
		g.m.report.GuardiansWithoutId++
	}
	if g.known == nil {
		g.m.report.GuardiansCreated++
	} else {
		g.m.report.GuardiansKnown++
	}
	if g.known == nil || record.HasFamily(g.known, record.FamilyGuardian) {
		u.GivenName, u.FamilyName = name[0], name[1]
		u.Email, u.Phone, u.Sms = single((*typev1.User).GetEmail), single((*typev1.User).GetPhone), single((*typev1.User).GetSms)
		a, _ := g.most(func(u *typev1.User) value {
			a := u.GetAddress()
			return value{a.GetStreet(), a.GetCity(), a.GetState(), a.GetZip()}
		})
		if a.filled() > 0 {
			u.Address = &typev1.Address{Street: a[0], City: a[1], State: a[2], Zip: a[3]}
		}
		if language := single(func(u *typev1.User) string { return u.GetMetadata()["language"] }); language != "" {
			u.Metadata = map[string]string{"language": language}
		}
		if u.GetEmail() != "" {
			if err := emails.Add(layer.Item{ID: []byte(strings.ToLower(u.GetEmail())), Part: partRow, Row: g.rows[0].number, Body: []byte(g.id)}); err != nil {
				return err
			}
		}
	} else {
		// What a parent writes of itself is not what a school says of its staff.
		g.m.Report.Notice("guardian-is-other", g.rows[0].number, g.m.Columns.name(Guardian),
			"the id is that of a user who is no guardian, a member of staff for example: the link was taken, names and addresses were not")
	}
	if g.known == nil {
		u.Username = u.GetEmail()
		if u.Metadata == nil {
			u.Metadata = map[string]string{}
		}
		u.Metadata[Provenance] = Augmentation
		u.Roles, u.PrimaryOrg = g.roles()
	}
	for _, a := range u.GetAgents() {
		back := proto.CloneOf(a)
		back.SourcedId = g.id
		if err := add(users, a.GetSourcedId(), partRow, 0, back); err != nil {
			return err
		}
	}
	body, err := encode(u)
	if err != nil {
		return err
	}
	return users.Add(layer.Item{ID: []byte(g.id), Part: partUser, Overlay: g.known != nil, Body: body})
}

// links are those to the students. Of one that several rows have, what is in
// doubt gives no rights.
func (g *person) links() []*typev1.Relationship {
	var out []*typev1.Relationship
	rows := map[string][]*typev1.Relationship{}
	for _, r := range g.rows {
		for _, a := range r.said.GetAgents() {
			id := a.GetSourcedId()
			rows[id] = append(rows[id], a)
			if len(rows[id]) == 1 {
				out = append(out, a)
				continue
			}
			if a == r.said.GetAgents()[0] {
				g.m.report.Duplicates++
				g.m.Report.Value("relationship-duplicate", r.number, g.m.Columns.name(Guardian), g.id, "another row says already that this is a guardian of the student")
			}
		}
	}
	for i, a := range out {
		out[i] = agreed(rows[a.GetSourcedId()])
	}
	g.m.report.Relationships += int32(len(out))
	slices.SortFunc(out, compareLinks)
	return out
}

// agreed makes one link of several between the same two.
func agreed(of []*typev1.Relationship) *typev1.Relationship {
	out := proto.CloneOf(of[0])
	for _, a := range of[1:] {
		out.Custody, out.DataAccess = both(out.Custody, a.Custody), both(out.DataAccess, a.DataAccess)
		out.Relationship, out.ContactType = firstOf(out.GetRelationship(), a.GetRelationship()), firstOf(out.GetContactType(), a.GetContactType())
		if p := a.GetPriority(); p != 0 && (out.GetPriority() == 0 || p < out.GetPriority()) {
			out.Priority = p
		}
	}
	return out
}

func both(a, b *bool) *bool {
	if a == nil || b != nil && !*b {
		return b
	}
	return a
}

// firstOf returns the value that comes first by its bytes, if there is any.
func firstOf(a, b string) string {
	if a == "" || b != "" && b < a {
		return b
	}
	return a
}

func compareLinks(a, b *typev1.Relationship) int {
	last := func(r *typev1.Relationship) uint32 { return uint32(r.GetPriority()) - 1 } // none comes last
	return cmp.Or(cmp.Compare(last(a), last(b)), cmp.Compare(a.GetSourcedId(), b.GetSourcedId()))
}

// roles are those of a guardian at the schools of its students.
func (g *person) roles() (out []*typev1.Role, primary *typev1.Ref) {
	for _, r := range g.rows {
		out = append(out, r.said.GetRoles()...)
	}
	org := func(r *typev1.Role) string { return r.GetOrg().GetSourcedId() }
	slices.SortFunc(out, func(a, b *typev1.Role) int { return cmp.Compare(org(a), org(b)) })
	out = slices.CompactFunc(out, func(a, b *typev1.Role) bool { return org(a) == org(b) })
	if len(out) == 0 {
		return []*typev1.Role{{RoleType: "primary", Role: "guardian"}}, nil
	}
	if len(out) == 1 {
		primary = out[0].GetOrg()
	}
	return out, primary
}
