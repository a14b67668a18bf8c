package mongostore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// The collections, see the comment of the package.
const (
	collDistricts = "districts"
	collLog       = "log"
	collRevisions = "revisions"
	collPlans     = "plans"
	collStagings  = "stagings"
	collErased    = "erased"
	collVersions  = "versions."
)

// districtDoc says under which key a district's documents are.
type districtDoc struct {
	Name store.DistrictID `bson:"_id"`
	Key  string           `bson:"key"`
}

// version is a version of a record. Only To and, until its revision is complete,
// Terms ever change, but for the erasure of a person: that blanks Body and what
// follows from it.
//
// When the schools of a record change by other records, it gets a further
// document with the same body and new terms: From is then above Since.
type version struct {
	ID     string         `bson:"_id"` // versionID
	Owner  string         `bson:"d"`   // key of the district, or of a staging
	Record string         `bson:"id"`
	From   store.Revision `bson:"f"` // first revision that sees the document
	To     store.Revision `bson:"u"` // first revision that does not, live if there is none
	// Since is the revision that brought the record version; of a staged one,
	// Since of the version that it replaces, 0 for none.
	Since store.Revision `bson:"s"`
	// Kind of the change that the version made; 0 if only terms changed.
	Kind      store.Kind `bson:"k"`
	Tombstone bool       `bson:"x"`
	Hash      []byte     `bson:"h"`
	Body      []byte     `bson:"b"`
	Terms     []string   `bson:"t"` // see termOf
	// Schools that Plan.Schools counts the change under, only of a staged version.
	Schools []string `bson:"sc,omitempty"`
	// Erased says that Body is blank, see ErasePerson. Hash is what it was.
	Erased bool `bson:"e,omitempty"`
}

// live is To of a version that nothing has superseded. A number makes "not
// superseded at r" one comparison.
const live = store.Revision(math.MaxInt64)

func versionID(owner string, from store.Revision, id string) string {
	return fmt.Sprintf("%s/%016x/%s", owner, int64(from), id)
}

// size is about how many bytes the document takes.
func (v version) size() int {
	n := 160 + len(v.ID) + len(v.Record) + len(v.Body)
	for _, list := range [][]string{v.Terms, v.Schools} {
		for _, t := range list {
			n += len(t) + 8
		}
	}
	return n
}

// termOf is how a term is stored: one digit for the field, then the value, so
// that one index serves all fields, exact and by beginning.
func termOf(t search.Term) string { return fieldPrefix(t.Field) + t.Value }

func fieldPrefix(f search.Field) string { return string(rune('0' + f)) }

// termCourse finds the classes of a course. It is no field of search: only the
// schools of courses are worked out by it.
const termCourse = "c"

func termsOf(stored []string) []search.Term {
	out := make([]search.Term, 0, len(stored))
	for _, t := range stored {
		out = append(out, search.Term{Field: search.Field(t[0] - '0'), Value: t[1:]})
	}
	return out
}

// ownTerms are the terms that follow from the record itself.
func ownTerms(e store.Entity, f search.Facts) []string {
	out := []string{}
	for _, t := range f.Terms {
		out = append(out, termOf(t))
	}
	if !search.Derives(e) {
		out = append(out, withPrefix(fieldPrefix(search.FieldSchool), f.Schools)...)
	}
	if f.LinkCourse != "" {
		out = append(out, termCourse+f.LinkCourse)
	}
	return out
}

func withPrefix(prefix string, values []string) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, prefix+v)
	}
	return out
}

// revisionDoc marks a revision complete and holds what is known of it.
type revisionDoc struct {
	ID       string           `bson:"_id"` // numbered
	Owner    string           `bson:"d"`
	N        store.Revision   `bson:"n"`
	District store.DistrictID `bson:"district"`
	Pending  bool             `bson:"pending"` // not yet announced
	// Info is JSON: ids may hold what names of fields must not.
	Info []byte `bson:"info"`
}

// revisionInfo is what revisionDoc.Info holds.
type revisionInfo struct {
	store.RevisionInfo
	summary
}

// summary counts what a revision holds.
type summary struct {
	Active, Total map[store.Entity]int
	Families      map[record.Family]int
}

// planDoc is a finished plan.
type planDoc struct {
	ID    string `bson:"_id"` // key and id of the plan
	Owner string `bson:"d"`
	// Token names the staging. A plan id can be used again after a discard, a
	// token cannot.
	Token string      `bson:"p"`
	Plan  []byte      `bson:"plan"` // store.Plan as JSON
	Undo  *store.Undo `bson:"undo,omitempty"`
}

// stagingDoc is there while versions may be staged under its token.
type stagingDoc struct {
	Token string    `bson:"_id"`
	Owner string    `bson:"d"`
	At    time.Time `bson:"at"`
}

// stagedOwner is what owns the versions staged under a token.
func stagedOwner(key, token string) string { return key + "~" + token }

func numbered(key string, n int64) string { return fmt.Sprintf("%s/%016x", key, n) }

// index is the keys of an index in order; a minus turns one around.
type index []string

// The indexes of every versions collection. None has To in it: documents in an
// index keep their place while a commit closes them, so a reader that walks it
// meets each exactly once.
var (
	indexRecord  = index{"d", "id", "f"} // begins with the shard key
	indexTerms   = index{"d", "t", "id", "f"}
	indexChanges = index{"d", "f", "id"}
	indexClosed  = index{"d", "u"} // of Prune, which reads nothing

	indexID      = index{"_id"}     // which every collection has
	indexNumber  = index{"d", "-n"} // of the log and of revisions
	indexPending = index{"pending", "d", "n"}
	indexPlan    = index{"d", "p"} // of the log and of plans
	indexStaging = index{"d"}
)

func indexes() map[string][]index {
	out := map[string][]index{
		collLog:       {indexNumber, indexPlan, indexPending},
		collRevisions: {indexNumber, indexPending},
		collPlans:     {indexPlan},
		collStagings:  {indexStaging},
	}
	for _, e := range record.Entities() {
		out[collVersions+record.EntityName(e)] = []index{indexRecord, indexTerms, indexChanges, indexClosed}
	}
	return out
}

func (x index) keys() bson.D {
	var out bson.D
	for _, k := range x {
		if k[0] == '-' {
			out = append(out, bson.E{Key: k[1:], Value: int32(-1)})
		} else {
			out = append(out, bson.E{Key: k, Value: int32(1)})
		}
	}
	return out
}

// find returns the options of a query that uses an index. The planner is told
// which, because it would guess by trying and remember the guess for other
// districts.
func find(x index) *options.FindOptionsBuilder { return options.Find().SetHint(x.keys()) }

func findOne(x index) *options.FindOneOptionsBuilder { return options.FindOne().SetHint(x.keys()) }

// indexFor returns the index for a filter of versions.
func indexFor(filter bson.D) index {
	for _, part := range filter {
		_, bounds := part.Value.(bson.D)
		switch {
		case part.Key == "$and", part.Key == "t":
			return indexTerms
		case part.Key == "f" && !bounds:
			return indexChanges
		}
	}
	return indexRecord
}

// ensureIndexes creates what is missing and checks that each can be used.
func (s *Store) ensureIndexes(ctx context.Context) error {
	for name, list := range indexes() {
		var keys []bson.D
		for _, x := range list {
			keys = append(keys, x.keys())
		}
		if err := mongodb.EnsureIndexes(ctx, s.db.Collection(name), keys...); err != nil {
			return err
		}
	}
	return nil
}

// each calls f with every document that a filter finds.
func each[T any](ctx context.Context, coll *mongo.Collection, filter any, f func(T) error, opts ...options.Lister[options.FindOptions]) error {
	cursor, err := coll.Find(ctx, filter, opts...)
	if err != nil {
		return mongodb.Wordless(err)
	}
	for err == nil && cursor.Next(ctx) {
		var doc T
		if err = cursor.Decode(&doc); err == nil {
			err = f(doc)
		}
	}
	return errors.Join(err, mongodb.Wordless(cursor.Err()), cursor.Close(context.WithoutCancel(ctx)))
}

// all returns every document that a filter finds; they must be few.
func all[T any](ctx context.Context, coll *mongo.Collection, filter any, opts ...options.Lister[options.FindOptions]) ([]T, error) {
	var out []T
	err := each(ctx, coll, filter, func(doc T) error {
		out = append(out, doc)
		return nil
	}, opts...)
	return out, err
}

// one returns the first document that a filter finds, nil if there is none.
func one[T any](ctx context.Context, coll *mongo.Collection, filter any, opts ...options.Lister[options.FindOneOptions]) (*T, error) {
	doc := new(T)
	err := coll.FindOne(ctx, filter, opts...).Decode(doc)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", coll.Name(), mongodb.Wordless(err))
	}
	return doc, nil
}

// insert inserts a document and tells whether it was the first with its id.
func insert(ctx context.Context, coll *mongo.Collection, doc any) (first bool, err error) {
	_, err = coll.InsertOne(ctx, doc)
	if mongo.IsDuplicateKeyError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("write %s: %w", coll.Name(), mongodb.Wordless(err))
	}
	return true, nil
}
