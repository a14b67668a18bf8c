package check_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/readiness-engine/internal/check"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
	"github.com/securly/sync/services/readiness-engine/internal/rostertest"
	"github.com/securly/sync/services/rostergen"
)

// yardstick is the district that all speeds are stated for.
var yardstick = sync.OnceValues(func() (rostergen.Expected, *rostertest.Big) {
	const students = 100_000
	d, err := rostergen.New(rostergen.Config{Seed: 11, Students: students, Flaws: rostergen.Realistic(students)})
	if err != nil {
		panic(err)
	}
	store, err := rostertest.NewBig(rostertest.Generated(d))
	if err != nil {
		panic(err)
	}
	return d.Expected(), store
})

func benchmarkRoster(b *testing.B) (ctx context.Context, roster rosterv1.RosterServiceClient, store *rostertest.Big, want map[string]int, today time.Time) {
	b.Helper()
	expected, store := yardstick()
	want = map[string]int{}
	for c, n := range expected.Checks {
		want[string(c)] = n
	}
	today, err := time.Parse(time.DateOnly, expected.Today)
	require.NoError(b, err)
	roster = rosterv1.NewRosterServiceClient(testkit.Server(b, store.Register))
	return testkit.As(b, b.Context(), testkit.Service()), roster, store, want, today
}

// cpu reports the processor time of the loop per iteration, which other
// programs on the machine disturb less than the clock.
func cpu(b *testing.B) (stop func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := used()
	return func() { b.ReportMetric(float64((used()-start).Milliseconds())/float64(b.N), "cpu-ms/op") }
}

// BenchmarkApply takes over all records, without the network.
func BenchmarkApply(b *testing.B) {
	_, _, store, _, _ := benchmarkRoster(b)
	total, _ := store.GetSummary(b.Context(), nil)
	defer cpu(b)()
	for b.Loop() {
		r := replica.New(total.Total)
		for i := range store.Len() {
			if err := r.Apply(store.Body(i)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkFromNothing exports the yardstick district over gRPC and runs all
// checks.
func BenchmarkFromNothing(b *testing.B) {
	ctx, roster, _, want, today := benchmarkRoster(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, stop := rostertest.Heap(b), cpu(b)
	var r *replica.Replica
	for b.Loop() {
		var err error
		r, err = replica.Load(ctx, roster, "yardstick", 1)
		require.NoError(b, err)
		got, _ := counts(follow(r, check.Given{Now: today}))
		require.Equal(b, want, got)
	}
	stop()
	peak()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-kept")
	b.ReportMetric(float64(r.Size())/1e6, "MB-stated")
	runtime.KeepAlive(r)
}

// BenchmarkChecks runs all checks over a replica that is there.
func BenchmarkChecks(b *testing.B) {
	ctx, roster, _, want, today := benchmarkRoster(b)
	r, err := replica.Load(ctx, roster, "yardstick", 1)
	require.NoError(b, err)
	defer cpu(b)()
	for b.Loop() {
		got, _ := counts(check.NewView(r, check.Given{Now: today}))
		require.Equal(b, want, got)
	}
}

// BenchmarkAfterOnePercent lets one percent of the records change and brings
// replica and counts up to date.
func BenchmarkAfterOnePercent(b *testing.B) {
	ctx, roster, store, want, today := benchmarkRoster(b)
	random := rand.New(rand.NewPCG(5, 5))
	r, err := replica.Load(ctx, roster, "yardstick", 1)
	require.NoError(b, err)
	follow(r, check.Given{Now: today})
	defer func() { b.ReportMetric(float64(r.Size())/1e6, "MB-stated") }()
	var checks time.Duration
	defer func() { b.ReportMetric(float64(checks.Microseconds())/1e3/float64(b.N), "checks-ms/op") }()
	for b.Loop() {
		b.StopTimer()
		changes := make([][]byte, store.Len()/100)
		for i := range changes {
			rec := &typev1.Record{}
			require.NoError(b, proto.Unmarshal(store.Body(random.IntN(store.Len())), rec))
			if u := rec.GetUser(); u != nil {
				if u.GivenName != "" {
					u.GivenName += "!" // so that the record is looked at again
				}
			}
			changes[i], err = proto.Marshal(rec)
			require.NoError(b, err)
		}
		revision := store.Commit("yardstick", changes)
		b.StartTimer()
		require.NoError(b, r.CatchUp(ctx, roster, "yardstick", revision))
		start := time.Now()
		v := follow(r, check.Given{Now: today})
		got, _ := counts(v)
		checks += time.Since(start)
		require.Equal(b, want, got)
	}
}
