package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

const (
	users       = typev1.Entity_ENTITY_USERS
	enrollments = typev1.Entity_ENTITY_ENROLLMENTS
	classes     = typev1.Entity_ENTITY_CLASSES
)

// large is a sound package with so many students that holds apply.
func large(students int) map[string]string {
	files := sound()
	var u, e strings.Builder
	for i := range students {
		fmt.Fprintf(&u, "st-%04d,,,true,s,student,st%d,,Student,Number%d,,,st%d@made-up.example,,,,05,\n", i, i, i, i)
		fmt.Fprintf(&e, "en-%04d,,,cl,s,st-%04d,student,,2026-08-15,2027-06-15\n", i, i)
	}
	files["users.csv"] += u.String()
	files["enrollments.csv"] += e.String()
	return files
}

func delta(files map[string]string) map[string]string {
	m := "propertyName,value\noneroster.version,1.1\n"
	for name := range files {
		m += "file." + strings.TrimSuffix(name, ".csv") + ",delta\n"
	}
	files["manifest.csv"] = m
	return files
}

func (h *hub) completed(s *ingestv1.Sync) *ingestv1.Sync {
	h.t.Helper()
	require.Equal(h.t, ingestv1.SyncState_COMPLETED, s.GetState(), "%s%v", s.GetError(), s.GetHoldReasons())
	return s
}

func TestDeltaChangesOnlyWhatItNames(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	header, _, _ := strings.Cut(sound()["users.csv"], "\n")
	s := h.completed(h.sync("sis", delta(map[string]string{
		"users.csv": header + "\nu1,active,2026-10-01T08:00:00.000Z,true,s,student,zoe,,Zoe,Miller,,100,zoe@made-up.example,,,,06,\n" +
			"u3,active,2026-10-01T08:00:00.000Z,true,s,student,new,,New,Student,,300,new@made-up.example,,,,05,\n",
		"enrollments.csv": "sourcedId,status\ne1,tobedeleted\n",
	})))
	require.EqualValues(t, 2, s.GetRevision())
	require.EqualValues(t, 1, s.GetCounts()["users"].GetCreated())
	require.EqualValues(t, 1, s.GetCounts()["users"].GetUpdated())
	require.EqualValues(t, 1, s.GetCounts()["enrollments"].GetRemoved())
	require.EqualValues(t, 0, s.GetCounts()["classes"].GetRemoved(), "files that are not there say nothing")
	require.Len(t, h.roster.Active("d", users), 3)
	require.Equal(t, "Miller", h.roster.Active("d", users)["u1"].GetUser().GetFamilyName())
	require.Len(t, h.roster.Active("d", enrollments), 1)

	s = h.completed(h.sync("sis", delta(map[string]string{"enrollments.csv": "sourcedId,status\ne2,active\n"})))
	require.Zero(t, s.GetRevision())
	require.Contains(t, h.findings(s.GetSyncId()), "row row-incomplete enrollments.csv:2:")
	require.Zero(t, h.completed(h.sync("sis", map[string]string{"manifest.csv": "propertyName,value\nfile.users,absent\n"})).GetRevision(), "a manifest alone means that nothing has changed")
}

func TestDeltaBeforeAnythingElse(t *testing.T) {
	h := newHub(t)
	files := sound()
	delete(files, "manifest.csv")
	require.Equal(t, ingestv1.SyncState_FAILED, h.sync("sis", delta(map[string]string{"users.csv": files["users.csv"]})).GetState(),
		"there is nothing that a part could be a change of")
	require.Equal(t, ingestv1.SyncState_FAILED, h.sync("sis", map[string]string{"manifest.csv": "propertyName,value\n"}).GetState())
	h.completed(h.sync("sis", delta(files)))
	require.Len(t, h.roster.Active("d", users), 2)
}

func TestSettingDecidesAboutMode(t *testing.T) {
	h := newHub(t)
	h.newSource("drop", map[string]string{"mode": "delta"})
	h.completed(h.sync("drop", sound()))
	files := sound()
	files["users.csv"] = strings.Join(strings.Split(files["users.csv"], "\n")[:2], "\n") // u1 alone
	s := h.completed(h.sync("drop", files))
	require.Zero(t, s.GetRevision())
	require.Contains(t, h.findings(s.GetSyncId()), "notice mode-overridden users.csv:0:")
	require.Len(t, h.roster.Active("d", users), 2)
}

func TestExplicitDeleteInACompleteCopy(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	files := sound()
	files["enrollments.csv"] = strings.Replace(files["enrollments.csv"], "e1,,,cl,s,u1,student,,2026-08-15,2027-06-15", "e1,tobedeleted,,,,,,,,", 1)
	s := h.completed(h.sync("sis", files))
	require.EqualValues(t, 1, s.GetCounts()["enrollments"].GetRemoved())
	require.Len(t, h.roster.Active("d", enrollments), 1)
}

func TestRolesOfVersion12(t *testing.T) {
	h := newHub(t)
	files := with(map[string]string{
		"manifest.csv": "",
		"users.csv": "sourcedId,enabledUser,username,givenName,familyName,email,password\n" +
			"u1,true,zoe,Zoé,Müller,zoe@made-up.example,secret-word\nu2,true,tom,Tom,Tree,tom@made-up.example,secret-word\n",
		"roles.csv": "sourcedId,userSourcedId,roleType,role,beginDate,endDate,orgSourcedId,userProfileSourcedId\n" +
			"r3,u2,secondary,aide,,,s2,\nr1,u1,primary,student,2026-08-15,,s,\nr2,u2,primary,teacher,,,s,p1\nr4,nobody,primary,teacher,,,s,\n",
		"userProfiles.csv": "sourcedId,userSourcedId,profileType,vendorId,applicationId,description,credentialType,username,password\n" +
			"p1,u2,learning,vendor,app,,oauth,tom1,secret-word\n",
	})
	s := h.completed(h.sync("sis", files))
	require.Contains(t, h.findings(s.GetSyncId()), "row user-unknown roles.csv:5:userSourcedId")
	u := h.roster.Active("d", users)["u2"].GetUser()
	require.Len(t, u.GetRoles(), 2)
	require.Equal(t, "teacher", u.GetRoles()[0].GetRole(), "primary roles come first")
	require.Equal(t, "p1", u.GetRoles()[0].GetUserProfile().GetSourcedId())
	require.Equal(t, "tom1", u.GetUserProfiles()[0].GetUsername())
	require.Nil(t, u.GetPrimaryOrg(), "there is more than one")
	require.Equal(t, "s", h.roster.Active("d", users)["u1"].GetUser().GetPrimaryOrg().GetSourcedId())
	require.NotContains(t, fmt.Sprint(h.roster.Active("d", users)), "secret-word")

	t.Run("the order of the rows does not matter", func(t *testing.T) {
		rows := strings.Split(strings.TrimSpace(files["roles.csv"]), "\n")
		rows[1], rows[2], rows[3] = rows[3], rows[1], rows[2]
		files["roles.csv"] = strings.Join(rows, "\n")
		require.Zero(t, h.completed(h.sync("sis", files)).GetRevision())
	})
	t.Run("changes of roles alone", func(t *testing.T) {
		head, _, _ := strings.Cut(files["roles.csv"], "\n")
		head = strings.Replace(head, "sourcedId", "sourcedId,status", 1)
		s := h.completed(h.sync("sis", delta(map[string]string{"roles.csv": head + "\nr3,tobedeleted,u2,secondary,aide,,,s2,\nr5,active,u1,secondary,student,,,s3,\n"})))
		require.EqualValues(t, 2, s.GetCounts()["users"].GetUpdated())
		require.Len(t, h.roster.Active("d", users)["u2"].GetUser().GetRoles(), 1)
		require.Len(t, h.roster.Active("d", users)["u1"].GetUser().GetRoles(), 2)
	})
	t.Run("users without the file of their roles keep them", func(t *testing.T) {
		delete(files, "roles.csv")
		files["users.csv"] = strings.Replace(files["users.csv"], "Tree", "Bush", 1)
		s := h.completed(h.sync("sis", files))
		require.EqualValues(t, 1, s.GetCounts()["users"].GetUpdated())
		require.Equal(t, "teacher", h.roster.Active("d", users)["u2"].GetUser().GetRoles()[0].GetRole())
	})
}

func TestAnAbsentFileRemovesNothing(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	s := h.completed(h.sync("sis", with(map[string]string{"manifest.csv": "", "courses.csv": "", "orgs.csv": ""})))
	require.Zero(t, s.GetRevision())
	require.EqualValues(t, 0, s.GetCounts()["orgs"].GetRemoved())
	require.EqualValues(t, 2, s.GetCounts()["orgs"].GetUnchanged())
}

func TestSourcesAreMerged(t *testing.T) {
	h := newHub(t)
	h.newSource("second", nil)
	h.completed(h.sync("sis", sound()))
	other := with(map[string]string{"manifest.csv": ""})
	other["users.csv"] = strings.NewReplacer("Zoé", "Other", "u2,", "x2,").Replace(other["users.csv"])
	s := h.completed(h.sync("second", other))
	require.EqualValues(t, 1, s.GetCounts()["users"].GetCreated())
	active := h.roster.Active("d", users)
	require.Len(t, active, 3)
	require.Equal(t, "Zoé", active["u1"].GetUser().GetGivenName(), "the first source wins")
	s = h.completed(h.sync("sis", with(map[string]string{"users.csv": strings.Replace(sound()["users.csv"], "u2,", "u9,", 1)})))
	require.EqualValues(t, 1, s.GetCounts()["users"].GetRemoved(), "only what was its own")
	require.Contains(t, h.roster.Active("d", users), "x2")
}

func TestDryRun(t *testing.T) {
	h := newHub(t)
	h.upload("sis", sound())
	started, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "sis", DryRun: true})
	require.NoError(t, err)
	s := h.completed(h.wait(started.GetSyncId()))
	require.True(t, s.GetDryRun())
	require.Zero(t, s.GetRevision())
	require.EqualValues(t, 2, s.GetCounts()["users"].GetCreated())
	require.Empty(t, h.roster.Active("d", users))
	changes, err := h.syncs.ListSyncChanges(h.ctx, &ingestv1.ListSyncChangesRequest{District: "d", Sync: s.GetSyncId(), Entity: "users"})
	require.NoError(t, err)
	require.Len(t, changes.GetChanges(), 2, "what it would do can be looked at")
	require.EqualValues(t, 1, h.completed(h.wait(h.startSync("sis").GetSyncId())).GetRevision())
}

func TestHolds(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", large(300)))
	before := h.roster.Revision("d")
	held := h.sync("sis", large(200))
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	require.Len(t, held.GetHoldReasons(), 2)
	reason := held.GetHoldReasons()[0]
	require.Equal(t, "many-removals", reason.GetType())
	require.Equal(t, "users", reason.GetEntity())
	require.EqualValues(t, 100, reason.GetCount())
	require.EqualValues(t, 302, reason.GetPopulation())
	require.Equal(t, before, h.roster.Revision("d"))
	changes, err := h.syncs.ListSyncChanges(h.ctx, &ingestv1.ListSyncChangesRequest{District: "d", Sync: held.GetSyncId(), Kind: "removed"})
	require.NoError(t, err)
	require.EqualValues(t, 200, changes.GetTotalSize())
	export, err := h.syncs.ExportSyncChanges(h.ctx, &ingestv1.ListSyncChangesRequest{District: "d", Sync: held.GetSyncId(), Kind: "removed"})
	require.NoError(t, err)
	var text strings.Builder
	for {
		part, err := export.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		text.Write(part.GetData())
	}
	require.Equal(t, 1+200, strings.Count(text.String(), "\n"))
	require.Contains(t, text.String(), "users,st-0200,removed,,,\n")

	t.Run("a newer sync supersedes it", func(t *testing.T) {
		next := h.sync("sis", large(201))
		require.Equal(t, ingestv1.SyncState_ON_HOLD, next.GetState())
		require.Equal(t, ingestv1.SyncState_SUPERSEDED, h.get(held.GetSyncId()).GetState())
		_, err := h.syncs.ApproveSync(h.ctx, &ingestv1.ApproveSyncRequest{District: "d", Sync: held.GetSyncId()})
		require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "SYNC_STATE", ""))
		require.Eventually(t, func() bool { return h.roster.Plans("d") == 1 }, testkit.Wait, 5*time.Millisecond, "its plan is dropped")
		held = next
	})
	t.Run("discarded, it changes nothing", func(t *testing.T) {
		s, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: held.GetSyncId()})
		require.NoError(t, err)
		require.Equal(t, ingestv1.SyncState_DISCARDED, s.GetState())
		require.Eventually(t, func() bool { return h.roster.Plans("d") == 0 }, testkit.Wait, 5*time.Millisecond)
		require.Zero(t, h.completed(h.sync("sis", large(300))).GetRevision())
	})
	t.Run("cancelled, it changes nothing", func(t *testing.T) {
		held = h.sync("sis", large(200))
		s, err := h.syncs.CancelSync(h.ctx, &ingestv1.CancelSyncRequest{District: "d", Sync: held.GetSyncId()})
		require.NoError(t, err)
		require.Equal(t, ingestv1.SyncState_CANCELLED, s.GetState())
		require.Equal(t, before, h.roster.Revision("d"))
	})
	t.Run("a record changed since: planned and shown anew", func(t *testing.T) {
		held = h.sync("sis", large(200))
		h.roster.Touch("d", "st-0250")
		_, err := h.syncs.ApproveSync(h.ctx, &ingestv1.ApproveSyncRequest{District: "d", Sync: held.GetSyncId()})
		require.NoError(t, err)
		h.wait(held.GetSyncId(), ingestv1.SyncState_ON_HOLD)
		require.Len(t, h.roster.Active("d", users), 302)
	})
	t.Run("approved, it is committed", func(t *testing.T) {
		_, err := h.syncs.ApproveSync(h.ctx, &ingestv1.ApproveSyncRequest{District: "d", Sync: held.GetSyncId()})
		require.NoError(t, err)
		s := h.completed(h.wait(held.GetSyncId()))
		require.NotZero(t, s.GetRevision())
		require.Len(t, h.roster.Active("d", users), 202)
		var states []ingestv1.SyncState
		for _, step := range s.GetSteps() {
			states = append(states, step.GetState())
			require.NotNil(t, step.GetEndTime())
		}
		require.Equal(t, []ingestv1.SyncState{1, 2, 3, 4, 5, 6, 4, 5, 6}, states)
	})
}

// A runner may die after any step: another one goes on, and in the end there
// is one revision with everything in it.
func TestRunnerDies(t *testing.T) {
	for _, at := range []string{"Import", "Import done", "CommitPlan", "CommitPlan done"} {
		t.Run(at, func(t *testing.T) {
			h := newHub(t)
			var once sync.Once
			reached := make(chan struct{})
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
			h.upload("sis", large(50))
			id := h.startSync("sis").GetSyncId()
			<-reached
			h.stop()
			h.start()
			s := h.completed(h.wait(id))
			require.EqualValues(t, 1, s.GetRevision())
			require.EqualValues(t, 1, h.roster.Revision("d"))
			require.Len(t, h.roster.Active("d", users), 52)
			require.Eventually(t, func() bool { return h.roster.Plans("d") == 0 }, testkit.Wait, 5*time.Millisecond, "no plan is left over")
			require.Zero(t, h.completed(h.wait(h.startSync("sis").GetSyncId())).GetRevision(), "its layer is current")
		})
	}
}

// What a killed process leaves behind: a state half way and a lease that
// nobody gives back.
func TestWorkOfADeadProcessIsTakenOver(t *testing.T) {
	for _, left := range []ingestv1.SyncState{ingestv1.SyncState_QUEUED, ingestv1.SyncState_PULLING, ingestv1.SyncState_NORMALISING, ingestv1.SyncState_PLANNING} {
		t.Run(left.String(), func(t *testing.T) {
			h := newHub(t)
			h.upload("sis", sound())
			dead := &state.Leases{Store: state.New(h.docs), Holder: "dead", Life: 400 * time.Millisecond, Now: time.Now}
			store := dead.Store
			source, err := dead.Acquire(t.Context(), state.SourceLease("d", "sis"))
			require.NoError(t, err)
			commit, err := dead.Acquire(t.Context(), state.CommitLease("d"))
			require.NoError(t, err)
			id := h.startSync("sis").GetSyncId()
			_, err = store.Syncs.Modify(t.Context(), state.Key("d", id), func(d *ingestv1.SyncDocument) error {
				d.Sync.State = left
				d.Sync.Steps = append(d.Sync.Steps, &ingestv1.SyncStep{State: left, StartTime: timestamppb.Now()})
				if left == ingestv1.SyncState_PLANNING { // its layer was written before
					d.Layer = map[string]*ingestv1.LayerFile{}
				}
				return nil
			})
			require.NoError(t, err)
			h.completed(h.wait(id))
			require.ErrorIs(t, source.Renew(t.Context()), state.ErrLeaseLost)
			require.ErrorIs(t, commit.Renew(t.Context()), state.ErrLeaseLost)
		})
	}
}

func TestOneSyncOfASourceAtATime(t *testing.T) {
	h := newHub(t)
	var mu sync.Mutex
	running, most := 0, 0
	h.roster.FailWith(func(method string) error {
		mu.Lock()
		defer mu.Unlock()
		switch method {
		case "Import":
			running++
			most = max(most, running)
		case "Import done":
			running--
		}
		return nil
	})
	h.upload("sis", large(20))
	var ids []string
	for range 5 {
		ids = append(ids, h.startSync("sis").GetSyncId())
	}
	revisions := 0
	for _, id := range ids {
		if h.completed(h.wait(id)).GetRevision() > 0 {
			revisions++
		}
	}
	require.Equal(t, 1, revisions)
	require.Equal(t, 1, most)
	list, err := h.syncs.ListSyncs(h.ctx, &ingestv1.ListSyncsRequest{District: "d", PageSize: 2})
	require.NoError(t, err)
	require.Equal(t, ids[4], list.GetSyncs()[0].GetSyncId(), "newest first")
	require.NotEmpty(t, list.GetNextPageToken())
}

func TestCancel(t *testing.T) {
	h := newHub(t)
	block, entered := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.roster.FailWith(func(method string) error {
		if method == "Import" {
			once.Do(func() { close(entered) })
			<-block
		}
		return nil
	})
	h.upload("sis", sound())
	running, queued := h.startSync("sis").GetSyncId(), h.startSync("sis").GetSyncId()
	<-entered
	for _, id := range []string{queued, running} {
		s, err := h.syncs.CancelSync(h.ctx, &ingestv1.CancelSyncRequest{District: "d", Sync: id})
		require.NoError(t, err)
		require.Equal(t, ingestv1.SyncState_CANCELLED, s.GetState())
	}
	close(block)
	require.Eventually(t, func() bool { return len(h.stored("layers")) == 0 }, testkit.Wait, 5*time.Millisecond, "what it has made is removed")
	require.Zero(t, h.roster.Revision("d"))
	_, err := h.syncs.CancelSync(h.ctx, &ingestv1.CancelSyncRequest{District: "d", Sync: running})
	require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "SYNC_STATE", ""))
}

func TestEndsAreAnnounced(t *testing.T) {
	h := newHub(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		done <- h.bus.Subscribe(ctx, "securly.sync.v1.ingest.d.sync-ended", func(_ context.Context, _ string, payload []byte) { got <- string(payload) })
	}()
	require.Eventually(t, func() bool { // until the subscription is there
		h.completed(h.sync("sis", sound()))
		return len(got) > 0
	}, testkit.Wait, 5*time.Millisecond)
	require.Contains(t, <-got, "COMPLETED")
	cancel()
	require.NoError(t, <-done)
}
