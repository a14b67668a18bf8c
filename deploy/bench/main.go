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
	"slices"
	"strings"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/rostergen"
)

// parts of the yardstick that are to be measured.
type parts map[string]bool

var allParts = []string{"syncs", "reads", "watch", "reports", "history"}

func main() {
	students := flag.Int("students", 100_000, "size of the district")
	aged := flag.Int("history-students", 20_000, "size of the district with a long history")
	keep := flag.String("dir", "", "keep the generated files here and use them again; one folder for each size")
	only := flag.String("only", strings.Join(allParts, ","), "measure these parts; reads, watch and reports need syncs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	wanted := parts{}
	for _, part := range strings.Split(*only, ",") {
		if !slices.Contains(allParts, part) {
			fmt.Fprintf(os.Stderr, "bench: -only: there is no part %q\n", part)
			os.Exit(2)
		}
		wanted[part] = true
	}
	if err := run(ctx, *students, *aged, *keep, wanted); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, students, aged int, dir string, wanted parts) (err error) {
	scratch, err := os.MkdirTemp("", "securly-sync-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if dir == "" {
		dir = scratch
	}
	var t table
	if wanted["syncs"] {
		if err := t.yardstick(ctx, students, dir, scratch, wanted); err != nil {
			return err
		}
	}
	if wanted["history"] {
		if err := t.history(ctx, aged, scratch); err != nil {
			return err
		}
	}
	t.print()
	return nil
}

// yardstick measures one district through its life.
func (t *table) yardstick(ctx context.Context, students int, dir, scratch string, wanted parts) (err error) {
	days, err := generate(dir, students)
	if err != nil {
		return err
	}
	rows, err := t.anchors(ctx, days.first, scratch, wanted)
	if err != nil {
		return err
	}
	fmt.Printf("%d students, %d rows; anchors: encoding/csv %.2f s, sqlite3 .import %.2f s, DuckDB load and queries %.2f s\n\n",
		students, rows, t.csv.Seconds(), t.sqlite.Seconds(), t.duckdb.Seconds())
	hub, err := hubtest.Single(ctx, filepath.Join(scratch, "data"))
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
	if err := t.syncs(ctx, hub, c, days, wanted["reports"]); err != nil {
		return err
	}
	if wanted["reads"] {
		if err := t.reads(ctx, hub, c); err != nil {
			return err
		}
	}
	if wanted["watch"] {
		if err := t.watch(ctx, hub, c, days); err != nil {
			return err
		}
	}
	t.absolute("peak memory of the whole process in all of the above", mebibytes(t.peak), usage{}, "≤ 1024 MiB", "≤ 400 MiB")
	if !wanted["reports"] {
		return nil
	}
	if err := hub.Stop(); err != nil {
		return err
	}
	if hub, err = hubtest.Single(ctx, filepath.Join(scratch, "data")); err != nil {
		return err
	}
	if c, err = hub.Client(ctx); err != nil {
		return err
	}
	u, err := t.measure(hub, func() error { return report(ctx, c) })
	if err != nil {
		return err
	}
	t.against("readiness report from nothing / DuckDB load + queries", u, t.duckdb, 2, 1)
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
		if err := write(cfg, path, func(d *rostergen.District) error { return zipTo(path, d) }); err != nil {
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

func zipTo(path string, d *rostergen.District) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(d.WriteZip(f), f.Close())
}
