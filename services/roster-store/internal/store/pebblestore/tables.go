package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableBytes is about how large a table file becomes.
const tableBytes = 64 << 20

// series writes ascending keys into as many table files as they need. The files
// are on disk, synced, when close returns.
type series struct {
	d    *district
	dir  string
	name string
	// upper says that the tables will lie over others. Of those that lie at the
	// bottom Pebble skips what deletes a key.
	upper bool
	// paths of all files, the one being written included.
	paths []string
	w     *sstable.Writer
}

func (s *series) Set(key, value []byte, _ *pebble.WriteOptions) error {
	if err := s.room(); err != nil {
		return err
	}
	if err := s.w.Set(key, value); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// delete writes that a key is gone.
func (s *series) delete(key []byte) error {
	if err := s.room(); err != nil {
		return err
	}
	if err := s.w.Delete(key); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// room opens a file, another one when the last is full.
func (s *series) room() error {
	if s.w != nil && s.w.Raw().EstimatedSize() > tableBytes {
		if err := s.close(); err != nil {
			return err
		}
	}
	if s.w == nil {
		path := filepath.Join(s.dir, fmt.Sprintf("%s-%d.sst", s.name, len(s.paths)))
		f, err := vfs.Default.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return fmt.Errorf("write table: %w", err)
		}
		level := len(s.d.opts.Levels) - 1
		if s.upper {
			level = 0
		}
		s.w = sstable.NewWriter(objstorageprovider.NewFileWritable(f), s.d.opts.MakeWriterOptions(level, s.d.db.TableFormat()))
		s.paths = append(s.paths, path)
	}
	return nil
}

func (s *series) close() error {
	if s.w == nil {
		return nil
	}
	err := s.w.Close()
	s.w = nil
	if err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// readTables walks the merged content of table files. The iterator owns the
// files.
func (d *district) readTables(ctx context.Context, paths []string, o *pebble.IterOptions) (*pebble.Iterator, error) {
	var files [][]sstable.ReadableFile
	for _, p := range paths {
		f, err := vfs.Default.Open(p)
		if err != nil {
			for _, f := range files {
				err = errors.Join(err, f[0].Close())
			}
			return nil, fmt.Errorf("read staged table: %w", err)
		}
		files = append(files, []sstable.ReadableFile{f})
	}
	it, err := pebble.NewExternalIterWithContext(ctx, d.opts, o, files)
	if err != nil {
		return nil, fmt.Errorf("read staged table: %w", err)
	}
	return it, nil
}
