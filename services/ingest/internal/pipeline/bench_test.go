package pipeline

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob/fileblob"

	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/rostergen"
)

// BenchmarkRun takes a district of 100,000 students from zip to layer files:
// decompress, split, normalise, hash, encode, sort, write.
func BenchmarkRun(b *testing.B) {
	for _, version := range []string{rostergen.V1p1, rostergen.V1p2} {
		b.Run(version, func(b *testing.B) {
			pkg := generated(b, 100_000, version)
			bucket, err := fileblob.OpenBucket(b.TempDir(), &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
			require.NoError(b, err)
			defer func() { require.NoError(b, bucket.Close()) }()
			info, err := pkg.Stat()
			require.NoError(b, err)
			b.ResetTimer()
			for b.Loop() {
				contents, err := onerostercsv.Inspect(pkg, info.Size(), onerostercsv.DefaultLimits())
				require.NoError(b, err)
				plan, err := contents.Plan(onerostercsv.Auto, "sis", func(normalise.Kind) bool { return false })
				require.NoError(b, err)
				var rows atomic.Int64
				out, err := Run(b.Context(), Input{Plan: plan, Bucket: bucket, Prefix: "l/", TempDir: b.TempDir(), Rows: func(n int) { rows.Add(int64(n)) }})
				require.NoError(b, err)
				require.Greater(b, out.Layer["users"].GetRecords(), int64(100_000))
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows.Load()), "ns/row")
				b.ReportMetric(float64(rows.Load()), "rows")
			}
		})
	}
}

func generated(t testing.TB, students int, version string) *os.File {
	t.Helper()
	cfg := rostergen.Config{Students: students, Seed: 7, Version: version, Shuffle: true}
	d, err := rostergen.New(cfg)
	require.NoError(t, err)
	f, err := os.Create(filepath.Join(t.TempDir(), "package.zip"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	require.NoError(t, d.WriteZip(f))
	return f
}
