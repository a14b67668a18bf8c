// Package mongodb is how every engine on MongoDB connects and makes sure of its
// indexes.
package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/securly/sync/services/platform/config"
)

// CallTimeout ends a call to the server that has no deadline of its own.
const CallTimeout = 2 * time.Minute

// Options are those of a client. What is acknowledged is in the journals of a
// majority, and only what a majority has is read, from the primary: neither a
// crash nor an election takes back what someone was told, and a unique insert
// has one winner. What the address says of it is overruled.
func Options(uri config.Secret) *options.ClientOptions {
	journal := true
	return options.Client().
		SetTimeout(CallTimeout).
		ApplyURI(uri.Reveal()).
		SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journal}).
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary()).
		SetRetryWrites(true).
		SetRetryReads(true).
		SetMonitor(traced())
}

// Connect returns a client, which must be disconnected. It does not wait for
// the server.
func Connect(uri config.Secret) (*mongo.Client, error) {
	client, err := mongo.Connect(Options(uri))
	if err != nil {
		// The driver's error may quote the address, which holds a password.
		return nil, errors.New("the address of MongoDB is not valid: want mongodb://host:port/ or mongodb+srv://host/")
	}
	return client, nil
}

// EnsureIndexes creates the indexes with these keys that are missing and checks
// that any query may use them. Each is named after its keys, as MongoDB does it.
func EnsureIndexes(ctx context.Context, coll *mongo.Collection, keys ...bson.D) error {
	have, err := existing(ctx, coll)
	if err != nil {
		return err
	}
	for _, k := range keys {
		name := nameOf(k)
		if at := slices.IndexFunc(have, func(x existingIndex) bool { return fmt.Sprint(x.Key) == fmt.Sprint(k) }); at >= 0 {
			if why := have[at].unusable(); why != "" {
				return fmt.Errorf("index %s of %s %s: drop it, it is then created as it should be", have[at].Name, coll.Name(), why)
			}
			continue
		}
		if at := slices.IndexFunc(have, func(x existingIndex) bool { return x.Name == name }); at >= 0 {
			return fmt.Errorf("index %s of %s has the keys %v, not those of its name: drop it, it is then created as it should be",
				name, coll.Name(), have[at].Key)
		}
		if _, err := coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: k, Options: options.Index().SetName(name)}); err != nil {
			return fmt.Errorf("create index %s of %s: %w", name, coll.Name(), Wordless(err))
		}
	}
	return nil
}

func nameOf(keys bson.D) string {
	parts := make([]string, 0, len(keys))
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s_%v", k.Key, k.Value))
	}
	return strings.Join(parts, "_")
}

// existingIndex is an index as the server lists it.
type existingIndex struct {
	Name      string   `bson:"name"`
	Key       bson.D   `bson:"key"`
	Hidden    bool     `bson:"hidden"`
	Sparse    bool     `bson:"sparse"`
	Unique    bool     `bson:"unique"`
	Partial   bson.Raw `bson:"partialFilterExpression"`
	Collation bson.Raw `bson:"collation"`
}

// unusable tells why not every query may use the index, or why it forbids what
// is to be written; empty if it is as it should be.
func (x existingIndex) unusable() string {
	switch {
	case x.Hidden:
		return "is hidden"
	case x.Sparse || x.Partial != nil:
		return "leaves documents out"
	case x.Unique:
		return "is unique"
	case x.Collation != nil:
		return "has a collation"
	}
	return ""
}

func existing(ctx context.Context, coll *mongo.Collection) ([]existingIndex, error) {
	var list []existingIndex
	cursor, err := coll.Indexes().List(ctx)
	if err == nil {
		err = cursor.All(ctx, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("list indexes of %s: %w", coll.Name(), Wordless(err))
	}
	return list, nil
}
