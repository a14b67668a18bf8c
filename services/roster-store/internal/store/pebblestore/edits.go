package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// listEdits collects edits of lists and gives them back sorted by list and id.
// With a folder it writes them out when they become many.
type listEdits struct {
	d     *district
	dir   string
	items []listEdit
	runs  []string
}

// listEdit has the key that its id would have if it began a block.
type listEdit struct {
	key  []byte
	list int // so many bytes of the key name the list
	add  bool
}

// editsPerRecord times largeCommit edits are held in memory if there is a folder.
const editsPerRecord = 5

func (l *listEdits) add(e store.Entity, t search.Term, id string, add bool) error {
	key := listKey(spaceIndex, e, t)
	n := len(key)
	l.items = append(l.items, listEdit{append(key, id...), n, add})
	if l.dir == "" || len(l.items) < editsPerRecord*l.d.largeCommit {
		return nil
	}
	return l.flush()
}

func (l *listEdits) sort() {
	slices.SortFunc(l.items, func(a, b listEdit) int { return bytes.Compare(a.key, b.key) })
}

func (l *listEdits) flush() error {
	l.sort()
	out := &series{d: l.d, dir: l.dir, name: fmt.Sprintf("edits-%d", len(l.runs))}
	for _, e := range l.items {
		value := []byte{0, byte(e.list >> 8), byte(e.list)}
		if e.add {
			value[0] = 1
		}
		if err := out.Set(e.key, value, nil); err != nil {
			return errors.Join(err, out.close())
		}
	}
	l.items, l.runs = l.items[:0], append(l.runs, out.paths...)
	return out.close()
}

// lists yields the edits of one list after the other, in the order of the keys.
// A record is edited in a list at most once.
func (l *listEdits) lists(ctx context.Context) iter.Seq2[[]listEdit, error] {
	return func(yield func([]listEdit, error) bool) {
		var list []listEdit
		for e, err := range l.sorted(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			if len(list) > 0 && !bytes.Equal(list[0].key[:list[0].list], e.key[:e.list]) {
				if !yield(list, nil) {
					return
				}
				list = list[:0]
			}
			list = append(list, e)
		}
		if len(list) > 0 {
			yield(list, nil)
		}
	}
}

func (l *listEdits) sorted(ctx context.Context) iter.Seq2[listEdit, error] {
	return func(yield func(listEdit, error) bool) {
		if len(l.runs) == 0 {
			l.sort()
			for _, e := range l.items {
				if !yield(e, nil) {
					return
				}
			}
			return
		}
		err := l.flush()
		var it *pebble.Iterator
		if err == nil {
			it, err = l.d.readTables(ctx, l.runs, nil)
		}
		if err != nil {
			yield(listEdit{}, err)
			return
		}
		defer it.Close()
		for ok := it.First(); ok; ok = it.Next() {
			v, err := it.ValueAndErr()
			if err == nil && len(v) != 3 {
				err = errBlock
			}
			if err != nil {
				yield(listEdit{}, err)
				return
			}
			if !yield(listEdit{bytes.Clone(it.Key()), int(v[1])<<8 | int(v[2]), v[0] == 1}, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(listEdit{}, err)
		}
	}
}

// editsAtOnce are about how many edits are worked out before the first list that
// they change is written.
const editsAtOnce = 4096

// editedList is what edits make of a list.
type editedList struct {
	countKey []byte
	blocks   map[string][]byte
	count    int
}

// writeLists works lists out side by side and writes them in their order.
func (c *change) writeLists(ctx context.Context) error {
	var lists [][]listEdit
	n := 0
	flush := func() error {
		if err := c.d.check(ctx); err != nil {
			return err
		}
		edited := make([]editedList, len(lists))
		if err := sideBySide(len(lists), func(i int) (err error) {
			edited[i], err = c.editedList(lists[i])
			return err
		}); err != nil {
			return err
		}
		lists, n = lists[:0], 0
		for _, l := range edited {
			if err := c.writeList(l); err != nil {
				return err
			}
		}
		return nil
	}
	for list, err := range c.edits.lists(ctx) {
		if err == nil {
			lists, n = append(lists, slices.Clone(list)), n+len(list)
			if n >= editsAtOnce {
				err = flush()
			}
		}
		if err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

func (c *change) editedList(list []listEdit) (out editedList, err error) {
	n := list[0].list
	edits := make([]edit, 0, len(list))
	for _, e := range list {
		edits = append(edits, edit{e.key[n:], e.add})
	}
	out.countKey = append([]byte{spaceCount}, list[0].key[1:n]...)
	out.blocks, out.count, err = editList(c.d.db, list[0].key[:n], out.countKey, edits)
	return out, err
}

func (c *change) writeList(l editedList) (err error) {
	for _, key := range slices.Sorted(maps.Keys(l.blocks)) {
		if value := l.blocks[key]; value != nil {
			err = c.out.Set([]byte(key), value, nil)
		} else {
			err = c.out.Delete([]byte(key), nil)
		}
		if err != nil {
			return err
		}
	}
	if l.count < 0 {
		return nil
	}
	return c.out.Set(l.countKey, binary.AppendUvarint(nil, uint64(l.count)), nil)
}
