package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/securly/sync/services/roster-store/internal/store"
)

// Backup copies all districts to a folder that is not there yet, from which a
// Store can be opened; each as it is at some moment during the call. Files that
// never change are linked if the folder is on the same disk, so that it takes
// little time and no room.
func (s *Store) Backup(ctx context.Context, to string) error {
	if err := os.MkdirAll(filepath.Join(to, pendingDir), 0o700); err != nil {
		return fmt.Errorf("back up rosters: %w", err)
	}
	for id, err := range s.Districts(ctx) {
		if err == nil {
			err = s.backup(ctx, id, to)
		}
		if errors.Is(err, store.ErrDistrictUnknown) {
			continue // erased meanwhile
		}
		if err != nil {
			return fmt.Errorf("back up district %s: %w", id, err)
		}
	}
	return nil
}

func (s *Store) backup(ctx context.Context, id store.DistrictID, to string) error {
	done, err := s.backupClosed(ctx, id, to)
	if done || err != nil {
		return err
	}
	d, release, err := s.useToWrite(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	dir := filepath.Join(to, string(id), strconv.Itoa(d.copy))
	if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := d.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return err
	}
	// Plans that are known by now have all their tables, and keep them while
	// nobody else writes.
	plans, err := d.openPlans()
	if err != nil {
		return err
	}
	for _, doc := range plans {
		if doc.Bulk {
			from := d.stagingDir(doc.ID)
			err = errors.Join(err, linkTree(from, filepath.Join(dir, stagedDir, filepath.Base(from))))
		}
	}
	return errors.Join(err, s.backupPending(id, to))
}

// backupClosed copies the files of a district that is not open, and tells
// whether that is so.
func (s *Store) backupClosed(ctx context.Context, id store.DistrictID, to string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl, err := s.claim(ctx, id)
	if err != nil {
		return false, err
	}
	defer s.end(id, sl)
	if sl.d != nil {
		return false, nil
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	if _, err := os.Stat(s.dir(id)); errors.Is(err, fs.ErrNotExist) {
		return true, store.ErrDistrictUnknown
	}
	return true, errors.Join(linkTree(s.dir(id), filepath.Join(to, string(id))), s.backupPending(id, to))
}

// backupPending goes with the data: a revision to announce is not found without
// the mark.
func (s *Store) backupPending(id store.DistrictID, to string) error {
	err := vfs.Copy(vfs.Default, s.pendingFile(id), filepath.Join(to, pendingDir, string(id)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// linkTree copies a folder that nobody writes to. Tables never change and are
// linked; a database goes on to write to its other files.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o700)
		case e.Name() == "LOCK":
			return nil
		case filepath.Ext(path) == ".sst":
			return vfs.LinkOrCopy(vfs.Default, path, target)
		}
		return vfs.Copy(vfs.Default, path, target)
	})
}
