package syncrun

import (
	"context"
	"errors"
	"fmt"
	"iter"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/manual"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/record"
)

// readEntries takes a sync of what was entered by hand from QUEUED to PLANNING.
// The entries are read as they are now; who changes one meanwhile syncs again.
func (r *Runner) readEntries(ctx context.Context, s *ingestv1.SyncDocument) error {
	district, sync := s.GetDistrict(), s.GetSync()
	previous, err := r.deps.Store.Layer(ctx, district, sync.GetSource())
	if err != nil {
		return err
	}
	err = r.enter(ctx, s, ingestv1.SyncState_NORMALISING, nil, ingestv1.SyncState_PULLING)
	if err != nil {
		return err
	}
	over, fill := map[string]*ingestv1.LayerFile{}, map[string]*ingestv1.LayerFile{}
	counts := map[string]*ingestv1.EntityCounts{}
	rows := int32(0)
	for _, e := range record.Entities() {
		name := record.EntityName(e)
		wins, fills := r.entries(ctx, district, sync.GetSource(), name)
		key := LayerPrefix(district, sync.GetSource()) + sync.GetSyncId() + "/" + name
		if over[name], err = r.writeEntries(ctx, key+"-over", previous.GetOver()[name], wins); err != nil {
			return err
		}
		if fill[name], err = r.writeEntries(ctx, key+"-fill", previous.GetFill()[name], fills); err != nil {
			return err
		}
		counts[name] = &ingestv1.EntityCounts{Received: int32(over[name].GetRecords())} // every entry wins something
		rows += counts[name].GetReceived()
	}
	return r.enter(ctx, s, ingestv1.SyncState_PLANNING, func(d *ingestv1.SyncDocument) {
		d.Base, d.Over, d.Fill = baseOf(previous), over, fill
		d.Sync.RowsRead, d.Sync.Counts = rows, counts
	}, ingestv1.SyncState_NORMALISING)
}

// entries yields what the entries of one entity come to, in ascending order of
// ids: what wins over all sources, and what fills in behind them.
func (r *Runner) entries(ctx context.Context, district, source, entity string) (wins, fills iter.Seq2[layer.Entry, error]) {
	read := func(which func(over, fill *layer.Entry) *layer.Entry) iter.Seq2[layer.Entry, error] {
		return func(yield func(layer.Entry, error) bool) {
			for doc, err := range r.deps.Store.Entries.All(ctx, state.Within(district, source, entity)) {
				var over, fill *layer.Entry
				if err == nil {
					over, fill, err = manual.Entries(doc.Value.GetEntry())
				}
				if err != nil {
					yield(layer.Entry{}, err)
					return
				}
				if e := which(over, fill); e != nil && !yield(*e, nil) {
					return
				}
			}
		}
	}
	return read(func(over, _ *layer.Entry) *layer.Entry { return over }), read(func(_, fill *layer.Entry) *layer.Entry { return fill })
}

// writeEntries writes a layer file, and returns the one that there is if it says
// the same.
func (r *Runner) writeEntries(ctx context.Context, key string, previous *ingestv1.LayerFile, entries iter.Seq2[layer.Entry, error]) (*ingestv1.LayerFile, error) {
	before := func(func(layer.Entry, error) bool) {}
	if previous != nil {
		before = layer.Read(ctx, r.deps.Blobs, previous.GetKey(), previous.GetRecords())
	}
	f, err := writeLayer(ctx, r.deps.Blobs, key, "", previous, func(w *layer.Writer) error { return layer.WriteChanged(w, before, entries) })
	if errors.Is(err, layer.ErrDamaged) && previous != nil { // it is of no need
		return r.writeEntries(ctx, key, nil, entries)
	}
	if err != nil {
		return nil, fmt.Errorf("write what was entered: %w", err)
	}
	return f, nil
}

// eraseEntries removes what was entered of a person.
func (r *Runner) eraseEntries(ctx context.Context, district, source, user string) error {
	for _, name := range personal {
		err := r.deps.Store.Entries.Delete(ctx, state.Key(district, source, name, user))
		if errors.Is(err, docstore.ErrNotFound) {
			continue
		}
		if err == nil {
			_, err = r.done(ctx, state.Key(district, user), func(d *ingestv1.ErasePersonResponse) { d.Entries++ }, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
