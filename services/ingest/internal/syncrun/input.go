package syncrun

import (
	"context"
	"errors"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
)

// noteInput keeps when a source was last synced from a package that it had not
// been synced from before, or that was written anew at the other side: sources
// that stop delivering are known by it.
func (r *Runner) noteInput(ctx context.Context, s *ingestv1.SyncDocument) error {
	sync := s.GetSync()
	if sync.GetState() != ingestv1.SyncState_COMPLETED && sync.GetAppliedPart() == nil || sync.GetDryRun() || sync.GetRemovesSource() || sync.GetRemerge() || sync.GetUnchangedInput() && !s.GetRedelivered() {
		return nil
	}
	_, err := r.deps.Store.Sources.Modify(ctx, state.Key(s.GetDistrict(), sync.GetSource()), func(d *ingestv1.SourceDocument) error {
		if !d.GetSource().GetLastInputTime().AsTime().After(sync.GetEndTime().AsTime()) {
			d.Source.LastInputTime = sync.GetEndTime()
		}
		return nil
	})
	if errors.Is(err, docstore.ErrNotFound) {
		return nil
	}
	return err
}
