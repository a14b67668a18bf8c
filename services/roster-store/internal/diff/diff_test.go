package diff_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/roster-store/internal/diff"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/pebblestore"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const district store.DistrictID = "d"

func open(t *testing.T) store.Store {
	s, err := pebblestore.Open(pebblestore.Config{Dir: t.TempDir(), Log: testkit.Log(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	return s
}

func user(id, name string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_User{User: &typev1.User{SourcedId: id, Status: record.StatusActive, GivenName: name}}}
}

func org(id, name string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: record.StatusActive, Name: name}}}
}

// commit makes a revision of a complete candidate.
func commit(t *testing.T, s store.Store, plan string, records []*typev1.Record) store.Revision {
	t.Helper()
	h := store.PlanHeader{District: district, Plan: store.PlanID(plan), Complete: record.Entities()}
	_, err := s.Import(t.Context(), h, imports(t, records))
	require.NoError(t, err)
	done, err := s.Commit(t.Context(), district, h.Plan, 0)
	require.NoError(t, err)
	return done.Revision
}

func imports(t *testing.T, records []*typev1.Record) iter.Seq2[store.ImportRecord, error] {
	return func(yield func(store.ImportRecord, error) bool) {
		for _, r := range records {
			e, base := record.Of(r)
			body, err := proto.Marshal(r)
			require.NoError(t, err)
			if !yield(store.ImportRecord{Entity: e, ID: base.GetSourcedId(), Hash: record.HashOf(r), Body: body}, nil) {
				return
			}
		}
	}
}

// state is what is active at a revision.
func state(t *testing.T, s store.Store, rev store.Revision) map[store.Position]record.Hash {
	t.Helper()
	out := map[store.Position]record.Hash{}
	if rev == 0 {
		return out
	}
	for r, err := range s.Snapshot(district, rev, store.Scope{All: true}).Scan(t.Context(), store.Position{}) {
		require.NoError(t, err)
		v := &typev1.Record{}
		require.NoError(t, proto.Unmarshal(r.Body, v))
		if _, base := record.Of(v); base.GetStatus() == record.StatusActive {
			out[store.Position{Entity: r.Entity, ID: r.ID}] = record.HashOf(v)
		}
	}
	return out
}

// changes collects a comparison and checks its order.
func changes(ctx context.Context, t *testing.T, s store.Store, from, to store.Revision, after store.Position) map[store.Position]store.Kind {
	t.Helper()
	out := map[store.Position]store.Kind{}
	for c, err := range diff.Changes(ctx, s, district, from, to, after) {
		require.NoError(t, err)
		at := store.Position{Entity: c.Entity, ID: c.ID}
		require.True(t, at.Entity > after.Entity || at.Entity == after.Entity && at.ID > after.ID, "%v after %v", at, after)
		out[at], after = c.Kind, at
		require.NotNil(t, c.After)
	}
	return out
}

// want compares two states one record at a time.
func want(from, to map[store.Position]record.Hash) map[store.Position]store.Kind {
	out := map[store.Position]store.Kind{}
	for at := range from {
		if _, ok := to[at]; !ok {
			out[at] = store.Removed
		}
	}
	for at, hash := range to {
		switch old, ok := from[at]; {
		case !ok:
			out[at] = store.Created
		case old != hash:
			out[at] = store.Updated
		}
	}
	return out
}

// history makes revisions of a few records that come, change, go and come back.
func history(t *testing.T, s store.Store, rng *rand.Rand, revisions int) store.Revision {
	head := store.Revision(0)
	for i := range revisions {
		var records []*typev1.Record
		for id := range 4 {
			if rng.IntN(3) > 0 {
				records = append(records, org(fmt.Sprint("o", id), fmt.Sprint(rng.IntN(2))))
			}
		}
		for id := range 10 {
			if rng.IntN(3) > 0 {
				records = append(records, user(fmt.Sprint("u ", id), fmt.Sprint(rng.IntN(2))))
			}
		}
		head = commit(t, s, fmt.Sprint("p", i), records)
	}
	return head
}

func TestChangesAreWhatDiffers(t *testing.T) {
	s := open(t)
	rng := rand.New(rand.NewPCG(1, 2))
	head := history(t, s, rng, 12) // some are so far apart that snapshots are compared
	states := map[store.Revision]map[store.Position]record.Hash{}
	for rev := range head + 1 {
		states[rev] = state(t, s, rev)
	}
	for from := range head + 1 {
		for to := range head + 1 {
			all := want(states[from], states[to])
			require.Empty(t, cmp.Diff(all, changes(t.Context(), t, s, from, to, store.Position{})), "%d to %d", from, to)
			after := store.Position{Entity: typev1.Entity_ENTITY_USERS, ID: "u 4"}
			maps.DeleteFunc(all, func(at store.Position, _ store.Kind) bool {
				return at.Entity < after.Entity || at.Entity == after.Entity && at.ID <= after.ID
			})
			require.Empty(t, cmp.Diff(all, changes(t.Context(), t, s, from, to, after)), "%d to %d after %v", from, to, after)
		}
	}
}

// streams counts the revisions that are read.
type streams struct {
	store.Store
	n int
}

func (s *streams) Changes(ctx context.Context, d store.DistrictID, after, last store.Revision) iter.Seq2[store.Event, error] {
	s.n++
	return s.Store.Changes(ctx, d, after, last)
}

func TestFewStreamsAreOpen(t *testing.T) {
	s := &streams{Store: open(t)}
	head := history(t, s, rand.New(rand.NewPCG(9, 10)), 12)
	changes(t.Context(), t, s, 1, head, store.Position{})
	require.LessOrEqual(t, s.n, 8)
}

func TestRestoreTakesBack(t *testing.T) {
	s := open(t)
	rng := rand.New(rand.NewPCG(3, 4))
	head := history(t, s, rng, 6)
	for i, to := range []store.Revision{2, 5, 0, 1, head} {
		before := state(t, s, head)
		h := store.PlanHeader{District: district, Plan: store.PlanID(fmt.Sprint("restore ", i)), Undo: &store.Undo{To: to}}
		shown := changes(t.Context(), t, s, head, to, store.Position{})
		plan, err := diff.Restore(t.Context(), s, h)
		require.NoError(t, err)
		require.Equal(t, len(shown), plan.Changes(), "what is shown is what is applied")
		done, err := s.Commit(t.Context(), district, h.Plan, 0)
		require.NoError(t, err)
		require.Equal(t, head+1, done.Revision)
		head = done.Revision
		require.Equal(t, state(t, s, to), state(t, s, head))
		require.Equal(t, before, state(t, s, head-1), "nothing is lost")
		info, err := s.Head(t.Context(), district)
		require.NoError(t, err)
		require.Equal(t, h.Undo, info.Undo)
		require.Equal(t, head, info.LastUndo)
	}
	plan, err := diff.Restore(t.Context(), s, store.PlanHeader{District: district, Plan: "head", Undo: &store.Undo{To: head}})
	require.NoError(t, err)
	require.Zero(t, plan.Changes())
}

func TestPrunedAndUnknownRevisions(t *testing.T) {
	s := open(t)
	head := history(t, s, rand.New(rand.NewPCG(5, 6)), 6)
	require.NoError(t, s.Prune(t.Context(), district, 4))
	fails := func(from, to store.Revision) error {
		for _, err := range diff.Changes(t.Context(), s, district, from, to, store.Position{}) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	require.ErrorIs(t, fails(3, head), store.ErrRevisionGone)
	require.ErrorIs(t, fails(head, 3), store.ErrRevisionGone)
	require.ErrorIs(t, fails(2, 2), store.ErrRevisionGone)
	require.ErrorIs(t, fails(head, head+1), store.ErrRevisionUnknown)
	require.NoError(t, fails(4, head))
	require.NoError(t, fails(0, head), "the empty district is never gone")
	for to, wanted := range map[store.Revision]error{3: store.ErrRevisionGone, head + 1: store.ErrRevisionUnknown} {
		_, err := diff.Restore(t.Context(), s, store.PlanHeader{District: district, Plan: "p", Undo: &store.Undo{To: to}})
		require.ErrorIs(t, err, wanted)
		_, err = s.Plan(t.Context(), district, "p")
		require.ErrorIs(t, err, store.ErrPlanUnknown)
	}
}

// A commit while a restore is staged is noticed.
func TestRestoreThatWasOvertaken(t *testing.T) {
	s := open(t)
	history(t, s, rand.New(rand.NewPCG(7, 8)), 3)
	overtaken := &overtaker{Store: s, t: t}
	h := store.PlanHeader{District: district, Plan: "restore", Undo: &store.Undo{To: 1}}
	_, err := diff.Restore(t.Context(), overtaken, h)
	require.ErrorIs(t, err, store.ErrStale)
	_, err = s.Plan(t.Context(), district, h.Plan)
	require.ErrorIs(t, err, store.ErrPlanUnknown)
	_, err = diff.Restore(t.Context(), overtaken, h)
	require.NoError(t, err)
}

// overtaker commits another plan right before the first import.
type overtaker struct {
	store.Store
	t    *testing.T
	done bool
}

func (o *overtaker) Import(ctx context.Context, h store.PlanHeader, records iter.Seq2[store.ImportRecord, error]) (store.Plan, error) {
	if !o.done {
		o.done = true
		commit(o.t, o.Store, "other", []*typev1.Record{org("new", "")})
	}
	return o.Store.Import(ctx, h, records)
}
