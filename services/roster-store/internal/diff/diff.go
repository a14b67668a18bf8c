// Package diff compares two revisions of a district and takes a district back
// to one. It is built on the contract of the store alone: what the revisions
// between the two have touched is looked up at both ends.
package diff

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Changes yields what a district at revision to differs in from what it was at
// revision from, by entity and id, after a position; from may be the later one.
// A record that is not there and one that is removed are the same, and
// dateLastModified does not count. What was there and is not gets the status
// tobedeleted. Memory does not grow with the number of records or revisions: at
// most maxStreams batches of the engine are held, and one of batchRecords.
func Changes(ctx context.Context, s store.Reads, d store.DistrictID, from, to store.Revision, after store.Position) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		if err := changes(ctx, s, d, from, to, after, func(c store.Change) bool { return yield(c, nil) }); err != nil {
			yield(store.Change{}, fmt.Errorf("compare revisions %d and %d of %s: %w", from, to, d, err))
		}
	}
}

func changes(ctx context.Context, s store.Reads, d store.DistrictID, from, to store.Revision, after store.Position, yield func(store.Change) bool) error {
	old, late := min(from, to), max(from, to)
	for _, rev := range []store.Revision{old, late} {
		if err := readable(ctx, s, d, rev); err != nil {
			return err
		}
	}
	was := s.Snapshot(d, old, store.Scope{All: true})
	for batch, err := range batches(Touched(ctx, s, d, old, late, after)) {
		if err == nil && old > 0 {
			err = lookUp(ctx, was, batch)
		}
		if err != nil {
			return err
		}
		for _, c := range batch {
			if from > to {
				c.Before, c.After = c.After, c.Before
			}
			if differs, err := judge(&c); err != nil || differs && !yield(c) {
				return err
			}
		}
	}
	return nil
}

const (
	// batchRecords is how many records are looked up at a time, and lookUps how
	// many of them at once: to an engine behind a network each is a round trip.
	batchRecords = 256
	lookUps      = 16
)

// batches collects records as changes that say only what is after.
func batches(records iter.Seq2[store.Record, error]) iter.Seq2[[]store.Change, error] {
	return func(yield func([]store.Change, error) bool) {
		var batch []store.Change
		for r, err := range records {
			if err != nil {
				yield(nil, err)
				return
			}
			batch = append(batch, store.Change{Entity: r.Entity, ID: r.ID, After: bytes.Clone(r.Body)})
			if len(batch) == batchRecords {
				if !yield(batch, nil) {
					return
				}
				batch = nil
			}
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}

// lookUp finds what the records of a batch were before.
func lookUp(ctx context.Context, was store.Reader, batch []store.Change) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookUps)
	for i := range batch {
		group.Go(func() error {
			r, err := was.Get(ctx, batch[i].Entity, batch[i].ID)
			if errors.Is(err, store.ErrRecordUnknown) {
				return nil
			}
			batch[i].Before = r.Body
			return err
		})
	}
	return group.Wait()
}

// readable fails if a revision is gone or not yet there, also when nothing of
// it has to be read.
func readable(ctx context.Context, s store.Reads, d store.DistrictID, rev store.Revision) error {
	if rev == 0 {
		return nil // the empty district is always known
	}
	_, err := s.Snapshot(d, rev, store.Scope{All: true}).Page(ctx, store.Query{Entity: typev1.Entity_ENTITY_ORGS}, "", 0)
	return err
}

// maxStreams is how many revisions are read at once. Beyond it the later
// snapshot is gone through, which takes one stream and begins at a position.
const maxStreams = 8

// Touched yields the records that revisions after old and up to late have
// brought, as they are at late, each once, by entity and id, after a position.
// Bodies are valid until the next step.
func Touched(ctx context.Context, s store.Reads, d store.DistrictID, old, late store.Revision, after store.Position) iter.Seq2[store.Record, error] {
	if old == 0 && late > 0 || late-old > maxStreams {
		return newer(s.Snapshot(d, late, store.Scope{All: true}).Scan(ctx, after), old)
	}
	var revisions []iter.Seq2[store.Record, error]
	for rev := late; rev > old; rev-- {
		revisions = append(revisions, brought(ctx, s, d, rev, after))
	}
	return merge(revisions)
}

// newer yields the records whose version came after a revision. None are missed,
// since a record that is removed is a version too.
func newer(records iter.Seq2[store.Record, error], old store.Revision) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for r, err := range records {
			if err == nil && r.From <= old {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// brought yields the records of one revision after a position.
func brought(ctx context.Context, s store.Reads, d store.DistrictID, rev store.Revision, after store.Position) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for ev, err := range s.Changes(ctx, d, rev-1, rev) {
			if err == nil && (ev.Phase != store.Data || compare(ev.Record, store.Record{Entity: after.Entity, ID: after.ID}) <= 0) {
				continue
			}
			if !yield(ev.Record, err) || err != nil {
				return
			}
		}
	}
}

func compare(a, b store.Record) int {
	return cmp.Or(cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.ID, b.ID))
}

// judge says whether a change is one, and what it does.
func judge(c *store.Change) (bool, error) {
	if bytes.Equal(c.Before, c.After) {
		return false, nil
	}
	before, err := decode(c.Before)
	if err != nil {
		return false, err
	}
	after, err := decode(c.After)
	if err != nil {
		return false, err
	}
	switch was, is := active(before), active(after); {
	case !was && !is, was && is && record.HashOf(before) == record.HashOf(after):
		return false, nil
	case was && !is:
		c.Kind = store.Removed
	case is && !was:
		c.Kind = store.Created
	default:
		c.Kind = store.Updated
	}
	if after == nil {
		record.SetStatus(before, record.StatusToBeDeleted)
		record.SetDateLastModified(before, "")
		c.After, err = proto.Marshal(before)
	}
	return true, err
}

func active(r *typev1.Record) bool {
	_, base := record.Of(r)
	return base != nil && base.GetStatus() != record.StatusToBeDeleted
}

func decode(body []byte) (*typev1.Record, error) {
	if body == nil {
		return nil, nil
	}
	r := &typev1.Record{}
	if err := proto.Unmarshal(body, r); err != nil {
		return nil, fmt.Errorf("decode a record: %w", err)
	}
	return r, nil
}
