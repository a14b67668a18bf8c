package pebblestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/securly/sync/services/roster-store/internal/store"
)

// slot is a district that is open, or with which somebody is busy.
type slot struct {
	// d is nil while the district is not open. It changes only when somebody
	// is busy, or replaces it by what it was copied to.
	d *district
	// busy is closed when whoever opens, closes, makes or erases the district
	// is done. It is nil if there is nobody.
	busy chan struct{}
	// erasing is how many persons are being erased.
	erasing int
	// copied says that nothing was staged since a person was erased, so that the
	// files have nothing but what can be read.
	copied bool
}

// await waits without the lock.
func (s *Store) await(done <-chan struct{}) {
	s.mu.Unlock()
	defer s.mu.Lock()
	<-done
}

// claim makes the caller the one who is busy with a district until end is
// called. The lock is held before and after.
func (s *Store) claim(ctx context.Context, id store.DistrictID) (*slot, error) {
	for {
		if s.closed {
			return nil, store.ErrClosed
		}
		sl := s.slots[id]
		if sl == nil {
			sl = &slot{}
			s.slots[id] = sl
		}
		if sl.busy == nil {
			sl.busy = make(chan struct{})
			return sl, nil
		}
		if sl.d != nil && sl.d.ctx.Err() != nil {
			// It is being erased. Whoever waits for that may be who it waits for.
			return nil, context.Cause(sl.d.ctx)
		}
		busy := sl.busy
		s.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
		case <-s.ctx.Done():
		}
		s.mu.Lock()
		if err := s.check(ctx); err != nil {
			return nil, err
		}
	}
}

// end is for who is busy.
func (s *Store) end(id store.DistrictID, sl *slot) {
	close(sl.busy)
	sl.busy = nil
	if sl.d == nil {
		delete(s.slots, id)
	}
}

// OpenDistrict implements store.Store.
func (s *Store) OpenDistrict(ctx context.Context, id store.DistrictID) error {
	if err := errors.Join(store.CheckDistrict(id), s.check(ctx)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sl, err := s.claim(ctx, id)
	if err != nil {
		return err
	}
	defer s.end(id, sl)
	s.mu.Unlock()
	defer s.mu.Lock()
	if _, err := os.Stat(s.dir(id)); err == nil {
		return nil
	}
	// The folder gets its name when everything is in it.
	fresh := filepath.Join(s.cfg.Dir, newPrefix+string(id))
	if err = os.RemoveAll(fresh); err == nil {
		err = s.createDistrict(fresh)
	}
	if err == nil {
		err = os.Rename(fresh, s.dir(id))
	}
	if err == nil {
		err = syncDir(s.cfg.Dir)
	}
	if err != nil {
		return fmt.Errorf("open district %s: %w", id, err)
	}
	return nil
}

// EraseDistrict implements store.Store.
func (s *Store) EraseDistrict(ctx context.Context, id store.DistrictID) error {
	if err := errors.Join(store.CheckDistrict(id), s.check(ctx)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sl, err := s.claim(ctx, id)
	if errors.Is(err, store.ErrDistrictUnknown) {
		return nil // another call erases it
	}
	if err != nil {
		return err
	}
	defer s.end(id, sl)
	if sl.d != nil {
		sl.d.cancel(fmt.Errorf("district %s was erased: %w", id, store.ErrDistrictUnknown))
		err = s.closeDistrict(sl)
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	if err == nil {
		err = s.removeDistrict(id)
	}
	if err != nil {
		return fmt.Errorf("erase district %s: %w", id, err)
	}
	return nil
}

func (s *Store) removeDistrict(id store.DistrictID) error {
	gone := filepath.Join(s.cfg.Dir, erasePrefix+string(id))
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(s.dir(id), gone); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := syncDir(s.cfg.Dir); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(gone), removeFile(s.pendingFile(id)), removeFile(s.erasingFile(id)))
}

// use opens a district if necessary and keeps it open until release is called.
func (s *Store) use(ctx context.Context, id store.DistrictID) (d *district, release func(), err error) {
	if err := errors.Join(store.CheckDistrict(id), s.check(ctx)); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[id]
	if sl == nil || sl.busy != nil {
		if sl, err = s.claim(ctx, id); err != nil {
			return nil, nil, err
		}
		if sl.d == nil {
			s.closeIdle()
			s.mu.Unlock()
			d, err = s.openDistrict(id)
			s.mu.Lock()
			sl.d = d
		}
		s.end(id, sl)
		if err != nil {
			return nil, nil, err
		}
	}
	d = sl.d
	if d.ctx.Err() != nil {
		return nil, nil, context.Cause(d.ctx)
	}
	d.users++
	s.clock++
	d.used = s.clock
	return d, sync.OnceFunc(func() { s.release(d) }), nil
}

func (s *Store) release(d *district) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.users--; d.users > 0 {
		return
	}
	if d.onLeft != nil {
		s.mu.Unlock()
		defer s.mu.Lock()
		d.onLeft()
		return
	}
	if d.left != nil {
		close(d.left)
		d.left = nil
	}
	s.closeIdle()
}

// closeIdle closes least recently used districts while more than MaxOpen are
// open. One in use stays. The lock is held before and after.
func (s *Store) closeIdle() {
	for len(s.slots)-s.closing > s.cfg.MaxOpen {
		var oldest *slot
		for _, sl := range s.slots {
			if sl.busy == nil && sl.d.users == 0 && (oldest == nil || sl.d.used < oldest.d.used) {
				oldest = sl
			}
		}
		if oldest == nil {
			return
		}
		id := oldest.d.id
		s.closing++
		if err := s.closeSlot(id, oldest); err != nil {
			s.cfg.Log.Error("close idle district", "district", id, "error", err)
		}
		s.closing--
	}
}

// closeSlot closes an open district with which nobody is busy.
func (s *Store) closeSlot(id store.DistrictID, sl *slot) error {
	sl.busy = make(chan struct{})
	defer s.end(id, sl)
	return s.closeDistrict(sl)
}

// closeDistrict waits for the users of a district, which must not get new ones,
// and closes it. The lock is held before and after.
func (s *Store) closeDistrict(sl *slot) error {
	if sl.d.users > 0 {
		sl.d.left = make(chan struct{})
		s.await(sl.d.left)
	}
	d := sl.d
	sl.d = nil
	s.mu.Unlock()
	defer s.mu.Lock()
	return d.close()
}

// useLocked is use with a lock of the district.
func (s *Store) useLocked(ctx context.Context, id store.DistrictID, lock func(*district) (unlock func(), err error)) (*district, func(), error) {
	for {
		d, release, err := s.use(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		unlock, err := lock(d)
		if err != nil {
			release()
			return nil, nil, cmp.Or(context.Cause(ctx), err)
		}
		done := sync.OnceFunc(func() {
			unlock()
			release()
		})
		if !d.retired {
			return d, done, nil
		}
		done() // it was replaced while the caller waited
	}
}

// useToWrite is for who makes a revision or changes meta values.
func (s *Store) useToWrite(ctx context.Context, id store.DistrictID) (*district, func(), error) {
	return s.useLocked(ctx, id, func(d *district) (func(), error) {
		return func() { d.write.Release(1) }, d.write.Acquire(ctx, 1)
	})
}

// useToStage is for who stages a plan; any number may.
func (s *Store) useToStage(ctx context.Context, id store.DistrictID) (*district, func(), error) {
	return s.useLocked(ctx, id, func(d *district) (func(), error) {
		return func() { d.staging.Release(1) }, d.staging.Acquire(ctx, 1)
	})
}

// useAlone is for who allows nobody else to write or to stage.
func (s *Store) useAlone(ctx context.Context, id store.DistrictID) (*district, func(), error) {
	return s.useLocked(ctx, id, func(d *district) (func(), error) {
		if err := d.staging.Acquire(ctx, stagings); err != nil {
			return nil, err
		}
		if err := d.write.Acquire(ctx, 1); err != nil {
			d.staging.Release(stagings)
			return nil, err
		}
		return func() {
			d.write.Release(1)
			d.staging.Release(stagings)
		}, nil
	})
}
