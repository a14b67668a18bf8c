package ingest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

const guardianHead = "studentSourcedId,guardianSourcedId,guardian_givenName,guardian_familyName,guardian_email,address1,city,allowdataaccess,hascustody\n"

// guardianSource makes a source of a guardian file.
func (h *hub) guardianSource(district string, g *ingestv1.GuardianFile) {
	h.t.Helper()
	_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: district, SourceId: "family", Source: &ingestv1.Source{
		Connector: "oneroster-csv", Guardians: g,
	}})
	require.NoError(h.t, err)
}

// family syncs a guardian file.
func (h *hub) family(rows string) *ingestv1.Sync {
	h.t.Helper()
	return h.sync("family", map[string]string{"guardianData.csv": guardianHead + rows})
}

// pupils is a sound package with more students: u10, u11 and so on.
func pupils(n int) map[string]string {
	files := sound()
	for i := range n {
		files["users.csv"] += fmt.Sprintf("u%d,,,true,s,student,kid%d,,Kid,Number%d,,%d,,,,,05,\n", 10+i, i, i, 1000+i)
	}
	return files
}

func agents(u *typev1.User) (ids []string) {
	for _, a := range u.GetAgents() {
		ids = append(ids, a.GetSourcedId())
	}
	return ids
}

func reasons(s *ingestv1.Sync) (types []string) {
	for _, r := range s.GetHoldReasons() {
		types = append(types, r.GetType())
	}
	return types
}

func TestAGuardianFile(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", pupils(1)))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	s := h.completed(h.family("u1,g1,Ann,Lee,ann@home.example,1 Elm St,Town,true,false\nu10,g1,Ann,Lee,,,,,true\nu10,g2,Bob,Low,,,,,\n"))
	require.Empty(t, h.findings(s.GetSyncId()))
	require.EqualValues(t, 2, s.GetRevision())
	require.EqualValues(t, 3, s.GetGuardians().GetRelationships())
	require.InDelta(t, 100, s.GetGuardians().GetMatchPercent(), 0)
	require.Nil(t, s.GetGuardians().LastMatchPercent)
	require.EqualValues(t, 2, s.GetCounts()["users"].GetCreated())
	require.EqualValues(t, 2, s.GetCounts()["users"].GetUpdated())
	require.EqualValues(t, 3, s.GetCounts()["users"].GetReceived())
	require.Equal(t, []string{"g1"}, agents(h.user("u1")))
	require.Equal(t, "zoe@made-up.example", h.user("u1").GetEmail())
	require.Equal(t, []string{"g1", "g2"}, agents(h.user("u10")))
	g := h.user("g1")
	require.Equal(t, []string{"u1", "u10"}, agents(g))
	require.True(t, g.GetAgents()[0].GetDataAccess())
	require.False(t, g.GetAgents()[0].GetCustody())
	require.True(t, g.GetAgents()[1].GetCustody())
	require.Equal(t, "family", g.GetAgents()[0].GetSource())
	require.Equal(t, "Town", g.GetAddress().GetCity())
	require.Equal(t, "augmentation", g.GetMetadata()["provenance"])
	require.Equal(t, "guardian", g.GetRoles()[0].GetRole())
	require.Equal(t, "s", g.GetRoles()[0].GetOrg().GetSourcedId())

	again := h.completed(h.wait(h.startSync("family").GetSyncId()))
	require.Zero(t, again.GetRevision())
	require.True(t, again.GetUnchangedInput())
	require.InDelta(t, 100, again.GetGuardians().GetLastMatchPercent(), 0)

	t.Run("a relationship that is gone goes by a plan", func(t *testing.T) {
		s := h.completed(h.family("u1,g1,Ann,Lee,ann@home.example,1 Elm St,Town,true,false\n"))
		require.EqualValues(t, 1, s.GetCounts()["users"].GetRemoved())
		require.EqualValues(t, 2, s.GetCounts()["users"].GetUpdated())
		require.Empty(t, agents(h.user("u10")))
		require.Nil(t, h.user("g2"))
		require.Equal(t, []string{"u1"}, agents(h.user("g1")))
	})
	t.Run("the roster's own sync leaves it as it is", func(t *testing.T) {
		h.completed(h.sync("sis", pupils(1)))
		require.Equal(t, []string{"g1"}, agents(h.user("u1")))
	})
	t.Run("files that cannot be taken leave it as it is", func(t *testing.T) {
		for _, files := range []map[string]string{
			{"guardianData.csv": "pupil,guardianSourcedId\nu1,g2\n"},
			{"guardianData.csv": guardianHead},
			{"guardianData.csv": "studentId,student_ID,email\n1,1,a@b.example\n"},
			{"a.csv": guardianHead, "b.csv": guardianHead},
		} {
			s := h.sync("family", files)
			require.Equal(t, ingestv1.SyncState_FAILED, s.GetState())
			require.NotEmpty(t, s.GetError())
			require.Len(t, h.findings(s.GetSyncId()), 1)
			require.Equal(t, []string{"g1"}, agents(h.user("u1")))
		}
	})
}

func TestASourceOfGuardiansGoes(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	h.completed(h.family("u1,g1,Ann,Lee,,,,,\n"))
	require.Empty(t, h.doctor())
	s := h.wait(h.end("family", "remove").GetSyncId())
	require.Equal(t, ingestv1.SyncState_ON_HOLD, s.GetState(), s.GetError())
	h.completed(h.sync("sis", pupils(1)))
	require.Len(t, h.syncsOf("family"), 2, "a source that goes is not matched again")
	h.approve(s.GetSyncId())
	h.completed(h.wait(s.GetSyncId(), ingestv1.SyncState_COMPLETED))
	require.Empty(t, agents(h.user("u1")))
	require.Nil(t, h.user("g1"))
	require.Eventually(t, func() bool { return len(h.stored("layers/d/family")) == 0 }, testkit.Wait, 5*time.Millisecond)
}

func TestAGuardianFileThatMatchesLittleWaits(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", pupils(4)))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	h.completed(h.family("u1,g1,Ann,Lee,,,,,\n"))
	bad := h.family("u1,g2,Bob,Lee,,,,,\nx1,g1,Ann,,,,,,\nx2,g1,Ann,,,,,,\n")
	require.Equal(t, ingestv1.SyncState_ON_HOLD, bad.GetState(), bad.GetError())
	require.Equal(t, []string{"guardian-match-low", "guardian-match-dropped"}, reasons(bad))
	require.NotEmpty(t, bad.GetHoldReasons()[0].GetNextStep())
	require.EqualValues(t, 2, bad.GetHoldReasons()[0].GetCount())
	require.EqualValues(t, 3, bad.GetHoldReasons()[0].GetPopulation())
	require.EqualValues(t, 2, bad.GetGuardians().GetUnmatchedRows())
	require.Contains(t, h.findings(bad.GetSyncId()), "row student-unknown guardianData.csv:3:studentSourcedId")
	require.Equal(t, []string{"g1"}, agents(h.user("u1")), "the last good file stays")

	t.Run("the roster goes on meanwhile, and what waits is matched with it", func(t *testing.T) {
		h.completed(h.sync("sis", pupils(5)))
		again := h.nextSync("family", 3)
		require.Equal(t, ingestv1.SyncState_ON_HOLD, again.GetState())
		require.Contains(t, again.GetReason(), "matched again")
		require.Equal(t, bad.GetUploadId(), again.GetUploadId())
		require.Equal(t, ingestv1.SyncState_SUPERSEDED, h.get(bad.GetSyncId()).GetState())
		bad = again
	})
	t.Run("once it is dropped, so is the last good one", func(t *testing.T) {
		_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: bad.GetSyncId()})
		require.NoError(t, err)
		s := h.completed(h.nextSync("family", 4))
		require.Zero(t, s.GetRevision())
		require.Equal(t, []string{"g1"}, agents(h.user("u1")))
	})
	t.Run("a person may approve it", func(t *testing.T) {
		s := h.family("u1,g2,Bob,Lee,,,,,\nx1,g1,Ann,,,,,,\n")
		require.Equal(t, ingestv1.SyncState_ON_HOLD, s.GetState())
		h.approve(s.GetSyncId())
		h.completed(h.wait(s.GetSyncId(), ingestv1.SyncState_COMPLETED))
		require.Equal(t, []string{"g2"}, agents(h.user("u1")))
		h.completed(h.family("u1,g2,Bob,Lee,,,,,\nx1,g1,Ann,,,,,,\n"))
	})
	t.Run("or say that so few are fine", func(t *testing.T) {
		none, all := int32(0), int32(100)
		_, err := h.update("family", &ingestv1.Source{Guardians: &ingestv1.GuardianFile{MinMatchPercent: &none, MaxDropPercent: &all}})
		require.NoError(t, err)
		h.completed(h.family("u1,g3,Cy,Lee,,,,,\nx1,g1,Ann,,,,,,\nx2,g1,Ann,,,,,,\n"))
		require.Equal(t, []string{"g3"}, agents(h.user("u1")))
	})
}

func TestManyRelationshipsThatGoWait(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", pupils(100)))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	var rows strings.Builder
	for i := range 100 {
		fmt.Fprintf(&rows, "u%d,g%d,Ann,,,,,,\n", 10+i, i)
	}
	all := rows.String()
	h.completed(h.family(all))
	lines := strings.SplitAfter(all, "\n")
	s := h.family(strings.Join(lines[:70], ""))
	require.Equal(t, ingestv1.SyncState_ON_HOLD, s.GetState())
	require.Contains(t, reasons(s), "guardian-relationships-removed")
	require.NotContains(t, reasons(s), "guardian-match-low")
}

func TestAGuardianFileBeforeItsStudents(t *testing.T) {
	h := newHub(t)
	h.guardianSource("d", &ingestv1.GuardianFile{StudentKey: ingestv1.GuardianKey_IDENTIFIER})
	s := h.completed(h.family("100,g1,Ann,Lee,,,,,\n"))
	require.Zero(t, s.GetGuardians().GetMatchedRows(), "there is nobody yet")
	h.completed(h.sync("sis", sound()))
	s = h.completed(h.nextSync("family", 2))
	require.EqualValues(t, 1, s.GetGuardians().GetMatchedRows())
	require.True(t, s.GetUnchangedInput(), "it is no new input")
	require.Equal(t, []string{"g1"}, agents(h.user("u1")))

	// Nothing of the users changes: it is not matched again, however often.
	h.completed(h.sync("sis", altered("classes.csv", "Art A", "Art B")))
	h.completed(h.wait(h.startSync("family").GetSyncId()))
	require.Len(t, h.syncsOf("family"), 3)

	// Nor while it is paused.
	_, err := h.sources.PauseSource(h.ctx, &ingestv1.PauseSourceRequest{District: "d", Source: "family"})
	require.NoError(t, err)
	h.completed(h.sync("sis", pupils(2)))
	require.Len(t, h.syncsOf("family"), 3)
	_, err = h.sources.ResumeSource(h.ctx, &ingestv1.ResumeSourceRequest{District: "d", Source: "family"})
	require.NoError(t, err)
	h.completed(h.nextSync("family", 4))
}

func TestWhoseValuesCount(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", altered("users.csv", "u2,", "g1,,,true,s,parent,,,Anna,,,,ann@work.example,,,u1,,\nu2,")))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	rows := "u1,g1,Ann,Lee,ann@home.example,,Town,true,\nu1,u2,Thomas,,tom@home.example,,,,\n"
	s := h.completed(h.family(rows))
	require.EqualValues(t, 2, s.GetGuardians().GetGuardiansKnown())
	require.Equal(t, "Anna", h.user("g1").GetGivenName())
	require.Equal(t, "Lee", h.user("g1").GetFamilyName())
	require.Equal(t, "ann@work.example", h.user("g1").GetEmail())
	require.Equal(t, "Town", h.user("g1").GetAddress().GetCity())
	require.True(t, h.user("g1").GetAgents()[0].GetDataAccess())
	require.Equal(t, "sis", h.user("g1").GetAgents()[0].GetSource())
	require.Equal(t, "parent", h.user("g1").GetRoles()[0].GetRole())
	require.Nil(t, h.user("g1").GetMetadata())
	require.Equal(t, "tom@made-up.example", h.user("u2").GetEmail())
	require.Contains(t, agents(h.user("u2")), "u1")

	_, err := h.update("family", &ingestv1.Source{Guardians: &ingestv1.GuardianFile{Policy: ingestv1.GuardianPolicy_FILE_WINS}})
	require.NoError(t, err)
	h.completed(h.nextSync("family", 2)) // by itself
	require.Equal(t, "Ann", h.user("g1").GetGivenName())
	require.Equal(t, "ann@home.example", h.user("g1").GetEmail())
	require.Equal(t, "parent", h.user("g1").GetRoles()[0].GetRole())
	require.Equal(t, "Tom", h.user("u2").GetGivenName(), "staff stays what the school says")
	require.Equal(t, "tom@made-up.example", h.user("u2").GetEmail())
}

func TestAnErasedGuardian(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	rows := "u1,g1,Ann,Wonder,ann@home.example,,,,\nu1,,Bob,Marvel,bob@home.example,,,,\n"
	h.completed(h.family(rows))
	derived := agents(h.user("u1"))[1]
	for _, test := range []struct{ id, word string }{{"g1", "Wonder"}, {derived, "Marvel"}} {
		require.NotEmpty(t, h.holding("", test.word))
		done, err := h.erase(test.id)
		require.NoError(t, err)
		require.EqualValues(t, 1, done.GetPackages())
		require.Empty(t, h.holding("", test.word))
		require.Empty(t, h.user(test.id).GetFamilyName())

		h.completed(h.family(rows))
		require.Empty(t, h.user(test.id).GetFamilyName(), "the same file brings nobody back")
		require.Empty(t, h.holding("layers", test.word))
		require.Contains(t, agents(h.user("u1")), test.id)
	}
}

func TestGuardiansOfAnotherDistrict(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	_, err := h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "e"})
	require.NoError(t, err)
	h.guardianSource("d", &ingestv1.GuardianFile{})
	h.guardianSource("e", &ingestv1.GuardianFile{})
	h.upload("family", map[string]string{"guardians.csv": guardianHead + "u1,g1,Ann,,,,,,\n"})

	only := testkit.Operator()
	only.Districts = []string{"e"}
	own := testkit.As(t, t.Context(), only)
	_, err = h.guardians.PreviewGuardians(own, &ingestv1.PreviewGuardiansRequest{District: "d", Source: "family"})
	require.ErrorIs(t, err, authn.ErrDistrictNotFound)
	_, err = h.guardians.PreviewGuardians(own, &ingestv1.PreviewGuardiansRequest{District: "e", Source: "family"})
	require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "UPLOAD_NEEDED", ""))

	stream, err := h.sources.Upload(h.ctx)
	require.NoError(t, err)
	for _, m := range []*ingestv1.UploadRequest{
		{Message: &ingestv1.UploadRequest_Header{Header: &ingestv1.UploadHeader{District: "e", Source: "family"}}},
		{Message: &ingestv1.UploadRequest_File{File: &ingestv1.UploadFile{Filename: "guardians.csv"}}},
		{Message: &ingestv1.UploadRequest_Chunk{Chunk: []byte(guardianHead + "u1,g1,Ann,,,,,,\n")}},
		{Message: &ingestv1.UploadRequest_End{End: &ingestv1.UploadEnd{}}},
	} {
		require.NoError(t, stream.Send(m))
	}
	_, err = stream.CloseAndRecv()
	require.NoError(t, err)
	p, err := h.guardians.PreviewGuardians(own, &ingestv1.PreviewGuardiansRequest{District: "e", Source: "family"})
	require.NoError(t, err)
	require.Zero(t, p.GetReport().GetMatchedRows(), "students of others are not found")
	p, err = h.guardians.PreviewGuardians(h.ctx, &ingestv1.PreviewGuardiansRequest{District: "d", Source: "family"})
	require.NoError(t, err)
	require.EqualValues(t, 1, p.GetReport().GetMatchedRows())
}

func TestPreviewOfAGuardianFile(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", pupils(4)))
	preview := func(g *ingestv1.GuardianFile) *ingestv1.PreviewGuardiansResponse {
		t.Helper()
		p, err := h.guardians.PreviewGuardians(h.ctx, &ingestv1.PreviewGuardiansRequest{District: "d", Source: "family", Guardians: g})
		require.NoError(t, err)
		return p
	}
	_, err := h.guardians.PreviewGuardians(h.ctx, &ingestv1.PreviewGuardiansRequest{District: "d", Source: "sis"})
	require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "SOURCE_NOT_GUARDIANS", ""))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	up := h.upload("family", map[string]string{"export/contacts 2026.csv": "Student Number,Parent ID,First Name,Last Name,E-Mail Address,shoe size\n" +
		"1000,p1,Ann,Lee,ann@home.example,38\n1001,p2,Bob,Low,,\n1002,,Cy,,,\n9999,p3,Di,,,\nu1,p4,,,,\n"})
	before := h.stored("")
	p := preview(nil)
	require.Equal(t, up, p.GetUploadId())
	require.Equal(t, "contacts 2026.csv", p.GetFile())
	require.Len(t, p.GetColumns(), 6)
	require.Equal(t, "student", p.GetColumns()[0].GetField())
	require.EqualValues(t, 5, p.GetColumns()[0].GetFilled())
	require.Equal(t, "email", p.GetColumns()[4].GetField())
	require.EqualValues(t, 1, p.GetColumns()[4].GetFilled())
	require.Empty(t, p.GetColumns()[5].GetField())
	require.Equal(t, "Student Number", p.GetGuardians().GetColumns()["student"])
	require.Equal(t, ingestv1.GuardianKey_IDENTIFIER, p.GetKeys()[0].GetKey())
	require.EqualValues(t, 3, p.GetKeys()[0].GetMatchedRows())
	require.InDelta(t, 60, p.GetKeys()[0].GetMatchPercent(), 0)
	require.Equal(t, ingestv1.GuardianKey_SOURCED_ID, p.GetKeys()[1].GetKey())
	require.EqualValues(t, 1, p.GetReport().GetMatchedRows(), "by the key that is set")
	require.Equal(t, "guardian-match-low", p.GetHoldReasons()[0].GetType())

	p = preview(&ingestv1.GuardianFile{StudentKey: ingestv1.GuardianKey_IDENTIFIER})
	require.EqualValues(t, 3, p.GetReport().GetMatchedRows())
	require.EqualValues(t, 3, p.GetReport().GetGuardiansCreated())
	require.EqualValues(t, 1, p.GetReport().GetGuardiansWithoutId())
	require.EqualValues(t, 2, p.GetReport().GetGuardiansUnmatched())
	require.NotEmpty(t, p.GetFindings())
	require.EqualValues(t, len(p.GetFindings()), p.GetFindingsCount())

	p = preview(&ingestv1.GuardianFile{Columns: map[string]string{"student": "pupil"}})
	require.Equal(t, "column-missing", p.GetMessages()[0].GetCode())
	require.Nil(t, p.GetReport())
	require.Len(t, p.GetColumns(), 6, "so that a person can choose")
	_, err = h.guardians.PreviewGuardians(h.ctx, &ingestv1.PreviewGuardiansRequest{District: "d", Source: "family", Guardians: &ingestv1.GuardianFile{Columns: map[string]string{"shoe": "x"}}})
	field(t, "guardians.columns.shoe", err)
	require.Equal(t, before, h.stored(""), "nothing is kept")
	require.Empty(t, h.syncsOf("family"))

	tested := h.test("family")
	require.True(t, tested.GetOk())
	require.EqualValues(t, 1, tested.GetCounts()["relationships"])
	require.NotEmpty(t, tested.GetRecommended())
}

func TestASourceIsOfGuardiansOrOfARoster(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	_, err := h.update("sis", &ingestv1.Source{Guardians: &ingestv1.GuardianFile{}})
	field(t, "guardians", err)
	_, err = h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "x", Source: &ingestv1.Source{
		Connector: "oneroster-csv", Guardians: &ingestv1.GuardianFile{}, Mapping: &ingestv1.Mapping{},
	}})
	field(t, "source.guardians", err)
	_, err = h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "x", Source: &ingestv1.Source{
		Connector: "oneroster-csv", Guardians: &ingestv1.GuardianFile{Columns: map[string]string{"shoe": "x"}},
	}})
	field(t, "source.guardians.columns.shoe", err)
	_, err = h.update("sis", &ingestv1.Source{Mapping: &ingestv1.Mapping{}, Guardians: &ingestv1.GuardianFile{}})
	field(t, "guardians", err)
	_, err = h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "x", Source: &ingestv1.Source{Connector: "oneroster-csv", Guardians: &ingestv1.GuardianFile{}}})
	require.NoError(t, err)
	_, err = h.update("x", &ingestv1.Source{Mapping: &ingestv1.Mapping{}})
	field(t, "guardians", err)
}

func TestADroppedGuardianFile(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	c := h.newDrop("d", "family", nil)
	_, err := h.update("family", &ingestv1.Source{Guardians: &ingestv1.GuardianFile{}})
	require.NoError(t, err)
	h.drop(c, local(t, map[string]string{"parents-2026.csv": guardianHead + "u1,g1,Ann,,,,,,\n"})...)
	h.ahead(6 * time.Minute)
	h.completed(h.nextSync("family", 1))
	require.Equal(t, []string{"g1"}, agents(h.user("u1")))
}
