package mongostore

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Pending implements store.Outbox. The completion mark of a revision is also its
// announcement to be made: one document, so that neither is without the other.
func (s *Store) Pending(ctx context.Context) iter.Seq2[store.PendingRevision, error] {
	return func(yield func(store.PendingRevision, error) bool) {
		ctx, end := s.until(ctx)
		defer end()
		filter := bson.D{{Key: "pending", Value: true}}
		for {
			docs, err := all[revisionDoc](ctx, s.db.Collection(collRevisions), filter,
				find(indexPending).SetSort(bson.D{{Key: "d", Value: 1}, {Key: "n", Value: 1}}).SetLimit(batchCount))
			if err != nil {
				yield(store.PendingRevision{}, fmt.Errorf("list pending revisions: %w", s.failed(ctx, err)))
				return
			}
			for _, doc := range docs {
				var info revisionInfo
				if err := json.Unmarshal(doc.Info, &info); err != nil {
					yield(store.PendingRevision{}, fmt.Errorf("read revision %d of district %s: %w", doc.N, doc.District, err))
					return
				}
				if !yield(store.PendingRevision{District: doc.District, Revision: info.RevisionInfo}, nil) {
					return
				}
			}
			if len(docs) < batchCount {
				return
			}
			last := docs[len(docs)-1]
			filter = bson.D{{Key: "pending", Value: true}, {Key: "$or", Value: []bson.D{
				{{Key: "d", Value: bson.D{{Key: "$gt", Value: last.Owner}}}},
				{{Key: "d", Value: last.Owner}, {Key: "n", Value: bson.D{{Key: "$gt", Value: last.N}}}},
			}}}
		}
	}
}

// MarkPublished implements store.Outbox.
func (s *Store) MarkPublished(ctx context.Context, id store.DistrictID, rev store.Revision) error {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return err
	}
	defer end()
	_, err = s.db.Collection(collRevisions).UpdateOne(c.ctx,
		c.byID(numbered(c.key, int64(rev))),
		bson.D{{Key: "$set", Value: bson.D{{Key: "pending", Value: false}}}})
	return c.fail(mongodb.Wordless(err), "announcement of revision %d", rev)
}
