package manual

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

func parse(t *testing.T, text string) *ingestv1.ManualEntry {
	t.Helper()
	var e ingestv1.ManualEntry
	require.NoError(t, protojson.Unmarshal([]byte(text), &e))
	return &e
}

func TestCheck(t *testing.T) {
	for _, test := range []struct{ name, entry, field string }{
		{"a guardian", `{"record":{"user":{"sourcedId":"g1","givenName":"Gail","familyName":"Guard","roles":[{"role":"guardian","org":{"sourcedId":"s"}}]}}}`, ""},
		{"a correction needs nothing else", `{"record":{"user":{"sourcedId":"u1","email":"new@made-up.example"}},"correction":true}`, ""},
		{"a field that the source wins", `{"record":{"user":{"sourcedId":"u1","email":"a@b.example","metadata":{"house":"x"}}},"correction":true,"sourceWins":["email","metadata.house"]}`, ""},
		{"nothing", `{}`, "record"},
		{"no id", `{"record":{"user":{"givenName":"Gail"}}}`, "record.sourcedId"},
		{"an id that cannot be seen", `{"record":{"user":{"sourcedId":"x\u0000y"}},"correction":true}`, "record.sourcedId"},
		{"a new user without a role", `{"record":{"user":{"sourcedId":"g1","givenName":"Gail","familyName":"Guard"}}}`, "record.roles"},
		{"a role that is none", `{"record":{"user":{"sourcedId":"g1","roles":[{"role":"wizard"}]}},"correction":true}`, "record.roles.role"},
		{"a reference to nothing", `{"record":{"class":{"sourcedId":"c","title":"Art","school":{}}}}`, "record.school"},
		{"a date that is none", `{"record":{"enrollment":{"sourcedId":"e","beginDate":"8/31/2026"}},"correction":true}`, "record.beginDate"},
		{"a field of another record", `{"record":{"user":{"sourcedId":"u"}},"correction":true,"sourceWins":["title"]}`, "sourceWins"},
		{"all of metadata", `{"record":{"user":{"sourcedId":"u"}},"correction":true,"sourceWins":["metadata"]}`, "sourceWins"},
		{"the id", `{"record":{"user":{"sourcedId":"u"}},"correction":true,"sourceWins":["sourcedId"]}`, "sourceWins"},
	} {
		t.Run(test.name, func(t *testing.T) {
			field, err := Check(parse(t, test.entry))
			require.Equal(t, test.field, field, "%v", err)
			require.Equal(t, test.field == "", err == nil)
		})
	}
}

func TestCheckMakesRolesTheStandards(t *testing.T) {
	e := parse(t, `{"record":{"user":{"sourcedId":"u","givenName":"A","familyName":"B","status":"tobedeleted","roles":[{"role":"Instructor","org":{"sourcedId":"s"}}]}}}`)
	_, err := Check(e)
	require.NoError(t, err)
	require.Equal(t, "teacher", e.GetRecord().GetUser().GetRoles()[0].GetRole())
	require.Equal(t, "s", e.GetRecord().GetUser().GetPrimaryOrg().GetSourcedId())
	require.Equal(t, "active", e.GetRecord().GetUser().GetStatus())
}

func TestEntries(t *testing.T) {
	e := parse(t, `{"record":{"user":{"sourcedId":"u","email":"a@b.example","phone":"1","metadata":{"house":"x","team":"y"}}},"correction":true,"sourceWins":["email","metadata.team"]}`)
	_, err := Check(e)
	require.NoError(t, err)
	over, fill, err := Entries(e)
	require.NoError(t, err)
	user := func(body []byte) *typev1.User {
		var r typev1.Record
		require.NoError(t, proto.Unmarshal(body, &r))
		return r.GetUser()
	}
	require.True(t, over.Overlay && fill.Overlay)
	require.Empty(t, user(over.Body).GetEmail())
	require.Equal(t, "1", user(over.Body).GetPhone())
	require.Equal(t, map[string]string{"house": "x"}, user(over.Body).GetMetadata())
	require.Equal(t, "a@b.example", user(fill.Body).GetEmail())
	require.Empty(t, user(fill.Body).GetPhone())
	require.Equal(t, map[string]string{"team": "y"}, user(fill.Body).GetMetadata())

	e.Correction, e.SourceWins = false, nil
	over, fill, err = Entries(e)
	require.NoError(t, err)
	require.False(t, over.Overlay)
	require.Nil(t, fill)
}
