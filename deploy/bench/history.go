package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/securly/sync/deploy/hubtest"
	"github.com/securly/sync/services/rostergen"
)

// nights is how many revisions the long history has behind its first one.
const nights = 60

// history compares a district that has changed by 1 % every night with one that
// was synced for the first time with what the other has come to.
func (t *table) history(ctx context.Context, students int, scratch string) (err error) {
	day := func(n int) (string, error) {
		path := filepath.Join(scratch, "night.zip")
		cfg := rostergen.Config{
			Seed: 1, Students: students, Version: rostergen.V1p1, Flaws: rostergen.Realistic(students), Day: n, ChangeShare: 0.01,
		}
		return path, errors.Join(removed(path), write(cfg, path, func(d *rostergen.District) error { return zipTo(path, d) }))
	}
	var sides [2]side // with a history, and fresh
	for i := range sides {
		s := &sides[i]
		if s.hub, err = hubtest.Single(ctx, filepath.Join(scratch, fmt.Sprint("history-", i))); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.hub.Stop()) }()
		if s.c, err = s.hub.Client(ctx); err != nil {
			return err
		}
		if err := s.c.CreateDistrict(ctx, district); err != nil {
			return err
		}
	}
	for n := range nights + 1 {
		zip, err := day(1 + n)
		if err != nil {
			return err
		}
		if err := synced(ctx, sides[0].c, zip, true); err != nil {
			return err
		}
		if n < nights {
			continue
		}
		if err := synced(ctx, sides[1].c, zip, true); err != nil {
			return err
		}
	}
	for i := range sides {
		if err := report(ctx, sides[i].c); err != nil {
			return err
		}
	}
	return t.compare(ctx, sides, day)
}

type side struct {
	hub *hubtest.Hub
	c   *hubtest.Client
}

// compare does the same on both sides in turns, so that whatever else the
// machine does meets both, and counts the best of several tries.
func (t *table) compare(ctx context.Context, sides [2]side, day func(int) (string, error)) error {
	const tries = 7
	for _, w := range []struct {
		name string
		do   func(s side, zip string) error
	}{
		{"pages", func(s side, _ string) error { _, err := pages(ctx, s.c, 20); return err }},
		{"export", func(s side, _ string) error { _, err := export(ctx, s.hub, s.c); return err }},
		{"sync, 1 % changed", func(s side, zip string) error { return synced(ctx, s.c, zip, true) }},
	} {
		var uses [2][]usage
		for try := range tries {
			zip, err := day(nights + 2 + try)
			if err != nil {
				return err
			}
			for i, s := range sides {
				u, err := t.measure(s.hub, func() error { return w.do(s, zip) })
				if err != nil {
					return err
				}
				uses[i] = append(uses[i], u)
			}
		}
		best := func(u []usage) usage {
			return slices.MinFunc(u, func(a, b usage) int { return cmp.Compare(a.took, b.took) })
		}
		aged, fresh := best(uses[0]), best(uses[1])
		t.against(fmt.Sprintf("%s after %d revisions of 1 %% / freshly loaded", w.name, nights), aged, fresh.took, 1.3, 1.1)
	}
	return nil
}

func synced(ctx context.Context, c *hubtest.Client, zip string, changes bool) error {
	s, err := c.UploadAndSync(ctx, district, zip)
	switch {
	case err != nil:
		return err
	case s.State != "COMPLETED":
		return fmt.Errorf("%s ended %s: %s", s.Name, s.State, s.Error)
	case (s.Revision != 0) != changes:
		return fmt.Errorf("%s made revision %d, counts %v", s.Name, s.Revision, s.Counts)
	}
	return nil
}

func removed(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
