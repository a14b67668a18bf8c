package syncrun

import (
	"context"
	"errors"
	"time"

	"gocloud.dev/blob"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
)

// Retain forgets packages of a district that came, and syncs that ended, before
// a time. Both are kept as long as something works with them, and syncs as long
// as something names them; a package goes also if the current records are from it.
// A plan that no revision came of goes with its sync.
func Retain(ctx context.Context, store *state.Store, roster rosterv1.RosterServiceClient, bucket *blob.Bucket, district string, packages, syncs time.Time) error {
	var old []docstore.Doc[*ingestv1.UploadDocument]
	for doc, err := range store.Uploads.All(ctx, state.Within(district)) {
		if err != nil {
			return err
		}
		if doc.Value.GetCreateTime().AsTime().Before(packages) {
			old = append(old, doc)
		}
	}
	if err := deleteUploads(ctx, store, bucket, district, old); err != nil {
		return err
	}
	needed, err := neededSyncs(ctx, store, district)
	if err != nil {
		return err
	}
	for doc, err := range store.Syncs.All(ctx, state.Within(district)) {
		if err != nil {
			return err
		}
		sync := doc.Value.GetSync()
		if needed[sync.GetSyncId()] || !state.Final(sync.GetState()) || !sync.GetEndTime().AsTime().Before(syncs) {
			continue
		}
		if sync.GetRevision() == 0 {
			if err := discardPlans(ctx, roster, district, PlanOf(doc.Value)); err != nil {
				return err
			}
		}
		if err := DeleteBlob(ctx, bucket, FindingsKey(district, sync.GetSyncId())); err != nil {
			return err
		}
		if err := docstore.IgnoreNotFound(store.Syncs.Delete(ctx, doc.ID)); err != nil {
			return err
		}
	}
	return nil
}

// neededSyncs are those that something else in the district still names.
func neededSyncs(ctx context.Context, store *state.Store, district string) (map[string]bool, error) {
	needed := map[string]bool{}
	for doc, err := range store.Open.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, err
		}
		needed[doc.Value.GetSync()] = true
	}
	for doc, err := range store.Layers.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, err
		}
		needed[doc.Value.GetSync()] = true
	}
	for doc, err := range store.Sources.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, err
		}
		s := doc.Value
		for _, sync := range []string{s.GetDryRun(), s.GetSource().GetLastSync(), s.GetRematchSync(), s.GetSharingSync()} {
			needed[sync] = true
		}
	}
	for doc, err := range store.Drops.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, err
		}
		needed[doc.Value.GetSync()] = true // a drop whose sync is not there is synced again
	}
	return needed, nil
}

// deleteUploads deletes packages of a district that no open sync needs.
func deleteUploads(ctx context.Context, store *state.Store, bucket *blob.Bucket, district string, docs []docstore.Doc[*ingestv1.UploadDocument]) error {
	if len(docs) == 0 {
		return nil
	}
	needed := map[string]bool{}
	for open, err := range store.Open.All(ctx, state.Within(district)) {
		if err != nil {
			return err
		}
		doc, err := store.Sync(ctx, district, open.Value.GetSync())
		if err != nil && !errors.Is(err, state.ErrSyncNotFound) {
			return err
		}
		needed[doc.Value.GetUploadKey()] = true
	}
	for _, doc := range docs {
		if needed[doc.Value.GetKey()] {
			continue
		}
		if err := DeleteBlob(ctx, bucket, doc.Value.GetKey()); err != nil {
			return err
		}
		if err := docstore.IgnoreNotFound(store.Uploads.Delete(ctx, doc.ID)); err != nil {
			return err
		}
	}
	return nil
}
