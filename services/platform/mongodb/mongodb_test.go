package mongodb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/mongotest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// database connects to a database of its own.
func database(t *testing.T) *mongo.Database {
	t.Helper()
	name := mongotest.Database(t)
	client, err := mongodb.Connect(config.Secret(mongotest.Find(t).URI))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Disconnect(context.WithoutCancel(t.Context()))) })
	return client.Database(name)
}

// TestAddressDoesNotWeakenPromises: what an address says of concerns is overruled.
func TestAddressDoesNotWeakenPromises(t *testing.T) {
	o := mongodb.Options("mongodb://localhost/?w=0&journal=false&readConcernLevel=local&readPreference=secondary&retryWrites=false")
	require.Equal(t, "majority", o.WriteConcern.W)
	require.True(t, *o.WriteConcern.Journal)
	require.Equal(t, "majority", o.ReadConcern.Level)
	require.Equal(t, readpref.PrimaryMode, o.ReadPreference.Mode())
	require.True(t, *o.RetryWrites)
}

func TestIndexesAreCreatedAndVerified(t *testing.T) {
	keys := bson.D{{Key: "d", Value: int32(1)}, {Key: "n", Value: int32(-1)}}
	db := database(t)
	coll := db.Collection("good")
	for range 2 {
		require.NoError(t, mongodb.EnsureIndexes(t.Context(), coll, keys, bson.D{{Key: "p", Value: int32(1)}}))
		specs, err := coll.Indexes().ListSpecifications(t.Context())
		require.NoError(t, err)
		var names []string
		for _, s := range specs {
			names = append(names, s.Name)
		}
		require.ElementsMatch(t, []string{"_id_", "d_1_n_-1", "p_1"}, names)
	}
	for why, wrong := range map[string]mongo.IndexModel{
		"has the keys": {Keys: keys[:1], Options: options.Index().SetName("d_1_n_-1")},
		"is unique":    {Keys: keys, Options: options.Index().SetUnique(true)},
	} {
		coll := db.Collection(strings.ReplaceAll(why, " ", "_"))
		name, err := coll.Indexes().CreateOne(t.Context(), wrong)
		require.NoError(t, err)
		err = mongodb.EnsureIndexes(t.Context(), coll, keys)
		require.ErrorContains(t, err, why)
		require.ErrorContains(t, err, "drop it")
		require.NoError(t, coll.Indexes().DropOne(t.Context(), name), "as the error says")
		require.NoError(t, mongodb.EnsureIndexes(t.Context(), coll, keys))
	}
}

func TestErrorsKeepTheirMeaningNotTheirWords(t *testing.T) {
	coll := database(t).Collection("records")
	doc := bson.D{{Key: "_id", Value: "MADE-UP-STUDENT-1"}}
	_, err := coll.InsertOne(t.Context(), doc)
	require.NoError(t, err)
	_, one := coll.InsertOne(t.Context(), doc)
	_, many := coll.InsertMany(t.Context(), []bson.D{doc, doc})
	command := coll.Database().RunCommand(t.Context(), bson.D{{Key: "noSuchCommand", Value: "MADE-UP-STUDENT-1"}}).Err()
	for name, err := range map[string]error{
		"one": one, "many": many, "command": command,
		"made up": mongo.CommandError{Code: 2, Name: "BadValue", Message: "MADE-UP-STUDENT-1", Wrapped: errors.New("MADE-UP-STUDENT-1")},
	} {
		require.Error(t, err, name)
		err = fmt.Errorf("write: %w", mongodb.Wordless(err))
		require.NotContains(t, err.Error(), "STUDENT", name)
		require.ErrorContains(t, err, "MongoDB answers", name)
		var said mongo.ServerError
		require.ErrorAs(t, err, &said, name)
		require.Equal(t, name == "one" || name == "many", mongo.IsDuplicateKeyError(err), name)
	}
	lost := fmt.Errorf("connection of made-up.example is lost")
	require.Equal(t, lost, mongodb.Wordless(lost))
	require.NoError(t, mongodb.Wordless(nil))
}

// TestSpansHoldNoValue looks at the spans of commands that hold a student's data,
// some of which fail.
func TestSpansHoldNoValue(t *testing.T) {
	memory := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(memory))
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(provider)
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	coll := database(t).Collection("records")

	_, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "before the trace"}})
	require.NoError(t, err)
	require.Empty(t, memory.GetSpans(), "what is not traced costs nothing")

	ctx, parent := provider.Tracer("test").Start(t.Context(), "import")
	for range 2 { // the second one fails
		_, _ = coll.InsertMany(ctx, []bson.D{{{Key: "_id", Value: "MADE-UP-STUDENT-1"}}, {{Key: "_id", Value: "MADE-UP-STUDENT-2"}}})
	}
	filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: "MADE-UP-STUDENT-1"}}}}
	cursor, err := coll.Find(ctx, filter, options.Find().SetBatchSize(1))
	require.NoError(t, err)
	var found []bson.D
	require.NoError(t, cursor.All(ctx, &found))
	_, err = coll.Find(ctx, bson.D{{Key: "$nonsense", Value: "MADE-UP-STUDENT-1"}})
	require.Error(t, err)
	parent.End()

	var names []string
	failed := 0
	for _, span := range memory.GetSpans() {
		names = append(names, span.Name)
		require.NotContains(t, fmt.Sprintf("%+v", span), "STUDENT")
		if span.Name != "import" {
			require.Equal(t, parent.SpanContext().SpanID(), span.Parent.SpanID())
		}
		if span.Status.Code != 0 {
			failed++
		}
	}
	require.Subset(t, names, []string{"insert records", "find records", "getMore records", "import"})
	require.Equal(t, 1, failed, "the find that makes no sense")
	require.NoError(t, provider.Shutdown(ctx))
}
