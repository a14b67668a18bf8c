// Package mongodocs is the engine of docstore on MongoDB. It is apart from
// docstore so that what needs no MongoDB does not link its driver.
package mongodocs

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/mongodb"
)

// Config of the engine.
type Config struct {
	// URI of the cluster.
	URI config.Secret
	// Database to use. Each program has its own.
	Database string
}

// documents implements docstore.Store in one collection, which a cluster shards
// by _id. Any number of processes may use it at once.
type documents struct {
	client *mongo.Client
	coll   *mongo.Collection

	// open is held for reading by every call and for writing by Close.
	open   sync.RWMutex
	closed bool
}

// document is how a docstore.Row is stored.
type document struct {
	Key        string `bson:"_id"` // keyOf
	Collection string `bson:"c"`
	ID         string `bson:"id"`
	Index      string `bson:"i"`
	Version    int64  `bson:"v"`
	Value      []byte `bson:"b"`
}

func keyOf(collection, id string) string {
	return fmt.Sprintf("%d/%s/%s", len(collection), collection, id)
}

// Open connects and creates the index if it is missing.
func Open(ctx context.Context, cfg Config) (docstore.Store, error) {
	client, err := mongodb.Connect(cfg.URI)
	if err != nil {
		return nil, fmt.Errorf("open documents: %w", err)
	}
	s := &documents{client: client, coll: client.Database(cfg.Database).Collection("documents")}
	err = mongodb.EnsureIndexes(ctx, s.coll, bson.D{{Key: "c", Value: int32(1)}, {Key: "i", Value: int32(1)}, {Key: "id", Value: int32(1)}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open documents in MongoDB: %w", err), client.Disconnect(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *documents) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return docstore.ErrClosed
	}
	s.closed = true
	if err := s.client.Disconnect(context.Background()); err != nil {
		return fmt.Errorf("close documents: %w", err)
	}
	return nil
}

// enter keeps Close away until leave.
func (s *documents) enter(ctx context.Context) (leave func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.open.RLock()
	if s.closed {
		s.open.RUnlock()
		return nil, docstore.ErrClosed
	}
	return s.open.RUnlock, nil
}

// ended returns why a call has ended with err: the driver says only that it was
// canceled.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return mongodb.Wordless(err)
}

func (s *documents) Get(ctx context.Context, collection, id string) (docstore.Row, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return docstore.Row{}, err
	}
	defer leave()
	doc, err := s.read(ctx, keyOf(collection, id))
	return doc.row(), ended(ctx, err)
}

func (d document) row() docstore.Row {
	return docstore.Row{ID: d.ID, Index: d.Index, Version: d.Version, Value: d.Value}
}

func (s *documents) read(ctx context.Context, key string) (document, error) {
	var doc document
	err := s.coll.FindOne(ctx, bson.D{{Key: "_id", Value: key}}).Decode(&doc)
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = docstore.ErrNotFound
	}
	return doc, err
}

func (s *documents) Put(ctx context.Context, collection string, row docstore.Row) (int64, error) {
	if row.ID == "" || collection == "" {
		return 0, errors.New("put: collection and id must not be empty")
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	doc := document{
		Key: keyOf(collection, row.ID), Collection: collection, ID: row.ID,
		Index: row.Index, Version: row.Version + 1, Value: row.Value,
	}
	if row.Version == 0 {
		// The clock makes the versions of a new document different from those of
		// a deleted one, so that a holder of the old one gets a conflict.
		doc.Version = time.Now().UnixNano()
		_, err = s.coll.InsertOne(ctx, doc)
		if mongo.IsDuplicateKeyError(err) {
			return 0, docstore.ErrExists
		}
		return doc.Version, ended(ctx, err)
	}
	result, err := s.coll.ReplaceOne(ctx, bson.D{{Key: "_id", Value: doc.Key}, {Key: "v", Value: row.Version}}, doc)
	if err == nil && result.MatchedCount == 0 {
		err = s.moved(ctx, doc.Key)
	}
	return doc.Version, ended(ctx, err)
}

// moved tells why a document is not there with the version asked for.
func (s *documents) moved(ctx context.Context, key string) error {
	if _, err := s.read(ctx, key); err != nil {
		return err
	}
	return docstore.ErrConflict
}

func (s *documents) Delete(ctx context.Context, collection, id string, version int64) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	key := keyOf(collection, id)
	filter := bson.D{{Key: "_id", Value: key}}
	if version != 0 {
		filter = append(filter, bson.E{Key: "v", Value: version})
	}
	result, err := s.coll.DeleteOne(ctx, filter)
	if err == nil && result.DeletedCount == 0 {
		err = s.moved(ctx, key)
	}
	return ended(ctx, err)
}

func (s *documents) List(ctx context.Context, collection string, q docstore.Query) (rows []docstore.Row, next string, err error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, "", err
	}
	defer leave()
	if q.Limit <= 0 {
		q.Limit = docstore.DefaultLimit
	}
	filter, err := filterOf(collection, q)
	if err != nil {
		return nil, "", err
	}
	order := int32(1)
	if q.Descending {
		order = -1
	}
	cursor, err := s.coll.Find(ctx, filter, options.Find().
		SetSort(bson.D{{Key: "c", Value: order}, {Key: "i", Value: order}, {Key: "id", Value: order}}).
		SetLimit(int64(q.Limit)+1))
	var docs []document
	if err == nil {
		err = cursor.All(ctx, &docs)
	}
	if err != nil {
		return nil, "", ended(ctx, err)
	}
	if len(docs) > q.Limit {
		docs = docs[:q.Limit]
		next = cursorAfter(docs[q.Limit-1])
	}
	for _, d := range docs {
		rows = append(rows, d.row())
	}
	return rows, next, nil
}

func filterOf(collection string, q docstore.Query) (bson.D, error) {
	bounds := bson.D{{Key: "$gte", Value: q.Prefix}}
	if end := successor(q.Prefix); end != "" {
		bounds = append(bounds, bson.E{Key: "$lt", Value: end})
	}
	filter := bson.D{{Key: "c", Value: collection}, {Key: "i", Value: bounds}}
	if q.After == "" {
		return filter, nil
	}
	index, id, ok := parseCursor(q.After)
	if !ok || !strings.HasPrefix(index, q.Prefix) {
		return nil, docstore.ErrBadCursor
	}
	beyond := "$gt"
	if q.Descending {
		beyond = "$lt"
	}
	return append(filter, bson.E{Key: "$or", Value: []bson.D{
		{{Key: "i", Value: bson.D{{Key: beyond, Value: index}}}},
		{{Key: "i", Value: index}, {Key: "id", Value: bson.D{{Key: beyond, Value: id}}}},
	}}), nil
}

// successor returns the smallest text above all that begin with prefix, empty if
// there is none.
func successor(prefix string) string {
	runes := []rune(prefix)
	for i := len(runes) - 1; i >= 0; i-- {
		if runes[i] == 0x10ffff {
			continue
		}
		if runes[i]++; runes[i] == 0xd800 {
			runes[i] = 0xe000 // What lies between is no text.
		}
		return string(runes[:i+1])
	}
	return ""
}

func cursorAfter(d document) string {
	b := binary.AppendUvarint(nil, uint64(len(d.Index)))
	return base64.RawURLEncoding.EncodeToString(append(append(b, d.Index...), d.ID...))
}

func parseCursor(s string) (index, id string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return "", "", false
	}
	length, n := binary.Uvarint(b)
	if n <= 0 || uint64(len(b)-n) < length {
		return "", "", false
	}
	end := n + int(length)
	return string(b[n:end]), string(b[end:]), true
}
