package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/roster-store/internal/store"
)

// markPending leaves a file that says where to look for revisions to announce,
// so that nobody has to open all districts.
func (s *Store) markPending(id store.DistrictID) error {
	if err := mark(s.pendingFile(id)); err != nil {
		return fmt.Errorf("mark %s as pending: %w", id, err)
	}
	return nil
}

// mark makes an empty file that survives.
func mark(name string) error {
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Close(), syncDir(filepath.Dir(name)))
	}
	return err
}

// Pending implements store.Outbox.
func (s *Store) Pending(ctx context.Context) iter.Seq2[store.PendingRevision, error] {
	return func(yield func(store.PendingRevision, error) bool) {
		if err := s.check(ctx); err != nil {
			yield(store.PendingRevision{}, err)
			return
		}
		entries, err := os.ReadDir(filepath.Join(s.cfg.Dir, pendingDir))
		if err != nil {
			yield(store.PendingRevision{}, fmt.Errorf("list pending districts: %w", err))
			return
		}
		for _, e := range entries {
			id := store.DistrictID(e.Name())
			list, err := s.pendingOf(ctx, id)
			if errors.Is(err, store.ErrDistrictUnknown) {
				// Erased meanwhile, or by a process that ended half way.
				if err = removeFile(s.pendingFile(id)); err == nil {
					continue
				}
			}
			if err != nil {
				yield(store.PendingRevision{}, err)
				return
			}
			for _, info := range list {
				if !yield(store.PendingRevision{District: id, Revision: info}, nil) {
					return
				}
			}
		}
	}
}

func (s *Store) pendingOf(ctx context.Context, id store.DistrictID) ([]store.RevisionInfo, error) {
	d, release, err := s.use(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	it, err := d.db.NewIter(span([]byte{spacePending}))
	if err != nil {
		return nil, err
	}
	var out []store.RevisionInfo
	for ok := it.First(); ok; ok = it.Next() {
		doc, err := d.revision(d.db, store.Revision(binary.BigEndian.Uint64(it.Key()[1:])))
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		out = append(out, doc.RevisionInfo)
	}
	return out, errors.Join(it.Error(), it.Close())
}

// MarkPublished implements store.Outbox.
func (s *Store) MarkPublished(ctx context.Context, id store.DistrictID, rev store.Revision) error {
	d, release, err := s.useToWrite(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	if err := d.db.Delete(revisionKey(spacePending, rev), pebble.Sync); err != nil {
		return fmt.Errorf("mark revision %d of %s as announced: %w", rev, id, err)
	}
	if more, err := some(d.db, span([]byte{spacePending})); err != nil || more {
		return err
	}
	// Commits wait for d.write, so none can have marked the district since.
	return removeFile(s.pendingFile(id))
}
