package ingest_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/plan"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

// others is sound with other people and classes.
func others() map[string]string {
	files := sound()
	rename := strings.NewReplacer("u1,", "x1,", "u2,", "x2,", "cl,", "xcl,", "e1,", "xe1,", "e2,", "xe2,")
	for _, name := range []string{"users.csv", "classes.csv", "enrollments.csv"} {
		files[name] = rename.Replace(files[name])
	}
	return files
}

// twoSources are "sis" and "other", both synced.
func twoSources(t *testing.T) *hub {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	h.newSource("other", nil)
	h.completed(h.sync("other", others()))
	require.Len(t, h.roster.Active("d", users), 4)
	return h
}

// end calls DeleteSource as soon as no sync of the source has anything left to do.
func (h *hub) end(source, records string) *ingestv1.Sync {
	h.t.Helper()
	var out *ingestv1.DeleteSourceResponse
	var err error
	require.Eventually(h.t, func() bool {
		out, err = h.sources.DeleteSource(h.ctx, &ingestv1.DeleteSourceRequest{District: "d", Source: source, Records: records})
		return !errors.Is(err, errs.New(codes.FailedPrecondition, "SOURCE_BUSY", ""))
	}, testkit.Wait, 5*time.Millisecond)
	require.NoError(h.t, err)
	return out.GetSync()
}

func TestRemoveSourceWithItsRecords(t *testing.T) {
	h := twoSources(t)
	removal := h.end("other", "remove")
	require.True(t, removal.GetRemovesSource())
	held := h.wait(removal.GetSyncId())
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	require.Contains(t, types(held), plan.SourceRemoved)
	require.EqualValues(t, 2, held.GetCounts()["users"].GetRemoved(), "what sis has stays")
	require.Equal(t, removal.GetSyncId(), h.end("other", "remove").GetSyncId(), "once more is the same removal")
	require.Equal(t, removal.GetSyncId(), h.source("other").GetStopped().GetRemoval())

	stopped := errs.New(codes.FailedPrecondition, "SOURCE_STOPPED", "")
	_, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "other"})
	require.ErrorIs(t, err, stopped)
	_, err = h.sources.ResumeSource(h.ctx, &ingestv1.ResumeSourceRequest{District: "d", Source: "other"})
	require.ErrorIs(t, err, stopped)
	_, err = h.send("other", map[string][]byte{"roster.zip": testkit.Zip(t, others())})
	require.ErrorIs(t, err, stopped)
	require.ErrorIs(t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: removal.GetSyncId(), WithoutRemovals: true}), errs.New(codes.FailedPrecondition, "SYNC_REMOVES_SOURCE", ""))
	h.completed(h.wait(h.startSync("sis").GetSyncId())) // the others go on meanwhile
	require.Len(t, h.roster.Active("d", users), 4)

	h.approve(removal.GetSyncId())
	require.EqualValues(t, 3, h.completed(h.wait(removal.GetSyncId(), ingestv1.SyncState_COMPLETED)).GetRevision())
	require.Eventually(t, func() bool {
		_, err = h.sources.GetSource(h.ctx, &ingestv1.GetSourceRequest{District: "d", Source: "other"})
		return err != nil
	}, testkit.Wait, 5*time.Millisecond)
	require.ErrorIs(t, err, state.ErrSourceNotFound)
	require.Len(t, h.roster.Active("d", users), 2)
	require.Empty(t, h.stored("layers/d/other"))
	require.Empty(t, h.stored("uploads/d/other"))
	h.newSource("other", nil)
	require.EqualValues(t, 4, h.completed(h.sync("other", others())).GetRevision(), "a source of the same name begins anew")
	require.Nil(t, h.source("other").GetStopped())
}

func TestDiscardedRemovalKeepsTheSource(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		h := twoSources(t)
		if frozen {
			require.Nil(t, h.end("other", "freeze"))
		}
		removal := h.end("other", "remove")
		h.wait(removal.GetSyncId(), ingestv1.SyncState_ON_HOLD)
		_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: removal.GetSyncId()})
		require.NoError(t, err)
		require.Eventually(t, func() bool { return h.source("other").GetStopped().GetRemoval() == "" }, testkit.Wait, 5*time.Millisecond)
		require.Equal(t, frozen, h.source("other").GetStopped().GetFrozen())
		require.Len(t, h.roster.Active("d", users), 4)
		if !frozen {
			h.completed(h.wait(h.startSync("other").GetSyncId()))
		}
		h.stop()
	}
}

// A runner may die anywhere between the removal and the end of the source.
func TestRunnerDiesInRemoval(t *testing.T) {
	for _, at := range []string{"Import", "Import done", "CommitPlan", "CommitPlan done"} {
		t.Run("at "+at, func(t *testing.T) {
			h := twoSources(t)
			reached := make(chan struct{})
			var once sync.Once
			h.roster.FailWith(func(method string) error {
				if method != at {
					return nil
				}
				err := error(nil)
				once.Do(func() {
					close(reached)
					err = errs.New(codes.Unavailable, "", "the process is gone")
				})
				return err
			})
			removal := h.end("other", "remove")
			if strings.HasPrefix(at, "Commit") {
				h.wait(removal.GetSyncId(), ingestv1.SyncState_ON_HOLD)
				h.approve(removal.GetSyncId())
			}
			<-reached
			h.stop()
			h.start()
			if !strings.HasPrefix(at, "Commit") {
				h.wait(removal.GetSyncId(), ingestv1.SyncState_ON_HOLD)
				h.approve(removal.GetSyncId())
			}
			h.completed(h.wait(removal.GetSyncId(), ingestv1.SyncState_COMPLETED))
			require.Eventually(t, func() bool {
				_, err := h.sources.GetSource(h.ctx, &ingestv1.GetSourceRequest{District: "d", Source: "other"})
				return err != nil
			}, testkit.Wait, 5*time.Millisecond)
			require.Len(t, h.roster.Active("d", users), 2)
			require.Empty(t, h.stored("layers/d/other"))
		})
	}
}

// A removal that was begun by a process that died before the source said so, and
// one whose end was broken off, are gone on with.
func TestRemovalIsGoneOnWith(t *testing.T) {
	h := twoSources(t)
	removal := h.end("other", "remove")
	h.wait(removal.GetSyncId(), ingestv1.SyncState_ON_HOLD)
	h.stop()
	store := state.New(h.docs)
	_, err := store.Sources.Modify(h.ctx, "d/other", func(d *ingestv1.SourceDocument) error { d.Source.Stopped = nil; return nil })
	require.NoError(t, err)
	_, err = store.Syncs.Modify(h.ctx, state.Key("d", removal.GetSyncId()), func(d *ingestv1.SyncDocument) error {
		d.Sync.State = ingestv1.SyncState_QUEUED
		return nil
	})
	require.NoError(t, err)
	h.start()
	h.wait(removal.GetSyncId(), ingestv1.SyncState_ON_HOLD)
	require.Equal(t, removal.GetSyncId(), h.source("other").GetStopped().GetRemoval())
}

// Whenever a process dies while an empty source goes, the others go on.
func TestAnEmptySourceIsNeverHalfThere(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	enter, sync := h.byHand()
	enter(`{"record":{"user":{"sourcedId":"x1","givenName":"Gail","familyName":"Guard","roles":[{"role":"parent","org":{"sourcedId":"s"}}]}}}`)
	h.completed(sync())
	_, err := h.entries.DeleteManualEntry(h.ctx, &ingestv1.DeleteManualEntryRequest{District: "d", Source: "hand", Entity: "users", SourcedId: "x1"})
	require.NoError(t, err)
	h.completed(sync())
	require.NotEmpty(t, h.stored("layers/d/hand"))
	docs := h.interruptable()
	problems := []string{"the layer stays"}
	docs.on("delete", "layers", func() { problems = h.doctor() })
	require.Nil(t, h.end("hand", ""))
	require.Empty(t, problems, "the files are there as long as the layer names them")
	require.Empty(t, h.stored("layers/d/hand"))
}

// What a dry run would have brought goes when nobody can look at it any more.
func TestThePlanOfADryRunGoesWithItsSource(t *testing.T) {
	for name, end := range map[string]func(h *hub){
		"deleted": func(h *hub) { require.Nil(h.t, h.end("other", "")) },
		"frozen":  func(h *hub) { require.Nil(h.t, h.end("other", "freeze")) },
		"forgotten": func(h *hub) {
			_, err := state.New(h.docs).Sources.Modify(h.ctx, "d/other", func(d *ingestv1.SourceDocument) error {
				d.DryRun, d.Source.LastSync = "", ""
				return nil
			})
			require.NoError(h.t, err)
			h.ahead(500 * 24 * time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			h.newSource("other", nil)
			h.upload("other", others())
			trial, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "other", DryRun: true})
			require.NoError(t, err)
			h.completed(h.wait(trial.GetSyncId()))
			require.Eventually(t, func() bool {
				_, err := state.New(h.docs).Open.Get(h.ctx, state.Key("d", trial.GetSyncId()))
				return errors.Is(err, docstore.ErrNotFound)
			}, testkit.Wait, 5*time.Millisecond, "nothing is left to do for it")
			require.Equal(t, 1, h.roster.Plans("d"))
			end(h)
			require.Eventually(t, func() bool { return h.roster.Plans("d") == 0 }, testkit.Wait, 5*time.Millisecond)
		})
	}
}

func TestFreezeSource(t *testing.T) {
	h := twoSources(t)
	_, err := h.sources.DeleteSource(h.ctx, &ingestv1.DeleteSourceRequest{District: "d", Source: "other", Records: "keep"})
	require.ErrorContains(t, err, "records: must be freeze")
	require.Nil(t, h.end("other", "freeze"))
	require.Nil(t, h.end("other", "freeze"), "once more")
	require.True(t, h.source("other").GetStopped().GetFrozen())
	_, err = h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "other"})
	require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "SOURCE_STOPPED", ""))

	files := sound()
	files["users.csv"] = strings.Replace(files["users.csv"], "Zoé", "Zoe", 1)
	h.completed(h.sync("sis", files))
	require.Len(t, h.roster.Active("d", users), 4, "its records stay in the roster")

	resumed, err := h.sources.ResumeSource(h.ctx, &ingestv1.ResumeSourceRequest{District: "d", Source: "other"})
	require.NoError(t, err)
	require.Nil(t, resumed.GetStopped())
	h.completed(h.wait(h.startSync("other").GetSyncId()))
}

// Nothing comes in through a frozen source, and its secrets are gone.
func TestFreezeForgetsSecretsAndClosesTheAccount(t *testing.T) {
	h := newHub(t)
	c := h.newDrop("d", "nightly", nil)
	h.drop(c, local(t, map[string]string{"users.csv": "text"})...)
	h.end("nightly", "freeze")
	require.Empty(t, h.stored("drops"))
	_, err := c.Run(t.Context(), t, "ls")
	require.Error(t, err)
	require.False(t, h.source("nightly").GetDrop().GetPasswordSet())
	_, err = h.sources.ResetDropPassword(h.ctx, &ingestv1.ResetDropPasswordRequest{District: "d", Source: "nightly"})
	require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "SOURCE_STOPPED", ""))

	_, err = h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "files", Source: &ingestv1.Source{
		Connector: "sftp-pull", Settings: structOf(t, map[string]string{"host": "127.0.0.1", "user": "u"}), Secrets: map[string]string{"password": "secret"},
		Schedule: &ingestv1.Schedule{Times: []string{"02:30"}},
	}})
	require.NoError(t, err)
	require.NotNil(t, h.source("files").GetNextRunTime())
	h.end("files", "freeze")
	files := h.source("files")
	require.Empty(t, files.GetSecretsSet())
	require.Nil(t, files.GetNextRunTime())
	h.ahead(100 * 24 * time.Hour)
	require.Nil(t, h.source("files").GetStaleSince())
	require.Empty(t, h.source("files").GetLastSync(), "its schedule stands still")
}
