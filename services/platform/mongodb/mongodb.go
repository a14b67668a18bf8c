// Package mongodb is how every engine on MongoDB connects and makes sure of its
// indexes.
package mongodb

import (
	"context"
	"errors"
	"fmt"
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
		SetRetryReads(true)
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
// that any query may use them.
func EnsureIndexes(ctx context.Context, coll *mongo.Collection, keys ...bson.D) error {
	have, err := usable(ctx, coll)
	if err != nil {
		return err
	}
	missing := false
	for _, k := range keys {
		if have[fmt.Sprint(k)] {
			continue
		}
		if _, err := coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: k}); err != nil {
			return fmt.Errorf("create index %v of %s: %w", k, coll.Name(), err)
		}
		missing = true
	}
	if missing {
		if have, err = usable(ctx, coll); err != nil {
			return err
		}
	}
	for _, k := range keys {
		if !have[fmt.Sprint(k)] {
			return fmt.Errorf("index %v of %s is hidden, sparse or partial: drop it, it is then created as it should be", k, coll.Name())
		}
	}
	return nil
}

// usable lists the keys of the indexes that any query may use.
func usable(ctx context.Context, coll *mongo.Collection) (map[string]bool, error) {
	var list []struct {
		Key     bson.D   `bson:"key"`
		Hidden  bool     `bson:"hidden"`
		Sparse  bool     `bson:"sparse"`
		Partial bson.Raw `bson:"partialFilterExpression"`
	}
	cursor, err := coll.Indexes().List(ctx)
	if err == nil {
		err = cursor.All(ctx, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("list indexes of %s: %w", coll.Name(), err)
	}
	out := map[string]bool{}
	for _, x := range list {
		out[fmt.Sprint(x.Key)] = !x.Hidden && !x.Sparse && x.Partial == nil
	}
	return out, nil
}
