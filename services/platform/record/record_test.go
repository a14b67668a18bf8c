package record_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// full returns a record of each entity with every field set, lists with two
// elements and every message filled in turn.
func full(t testing.TB) map[typev1.Entity]*typev1.Record {
	all := map[typev1.Entity]*typev1.Record{}
	kinds := (&typev1.Record{}).ProtoReflect().Descriptor().Oneofs().ByName("record").Fields()
	for i := range kinds.Len() {
		r := &typev1.Record{}
		fill(r.ProtoReflect().Mutable(kinds.Get(i)).Message(), string(kinds.Get(i).Name()))
		entity, base := record.Of(r)
		require.NotNil(t, base)
		all[entity] = r
	}
	require.Len(t, all, len(record.Entities()))
	return all
}

func fill(m protoreflect.Message, path string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		at := path + "." + string(f.Name())
		switch {
		case f.IsMap():
			for _, k := range []string{"b", "a"} {
				m.Mutable(f).Map().Set(protoreflect.ValueOfString(k).MapKey(), protoreflect.ValueOfString(at+k))
			}
		case f.IsList() && f.Message() != nil:
			for j := range 2 {
				e := m.Mutable(f).List().AppendMutable()
				fill(e.Message(), fmt.Sprint(at, j))
			}
		case f.IsList():
			for j := range 2 {
				m.Mutable(f).List().Append(protoreflect.ValueOfString(fmt.Sprint(at, j)))
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message(), at)
		case f.Kind() == protoreflect.BoolKind:
			m.Set(f, protoreflect.ValueOfBool(false))
		case f.Kind() == protoreflect.Int32Kind:
			m.Set(f, protoreflect.ValueOfInt32(1))
		default:
			m.Set(f, protoreflect.ValueOfString(at))
		}
	}
}

// changes yields every version of r with one value changed or one field, list
// element or map entry taken away, and says which.
func changes(r *typev1.Record, yield func(what string, changed *typev1.Record)) {
	var walk func(m protoreflect.Message, path string, root func() (protoreflect.Message, *typev1.Record))
	walk = func(m protoreflect.Message, path string, at func() (protoreflect.Message, *typev1.Record)) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			if !m.Has(f) || f.Name() == "date_last_modified" {
				continue
			}
			what := path + "." + string(f.Name())
			without, whole := at()
			without.Clear(f)
			yield(what+" cleared", whole)
			switch {
			case f.IsMap():
				one, whole := at()
				one.Mutable(f).Map().Clear(protoreflect.ValueOfString("a").MapKey())
				yield(what+" without a key", whole)
				one, whole = at()
				one.Mutable(f).Map().Set(protoreflect.ValueOfString("a").MapKey(), protoreflect.ValueOfString("other"))
				yield(what+" with another value", whole)
			case f.IsList():
				one, whole := at()
				one.Mutable(f).List().Truncate(1)
				yield(what+" shorter", whole)
				one, whole = at()
				l := one.Mutable(f).List()
				first, second := l.Get(0), l.Get(1)
				if f.Message() != nil {
					first = protoreflect.ValueOfMessage(proto.Clone(first.Message().Interface()).ProtoReflect())
				}
				l.Set(0, second)
				l.Set(1, first)
				yield(what+" in another order", whole)
				if f.Message() != nil {
					walk(m.Get(f).List().Get(0).Message(), what+"[0]", func() (protoreflect.Message, *typev1.Record) {
						m, whole := at()
						return m.Mutable(f).List().Get(0).Message(), whole
					})
				}
			case f.Message() != nil:
				walk(m.Get(f).Message(), what, func() (protoreflect.Message, *typev1.Record) {
					m, whole := at()
					return m.Mutable(f).Message(), whole
				})
			case f.Kind() == protoreflect.BoolKind:
				one, whole := at()
				one.Set(f, protoreflect.ValueOfBool(true))
				yield(what+" true", whole)
			case f.Kind() == protoreflect.Int32Kind:
				one, whole := at()
				one.Set(f, protoreflect.ValueOfInt32(-1))
				yield(what+" other", whole)
			default:
				one, whole := at()
				one.Set(f, protoreflect.ValueOfString(one.Get(f).String()+"x"))
				yield(what+" longer", whole)
			}
		}
	}
	inner := func(r *typev1.Record) protoreflect.Message {
		m := r.ProtoReflect()
		return m.Mutable(m.WhichOneof(m.Descriptor().Oneofs().ByName("record"))).Message()
	}
	walk(inner(r), "", func() (protoreflect.Message, *typev1.Record) {
		whole := proto.Clone(r).(*typev1.Record)
		return inner(whole), whole
	})
}

// TestHashSeesEveryField fails when a field is added to a record and forgotten
// in the hash: its changes would never be synced.
func TestHashSeesEveryField(t *testing.T) {
	for entity, r := range full(t) {
		t.Run(record.EntityName(entity), func(t *testing.T) {
			seen := map[record.Hash]string{record.HashOf(r): "the record itself"}
			changes(r, func(what string, changed *typev1.Record) {
				h := record.HashOf(changed)
				require.NotContains(t, seen, h, "%s hashes like %s", what, seen[h])
				seen[h] = what
			})
			require.Greater(t, len(seen), 5)
		})
	}
}

func TestHashIgnoresWhatReadersDoNotSee(t *testing.T) {
	for _, r := range full(t) {
		want := record.HashOf(r)
		stamped := proto.Clone(r).(*typev1.Record)
		record.SetDateLastModified(stamped, time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC).Format(record.TimeFormat))
		require.Equal(t, want, record.HashOf(stamped))
		for range 10 { // Maps are written in any order.
			text, err := proto.Marshal(r)
			require.NoError(t, err)
			again := &typev1.Record{}
			require.NoError(t, proto.Unmarshal(text, again))
			require.Equal(t, want, record.HashOf(again))
		}
	}
}

func TestHashSeparatesNeighbours(t *testing.T) {
	org := func(name, kind string) record.Hash {
		return record.HashOf(&typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{Name: name, Type: kind}}})
	}
	require.NotEqual(t, org("ab", "c"), org("a", "bc"))
	require.NotEqual(t, org("", "x"), org("x", ""))
	same := &typev1.Ref{SourcedId: "1"}
	course := record.HashOf(&typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{SchoolYear: same}}})
	require.NotEqual(t, course, record.HashOf(&typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{Org: same}}}))
	require.NotEqual(t, record.HashOf(&typev1.Record{}), org("", ""))
}

// TestHashesStay: stored hashes are compared with new ones, so a change here
// makes every record of every district count as updated once. If that is meant,
// raise the version in HashOf and take the hashes from the failure.
func TestHashesStay(t *testing.T) {
	for name, want := range map[string]string{
		"enrollment": "79476c2e4b3f6ba198b775e91c2b7a78",
		"user":       "3e6405bbb884e8b5d8e7c0c3cd226047",
	} {
		require.Equal(t, want, fmt.Sprintf("%x", record.HashOf(typical()[name])), name)
	}
}

// typical returns records as most districts have them.
func typical() map[string]*typev1.Record {
	yes := true
	return map[string]*typev1.Record{
		"enrollment": {Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
			SourcedId: "enrollment-0001042", Status: "active", Role: "student", Primary: &yes,
			User: &typev1.Ref{SourcedId: "user-0104211"}, Class: &typev1.Ref{SourcedId: "class-0042"}, School: &typev1.Ref{SourcedId: "school-7"},
		}}},
		"user": {Record: &typev1.Record_User{User: &typev1.User{
			SourcedId: "user-0104211", Status: "active", EnabledUser: &yes, Username: "ann.example", GivenName: "Ann", FamilyName: "Example",
			Email: "ann@students.example", Grades: []string{"09"},
			Roles:    []*typev1.Role{{RoleType: "primary", Role: "student", Org: &typev1.Ref{SourcedId: "school-7"}}},
			UserIds:  []*typev1.UserId{{Type: "LDAP", Identifier: "111111111111"}},
			Metadata: map[string]string{"homeroom": "12", "bus": "7"},
		}}},
	}
}

// FuzzHash: two orgs have one hash exactly if they are equal.
func FuzzHash(f *testing.F) {
	f.Add("1", "active", "School", "school", "k", "v", "1", "active", "School", "school", "k", "v")
	f.Add("1", "", "a", "b", "", "", "1", "", "", "ab", "", "")
	f.Fuzz(func(t *testing.T, id1, status1, name1, type1, key1, value1, id2, status2, name2, type2, key2, value2 string) {
		org := func(id, status, name, kind, key, value string) *typev1.Record {
			return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{
				SourcedId: id, Status: status, Name: name, Type: kind, Metadata: map[string]string{key: value},
			}}}
		}
		a, b := org(id1, status1, name1, type1, key1, value1), org(id2, status2, name2, type2, key2, value2)
		require.Equal(t, proto.Equal(a, b), record.HashOf(a) == record.HashOf(b))
	})
}

func TestDiff(t *testing.T) {
	user := func(change func(*typev1.User)) *typev1.Record {
		u := &typev1.User{SourcedId: "u1", Status: "active", DateLastModified: "2026-03-04T05:06:07.000Z", GivenName: "Ann", Metadata: map[string]string{"b": "2", "a": "1"}}
		change(u)
		return &typev1.Record{Record: &typev1.Record_User{User: u}}
	}
	before := user(func(*typev1.User) {})
	after := user(func(u *typev1.User) {
		u.GivenName = "Anna"
		u.Grades = []string{"09"}
		u.Metadata["b"] = "3"
		u.DateLastModified = "2026-03-05T05:06:07.000Z"
	})
	got, err := record.Diff(before, after)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]record.FieldChange{
		{Field: "givenName", Before: `"Ann"`, After: `"Anna"`},
		{Field: "grades", Before: "", After: `["09"]`},
		{Field: "metadata", Before: `{"a":"1","b":"2"}`, After: `{"a":"1","b":"3"}`},
	}, got))

	got, err = record.Diff(before, before)
	require.NoError(t, err)
	require.Empty(t, got)
	created, err := record.Diff(nil, before)
	require.NoError(t, err)
	removed, err := record.Diff(before, nil)
	require.NoError(t, err)
	require.Len(t, created, 4)
	for i := range created {
		require.Equal(t, record.FieldChange{Field: created[i].Field, Before: created[i].After}, removed[i])
	}
	_, err = record.Diff(before, &typev1.Record{})
	require.Error(t, err)
}

// TestDiffAndHashAgree: what one sees as a change the other does too.
func TestDiffAndHashAgree(t *testing.T) {
	for _, r := range full(t) {
		changes(r, func(what string, changed *typev1.Record) {
			diff, err := record.Diff(r, changed)
			require.NoError(t, err)
			require.Len(t, diff, 1, what)
		})
	}
}

func TestJSONHasOneRosterNames(t *testing.T) {
	text, err := record.JSON(full(t)[typev1.Entity_ENTITY_ENROLLMENTS])
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	for _, name := range []string{"sourcedId", "status", "dateLastModified", "metadata", "user", "class", "school", "role", "primary", "beginDate", "endDate"} {
		require.Contains(t, fields, name)
	}
	require.Len(t, fields, 11)
	text, err = record.JSON(&typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: "1"}}})
	require.NoError(t, err)
	require.JSONEq(t, `{"sourcedId":"1"}`, string(text))
	_, err = record.JSON(nil)
	require.Error(t, err)
}

func TestEntities(t *testing.T) {
	require.Len(t, record.Entities(), len(typev1.Entity_name)-1)
	for _, e := range record.Entities() {
		got, err := record.ParseEntity(record.EntityName(e))
		require.NoError(t, err)
		require.Equal(t, e, got)
	}
	require.Empty(t, record.EntityName(-1))
	require.Empty(t, record.EntityName(99))
	for _, name := range []string{"", "Orgs", "lineItems"} {
		_, err := record.ParseEntity(name)
		require.Error(t, err, name)
	}
}

func TestSettersReachEveryEntity(t *testing.T) {
	for _, r := range full(t) {
		record.SetStatus(r, record.StatusToBeDeleted)
		record.SetDateLastModified(r, "now")
		_, base := record.Of(r)
		require.Equal(t, record.StatusToBeDeleted, base.GetStatus())
		require.Equal(t, "now", base.GetDateLastModified())
	}
}

func BenchmarkHashOf(b *testing.B) {
	for name, r := range typical() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			want := record.HashOf(r)
			for b.Loop() {
				if record.HashOf(r) != want {
					b.Fatal("the hash changed")
				}
			}
		})
	}
}

func TestRoles(t *testing.T) {
	for token, want := range map[string]record.Family{
		"student": record.FamilyStudent, "Teacher": record.FamilyTeacher, "aide": record.FamilyAide,
		"districtAdministrator": record.FamilyAdministrator, "ext:principal": record.FamilyAdministrator,
		"relative": record.FamilyGuardian, "proctor": record.FamilyOther, "": record.FamilyOther, "ext:": record.FamilyOther,
	} {
		require.Equal(t, want, record.FamilyOf(token), token)
		require.Contains(t, record.Families(), want)
	}
	u := &typev1.User{Roles: []*typev1.Role{{Role: "parent"}, {Role: "teacher"}}}
	require.True(t, record.HasFamily(u, record.FamilyGuardian))
	require.True(t, record.HasFamily(u, record.FamilyTeacher))
	require.False(t, record.HasFamily(u, record.FamilyStudent))
	require.False(t, record.HasAddress(u))
	require.False(t, record.HasAddress(&typev1.User{Address: &typev1.Address{}}))
	require.True(t, record.HasAddress(&typev1.User{Address: &typev1.Address{Zip: "00000"}}))
}
