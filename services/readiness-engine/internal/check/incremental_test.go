package check_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/readiness-engine/internal/check"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
	"github.com/securly/sync/services/readiness-engine/internal/rostertest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// follow keeps a View with a replica and brings it up to date.
func follow(r *replica.Replica, given check.Given) *check.View {
	v, ok := r.Derived.(*check.View)
	if !ok {
		v = check.NewView(r, given)
		r.Derived = v
		return v
	}
	v.Update(given)
	return v
}

// findings lists all that all checks say about a replica.
func findings(v *check.View) (lines []string) {
	for _, c := range check.Catalogue() {
		res := v.Result(c)
		lines = append(lines, res.Proto(v.Diagnose(&res, check.Before{})).String())
		for _, f := range res.Findings {
			encoded := &readinessv1.ReadinessFinding{}
			if err := proto.Unmarshal(v.AppendEncoded(nil, f), encoded); err != nil || !proto.Equal(encoded, v.Proto(f)) {
				panic(fmt.Sprint(encoded, " is encoded in place of ", v.Proto(f)))
			}
			lines = append(lines, fmt.Sprint(encoded))
		}
	}
	return lines
}

type reading struct {
	version int
	text    []string
}

func readings(v *check.View) map[string]reading {
	out := map[string]reading{}
	for _, c := range check.Catalogue() {
		out[c.ID] = reading{v.Result(c).Version, texts(v, c)}
	}
	return out
}

func texts(v *check.View, c *check.Check) (lines []string) {
	for _, f := range v.Result(c).Findings {
		lines = append(lines, fmt.Sprint(v.Proto(f)))
	}
	return lines
}

// TestIncrementalEqualsFromScratch follows random changes with one replica and
// compares each revision with a fresh export, over the real protocol.
func TestIncrementalEqualsFromScratch(t *testing.T) {
	store := rostertest.New()
	roster := rosterv1.NewRosterServiceClient(testkit.Server(t, store.Register))
	ctx := testkit.As(t, t.Context(), testkit.Service())
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 7))
		district := fmt.Sprintf("d%d", seed)
		cache := replica.NewCache(roster, 1<<30, 10, testkit.Log(t))
		if seed%2 == 0 { // A watch may be first to bring a commit.
			running, stop := context.WithCancel(ctx)
			ended := make(chan error, 1)
			go func() { ended <- cache.Run(running) }()
			defer func() {
				stop()
				require.NoError(t, <-ended)
			}()
		}
		read := map[*check.View]map[string]reading{}
		given := check.Given{Now: today}
		for range 12 {
			var revision int32
			for range 1 + random.IntN(3) { // Revisions may come faster than reports.
				changes := make([]*typev1.Record, 1+random.IntN([]int{3, 12, 40}[random.IntN(3)]))
				for i := range changes {
					changes[i] = rostertest.Random(random)
				}
				revision = store.Commit(district, changes...)
			}
			if random.IntN(8) == 0 {
				require.NoError(t, cache.Forget(ctx, district)) // lost
			}
			if random.IntN(6) == 0 {
				given.Domains = [][]string{nil, {"b.example", "c.example"}}[random.IntN(2)]
			}
			fresh, err := replica.Load(ctx, roster, district, revision)
			require.NoError(t, err)
			for range 1 + random.IntN(2) { // asked twice: nothing new
				require.NoError(t, cache.Use(ctx, district, revision, func(r *replica.Replica) error {
					require.Equal(t, revision, r.Revision)
					v := follow(r, given)
					before := read[v]
					read = map[*check.View]map[string]reading{v: readings(v)}
					want := check.NewView(fresh, given)
					require.Empty(t, cmp.Diff(findings(want), findings(v)), "seed %d, revision %d", seed, revision)
					require.Empty(t, cmp.Diff(want.People(), v.People(), protocmp.Transform()), "seed %d, revision %d", seed, revision)
					for id, now := range read[v] {
						if old, ok := before[id]; ok && old.version == now.version {
							require.Equal(t, old.text, now.text, "%s has changed and keeps its version", id)
						}
					}
					return nil
				}))
			}
			old := 1 + random.Int32N(revision)
			require.NoError(t, cache.Use(ctx, district, old, func(r *replica.Replica) error {
				require.Equal(t, old, r.Revision)
				return nil
			}))
		}
	}
}

// TestCacheKeepsWithinItsBound lets districts take turns in a cache that holds
// about one of them.
func TestCacheKeepsWithinItsBound(t *testing.T) {
	store := rostertest.New()
	roster := rosterv1.NewRosterServiceClient(testkit.Server(t, store.Register))
	ctx := testkit.As(t, t.Context(), testkit.Service())
	for _, d := range []string{"a", "b"} {
		store.Commit(d, tiny()...)
	}
	size := 0
	use := func(c *replica.Cache, district string) {
		require.NoError(t, c.Use(ctx, district, 1, func(r *replica.Replica) error {
			size = r.Size()
			return nil
		}))
	}
	roomy := replica.NewCache(roster, 1<<20, 10, testkit.Log(t))
	for range 3 {
		use(roomy, "a")
		use(roomy, "b")
	}
	require.Equal(t, 2, store.Exports())
	narrow := replica.NewCache(roster, size, 10, testkit.Log(t))
	for range 3 {
		use(narrow, "a")
		use(narrow, "a")
		use(narrow, "b")
	}
	require.Equal(t, 2+6, store.Exports(), "each turn of the other has pushed the first one out")

	canceled, cancel := context.WithCancel(ctx)
	cancel()
	require.Error(t, narrow.Use(canceled, "a", 1, func(*replica.Replica) error { return nil }))
	use(narrow, "a")
}
