package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// stream walks ids in ascending order. seek goes to the first id not below the
// given one, next to the one after.
type stream interface {
	seek(id []byte) (bool, error)
	next() (bool, error)
	id() []byte
	close() error
}

// openAll opens the ids that meet all conditions.
func (v *view) openAll(ctx context.Context, e store.Entity, conditions []search.Condition) (stream, error) {
	type sized struct {
		stream
		size int
	}
	var parts []sized
	closeAll := func(err error) error {
		for _, p := range parts {
			err = errors.Join(err, p.close())
		}
		return err
	}
	for _, c := range conditions {
		s, size, err := v.openOne(ctx, e, c)
		if err != nil {
			return nil, closeAll(err)
		}
		parts = append(parts, sized{s, size})
	}
	slices.SortStableFunc(parts, func(a, b sized) int { return cmp.Compare(a.size, b.size) })
	if len(parts) == 1 {
		return parts[0].stream, nil
	}
	all := &both{}
	for _, p := range parts {
		all.parts = append(all.parts, p.stream)
	}
	return all, nil
}

// openOne opens the ids that meet a condition and says how many they are.
func (v *view) openOne(ctx context.Context, e store.Entity, c search.Condition) (stream, int, error) {
	key := unionKey{v.head, filterKey(e, []search.Condition{c})}
	if ids, ok := v.d.unions.Get(key); ok {
		return &fixed{ids: ids}, len(ids), nil
	}
	var terms []search.Term
	for _, f := range c.Fields {
		for _, value := range c.Values {
			t := search.Term{Field: f, Value: value}
			if !c.Prefix {
				terms = append(terms, t)
				continue
			}
			found, err := v.termsWith(ctx, e, t)
			if err != nil {
				return nil, 0, err
			}
			terms = append(terms, found...)
		}
	}
	if len(terms) == 1 {
		prefix := listKey(spaceIndex, e, terms[0])
		n, err := listLen(v.snap, prefix, listKey(spaceCount, e, terms[0]))
		if err != nil {
			return nil, 0, err
		}
		l, err := openList(v.snap, prefix)
		return l, n, err
	}
	if len(terms) <= lazyLists {
		return v.openUnion(e, terms)
	}
	ids, err := v.merged(ctx, e, terms)
	if err == nil && len(ids) <= rememberedIDs {
		v.d.unions.Add(key, ids)
	}
	return &fixed{ids: ids}, len(ids), err
}

// lazyLists is up to how many lists are merged while they are read; more are
// merged in memory first.
const lazyLists = 16

// rememberedIDs is how long a list merged in memory may be to be remembered.
const rememberedIDs = 100_000

// openUnion walks several lists side by side. The size is at most the one
// returned.
func (v *view) openUnion(e store.Entity, terms []search.Term) (stream, int, error) {
	u, size := &union{}, 0
	for _, t := range terms {
		prefix := listKey(spaceIndex, e, t)
		n, err := listLen(v.snap, prefix, listKey(spaceCount, e, t))
		var l *list
		if err == nil {
			l, err = openList(v.snap, prefix)
		}
		if err != nil {
			return nil, 0, errors.Join(err, u.close())
		}
		u.parts, u.ok, size = append(u.parts, l), append(u.ok, false), size+n
	}
	return u, size, nil
}

// unionKey names a list merged in memory.
type unionKey struct {
	head   store.Revision
	filter string
}

// merged reads many lists into one.
func (v *view) merged(ctx context.Context, e store.Entity, terms []search.Term) ([]string, error) {
	var ids []string
	for _, t := range terms {
		l, err := openList(v.snap, listKey(spaceIndex, e, t))
		if err != nil {
			return nil, err
		}
		ok, err := l.seek(nil)
		for ; ok && err == nil; ok, err = l.next() {
			ids = append(ids, string(l.id()))
		}
		if err = errors.Join(err, l.close(), v.d.check(ctx)); err != nil {
			return nil, err
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// termsWith lists the terms whose values begin with that of t.
func (v *view) termsWith(ctx context.Context, e store.Entity, t search.Term) ([]search.Term, error) {
	prefix := listKey(spaceIndex, e, t)
	prefix = prefix[:len(prefix)-2] // without the end of the value
	it, err := v.snap.NewIter(span(prefix))
	if err != nil {
		return nil, err
	}
	var out []search.Term
	for ok := it.First(); ok; {
		value, _, valid := unescape(it.Key()[3:])
		if !valid {
			return nil, errors.Join(errBlock, it.Close())
		}
		found := search.Term{Field: t.Field, Value: string(value)}
		out = append(out, found)
		if err := v.d.check(ctx); err != nil {
			return nil, errors.Join(err, it.Close())
		}
		ok = it.SeekGE(afterKey(listKey(spaceIndex, e, found)))
	}
	return out, errors.Join(it.Error(), it.Close())
}

// fixed is a stream of ids in memory.
type fixed struct {
	ids []string
	pos int
}

func (f *fixed) seek(id []byte) (bool, error) {
	f.pos, _ = slices.BinarySearchFunc(f.ids, id, func(a string, b []byte) int { return strings.Compare(a, string(b)) })
	return f.pos < len(f.ids), nil
}

func (f *fixed) next() (bool, error) {
	f.pos++
	return f.pos < len(f.ids), nil
}

func (f *fixed) id() []byte { return []byte(f.ids[f.pos]) }

func (f *fixed) close() error { return nil }

// union walks the ids that any part has, each once.
type union struct {
	parts []*list
	ok    []bool
	min   int
}

func (u *union) seek(id []byte) (bool, error) {
	for i, p := range u.parts {
		var err error
		if u.ok[i], err = p.seek(id); err != nil {
			return false, err
		}
	}
	return u.least(), nil
}

func (u *union) next() (bool, error) {
	id := bytes.Clone(u.id())
	for i, p := range u.parts {
		var err error
		if u.ok[i] && bytes.Equal(p.id(), id) {
			if u.ok[i], err = p.next(); err != nil {
				return false, err
			}
		}
	}
	return u.least(), nil
}

// least finds the part with the smallest id.
func (u *union) least() bool {
	u.min = -1
	for i, p := range u.parts {
		if u.ok[i] && (u.min < 0 || bytes.Compare(p.id(), u.parts[u.min].id()) < 0) {
			u.min = i
		}
	}
	return u.min >= 0
}

func (u *union) id() []byte { return u.parts[u.min].id() }

func (u *union) close() error {
	var errs []error
	for _, p := range u.parts {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// both walks the ids that all parts have; the first part is the shortest.
type both struct{ parts []stream }

func (b *both) seek(id []byte) (bool, error) {
	ok, err := b.parts[0].seek(id)
	if !ok || err != nil {
		return false, err
	}
	return b.agree()
}

func (b *both) next() (bool, error) {
	ok, err := b.parts[0].next()
	if !ok || err != nil {
		return false, err
	}
	return b.agree()
}

// agree moves all parts forward to an id that all have.
func (b *both) agree() (bool, error) {
	for i := 1; i < len(b.parts); i++ {
		ok, err := b.parts[i].seek(b.parts[0].id())
		if !ok || err != nil {
			return false, err
		}
		if !bytes.Equal(b.parts[i].id(), b.parts[0].id()) {
			ok, err = b.parts[0].seek(b.parts[i].id())
			if !ok || err != nil {
				return false, err
			}
			i = 0
		}
	}
	return true, nil
}

func (b *both) id() []byte { return b.parts[0].id() }

func (b *both) close() error {
	var errs []error
	for _, p := range b.parts {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}
