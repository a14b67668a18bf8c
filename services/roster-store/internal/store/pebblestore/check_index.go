package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// derived compares what was worked out anew, in tables, with what is stored.
func (k *check) derived(dir string) error {
	for _, part := range []struct {
		name      string
		space     byte
		invariant string
	}{{"terms-", spaceTerms, store.BrokenTerms}, {"enrol-", spaceEnrol, store.BrokenTerms}, {"schools-", spaceSchool, brokenSchool}} {
		want, err := k.tables(dir, part.name)
		if err != nil {
			return err
		}
		if err := errors.Join(k.same(part.space, want, part.invariant), want.Close()); err != nil {
			return err
		}
	}
	want, err := k.tables(dir, "index-")
	if err != nil {
		return err
	}
	again, err := k.tables(dir, "index-")
	if err != nil {
		return errors.Join(err, want.Close())
	}
	x := &indexCheck{check: k, want: again}
	return errors.Join(x.lists(want), x.lengths(), want.Close(), again.Close())
}

// tables opens the tables whose names begin like this.
func (k *check) tables(dir, name string) (*pebble.Iterator, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), name) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return k.d.readTables(k.ctx, paths, nil)
}

// same compares a key space of single values.
func (k *check) same(space byte, want *pebble.Iterator, invariant string) error {
	have, err := k.snap.NewIter(span([]byte{space}))
	if err != nil {
		return err
	}
	more, wanted := have.First(), want.First()
	for (more || wanted) && err == nil {
		var was, is []byte
		if more {
			was = have.Key()
		}
		if wanted {
			is = want.Key()
		}
		switch c := compareOptional(was, is); {
		case c < 0:
			e, id := recordOf(was[1:])
			err = k.report(invariant, whereRecord(e, id), k.delete(was))
			more = have.Next()
		default:
			var a, b []byte
			if b, err = want.ValueAndErr(); err == nil && c == 0 {
				a, err = have.ValueAndErr()
			}
			if e, id := recordOf(is[1:]); err == nil && (c > 0 || !bytes.Equal(a, b)) {
				err = k.report(invariant, whereRecord(e, id), k.set(is, b))
			}
			wanted = want.Next()
			if c == 0 {
				more = have.Next()
			}
		}
		if err == nil {
			err = k.pause()
		}
	}
	return errors.Join(err, have.Error(), want.Error(), have.Close())
}

// compareOptional takes nil for what comes after everything.
func compareOptional(a, b []byte) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return bytes.Compare(a, b)
}

// indexCheck compares the lists of ids.
type indexCheck struct {
	*check
	want    *pebble.Iterator // all lists as they should be
	rebuilt []byte           // the list that was repaired last
}

func (x *indexCheck) lists(tables *pebble.Iterator) error {
	it, err := x.snap.NewIter(span([]byte{spaceIndex}))
	if err != nil {
		return err
	}
	have := &listWalk{it: it, damaged: func(list []byte) error {
		return x.report(store.BrokenTerms, record.EntityName(store.Entity(list[1])), x.rebuild(list))
	}}
	want := &listWalk{it: tables, damaged: func([]byte) error { return errBlock }}
	err = errors.Join(have.load(it.First()), want.load(tables.First()))
	for err == nil && (have.ok || want.ok) {
		c := have.compare(want)
		if c != 0 {
			odd := have
			if c > 0 {
				odd = want
			}
			err = x.report(store.BrokenTerms, whereRecord(store.Entity(odd.list[1]), odd.id()), x.rebuild(odd.list))
		}
		if c <= 0 && err == nil {
			err = have.next()
		}
		if c >= 0 && err == nil {
			err = want.next()
		}
		if err == nil {
			err = x.pause()
		}
	}
	return errors.Join(err, it.Close())
}

// rebuild replaces the blocks of a list.
func (x *indexCheck) rebuild(list []byte) func() error {
	list = bytes.Clone(list)
	return func() error {
		if bytes.Equal(x.rebuilt, list) {
			return nil
		}
		x.rebuilt = list
		if err := x.each(span(list), func(key, _ []byte) error { return x.batch.Delete(key, nil) }); err != nil {
			return err
		}
		for ok := x.want.SeekGE(list); ok && bytes.HasPrefix(x.want.Key(), list); ok = x.want.Next() {
			v, err := x.want.ValueAndErr()
			if err == nil {
				err = x.batch.Set(x.want.Key(), v, nil)
			}
			if err != nil {
				return err
			}
		}
		return x.want.Error()
	}
}

// lengths checks the stored lengths.
func (x *indexCheck) lengths() error {
	return x.each(span([]byte{spaceCount}), func(key, value []byte) error {
		list := append([]byte{spaceIndex}, key[1:]...)
		length := 0
		for ok := x.want.SeekGE(list); ok && bytes.HasPrefix(x.want.Key(), list); ok = x.want.Next() {
			n, err := blockLen(x.want)
			if err != nil {
				return err
			}
			length += n
		}
		if stored, n := binary.Uvarint(value); n > 0 && int(stored) == length {
			return x.want.Error()
		}
		return x.report(brokenLength, record.EntityName(store.Entity(key[1])), x.set(key, binary.AppendUvarint(nil, uint64(length))))
	})
}

// listWalk walks the ids of all lists, one list after the other.
type listWalk struct {
	it *pebble.Iterator
	// damaged is told the list of a block that cannot be read, or that does
	// not ascend.
	damaged func(list []byte) error

	list  []byte // what the keys of the list begin with
	last  []byte // the last id
	block block
	pos   int
	ok    bool
}

func (p *listWalk) id() []byte { return p.block.id(p.pos) }

func (p *listWalk) next() error {
	p.last = append(p.last[:0], p.id()...)
	if p.pos++; p.pos == p.block.len() {
		return p.load(p.it.Next())
	}
	if bytes.Compare(p.last, p.id()) >= 0 {
		return p.skip()
	}
	return nil
}

// load reads the block at the iterator.
func (p *listWalk) load(ok bool) error {
	if p.ok = ok; !ok {
		return p.it.Error()
	}
	key := p.it.Key()
	var first []byte
	valid := false
	if len(key) > 3 {
		_, first, valid = unescape(key[3:])
	}
	list := key[:len(key)-len(first)]
	if !bytes.Equal(list, p.list) {
		p.list, p.last = append(p.list[:0], list...), nil
	}
	v, err := p.it.ValueAndErr()
	if err != nil {
		return err
	}
	if !valid || p.block.decode(v) != nil || p.block.len() == 0 ||
		p.last != nil && bytes.Compare(p.last, first) >= 0 || bytes.Compare(first, p.block.id(0)) > 0 {
		return p.skip()
	}
	p.pos = 0
	return nil
}

// skip leaves out the rest of a damaged block.
func (p *listWalk) skip() error {
	if err := p.damaged(p.list); err != nil {
		return err
	}
	return p.load(p.it.Next())
}

// compare orders by list and id; what has ended comes last.
func (p *listWalk) compare(q *listWalk) int {
	if !p.ok || !q.ok {
		switch {
		case p.ok:
			return -1
		case q.ok:
			return 1
		}
		return 0
	}
	if c := bytes.Compare(p.list, q.list); c != 0 {
		return c
	}
	return bytes.Compare(p.id(), q.id())
}
