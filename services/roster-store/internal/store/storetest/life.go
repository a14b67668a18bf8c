package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/roster-store/internal/store"
)

func collect[T any](t testing.TB, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var out []T
	for v, err := range seq {
		require.NoError(t, err)
		out = append(out, v)
	}
	return out
}

func districts(t *testing.T, s suite) {
	for _, id := range []store.DistrictID{"d2", "d1", "0-x", "d2"} {
		require.NoError(t, s.OpenDistrict(t.Context(), id))
	}
	require.Equal(t, []store.DistrictID{"0-x", "d1", "d2"}, collect(t, s.Districts(t.Context())))
	small(t, s)
	require.NoError(t, s.OpenDistrict(t.Context(), district), "opening again keeps what is there")
	require.Equal(t, store.Revision(1), headOf(t, s))
	info, err := s.Head(t.Context(), "d2")
	require.NoError(t, err)
	require.Zero(t, info.Revision, "districts do not see each other")
	s.restart(t)
	require.Equal(t, []store.DistrictID{"0-x", "d1", "d2"}, collect(t, s.Districts(t.Context())))

	require.NoError(t, s.EraseDistrict(t.Context(), district))
	require.NoError(t, s.EraseDistrict(t.Context(), district))
	_, err = s.Head(t.Context(), district)
	require.ErrorIs(t, err, store.ErrDistrictUnknown)
	require.Empty(t, collect(t, s.Pending(t.Context())))
	require.Equal(t, []store.DistrictID{"0-x", "d2"}, collect(t, s.Districts(t.Context())))
	small(t, s) // starts from nothing
	require.Len(t, scanAll(t, s.Snapshot(district, 1, whole), store.Position{}), 11)
}

// calls is every method that names a district.
func calls(s store.Store, d store.DistrictID) map[string]func(context.Context) error {
	h := header("p")
	h.District = d
	return map[string]func(context.Context) error{
		"Head":        func(ctx context.Context) error { _, err := s.Head(ctx, d); return err },
		"Revisions":   func(ctx context.Context) error { _, err := s.Revisions(ctx, d, 0, 1); return err },
		"Summary":     func(ctx context.Context) error { _, err := s.Summary(ctx, d, whole); return err },
		"Import":      func(ctx context.Context) error { _, err := s.Import(ctx, h, candidate()); return err },
		"Plan":        func(ctx context.Context) error { _, err := s.Plan(ctx, d, "p"); return err },
		"PlanChanges": func(ctx context.Context) error { _, err := s.PlanChanges(ctx, d, "p", store.ChangeQuery{}); return err },
		"Commit":      func(ctx context.Context) error { _, err := s.Commit(ctx, d, "p", 0); return err },
		"Discard":     func(ctx context.Context) error { return s.Discard(ctx, d, "p") },
		"Changes":     func(ctx context.Context) error { return endOf(s.Changes(ctx, d, 0, 0)) },
		"Publish":     func(ctx context.Context) error { return s.MarkPublished(ctx, d, 1) },
		"Prune":       func(ctx context.Context) error { return s.Prune(ctx, d, 1) },
		"ErasePerson": func(ctx context.Context) error { return s.ErasePerson(ctx, d, "u1") },
		"Check":       func(ctx context.Context) error { return endOf(s.Check(ctx, d, false)) },
		"Repair":      func(ctx context.Context) error { return endOf(s.Check(ctx, d, true)) },
		"Get": func(ctx context.Context) error {
			_, err := s.Snapshot(d, 0, whole).Get(ctx, users, "u1")
			return err
		},
		"Page": func(ctx context.Context) error {
			_, err := s.Snapshot(d, 0, whole).Page(ctx, store.Query{Entity: users}, "", 1)
			return err
		},
		"Scan": func(ctx context.Context) error { return endOf(s.Snapshot(d, 0, whole).Scan(ctx, store.Position{})) },
		"History": func(ctx context.Context) error {
			_, err := s.Snapshot(d, 0, whole).History(ctx, users, "u1")
			return err
		},
	}
}

func unknownDistricts(t *testing.T, s suite) {
	for name, call := range calls(s, "nobody") {
		require.ErrorIs(t, call(t.Context()), store.ErrDistrictUnknown, name)
	}
	for _, bad := range []store.DistrictID{"", "..", "A", "-a", "a/b", ".pending"} {
		require.ErrorIs(t, s.OpenDistrict(t.Context(), bad), store.ErrInvalid)
		require.ErrorIs(t, s.EraseDistrict(t.Context(), bad), store.ErrInvalid)
		for name, call := range calls(s, bad) {
			require.ErrorIs(t, call(t.Context()), store.ErrInvalid, name)
		}
	}
	require.Empty(t, collect(t, s.Districts(t.Context())))
}

func closed(t *testing.T, s suite) {
	small(t, s)
	next, stop := iter.Pull2(s.Snapshot(district, 1, whole).Scan(t.Context(), store.Position{}))
	_, err, _ := next()
	require.NoError(t, err)
	stop()
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing twice is fine")
	for name, call := range calls(s, district) {
		require.ErrorIs(t, call(t.Context()), store.ErrClosed, name)
	}
	require.ErrorIs(t, s.OpenDistrict(t.Context(), "d9"), store.ErrClosed)
	require.ErrorIs(t, s.EraseDistrict(t.Context(), district), store.ErrClosed)
	require.ErrorIs(t, endOf(s.Districts(t.Context())), store.ErrClosed)
	require.ErrorIs(t, endOf(s.Pending(t.Context())), store.ErrClosed)
}

func canceledCalls(t *testing.T, s suite) {
	small(t, s)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the caller has left")
	cancel(why)
	for name, call := range calls(s, district) {
		require.ErrorIs(t, call(ctx), why, name)
	}
	_, err := s.Plan(t.Context(), district, "p")
	require.ErrorIs(t, err, store.ErrPlanUnknown)
}

// many is enough records that a stream of them does not end by itself between
// two looks at whether it should.
func many(n int) []*typev1.Record {
	out := make([]*typev1.Record, 0, n)
	for i := range n {
		out = append(out, org(fmt.Sprintf("o%06d", i), "Org"))
	}
	return out
}

func erasedStream(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	complete(t, s, "many", many(s.size(5000, 2500))...)
	commit(t, s, "many")
	next, stop := iter.Pull2(s.Snapshot(district, 1, whole).Scan(t.Context(), store.Position{}))
	defer stop()
	_, err, _ := next()
	require.NoError(t, err)
	erased := make(chan error, 1)
	go func() { erased <- s.EraseDistrict(context.WithoutCancel(t.Context()), district) }()
	for {
		_, err, more := next()
		if err != nil {
			require.ErrorIs(t, err, store.ErrDistrictUnknown)
			break
		}
		if !more {
			break // it has finished before
		}
	}
	stop()
	require.NoError(t, <-erased)
	_, err = s.Head(t.Context(), district)
	require.ErrorIs(t, err, store.ErrDistrictUnknown)
}

func outbox(t *testing.T, s suite) {
	small(t, s)
	delta(t, s, "second", org("s3", "West"))
	commit(t, s, "second")
	require.NoError(t, s.OpenDistrict(t.Context(), "a-district"))
	pending := func() []store.Revision {
		var out []store.Revision
		for _, p := range collect(t, s.Pending(t.Context())) {
			require.Equal(t, district, p.District)
			require.NotZero(t, p.Revision.CommitTime)
			out = append(out, p.Revision.Revision)
		}
		return out
	}
	require.Equal(t, []store.Revision{1, 2}, pending())
	s.restart(t)
	require.Equal(t, []store.Revision{1, 2}, pending())
	for range 2 {
		require.NoError(t, s.MarkPublished(t.Context(), district, 1))
		require.Equal(t, []store.Revision{2}, pending())
	}
	require.NoError(t, s.MarkPublished(t.Context(), district, 2))
	require.Empty(t, pending())
	delta(t, s, "third", org("s4", ""))
	require.Empty(t, pending(), "a plan announces nothing")
	commit(t, s, "third")
	require.Equal(t, []store.Revision{3}, pending())
	delta(t, s, "fourth", org("s5", ""))
	commit(t, s, "fourth")
	require.NoError(t, s.Prune(t.Context(), district, 4))
	require.Equal(t, []store.Revision{4}, pending(), "what nobody can read any more is not announced")
}

func committedRestart(t *testing.T, s suite) {
	small(t, s)
	complete(t, s, "second", smallRecords()[3:]...)
	commit(t, s, "second")
	var before []map[store.Position]*typev1.Record
	for rev := range store.Revision(3) {
		before = append(before, scanAll(t, s.Snapshot(district, rev, whole), store.Position{}))
	}
	summary, err := s.Summary(t.Context(), district, whole)
	require.NoError(t, err)
	s.restart(t)
	for rev, want := range before {
		require.Empty(t, cmp.Diff(want, scanAll(t, s.Snapshot(district, store.Revision(rev), whole), store.Position{}), protocmp.Transform()))
	}
	again, err := s.Summary(t.Context(), district, whole)
	require.NoError(t, err)
	require.Equal(t, summary, again)
}

// atomicity lets readers look while a name is changed everywhere at once.
func atomicity(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	size := s.size(150, 40)
	version := func(i int) []*typev1.Record {
		var out []*typev1.Record
		for n := range size {
			out = append(out, org(fmt.Sprintf("s%03d", n), fmt.Sprint("Version ", i)))
		}
		return out
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				info, err := s.Head(t.Context(), district)
				if err != nil || info.Revision == 0 {
					continue
				}
				names := map[string]int{}
				for rec, err := range s.Snapshot(district, info.Revision, whole).Scan(t.Context(), store.Position{}) {
					if err == nil {
						names[decode(t, rec.Body).GetOrg().GetName()]++
					}
				}
				want := fmt.Sprint("Version ", info.Revision)
				p, err := s.Snapshot(district, info.Revision, whole).Page(t.Context(), store.Query{Entity: orgs, Text: want}, "", 1)
				if err != nil || p.Total != size || !cmp.Equal(map[string]int{want: size}, names) {
					t.Errorf("revision %d shows %v, finds %d, %v", info.Revision, names, p.Total, err)
					return
				}
			}
		})
	}
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for p, err := range s.Check(t.Context(), district, false) {
				if err != nil || p.Invariant != "" {
					t.Errorf("check finds %+v, %v", p, err)
					return
				}
			}
		}
	})
	for i := 1; i <= s.size(8, 5); i++ {
		id := store.PlanID(fmt.Sprint(i))
		complete(t, s, id, version(i)...)
		require.Equal(t, store.Revision(i), commit(t, s, id))
	}
	close(done)
	readers.Wait()
}

func racingCommits(t *testing.T, s suite) {
	small(t, s)
	const n = 6
	for i := range n {
		delta(t, s, store.PlanID(fmt.Sprint("own ", i)), org(fmt.Sprint("own ", i), ""))
		delta(t, s, store.PlanID(fmt.Sprint("same ", i)), org("s1", fmt.Sprint("by ", i)))
	}
	var (
		mu    sync.Mutex
		made  []store.Revision
		stale int
		wait  sync.WaitGroup
	)
	for i := range n {
		for _, kind := range []string{"own ", "own ", "same "} { // each own plan by two callers
			wait.Go(func() {
				out, err := s.Commit(t.Context(), district, store.PlanID(fmt.Sprint(kind, i)), 0)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, store.ErrStale):
					stale++
				case err != nil:
					t.Error(err)
				default:
					made = append(made, out.Revision)
				}
			})
		}
	}
	wait.Wait()
	require.Equal(t, n-1, stale, "one of the plans for the same record wins")
	require.Len(t, made, 2*n+1)
	slices.Sort(made)
	require.Equal(t, []store.Revision{2, 3, 4, 5, 6, 7, 8}, slices.Compact(made), "no gap, no revision made twice")
	require.Equal(t, store.Revision(n+2), headOf(t, s))
}
