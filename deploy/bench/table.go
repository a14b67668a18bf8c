package main

import (
	"context"
	"fmt"
	"time"

	"github.com/securly/sync/deploy/hubtest"
)

// table collects the measured rows.
type table struct {
	csv, sqlite, duckdb time.Duration
	peak                int64 // of all that was measured
	rows                []row
}

type row struct {
	work, measured, ratio, must, aim string
	use                              usage
}

// usage is what a piece of work took of the hub.
type usage struct {
	took time.Duration
	cpu  time.Duration // of all its processors
	peak int64         // bytes of memory
}

func (t *table) anchors(ctx context.Context, dir, scratch string, parts parts) (rows int, err error) {
	// The second pass counts: the first one warms the page cache for everybody.
	for range 2 {
		if t.csv, rows, err = readCSV(dir); err != nil {
			return 0, err
		}
	}
	if t.sqlite, err = importSQLite(ctx, dir, scratch); err != nil || !parts["reports"] {
		return rows, err
	}
	t.duckdb, err = reportDuckDB(ctx, dir)
	return rows, err
}

// measure runs a piece of work on a hub.
func (t *table) measure(hub *hubtest.Hub, work func() error) (u usage, err error) {
	if err := hub.ForgetPeak(); err != nil {
		return u, err
	}
	before, err := hub.CPU()
	if err != nil {
		return u, err
	}
	start := time.Now()
	if err := work(); err != nil {
		return u, err
	}
	u.took = time.Since(start)
	if u.cpu, err = hub.CPU(); err != nil {
		return u, err
	}
	u.cpu -= before
	u.peak, err = hub.PeakMemory()
	t.peak = max(t.peak, u.peak)
	return u, err
}

// against adds a row whose figure is a ratio to an anchor.
func (t *table) against(work string, use usage, anchor time.Duration, must, aim float64) {
	t.rows = append(t.rows, row{
		work: work, measured: seconds(use.took), ratio: fmt.Sprintf("%.2f", use.took.Seconds()/anchor.Seconds()),
		must: fmt.Sprintf("≤ %.1f", must), aim: fmt.Sprintf("≤ %.1f", aim), use: use,
	})
}

// absolute adds a row whose figure stands by itself.
func (t *table) absolute(work, measured string, use usage, must, aim string) {
	t.rows = append(t.rows, row{work: work, measured: measured, must: must, aim: aim, use: use})
}

func (t *table) print() {
	fmt.Printf("%-62s %16s %8s %12s %12s %9s %9s\n", "Work", "measured", "ratio", "must", "aim", "hub CPU", "hub peak")
	for _, r := range t.rows {
		cpu, peak := "", ""
		if r.use != (usage{}) {
			cpu, peak = fmt.Sprintf("%.2f s", r.use.cpu.Seconds()), mebibytes(r.use.peak)
		}
		fmt.Printf("%-62s %16s %8s %12s %12s %9s %9s\n", r.work, r.measured, r.ratio, r.must, r.aim, cpu, peak)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
