package replica

import (
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// Cache keeps the replicas of the districts that were used last, within a
// bound on their memory; a replica in use may go beyond it. Losing one costs an
// export and nothing else.
type Cache struct {
	roster     Roster
	limit      int // bytes
	maxWatches int
	log        *slog.Logger

	followers sync.WaitGroup

	mu      sync.Mutex
	running context.Context //nolint:containedctx // Of Run, what follows replicas lives as long; nil unless it runs.
	watches int             // that are open
	entries map[string]*entry
	recent  *list.List // of *entry, the one used last in front
	bytes   int
}

type entry struct {
	district string
	place    *list.Element
	bytes    int // as counted in Cache.bytes
	users    int // callers of Use with this entry; it stays as long as there are any

	follower *follower // the watch that follows the replica; nil if there is none

	// turn holds one token; who takes it may use replica and used.
	turn    chan struct{}
	replica *Replica
	used    int32 // the revision that was used last
}

// NewCache returns an empty cache that keeps up to limit bytes. While it runs it
// follows up to maxWatches replicas.
func NewCache(roster Roster, limit, maxWatches int, log *slog.Logger) *Cache {
	return &Cache{roster: roster, limit: limit, maxWatches: maxWatches, log: log, entries: map[string]*entry{}, recent: list.New()}
}

// Use calls f with the district at the revision. Callers of one district take
// turns. A revision that is older than the kept replica is exported for this
// call alone.
func (c *Cache) Use(ctx context.Context, district string, revision int32, f func(*Replica) error) error {
	e := c.enter(district)
	defer c.leave(e)
	select {
	case <-e.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { e.turn <- struct{}{} }()

	if e.replica != nil && e.replica.Revision > revision {
		r, err := Load(ctx, c.roster, district, revision)
		if err != nil {
			return err
		}
		return f(r)
	}
	r := e.replica
	e.replica = nil // It comes back only whole.
	if r != nil && r.Worn() {
		r = nil
	}
	if r != nil && r.Revision < revision {
		if err := r.CatchUp(ctx, c.roster, district, revision); err != nil {
			if ctx.Err() != nil {
				c.keep(e, 0)
				return err
			}
			c.log.InfoContext(ctx, "readiness: replica cannot catch up, exporting anew", "district", district, "error", err)
			r = nil
		}
	}
	if r == nil {
		var err error
		if r, err = Load(ctx, c.roster, district, revision); err != nil {
			c.keep(e, 0)
			return err
		}
	}
	err := f(r) // Should it panic, the replica is not kept.
	e.replica, e.used = r, revision
	c.keep(e, r.Size())
	c.follow(e, r)
	if err != nil {
		return fmt.Errorf("use replica of %s at revision %d: %w", district, revision, err)
	}
	return nil
}

// Forget drops the replica of a district, once nobody uses it any more.
func (c *Cache) Forget(ctx context.Context, district string) error {
	e := c.enter(district)
	defer c.leave(e)
	select {
	case <-e.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	e.replica = nil
	c.keep(e, 0)
	e.turn <- struct{}{}
	return nil
}

func (c *Cache) enter(district string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[district]
	if e == nil {
		e = &entry{district: district, turn: make(chan struct{}, 1)}
		e.turn <- struct{}{}
		e.place = c.recent.PushFront(e)
		c.entries[district] = e
	}
	c.recent.MoveToFront(e.place)
	e.users++
	return e
}

// keep counts the memory of an entry.
func (c *Cache) keep(e *entry, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes += bytes - e.bytes
	e.bytes = bytes
	c.evict()
}

func (c *Cache) leave(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	c.evict()
}

// evict drops what was used longest ago until the rest is within the limit,
// and entries that hold nothing.
func (c *Cache) evict() {
	for place := c.recent.Back(); place != nil; {
		e := place.Value.(*entry)
		place = place.Prev()
		if e.users == 0 && (c.bytes > c.limit || e.bytes == 0) {
			c.bytes -= e.bytes
			c.unfollow(e)
			c.recent.Remove(e.place)
			delete(c.entries, e.district)
		}
	}
}
