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

// follow opens a watch for a replica that was used, unless it has one. If too
// many are open, the one that was used longest ago is closed.
func (c *Cache) follow(e *entry, after int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil || e.stop != nil {
		return
	}
	if c.watches >= c.maxWatches {
		for place := c.recent.Back(); place != nil; place = place.Prev() {
			if last := place.Value.(*entry); last.stop != nil {
				last.stop()
				break
			}
		}
	}
	ctx, stop := context.WithCancel(c.running)
	e.stop = stop
	c.watches++
	c.followers.Go(func() {
		err := c.following(ctx, e, after)
		if err != nil && ctx.Err() == nil {
			c.log.InfoContext(ctx, "readiness: replica is not followed until it is used again", "district", e.district, "error", err)
		}
		stop()
		c.mu.Lock()
		defer c.mu.Unlock()
		e.stop = nil
		c.watches--
	})
}

// following takes over revisions until the watch ends, or the next one is one
// too many.
func (c *Cache) following(ctx context.Context, e *entry, after int32) error {
	w, err := open(ctx, c.roster, e.district, after)
	for more := true; err == nil && more; {
		var frame *readinessv1.WatchFrame
		if frame, err = w.next(); err == nil && frame.GetBegin() != nil {
			more, err = c.takeOver(ctx, e, w, frame)
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
func (c *Cache) takeOver(ctx context.Context, e *entry, w watch, begin *readinessv1.WatchFrame) (more bool, err error) {
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
	r := e.replica
	if r == nil || r.Revision != e.used || r.Worn() {
		return false, nil
	}
	if begin.GetBegin().GetRevision() <= r.Revision { // It was used before it came here.
		return true, w.skip()
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

// skip reads the rest of a revision.
func (w watch) skip() error {
	for {
		if frame, err := w.next(); err != nil || frame.GetEnd() != nil {
			return err
		}
	}
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
