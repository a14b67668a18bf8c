package ingest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/unicode"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

func mappingOf(t testing.TB, text string) *ingestv1.Mapping {
	t.Helper()
	m := &ingestv1.Mapping{}
	require.NoError(t, protojson.Unmarshal([]byte(text), m))
	return m
}

// threeFiles maps students.csv, staff.csv and schedule.csv, one row per student
// and section, from which schools and classes are derived too.
const threeFiles = `{"records": [
	{"entity": "orgs", "file": "students.csv", "fields": {"sourcedId": {"value": "{School}"}, "name": {"value": "School {School}"}, "type": {"value": "school"}}},
	{"entity": "classes", "file": "schedule.csv", "fields": {
		"sourcedId": {"value": "{School}-{Section ID}"}, "title": {"value": "{Course}, period {Period}"}, "schoolSourcedId": {"value": "{School}"},
		"classType": {"value": "scheduled"}, "periods": {"value": "{Period}"}}},
	{"entity": "users", "file": "Students.csv", "keepUnmapped": true, "fields": {
		"sourcedId": {"value": "{StudentID}"}, "enabledUser": {"value": "true"}, "role": {"value": "student"}, "orgSourcedIds": {"value": "{School}"},
		"givenName": {"value": "{First}"}, "familyName": {"value": "{Last}"}, "grades": {"value": "{Grade}"}, "email": {"value": "{Email}"},
		"agentSourcedIds": {"value": "{Parent 1},{Parent 2}"}, "userIds": {"value": "{{state:{State ID}}}"}}},
	{"entity": "users", "file": "staff.csv", "where": [{"column": "Active", "values": ["Y"]}], "fields": {
		"sourcedId": {"value": "{ID}"}, "role": {"value": "{Job}", "values": {"T": "teacher", "P": "principal"}}, "orgSourcedIds": {"value": "{School}"},
		"givenName": {"value": "{First}"}, "familyName": {"value": "{Last}"}, "username": {"value": "{Login}"}}},
	{"entity": "enrollments", "file": "schedule.csv", "fields": {
		"sourcedId": {"value": "{School}-{Section ID}-{StudentID}"}, "classSourcedId": {"value": "{School}-{Section ID}"}, "schoolSourcedId": {"value": "{School}"},
		"userSourcedId": {"value": "{StudentID}"}, "role": {"value": "student"}, "beginDate": {"value": "{Entered}", "dateFormat": "dd.MM.yyyy"}}},
	{"entity": "demographics", "file": "students.csv", "fields": {
		"sourcedId": {"value": "{StudentID}"}, "birthDate": {"value": "{DOB}"}, "sex": {"value": "{Sex}", "values": {"M": "male", "F": "female"}, "otherwise": "unspecified"}}}
]}`

func threeFilesPackage() map[string]string {
	return map[string]string{
		"students.csv": "StudentID,First,Last,Grade,School,Email,Parent 1,Parent 2,State ID,DOB,Sex,Bus,Password\n" +
			"007,Zoé,Müller,K,north,zoe@made-up.example,g1,,S7,3/4/2015,f,12,secret\n" +
			"8,Ann,Oak,9,north,ann@made-up.example,g1,g2,,,M,,secret\n" +
			"9,Bo,Elm,9,south,,,,,2010-01-02,?,14,secret\n",
		"staff.csv": "ID,First,Last,Job,School,Login,Active\nt1,Tom,Tree,T,north,ttree,Y\nt2,Pia,Pine,p,south,ppine,y\nt3,Gone,Ash,T,south,gash,N\nt4,New,Fir,Coach,south,nfir,Y\n",
		"schedule.csv": "School,Section_ID,Course,Period,StudentID,Entered\n" +
			"north,1,Art,2,007,15.08.2026\nnorth,1,Art,2,8,15.08.2026\nsouth,1,Art,3,9,08/16/2026\nsouth,1,Art,4,8,17.08.2026\n",
		"notes.csv": "Note\nnothing of a roster\n",
	}
}

// mapped makes a source with a mapping.
func (h *hub) mapped(id, mapping string) {
	h.t.Helper()
	_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: id, Source: &ingestv1.Source{
		Connector: "oneroster-csv", Mapping: mappingOf(h.t, mapping),
	}})
	require.NoError(h.t, err)
}

func TestMappedFilesBecomeRecords(t *testing.T) {
	h := newHub(t)
	h.mapped("own", threeFiles)
	s := h.completed(h.sync("own", threeFilesPackage()))

	users := h.roster.Active("d", typev1.Entity_ENTITY_USERS)
	require.Len(t, users, 5)
	yes := true
	north := &typev1.Ref{SourcedId: "north"}
	require.Empty(t, cmp.Diff(&typev1.User{
		SourcedId: "007", Status: "active", EnabledUser: &yes, GivenName: "Zoé", FamilyName: "Müller", Email: "zoe@made-up.example", Grades: []string{"KG"},
		Roles: []*typev1.Role{{RoleType: "primary", Role: "student", Org: north}}, PrimaryOrg: north,
		UserIds: []*typev1.UserId{{Type: "state", Identifier: "S7"}}, Metadata: map[string]string{"Bus": "12"},
		Agents: []*typev1.Relationship{{SourcedId: "g1", Source: "own"}},
	}, users["007"].GetUser(), protocmp.Transform()), "ids keep their zeros, what is unmapped is kept, passwords are not")
	require.Len(t, users["8"].GetUser().GetAgents(), 2)
	require.Empty(t, users["8"].GetUser().GetUserIds(), "an id without its column is none")
	require.Equal(t, "principal", users["t2"].GetUser().GetRoles()[0].GetRole(), "values are the same in upper and lower case")
	require.Nil(t, users["t3"], "its row does not meet the condition")

	require.Len(t, h.roster.Active("d", typev1.Entity_ENTITY_ORGS), 2, "a school is one record, however many rows name it")
	classes := h.roster.Active("d", typev1.Entity_ENTITY_CLASSES)
	require.Len(t, classes, 2)
	require.Equal(t, "Art, period 3", classes["south-1"].GetClass().GetTitle(), "the first row counts")
	enrollments := h.roster.Active("d", typev1.Entity_ENTITY_ENROLLMENTS)
	require.Len(t, enrollments, 4)
	require.Equal(t, "2026-08-15", enrollments["north-1-007"].GetEnrollment().GetBeginDate())
	require.Empty(t, enrollments["south-1-9"].GetEnrollment().GetBeginDate())
	demographics := h.roster.Active("d", typev1.Entity_ENTITY_DEMOGRAPHICS)
	require.Equal(t, "2015-03-04", demographics["007"].GetDemographics().GetBirthDate())
	require.Equal(t, "unspecified", demographics["9"].GetDemographics().GetSex())

	require.ElementsMatch(t, []string{
		"notice file-unused notes.csv:0:",
		"notice password-dropped students.csv:0:Password",
		"notice mapping-missing schedule.csv:0:courseSourcedId",
		"notice mapping-missing schedule.csv:0:termSourcedIds",
		"notice mapping-missing students.csv:0:username",
		"notice mapping-missing staff.csv:0:enabledUser",
		"row value-unmapped staff.csv:5:Job",
		"value date-invalid schedule.csv:4:Entered",
		"row id-duplicate schedule.csv:5:School, Section_ID",
	}, h.findings(s.GetSyncId()), "findings are about the files that were delivered")
	require.EqualValues(t, 3, s.GetCounts()["classes"].GetReceived())
	require.EqualValues(t, 1, s.GetCounts()["classes"].GetRejected())
	require.EqualValues(t, 2, s.GetCounts()["orgs"].GetReceived())

	again := h.completed(h.sync("own", threeFilesPackage()))
	require.Equal(t, s.GetRevision(), h.roster.Revision("d"), "nothing has changed")
	require.ElementsMatch(t, h.findings(s.GetSyncId()), h.findings(again.GetSyncId()))
	require.Equal(t, s.GetCounts()["classes"].GetReceived(), again.GetCounts()["classes"].GetReceived())

	less := threeFilesPackage()
	less["schedule.csv"] = strings.Replace(less["schedule.csv"], "south,1,Art,3,9,08/16/2026\n", "", 1)
	h.sync("own", less)
	require.Equal(t, "Art, period 4", h.roster.Active("d", typev1.Entity_ENTITY_CLASSES)["south-1"].GetClass().GetTitle(), "the row after it counts now")

	other, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "own", Settings: &ingestv1.Source{
		Mapping: mappingOf(t, strings.Replace(threeFiles, `"School {School}"`, `"{School} school"`, 1)),
	}})
	require.NoError(t, err)
	h.completed(h.wait(h.startSync("own").GetSyncId()))
	require.Equal(t, "north school", h.roster.Active("d", typev1.Entity_ENTITY_ORGS)["north"].GetOrg().GetName(), "the same package, by the new mapping")
	_, err = h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "own", Settings: &ingestv1.Source{Mapping: mappingOf(t, threeFiles), Etag: "1"}})
	require.ErrorIs(t, err, errs.New(codes.Aborted, "ETAG_MISMATCH", ""))
	require.NotEmpty(t, other.GetEtag())
}

// One flat file, with tabs and in UTF-16.
func TestOneFlatFile(t *testing.T) {
	h := newHub(t)
	h.mapped("flat", `{"records": [
		{"entity": "users", "file": "export.txt", "fields": {"sourcedId": {"value": "s{Student}"}, "role": {"value": "student"}, "orgSourcedIds": {"value": "main"}, "givenName": {"value": "{Name}"}, "familyName": {"value": "{Surname}"}}},
		{"entity": "users", "file": "export.txt", "where": [{"column": "Teacher", "values": ["", "TBD"], "not": true}], "fields": {"sourcedId": {"value": "t{Teacher}"}, "role": {"value": "teacher"}, "orgSourcedIds": {"value": "main"}, "givenName": {"value": "{Teacher}"}, "familyName": {"value": "Teacher"}}},
		{"entity": "classes", "file": "export.txt", "fields": {"sourcedId": {"value": "{Class}"}, "title": {"value": "{Class}"}, "schoolSourcedId": {"value": "main"}}},
		{"entity": "enrollments", "file": "export.txt", "fields": {"sourcedId": {"value": "{Class}/{Student}"}, "classSourcedId": {"value": "{Class}"}, "userSourcedId": {"value": "s{Student}"}, "role": {"value": "student"}}}
	]}`)
	text := "Student\tName\tSurname\tClass\tTeacher\n1\tZoé\tOne\tArt\tKim\n2\tYi\tTwo\tArt\tKim\n1\tZoé\tOne\tMaths\tTBD\n1\tZoé\n"
	utf16, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(text)
	require.NoError(t, err)
	for _, sent := range []string{text, utf16} {
		_, err := h.send("flat", map[string][]byte{"Export.TXT": []byte(sent)})
		require.NoError(t, err)
		s := h.completed(h.wait(h.startSync("flat").GetSyncId()))
		users := h.roster.Active("d", typev1.Entity_ENTITY_USERS)
		require.Len(t, users, 3)
		require.Equal(t, "Zoé", users["s1"].GetUser().GetGivenName())
		require.Len(t, h.roster.Active("d", typev1.Entity_ENTITY_CLASSES), 2)
		require.Len(t, h.roster.Active("d", typev1.Entity_ENTITY_ENROLLMENTS), 3)
		require.Equal(t, 1, strings.Count(strings.Join(h.findings(s.GetSyncId()), "\n"), "row-ragged Export.TXT:5:"), "what is wrong with a row is said once")
	}
}

// Names of files with dates, and names of persons in one column.
const dated = `{"records": [
	{"entity": "users", "file": "students_*.csv", "fields": {"sourcedId": {"value": "{ID}"}, "role": {"value": "student"}, "orgSourcedIds": {"value": "main"},
		"familyName": {"value": "{Name}", "split": {"at": ",", "part": 1}}, "givenName": {"value": "{Name}", "split": {"at": ",", "part": 2}}}},
	{"entity": "classes", "file": "students_*.csv", "fields": {"sourcedId": {"value": "{Class}"}, "title": {"value": "{Class}"}, "schoolSourcedId": {"value": "main"}}},
	{"entity": "enrollments", "file": "Students_*.CSV", "fields": {"sourcedId": {"value": "{Class}/{ID}"}, "classSourcedId": {"value": "{Class}"}, "userSourcedId": {"value": "{ID}"}, "role": {"value": "student"}}}
]}`

func students(names ...string) string {
	text := "ID,Name,Class\n"
	for i, name := range names {
		text += fmt.Sprintf("%d,\"%s\",Art\n", i+1, name)
	}
	return text
}

func TestDatedFiles(t *testing.T) {
	h := newHub(t)
	h.mapped("own", dated)
	s := h.completed(h.sync("own", map[string]string{"Students_2026-08-12.csv": students("Oak, Ann Marie", "Elm")}))
	first := s.GetUploadId()
	require.Equal(t, "Oak", h.user("1").GetFamilyName())
	require.Equal(t, "Ann Marie", h.user("1").GetGivenName())
	require.Equal(t, "Elm", h.user("2").GetFamilyName())
	require.Empty(t, h.user("2").GetGivenName(), "a part that is not there is blank")
	require.Equal(t, "Students_2026-08-12.csv", h.why("users", "1").GetSources()[1].GetPackages()[0].GetRows()[0].GetFile())

	two := map[string]string{"students_2026-08-12.csv": students("Oak, Ann"), "students_2026-08-13.csv": students("Oak, Anna")}
	h.upload("own", two)
	test := h.test("own")
	require.False(t, test.GetOk())
	require.Equal(t, "file-ambiguous", test.GetMessages()[0].GetCode())
	for name := range two {
		require.Contains(t, test.GetMessages()[0].GetMessage(), name)
	}
	s = h.wait(h.startSync("own").GetSyncId())
	require.Equal(t, ingestv1.SyncState_FAILED, s.GetState())
	require.Contains(t, h.findings(s.GetSyncId()), "file file-ambiguous students_2026-08-13.csv:0:")

	preview, err := h.mappings.PreviewMapping(h.ctx, &ingestv1.PreviewMappingRequest{District: "d", Source: "own", UploadId: first})
	require.NoError(t, err)
	users := preview.GetEntities()[slices.IndexFunc(preview.GetEntities(), func(e *ingestv1.PreviewedEntity) bool { return e.GetEntity() == "users" })]
	require.Equal(t, "Ann Marie", users.GetRecords()[0].AsMap()["givenName"])

	_, err = h.erase("1")
	require.NoError(t, err)
	h.completed(h.sync("own", map[string]string{"students_2026-08-14.csv": students("Oak, Ann Marie")}))
	require.Empty(t, h.user("1").GetGivenName(), "the file has another name, the person is the same")
	preview, err = h.mappings.PreviewMapping(h.ctx, &ingestv1.PreviewMappingRequest{District: "d", Source: "own", UploadId: h.upload("own", two)})
	require.NoError(t, err)
	require.Equal(t, "students_*.csv", preview.GetSuggestion().GetRecords()[0].GetFile())
	require.Equal(t, "{Name}", preview.GetSuggestion().GetRecords()[0].GetFields()["givenName"].GetValue())
}

func TestMappingsThatAreRefused(t *testing.T) {
	h := newHub(t)
	for _, c := range []struct{ field, mapping string }{
		{"records[0].entity", `{"records": [{"entity": "pets", "file": "a.csv"}]}`},
		{"records[0].file", `{"records": [{"entity": "users"}]}`},
		{"records[0].file", `{"records": [{"entity": "users", "file": "../a.csv"}]}`},
		{"records[0].fields", `{"records": [{"entity": "users", "file": "a.csv"}]}`},
		{"records[0].fields.colour", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"colour": {"value": "{A}"}}}]}`},
		{"records[0].fields.password", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"password": {"value": "{A}"}}}]}`},
		{"records[0].fields.email.value", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": ""}}}]}`},
		{"records[0].fields.email.value", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "{A"}}}]}`},
		{"records[0].fields.email.value", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "A}"}}}]}`},
		{"records[0].fields.email.value", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "{}"}}}]}`},
		{"records[0].fields.email.value", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "{User_Password}"}}}]}`},
		{"records[0].fields.email.values", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "{A}", "values": {"a": "1", "A": "2"}}}}]}`},
		{"records[0].fields.email.otherwise", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "{A}", "otherwise": "b"}}}]}`},
		{"records[1].fields.birthDate.dateFormat", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "{A}"}}}, {"entity": "demographics", "file": "a.csv", "fields": {"birthDate": {"value": "{A}", "dateFormat": "MM/dd"}}}]}`},
		{"records[0].fields.email.split.at", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "{A}", "split": {"part": 1}}}}]}`},
		{"records[0].fields.email.split.part", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "{A}", "split": {"at": ","}}}}]}`},
		{"records[0].where[0].column", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "{A}"}}, "where": [{"values": ["x"]}]}]}`},
		{"records[0].where[0].values", `{"records": [{"entity": "users", "file": "a.csv", "fields": {"email": {"value": "{A}"}}, "where": [{"column": "A"}]}]}`},
	} {
		bad := mappingOf(t, c.mapping)
		_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "x", Source: &ingestv1.Source{Connector: "oneroster-csv", Mapping: bad}})
		field(t, "source.mapping."+c.field, err)
		_, err = h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "sis", Settings: &ingestv1.Source{Mapping: bad}})
		field(t, "mapping."+c.field, err)
		_, err = h.mappings.PreviewMapping(h.ctx, &ingestv1.PreviewMappingRequest{District: "d", Source: "sis", Mapping: bad})
		field(t, "mapping."+c.field, err)
	}
}

// What the mapping or the package lacks fails the sync, is said by the test, and
// changes nothing.
func TestMappedFilesThatCannotBeTaken(t *testing.T) {
	h := newHub(t)
	h.mapped("own", threeFiles)
	before := h.completed(h.sync("own", threeFilesPackage()))
	for name, c := range map[string]struct {
		change  func(files map[string]string)
		finding string
	}{
		"a file is missing":       {func(f map[string]string) { delete(f, "staff.csv") }, "file file-missing staff.csv:0:"},
		"a file has no rows":      {func(f map[string]string) { f["staff.csv"] = "ID,First,Last,Job,School,Login,Active\n" }, "file file-empty staff.csv:0:"},
		"a column is missing":     {func(f map[string]string) { f["students.csv"] = strings.Replace(f["students.csv"], "Email", "Mail", 1) }, "file column-missing students.csv:0:Email"},
		"a condition's column":    {func(f map[string]string) { f["staff.csv"] = strings.Replace(f["staff.csv"], "Active", "Still", 1) }, "file column-missing staff.csv:0:Active"},
		"a column is there twice": {func(f map[string]string) { f["students.csv"] = strings.Replace(f["students.csv"], "Bus", "Email", 1) }, "file column-duplicate students.csv:0:Email"},
		"OneRoster's own files":   {func(f map[string]string) { clear(f); f["users.csv"] = sound()["users.csv"] }, "file file-missing schedule.csv:0:"},
	} {
		t.Run(name, func(t *testing.T) {
			files := threeFilesPackage()
			c.change(files)
			h.upload("own", files)
			test, err := h.sources.TestSource(h.ctx, &ingestv1.TestSourceRequest{District: "d", Source: "own"})
			require.NoError(t, err)
			require.False(t, test.GetOk())
			s := h.wait(h.startSync("own").GetSyncId())
			require.Equal(t, ingestv1.SyncState_FAILED, s.GetState())
			require.Contains(t, h.findings(s.GetSyncId()), c.finding)
			require.Equal(t, before.GetRevision(), h.roster.Revision("d"))
		})
	}
	t.Run("a file that is not needed", func(t *testing.T) {
		h.mapped("more", strings.Replace(threeFiles, `"demographics", "file": "students.csv"`, `"demographics", "file": "health.csv"`, 1))
		h.upload("more", threeFilesPackage())
		test, err := h.sources.TestSource(h.ctx, &ingestv1.TestSourceRequest{District: "d", Source: "more"})
		require.NoError(t, err)
		require.True(t, test.GetOk(), test)
		require.EqualValues(t, 6, test.GetCounts()["users"])
		require.EqualValues(t, 2, test.GetCounts()["classes"])
	})
	t.Run("the mapping lacks what is required", func(t *testing.T) {
		h.mapped("less", `{"records": [{"entity": "users", "file": "students.csv", "fields": {"sourcedId": {"value": "{StudentID}"}, "role": {"value": "student"}, "orgSourcedIds": {"value": "{School}"}, "familyName": {"value": "{Last}"}}}]}`)
		h.upload("less", threeFilesPackage())
		test, err := h.sources.TestSource(h.ctx, &ingestv1.TestSourceRequest{District: "d", Source: "less"})
		require.NoError(t, err)
		var lacks []string
		for _, r := range test.GetRequired() {
			lacks = append(lacks, r.GetFile()+":"+r.GetColumn())
		}
		require.ElementsMatch(t, []string{"students.csv:givenName", "classes.csv:", "enrollments.csv:"}, lacks, "the OneRoster field and the delivered file are named")
	})
	t.Run("a mapping that is still to be made", func(t *testing.T) {
		h.mapped("none", `{}`)
		s := h.sync("none", threeFilesPackage())
		require.Equal(t, ingestv1.SyncState_FAILED, s.GetState())
		require.Equal(t, before.GetRevision(), h.roster.Revision("d"))
		_, err := h.send("none", map[string][]byte{"picture.png": {0x89, 'P', 'N', 'G'}})
		require.ErrorIs(t, err, errs.New(codes.InvalidArgument, "UPLOAD_NOT_ZIP", ""))
		_, err = h.send("none", map[string][]byte{"roster.zip": testkit.Zip(t, map[string]string{"picture.png": "P"})})
		require.ErrorIs(t, err, errs.New(codes.InvalidArgument, "UPLOAD_NO_ROSTER", ""))
	})
	t.Run("without a mapping", func(t *testing.T) {
		_, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "own", Settings: &ingestv1.Source{}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"mapping"}}})
		require.NoError(t, err)
		_, err = h.send("own", map[string][]byte{"students.csv": []byte("A\n1\n")})
		require.ErrorIs(t, err, errs.New(codes.InvalidArgument, "UPLOAD_NO_ROSTER", ""))
	})
}

func TestPreviewMapping(t *testing.T) {
	h := newHub(t)
	h.mapped("own", `{}`)
	kept := h.upload("own", threeFilesPackage())
	preview := func(ctx context.Context, m *ingestv1.Mapping) (*ingestv1.PreviewMappingResponse, error) {
		return h.mappings.PreviewMapping(ctx, &ingestv1.PreviewMappingRequest{District: "d", Source: "own", Mapping: m, UploadId: kept})
	}
	empty, err := preview(h.ctx, nil)
	require.NoError(t, err)
	require.Len(t, empty.GetFiles(), 4)
	students := empty.GetFiles()[3]
	require.Equal(t, "students.csv", students.GetName())
	require.Equal(t, "StudentID", students.GetColumns()[0].GetName())
	require.Equal(t, []string{"007", "8", "9"}, students.GetColumns()[0].GetSamples())
	require.Empty(t, students.GetColumns()[12].GetSamples(), "passwords are shown to nobody")
	require.Empty(t, empty.GetEntities())
	require.Len(t, empty.GetFindings(), 3, "what is required")

	full, err := preview(h.ctx, mappingOf(t, threeFiles))
	require.NoError(t, err)
	entities := map[string]*ingestv1.PreviewedEntity{}
	for _, e := range full.GetEntities() {
		entities[e.GetEntity()] = e
	}
	require.Len(t, entities["users"].GetRecords(), 5)
	require.Equal(t, "Zoé", entities["users"].GetRecords()[0].AsMap()["givenName"])
	require.Empty(t, cmp.Diff([]*ingestv1.UncoveredValue{{File: "staff.csv", Column: "Job", Field: "role", Value: "Coach", Rows: 1}}, entities["users"].GetUncovered(), protocmp.Transform()))
	codesOf := map[string]int{}
	for _, f := range entities["users"].GetFindings() {
		codesOf[f.GetCode()]++
	}
	require.Equal(t, map[string]int{"mapping-missing": 2, "value-unmapped": 1, "password-dropped": 1}, codesOf)
	require.Empty(t, h.roster.Active("d", typev1.Entity_ENTITY_USERS), "nothing is kept")
	source, err := h.sources.GetSource(h.ctx, &ingestv1.GetSourceRequest{District: "d", Source: "own"})
	require.NoError(t, err)
	require.Empty(t, source.GetMapping().GetRecords())
	require.NotNil(t, source.GetMapping())

	t.Run("rows behind the hundredth are not read", func(t *testing.T) {
		var long strings.Builder
		long.WriteString("StudentID,First,Last,Grade,School,Email,Parent 1,Parent 2,State ID,DOB,Sex\n")
		for range 150 {
			long.WriteString("x,A,B,9,north,,,,,,\n")
		}
		long.WriteString("y,A,B,9,north,,,,,,\n")
		files := threeFilesPackage()
		files["students.csv"] = long.String()
		kept = h.upload("own", files)
		out, err := preview(h.ctx, mappingOf(t, threeFiles))
		require.NoError(t, err)
		i := slices.IndexFunc(out.GetEntities(), func(e *ingestv1.PreviewedEntity) bool { return e.GetEntity() == "demographics" })
		require.Len(t, out.GetEntities()[i].GetRecords(), 1)
	})
	t.Run("who may", func(t *testing.T) {
		as := func(scopes ...string) context.Context {
			return testkit.As(t, t.Context(), authn.Principal{Subject: "p", Districts: []string{"d"}, Scopes: scopes})
		}
		_, err := preview(as("sources.write"), nil)
		require.ErrorIs(t, err, errs.New(codes.PermissionDenied, authn.ReasonScope, ""))
		_, err = preview(as("rosters.read"), nil)
		require.ErrorIs(t, err, errs.New(codes.PermissionDenied, authn.ReasonScope, ""))
		_, err = preview(as("sources.write", "rosters.read"), nil)
		require.NoError(t, err)
		_, err = preview(testkit.As(t, t.Context(), authn.Principal{Subject: "p", Districts: []string{"e"}, Scopes: []string{"sources.write", "rosters.read"}}), nil)
		require.ErrorIs(t, err, authn.ErrDistrictNotFound)
	})
	t.Run("another district's upload", func(t *testing.T) {
		_, err := h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "e"})
		require.NoError(t, err)
		_, err = h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "e", SourceId: "own", Source: &ingestv1.Source{Connector: "oneroster-csv", Mapping: &ingestv1.Mapping{}}})
		require.NoError(t, err)
		_, err = h.mappings.PreviewMapping(h.ctx, &ingestv1.PreviewMappingRequest{District: "e", Source: "own", UploadId: kept})
		require.ErrorIs(t, err, errs.New(codes.NotFound, "UPLOAD_NOT_FOUND", ""))
	})
}
