package ingest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

// byHand makes a source of entries, and returns what enters one and syncs.
func (h *hub) byHand() (enter func(entry string) *ingestv1.ManualEntry, sync func() *ingestv1.Sync) {
	h.t.Helper()
	_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "hand", Source: &ingestv1.Source{Connector: "manual"}})
	require.NoError(h.t, err)
	enter = func(text string) *ingestv1.ManualEntry {
		h.t.Helper()
		var e ingestv1.ManualEntry
		require.NoError(h.t, protojson.Unmarshal([]byte(text), &e))
		out, err := h.entries.PutManualEntry(h.ctx, &ingestv1.PutManualEntryRequest{District: "d", Source: "hand", Entry: &e})
		require.NoError(h.t, err)
		return out
	}
	return enter, func() *ingestv1.Sync {
		h.t.Helper()
		return h.wait(h.startSync("hand").GetSyncId())
	}
}

// A guardian whom the export does not have, corrections of a student, and what
// becomes of them when the export goes on.
func TestManualEntries(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", large(30)))
	enter, sync := h.byHand()
	enter(`{"record":{"user":{"sourcedId":"g1","givenName":"Gail","familyName":"Guard","email":"gail@made-up.example","roles":[{"role":"parent","org":{"sourcedId":"s"}}]}}}`)
	enter(`{"record":{"user":{"sourcedId":"u2","givenName":"Thomas","email":"thomas@made-up.example","agents":[{"sourcedId":"g1","contactType":"guardian"}]}},"correction":true,"sourceWins":["email"]}`)
	enter(`{"record":{"user":{"sourcedId":"nobody","phone":"1"}},"correction":true}`)

	trial, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "hand", DryRun: true})
	require.NoError(t, err)
	require.EqualValues(t, 1, h.wait(trial.GetSyncId()).GetCounts()["users"].GetCreated())
	require.Nil(t, h.user("g1"), "a dry run changes nothing")

	s := h.completed(sync())
	require.EqualValues(t, 3, s.GetCounts()["users"].GetReceived())
	require.EqualValues(t, 1, s.GetCounts()["users"].GetCreated())
	require.EqualValues(t, 1, s.GetCounts()["users"].GetUpdated())
	require.Equal(t, "Gail", h.user("g1").GetGivenName())
	require.Equal(t, "s", h.user("g1").GetPrimaryOrg().GetSourcedId())
	require.Nil(t, h.user("nobody"), "a correction makes no record")
	u2 := h.user("u2")
	require.Equal(t, "Thomas", u2.GetGivenName(), "the entry wins")
	require.Equal(t, "tom@made-up.example", u2.GetEmail(), "the source wins")
	require.Equal(t, "g1", u2.GetAgents()[0].GetSourcedId())

	t.Run("nothing new", func(t *testing.T) {
		require.Zero(t, h.completed(sync()).GetRevision())
	})
	t.Run("the export goes on", func(t *testing.T) {
		files := large(30)
		files["users.csv"] = strings.ReplaceAll(files["users.csv"], "tom@made-up.example", "")
		h.completed(h.sync("sis", files))
		require.Equal(t, "thomas@made-up.example", h.user("u2").GetEmail(), "the source has none any more")
		require.Equal(t, "Thomas", h.user("u2").GetGivenName())
		require.NotNil(t, h.user("g1"))
	})
	t.Run("restart", func(t *testing.T) {
		h.stop()
		h.start()
		enter(`{"record":{"user":{"sourcedId":"nobody","givenName":"No","familyName":"Body","roles":[{"role":"aide","org":{"sourcedId":"s"}}]}}}`)
		h.completed(sync())
		require.NotNil(t, h.user("nobody"))
	})
	t.Run("an entry is taken back", func(t *testing.T) {
		_, err := h.entries.DeleteManualEntry(h.ctx, &ingestv1.DeleteManualEntryRequest{District: "d", Source: "hand", Entity: "users", SourcedId: "u2"})
		require.NoError(t, err)
		h.completed(sync())
		require.Equal(t, "Tom", h.user("u2").GetGivenName())
		require.Empty(t, h.user("u2").GetAgents())
	})
	t.Run("a person is erased", func(t *testing.T) {
		_, err := h.erase("g1")
		require.NoError(t, err)
		require.Empty(t, h.holding("", "gail@made-up.example"))
		_, err = h.entries.GetManualEntry(h.ctx, &ingestv1.GetManualEntryRequest{District: "d", Source: "hand", Entity: "users", SourcedId: "g1"})
		require.Equal(t, codes.NotFound, errs.Status(err).Code())
	})
	t.Run("a person who was only entered is erased", func(t *testing.T) {
		enter(`{"record":{"user":{"sourcedId":"x1","phone":"5"}},"correction":true}`)
		done, err := h.erase("x1")
		require.NoError(t, err)
		require.EqualValues(t, 1, done.GetEntries())
	})
	h.healthy()
	h.end("hand", "freeze")
	_, err = h.entries.PutManualEntry(h.ctx, &ingestv1.PutManualEntryRequest{District: "d", Source: "hand", Entry: &ingestv1.ManualEntry{
		Record: &typev1.Record{Record: &typev1.Record_User{User: &typev1.User{SourcedId: "y"}}}, Correction: true,
	}})
	require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "SOURCE_STOPPED", ""))
}

func TestManualEntriesAreAskedForAndRefused(t *testing.T) {
	h := newHub(t)
	enter, _ := h.byHand()
	first := enter(`{"record":{"user":{"sourcedId":"a/b c","givenName":"A","familyName":"B","roles":[{"role":"teacher","org":{"sourcedId":"s"}}]}}}`)
	enter(`{"record":{"class":{"sourcedId":"club","title":"Chess club","school":{"sourcedId":"s"}}}}`)
	require.NotEmpty(t, first.GetUpdatedBy())

	all, err := h.entries.ListManualEntries(h.ctx, &ingestv1.ListManualEntriesRequest{District: "d", Source: "hand", PageSize: 1})
	require.NoError(t, err)
	require.Len(t, all.GetEntries(), 1)
	require.NotEmpty(t, all.GetNextPageToken())
	users, err := h.entries.ListManualEntries(h.ctx, &ingestv1.ListManualEntriesRequest{District: "d", Source: "hand", Entity: "users"})
	require.NoError(t, err)
	require.Len(t, users.GetEntries(), 1)
	got, err := h.entries.GetManualEntry(h.ctx, &ingestv1.GetManualEntryRequest{District: "d", Source: "hand", Entity: "users", SourcedId: "a/b c"})
	require.NoError(t, err)
	require.Equal(t, first.GetEtag(), got.GetEtag())

	put := func(source string, e *ingestv1.ManualEntry) codes.Code {
		_, err := h.entries.PutManualEntry(h.ctx, &ingestv1.PutManualEntryRequest{District: "d", Source: source, Entry: e})
		return errs.Status(err).Code()
	}
	require.Equal(t, codes.OK, put("hand", got))
	require.Equal(t, codes.Aborted, put("hand", got), "it was written since")
	require.Equal(t, codes.InvalidArgument, put("hand", &ingestv1.ManualEntry{}))
	require.Equal(t, codes.FailedPrecondition, put("sis", got), "a source that is delivered")
	require.Equal(t, codes.NotFound, put("nowhere", got))
	_, err = h.send("hand", map[string][]byte{"roster.zip": testkit.Zip(t, sound())})
	require.Equal(t, codes.FailedPrecondition, errs.Status(err).Code())
	require.True(t, h.test("hand").GetOk())

	// Another district has none of it.
	_, err = h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "e", District: &ingestv1.District{}})
	require.NoError(t, err)
	own := testkit.As(t, t.Context(), authn.Principal{Subject: "admin", Districts: []string{"e"}, Scopes: []string{"rosters.read", "sources.write"}})
	_, err = h.entries.ListManualEntries(own, &ingestv1.ListManualEntriesRequest{District: "d", Source: "hand"})
	require.Equal(t, codes.NotFound, errs.Status(err).Code())

	h.deleteDistrict()
	h.recreate()
	_, err = h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "hand", Source: &ingestv1.Source{Connector: "manual"}})
	require.NoError(t, err)
	all, err = h.entries.ListManualEntries(h.ctx, &ingestv1.ListManualEntriesRequest{District: "d", Source: "hand"})
	require.NoError(t, err)
	require.Empty(t, all.GetEntries())
}
