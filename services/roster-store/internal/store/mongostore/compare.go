package mongostore

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/signals"
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
	signals  *signals.Counter
	crowded  map[string]bool // students of the first plan, see signals.Crowded

	entity  store.Entity
	counts  store.Counts
	asked   []store.ImportRecord // wait for their live records, see ask
	changes []change             // wait for what they replace, see flush
	bytes   int                  // of both
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

// liveRecords walks the live records of an entity by id. It is empty for one
// that the candidate is not complete for.
type liveRecords struct {
	next func() ([]version, error, bool)
	stop func()

	batch []version
	err   error
}

func (l *liveRecords) close() {
	if l != nil && l.stop != nil {
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
	if !p.whole() {
		return l
	}
	l.next, l.stop = iter.Pull2(p.c.s.batches(p.c.ctx, e, at(p.c.key, p.plan.Base), "", "_id", "d", "t", "b"))
	return l
}

// whole tells whether the candidate is complete for the entity: all live records
// are compared with it, else only those that it names.
func (p *staging) whole() bool { return slices.Contains(p.complete, p.entity) }

func (p *staging) put(r store.ImportRecord, old *liveRecords) error {
	if r.Body != nil {
		p.counts.Received++
	}
	if !p.whole() {
		r.Body = slices.Clone(r.Body)
		p.asked = append(p.asked, r)
		if p.bytes += len(r.ID) + len(r.Body) + 100; len(p.asked) < batchCount && p.bytes < batchBytes {
			return nil
		}
		return p.ask()
	}
	for {
		v, err := old.peek()
		switch {
		case err != nil:
			return err
		case v == nil || v.Record > r.ID:
			return p.compare(r, nil)
		case v.Record == r.ID:
			old.skip()
			return p.compare(r, v)
		}
		if err := p.absent(v); err != nil {
			return err
		}
		old.skip()
	}
}

// ask looks up the live records of those that wait, and stages what is left.
func (p *staging) ask() error {
	ids := make([]string, 0, len(p.asked))
	for _, r := range p.asked {
		ids = append(ids, r.ID)
	}
	live := found{}
	if err := p.c.s.ofIDs(p.c.ctx, p.entity, at(p.c.key, p.plan.Base), ids, live.add, find(indexRecord).SetProjection(bson.D{
		{Key: "id", Value: 1}, {Key: "f", Value: 1}, {Key: "s", Value: 1}, {Key: "x", Value: 1}, {Key: "h", Value: 1},
	})); err != nil {
		return err
	}
	asked := p.asked
	p.asked, p.bytes = nil, 0
	for _, r := range asked {
		var v *version
		if known, ok := live[r.ID]; ok {
			v = &known
		}
		if err := p.compare(r, v); err != nil {
			return err
		}
	}
	return p.flush()
}

// compare stages what a record changes of the live one, nil if there is none.
func (p *staging) compare(r store.ImportRecord, v *version) error {
	ch := change{id: r.ID, hash: r.Hash, body: r.Body}
	switch {
	case r.Body == nil && v == nil:
		return nil
	case r.Body == nil:
		return p.absent(v)
	case v != nil && bytes.Equal(v.Hash, r.Hash[:]):
		p.counts.Unchanged++
		return nil
	case v != nil:
		ch.base, ch.was = v.Since, v.Tombstone
	}
	if p.whole() {
		ch.body = slices.Clone(r.Body)
	}
	return p.add(ch)
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
	for p.whole() {
		v, err := old.peek()
		if err != nil {
			return err
		}
		if v == nil {
			break
		}
		if err := p.absent(v); err != nil {
			return err
		}
		old.skip()
	}
	if err := p.ask(); err != nil {
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
