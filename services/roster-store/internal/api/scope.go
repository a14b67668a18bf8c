package api

import (
	"cmp"
	"context"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// changes yields what revisions after the given one changed for a caller of the
// scope. Limited to schools, that is not a part of the store's list of changes:
// a new enrollment also brings its user into the scope, and the user's
// guardians and demographics. So each revision is compared with the one before
// as the caller sees both, side by side. The cost follows the size of the
// caller's schools, which the store finds by its index, and nothing is held.
func (s *Server) changes(ctx context.Context, d store.DistrictID, after store.Revision, scope store.Scope) iter.Seq2[store.Event, error] {
	if scope.All {
		return s.store.Changes(ctx, d, after, 0)
	}
	return func(yield func(store.Event, error) bool) {
		head, err := s.store.Head(ctx, d)
		if err == nil && after > head.Revision {
			err = fmt.Errorf("watch %s after revision %d, the newest is %d: %w", d, after, head.Revision, store.ErrRevisionUnknown)
		}
		if err != nil {
			yield(store.Event{}, err)
			return
		}
		for rev := after + 1; rev <= head.Revision; rev++ {
			for e, err := range s.scopedRevision(ctx, d, rev, scope) {
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

// scopedRevision yields one revision as a caller of the scope sees it. What
// leaves the scope is removed, in the version that the caller has. It needs the
// revision before as well, and so is gone with that.
func (s *Server) scopedRevision(ctx context.Context, d store.DistrictID, rev store.Revision, scope store.Scope) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		infos, err := s.store.Revisions(ctx, d, rev+1, 1)
		if err == nil && (len(infos) == 0 || infos[0].Revision != rev) {
			err = fmt.Errorf("changes of revision %d of %s: %w", rev, d, store.ErrRevisionGone)
		}
		if err != nil {
			yield(store.Event{}, err)
			return
		}
		e := store.Event{Revision: infos[0]}
		send := func(phase store.Phase, r store.Record) bool {
			e.Phase, e.Record = phase, r
			return yield(e, nil)
		}
		before, now := read(ctx, s.store.Snapshot(d, rev-1, scope)), read(ctx, s.store.Snapshot(d, rev, scope))
		defer before.stop()
		defer now.stop()
		// Both are open by now: what cannot be read has not begun.
		if err = cmp.Or(before.err, now.err); err == nil && !send(store.Begin, store.Record{}) {
			return
		}
		for err == nil && (before.ok || now.ok) {
			order, r := before.compare(now), store.Record{}
			switch {
			case order < 0:
				r = before.record
				r.Body, err = tombstone(r, infos[0])
			case order > 0 || now.record.From == rev:
				r = now.record
			}
			if err == nil && r.Body != nil && !send(store.Data, r) {
				return
			}
			if order <= 0 {
				before.step()
			}
			if order >= 0 {
				now.step()
			}
			err = cmp.Or(err, before.err, now.err)
		}
		if err != nil {
			yield(store.Event{}, err)
			return
		}
		send(store.End, store.Record{})
	}
}

// cursor is at one record of a scan; ok is false after the last.
type cursor struct {
	next   func() (store.Record, error, bool)
	stop   func()
	record store.Record
	ok     bool
	err    error
}

func read(ctx context.Context, r store.Reader) *cursor {
	c := &cursor{}
	c.next, c.stop = iter.Pull2(r.Scan(ctx, store.Position{}))
	c.step()
	return c
}

func (c *cursor) step() { c.record, c.err, c.ok = c.next() }

// compare tells which of two cursors, not both at their end, comes first.
func (c *cursor) compare(other *cursor) int {
	switch {
	case !other.ok:
		return -1
	case !c.ok:
		return 1
	}
	return cmp.Or(cmp.Compare(c.record.Entity, other.record.Entity), cmp.Compare(c.record.ID, other.record.ID))
}

// tombstone removes a record at a revision; nil if it is removed already.
func tombstone(r store.Record, at store.RevisionInfo) ([]byte, error) {
	rec, err := decode(r)
	if err != nil {
		return nil, err
	}
	if _, base := record.Of(rec); base.GetStatus() == record.StatusToBeDeleted {
		return nil, nil
	}
	record.SetStatus(rec, record.StatusToBeDeleted)
	record.SetDateLastModified(rec, at.CommitTime.UTC().Format(record.TimeFormat))
	return proto.Marshal(rec)
}
