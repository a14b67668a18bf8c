package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// match remembers what a filter matches as of a revision.
type match struct {
	total int
	// What differs from the head, for revisions before it: ids that have
	// changed since, and those of them that matched then, both ascending.
	changed, matched []string
}

// matchKey is a filter at a revision, read with a head.
type matchKey struct {
	rev, head store.Revision
	filter    string
}

// page finds the records that match a query. At the head it follows the lists
// of ids. Before the head it follows the same lists, without the records that
// have changed since, and merges in those of them that matched then: the cost
// of looking back follows what has changed.
func (v *view) page(ctx context.Context, q store.Query, after string, limit int) (store.Page, error) {
	conditions, err := search.Conditions(q, v.scope)
	if err != nil || v.rev == 0 {
		return store.Page{}, err
	}
	if q.SourcedID != "" {
		return v.pageOne(q, conditions, after, limit)
	}
	if len(conditions) == 0 {
		return v.pageAll(ctx, q.Entity, after, limit)
	}
	m, err := v.match(ctx, q.Entity, conditions)
	if err != nil {
		return store.Page{}, fmt.Errorf("count matches: %w", err)
	}
	p := store.Page{Total: m.total}
	if limit == 0 || m.total == 0 {
		p.More = limit == 0 && m.total > 0
		return p, nil
	}
	ids, err := v.matching(ctx, q.Entity, conditions, m, after, limit+1)
	if err != nil {
		return store.Page{}, fmt.Errorf("find matches: %w", err)
	}
	if len(ids) > limit {
		ids, p.More = ids[:limit], true
	}
	for _, id := range ids {
		rec, ok, err := v.get(q.Entity, id)
		if err != nil {
			return store.Page{}, err
		}
		if ok {
			p.Records = append(p.Records, rec)
		}
	}
	return p, nil
}

// pageOne is for queries that name the record.
func (v *view) pageOne(q store.Query, conditions []search.Condition, after string, limit int) (store.Page, error) {
	rec, ok, err := v.get(q.Entity, q.SourcedID)
	if err != nil || !ok {
		return store.Page{}, err
	}
	if len(conditions) > 0 {
		terms, err := v.terms(q.Entity, q.SourcedID, rec.Body, v.rev)
		if err != nil || !search.AllMet(conditions, terms) {
			return store.Page{}, err
		}
	}
	p := store.Page{Total: 1}
	if q.SourcedID > after {
		if limit > 0 {
			p.Records = []store.Record{rec}
		} else {
			p.More = true
		}
	}
	return p, nil
}

// pageAll is for queries without a condition.
func (v *view) pageAll(ctx context.Context, e store.Entity, after string, limit int) (store.Page, error) {
	doc, err := v.d.revision(v.snap, v.rev)
	if err != nil {
		return store.Page{}, err
	}
	p := store.Page{Total: doc.Total[e]}
	all := &view{d: v.d, snap: v.snap, head: v.head, rev: v.rev, scope: store.Scope{All: true}}
	for rec, err := range all.scan(ctx, e, after) {
		if err != nil {
			return store.Page{}, err
		}
		if len(p.Records) == limit {
			p.More = true
			break
		}
		rec.Body = bytes.Clone(rec.Body)
		p.Records = append(p.Records, rec)
	}
	return p, nil
}

// match counts what matches; the answer is remembered.
func (v *view) match(ctx context.Context, e store.Entity, conditions []search.Condition) (*match, error) {
	key := matchKey{v.rev, v.head, filterKey(e, conditions)}
	if m, ok := v.d.matches.Get(key); ok {
		return m, nil
	}
	m := &match{}
	var err error
	if m.total, err = v.countLive(ctx, e, conditions); err != nil {
		return nil, err
	}
	if v.rev < v.head {
		if err := v.lookBack(ctx, e, conditions, m); err != nil {
			return nil, err
		}
	}
	v.d.matches.Add(key, m)
	return m, nil
}

func filterKey(e store.Entity, conditions []search.Condition) string {
	b := []byte{byte(e)}
	for _, c := range conditions {
		for _, f := range c.Fields {
			b = append(b, byte(f))
		}
		b = append(b, 0)
		if c.Prefix {
			b = append(b, 1)
		}
		b = append(b, 0)
		for _, s := range c.Values {
			b = append(binary.AppendUvarint(b, uint64(len(s)+1)), s...)
		}
		b = append(b, 0)
	}
	return string(b)
}

// lookBack finds what differs between the head and the revision.
func (v *view) lookBack(ctx context.Context, e store.Entity, conditions []search.Condition, m *match) error {
	var err error
	if m.changed, err = v.changedSince(ctx, e); err != nil {
		return err
	}
	for i, id := range m.changed {
		if i%1024 == 0 {
			if err := v.d.check(ctx); err != nil {
				return err
			}
		}
		for _, at := range []struct {
			rev store.Revision
			by  int
		}{{v.head, -1}, {v.rev, 1}} {
			rec, ok, err := v.at(e, id, at.rev)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			terms, err := v.terms(e, id, rec.Body, at.rev)
			if err != nil {
				return err
			}
			if search.AllMet(conditions, terms) {
				m.total += at.by
				if at.by > 0 {
					m.matched = append(m.matched, id)
				}
			}
		}
	}
	return nil
}

// changesKey names a result of changedSince.
type changesKey struct {
	rev, head store.Revision
	entity    store.Entity
}

// changedSince lists the records of an entity with a version or derived terms
// newer than the revision. The answer is shared by all filters.
func (v *view) changedSince(ctx context.Context, e store.Entity) ([]string, error) {
	key := changesKey{v.rev, v.head, e}
	if ids, ok := v.d.changes.Get(key); ok {
		return ids, nil
	}
	var ids []string
	for rev := v.rev + 1; rev <= v.head; rev++ {
		if err := v.d.check(ctx); err != nil {
			return nil, err
		}
		for _, space := range []byte{spaceChange, spaceTermsLog} {
			prefix := logKey(space, rev, e, "")
			it, err := v.snap.NewIter(span(prefix))
			if err != nil {
				return nil, err
			}
			for ok := it.First(); ok; ok = it.Next() {
				ids = append(ids, string(it.Key()[len(prefix):]))
			}
			if err := errors.Join(it.Error(), it.Close()); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	v.d.changes.Add(key, ids)
	return ids, nil
}

// countLive counts what matches at the head.
func (v *view) countLive(ctx context.Context, e store.Entity, conditions []search.Condition) (int, error) {
	if len(conditions) == 1 {
		if c := conditions[0]; !c.Prefix && len(c.Values) == 1 && len(c.Fields) == 1 {
			t := search.Term{Field: c.Fields[0], Value: c.Values[0]}
			return listLen(v.snap, listKey(spaceIndex, e, t), listKey(spaceCount, e, t))
		}
	}
	s, err := v.openAll(ctx, e, conditions)
	if err != nil {
		return 0, err
	}
	n := 0
	ok, err := s.seek(nil)
	for ; ok && err == nil; ok, err = s.next() {
		if n++; n%4096 == 0 {
			err = v.d.check(ctx)
		}
	}
	return n, errors.Join(err, s.close())
}

// matching returns the ids that match at the revision, after the given one.
func (v *view) matching(ctx context.Context, e store.Entity, conditions []search.Condition, m *match, after string, limit int) ([]string, error) {
	s, err := v.openAll(ctx, e, conditions)
	if err != nil {
		return nil, err
	}
	var out []string
	i, _ := slices.BinarySearchFunc(m.matched, after, func(a, b string) int {
		if a <= b {
			return -1
		}
		return 1
	})
	past := m.matched[i:]
	ok, err := s.seek([]byte(after + "\x00"))
	for n := 0; err == nil && len(out) < limit && (ok || len(past) > 0); n++ {
		if n%4096 == 0 {
			if err = v.d.check(ctx); err != nil {
				break
			}
		}
		if !ok || len(past) > 0 && past[0] < string(s.id()) {
			out, past = append(out, past[0]), past[1:]
			continue
		}
		// A changed record counts by what it was, so the list of the past has it.
		if _, changed := slices.BinarySearch(m.changed, string(s.id())); !changed {
			out = append(out, string(s.id()))
		}
		ok, err = s.next()
	}
	return out, errors.Join(err, s.close())
}

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
