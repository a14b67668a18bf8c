package ingest_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/plan"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

// town is a district of schools and their students, each with a version.
type town map[string]map[string]int

func newTown(schools, students int) town {
	out := town{}
	for s := range schools {
		school := fmt.Sprintf("s%d", s)
		out[school] = map[string]int{}
		for i := range students {
			out[school][fmt.Sprintf("%s-%03d", school, i)] = 0
		}
	}
	return out
}

// files is a complete package. Classes are there whoever is in them.
func (w town) files() map[string]string {
	files := sound()
	for _, school := range slices.Sorted(maps.Keys(w)) {
		files["orgs.csv"] += school + ",,,School " + school + ",school,,d\n"
		files["classes.csv"] += "c-" + school + ",,,Art,05,co,A,scheduled,," + school + ",y,,,\n"
		for _, id := range slices.Sorted(maps.Keys(w[school])) {
			files["users.csv"] += fmt.Sprintf("%s,,,true,%s,student,%s,,Student,Number%d,,,%s@made-up.example,,,,05,\n", id, school, id, w[school][id], id)
			files["enrollments.csv"] += fmt.Sprintf("e-%s,,,c-%s,%s,%s,student,,2026-08-15,2027-06-15\n", id, school, school, id)
		}
	}
	return files
}

// lose takes the first students of a school away.
func (w town) lose(school string, n int) {
	for _, id := range slices.Sorted(maps.Keys(w[school]))[:n] {
		delete(w[school], id)
	}
}

// extras is a package of another source with so many students of its own.
func extras(n int) map[string]string {
	files := sound()
	files["users.csv"], _, _ = strings.Cut(files["users.csv"], "u1,")
	for i := range n {
		files["users.csv"] += fmt.Sprintf("x%d,,,true,s,student,x%d,,Extra,One,,,x%d@made-up.example,,,,05,\n", i, i, i)
	}
	return files
}

func (h *hub) setPolicy(source string, policy *ingestv1.HoldPolicy) {
	h.t.Helper()
	_, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: source, Settings: &ingestv1.Source{HoldPolicy: policy}})
	require.NoError(h.t, err)
}

func (h *hub) setMode(mode ingestv1.HoldMode) { h.setPolicy("sis", &ingestv1.HoldPolicy{Mode: mode}) }

// shown is what the changes of a sync are said to be, in order.
func (h *hub) shown(id string) []string {
	h.t.Helper()
	page, err := h.syncs.ListSyncChanges(h.ctx, &ingestv1.ListSyncChangesRequest{District: "d", Sync: id})
	require.NoError(h.t, err)
	var out []string
	for _, c := range page.GetChanges() {
		out = append(out, c.GetEntity()+" "+c.GetSourcedId()+" "+c.GetKind())
	}
	slices.Sort(out)
	return out
}

func TestTrippedSchoolsWait(t *testing.T) {
	h := newHub(t)
	h.newSource("second", nil)
	h.setMode(ingestv1.HoldMode_HOLD_SCHOOLS)
	w := newTown(3, 100)
	h.completed(h.sync("sis", w.files()))
	h.completed(h.sync("second", extras(1)))
	w.lose("s1", 40)
	w["s1"]["s1-new"], w["s0"]["s0-new"], w["s2"]["s2-050"] = 0, 0, 7
	held := h.sync("sis", w.files())
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	require.Equal(t, []string{"many-removals", "many-removals"}, types(held))
	for _, r := range held.GetHoldReasons() {
		require.Equal(t, "s1", r.GetSchoolId())
		require.Equal(t, "School s1", r.GetSchoolName())
	}
	part := held.GetAppliedPart()
	require.Equal(t, ingestv1.HoldMode_HOLD_SCHOOLS, part.GetMode())
	require.Equal(t, held.GetRevision(), part.GetRevision())
	require.EqualValues(t, 1, part.GetCounts()["users"].GetCreated())
	require.Equal(t, []string{"enrollments e-s0-new created", "users s0-new created", "users s2-050 updated"}, h.roster.Changed("d", part.GetRevision()))
	shown := h.shown(held.GetSyncId())
	require.Len(t, shown, 82)

	h.completed(h.sync("second", extras(2)))
	require.Len(t, h.roster.Changed("d", h.roster.Revision("d")), 1, "what waits is not in the way of others, and they do not take it along")
	h.approve(held.GetSyncId())
	done := h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
	require.Equal(t, shown, h.roster.Changed("d", done.GetRevision()))
	require.Equal(t, part, done.GetAppliedPart())
	require.Eventually(t, func() bool { return h.roster.Plans("d") == 0 }, testkit.Wait, 5*time.Millisecond, "no plan is left over")
	require.Zero(t, h.completed(h.sync("sis", w.files())).GetRevision(), "nothing is left")
}

func TestRemovalsWait(t *testing.T) {
	h := newHub(t)
	h.setMode(ingestv1.HoldMode_APPLY_SAFE)
	w := newTown(2, 100)
	h.completed(h.sync("sis", w.files()))
	w.lose("s1", 40)
	w["s1"]["s1-new"], w["s0"]["s0-050"] = 0, 7
	held := h.sync("sis", w.files())
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	require.Equal(t, []string{"enrollments e-s1-new created", "users s0-050 updated", "users s1-new created"}, h.roster.Changed("d", held.GetAppliedPart().GetRevision()))
	for _, c := range h.shown(held.GetSyncId()) {
		require.Contains(t, c, "removed")
	}
	head := h.roster.Revision("d")
	_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: held.GetSyncId()})
	require.NoError(t, err)
	require.Len(t, h.roster.Active("d", users), 203)

	w["s1"]["s1-new2"] = 0
	next := h.sync("sis", w.files())
	require.Equal(t, ingestv1.SyncState_ON_HOLD, next.GetState(), "they come again")
	require.Equal(t, head+1, next.GetAppliedPart().GetRevision())
	w["s1"]["s1-new3"] = 0
	last := h.sync("sis", w.files())
	require.Equal(t, ingestv1.SyncState_SUPERSEDED, h.get(next.GetSyncId()).GetState())
	require.Equal(t, head+2, last.GetAppliedPart().GetRevision())
	shown := h.shown(last.GetSyncId())
	require.Len(t, shown, 80)
	h.approve(last.GetSyncId())
	require.Equal(t, shown, h.roster.Changed("d", h.completed(h.wait(last.GetSyncId(), ingestv1.SyncState_COMPLETED)).GetRevision()))
	require.Len(t, h.roster.Active("d", users), 165)

	held = h.sync("sis", large(0))
	require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
	require.Nil(t, held.GetAppliedPart(), "schools are gone: all of it waits")
	require.True(t, slices.ContainsFunc(held.GetHoldReasons(), (*ingestv1.HoldReason).GetDistrictWide))
}

// The rest of a package of changes is not lost, also to one that is read while the
// rest is approved.
func TestTheRestOfAPackageOfChangesWaits(t *testing.T) {
	for mode, applied := range map[ingestv1.HoldMode]int{ingestv1.HoldMode_HOLD_SCHOOLS: 1, ingestv1.HoldMode_APPLY_SAFE: 2} {
		t.Run(mode.String(), func(t *testing.T) {
			h := newHub(t)
			docs := h.interruptable()
			h.setMode(mode)
			w := newTown(3, 100)
			h.completed(h.sync("sis", w.files()))
			changes := addition("new-s0")
			row := strings.SplitAfter(changes["users.csv"], "\n")[1]
			changes["users.csv"] = strings.Replace(changes["users.csv"], ",s,", ",s0,", 1) + strings.NewReplacer("new-s0", "new-s1", ",s,", ",s1,").Replace(row)
			for i := range 40 {
				changes["users.csv"] += fmt.Sprintf("s1-%03d,tobedeleted,,,,,,,,,,,,,,,,\n", i)
			}
			held := h.sync("sis", changes)
			require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
			require.EqualValues(t, applied, held.GetAppliedPart().GetCounts()["users"].GetCreated())
			require.ErrorIs(t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), Schools: []string{"s1"}}), errs.New(codes.FailedPrecondition, "SYNC_HAS_CHANGES_ONLY", ""))

			h.upload("sis", addition("next"))
			docs.on("get", "layers", func() { h.approve(held.GetSyncId()) }) // it was on hold when the runner looked
			next := h.startSync("sis").GetSyncId()
			h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
			h.completed(h.wait(next))
			require.Len(t, h.active("users", ""), 302-40+3)
			require.Equal(t, []string{"new-s0", "new-s1", "next"}, h.active("users", "ne"))
		})
	}
}

// A part that would be held itself is not applied.
func TestAPartThatTripsToo(t *testing.T) {
	h := newHub(t)
	h.setMode(ingestv1.HoldMode_HOLD_SCHOOLS)
	w := newTown(20, 20)
	h.completed(h.sync("sis", w.files()))
	for s := range 20 {
		w.lose(fmt.Sprintf("s%d", s), 5)
	}
	h.roster.Signals(func(p *rosterv1.Plan) {
		for _, s := range p.GetSchools()[:1] {
			s.Signals = &rosterv1.PlanSignals{UsersRekeyed: 10}
		}
	})
	held := h.sync("sis", w.files())
	require.Equal(t, []string{"many-removals", "many-removals", "users-rekeyed"}, types(held))
	require.Nil(t, held.GetAppliedPart())
}

// A runner may die at any point of a sync that applies a part: that is applied
// once, and the rest waits as if nothing had happened.
func TestRunnerDiesBetweenPartAndRest(t *testing.T) {
	for _, at := range []string{"Import", "Import done", "SelectPlan", "SelectPlan done", "CommitPlan", "CommitPlan done", "ListPlanChanges", "Import again", "Import again done"} {
		t.Run(at, func(t *testing.T) {
			h := newHub(t)
			h.setMode(ingestv1.HoldMode_APPLY_SAFE)
			w := newTown(1, 200)
			h.completed(h.sync("sis", w.files()))
			w.lose("s0", 150)
			w["s0"]["new"] = 0
			seen := map[string]int{}
			var once sync.Once
			reached := make(chan struct{})
			h.roster.FailWith(func(method string) error {
				if seen[method]++; seen[method] > 1 {
					method = strings.Replace(method, "Import", "Import again", 1)
				}
				err := error(nil)
				if method == at {
					once.Do(func() {
						close(reached)
						err = errs.New(codes.Unavailable, "", "the process is gone")
					})
				}
				return err
			})
			h.upload("sis", w.files())
			id := h.startSync("sis").GetSyncId()
			<-reached
			h.stop()
			h.start()
			held := h.wait(id, ingestv1.SyncState_ON_HOLD)
			require.EqualValues(t, 2, held.GetAppliedPart().GetRevision())
			require.EqualValues(t, 2, h.roster.Revision("d"))
			require.Len(t, h.roster.Active("d", users), 203)
			shown := h.shown(id)
			require.Len(t, shown, 300)
			h.approve(id)
			require.Equal(t, shown, h.roster.Changed("d", h.completed(h.wait(id, ingestv1.SyncState_COMPLETED)).GetRevision()))
			require.Len(t, h.roster.Active("d", users), 53)
			require.Eventually(t, func() bool { return h.roster.Plans("d") == 0 }, testkit.Wait, 5*time.Millisecond, "no plan is left over")
			require.Zero(t, h.completed(h.sync("sis", w.files())).GetRevision())
		})
	}
}

// Whatever is delivered, held and decided, what was shown is what is applied.
func TestWhatIsShownIsWhatIsApplied(t *testing.T) {
	h := newHub(t)
	h.newSource("second", nil)
	r := rand.New(rand.NewPCG(3, 4))
	w, others := newTown(4, 60), 0
	var approved, parts, equal int
	h.completed(h.sync("sis", w.files()))
	for range 60 {
		for school := range 4 {
			students := w[fmt.Sprintf("s%d", school)]
			often := []int{30, 30, 30, 2}[r.IntN(4)]
			for i := range 60 {
				id := fmt.Sprintf("s%d-%03d", school, i)
				switch r.IntN(often) {
				case 0:
					delete(students, id)
				case 1:
					students[id] = r.IntN(5)
				}
			}
		}
		h.setMode(ingestv1.HoldMode(r.IntN(4)))
		s := h.sync("sis", w.files())
		if part := s.GetAppliedPart(); part != nil {
			parts++
			applied := h.roster.Changed("d", part.GetRevision())
			for _, c := range h.shown(s.GetSyncId()) {
				require.NotContains(t, applied, c, "applied or waiting")
			}
		}
		for s.GetState() == ingestv1.SyncState_ON_HOLD {
			shown := h.shown(s.GetSyncId())
			require.NotEmpty(t, shown)
			require.NotEmpty(t, s.GetHoldReasons())
			if r.IntN(3) == 0 {
				others++
				h.completed(h.sync("second", extras(others)))
				equal++
			}
			if r.IntN(4) == 0 { // a record of it may change behind its back
				h.roster.Touch("d", fmt.Sprintf("s0-%03d", 0))
			}
			decision := r.IntN(4)
			before := h.roster.Revision("d")
			switch decision {
			case 0:
				_, err := h.syncs.DiscardSync(h.ctx, &ingestv1.DiscardSyncRequest{District: "d", Sync: s.GetSyncId()})
				require.NoError(t, err)
			case 1:
				require.NoError(t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: s.GetSyncId(), WithoutRemovals: true}))
				shown = slices.DeleteFunc(shown, func(c string) bool { return strings.HasSuffix(c, " removed") })
			default:
				h.approve(s.GetSyncId())
			}
			steps := len(s.GetSteps())
			require.Eventually(t, func() bool {
				s = h.get(s.GetSyncId())
				last := s.GetSteps()[len(s.GetSteps())-1]
				return len(s.GetSteps()) > steps && last.GetState() == ingestv1.SyncState_ON_HOLD || s.GetEndTime() != nil
			}, testkit.Wait, 2*time.Millisecond)
			switch {
			case s.GetState() == ingestv1.SyncState_ON_HOLD:
				require.Contains(t, types(s), plan.PlanChanged)
				require.Equal(t, before, h.roster.Revision("d"), "made anew and shown again: nothing was applied")
			case s.GetState() == ingestv1.SyncState_COMPLETED && len(shown) > 0:
				approved++
				require.Equal(t, before+1, s.GetRevision())
				require.Equal(t, shown, h.roster.Changed("d", s.GetRevision()))
			default:
				require.Equal(t, before, h.roster.Revision("d"))
			}
		}
	}
	require.Greater(t, approved, 10)
	require.Greater(t, parts, 5)
	require.Greater(t, equal, 3)
}

// The same plan, made anew since another source has delivered, needs no second
// approval, and neither does the same choice of it.
func TestAnEqualPlanIsNotShownAgain(t *testing.T) {
	h := newHub(t)
	h.newSource("second", nil)
	w := newTown(2, 100)
	h.completed(h.sync("sis", w.files()))
	for i, without := range []bool{true, false} {
		w.lose("s0", 40)
		w["s1"][fmt.Sprintf("new-%d", i)] = 0
		held := h.sync("sis", w.files())
		require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
		h.completed(h.sync("second", extras(i+1)))
		require.NoError(t, h.approvePart(&ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), WithoutRemovals: without}))
		done := h.completed(h.wait(held.GetSyncId(), ingestv1.SyncState_COMPLETED))
		var states []ingestv1.SyncState
		for _, step := range done.GetSteps() {
			states = append(states, step.GetState())
		}
		require.Equal(t, []ingestv1.SyncState{1, 2, 3, 4, 5, 6, 4, 6}, states)
		if without {
			require.Len(t, h.roster.Changed("d", done.GetRevision()), 2)
		}
	}
}

func TestRolloverRaisesThresholdsUntilItEnds(t *testing.T) {
	h := newHub(t)
	_, err := h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "d", Settings: &ingestv1.District{TimeZone: "America/Chicago"}})
	require.NoError(t, err)
	zone, err := time.LoadLocation("America/Chicago")
	require.NoError(t, err)
	today := time.Now().In(zone).Format(time.DateOnly)
	h.readiness.setWindows(&readinessv1.RolloverWindow{StartDate: today, EndDate: today})
	w := newTown(1, 200)
	h.completed(h.sync("sis", w.files()))
	w.lose("s0", 50)
	require.Len(t, h.shown(h.completed(h.sync("sis", w.files())).GetSyncId()), 100)
	h.clock.Store(int64(24 * time.Hour))
	w.lose("s0", 30)
	require.Equal(t, ingestv1.SyncState_ON_HOLD, h.sync("sis", w.files()).GetState())
}

func TestHoldPolicyOfASource(t *testing.T) {
	h := newHub(t)
	get := func() *ingestv1.HoldPolicy {
		s, err := h.sources.GetSource(h.ctx, &ingestv1.GetSourceRequest{District: "d", Source: "sis"})
		require.NoError(t, err)
		return s.GetHoldPolicy()
	}
	require.Equal(t, ingestv1.HoldMode_HOLD_ALL, get().GetMode(), "what is so by default is shown")
	require.EqualValues(t, 10, get().GetThresholds()["many-removals"].GetPercent())
	require.EqualValues(t, 25, get().GetThresholds()["many-removals"].GetMin())
	require.True(t, get().GetRolloverThresholds()["many-updates"].GetOff())
	h.setPolicy("sis", &ingestv1.HoldPolicy{Thresholds: map[string]*ingestv1.HoldThreshold{"many-removals": {Percent: 50}}})
	require.EqualValues(t, 50, get().GetThresholds()["many-removals"].GetPercent())
	require.EqualValues(t, 5, get().GetThresholds()["emails-blanked"].GetPercent())
	w := newTown(1, 200)
	h.completed(h.sync("sis", w.files()))
	w.lose("s0", 90)
	h.completed(h.sync("sis", w.files()))

	for _, update := range []*ingestv1.UpdateSourceRequest{
		{Settings: &ingestv1.Source{HoldPolicy: &ingestv1.HoldPolicy{Thresholds: map[string]*ingestv1.HoldThreshold{"nothing": {}}}}},
		{Settings: &ingestv1.Source{HoldPolicy: &ingestv1.HoldPolicy{Mode: 7}}},
	} {
		update.District, update.Source = "d", "sis"
		_, err := h.sources.UpdateSource(h.ctx, update)
		var known *errs.Error
		require.ErrorAs(t, err, &known)
		require.Equal(t, codes.InvalidArgument, known.Code)
		require.Contains(t, known.Detail("field"), "holdPolicy.")
	}
	_, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{
		District: "d", Source: "sis", Settings: &ingestv1.Source{}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"hold_policy"}},
	})
	require.NoError(t, err)
	require.EqualValues(t, 10, get().GetThresholds()["many-removals"].GetPercent(), "back to the default")
}
