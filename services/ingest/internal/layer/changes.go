package layer

import (
	"bytes"
	"context"
	"iter"

	"gocloud.dev/blob"
)

// Change is a record in which a layer file differs from the one before it. Was
// and Is tell in which of them it is; at least one of them has it.
type Change struct {
	ID      []byte
	Was, Is bool
	// Before has no body.
	Before, After Entry
}

// ChangesKey is where the differences of a layer file are.
func ChangesKey(key string) string { return key + ".changes" }

// change takes a difference down if there is one.
func (w *Writer) change(c Change) error {
	if w.changes == nil || c.Was && c.Is && c.Before.Hash == c.After.Hash {
		return nil
	}
	if c.Was {
		if err := w.changes.add(Entry{ID: c.ID, Hash: c.Before.Hash, Deleted: c.Before.Deleted, before: true}); err != nil {
			return err
		}
	}
	if c.Is {
		return w.changes.add(c.After)
	}
	return nil
}

// ReadChanges yields the differences of a layer file from the one before it, in
// the order of the ids; they have so many entries as was counted. A change is
// valid until the next one.
func ReadChanges(ctx context.Context, bucket *blob.Bucket, key string, entries int64) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		var was Change // waits for what became of it
		var id []byte
		gone := func() bool {
			c := was
			was = Change{}
			return !c.Was || yield(c, nil)
		}
		for e, err := range Read(ctx, bucket, ChangesKey(key), entries) {
			if err != nil {
				yield(Change{}, err)
				return
			}
			if !e.before && was.Was && bytes.Equal(was.ID, e.ID) {
				was.Is, was.After = true, e
				if !gone() {
					return
				}
				continue
			}
			if !gone() {
				return
			}
			if e.before {
				id = append(id[:0], e.ID...)
				was = Change{ID: id, Was: true, Before: Entry{ID: id, Hash: e.Hash, Deleted: e.Deleted}}
			} else if !yield(Change{ID: e.ID, Is: true, After: e}, nil) {
				return
			}
		}
		gone()
	}
}

// Added yields a layer as differences from nothing.
func Added(entries iter.Seq2[Entry, error]) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for e, err := range entries {
			if !yield(Change{ID: e.ID, Is: true, After: e}, err) {
				return
			}
		}
	}
}
