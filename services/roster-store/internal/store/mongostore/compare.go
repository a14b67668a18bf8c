package mongostore

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// staging compares a candidate with the head and stages the differences. Of
// what is the same it keeps nothing.
type staging struct {
	c        *call
	token    string
	owner    string
	complete []store.Entity
	undo     *store.Undo
	plan     store.Plan
	seen     int64 // newest entry of the log whose erasure is in what is staged

	entity  store.Entity
	counts  store.Counts
	changes []change
	bytes   int
}

// change waits for the record that it replaces to be looked up, many at once.
type change struct {
	id   string
	base store.Revision // Since of what it replaces, 0 for none
	was  bool           // what it replaces is a tombstone
	hash record.Hash
	body []byte // nil if the record is absent from a complete candidate
}

// feed checks the order of the records and compares them.
func (p *staging) feed(records iter.Seq2[store.ImportRecord, error]) error {
	for _, e := range p.complete {
		if record.EntityName(e) == "" {
			return fmt.Errorf("complete entity %d: no such entity: %w", e, store.ErrInvalid)
		}
	}
	var (
		seen []store.Entity
		old  *liveRecords
		last string
	)
	defer func() { old.close() }()
	for r, err := range records {
		if err != nil {
			return err
		}
		if old == nil || r.Entity != p.entity {
			if record.EntityName(r.Entity) == "" {
				return fmt.Errorf("record of entity %d: no such entity: %w", r.Entity, store.ErrInvalid)
			}
			if slices.Contains(seen, r.Entity) {
				return fmt.Errorf("%s come in two runs: send all records of an entity together: %w", record.EntityName(r.Entity), store.ErrInvalid)
			}
			if err := p.end(old); err != nil {
				return err
			}
			seen, last = append(seen, r.Entity), ""
			old = p.begin(r.Entity)
		}
		if r.ID <= last {
			return fmt.Errorf("%s %q after %q: ids must not be empty and must ascend byte by byte: %w",
				record.EntityName(r.Entity), r.ID, last, store.ErrInvalid)
		}
		last = r.ID
		if err := p.put(r, old); err != nil {
			return err
		}
	}
	if err := p.end(old); err != nil {
		return err
	}
	old = nil
	for _, e := range p.complete {
		if slices.Contains(seen, e) {
			continue
		}
		seen = append(seen, e)
		if err := p.end(p.begin(e)); err != nil {
			return err
		}
	}
	return context.Cause(p.c.ctx)
}

// liveRecords walks the live records of an entity by id.
type liveRecords struct {
	next func() ([]version, error, bool)
	stop func()

	batch []version
	err   error
}

func (l *liveRecords) close() {
	if l != nil {
		l.stop()
	}
}

// peek returns the current record, nil after the last one.
func (l *liveRecords) peek() (*version, error) {
	if len(l.batch) == 0 && l.err == nil {
		l.batch, l.err, _ = l.next()
	}
	if len(l.batch) == 0 {
		return nil, l.err
	}
	return &l.batch[0], nil
}

func (l *liveRecords) skip() { l.batch = l.batch[1:] }

func (p *staging) begin(e store.Entity) *liveRecords {
	p.entity, p.counts = e, p.plan.Counts[e]
	l := &liveRecords{}
	l.next, l.stop = iter.Pull2(p.c.s.batches(p.c.ctx, e, at(p.c.key, p.plan.Base), "", "_id", "d", "t", "b"))
	return l
}

func (p *staging) put(r store.ImportRecord, old *liveRecords) error {
	if r.Body != nil {
		p.counts.Received++
	}
	for {
		v, err := old.peek()
		switch {
		case err != nil:
			return err
		case v != nil && v.Record < r.ID:
			if err := p.passed(v); err != nil {
				return err
			}
			old.skip()
			continue
		case r.Body == nil:
			if v == nil || v.Record > r.ID {
				return nil
			}
			old.skip()
			return p.absent(v)
		case v == nil || v.Record > r.ID:
			return p.add(change{id: r.ID, hash: r.Hash, body: slices.Clone(r.Body)})
		}
		old.skip()
		if record.Hash(v.Hash) == r.Hash {
			p.counts.Unchanged++
			return nil
		}
		return p.add(change{id: r.ID, base: v.Since, was: v.Tombstone, hash: r.Hash, body: slices.Clone(r.Body)})
	}
}

// passed stages the removal of a live record that the candidate leaves out, if
// it is complete.
func (p *staging) passed(v *version) error {
	if !slices.Contains(p.complete, p.entity) {
		return nil
	}
	return p.absent(v)
}

// absent stages the removal of a live record.
func (p *staging) absent(v *version) error {
	if v.Tombstone {
		return nil
	}
	return p.add(change{id: v.Record, base: v.Since})
}

// end finishes an entity.
func (p *staging) end(old *liveRecords) error {
	if old == nil {
		return nil
	}
	defer old.close()
	for {
		v, err := old.peek()
		if err != nil {
			return err
		}
		if v == nil {
			break
		}
		if err := p.passed(v); err != nil {
			return err
		}
		old.skip()
	}
	if err := p.flush(); err != nil {
		return err
	}
	p.plan.Counts[p.entity] = p.counts
	return nil
}

func (p *staging) add(ch change) error {
	p.changes = append(p.changes, ch)
	p.bytes += len(ch.id) + len(ch.body) + 100
	if len(p.changes) < batchCount && p.bytes < batchBytes {
		return nil
	}
	return p.flush()
}
