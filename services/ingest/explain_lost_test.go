package ingest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
)

// evidence of a source.
func evidence(t *testing.T, out *ingestv1.ExplainRecordResponse, source string) *ingestv1.SourceEvidence {
	t.Helper()
	for _, s := range out.GetSources() {
		if s.GetSource() == source {
			return s
		}
	}
	require.Fail(t, "no such source", source)
	return nil
}

// What a guardian file is about to change waits like anything else.
func TestWhatAGuardianFileIsAboutToChange(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", pupils(4)))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	h.completed(h.family("u1,g1,Ann,Lee,,,,,\n"))
	held := h.family("u1,g2,Bob,Lee,,,,,\nx1,g1,Ann,,,,,,\nx2,g1,Ann,,,,,,\n")
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	for id, code := range map[string]string{"g1": "removed", "g2": "created", "u1": "updated"} {
		out := h.why("users", id)
		require.Equal(t, []string{"waiting"}, reasonsOf(out), out)
		require.Equal(t, code, out.GetReasons()[0].GetCode(), out)
		require.Equal(t, held.GetSyncId(), out.GetReasons()[0].GetSync())
	}
	require.Equal(t, "present", h.why("users", "g1").GetVerdict())
	require.EqualValues(t, 2, h.why("users", "g2").GetReasons()[0].GetRow())
	_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: held.GetSyncId()})
	require.NoError(t, err)
	removal := h.wait(h.end("family", "remove").GetSyncId())
	require.Equal(t, ingestv1.SyncState_ON_HOLD, removal.GetState())
	out := h.why("users", "g1")
	require.Equal(t, "removed", out.GetReasons()[0].GetCode(), out)
}

// The rows of a guardian are its own also where another source has the guardian
// too, or where its id is worked out; rows that only name somebody are not.
func TestWhichRowsOfAGuardianFileAreWhose(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", edited(pupils(8), "users.csv", "u2,", "g1,,,true,s,parent,ann,,Ann,Lee,,,,,,,,,\nu2,")))
	h.guardianSource("d", &ingestv1.GuardianFile{})
	h.completed(h.family("u1,g1,Ann,Lee,ann@home.example,1 Elm St,Town,true,false\nu10,,Bob,Low,bob@home.example,,,,\nu99,g7,Eve,Low,,,,,\n" +
		"u11,g3,A,B,,,,,\nu12,g4,A,B,,,,,\nu13,g5,A,B,,,,,\nu14,g6,A,B,,,,,\nu15,g6,A,B,,,,,\nu16,g6,A,B,,,,,\n"))
	for id, row := range map[string]int32{"g1": 2, agents(h.user("u10"))[0]: 3} {
		out := h.why("users", id)
		require.Equal(t, "present", out.GetVerdict(), out)
		require.Empty(t, out.GetReasons())
		family := evidence(t, out, "family")
		require.True(t, family.GetHas(), out)
		require.Len(t, family.GetPackages()[0].GetRows(), 1, out)
		require.Equal(t, row, family.GetPackages()[0].GetRows()[0].GetRow())
		require.Empty(t, family.GetPackages()[0].GetReferences())
	}
	student := evidence(t, h.why("users", "u1"), "family")
	require.Empty(t, student.GetPackages()[0].GetRows())
	require.Len(t, student.GetPackages()[0].GetReferences(), 1)
	out := h.why("users", "g7")
	require.Equal(t, []string{"rejected"}, reasonsOf(out), out)
	require.Equal(t, "student-unknown", out.GetReasons()[0].GetCode())
	require.Equal(t, "guardianData.csv", out.GetReasons()[0].GetFile())
	require.EqualValues(t, 4, out.GetReasons()[0].GetRow())
}

// What the newest package does not have is looked for in those before it.
func TestWhyIsItOnlyInAnOlderPackage(t *testing.T) {
	extra := edited(sound(), "users.csv", "u2,", "u3,,,true,s,student,new,,New,One,,,,,,,,\nu2,")
	t.Run("discarded", func(t *testing.T) {
		h := newHub(t)
		h.completed(h.sync("sis", large(200)))
		held := h.sync("sis", fewer())
		_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: held.GetSyncId()})
		require.NoError(t, err)
		h.completed(h.sync("sis", large(200)))
		out := h.why("users", "new")
		require.Equal(t, []string{"sync-discarded"}, reasonsOf(out), out)
		require.Equal(t, held.GetSyncId(), out.GetReasons()[0].GetSync())
	})
	t.Run("never synced", func(t *testing.T) {
		h := newHub(t)
		upload := h.upload("sis", extra)
		h.completed(h.sync("sis", sound()))
		out := h.why("users", "u3")
		require.Equal(t, []string{"no-longer-delivered"}, reasonsOf(out), out)
		require.Contains(t, out.GetMessage(), "not in the newest package of source sis; last in the one of ")
		require.Equal(t, upload, out.GetReasons()[0].GetUploadId())
		require.Len(t, out.GetSources()[0].GetPackages(), 2)
	})
}

// A record that an approval in part has kept is there, and it is said why.
func TestWhyIsItStillThere(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", large(200)))
	held := h.sync("sis", fewer())
	require.NoError(t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), WithoutRemovals: true}))
	h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
	out := h.why("users", "st-0199")
	require.Equal(t, "present", out.GetVerdict())
	require.Equal(t, []string{"left-out"}, reasonsOf(out), out)
	require.Contains(t, out.GetMessage(), "has left its removal out")
	require.NotEmpty(t, out.GetNextStep())
	require.Empty(t, h.why("users", "st-0001").GetReasons())
}

// A correction of what nobody delivers is not forgotten.
func TestWhatIsOnlyCorrected(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	enter, sync := h.byHand()
	enter(`{"record":{"user":{"sourcedId":"u9","phone":"1"}},"correction":true}`)
	h.completed(sync())
	out := h.why("users", "u9")
	require.Equal(t, []string{"never-delivered", "only-corrected"}, reasonsOf(out), out)
	require.Equal(t, "hand", out.GetReasons()[1].GetSource())
}

// Of an erased person whom a source delivers again something is to be done.
func TestAnErasedPersonIsDeliveredAgain(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	_, err := h.erase("u1")
	require.NoError(t, err)
	h.completed(h.sync("sis", sound()))
	require.Contains(t, h.why("users", "u1").GetNextStep(), "nothing is to be done")
	h.newSource("other", nil)
	h.completed(h.sync("other", edited(sound(), "users.csv", "Zoé", "Other")))
	out := h.why("users", "u1")
	require.Contains(t, out.GetMessage(), "delivered again, by source other")
	require.Contains(t, out.GetNextStep(), "removed from source other")
	require.Contains(t, out.GetNextStep(), "erase the person once more")
}
