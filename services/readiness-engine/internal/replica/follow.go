package replica

import (
	"context"
	"fmt"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
)

// While the cache runs, the replicas that it keeps are followed: a watch held
// open brings each commit as it is made, so that a report finds it taken over.
// It is a head start and nothing more. A replica without a watch, because it
// broke or others were used more, catches up when it is used.

// Run follows replicas until ctx ends, and returns when no watch is left open.
func (c *Cache) Run(ctx context.Context) error {
	c.mu.Lock()
	c.running = ctx
	c.mu.Unlock()
	<-ctx.Done()
	c.mu.Lock()
	c.running = nil
	c.mu.Unlock()
	c.followers.Wait()
	return nil
}

// follower is a watch of one replica. Another replica of the district, one that
// was loaded since, may be at quite another revision.
type follower struct {
	replica *Replica
	stop    func()
}

// follow opens a watch for a replica that was used, unless it has one. If too
// many are open, the one that was used longest ago is closed.
func (c *Cache) follow(e *entry, r *Replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil || e.follower != nil && e.follower.replica == r {
		return
	}
	c.unfollow(e)
	for place := c.recent.Back(); place != nil && c.watches >= c.maxWatches; place = place.Prev() {
		c.unfollow(place.Value.(*entry))
	}
	ctx, stop := context.WithCancel(c.running)
	f := &follower{r, stop}
	e.follower = f
	c.watches++
	after := r.Revision
	c.followers.Go(func() {
		err := c.following(ctx, e, r, after)
		if err != nil && ctx.Err() == nil {
			c.log.InfoContext(ctx, "readiness: replica is not followed until it is used again", "district", e.district, "error", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		stop()
		if e.follower == f {
			c.unfollow(e)
		}
	})
}

// unfollow closes the watch of an entry, if it has one.
func (c *Cache) unfollow(e *entry) {
	if e.follower != nil {
		e.follower.stop()
		e.follower = nil
		c.watches--
	}
}

// following takes over revisions until the watch ends, or the next one is one
// too many.
func (c *Cache) following(ctx context.Context, e *entry, r *Replica, after int32) error {
	w, err := open(ctx, c.roster, e.district, after)
	for more := true; err == nil && more; {
		var frame *readinessv1.WatchFrame
		if frame, err = w.next(); err == nil && frame.GetBegin() != nil {
			more, err = c.takeOver(ctx, e, r, w, frame.GetBegin().GetRevision())
		}
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", e.district, err)
	}
	return nil
}

// takeOver takes a revision over that has begun. A replica goes no more than one
// revision beyond the one that was used last: somebody may be about to use it,
// and there is no way back.
func (c *Cache) takeOver(ctx context.Context, e *entry, r *Replica, w watch, revision int32) (more bool, err error) {
	if !c.hold(e) {
		return false, nil
	}
	defer c.leave(e)
	select {
	case <-e.turn:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	defer func() { e.turn <- struct{}{} }()
	if ctx.Err() != nil || e.replica != r || r.Revision != e.used || r.Worn() {
		return false, nil
	}
	if revision <= r.Revision { // It was used before it came here: the rest is passed over.
		return true, nil
	}
	e.replica = nil // It comes back only whole.
	for r.Revision == e.used && err == nil {
		var frame *readinessv1.WatchFrame
		if frame, err = w.next(); err == nil {
			err = r.take(frame)
		}
	}
	if err != nil {
		c.keep(e, 0)
		return false, err
	}
	e.replica = r
	c.keep(e, r.Size())
	return true, nil
}

// hold keeps an entry from being evicted, if it is still there.
func (c *Cache) hold(e *entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[e.district] != e {
		return false
	}
	e.users++
	return true
}
