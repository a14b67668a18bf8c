// Command bench runs the yardstick of the architecture (§15): one made-up
// district through the outer doors of bin/securly-sync, beside anchors on the
// same files in the same run. Quote the ratios; seconds differ between machines.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/rostergen"
)

func main() {
	students := flag.Int("students", 100_000, "size of the district")
	keep := flag.String("dir", "", "keep the generated files here and use them again")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *students, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, students int, dir string) (err error) {
	scratch, err := os.MkdirTemp("", "securly-sync-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if dir == "" {
		dir = scratch
	}
	days, err := generate(dir, students)
	if err != nil {
		return err
	}
	var t table
	rows, err := t.anchors(ctx, days.first, scratch)
	if err != nil {
		return err
	}
	fmt.Printf("%d students, %d rows; anchors: encoding/csv %.2f s, sqlite3 .import %.2f s, DuckDB load and queries %.2f s\n\n",
		students, rows, t.csv.Seconds(), t.sqlite.Seconds(), t.duckdb.Seconds())
	if err := t.measure(ctx, days, filepath.Join(scratch, "data")); err != nil {
		return err
	}
	t.print()
	return nil
}

// packages of the yardstick district: the folder and zip of the first day, and
// the zips of a second day with 1 % changed and of the first day in another order.
type packages struct{ first, firstZip, changedZip, shuffledZip string }

func generate(dir string, students int) (packages, error) {
	p := packages{
		first:       filepath.Join(dir, "first"),
		firstZip:    filepath.Join(dir, "first.zip"),
		changedZip:  filepath.Join(dir, "changed.zip"),
		shuffledZip: filepath.Join(dir, "shuffled.zip"),
	}
	first := rostergen.Config{Seed: 1, Students: students, Version: rostergen.V1p1, Flaws: rostergen.Realistic(students)}
	changed, shuffled := first, first
	changed.Day, changed.ChangeShare = 2, 0.01
	shuffled.Shuffle = true
	if err := write(first, p.first, func(d *rostergen.District) error { return d.WriteDir(p.first) }); err != nil {
		return p, err
	}
	for path, cfg := range map[string]rostergen.Config{p.firstZip: first, p.changedZip: changed, p.shuffledZip: shuffled} {
		err := write(cfg, path, func(d *rostergen.District) error {
			f, err := os.Create(path)
			if err != nil {
				return err
			}
			return errors.Join(d.WriteZip(f), f.Close())
		})
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// write makes a package unless an earlier run has left it there.
func write(cfg rostergen.Config, path string, to func(*rostergen.District) error) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	d, err := rostergen.New(cfg)
	if err != nil {
		return err
	}
	if err := to(d); err != nil {
		return fmt.Errorf("generate %s: %w", path, err)
	}
	return nil
}

// table collects the measured rows.
type table struct {
	csv, sqlite, duckdb time.Duration
	rows                []row
}

type row struct{ work, measured, ratio, must, aim string }

func (t *table) anchors(ctx context.Context, dir, scratch string) (rows int, err error) {
	// The second pass counts: the first one warms the page cache for everybody.
	for range 2 {
		if t.csv, rows, err = readCSV(dir); err != nil {
			return 0, err
		}
	}
	if t.sqlite, err = importSQLite(ctx, dir, scratch); err != nil {
		return 0, err
	}
	t.duckdb, err = reportDuckDB(ctx, dir)
	return rows, err
}

// against adds a row whose figure is a ratio to an anchor.
func (t *table) against(work string, took, anchor time.Duration, must, aim float64) {
	t.rows = append(t.rows, row{work, seconds(took), fmt.Sprintf("%.2f", took.Seconds()/anchor.Seconds()), fmt.Sprintf("≤ %.1f", must), fmt.Sprintf("≤ %.1f", aim)})
}

// absolute adds a row whose figure stands by itself.
func (t *table) absolute(work, measured, must, aim string) {
	t.rows = append(t.rows, row{work, measured, "", must, aim})
}

func (t *table) print() {
	fmt.Printf("%-58s %16s %8s %14s %16s\n", "Work", "measured", "ratio", "must", "aim")
	for _, r := range t.rows {
		fmt.Printf("%-58s %16s %8s %14s %16s\n", r.work, r.measured, r.ratio, r.must, r.aim)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

func (t *table) measure(ctx context.Context, days packages, dataDir string) (err error) {
	hub, err := hubtest.Single(ctx, dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hub.Stop()) }()
	c, err := hub.Client(ctx)
	if err != nil {
		return err
	}
	if err := c.CreateDistrict(ctx, district); err != nil {
		return err
	}
	if err := t.syncs(ctx, c, days); err != nil {
		return err
	}
	if err := t.reads(ctx, hub, c); err != nil {
		return err
	}
	if err := t.watch(ctx, hub, c, days); err != nil {
		return err
	}
	peak, err := hub.PeakMemory()
	if err != nil {
		return err
	}
	t.absolute("peak memory of the whole process", fmt.Sprintf("%d MiB", peak>>20), "≤ 1024 MiB", "≤ 400 MiB")

	if err := hub.Stop(); err != nil {
		return err
	}
	if hub, err = hubtest.Single(ctx, dataDir); err != nil {
		return err
	}
	if c, err = hub.Client(ctx); err != nil {
		return err
	}
	start := time.Now()
	if err := report(ctx, c); err != nil {
		return err
	}
	t.against("readiness report from nothing / DuckDB load + queries", time.Since(start), t.duckdb, 2, 1)
	return nil
}
