package report

import (
	"bytes"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob/fileblob"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/check"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
	"github.com/securly/sync/services/readiness-engine/internal/rostertest"
	"github.com/securly/sync/services/rostergen"
)

// openEnded returns a district of 100,000 students whose SIS sends no end dates
// of enrollments: one finding for each.
func openEnded(b *testing.B) *replica.Replica {
	b.Helper()
	d, err := rostergen.New(rostergen.Config{Seed: 11, Students: 100_000})
	require.NoError(b, err)
	store, err := rostertest.NewBig(func(yield func(*typev1.Record) bool) {
		for rec := range rostertest.Generated(d) {
			if e := rec.GetEnrollment(); e != nil {
				e.EndDate = ""
			}
			if !yield(rec) {
				return
			}
		}
	})
	require.NoError(b, err)
	total, err := store.GetSummary(b.Context(), nil)
	require.NoError(b, err)
	r := replica.New(total.Total)
	for i := range store.Len() {
		require.NoError(b, r.Apply(store.Body(i)))
	}
	return r
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkMillionFindings writes a report with a finding for each enrollment,
// reads the last page and makes the CSV.
func BenchmarkMillionFindings(b *testing.B) {
	r := openEnded(b)
	run := func(b *testing.B, loop func() int) {
		peak := rostertest.Heap(b)
		start := processorTime(b)
		found := 0
		for b.Loop() {
			found = loop()
		}
		b.ReportMetric(float64((processorTime(b)-start).Milliseconds())/float64(b.N), "cpu-ms/op")
		b.ReportMetric(float64(found), "findings")
		peak()
	}
	bucket, err := fileblob.OpenBucket(b.TempDir(), &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	require.NoError(b, err)
	defer func() { require.NoError(b, bucket.Close()) }()
	reports := &Reports{findings: findings{bucket}}
	var stored *readinessv1.StoredReport
	b.Run("write", func(b *testing.B) {
		run(b, func() (found int) {
			require.NoError(b, reports.findings.erase(b.Context(), "d1/"))
			v := check.NewView(r, check.Given{Now: time.Unix(0, 0)})
			stored = &readinessv1.StoredReport{}
			for _, c := range check.Catalogue() {
				res := v.Result(c)
				at, err := reports.findings.write(b.Context(), "d1", "r1", v, &res)
				require.NoError(b, err)
				stored.Findings = append(stored.Findings, at)
				found += int(at.Count)
			}
			return found
		})
		b.ReportMetric(float64(r.Size())/1e6, "MB-replica")
		i := slices.IndexFunc(stored.Findings, func(s *readinessv1.StoredFindings) bool { return s.CheckId == "enrollment-end-date-missing" })
		object, err := bucket.Attributes(b.Context(), stored.Findings[i].Blob)
		require.NoError(b, err)
		b.ReportMetric(float64(object.Size)/1e6, "MB-stored")
	})
	lens := Lens{Filter: Filter{CheckID: "enrollment-end-date-missing"}}
	last := 0 // the place behind the last finding of the check
	for _, at := range stored.Findings {
		last += int(at.Count)
		if at.CheckId == lens.CheckID {
			break
		}
	}
	b.Run("last page", func(b *testing.B) {
		run(b, func() (found int) {
			for _, err := range reports.Findings(b.Context(), stored, lens, last-100) {
				require.NoError(b, err)
				found++
			}
			return found
		})
	})
	b.Run("csv", func(b *testing.B) {
		run(b, func() (rows int) {
			for part, err := range reports.CSV(b.Context(), stored, lens) {
				require.NoError(b, err)
				rows += bytes.Count(part, []byte("\n"))
			}
			return rows - 1
		})
	})
}
