package guardian

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/merge"
	"github.com/securly/sync/services/platform/record"
)

// outcome is what a file comes to.
type outcome struct {
	report   *ingestv1.GuardianReport
	users    map[string]*typev1.User
	overlays map[string]bool
	findings []string // code:row:column
	entries  []layer.Entry
}

func file(text string) File {
	return File{Name: "guardianData.csv", Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

// stream yields users in the order of their ids.
func stream(users ...*typev1.User) iter.Seq2[layer.Entry, error] {
	users = slices.Clone(users)
	slices.SortFunc(users, func(a, b *typev1.User) int { return strings.Compare(a.GetSourcedId(), b.GetSourcedId()) })
	return func(yield func(layer.Entry, error) bool) {
		for _, u := range users {
			rec := &typev1.Record{Record: &typev1.Record_User{User: u}}
			body, err := proto.Marshal(rec)
			if !yield(layer.Entry{ID: []byte(u.GetSourcedId()), Hash: record.HashOf(rec), Deleted: u.GetStatus() == record.StatusToBeDeleted, Body: body}, err) {
				return
			}
		}
	}
}

func match(t testing.TB, text string, g *ingestv1.GuardianFile, users ...*typev1.User) outcome {
	t.Helper()
	out := outcome{users: map[string]*typev1.User{}, overlays: map[string]bool{}}
	report := finding.NewReport("guardianData.csv")
	c, faults := Open(file(text), g, report)
	require.Empty(t, faults)
	var err error
	last := ""
	out.report, err = Match(t.Context(), Input{
		File: file(text), Columns: c, Settings: g, District: "d", Source: "guardians", Report: report, Users: stream(users...), TempDir: t.TempDir(), Rows: func(int) {},
	}, func(e layer.Entry) error {
		rec := &typev1.Record{}
		require.NoError(t, proto.Unmarshal(e.Body, rec))
		require.Equal(t, record.HashOf(rec), e.Hash)
		require.Equal(t, string(e.ID), rec.GetUser().GetSourcedId())
		require.Less(t, last, string(e.ID))
		last = string(e.ID)
		out.users[last], out.overlays[last] = rec.GetUser(), e.Overlay
		e.ID = []byte(last)
		out.entries = append(out.entries, e)
		return nil
	})
	require.NoError(t, err)
	found, total := report.Result()
	require.Len(t, found, total)
	for _, f := range found {
		require.NotEmpty(t, f.GetMessage())
		out.findings = append(out.findings, fmt.Sprintf("%s:%d:%s", f.GetCode(), f.GetRow(), f.GetColumn()))
	}
	return out
}

func (o outcome) has(code string) bool {
	return slices.ContainsFunc(o.findings, func(f string) bool { return strings.HasPrefix(f, code+":") })
}

// show writes a user as a line.
func show(u *typev1.User) string {
	if u == nil {
		return "none"
	}
	parts := []string{strings.TrimSpace(u.GetGivenName() + " " + u.GetFamilyName()), u.GetEmail(), u.GetPhone(), u.GetAddress().GetCity()}
	for _, r := range u.GetRoles() {
		parts = append(parts, r.GetRole()+"@"+r.GetOrg().GetSourcedId())
	}
	for _, a := range u.GetAgents() {
		s := "->" + a.GetSourcedId()
		for _, w := range []string{a.GetRelationship(), a.GetContactType()} {
			if w != "" {
				s += "," + w
			}
		}
		if a.Custody != nil {
			s += fmt.Sprintf(",custody=%t", a.GetCustody())
		}
		if a.DataAccess != nil {
			s += fmt.Sprintf(",access=%t", a.GetDataAccess())
		}
		if a.GetPriority() != 0 {
			s += fmt.Sprintf(",%d", a.GetPriority())
		}
		parts = append(parts, s)
	}
	if text, _ := json.Marshal(u.GetMetadata()); string(text) != "null" {
		parts = append(parts, string(text))
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

func role(role, org string) *typev1.Role {
	return &typev1.Role{RoleType: "primary", Role: role, Org: &typev1.Ref{SourcedId: org}}
}

func student(id string, change ...func(*typev1.User)) *typev1.User {
	u := &typev1.User{SourcedId: id, Status: record.StatusActive, GivenName: "Kid", FamilyName: id, Roles: []*typev1.Role{role("student", "s1")}}
	for _, c := range change {
		c(u)
	}
	return u
}

func TestMatch(t *testing.T) {
	const head = "studentSourcedId,guardianSourcedId,guardian_givenName,guardian_familyName,guardian_email,phone\n"
	created := ` {"provenance":"augmentation"}`
	teacher := &typev1.User{SourcedId: "t", Status: record.StatusActive, GivenName: "Tom", Email: "Tom@School.example", Roles: []*typev1.Role{role("teacher", "s1")}}
	known := &typev1.User{SourcedId: "g", Status: record.StatusActive, GivenName: "Ann", Email: "ann@home.example", Roles: []*typev1.Role{role("parent", "s1")}}
	for name, test := range map[string]struct {
		text     string
		settings *ingestv1.GuardianFile
		users    []*typev1.User
		want     map[string]string // by id; "*" before an overlay
		report   *ingestv1.GuardianReport
		findings []string
	}{
		"a guardian nobody has": {
			text:   head + "k,g,Ann,Lee,ann@home.example,206-555-0101\n",
			users:  []*typev1.User{student("k")},
			want:   map[string]string{"k": "*->g", "g": "Ann Lee ann@home.example 206-555-0101 guardian@s1 ->k" + created},
			report: &ingestv1.GuardianReport{Rows: 1, MatchedRows: 1, MatchPercent: 100, Relationships: 1, Students: 1, Guardians: 1, GuardiansCreated: 1},
		},
		"a guardian others have": {
			text: head + "k,g,Ann,Lee,ann@work.example,\n", users: []*typev1.User{student("k"), known},
			want: map[string]string{"k": "*->g", "g": "*Ann Lee ann@work.example ->k"},
		},
		"a guardian who is staff": {
			text: head + "k,t,Thomas,Tree,tom@home.example,\n", users: []*typev1.User{student("k"), teacher},
			want: map[string]string{"k": "*->t", "t": "*->k"}, findings: []string{"guardian-is-other:2:guardianSourcedId"},
		},
		"a guardian who is deleted": {
			text:     head + "k,g,Ann,,,\n",
			users:    []*typev1.User{student("k"), {SourcedId: "g", Status: record.StatusToBeDeleted}},
			findings: []string{"guardian-deleted:2:guardianSourcedId"},
			report:   &ingestv1.GuardianReport{Rows: 1, MatchedRows: 1, MatchPercent: 100, RejectedRows: 1},
		},
		"two children, two guardians": {
			text:  head + "k1,g1,Ann,Lee,,\nk2,g1,Ann,Lee,,\nk1,g2,Bob,Lee,,\n",
			users: []*typev1.User{student("k1"), student("k2", func(u *typev1.User) { u.Roles = append(u.Roles, role("student", "s2")) })},
			want: map[string]string{
				"k1": "*->g1 ->g2", "k2": "*->g1",
				"g1": "Ann Lee guardian@s1 guardian@s2 ->k1 ->k2" + created, "g2": "Bob Lee guardian@s1 ->k1" + created,
			},
		},
		"students who are not there, deleted, or none": {
			text:     head + "no,g,Ann,Lee,,\ngone,g,Ann,Lee,,\nt,g2,Ann,Lee,,\nK,g2,Ann,Lee,,\n",
			users:    []*typev1.User{student("k"), student("gone", func(u *typev1.User) { u.Status = record.StatusToBeDeleted }), teacher},
			findings: []string{"student-unknown:2:studentSourcedId", "student-unknown:3:studentSourcedId", "student-unknown:4:studentSourcedId", "student-unknown:5:studentSourcedId"},
			report:   &ingestv1.GuardianReport{Rows: 4, UnmatchedRows: 4, GuardiansUnmatched: 2},
		},
		"by identifier": {
			text: head + "7,g,Ann,,,\n", settings: &ingestv1.GuardianFile{StudentKey: ingestv1.GuardianKey_IDENTIFIER},
			users: []*typev1.User{student("k", func(u *typev1.User) { u.Identifier = "7" })},
			want:  map[string]string{"k": "*->g", "g": "Ann guardian@s1 ->k" + created},
		},
		"by number": {
			text: head + "7,g,Ann,,,\n", settings: &ingestv1.GuardianFile{StudentKey: ingestv1.GuardianKey_USER_ID},
			users: []*typev1.User{student("k", func(u *typev1.User) {
				u.UserIds = []*typev1.UserId{{Type: "x", Identifier: "9"}, {Type: "sis", Identifier: "7"}}
			})},
			want: map[string]string{"k": "*->g", "g": "Ann guardian@s1 ->k" + created},
		},
		"by email, as it is written": {
			text: head + "kid@School.example,g,Ann,,,\nkid@school.example,g,Ann,,,\n", settings: &ingestv1.GuardianFile{StudentKey: ingestv1.GuardianKey_EMAIL},
			users:    []*typev1.User{student("k", func(u *typev1.User) { u.Email = "kid@school.example" })},
			want:     map[string]string{"k": "*->g", "g": "Ann guardian@s1 ->k" + created},
			findings: []string{"student-unknown:2:studentSourcedId"},
		},
		"zeros count": {
			text: head + "7,g,Ann,,,\n", users: []*typev1.User{student("007")}, findings: []string{"student-unknown:2:studentSourcedId"},
		},
		"zeros do not count": {
			text: head + "7,g,Ann,,,\n", users: []*typev1.User{student("007")}, settings: &ingestv1.GuardianFile{IgnoreLeadingZeros: true},
			want: map[string]string{"007": "*->g", "g": "Ann guardian@s1 ->007" + created},
		},
		"zeros do not count, but one is just so": {
			text: head + "7,g,Ann,,,\n", users: []*typev1.User{student("007"), student("7")}, settings: &ingestv1.GuardianFile{IgnoreLeadingZeros: true},
			want: map[string]string{"7": "*->g", "g": "Ann guardian@s1 ->7" + created},
		},
		"one student who is two users": {
			text: head + "7,g,Ann,,,\n", settings: &ingestv1.GuardianFile{StudentKey: ingestv1.GuardianKey_IDENTIFIER},
			users: []*typev1.User{
				student("k1", func(u *typev1.User) { u.Identifier, u.FamilyName = "7", "Lee" }),
				student("k2", func(u *typev1.User) {
					u.Identifier, u.FamilyName, u.Roles = "7", "LEE", []*typev1.Role{role("student", "s2")}
				}),
			},
			want: map[string]string{"k1": "*->g", "k2": "*->g", "g": "Ann guardian@s1 guardian@s2 ->k1 ->k2" + created},
		},
		"two students with one key": {
			text: head + "0,g,Ann,,,\n", settings: &ingestv1.GuardianFile{StudentKey: ingestv1.GuardianKey_IDENTIFIER},
			users: []*typev1.User{
				student("k1", func(u *typev1.User) { u.Identifier = "0" }), student("k2", func(u *typev1.User) { u.Identifier = "0" }),
			},
			findings: []string{"student-ambiguous:2:studentSourcedId"},
		},
		"the same twice": {
			text: head + "k,g,Ann,Lee,,\nk,g,Ann,Lee,,\n", users: []*typev1.User{student("k")},
			want:     map[string]string{"k": "*->g", "g": "Ann Lee guardian@s1 ->k" + created},
			findings: []string{"relationship-duplicate:3:guardianSourcedId"},
			report:   &ingestv1.GuardianReport{Rows: 2, MatchedRows: 2, MatchPercent: 100, Duplicates: 1, Relationships: 1, Students: 1, Guardians: 1, GuardiansCreated: 1},
		},
		"several names of one id": {
			text: head + "k1,g,Ann,Lee,,\nk2,g,Ann,Low,,\nk3,g,Ann,Low,,\n", users: []*typev1.User{student("k1"), student("k2"), student("k3")},
			want:     map[string]string{"k1": "*->g", "k2": "*->g", "k3": "*->g", "g": "Ann Low guardian@s1 ->k1 ->k2 ->k3" + created},
			findings: []string{"guardian-names:2:guardian_givenName"},
		},
		"one email of several ids, and of staff": {
			text: head + "k,g1,Ann,,a@home.example,\nk,g2,Bob,,A@home.example,\nk,g3,Tom,,tom@school.example,\n", users: []*typev1.User{student("k"), teacher},
			want: map[string]string{
				"k": "*->g1 ->g2 ->g3", "g1": "Ann a@home.example guardian@s1 ->k" + created, "g2": "Bob A@home.example guardian@s1 ->k" + created,
				"g3": "Tom tom@school.example guardian@s1 ->k" + created,
			},
			findings: []string{"email-shared:3:guardian_email", "email-of-staff:4:guardian_email"},
		},
		"rights and the rest of a relationship": {
			text: "studentSourcedId,guardianSourcedId,AllowDataAccess,has_custody,Relationship,Priority,Address1,Address 2,City,zipcode,language\n" +
				"k,g1,yes,N,Mother,2,1 Elm St,Apt 4,Town,00123,es\nk,g2,perhaps,true,emergency contact,1st,,,,,\n",
			users: []*typev1.User{student("k")},
			want: map[string]string{
				"k":  "*->g1,Mother,parent,custody=false,access=true,2 ->g2,emergency contact,emergency,custody=true",
				"g1": `Town guardian@s1 ->k,Mother,parent,custody=false,access=true,2 {"language":"es","provenance":"augmentation"}`,
				"g2": "guardian@s1 ->k,emergency contact,emergency,custody=true" + created,
			},
			findings: []string{"boolean-invalid:3:AllowDataAccess", "number-invalid:3:Priority"},
		},
		"rights in doubt": {
			text:  "studentSourcedId,guardianSourcedId,allowdataaccess,hascustody\nk,g,true,\nk,g,false,true\n",
			users: []*typev1.User{student("k")},
			want:  map[string]string{"k": "*->g,custody=true,access=false", "g": "guardian@s1 ->k,custody=true,access=false" + created},
		},
		"rows that cannot be taken": {
			text: head + ",g,Ann,,,\nk,,,,,\nk,g\nk,k,Kid,,,\n", users: []*typev1.User{student("k")},
			findings: []string{"student-missing:2:studentSourcedId", "guardian-missing:3:guardianSourcedId", "row-ragged:4:", "guardian-is-student:5:guardianSourcedId"},
			report:   &ingestv1.GuardianReport{Rows: 4, RejectedRows: 4},
		},
		"columns that were said": {
			text: "Pupil,Parent No,email\nk,g,a@home.example\n", users: []*typev1.User{student("k")},
			settings: &ingestv1.GuardianFile{Columns: map[string]string{"student": "pupil", "guardian": "parent_no", "email": ""}},
			want:     map[string]string{"k": "*->g", "g": "guardian@s1 ->k" + created},
		},
		"no header": {
			text: "k,g,Ann,Lee,ann@home.example,206-555-0101,206-555-0102,es\n", users: []*typev1.User{student("k")}, settings: &ingestv1.GuardianFile{NoHeader: true},
			want: map[string]string{"k": "*->g", "g": `Ann Lee ann@home.example 206-555-0102 guardian@s1 ->k {"language":"es","provenance":"augmentation"}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.settings == nil {
				test.settings = &ingestv1.GuardianFile{}
			}
			out := match(t, test.text, test.settings, test.users...)
			got := map[string]string{}
			for id, u := range out.users {
				got[id] = show(u)
				if out.overlays[id] {
					got[id] = "*" + got[id]
				}
			}
			if test.want == nil {
				test.want = map[string]string{}
			}
			require.Equal(t, test.want, got)
			for _, f := range test.findings {
				require.Contains(t, out.findings, f)
			}
			if test.report != nil {
				require.Empty(t, cmp.Diff(test.report, out.report, protocmp.Transform()))
			}
			if len(test.findings) == 0 {
				require.NotContains(t, strings.Join(out.findings, " "), "student-")
			}
		})
	}
}

func TestGuardiansWithoutID(t *testing.T) {
	const head = "studentSourcedId,guardian_givenName,guardian_familyName,guardian_email,phone\n"
	users := []*typev1.User{student("k1"), student("k2")}
	idOf := func(text string) string {
		out := match(t, head+text, &ingestv1.GuardianFile{}, users...)
		require.True(t, out.has("guardian-id-derived"))
		require.Equal(t, int32(1), out.report.GetGuardiansWithoutId())
		id := slices.MaxFunc(slices.Collect(maps.Keys(out.users)), func(a, b string) int { return len(a) - len(b) })
		require.True(t, strings.HasPrefix(id, DerivedPrefix))
		require.NotContains(t, id, "ann")
		return id
	}
	ann := idOf("k1,Ann,Lee,ann@home.example,206-555-0101\n")
	require.Equal(t, ann, idOf("k1, ANN ,lee,Ann@Home.Example,\n"), "how it is written does not matter")
	require.NotEqual(t, ann, idOf("k2,Ann,Lee,ann@home.example,206-555-0101\n"), "another student")
	require.NotEqual(t, ann, idOf("k1,Bob,Lee,ann@home.example,206-555-0101\n"), "parents may share an address")
	require.Equal(t, idOf("k1,Ann,Lee,,206-555-0101\n"), idOf("k1,Ann,Lee,,(206) 555 0101\n"))
}

func TestAValueThatStandsForNobody(t *testing.T) {
	const head = "studentSourcedId,guardianSourcedId,guardian_givenName\n"
	var users []*typev1.User
	byGuardian, byStudent := head, head
	for i := range maxLinks + 1 {
		users = append(users, student(fmt.Sprintf("k%03d", i)))
		byGuardian += fmt.Sprintf("k%03d,none,Ann\n", i)
		byStudent += fmt.Sprintf("k000,g%d,Ann\n", i)
	}
	out := match(t, byGuardian, &ingestv1.GuardianFile{}, users...)
	require.Empty(t, out.users)
	require.Equal(t, int32(maxLinks+1), out.report.GetRejectedRows())
	out = match(t, byStudent, &ingestv1.GuardianFile{}, users...)
	require.Empty(t, out.users)
	require.Equal(t, int32(maxLinks+1), out.report.GetUnmatchedRows())
}

// random makes a file with a header and users that it names here and there.
func random(r *rand.Rand) (rows []string, users []*typev1.User) {
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	for i := range 8 {
		u := student(fmt.Sprintf("k%d", i), func(u *typev1.User) {
			u.Identifier, u.Email = pick("", "1", "2", "03"), pick("", "k@school.example")
			u.Agents = []*typev1.Relationship{{SourcedId: pick("g0", "g1", "g9"), Relationship: pick("", "uncle")}}
		})
		if r.IntN(8) == 0 {
			u.Status = record.StatusToBeDeleted
		}
		users = append(users, u)
	}
	for i := range 4 {
		if r.IntN(2) == 0 {
			users = append(users, &typev1.User{
				SourcedId: fmt.Sprintf("g%d", i), Status: pick(record.StatusActive, record.StatusActive, record.StatusToBeDeleted), GivenName: pick("", "Ann"),
				FamilyName: pick("", "Low"), Email: pick("", "x@home.example"), Roles: []*typev1.Role{role(pick("guardian", "teacher", "student"), "s1")},
			})
		}
	}
	for range 30 {
		rows = append(rows, strings.Join([]string{
			pick("k0", "k1", "k2", "k3", "k4", "k9", "1", "3", ""), pick("g0", "g1", "g2", "g3", "", ""), pick("", "Ann", "Bob"), pick("", "Lee", "Low"),
			pick("", "x@home.example", "y@home.example"), pick("", "1 Elm St", "2 Oak St"), pick("", "true", "false"), pick("", "true", "false", "?"),
			pick("", "mother", "uncle"), pick("", "1", "2"),
		}, ","))
	}
	return rows, users
}

const randomHead = "studentId,guardianId,firstName,lastName,email,address1,allowDataAccess,hasCustody,relationship,priority\n"

func TestTheOrderOfRowsDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		rows, users := random(r)
		g := &ingestv1.GuardianFile{StudentKey: ingestv1.GuardianKey(r.IntN(3)), IgnoreLeadingZeros: r.IntN(2) == 0}
		one := match(t, randomHead+strings.Join(rows, "\n"), g, users...)
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		two := match(t, randomHead+strings.Join(rows, "\n"), g, users...)
		require.Empty(t, cmp.Diff(one.users, two.users, protocmp.Transform()))
		require.Equal(t, one.overlays, two.overlays)
		require.Empty(t, cmp.Diff(one.report, two.report, protocmp.Transform()))
	}
}

// Whatever a file says, it fills in and links, and changes nothing that others
// say; a relationship has both sides.
func TestFillMissingChangesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		rows, users := random(r)
		out := match(t, randomHead+strings.Join(rows, "\n"), &ingestv1.GuardianFile{}, users...)
		fill := func(yield func(layer.Entry, error) bool) {
			for _, e := range out.entries {
				if !yield(e, nil) {
					return
				}
			}
		}
		merged := map[string]*typev1.User{}
		for e, err := range merge.Layers(merge.Stream{Source: "sis", Rank: merge.Base, Entries: stream(users...)}, merge.Stream{Source: "guardians", Rank: merge.Fill, Entries: fill}) {
			require.NoError(t, err)
			rec := &typev1.Record{}
			require.NoError(t, proto.Unmarshal(e.Body, rec))
			merged[string(e.ID)] = rec.GetUser()
		}
		for _, u := range users {
			again := proto.CloneOf(merged[u.GetSourcedId()])
			proto.Merge(again, u) // scalars of u win: nothing may differ
			again.Roles, again.Agents = u.GetRoles(), merged[u.GetSourcedId()].GetAgents()
			require.Empty(t, cmp.Diff(merged[u.GetSourcedId()], again, protocmp.Transform()))
			for i, a := range u.GetAgents() {
				require.Equal(t, a.GetSourcedId(), again.GetAgents()[i].GetSourcedId())
				if a.GetRelationship() != "" {
					require.Equal(t, a.GetRelationship(), again.GetAgents()[i].GetRelationship())
				}
			}
		}
		links := 0
		for id, u := range out.users {
			require.NotNil(t, merged[id], "an overlay for nobody")
			for _, a := range u.GetAgents() {
				links++
				back := slices.IndexFunc(out.users[a.GetSourcedId()].GetAgents(), func(b *typev1.Relationship) bool { return b.GetSourcedId() == id })
				require.GreaterOrEqual(t, back, 0)
			}
		}
		require.LessOrEqual(t, links, 2*int(out.report.GetRelationships()))
	}
}

func TestMatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	text := "studentId,guardianId\nk,g\n"
	c, _ := Open(file(text), &ingestv1.GuardianFile{}, finding.NewReport("x"))
	_, err := Match(ctx, Input{File: file(text), Columns: c, Settings: &ingestv1.GuardianFile{}, Report: finding.NewReport("x"), Users: stream(), TempDir: t.TempDir(), Rows: func(int) {}}, nil)
	require.ErrorIs(t, err, context.Canceled)
}

// Whatever a file holds, each of its rows is matched or a finding, and what is
// made of them can be kept.
func FuzzMatch(f *testing.F) {
	f.Add("studentSourcedId,guardianSourcedId,guardian_email\nk,g,a@b.example\nk,,\n", uint8(0))
	f.Add("k,g,Ann,Lee,a@b.example,1,2,en\n", uint8(1))
	f.Add("student id;parent id;allowdataaccess\r\n007;\"g\nx\";yes\r\n7;g", uint8(2))
	f.Add("\xff\xfes\x00t\x00u\x00d\x00e\x00n\x00t\x00,\x00e\x00m\x00a\x00i\x00l\x00\n\x00k\x00,\x00a\x00@\x00b\x00\n\x00", uint8(4))
	f.Fuzz(func(t *testing.T, text string, bits uint8) {
		g := &ingestv1.GuardianFile{NoHeader: bits&1 != 0, IgnoreLeadingZeros: bits&2 != 0, StudentKey: ingestv1.GuardianKey(bits >> 2 & 3)}
		report := finding.NewReport("x")
		c, faults := Open(file(text), g, report)
		if len(faults) > 0 {
			return
		}
		users := []*typev1.User{student("k"), student("007", func(u *typev1.User) { u.Identifier, u.Email = "k", "k" })}
		out, err := Match(t.Context(), Input{File: file(text), Columns: c, Settings: g, Report: report, Users: stream(users...), TempDir: t.TempDir(), Rows: func(int) {}}, func(e layer.Entry) error {
			return proto.Unmarshal(e.Body, &typev1.Record{})
		})
		if err != nil {
			require.NotEmpty(t, Unreadable(file(text), err), "%v", err)
			return
		}
		require.LessOrEqual(t, out.GetMatchedRows()+out.GetUnmatchedRows(), out.GetRows())
		require.GreaterOrEqual(t, out.GetRejectedRows()+out.GetUnmatchedRows()+out.GetMatchedRows(), out.GetRows())
	})
}
