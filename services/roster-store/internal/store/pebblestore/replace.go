package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// replacement is a staged change with the live version that it replaces.
type replacement struct {
	entity      store.Entity
	id          string
	staged      staged
	flags       byte   // of the live version
	body        []byte // of the live version, nil if there is none
	before, now search.Facts
}

// replacementsAtOnce are read while those before are written.
const replacementsAtOnce = 256

// replace writes the new versions of all records. They are read ahead, side by
// side with what is written.
func (c *change) replace(ctx context.Context) error {
	g, reading := errgroup.WithContext(ctx)
	chunks := make(chan []replacement, 2)
	g.Go(func() error {
		defer close(chunks)
		return c.read(reading, chunks)
	})
	g.Go(func() error {
		for chunk := range chunks {
			for i := range chunk {
				if err := c.record(&chunk[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return g.Wait()
}

// read hands on all that is staged.
func (c *change) read(ctx context.Context, to chan<- []replacement) error {
	prefix := planKey(spaceStaged, c.doc.ID)
	it, err := c.d.db.NewIter(span(prefix))
	if err != nil {
		return err
	}
	var keys, values [][]byte
	handOn := func() error {
		chunk := make([]replacement, len(keys))
		if err := sideBySide(len(keys), func(i int) (err error) {
			e, id := recordOf(keys[i])
			chunk[i], err = c.replacement(e, string(id), values[i])
			return err
		}); err != nil {
			return err
		}
		keys, values = keys[:0], values[:0]
		select {
		case to <- chunk:
		case <-ctx.Done():
		}
		return c.d.check(ctx)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			keys, values = append(keys, bytes.Clone(it.Key()[len(prefix):])), append(values, bytes.Clone(v))
		}
		if err == nil && len(keys) == replacementsAtOnce {
			err = handOn()
		}
	}
	if err = errors.Join(err, it.Error(), it.Close()); err != nil {
		return err
	}
	return handOn()
}

func (c *change) replacement(e store.Entity, id string, value []byte) (r replacement, err error) {
	r = replacement{entity: e, id: id}
	if r.staged, err = stagedOf(value); err != nil {
		return r, err
	}
	live, err := get(c.d.db, recordKey(spaceLive, e, id))
	if err != nil {
		return r, err
	}
	var from store.Revision
	if live != nil {
		if from, r.flags, r.body, err = revFlags(live); err != nil {
			return r, err
		}
	}
	if from != r.staged.base {
		return r, fmt.Errorf("%s %q was planned from revision %d, now it is of %d: %w",
			record.EntityName(e), id, r.staged.base, from, store.ErrStale)
	}
	if live != nil {
		if r.before, err = search.Read(e, id, r.body); err != nil {
			return r, err
		}
	}
	r.now, err = search.Read(e, id, r.staged.body)
	return r, err
}

// sideBySide calls do for the numbers below n, from as many goroutines as there
// are processors.
func sideBySide(n int, do func(i int) error) error {
	var g errgroup.Group
	share := max(1, (n+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	for start := 0; start < n; start += share {
		g.Go(func() error {
			for i := start; i < min(start+share, n); i++ {
				if err := do(i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}
