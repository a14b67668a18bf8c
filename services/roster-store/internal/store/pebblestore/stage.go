package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/encoding/protowire"

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
	return newComparing(d, snap, plan, h.Complete), nil
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
	size := len(b)
	if size < 2+record.HashSize {
		return staged{}, damagedStaged(size)
	}
	s := staged{kind: store.Kind(b[0]), flags: b[1], hash: record.Hash(b[2:])}
	b = b[2+record.HashSize:]
	base, n := binary.Uvarint(b)
	schools, m := binary.Uvarint(b[max(n, 0):])
	if n <= 0 || m <= 0 {
		return staged{}, damagedStaged(size)
	}
	s.base, b = store.Revision(base), b[n+m:]
	for range schools {
		school, n := protowire.ConsumeString(b)
		if n < 0 {
			return staged{}, damagedStaged(size)
		}
		s.schools, b = append(s.schools, school), b[n:]
	}
	s.body = b
	return s, nil
}

func damagedStaged(size int) error { return fmt.Errorf("damaged staged change of %d bytes", size) }
