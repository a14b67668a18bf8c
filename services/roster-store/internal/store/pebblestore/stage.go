package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// staging takes a candidate record by record, each entity between begin and
// end, and makes a plan of it.
type staging interface {
	begin(e store.Entity) error
	put(r store.ImportRecord) error
	end() error
	// finish writes the plan so that it survives.
	finish() (store.Plan, error)
	// close releases what the staging holds; without a finish before it also
	// drops what was staged.
	close() error
}

// Import implements store.Plans.
func (s *Store) Import(ctx context.Context, h store.PlanHeader, records iter.Seq2[store.ImportRecord, error]) (_ store.Plan, err error) {
	d, release, err := s.useToStage(ctx, h.District)
	if err != nil {
		return store.Plan{}, err
	}
	defer release()
	s.setCopied(d.id, false)
	if h.Plan == "" {
		return store.Plan{}, fmt.Errorf("import into %s: the plan has no id: %w", d.id, store.ErrInvalid)
	}
	end, err := d.begin(h.Plan)
	if err != nil {
		return store.Plan{}, err
	}
	defer end()
	if doc, err := d.plan(d.db, h.Plan); err != nil || doc != nil {
		if err != nil {
			return store.Plan{}, err
		}
		return doc.Plan, nil
	}
	st, err := s.newStaging(ctx, d, h)
	if err != nil {
		return store.Plan{}, fmt.Errorf("stage plan %q of %s: %w", h.Plan, d.id, err)
	}
	defer func() { err = errors.Join(err, st.close()) }()
	if err := feed(ctx, d, h, records, st); err != nil {
		return store.Plan{}, fmt.Errorf("stage plan %q of %s: %w", h.Plan, d.id, err)
	}
	plan, err := st.finish()
	if err != nil {
		return store.Plan{}, fmt.Errorf("stage plan %q of %s: %w", h.Plan, d.id, err)
	}
	return plan, nil
}

func (s *Store) newStaging(ctx context.Context, d *district, h store.PlanHeader) (staging, error) {
	if err := d.write.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	err := d.raiseFence(h.Fence)
	d.write.Release(1)
	if err != nil {
		return nil, err
	}
	if err := d.dropStaged(h.Plan); err != nil {
		return nil, err
	}
	snap := d.db.NewSnapshot()
	rev, _, err := head(snap)
	var base revisionDoc
	if err == nil {
		base, err = d.revision(snap, rev)
	}
	if err != nil {
		return nil, errors.Join(err, snap.Close())
	}
	plan := planDoc{Undo: h.Undo, Plan: store.Plan{
		ID: h.Plan, Sync: h.Sync, Base: rev, LastUndo: base.LastUndo, CreateTime: s.now(),
		Counts:  map[store.Entity]store.Counts{},
		Schools: map[string]map[store.Entity]store.Counts{},
	}}
	for e, n := range h.Unsent {
		plan.Counts[e] = store.Counts{Received: n, Unchanged: n}
	}
	if rev == 0 {
		if err := snap.Close(); err != nil {
			return nil, err
		}
		return newBulk(d, d.stagingDir(plan.ID), plan)
	}
	return &comparing{d: d, snap: snap, plan: plan, complete: h.Complete, batch: d.db.NewBatch()}, nil
}

// feed checks the order of the records and passes them on.
func feed(ctx context.Context, d *district, h store.PlanHeader, records iter.Seq2[store.ImportRecord, error], st staging) error {
	for _, e := range h.Complete {
		if record.EntityName(e) == "" {
			return fmt.Errorf("complete entity %d: no such entity: %w", e, store.ErrInvalid)
		}
	}
	var (
		seen   []store.Entity
		entity store.Entity
		last   []byte
		n      int
	)
	for r, err := range records {
		if err != nil {
			return err
		}
		if n++; n%1024 == 0 {
			if err := d.check(ctx); err != nil {
				return err
			}
		}
		if r.Entity != entity {
			if record.EntityName(r.Entity) == "" {
				return fmt.Errorf("record of entity %d: no such entity: %w", r.Entity, store.ErrInvalid)
			}
			if slices.Contains(seen, r.Entity) {
				return fmt.Errorf("%s come in two runs: send all records of an entity together: %w", record.EntityName(r.Entity), store.ErrInvalid)
			}
			if entity != 0 {
				if err := st.end(); err != nil {
					return err
				}
			}
			entity, seen, last = r.Entity, append(seen, r.Entity), last[:0]
			if err := st.begin(entity); err != nil {
				return err
			}
		}
		if r.ID <= string(last) {
			return fmt.Errorf("%s %q after %q: ids must not be empty and must ascend byte by byte: %w",
				record.EntityName(entity), r.ID, last, store.ErrInvalid)
		}
		last = append(last[:0], r.ID...)
		if err := st.put(r); err != nil {
			return err
		}
	}
	if entity != 0 {
		if err := st.end(); err != nil {
			return err
		}
	}
	for _, e := range h.Complete {
		if slices.Contains(seen, e) {
			continue
		}
		seen = append(seen, e)
		if err := errors.Join(st.begin(e), st.end()); err != nil {
			return err
		}
	}
	return d.check(ctx)
}

// comparing stages the differences from the live records: a merge of two
// ascending streams that keeps nothing of what is the same.
type comparing struct {
	d        *district
	snap     *pebble.Snapshot
	plan     planDoc
	complete []store.Entity
	batch    *pebble.Batch
	finished bool

	entity store.Entity
	whole  bool // the candidate is complete for the entity
	counts store.Counts
	it     *pebble.Iterator // over spaceHash of the entity
	more   bool
}

// stageBytes is when staged changes are written out.
const stageBytes = 1 << 20

func (c *comparing) begin(e store.Entity) (err error) {
	c.entity, c.whole, c.counts = e, slices.Contains(c.complete, e), c.plan.Counts[e]
	if c.it, err = c.snap.NewIter(span([]byte{spaceHash, byte(e)})); err != nil {
		return fmt.Errorf("compare %s: %w", record.EntityName(e), err)
	}
	c.more = c.it.First()
	return nil
}

func (c *comparing) put(r store.ImportRecord) error {
	if c.whole {
		for c.more && string(c.it.Key()[2:]) < r.ID {
			if err := c.absent(); err != nil {
				return err
			}
			c.more = c.it.Next()
		}
	} else {
		c.more = c.it.SeekGE(recordKey(spaceHash, c.entity, r.ID))
	}
	there := c.more && string(c.it.Key()[2:]) == r.ID
	if r.Body == nil {
		if !there {
			return c.it.Error()
		}
		err := c.absent()
		c.more = c.it.Next()
		return err
	}
	c.counts.Received++
	if !there {
		return c.change(r, 0, 0)
	}
	from, flags, hash, err := c.live()
	if err != nil {
		return err
	}
	same := bytes.Equal(hash, r.Hash[:]) // before Next, which owns hash
	c.more = c.it.Next()
	if same {
		c.counts.Unchanged++
		return nil
	}
	return c.change(r, from, flags)
}

func (c *comparing) live() (from store.Revision, flags byte, hash []byte, err error) {
	v, err := c.it.ValueAndErr()
	if err != nil {
		return 0, 0, nil, err
	}
	return revFlags(v)
}

// change stages a record that differs from the live one, from 0 if there is none.
func (c *comparing) change(r store.ImportRecord, from store.Revision, flags byte) error {
	facts, err := search.Read(r.Entity, r.ID, r.Body)
	if err != nil {
		return err
	}
	schools := facts.Schools
	kind := store.Updated
	switch was := flags&flagTombstone != 0; {
	case from == 0, was && !facts.Tombstone:
		kind = store.Created
	case !was && facts.Tombstone:
		kind = store.Removed
	}
	if from != 0 {
		body, err := c.before(r.ID)
		if err != nil {
			return err
		}
		before, err := search.Read(r.Entity, r.ID, body)
		if err != nil {
			return err
		}
		schools = append(before.Schools, schools...)
	}
	return c.stage(r.ID, staged{kind: kind, base: from, flags: flagsOf(facts), hash: r.Hash, body: r.Body}, schools)
}

// absent stages the removal of the live record at the iterator.
func (c *comparing) absent() error {
	from, flags, _, err := c.live()
	if err != nil || flags&flagTombstone != 0 {
		return err
	}
	id := string(c.it.Key()[2:])
	body, err := c.before(id)
	if err != nil {
		return err
	}
	rec, err := search.Decode(c.entity, id, body)
	if err != nil {
		return err
	}
	schools := search.FactsOf(rec).Schools
	record.SetStatus(rec, record.StatusToBeDeleted)
	record.SetDateLastModified(rec, "")
	if body, err = proto.Marshal(rec); err != nil {
		return fmt.Errorf("%s %q: %w", record.EntityName(c.entity), id, err)
	}
	return c.stage(id, staged{
		kind: store.Removed, base: from, flags: flagTombstone | flagBlankDate, hash: record.HashOf(rec), body: body,
	}, schools)
}

func (c *comparing) stage(id string, s staged, schools []string) error {
	countKind(&c.counts, s.kind)
	derived, err := derivedTerms(c.snap, c.entity, id)
	if err != nil {
		return err
	}
	for _, t := range derived {
		if t.Field == search.FieldSchool {
			schools = append(schools, t.Value)
		}
	}
	slices.Sort(schools)
	s.schools = slices.Compact(schools)
	for _, school := range s.schools {
		per := c.plan.Schools[school]
		if per == nil {
			per = map[store.Entity]store.Counts{}
			c.plan.Schools[school] = per
		}
		n := per[c.entity]
		countKind(&n, s.kind)
		per[c.entity] = n
	}
	if err := c.batch.Set(stagedKey(c.plan.ID, c.entity, id), s.append(nil), nil); err != nil {
		return err
	}
	if c.batch.Len() < stageBytes {
		return nil
	}
	return c.flush(pebble.NoSync)
}

func (c *comparing) flush(o *pebble.WriteOptions) error {
	batch := c.batch
	c.batch = c.d.db.NewBatch()
	return errors.Join(batch.Commit(o), batch.Close())
}

// before returns the live body.
func (c *comparing) before(id string) ([]byte, error) {
	v, err := get(c.snap, recordKey(spaceLive, c.entity, id))
	if err != nil {
		return nil, err
	}
	_, _, body, err := revFlags(v)
	return body, err
}

func (c *comparing) end() error {
	for ; c.whole && c.more; c.more = c.it.Next() {
		if err := c.absent(); err != nil {
			return err
		}
	}
	c.plan.Counts[c.entity] = c.counts
	err := c.it.Close()
	c.it = nil
	return err
}

func (c *comparing) finish() (store.Plan, error) {
	// The document makes the plan complete; syncing it syncs all before it.
	if err := setDoc(c.batch, planKey(spacePlan, c.plan.ID), c.plan); err != nil {
		return store.Plan{}, err
	}
	if err := c.flush(pebble.Sync); err != nil {
		return store.Plan{}, err
	}
	c.finished = true
	return c.plan.Plan, nil
}

func (c *comparing) close() error {
	var errs []error
	if c.it != nil {
		errs = append(errs, c.it.Close())
	}
	errs = append(errs, c.batch.Close(), c.snap.Close())
	if !c.finished {
		errs = append(errs, c.d.dropStaged(c.plan.ID))
	}
	return errors.Join(errs...)
}

// dropStaged removes all that is staged for a plan.
func (d *district) dropStaged(id store.PlanID) error {
	return errors.Join(d.dropChanges(id), os.RemoveAll(d.stagingDir(id)))
}

func (d *district) dropChanges(id store.PlanID) error {
	prefix := planKey(spaceStaged, id)
	return d.db.DeleteRange(prefix, afterKey(prefix), pebble.NoSync)
}

func countKind(c *store.Counts, k store.Kind) {
	switch k {
	case store.Created:
		c.Created++
	case store.Updated:
		c.Updated++
	case store.Removed:
		c.Removed++
	}
}

func flagsOf(f search.Facts) byte {
	var flags byte
	if f.Tombstone {
		flags |= flagTombstone
	}
	if !f.Stamped {
		flags |= flagBlankDate
	}
	return flags
}

// staged is a value of spaceStaged.
type staged struct {
	kind  store.Kind
	base  store.Revision // from of the version it replaces, 0 for none
	flags byte
	hash  record.Hash
	// schools are those that the plan counts the change under.
	schools []string
	body    []byte
}

func (s staged) append(b []byte) []byte {
	b = append(b, byte(s.kind), s.flags)
	b = append(b, s.hash[:]...)
	b = binary.AppendUvarint(b, uint64(s.base))
	b = binary.AppendUvarint(b, uint64(len(s.schools)))
	for _, school := range s.schools {
		b = protowire.AppendString(b, school)
	}
	return append(b, s.body...)
}

func stagedOf(b []byte) (staged, error) {
	damaged := fmt.Errorf("damaged staged change of %d bytes", len(b))
	if len(b) < 2+record.HashSize {
		return staged{}, damaged
	}
	s := staged{kind: store.Kind(b[0]), flags: b[1], hash: record.Hash(b[2:])}
	b = b[2+record.HashSize:]
	base, n := binary.Uvarint(b)
	schools, m := binary.Uvarint(b[max(n, 0):])
	if n <= 0 || m <= 0 {
		return staged{}, damaged
	}
	s.base, b = store.Revision(base), b[n+m:]
	for range schools {
		school, n := protowire.ConsumeString(b)
		if n < 0 {
			return staged{}, damaged
		}
		s.schools, b = append(s.schools, school), b[n:]
	}
	s.body = b
	return s, nil
}
