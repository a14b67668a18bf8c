package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
	"github.com/securly/sync/services/roster-store/internal/store/signals"
)

// comparing finds the differences from the live records: a merge of two
// ascending streams that keeps nothing of what is the same. They are staged side
// by side with finding more.
type comparing struct {
	d        *district
	snap     *pebble.Snapshot
	complete []store.Entity
	finished bool

	entity store.Entity
	whole  bool                          // the candidate is complete for the entity
	counts map[store.Entity]store.Counts // what was received and is unchanged
	it     *pebble.Iterator              // over spaceHash of the entity
	more   bool

	found   []difference // not handed on yet
	bytes   int
	to      chan []difference
	staging *errgroup.Group
	failed  context.Context // ends when staging has failed
	stager  *stager
}

// difference is a record that differs from the live one.
type difference struct {
	entity store.Entity
	id     string
	from   store.Revision // of the live version, 0 if there is none
	flags  byte           // of the live version
	was    record.Hash    // of the live version
	hash   record.Hash
	body   []byte // nil if the record is gone
}

// Differences are handed on when they are so many, or take so much.
const (
	differencesAtOnce = 256
	differenceBytes   = 1 << 20
)

func newComparing(d *district, snap *pebble.Snapshot, plan planDoc, complete []store.Entity) *comparing {
	c := &comparing{
		d: d, snap: snap, complete: complete, counts: map[store.Entity]store.Counts{}, to: make(chan []difference, 2),
		stager: &stager{d: d, snap: snap, plan: plan, batch: d.db.NewBatch(), signals: signals.New(plan.CreateTime)},
	}
	c.staging, c.failed = errgroup.WithContext(d.ctx)
	c.staging.Go(func() error {
		for found := range c.to {
			if err := c.stager.stage(found); err != nil {
				return err
			}
		}
		return nil
	})
	return c
}

func (c *comparing) begin(e store.Entity) (err error) {
	c.entity, c.whole = e, slices.Contains(c.complete, e)
	c.counts[e] = store.Counts{}
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
	n := c.counts[c.entity]
	defer func() { c.counts[c.entity] = n }()
	n.Received++
	f := difference{entity: c.entity, id: r.ID, hash: r.Hash, body: r.Body}
	if there {
		from, flags, hash, err := c.live()
		if err != nil {
			return err
		}
		f.from, f.flags, f.was = from, flags, hash
		c.more = c.it.Next()
		if f.was == f.hash {
			n.Unchanged++
			return nil
		}
	}
	f.body = bytes.Clone(f.body)
	return c.add(f)
}

func (c *comparing) live() (from store.Revision, flags byte, hash record.Hash, err error) {
	v, err := c.it.ValueAndErr()
	if err != nil {
		return 0, 0, hash, err
	}
	from, flags, rest, err := revFlags(v)
	copy(hash[:], rest) // a damaged one is not that of the candidate
	return from, flags, hash, err
}

// absent finds that the record at the iterator is gone.
func (c *comparing) absent() error {
	from, flags, hash, err := c.live()
	if err != nil || flags&flagTombstone != 0 {
		return err
	}
	return c.add(difference{entity: c.entity, id: string(c.it.Key()[2:]), from: from, flags: flags, was: hash})
}

func (c *comparing) add(f difference) error {
	c.found = append(c.found, f)
	if c.bytes += len(f.body); len(c.found) < differencesAtOnce && c.bytes < differenceBytes {
		return nil
	}
	return c.handOn()
}

func (c *comparing) handOn() error {
	found := c.found
	c.found, c.bytes = nil, 0
	select {
	case c.to <- found:
		return nil
	case <-c.failed.Done():
		return cmp.Or(c.drain(), context.Cause(c.failed))
	}
}

// drain waits until all that was handed on is staged.
func (c *comparing) drain() error {
	if c.staging == nil {
		return nil
	}
	close(c.to)
	err := c.staging.Wait()
	c.staging = nil
	return err
}

func (c *comparing) end() error {
	for ; c.whole && c.more; c.more = c.it.Next() {
		if err := c.absent(); err != nil {
			return err
		}
	}
	err := c.it.Close()
	c.it = nil
	return err
}

func (c *comparing) finish() (store.Plan, error) {
	if err := c.handOn(); err != nil {
		return store.Plan{}, err
	}
	if err := c.drain(); err != nil {
		return store.Plan{}, err
	}
	for e, n := range c.counts {
		all := c.stager.plan.Counts[e]
		all.Received += n.Received
		all.Unchanged += n.Unchanged
		c.stager.plan.Counts[e] = all
	}
	if err := c.stager.finish(c.d.ctx); err != nil {
		return store.Plan{}, err
	}
	c.finished = true
	return c.stager.plan.Plan, nil
}

func (c *comparing) close() error {
	_ = c.drain() // told by whoever found that staging has failed
	var errs []error
	if c.it != nil {
		errs = append(errs, c.it.Close())
	}
	errs = append(errs, c.stager.batch.Close(), c.snap.Close())
	if !c.finished {
		errs = append(errs, c.d.dropStaged(c.stager.plan.ID))
	}
	return errors.Join(errs...)
}

// stager makes a plan of differences.
type stager struct {
	d       *district
	snap    *pebble.Snapshot
	plan    planDoc
	batch   *pebble.Batch
	signals *signals.Counter
}

// stageBytes is when staged changes are written out.
const stageBytes = 1 << 20

// stage works differences out side by side and stages them in their order.
func (s *stager) stage(found []difference) error {
	changes := make([]signals.Change, len(found))
	if err := sideBySide(len(found), func(i int) (err error) {
		changes[i], err = s.change(&found[i])
		return err
	}); err != nil {
		return err
	}
	for i, f := range found {
		ch := changes[i]
		s.count(ch.Entity, ch.Kind, ch.Schools)
		s.signals.Add(ch)
		st := staged{kind: ch.Kind, base: f.from, flags: flagsOf(ch.Is), hash: f.hash, schools: ch.Schools, body: f.body}
		if err := s.batch.Set(stagedKey(s.plan.ID, ch.Entity, ch.ID), st.append(nil), nil); err != nil {
			return err
		}
	}
	if s.batch.Len() < stageBytes {
		return nil
	}
	return s.flush(pebble.NoSync)
}

// change works out what a difference changes. A record that is gone gets the
// version that says so.
func (s *stager) change(f *difference) (ch signals.Change, err error) {
	ch = signals.Change{Entity: f.entity, ID: f.id, Kind: store.Updated, WasHash: f.was}
	if f.from != 0 {
		old, err := s.before(f.entity, f.id)
		if err != nil {
			return ch, err
		}
		if ch.Was, err = search.Read(f.entity, f.id, old); err != nil {
			return ch, err
		}
		if f.body == nil {
			if f.body, f.hash, err = removed(f.entity, f.id, old); err != nil {
				return ch, err
			}
		}
	}
	if ch.Is, err = search.Read(f.entity, f.id, f.body); err != nil {
		return ch, err
	}
	switch was := f.flags&flagTombstone != 0; {
	case f.from == 0, was && !ch.Is.Tombstone:
		ch.Kind = store.Created
	case !was && ch.Is.Tombstone:
		ch.Kind = store.Removed
	}
	ch.IsHash = f.hash
	ch.Schools, err = s.schools(f.entity, f.id, ch.Was, ch.Is)
	return ch, err
}

// removed returns the version that says that a record is gone.
func removed(e store.Entity, id string, body []byte) ([]byte, record.Hash, error) {
	rec, err := search.Decode(e, id, body)
	if err != nil {
		return nil, record.Hash{}, err
	}
	record.SetStatus(rec, record.StatusToBeDeleted)
	record.SetDateLastModified(rec, "")
	if body, err = proto.Marshal(rec); err != nil {
		return nil, record.Hash{}, fmt.Errorf("%s %q: %w", record.EntityName(e), id, err)
	}
	return body, record.HashOf(rec), nil
}

// schools that a change counts under: those that the record names or named, and
// those that it belongs to.
func (s *stager) schools(e store.Entity, id string, before, now search.Facts) ([]string, error) {
	derived, err := derivedTerms(s.snap, e, id)
	if err != nil {
		return nil, err
	}
	schools := slices.Concat(before.Schools, now.Schools, schoolsIn(derived))
	slices.Sort(schools)
	return slices.Compact(schools), nil
}

func (s *stager) count(e store.Entity, kind store.Kind, schools []string) {
	n := s.plan.Counts[e]
	countKind(&n, kind)
	s.plan.Counts[e] = n
	for _, school := range schools {
		per := s.plan.Schools[school]
		if per == nil {
			per = map[store.Entity]store.Counts{}
			s.plan.Schools[school] = per
		}
		n := per[e]
		countKind(&n, kind)
		per[e] = n
	}
}

func (s *stager) flush(o *pebble.WriteOptions) error {
	batch := s.batch
	s.batch = s.d.db.NewBatch()
	return errors.Join(batch.Commit(o), batch.Close())
}

// before returns the live body.
func (s *stager) before(e store.Entity, id string) ([]byte, error) {
	v, err := get(s.snap, recordKey(spaceLive, e, id))
	if err != nil {
		return nil, err
	}
	_, _, body, err := revFlags(v)
	return body, err
}

// finish writes the document, which makes the plan complete; syncing it syncs
// all before it.
func (s *stager) finish(ctx context.Context) error {
	if err := s.signals.Finish(ctx, baseOf{s.d, s.snap, s.plan.Base}, &s.plan.Plan); err != nil {
		return err
	}
	if err := setDoc(s.batch, planKey(spacePlan, s.plan.ID), s.plan); err != nil {
		return err
	}
	return s.flush(pebble.Sync)
}
