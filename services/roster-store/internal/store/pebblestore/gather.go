package pebblestore

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// gatherAbove is from which part of the live records in upper levels of the
// database on they are gathered: a record is then written about nine times.
const gatherAbove = 8

// gatherBytes is about how much is gathered in one step, which closing the
// district waits for.
const gatherBytes = 64 << 20

// gather begins to bring the live records of a district together if commits have
// scattered them, unless that is being done. The first load puts them one after
// the other at the bottom of the database, commits lay theirs over it. Pebble
// moves those down only when it has 64 MiB of them; until then whoever reads
// everything merges levels, which takes half as long again.
func (s *Store) gather(d *district) {
	if !d.gathering.TryLock() {
		return
	}
	d.background.Go(func() {
		defer d.gathering.Unlock()
		if err := d.gatherLive(); err != nil && d.ctx.Err() == nil {
			s.cfg.Log.Warn("gather live records", "district", d.id, "error", err)
		}
	})
}

func (d *district) gatherLive() error {
	start, end := []byte{spaceLive}, afterKey([]byte{spaceLive})
	levels, err := d.db.SSTables(pebble.WithKeyRangeFilter(start, end), pebble.WithApproximateSpanBytes())
	if err != nil {
		return fmt.Errorf("look at tables: %w", err)
	}
	bottom := len(levels) - 1
	var above, below uint64
	for level, tables := range levels {
		for _, t := range tables {
			if level < bottom {
				above += t.ApproximateSpanBytes
			} else {
				below += t.ApproximateSpanBytes
			}
		}
	}
	if above*gatherAbove <= below {
		return nil
	}
	ends, size := [][]byte(nil), uint64(0)
	for _, t := range levels[bottom] {
		if size += t.Size; size >= gatherBytes && t.Largest.UserKey[0] == spaceLive {
			ends, size = append(ends, t.Largest.UserKey), 0
		}
	}
	for _, stop := range append(ends, end) {
		if err := d.check(d.ctx); err != nil {
			return err
		}
		if err := d.db.Compact(d.ctx, start, stop, false); err != nil {
			return fmt.Errorf("compact: %w", err)
		}
		start = stop
	}
	return nil
}
