package ingest_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
)

// twoSchools is a package of two schools: so many students at each, in grades 05
// and 06 by turns, each with a parent, in a class of the school.
func twoSchools(students int) map[string]string {
	files := with(map[string]string{"manifest.csv": ""})
	files["orgs.csv"] += "s2,,,Other School,school,,d\n"
	files["classes.csv"] += "cl2,,,Art B,05,co,B,homeroom,,s2,y,,,\n"
	for i := range 2 * students {
		school, class := []string{"s", "s2"}[i%2], []string{"cl", "cl2"}[i%2]
		files["users.csv"] += fmt.Sprintf("st%d,,,true,%s,student,st%d,,Student,Number%d,,,st%d@made-up.example,,,pa%d,%s,\n", i, school, i, i, i, i, []string{"05", "06"}[i/2%2])
		files["users.csv"] += fmt.Sprintf("pa%d,,,true,d,parent,pa%d,,Parent,Number%d,,,,,,,,\n", i, i, i)
		files["enrollments.csv"] += fmt.Sprintf("en%d,,,%s,%s,st%d,student,,2026-08-15,2027-06-15\n", i, class, school, i)
	}
	return files
}

// share changes the sharing settings of a source and waits for the sync that
// they begin.
func (h *hub) share(source string, s *ingestv1.Sharing) *ingestv1.Sync {
	h.t.Helper()
	before, err := h.sources.GetSource(h.ctx, &ingestv1.GetSourceRequest{District: "d", Source: source})
	require.NoError(h.t, err)
	after, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{
		District: "d", Source: source, Settings: &ingestv1.Source{Sharing: s}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"sharing"}},
	})
	require.NoError(h.t, err)
	require.NotEqual(h.t, before.GetLastSync(), after.GetLastSync())
	return h.wait(after.GetLastSync())
}

// through approves a sync if it is on hold.
func (h *hub) through(s *ingestv1.Sync) *ingestv1.Sync {
	h.t.Helper()
	if s.GetState() == ingestv1.SyncState_ON_HOLD {
		_, err := h.syncs.ApproveSync(h.ctx, &ingestv1.ApproveSyncRequest{District: "d", Sync: s.GetSyncId()})
		require.NoError(h.t, err)
		s = h.wait(s.GetSyncId(), ingestv1.SyncState_COMPLETED)
	}
	return h.completed(s)
}

func (h *hub) previewSharing(source string, s *ingestv1.Sharing) *ingestv1.PreviewSharingResponse {
	h.t.Helper()
	out, err := h.sharing.PreviewSharing(h.ctx, &ingestv1.PreviewSharingRequest{District: "d", Source: source, Sharing: s})
	require.NoError(h.t, err)
	return out
}

// active lists the ids of an entity in the roster, as far as they begin so.
func (h *hub) active(name, prefix string) []string {
	h.t.Helper()
	e, err := record.ParseEntity(name)
	require.NoError(h.t, err)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(h.roster.Active("d", e))), func(id string) bool { return !strings.HasPrefix(id, prefix) })
}

func TestSharingSettings(t *testing.T) {
	h := newHub(t)
	_, err := h.sharing.PreviewSharing(h.ctx, &ingestv1.PreviewSharingRequest{District: "d", Source: "sis"})
	require.ErrorContains(t, err, "sync it first")

	first := h.completed(h.sync("sis", twoSchools(10)))
	require.Empty(t, first.GetShared())
	require.Len(t, h.active("users", ""), 42)
	require.Empty(t, h.stored("layers/d/sis/"+first.GetSyncId()+"/shared"), "nothing is filtered at no cost")

	one := &ingestv1.Sharing{Schools: []string{"s2"}, Grades: []string{"5"}}
	preview := h.previewSharing("sis", one)
	require.Equal(t, first.GetSyncId(), preview.GetSync())
	users := preview.GetCounts()["users"]
	require.EqualValues(t, 10, users.GetKept(), "five students, each with a parent")
	require.Equal(t, map[string]int32{"schools": 22, "grades": 10}, users.GetRules())
	require.Equal(t, []string{"Made-up School s", "Other School s2"}, []string{
		preview.GetChoices().GetSchools()[0].GetName() + " " + preview.GetChoices().GetSchools()[0].GetSchoolId(),
		preview.GetChoices().GetSchools()[1].GetName() + " " + preview.GetChoices().GetSchools()[1].GetSchoolId(),
	})
	require.Equal(t, map[string]int32{"05": 11, "06": 10}, preview.GetChoices().GetGrades())
	require.Len(t, h.active("users", ""), 42, "a preview changes nothing")

	held := h.share("sis", one)
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState(), "it removes much")
	require.True(t, held.GetRemerge())
	require.Equal(t, "sharing settings were changed", held.GetReason())
	require.Equal(t, first.GetUploadId(), held.GetUploadId())
	require.Empty(t, cmp.Diff(preview.GetCounts(), held.GetShared(), protocmp.Transform()), "what was shown is what is done")
	require.Len(t, h.active("users", ""), 42)
	_, err = h.syncs.ApproveSync(h.ctx, &ingestv1.ApproveSyncRequest{District: "d", Sync: held.GetSyncId()})
	require.NoError(t, err)
	h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
	require.Equal(t, []string{"d", "s2"}, h.active("orgs", ""))
	require.Equal(t, []string{"st1", "st13", "st17", "st5", "st9"}, h.active("users", "st"))
	require.Len(t, h.active("users", "pa"), 5)
	require.Len(t, h.active("enrollments", ""), 5)
	require.Equal(t, []string{"co"}, h.active("courses", ""), "a class refers to it")

	// A sync of the same package changes nothing, and what is new is shared alike.
	again := h.completed(h.wait(h.startSync("sis").GetSyncId()))
	require.Zero(t, again.GetRevision())
	require.Empty(t, cmp.Diff(held.GetShared(), again.GetShared(), protocmp.Transform()))
	differences := h.roster.Differences
	more := h.completed(h.sync("sis", twoSchools(11)))
	require.EqualValues(t, 2, more.GetCounts()["users"].GetCreated())
	require.Greater(t, h.roster.Differences, differences, "only what differs is sent")
	require.Len(t, h.active("users", "st"), 6)

	// Without settings all is there again.
	all := h.through(h.share("sis", nil))
	require.Empty(t, all.GetShared())
	require.Len(t, h.active("users", ""), 46)
	require.Empty(t, h.findings(all.GetSyncId()))
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(h.stored("layers/d/sis/"), func(name string) bool { return strings.Contains(name, "/shared/") })
	}, testkit.Wait, 5*time.Millisecond, "what is not needed any more goes")
	s, err := h.sources.GetSource(h.ctx, &ingestv1.GetSourceRequest{District: "d", Source: "sis"})
	require.NoError(t, err)
	require.Nil(t, s.GetSharing())
	require.Equal(t, more.GetEndTime().AsTime(), s.GetLastInputTime().AsTime(), "nothing was delivered since")
}

func TestSharingSettingsThatCannotBe(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	wrong := &ingestv1.Sharing{ContactTypes: []string{"parent", "aunt"}}
	for name, call := range map[string]func() error{
		"source.sharing.contactTypes[1]": func() error {
			_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "x", Source: &ingestv1.Source{Connector: "oneroster-csv", Sharing: wrong}})
			return err
		},
		"sharing.contactTypes[1]": func() error {
			_, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "sis", Settings: &ingestv1.Source{Sharing: wrong}})
			return err
		},
		"sharing.contactTypes[1]:": func() error {
			_, err := h.sharing.PreviewSharing(h.ctx, &ingestv1.PreviewSharingRequest{District: "d", Source: "sis", Sharing: wrong})
			return err
		},
	} {
		err := call()
		var e *errs.Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, codes.InvalidArgument, e.Code)
		require.Equal(t, strings.TrimSuffix(name, ":"), e.Detail("field"))
		require.ErrorContains(t, err, "use parent, guardian or emergency")
	}
	_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "x", Source: &ingestv1.Source{Connector: "manual", Sharing: &ingestv1.Sharing{Grades: []string{"05"}}}})
	require.ErrorContains(t, err, "source.sharing: what is entered by hand")
	// Nobody else's sources can be tried on.
	other := testkit.As(t, t.Context(), authn.Principal{Subject: "x", Scopes: []string{"sources.write"}, Districts: []string{"other"}})
	_, err = h.sharing.PreviewSharing(other, &ingestv1.PreviewSharingRequest{District: "d", Source: "sis"})
	require.ErrorIs(t, err, authn.ErrDistrictNotFound)
	_, err = h.sharing.PreviewSharing(h.ctx, &ingestv1.PreviewSharingRequest{District: "d", Source: "none"})
	require.ErrorIs(t, err, state.ErrSourceNotFound)
}

// What is shared of one source hides nothing of another, and the records of
// neither are more than what its settings leave, whatever is changed in which
// order; differences make what complete candidates make.
func TestSharingOfTwoSources(t *testing.T) {
	one, other := newHub(t), newHub(t)
	other.roster.Complete = true
	both := []*hub{one, other}
	r := rand.New(rand.NewPCG(9, 10))
	settings := []*ingestv1.Sharing{
		nil,
		{Schools: []string{"s"}},
		{Schools: []string{"s2"}},
		{Grades: []string{"06"}},
		{ClassTypes: []string{"homeroom"}},
		{MergeSchools: []*ingestv1.SchoolMerge{{From: "s2", Into: "s"}}},
		{ContactTypes: []string{"guardian"}, PrimarySchoolOnly: true},
	}
	for _, h := range both {
		h.newSource("second", nil)
		h.completed(h.sync("sis", twoSchools(5)))
	}
	delivered := false // by the second
	last := map[string]int{}
	for step := range 25 {
		source, students, next := []string{"sis", "second"}[r.IntN(2)], 3+r.IntN(4), r.IntN(len(settings))
		change := r.IntN(2) == 0 && next != last[source] && (source == "sis" || delivered)
		var syncs []*ingestv1.Sync
		for _, h := range both {
			if change {
				syncs = append(syncs, h.through(h.share(source, settings[next])))
			} else {
				syncs = append(syncs, h.through(h.sync(source, twoSchools(students))))
			}
		}
		if change {
			last[source] = next
		}
		delivered = delivered || source == "second"
		if diff := cmp.Diff(syncs[1], syncs[0], protocmp.Transform(),
			protocmp.IgnoreFields(&ingestv1.Sync{}, "name", "sync_id", "upload_id", "create_time", "end_time", "steps", "waiting_for", "rows_read", "rows_expected"),
		); diff != "" {
			t.Fatalf("sync %d of %s (-complete +difference):\n%s", step, source, diff)
		}
		for _, e := range record.Entities() {
			if diff := cmp.Diff(other.roster.Active("d", e), one.roster.Active("d", e), protocmp.Transform()); diff != "" {
				t.Fatalf("records after sync %d of %s (-complete +difference):\n%s", step, source, diff)
			}
		}
	}
	one.healthy()
	require.Greater(t, one.roster.Differences, 15)
}

// A process may die before and while a source is shared anew.
func TestSharingAnewOutlivesTheProcess(t *testing.T) {
	for name, method := range map[string]string{"while it plans": "Import", "while it commits": "CommitPlan", "right behind": "CommitPlan done"} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			h.completed(h.sync("sis", twoSchools(30)))
			reached := make(chan struct{})
			var once sync.Once
			h.roster.FailWith(func(m string) (err error) {
				if m != method {
					return nil
				}
				once.Do(func() {
					close(reached)
					err = errs.New(codes.Unavailable, "", "the process is gone")
				})
				return err
			})
			s, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "sis", Settings: &ingestv1.Source{Sharing: &ingestv1.Sharing{ContactTypes: []string{"guardian"}}}})
			require.NoError(t, err)
			if name != "while it plans" {
				held := h.wait(s.GetLastSync())
				require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
				_, err := h.syncs.ApproveSync(h.ctx, &ingestv1.ApproveSyncRequest{District: "d", Sync: held.GetSyncId()})
				require.NoError(t, err)
			}
			<-reached
			h.stop()
			h.start()
			if name == "while it plans" {
				require.Equal(t, ingestv1.SyncState_ON_HOLD, h.wait(s.GetLastSync()).GetState())
				_, err := h.syncs.ApproveSync(h.ctx, &ingestv1.ApproveSyncRequest{District: "d", Sync: s.GetLastSync()})
				require.NoError(t, err)
			}
			done := h.completed(h.wait(s.GetLastSync(), ingestv1.SyncState_COMPLETED))
			require.EqualValues(t, 2, done.GetRevision())
			require.Empty(t, h.active("users", "pa"))
			h.healthy()
		})
	}
	t.Run("before it began", func(t *testing.T) {
		h := newHub(t)
		h.completed(h.sync("sis", twoSchools(5)))
		h.stop()
		store, id := state.New(h.docs), state.NewID()
		_, err := store.Sources.Modify(t.Context(), state.Key("d", "sis"), func(d *ingestv1.SourceDocument) error {
			d.Source.Sharing, d.SharingSync = &ingestv1.Sharing{Schools: []string{"d", "s", "s2"}}, id
			return nil
		})
		require.NoError(t, err)
		h.start()
		require.Eventually(t, func() bool {
			_, err := h.syncs.GetSync(h.ctx, &ingestv1.GetSyncRequest{District: "d", Sync: id})
			return err == nil
		}, testkit.Wait, 5*time.Millisecond)
		require.True(t, h.completed(h.wait(id)).GetRemerge())
	})
}

// A sync on hold is decided about before what it brings is shared anew, and a
// source that is paused is shared anew when it is resumed.
func TestSharingAnewWaits(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", twoSchools(10)))
	held := h.sync("sis", sound())
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	update := func(s *ingestv1.Sharing) *ingestv1.Source {
		out, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "sis", Settings: &ingestv1.Source{Sharing: s}})
		require.NoError(t, err)
		return out
	}
	next := update(&ingestv1.Sharing{Grades: []string{"05"}, Schools: []string{"s"}}).GetLastSync()
	require.Eventually(t, func() bool { return strings.Contains(h.get(next).GetWaitingFor(), held.GetSyncId()) }, testkit.Wait, 5*time.Millisecond)
	require.Equal(t, ingestv1.SyncState_ON_HOLD, h.get(held.GetSyncId()).GetState())
	_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: held.GetSyncId()})
	require.NoError(t, err)
	require.Equal(t, ingestv1.SyncState_ON_HOLD, h.wait(next).GetState())
	require.EqualValues(t, 10, h.get(next).GetShared()["users"].GetRules()["grades"])
	_, err = h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: next})
	require.NoError(t, err)
	h.wait(next, ingestv1.SyncState_DISCARDED)

	_, err = h.sources.PauseSource(h.ctx, &ingestv1.PauseSourceRequest{District: "d", Source: "sis"})
	require.NoError(t, err)
	require.Equal(t, next, update(&ingestv1.Sharing{Grades: []string{"05", "06"}}).GetLastSync(), "none has begun")
	_, err = h.sources.ResumeSource(h.ctx, &ingestv1.ResumeSourceRequest{District: "d", Source: "sis"})
	require.NoError(t, err)
	var last string
	require.Eventually(t, func() bool {
		s, err := h.sources.GetSource(h.ctx, &ingestv1.GetSourceRequest{District: "d", Source: "sis"})
		require.NoError(t, err)
		last = s.GetLastSync()
		return last != next
	}, testkit.Wait, 5*time.Millisecond)
	h.completed(h.wait(last))
	require.Len(t, h.active("users", ""), 42)
}

func TestDamagedSharedFilesAreMadeAnew(t *testing.T) {
	for name, heal := range map[string]func(*hub) *ingestv1.Sync{
		"by the same package": func(h *hub) *ingestv1.Sync { return h.wait(h.startSync("sis").GetSyncId()) },
		"by other settings": func(h *hub) *ingestv1.Sync {
			return h.share("sis", &ingestv1.Sharing{Schools: []string{"s"}, PrimarySchoolOnly: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			h.completed(h.sync("sis", twoSchools(20)))
			shared := h.through(h.share("sis", &ingestv1.Sharing{Schools: []string{"s"}}))
			h.healthy()
			path := filepath.Join(h.files, "layers/d/sis", shared.GetSyncId(), "shared/users")
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			text[len(text)/2] ^= 0x10
			require.NoError(t, os.WriteFile(path, text, 0o600))
			h.completed(heal(h))
			require.Len(t, h.active("users", ""), 42)
			h.healthy()
		})
	}
}

func TestAnErasedPersonIsNotShared(t *testing.T) {
	h := newHub(t)
	files := twoSchools(5)
	h.completed(h.sync("sis", files))
	h.through(h.share("sis", &ingestv1.Sharing{ContactTypes: []string{"parent"}, Schools: []string{"s"}}))
	require.Len(t, h.holding("layers/", "st0@made-up"), 2, "in all that the source has and in what is shared")
	_, err := h.erase("st0")
	require.NoError(t, err)
	require.Empty(t, h.holding("layers/", "st0@made-up"))
	h.completed(h.sync("sis", files))
	require.Empty(t, h.holding("layers/", "st0@made-up"), "the source delivers the same row")
	require.Empty(t, h.user("st0").GetEmail())
	require.NotNil(t, h.user("st0"))
	h.healthy()
}

// healthy waits until a check of the hub finds nothing, since a sync may still
// tidy up.
func (h *hub) healthy() {
	h.t.Helper()
	h.clock.Add(int64(2 * time.Minute)) // files that are new do not count
	defer h.clock.Add(-int64(2 * time.Minute))
	var found []string
	require.Eventually(h.t, func() bool {
		found = h.doctor()
		return len(found) == 0
	}, testkit.Wait, 20*time.Millisecond, "%v", &found)
}
