package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// sink takes what a commit writes, to make it visible at once. Within a key
// space the keys ascend.
type sink interface {
	setter
	Delete(key []byte, o *pebble.WriteOptions) error
	// commit makes everything visible and durable.
	commit(ctx context.Context) error
	close() error
}

// batchSink is for ordinary commits.
type batchSink struct {
	*pebble.Batch
}

func (b batchSink) commit(context.Context) error { return b.Commit(pebble.Sync) }

func (b batchSink) close() error { return b.Close() }

// tableSink is for commits too large to be held in memory: it writes a series
// of table files per key space.
type tableSink struct {
	d      *district
	dir    string
	spaces map[byte]*series
}

func (t *tableSink) space(key []byte) *series {
	name := key[0]
	if bytes.IndexByte([]byte{spaceMeta, spacePlan, spacePending, spaceRevision, spaceTime}, name) >= 0 {
		name = spaceMeta // single values share a file
	}
	if t.spaces[name] == nil {
		t.spaces[name] = &series{d: t.d, dir: t.dir, name: "space-" + string(name), upper: true}
	}
	return t.spaces[name]
}

func (t *tableSink) Set(key, value []byte, o *pebble.WriteOptions) error {
	return t.space(key).Set(key, value, o)
}

func (t *tableSink) Delete(key []byte, _ *pebble.WriteOptions) error {
	return t.space(key).delete(key)
}

func (t *tableSink) commit(ctx context.Context) error {
	var paths []string
	for _, s := range t.spaces {
		if err := s.close(); err != nil {
			return err
		}
		paths = append(paths, s.paths...)
	}
	if err := t.d.db.Ingest(ctx, paths); err != nil {
		return fmt.Errorf("ingest tables: %w", err)
	}
	return nil
}

func (t *tableSink) close() error {
	var errs []error
	for _, s := range t.spaces {
		errs = append(errs, s.close())
	}
	return errors.Join(append(errs, os.RemoveAll(t.dir))...)
}

// newSink opens where a commit of a plan is written to, and a folder for what
// does not fit into memory, which only a large one needs.
func (d *district) newSink(plan store.Plan) (out sink, dir string, err error) {
	if plan.Changes() < d.largeCommit {
		return batchSink{d.db.NewBatch()}, "", nil
	}
	dir = filepath.Join(d.dir, scratchDir, "commit")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, "", fmt.Errorf("make folder for a large commit: %w", err)
	}
	return &tableSink{d: d, dir: dir, spaces: map[byte]*series{}}, dir, nil
}

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
