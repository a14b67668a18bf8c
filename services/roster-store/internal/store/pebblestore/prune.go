package pebblestore

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/roster-store/internal/store"
)

// Prune implements store.Store.
func (s *Store) Prune(ctx context.Context, id store.DistrictID, keep store.Revision) error {
	d, release, err := s.useToWrite(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	newest, floor, err := head(d.db)
	if err != nil {
		return err
	}
	if keep = min(keep, newest); keep <= floor {
		return nil
	}
	// From here on nobody reads what goes, so it may go in any number of steps;
	// if they are interrupted the next call does the rest.
	if err := d.db.Set(metaKey(metaHead), headValue(newest, keep), pebble.Sync); err != nil {
		return fmt.Errorf("prune %s: %w", id, err)
	}
	batch := d.db.NewBatch()
	for _, space := range []byte{spaceRevision, spacePending, spaceChange, spaceTermsLog} {
		err = errors.Join(err, batch.DeleteRange([]byte{space}, revisionKey(space, keep), nil))
	}
	if err = errors.Join(err, batch.Commit(pebble.Sync), batch.Close()); err != nil {
		return fmt.Errorf("prune %s: %w", id, err)
	}
	for _, space := range []byte{spaceOld, spaceOldTerms, spacePlan} {
		if err := d.pruneSpace(ctx, space, keep); err != nil {
			return fmt.Errorf("prune %s: %w", id, err)
		}
	}
	return nil
}

// pruneSpace deletes what only revisions before keep can see.
func (d *district) pruneSpace(ctx context.Context, space byte, keep store.Revision) error {
	it, err := d.db.NewIter(span([]byte{space}))
	if err != nil {
		return err
	}
	batch := d.db.NewBatch()
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var dead bool
		if dead, err = deadBefore(it, space, keep); err == nil && dead {
			err = batch.Delete(it.Key(), nil)
		}
		if err == nil && batch.Len() > stageBytes {
			err = errors.Join(d.check(ctx), batch.Commit(pebble.NoSync), batch.Close())
			batch = d.db.NewBatch()
		}
	}
	return errors.Join(err, it.Error(), it.Close(), batch.Commit(pebble.Sync), batch.Close())
}

// deadBefore tells whether only revisions before keep can see an entry.
func deadBefore(it *pebble.Iterator, space byte, keep store.Revision) (bool, error) {
	value, err := it.ValueAndErr()
	if err != nil {
		return false, err
	}
	switch space {
	case spaceOld:
		to, _, _, err := revFlags(value)
		return to <= keep, err
	case spaceOldTerms:
		return store.Revision(binary.BigEndian.Uint64(it.Key()[len(it.Key())-8:])) <= keep, nil
	}
	var doc planDoc
	if err := json.Unmarshal(value, &doc); err != nil {
		return false, fmt.Errorf("read plan: %w", err)
	}
	return doc.Outcome != nil && doc.Outcome.Revision < keep, nil
}
