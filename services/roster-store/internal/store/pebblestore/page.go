package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

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
	for ok && err == nil {
		if n++; n%4096 == 0 {
			if err = v.d.check(ctx); err != nil {
				break
			}
		}
		ok, err = s.next()
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
