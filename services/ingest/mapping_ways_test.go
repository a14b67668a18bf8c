package ingest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/sshd"
)

func (h *hub) setMapping(source, mapping string) {
	h.t.Helper()
	_, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: source, Settings: &ingestv1.Source{Mapping: mappingOf(h.t, mapping)}})
	require.NoError(h.t, err)
}

func TestMappedFilesAreFetched(t *testing.T) {
	h, server, dir := newHub(t), sshd.Start(t), t.TempDir()
	deliver(t, dir, threeFilesPackage(), 2*time.Hour)
	source := h.sftpSource(server, dir, map[string]string{"privateKey": server.Key})
	h.setMapping("files", `{}`)
	h.confirm(source, h.test("files").GetConfirm())

	out, err := h.mappings.PreviewMapping(h.ctx, &ingestv1.PreviewMappingRequest{District: "d", Source: "files"})
	require.NoError(t, err)
	require.Len(t, out.GetFiles(), 4, "what is there to be mapped")
	require.NotEmpty(t, out.GetSuggestion().GetRecords())

	h.setMapping("files", threeFiles)
	test := h.test("files")
	require.True(t, test.GetOk(), test)
	s := h.completed(h.wait(h.startSync("files").GetSyncId()))
	require.Len(t, h.roster.Active("d", typev1.Entity_ENTITY_USERS), 5)
	require.NotContains(t, h.findings(s.GetSyncId()), "notice file-unused notes.csv:0:", "what the mapping does not read is not fetched")
	require.True(t, h.wait(h.startSync("files").GetSyncId()).GetUnchangedInput())

	deliver(t, dir, map[string]string{"export.zip": string(testkit.Zip(t, threeFilesPackage()))}, 90*time.Minute)
	require.False(t, h.completed(h.wait(h.startSync("files").GetSyncId())).GetUnchangedInput(), "a zip is as good")
}

func TestMappedFilesAreDropped(t *testing.T) {
	h := newHub(t)
	c := h.newDrop("d", "nightly", nil)
	h.setMapping("nightly", threeFiles)
	h.drop(c, local(t, threeFilesPackage())...)
	h.ahead(6 * time.Minute)
	s := h.nextSync("nightly", 1)
	require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
	require.Len(t, h.roster.Active("d", typev1.Entity_ENTITY_USERS), 5)
	require.Equal(t, []string{"notes.csv"}, h.listed(c, "/incoming"), "what nobody reads stays")
}

// Folders keep the files of other days.
func TestDatedFilesAreFetchedAndDropped(t *testing.T) {
	h, server, dir := newHub(t), sshd.Start(t), t.TempDir()
	put := func(name, text string, age time.Duration) {
		path, at := filepath.Join(dir, name), time.Now().Add(-age)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(path, at, at))
	}
	put("students_2026-08-12.csv", students("Oak, Ann"), 20*time.Hour)
	source := h.sftpSource(server, dir, map[string]string{"privateKey": server.Key})
	h.setMapping("files", dated)
	h.confirm(source, h.test("files").GetConfirm())
	h.completed(h.wait(h.startSync("files").GetSyncId()))
	require.Equal(t, "Ann", h.user("1").GetGivenName())
	put("students_2026-08-13.csv", students("Oak, Anna"), 2*time.Hour)
	h.completed(h.wait(h.startSync("files").GetSyncId()))
	require.Equal(t, "Anna", h.user("1").GetGivenName())
	require.True(t, h.wait(h.startSync("files").GetSyncId()).GetUnchangedInput())
	require.Equal(t, "students_2026-08-13.csv", h.why("users", "1").GetSources()[1].GetPackages()[0].GetRows()[0].GetFile())

	c := h.newDrop("d", "nightly", nil)
	h.setMapping("nightly", strings.ReplaceAll(dated, `"{ID}"`, `"d{ID}"`))
	h.drop(c, local(t, map[string]string{"students_2026-08-13.csv": students("Elm, Bo")})...)
	h.ahead(time.Second)
	h.drop(c, local(t, map[string]string{"students_2026-08-12.csv": students("Elm, Bob")})...)
	h.ahead(6 * time.Minute)
	s := h.nextSync("nightly", 1)
	require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
	require.Equal(t, "Bob", h.user("d1").GetGivenName(), "the newest by its time, not by its name")
	require.Empty(t, h.listed(c, "/incoming"), "the older one must not come back as the newest")
}

// Ids that are made of several columns are in no cell, and what a row becomes
// follows from the mapping: neither brings an erased person back.
func TestAnErasedPersonOfAMappedSource(t *testing.T) {
	h := newHub(t)
	prefixed := strings.ReplaceAll(threeFiles, `"{StudentID}"`, `"S-{StudentID}"`)
	h.mapped("own", prefixed)
	h.completed(h.sync("own", threeFilesPackage()))
	require.Equal(t, "Zoé", h.user("S-007").GetGivenName())
	rows := h.why("users", "S-007").GetSources()[1].GetPackages()[0].GetRows()
	require.Equal(t, "students.csv", rows[0].GetFile())
	require.EqualValues(t, 2, rows[0].GetRow(), "the row that the id is made of")
	_, err := h.erase("S-007")
	require.NoError(t, err)
	require.Empty(t, h.holding("", "Zoé"), "kept packages are gone")

	h.completed(h.sync("own", threeFilesPackage()))
	require.Empty(t, h.user("S-007").GetGivenName())
	require.Empty(t, h.holding("layers", "Zoé"))
	h.setMapping("own", strings.Replace(prefixed, `"email": {"value": "{Email}"}`, `"email": {"value": "new-{Email}"}`, 1))
	h.completed(h.wait(h.startSync("own").GetSyncId()))
	require.Empty(t, h.user("S-007").GetGivenName(), "it is the mapping that has changed, not the person")
	require.Equal(t, "new-ann@made-up.example", h.user("S-8").GetEmail())
	changed := threeFilesPackage()
	changed["students.csv"] = strings.Replace(changed["students.csv"], "Müller", "Mueller", 1)
	h.completed(h.sync("own", changed))
	require.Equal(t, "Mueller", h.user("S-007").GetFamilyName(), "who delivers another row brings that")
}

// What is made of a mapped source's files, shared or applied in part, is known to
// be made by its mapping.
func TestAnErasedPersonOfWhatIsMadeOfAMappedSource(t *testing.T) {
	many := func(from int) map[string]string {
		files := threeFilesPackage()
		for i := from; i < 60; i++ {
			files["students.csv"] += fmt.Sprintf("m%d,Min,Number%d,K,north,m%d@made-up.example,,,,,f,,\n", i, i, i)
		}
		return files
	}
	other := strings.Replace(threeFiles, `"email": {"value": "{Email}"}`, `"email": {"value": "new-{Email}"}`, 1)
	for name, test := range map[string]struct {
		make func(h *hub)
		user string
	}{
		"shared": {user: "007", make: func(h *hub) {
			h.completed(h.sync("own", many(0)))
			h.through(h.share("own", &ingestv1.Sharing{Schools: []string{"north"}}))
		}},
		"applied in part": {user: "m0", make: func(h *hub) {
			h.completed(h.sync("own", many(0)))
			held := h.sync("own", many(40))
			require.NoError(h.t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), WithoutRemovals: true}))
			h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
		}},
		"made by two mappings": {user: "m0", make: func(h *hub) {
			h.completed(h.sync("own", many(0)))
			h.setMapping("own", other)
			held := h.sync("own", many(40))
			require.NoError(h.t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), WithoutRemovals: true}))
			h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			h.mapped("own", threeFiles)
			test.make(h)
			require.NotEmpty(t, h.user(test.user).GetGivenName())
			_, err := h.erase(test.user)
			require.NoError(t, err)
			require.Empty(t, h.user(test.user).GetGivenName())
			if name == "made by two mappings" {
				h.through(h.sync("own", many(0)))
				require.Empty(t, h.user(test.user).GetGivenName(), "it is the mapping that has changed, not the person")
				return
			}
			files := many(0)
			files["students.csv"] = strings.NewReplacer("Müller", "Mueller", "Number0", "Mueller").Replace(files["students.csv"])
			h.through(h.sync("own", files))
			require.Equal(t, "Mueller", h.user(test.user).GetFamilyName(), "who delivers another row brings that")
		})
	}
}
