package mongostore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Bounds of what is read or written at once, and so of memory: a call holds a
// few batches at most.
const (
	batchBytes = 4 << 20
	batchCount = 2000
	// idsPerQuery is how many ids one query lists.
	idsPerQuery = 500
	// recordBytes is how much a record may take, with its terms: as much as a
	// batch. A document may have 16 MiB, which leaves room for the schools that
	// it comes to belong to later.
	recordBytes = batchBytes
)

// portions cuts a list into parts that fit into one message: at most count
// elements, and about batchBytes unless a single one is larger.
func portions[T any](list []T, count int, size func(T) int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(list) > 0 {
			n, bytes := 1, size(list[0])
			for n < min(len(list), count) && bytes+size(list[n]) <= batchBytes {
				bytes += size(list[n])
				n++
			}
			if !yield(list[:n]) {
				return
			}
			list = list[n:]
		}
	}
}

func sizeOfText(s string) int { return len(s) + 16 }

// at selects the versions of an owner that a revision sees.
func at(owner string, rev store.Revision) bson.D {
	return bson.D{
		{Key: "d", Value: owner},
		{Key: "f", Value: bson.D{{Key: "$lte", Value: rev}}},
		{Key: "u", Value: bson.D{{Key: "$gt", Value: rev}}},
	}
}

func in[T any](field string, values []T) bson.E {
	return bson.E{Key: field, Value: bson.D{{Key: "$in", Value: values}}}
}

// batches yields what a filter finds among versions in the order of ids, those
// after the given one; at most one version of each id may match. Each batch is
// a query of its own, so the caller may take its time.
func (s *Store) batches(ctx context.Context, e store.Entity, filter bson.D, after string, without ...string) iter.Seq2[[]version, error] {
	opts := find(indexFor(filter)).SetSort(bson.D{{Key: "id", Value: 1}}).SetLimit(batchCount).SetBatchSize(batchCount)
	if len(without) > 0 {
		drop := bson.D{}
		for _, field := range without {
			drop = append(drop, bson.E{Key: field, Value: 0})
		}
		opts.SetProjection(drop)
	}
	return func(yield func([]version, error) bool) {
		for {
			var batch []version
			bytes := 0
			full := errors.New("batch is full")
			err := each(ctx, s.versions(e), append(filter[:len(filter):len(filter)], idAfter(after)), func(v version) error {
				batch = append(batch, v)
				if bytes += v.size(); bytes > batchBytes || len(batch) == batchCount {
					return full
				}
				return nil
			}, opts)
			more := errors.Is(err, full)
			if err != nil && !more {
				yield(nil, fmt.Errorf("read %s: %w", record.EntityName(e), err))
				return
			}
			if len(batch) == 0 || !yield(batch, nil) || !more {
				return
			}
			after = batch[len(batch)-1].Record
		}
	}
}

func idAfter(after string) bson.E {
	return bson.E{Key: "id", Value: bson.D{{Key: "$gt", Value: after}}}
}

// ofIDs calls f with the versions that filter finds among records with these
// ids. Options are based on find(indexRecord).
func (s *Store) ofIDs(ctx context.Context, e store.Entity, filter bson.D, ids []string, f func(version) error, opts ...options.Lister[options.FindOptions]) error {
	if len(opts) == 0 {
		opts = append(opts, find(indexRecord))
	}
	for part := range portions(ids, idsPerQuery, sizeOfText) {
		if err := each(ctx, s.versions(e), append(filter[:len(filter):len(filter)], in("id", part)), f, opts...); err != nil {
			return fmt.Errorf("read %s: %w", record.EntityName(e), err)
		}
	}
	return nil
}

// insertVersions writes versions; those that are there already stay as they are.
func (s *Store) insertVersions(ctx context.Context, e store.Entity, docs []version) error {
	for part := range portions(docs, batchCount, version.size) {
		_, err := s.versions(e).InsertMany(ctx, part, options.InsertMany().SetOrdered(false))
		if err != nil && !onlyDuplicates(err) {
			return fmt.Errorf("write %s: %w", record.EntityName(e), mongodb.Wordless(err))
		}
	}
	return nil
}

func onlyDuplicates(err error) bool {
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError != nil || len(bulk.WriteErrors) == 0 {
		return false
	}
	for _, e := range bulk.WriteErrors {
		if e.Code != 11000 {
			return false
		}
	}
	return true
}

// closeVersions ends the visibility of versions at rev. Each was closed at most
// once, at that same revision.
func (s *Store) closeVersions(ctx context.Context, e store.Entity, owner string, ids []string, rev store.Revision) error {
	for part := range portions(ids, idsPerQuery, sizeOfText) {
		_, err := s.versions(e).UpdateMany(ctx,
			bson.D{{Key: "d", Value: owner}, {Key: "u", Value: live}, in("_id", part)},
			bson.D{{Key: "$set", Value: bson.D{{Key: "u", Value: rev}}}}, options.UpdateMany().SetHint(indexID.keys()))
		if err != nil {
			return fmt.Errorf("close %s: %w", record.EntityName(e), mongodb.Wordless(err))
		}
	}
	return nil
}

// setTerms writes the terms of versions, all of one entity. It leaves out those
// of a person that was erased since they were read, or that are gone, and tells
// whether there were any.
func (s *Store) setTerms(ctx context.Context, e store.Entity, docs []version) (all bool, err error) {
	all = true
	for part := range portions(docs, idsPerQuery, version.size) {
		models := make([]mongo.WriteModel, 0, len(part))
		for _, v := range part {
			models = append(models, mongo.NewUpdateOneModel().
				SetFilter(append(v.itself(), bson.E{Key: "e", Value: bson.D{{Key: "$ne", Value: !v.Erased}}})).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "t", Value: v.Terms}}}}))
		}
		done, err := s.versions(e).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		if err != nil {
			return false, fmt.Errorf("write terms of %s: %w", record.EntityName(e), mongodb.Wordless(err))
		}
		all = all && int(done.MatchedCount) == len(part)
	}
	return all, nil
}

// itself selects a version, and its shard.
func (v version) itself() bson.D {
	return bson.D{{Key: "d", Value: v.Owner}, {Key: "id", Value: v.Record}, {Key: "_id", Value: v.ID}}
}

// removalTimeout is for deleting all at once, which takes as long as it takes.
const removalTimeout = time.Hour

// remove deletes all documents that a filter finds.
func remove(ctx context.Context, coll *mongo.Collection, filter bson.D) error {
	ctx, cancel := context.WithTimeout(ctx, removalTimeout)
	defer cancel()
	if _, err := coll.DeleteMany(ctx, filter); err != nil {
		return fmt.Errorf("delete from %s: %w", coll.Name(), mongodb.Wordless(err))
	}
	return nil
}

// removeVersions deletes what a filter finds among the versions of all entities.
func (s *Store) removeVersions(ctx context.Context, filter bson.D) error {
	for _, e := range record.Entities() {
		if err := remove(ctx, s.versions(e), filter); err != nil {
			return err
		}
	}
	return nil
}
