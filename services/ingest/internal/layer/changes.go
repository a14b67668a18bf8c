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

// Same tells that both files say the same.
func (c Change) Same() bool {
	return c.Was && c.Is && c.Before.Hash == c.After.Hash && c.Before.Overlay == c.After.Overlay
}

// ChangesKey is where the differences of a layer file are.
func ChangesKey(key string) string { return key + ".changes" }

// change takes a difference down if there is one.
func (w *Writer) change(c Change) error {
	if w.changes == nil || c.Same() {
		return nil
	}
	if c.Was {
		if err := w.changes.add(Entry{ID: c.ID, Hash: c.Before.Hash, Deleted: c.Before.Deleted, Overlay: c.Before.Overlay, before: true}); err != nil {
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
				was = Change{ID: id, Was: true, Before: Entry{ID: id, Hash: e.Hash, Deleted: e.Deleted, Overlay: e.Overlay}}
			} else if !yield(Change{ID: e.ID, Is: true, After: e}, nil) {
				return
			}
		}
		gone()
	}
}

// Differences yields in what a layer file differs from another. A change is valid
// until the next one.
func Differences(before, after iter.Seq2[Entry, error]) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for c, err := range compare(before, after) {
			if (err != nil || !c.Same()) && !yield(c, err) {
				return
			}
		}
	}
}

// compare walks through two layer files side by side and yields what is in
// either, also where both say the same.
func compare(before, after iter.Seq2[Entry, error]) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		next, stop := iter.Pull2(before)
		defer stop()
		was, err, more := next()
		// gone passes on what is before id, or all that is left.
		gone := func(id []byte, all bool) bool {
			for err == nil && more && (all || bytes.Compare(was.ID, id) < 0) {
				if !yield(Change{ID: was.ID, Was: true, Before: was}, nil) {
					return false
				}
				was, err, more = next()
			}
			if err != nil {
				yield(Change{}, err)
			}
			return err == nil
		}
		for e, failed := range after {
			if failed != nil {
				yield(Change{}, failed)
				return
			}
			if !gone(e.ID, false) {
				return
			}
			c := Change{ID: e.ID, Is: true, After: e}
			if more && bytes.Equal(was.ID, e.ID) {
				c.Was, c.Before = true, was
			}
			if !yield(c, nil) {
				return
			}
			if c.Was {
				was, err, more = next()
			}
		}
		gone(nil, true)
	}
}

// WriteChanged writes a layer file and what differs in it from the one before.
func WriteChanged(w *Writer, before, after iter.Seq2[Entry, error]) error {
	for c, err := range compare(before, after) {
		if err == nil {
			err = w.change(c)
		}
		if err == nil && c.Is {
			err = w.Add(c.After)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
