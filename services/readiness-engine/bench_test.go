package readiness_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
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

func (s *site) await(district, report string) {
	require.Eventually(s.b, func() bool {
		r, err := s.client.GetReadinessReport(s.ctx, &readinessv1.GetReadinessReportRequest{District: district, Report: report})
		if err != nil || r.EndTime == nil {
			return false
		}
		require.Equal(s.b, readinessv1.ReportState_COMPLETED, r.State, r.Error)
		return true
	}, 2*time.Minute, 5*time.Millisecond)
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
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
			revision := s.store.Commit(s.changes(s.store.Len() / 100))
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

// BenchmarkManyDistricts has 1,000 districts of 1,000 students commit all at
// once, again and again, each time ten records, and waits for the report of each.
func BenchmarkManyDistricts(b *testing.B) {
	districts := *districtCount
	s := newSite(b, 1000)
	round := func(revision int32) {
		for i := range districts {
			s.announce(fmt.Sprintf("d%d", i), revision)
		}
		for i := range districts {
			s.await(fmt.Sprintf("d%d", i), fmt.Sprintf("rev-%d", revision))
		}
	}
	round(1)
	peak := rostertest.Heap(b)
	for b.Loop() {
		round(s.store.Commit(s.changes(10)))
	}
	peak()
	b.ReportMetric(float64(districts*b.N)/b.Elapsed().Seconds(), "reports/s")
}
