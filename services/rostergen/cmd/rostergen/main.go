// Command rostergen writes a made-up school district as a OneRoster CSV
// package, and beside it what a correct import has to come to.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/securly/sync/services/rostergen"
)

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "rostergen:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var (
		cfg                           rostergen.Config
		out, expected, flaws, refDate string
		guardians                     string
	)
	cmd := &cobra.Command{
		Use:   "rostergen --students N --out district.zip|DIR",
		Short: "Write a made-up school district as a OneRoster CSV package",
		Example: `  rostergen --students 2000 --flaws realistic --out district.zip
  rostergen --students 2000 --out district.zip --guardians-out guardianData.csv
  rostergen --students 100000 --day 2 --change 0.01 --delta --out day2.zip`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) (err error) {
			if cfg.Flaws, err = parseFlaws(flaws, cfg.Students); err != nil {
				return err
			}
			if cfg.ReferenceDate, err = time.Parse(time.DateOnly, refDate); err != nil {
				return fmt.Errorf("--today %q: want a date like 2026-10-14", refDate)
			}
			if expected == "" {
				expected = filepath.Join(filepath.Dir(filepath.Clean(out)), "expected.json")
			}
			return write(cfg, out, expected, guardians)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&cfg.Seed, "seed", 1, "the same seed and flags give the same bytes")
	f.IntVar(&cfg.Students, "students", 2000, "students on day one, 50 to 1,000,000")
	f.StringVar(&cfg.Version, "oneroster", rostergen.V1p2, "version of OneRoster, 1.1 or 1.2")
	f.StringVar(&out, "out", "", "zip file, or directory for loose files (required)")
	f.StringVar(&expected, "expected", "", "file for the expected counts (default expected.json beside --out)")
	f.StringVar(&guardians, "guardians-out", "", "file for a guardian file of the same district (default none)")
	f.StringVar(&flaws, "flaws", "none", "none, realistic, or each=N for N findings of every check")
	f.IntVar(&cfg.Day, "day", 1, "export as of this day")
	f.Float64Var(&cfg.ChangeShare, "change", 0.01, "share of records that change from one day to the next")
	f.BoolVar(&cfg.Delta, "delta", false, "write only the changes since the day before")
	f.BoolVar(&cfg.Shuffle, "shuffle", false, "write the rows of each file in random order")
	f.StringVar(&refDate, "today", "2026-10-14", "a date in the current school year")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func parseFlaws(s string, students int) (rostergen.Flaws, error) {
	switch s {
	case "none":
		return rostergen.Flaws{}, nil
	case "realistic":
		return rostergen.Realistic(students), nil
	}
	if n, ok := strings.CutPrefix(s, "each="); ok {
		if n, err := strconv.Atoi(n); err == nil && n >= 0 {
			return rostergen.Each(n), nil
		}
	}
	return rostergen.Flaws{}, fmt.Errorf("--flaws %q: want none, realistic or each=N", s)
}

func write(cfg rostergen.Config, out, expected, guardians string) error {
	d, err := rostergen.New(cfg)
	if err != nil {
		return err
	}
	if strings.EqualFold(filepath.Ext(out), ".zip") {
		err = writeZip(d, out)
	} else {
		err = d.WriteDir(out)
	}
	if err != nil {
		return err
	}
	e := d.Expected()
	if guardians != "" {
		if e.Guardians, err = writeGuardians(d, guardians); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the expected counts: %w", err)
	}
	if err := os.WriteFile(expected, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the expected counts: %w", err)
	}
	return nil
}

func writeGuardians(d *rostergen.District, path string) (_ *rostergen.Guardians, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create the guardian file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := d.WriteGuardians(f)
	return &n, err
}

func writeZip(d *rostergen.District, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("create the package: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return d.WriteZip(f)
}
