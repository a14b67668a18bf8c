package readiness_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob/fileblob"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/securly/sync/proto/gen/securly/sync/event/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/testkit"
	readiness "github.com/securly/sync/services/readiness-engine"
	"github.com/securly/sync/services/readiness-engine/internal/rostertest"
	"github.com/securly/sync/services/rostergen"
)

// site is an engine on disk, over a store of large districts.
type site struct {
	b      *testing.B
	ctx    context.Context
	store  *rostertest.Big
	bus    *events.Bus
	client readinessv1.ReadinessServiceClient
	random *rand.Rand
}

func newSite(b *testing.B, students int) *site {
	b.Helper()
	d, err := rostergen.New(rostergen.Config{Seed: 11, Students: students, Flaws: rostergen.Realistic(students)})
	require.NoError(b, err)
	store, err := rostertest.NewBig(rostertest.Generated(d))
	require.NoError(b, err)
	bucket, err := fileblob.OpenBucket(b.TempDir(), &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, bucket.Close()) })
	s := &site{b: b, ctx: testkit.As(b, b.Context(), testkit.Service()), store: store, bus: testkit.Bus(b), random: rand.New(rand.NewPCG(5, 5))}
	service, err := readiness.New(readiness.Config{}, around(b, store.Register, rostertest.NewIngest().Register, readiness.Deps{
		Docs: testkit.Docs(b), Blobs: bucket, Bus: s.bus, Log: slog.New(slog.DiscardHandler),
	}))
	require.NoError(b, err)
	s.client = readinessv1.NewReadinessServiceClient(testkit.Server(b, service.Register))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-done)
	})
	return s
}

// changes draws so many records and changes their users and enrollments.
func (s *site) changes(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		rec := &typev1.Record{}
		require.NoError(s.b, proto.Unmarshal(s.store.Body(s.random.IntN(s.store.Len())), rec))
		switch {
		case rec.GetUser() != nil && s.random.IntN(10) == 0:
			rec.GetUser().Email = ""
		case rec.GetUser() != nil:
			rec.GetUser().GivenName += "!"
		case rec.GetEnrollment() != nil && s.random.IntN(10) == 0:
			rec.GetEnrollment().Status = "tobedeleted"
		}
		var err error
		out[i], err = proto.Marshal(rec)
		require.NoError(s.b, err)
	}
	return out
}

func (s *site) announce(district string, revision int32) {
	require.NoError(s.b, s.bus.Publish(s.ctx, events.Subject("roster", district, "revision-committed"), fmt.Sprintf("%s-%d", district, revision),
		&eventv1.RevisionCommitted{District: district, Revision: revision, CommitTime: timestamppb.Now()}))
}

func (s *site) await(district, report string) (r *readinessv1.ReadinessReport) {
	require.Eventually(s.b, func() bool {
		var err error
		r, err = s.client.GetReadinessReport(s.ctx, &readinessv1.GetReadinessReportRequest{District: district, Report: report})
		if err != nil || r.EndTime == nil {
			return false
		}
		require.Equal(s.b, readinessv1.ReportState_COMPLETED, r.State, r.Error)
		return true
	}, 2*time.Minute, 5*time.Millisecond)
	return r
}

func usage(b *testing.B) (u syscall.Rusage) {
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u
}

func processorTime(b *testing.B) time.Duration {
	u := usage(b)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReport is the time to a completed report of 100,000 students: after
// one percent of the records has changed, and on request when the replica is
// current.
func BenchmarkReport(b *testing.B) {
	s := newSite(b, 100_000)
	s.announce("d1", 1)
	s.await("d1", "rev-1")
	b.Run("after one percent", func(b *testing.B) {
		var used time.Duration // of all processors, which other programs disturb less than the clock
		for b.Loop() {
			b.StopTimer()
			revision := s.store.Commit("d1", s.changes(s.store.Len()/100))
			start := processorTime(b)
			b.StartTimer()
			s.announce("d1", revision)
			s.await("d1", fmt.Sprintf("rev-%d", revision))
			used += processorTime(b) - start
		}
		b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms/op")
	})
	b.Run("requested", func(b *testing.B) {
		for b.Loop() {
			r, err := s.client.CreateReadinessReport(s.ctx, &readinessv1.CreateReadinessReportRequest{District: "d1"})
			require.NoError(b, err)
			s.await("d1", r.ReportId)
		}
	})
}

var districtCount = flag.Int("districts", 1000, "how many districts BenchmarkManyDistricts has")

var commitRate = flag.Float64("rate", 10, "how many commits a second BenchmarkManyDistricts has in all")

// BenchmarkManyDistricts has districts of 1,000 students commit in turns, at a
// steady rate, each time ten records, and prints how far reports are behind in
// each quarter of the time. It fails if those of the last quarter come later than
// those of the first, by more than a second (then the engine is falling behind),
// and if the whole process, the store and the broker included, takes more than a
// GiB. In services:
//
//	go test ./readiness-engine -run xxx -bench ManyDistricts -benchtime 1x -rate 10
func BenchmarkManyDistricts(b *testing.B) {
	districts := *districtCount
	s := newSite(b, 1000)
	name := func(i int) string { return fmt.Sprintf("d%d", i%districts) }
	began := time.Now()
	for i := range districts {
		s.announce(name(i), 1)
	}
	for i := range districts {
		s.await(name(i), "rev-1")
	}
	fmt.Printf("%d first reports, of districts of 1,000 students each: %.1f s\n", districts, time.Since(began).Seconds())
	peak := rostertest.Heap(b)
	start := processorTime(b)
	var announced []time.Time
	var revisions []int32
	tick := time.NewTicker(time.Duration(float64(time.Second) / *commitRate))
	defer tick.Stop()
	for i := range districts { // Each commits once.
		<-tick.C
		revisions = append(revisions, s.store.Commit(name(i), s.changes(10)))
		announced = append(announced, time.Now())
		s.announce(name(i), revisions[i])
	}
	lags := make([]time.Duration, districts)
	for i := range announced {
		lags[i] = s.await(name(i), fmt.Sprintf("rev-%d", revisions[i])).EndTime.AsTime().Sub(announced[i])
	}
	peak()
	var late []time.Duration // the median of each quarter
	fmt.Println("quarter  commits  reports  median lag  longest lag")
	for quarter := range slices.Chunk(lags, max(1, (districts+3)/4)) {
		late = append(late, median(quarter))
		fmt.Printf("%7d %8d %8d %8d ms %9d ms\n", len(late), len(quarter), len(quarter), median(quarter).Milliseconds(), slices.Max(quarter).Milliseconds())
	}
	resident := usage(b).Maxrss >> 10 // of KiB
	fmt.Printf("memory of the whole process, at most: %d MiB\n", resident)
	b.ReportMetric(*commitRate, "commits/s")
	b.ReportMetric(float64(slices.Max(lags).Milliseconds()), "lag-max-ms")
	b.ReportMetric(float64((processorTime(b)-start).Milliseconds())/float64(districts), "cpu-ms/report")
	require.Less(b, late[len(late)-1], late[0]+time.Second, "the engine is falling behind")
	require.Less(b, resident, int64(1<<10), "MiB of memory")
}

func median(of []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(of))[len(of)/2]
}
