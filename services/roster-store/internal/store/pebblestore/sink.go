package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/roster-store/internal/store"
)

// sink takes what a commit writes, to make it visible at once. Within a key
// space the keys ascend.
type sink interface {
	setter
	Delete(key []byte, o *pebble.WriteOptions) error
	// commit makes everything visible and durable.
	commit(ctx context.Context) error
	close() error
}

// batchSink is for ordinary commits.
type batchSink struct {
	*pebble.Batch
}

func (b batchSink) commit(context.Context) error { return b.Commit(pebble.Sync) }

func (b batchSink) close() error { return b.Close() }

// tableSink is for commits too large to be held in memory: it writes a series
// of table files per key space.
type tableSink struct {
	d      *district
	dir    string
	spaces map[byte]*series
}

func (t *tableSink) space(key []byte) *series {
	name := key[0]
	if bytes.IndexByte([]byte{spaceMeta, spacePlan, spacePending, spaceRevision, spaceTime}, name) >= 0 {
		name = spaceMeta // single values share a file
	}
	if t.spaces[name] == nil {
		t.spaces[name] = &series{d: t.d, dir: t.dir, name: "space-" + string(name), upper: true}
	}
	return t.spaces[name]
}

func (t *tableSink) Set(key, value []byte, o *pebble.WriteOptions) error {
	return t.space(key).Set(key, value, o)
}

func (t *tableSink) Delete(key []byte, _ *pebble.WriteOptions) error {
	return t.space(key).delete(key)
}

func (t *tableSink) commit(ctx context.Context) error {
	var paths []string
	for _, s := range t.spaces {
		if err := s.close(); err != nil {
			return err
		}
		paths = append(paths, s.paths...)
	}
	if err := t.d.db.Ingest(ctx, paths); err != nil {
		return fmt.Errorf("ingest tables: %w", err)
	}
	return nil
}

func (t *tableSink) close() error {
	var errs []error
	for _, s := range t.spaces {
		errs = append(errs, s.close())
	}
	return errors.Join(append(errs, os.RemoveAll(t.dir))...)
}

// newSink opens where a commit of a plan is written to, and a folder for what
// does not fit into memory, which only a large one needs.
func (d *district) newSink(plan store.Plan) (out sink, dir string, err error) {
	if plan.Changes() < d.largeCommit {
		return batchSink{d.db.NewBatch()}, "", nil
	}
	dir = filepath.Join(d.dir, scratchDir, "commit")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, "", fmt.Errorf("make folder for a large commit: %w", err)
	}
	return &tableSink{d: d, dir: dir, spaces: map[byte]*series{}}, dir, nil
}
