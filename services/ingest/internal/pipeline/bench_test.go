package pipeline

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/rostergen"
)

// The benchmarks take a district of 100,000 students from zip to layer files:
// decompress, split, normalise, hash, encode, sort, write.

func BenchmarkFirst(b *testing.B)        { benchmark(b, 1) }
func BenchmarkAgainChanged(b *testing.B) { benchmark(b, 2) }

func benchmark(b *testing.B, day int) {
	for _, version := range []string{rostergen.V1p1, rostergen.V1p2} {
		b.Run(version, func(b *testing.B) {
			bucket, err := fileblob.OpenBucket(b.TempDir(), &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
			require.NoError(b, err)
			defer func() { require.NoError(b, bucket.Close()) }()
			var previous map[string]*ingestv1.LayerFile
			if day > 1 {
				previous, _ = layers(b, bucket, "before/", generated(b, version, 1), nil)
			}
			pkg := generated(b, version, day)
			b.ResetTimer()
			used := cpu(b)
			for b.Loop() {
				out, rows := layers(b, bucket, "after/", pkg, previous)
				require.Greater(b, out["users"].GetRecords(), int64(100_000))
				b.ReportMetric(float64(rows), "rows")
			}
			b.ReportMetric((cpu(b)-used).Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// cpu is what the process has used, which says more than the time on a machine
// that others use too.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func layers(b *testing.B, bucket *blob.Bucket, prefix string, pkg *os.File, previous map[string]*ingestv1.LayerFile) (map[string]*ingestv1.LayerFile, int64) {
	b.Helper()
	info, err := pkg.Stat()
	require.NoError(b, err)
	contents, err := onerostercsv.Inspect(pkg, info.Size(), onerostercsv.DefaultLimits(), nil)
	require.NoError(b, err)
	plan, err := contents.Plan(onerostercsv.Auto, "sis", func(normalise.Kind) bool { return previous != nil })
	require.NoError(b, err)
	var rows atomic.Int64
	out, err := Run(b.Context(), Input{
		Plan: plan, Bucket: bucket, Prefix: prefix, Previous: previous, TempDir: b.TempDir(), Rows: func(n int) { rows.Add(int64(n)) },
	})
	require.NoError(b, err)
	return out.Layer, rows.Load()
}

func generated(b *testing.B, version string, day int) *os.File {
	b.Helper()
	d, err := rostergen.New(rostergen.Config{Students: 100_000, Seed: 7, Version: version, Shuffle: true, Day: day, ChangeShare: 0.01})
	require.NoError(b, err)
	f, err := os.Create(filepath.Join(b.TempDir(), "package.zip"))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, f.Close()) })
	require.NoError(b, d.WriteZip(f))
	return f
}
