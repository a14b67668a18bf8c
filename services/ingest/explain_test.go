package ingest_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

func (h *hub) why(entity, id string) *ingestv1.ExplainRecordResponse {
	h.t.Helper()
	out, err := h.explain.ExplainRecord(h.ctx, &ingestv1.ExplainRecordRequest{District: "d", Entity: entity, SourcedId: id})
	require.NoError(h.t, err)
	require.NotEmpty(h.t, out.GetMessage())
	return out
}

func reasonsOf(out *ingestv1.ExplainRecordResponse) (types []string) {
	for _, r := range out.GetReasons() {
		types = append(types, r.GetType())
	}
	return types
}

// edited is a package with other text in one file.
func edited(files map[string]string, name, before, after string) map[string]string {
	files = maps.Clone(files)
	files[name] = strings.Replace(files[name], before, after, 1)
	return files
}

const zoe = "u1,,,true,s,student,zoe,,Zoé,Müller,,100,zoe@made-up.example,,,,05,\n"

// Where a record is lost, and what the answer says of it.
func TestWhyIsItNotThere(t *testing.T) {
	for name, c := range map[string]struct {
		do         func(h *hub)
		entity, id string
		verdict    string
		others     []string
		says       []string
		file       string
		row        int32
		code       string
		references int
	}{
		"never delivered": {
			do: func(h *hub) { h.completed(h.sync("sis", sound())) }, id: "u9",
			verdict: "never-delivered", says: []string{"packages looked at: 1"},
		},
		"no package yet": {do: func(*hub) {}, id: "u1", verdict: "never-delivered", says: []string{"packages looked at: 0"}},
		"only others name it": {
			do: func(h *hub) {
				h.completed(h.sync("sis", edited(sound(), "enrollments.csv", "e1,,,cl,s,u1", "e1,,,cl,s,u9")))
			}, id: "u9", verdict: "never-delivered", says: []string{"rows that refer to it: 1"}, references: 1,
		},
		"unknown role": {
			do: func(h *hub) {
				h.completed(h.sync("sis", edited(sound(), "users.csv", "s,student,zoe", "s,wizard,zoe")))
			}, id: "u1",
			verdict: "rejected", file: "users.csv", row: 2, code: "role-unknown", says: []string{"users.csv, row 2", "role"},
		},
		"ragged row": {
			do: func(h *hub) { h.completed(h.sync("sis", edited(sound(), "users.csv", zoe, "u1,,,true,s,student\n"))) }, id: "u1",
			verdict: "rejected", file: "users.csv", row: 2, code: "row-ragged",
		},
		"row that was there before": {
			do: func(h *hub) {
				h.completed(h.sync("sis", large(300)))
				h.completed(h.sync("sis", edited(large(300), "users.csv", "s,student,st7,", "s,wizard,st7,")))
			}, id: "st-0007", verdict: "rejected", others: []string{"no-longer-delivered"}, code: "role-unknown", file: "users.csv", row: 11,
		},
		"no longer delivered": {
			do: func(h *hub) {
				h.completed(h.sync("sis", large(300)))
				h.completed(h.sync("sis", large(299)))
			}, id: "st-0299", verdict: "no-longer-delivered", says: []string{"revision 2", "source sis"},
		},
		"waits": {
			do: func(h *hub) {
				h.completed(h.sync("sis", large(200)))
				h.sync("sis", fewer())
			}, id: "new", verdict: "waiting", code: "created", says: []string{"waits for a person"}, file: "users.csv", row: 54,
		},
		"its sync failed": {
			do: func(h *hub) {
				h.completed(h.sync("sis", sound()))
				files := edited(sound(), "users.csv", "u2,", "u3,,,true,s,student,new,,New,One,,,,,,,,\nu2,")
				delete(files, "classes.csv")
				require.Equal(h.t, ingestv1.SyncState_FAILED, h.sync("sis", files).GetState())
			}, id: "u3", verdict: "sync-failed", file: "users.csv", row: 3, says: []string{"classes.csv"},
		},
		"its sync was discarded": {
			do: func(h *hub) {
				h.completed(h.sync("sis", large(200)))
				held := h.sync("sis", fewer())
				_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: held.GetSyncId()})
				require.NoError(h.t, err)
			}, id: "new", verdict: "sync-discarded",
		},
		"not synced yet": {
			do: func(h *hub) {
				h.completed(h.sync("sis", sound()))
				h.upload("sis", large(3))
			}, id: "st-0002", verdict: "not-synced", says: []string{"source sis was given"}, file: "users.csv", row: 6,
		},
		"left out by who approved": {
			do: func(h *hub) {
				h.completed(h.sync("sis", edited(large(200), "orgs.csv", "d,,,", "s2,,,Far School,school,,d\nd,,,")))
				files := edited(large(50), "orgs.csv", "d,,,", "s2,,,Far School,school,,d\nd,,,")
				files["users.csv"] += "far,,,true,s2,student,far,,Far,Student,,,,,,,05,\n"
				held := h.sync("sis", files)
				require.NoError(h.t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), Schools: []string{"s"}}))
				h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
			}, id: "far", verdict: "left-out", file: "users.csv", row: 54, says: []string{"approved a part"},
		},
		"source removed": {
			do: func(h *hub) {
				h.completed(h.sync("sis", sound()))
				h.newSource("other", nil)
				h.completed(h.sync("other", others()))
				removal := h.end("other", "remove")
				h.wait(removal.GetSyncId(), ingestv1.SyncState_ON_HOLD)
				h.approve(removal.GetSyncId())
				h.completed(h.wait(removal.GetSyncId(), ingestv1.SyncState_COMPLETED))
				require.Eventually(h.t, func() bool {
					_, err := h.sources.GetSource(h.ctx, &ingestv1.GetSourceRequest{District: "d", Source: "other"})
					return err != nil
				}, testkit.Wait, 5*time.Millisecond)
			}, id: "x1", verdict: "source-removed", says: []string{"together with source other"},
		},
		"another entity": {
			do:     func(h *hub) { h.completed(h.sync("sis", sound())) },
			entity: "classes", id: "u1", verdict: "never-delivered", references: 2, says: []string{"rows that refer to it: 2"},
		},
		"taken back": {
			do: func(h *hub) {
				h.completed(h.sync("sis", edited(large(200), "users.csv", "st-0199,,", "st-0199,tobedeleted,")))
				h.completed(h.sync("sis", large(200)))
				_, err := h.syncs.RestoreRevision(h.ctx, &ingestv1.RestoreRevisionRequest{District: "d", Revision: 1})
				require.NoError(h.t, err)
			}, id: "st-0199", verdict: "taken-back", others: []string{"left-out"}, says: []string{"revision 3", "back to revision 1"},
		},
		"deleted by the source": {
			do: func(h *hub) {
				h.completed(h.sync("sis", sound()))
				h.completed(h.sync("sis", edited(sound(), "users.csv", "u1,,", "u1,tobedeleted,")))
			}, id: "u1", verdict: "deleted-by-source", others: []string{"no-longer-delivered"}, says: []string{"tobedeleted"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			c.do(h)
			entity := c.entity
			if entity == "" {
				entity = "users"
			}
			out := h.why(entity, c.id)
			require.Equal(t, c.verdict, out.GetVerdict(), out)
			require.Equal(t, append([]string{c.verdict}, c.others...), reasonsOf(out), out)
			first := out.GetReasons()[0]
			require.NotEmpty(t, out.GetNextStep())
			require.Equal(t, c.code, first.GetCode(), out)
			if c.file != "" {
				require.Equal(t, c.file, first.GetFile(), out)
				require.Equal(t, c.row, first.GetRow(), out)
				require.NotEmpty(t, first.GetUploadId())
			}
			for _, text := range c.says {
				require.Contains(t, out.GetMessage(), text)
			}
			references := 0
			for _, s := range out.GetSources() {
				for _, p := range s.GetPackages() {
					references += len(p.GetReferences())
					require.Empty(t, p.GetUnread())
				}
			}
			require.Equal(t, c.references, references)
		})
	}
}

func TestWhereIsItFrom(t *testing.T) {
	h := newHub(t)
	files := edited(sound(), "users.csv", "grades,password", "grades,Pass Word,metadata.note")
	files = edited(files, "users.csv", ",,,,05,\n", ",,,,05,geheim,seen\n")
	files = edited(files, "users.csv", ",,,,,\n", ",,,,,,\n")
	done := h.completed(h.sync("sis", files))
	out := h.why("users", "u1")
	require.Equal(t, "present", out.GetVerdict(), out)
	require.Contains(t, out.GetMessage(), "revision 1 has brought it; source sis delivers it in users.csv, row 2")
	require.Empty(t, out.GetReasons())
	require.Equal(t, "active", out.GetStored().GetStatus())
	require.EqualValues(t, 1, out.GetStored().GetFromRevision())
	require.Equal(t, done.GetSyncId(), out.GetStored().GetSync())
	values := map[string]string{}
	for _, f := range out.GetStored().GetFields() {
		values[f.GetField()] = f.GetSource() + " " + f.GetValue()
	}
	require.Equal(t, `sis "Zoé"`, values["givenName"])
	require.Len(t, out.GetSources(), 1)
	source := out.GetSources()[0]
	require.True(t, source.GetHas())
	require.Equal(t, done.GetSyncId(), source.GetSync())
	require.NotNil(t, source.GetSyncTime())
	require.Len(t, source.GetPackages(), 1)
	p := source.GetPackages()[0]
	require.Equal(t, ingestv1.SyncState_COMPLETED, p.GetSyncState())
	require.Equal(t, done.GetUploadId(), p.GetUploadId())
	require.Len(t, p.GetRows(), 1)
	cells := map[string]string{}
	for _, v := range p.GetRows()[0].GetValues() {
		cells[v.GetColumn()] = v.GetValue()
	}
	require.Equal(t, "Müller", cells["familyName"])
	require.Equal(t, "seen", cells["metadata.note"])
	require.Equal(t, "u1", cells["sourcedId"])
	text, err := json.Marshal(out)
	require.NoError(t, err)
	require.NotContains(t, string(text), "geheim", "passwords are never shown")
}

// Of two sources that have a record it is told which has which field.
func TestWhereIsEachFieldFrom(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", edited(sound(), "users.csv", "zoe@made-up.example", "")))
	h.newSource("other", nil)
	files := edited(sound(), "users.csv", "Zoé", "Other")
	h.completed(h.sync("other", files))
	out := h.why("users", "u1")
	from := map[string]string{}
	for _, f := range out.GetStored().GetFields() {
		from[f.GetField()] = f.GetSource() + " " + f.GetValue()
	}
	require.Equal(t, `sis "Zoé"`, from["givenName"])
	require.Equal(t, `other "zoe@made-up.example"`, from["email"])
	require.Len(t, out.GetSources(), 2)
}

// What sharing settings leave out is told with the rule; rows that were rejected
// before the records were shared anew are told still.
func TestWhyIsItNotShared(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", edited(edited(large(3), "users.csv", "s,student,st2,", "s,wizard,st2,"), "users.csv", "zoe@made-up.example,,,,05", "zoe@made-up.example,,,,08")))
	_, err := h.update("sis", &ingestv1.Source{Sharing: &ingestv1.Sharing{Grades: []string{"08"}}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(h.roster.Active("d", users)) == 2 }, testkit.Wait, 5*time.Millisecond)
	h.completed(h.wait(h.source("sis").GetLastSync()))
	out := h.why("users", "st-0001")
	require.Equal(t, []string{"not-shared", "no-longer-delivered"}, reasonsOf(out), out)
	require.Equal(t, "grades", out.GetReasons()[0].GetCode())
	require.Contains(t, out.GetMessage(), "by the rule grades")
	require.False(t, out.GetSources()[0].GetHas())
	require.Len(t, out.GetSources()[0].GetPackages()[0].GetRows(), 1)
	require.NotEmpty(t, out.GetSources()[0].GetRules())
	require.Equal(t, "rejected", h.why("users", "st-0002").GetVerdict())
	require.Equal(t, "present", h.why("users", "u1").GetVerdict())
	require.Equal(t, "not-shared", h.why("enrollments", "en-0001").GetVerdict())
}

// A guardian file delivers guardians, and only names students.
func TestWhatAGuardianFileSays(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", pupils(5)))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	h.completed(h.family("u1,g1,Ann,Lee,ann@home.example,1 Elm St,Town,true,false\nu7,g7,Bob,Low,,,,,\n" +
		"u10,g2,A,B,,,,,\nu11,g3,A,B,,,,,\nu12,g4,A,B,,,,,\nu13,g5,A,B,,,,,\nu14,g6,A,B,,,,,\n"))
	g := h.why("users", "g1")
	require.Equal(t, "present", g.GetVerdict(), g)
	require.Contains(t, g.GetMessage(), "source family delivers it in guardianData.csv, row 2")
	from := map[string]string{}
	for _, f := range h.why("users", "u1").GetStored().GetFields() {
		from[f.GetField()] = f.GetSource()
	}
	require.Equal(t, "sis", from["givenName"])
	require.Equal(t, "family", from["agents.g1"], from)
	missing := h.why("users", "u7")
	require.Equal(t, "never-delivered", missing.GetVerdict(), missing)
	require.Contains(t, missing.GetMessage(), "rows that refer to it: 1")
}

// A record that is about to go is there, and it is said that it is about to go.
func TestWhatIsAboutToChange(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", large(200)))
	held := h.sync("sis", fewer())
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	out := h.why("users", "st-0199")
	require.Equal(t, "present", out.GetVerdict())
	require.Equal(t, []string{"waiting"}, reasonsOf(out))
	require.Equal(t, "removed", out.GetReasons()[0].GetCode())
	require.Equal(t, held.GetSyncId(), out.GetReasons()[0].GetSync())
	require.Contains(t, out.GetMessage(), "waits for a person")
}

// A package that holds only changes does not have what came before it: the
// package that has is found.
func TestWhereIsItFromBeforeChanges(t *testing.T) {
	h := newHub(t)
	first := h.completed(h.sync("sis", sound()))
	h.completed(h.sync("sis", delta(map[string]string{
		"users.csv": "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,givenName,familyName\nu3,active,2026-09-01T00:00:00.000Z,true,s,student,new,New,One\n",
	})))
	out := h.why("users", "u1")
	require.Equal(t, "present", out.GetVerdict(), out)
	packages := out.GetSources()[0].GetPackages()
	require.Len(t, packages, 2)
	require.Equal(t, first.GetUploadId(), packages[1].GetUploadId())
	require.Len(t, packages[1].GetRows(), 1)
}

// Of a person that was erased no value is told, although the source delivers it.
func TestErasedPersonIsNotTold(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	_, err := h.upkeep.ErasePerson(h.ctx, &ingestv1.ErasePersonRequest{District: "d", SourcedId: "u1"})
	require.NoError(t, err)
	h.completed(h.sync("sis", sound()))
	out := h.why("users", "u1")
	require.Contains(t, reasonsOf(out), "erased")
	require.Contains(t, out.GetMessage(), "erased from the hub")
	text, err := json.Marshal(out)
	require.NoError(t, err)
	require.NotContains(t, string(text), "Müller")
}

// Nor by the rows of others: a guardian's name is in the row of the child.
func TestErasedGuardianIsNotToldByTheChild(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	file := "u1,g1,Ann,Wonder,ann@home.example,,,,\nu1,,Bob,Marvel,bob@home.example,,,,\n"
	h.completed(h.family(file))
	told := func(word string) bool {
		text, err := json.Marshal(h.why("users", "u1"))
		require.NoError(t, err)
		return strings.Contains(string(text), word)
	}
	require.True(t, told("Wonder"))
	derived := agents(h.user("u1"))[1]
	_, err := h.erase("g1")
	require.NoError(t, err)
	h.completed(h.family(file))
	require.False(t, told("Wonder"), "the row names g1")
	require.True(t, told("Marvel"))
	_, err = h.erase(derived)
	require.NoError(t, err)
	h.completed(h.family(file))
	require.False(t, told("Marvel"), "the row makes an id that it does not have")
	require.True(t, told("Müller"), "the child's own")
}

// In a file that is mapped, the id may be in no cell.
func TestErasedPersonIsNotToldByMappedRows(t *testing.T) {
	h := newHub(t)
	h.mapped("own", `{"records": [
		{"entity": "users", "file": "export.csv", "fields": {"sourcedId": {"value": "s{Student}"}, "role": {"value": "student"}, "orgSourcedIds": {"value": "main"}, "givenName": {"value": "{Name}"}, "familyName": {"value": "{Surname}"}}},
		{"entity": "classes", "file": "export.csv", "fields": {"sourcedId": {"value": "c{Class}"}, "title": {"value": "{Class}"}, "schoolSourcedId": {"value": "main"}}},
		{"entity": "enrollments", "file": "export.csv", "fields": {"sourcedId": {"value": "{Class}/{Student}"}, "classSourcedId": {"value": "c{Class}"}, "userSourcedId": {"value": "s{Student}"}, "role": {"value": "student"}}}
	]}`)
	file := map[string]string{"export.csv": "Student,Name,Surname,Class\n1,Ann,Wonder,Art\n2,Bob,Marvel,Art\n"}
	told := func(entity, id, word string) bool {
		text, err := json.Marshal(h.why(entity, id))
		require.NoError(t, err)
		return strings.Contains(string(text), word)
	}
	h.completed(h.sync("own", file))
	require.True(t, told("classes", "cArt", "Wonder"))
	_, err := h.erase("s1")
	require.NoError(t, err)
	h.completed(h.sync("own", file))
	for entity, id := range map[string]string{"classes": "cArt", "enrollments": "Art/1"} {
		require.False(t, told(entity, id, "Wonder"), entity)
	}
	require.True(t, told("enrollments", "Art/2", "Marvel"), "others are told")
}

func TestQuestionsThatCannotBe(t *testing.T) {
	h := newHub(t)
	for name, c := range map[string]struct {
		req  *ingestv1.ExplainRecordRequest
		want error
	}{
		"entity":   {&ingestv1.ExplainRecordRequest{District: "d", Entity: "cars", SourcedId: "1"}, errs.New(codes.InvalidArgument, "INVALID_ARGUMENT", "")},
		"id":       {&ingestv1.ExplainRecordRequest{District: "d", Entity: "users"}, errs.New(codes.InvalidArgument, "INVALID_ARGUMENT", "")},
		"district": {&ingestv1.ExplainRecordRequest{District: "e", Entity: "users", SourcedId: "1"}, authn.ErrDistrictNotFound},
	} {
		_, err := h.explain.ExplainRecord(h.ctx, c.req)
		require.ErrorIs(t, err, c.want, name)
	}
	require.Equal(t, "no source", strings.TrimPrefix(h.whyWithoutSource(), "the district has "))
}

func (h *hub) whyWithoutSource() string {
	h.end("sis", "")
	return h.why("users", "u1").GetMessage()
}
