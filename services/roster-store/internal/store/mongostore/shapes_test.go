package mongostore

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit/mongotest"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// answered is how a shape of query is to be answered.
type answered struct {
	by index
	// looks says why more documents are looked at than are returned or changed.
	looks string
}

var (
	history = "superseded versions are read along, until they are pruned"
	terms   = history + ", and documents that meet one condition of several"
	small   = answered{nil, "the collection is small"}
)

// shapes are all shapes of queries that the engine sends.
var shapes = map[string]answered{
	"find districts _id=":                  {indexID, ""},
	"find districts _id$gt":                {indexID, ""},
	"delete districts _id= key=":           {indexID, ""},
	"find erased":                          small,
	"find stagings":                        small,
	"find stagings d=":                     {indexStaging, ""},
	"find stagings _id= d=":                {indexID, ""},
	"delete stagings _id= d=":              {indexID, ""},
	"delete stagings d$gte$lt":             {indexStaging, ""},
	"find log d=":                          {indexNumber, ""},
	"find log d= p=":                       {indexPlan, ""},
	"find log d= at$lte":                   {indexNumber, "entries are walked back to the time"},
	"find log d= n$gt k=":                  {indexNumber, "entries since an import began"},
	"find log pending=":                    {indexPending, ""},
	"update log _id= d=":                   {indexID, ""},
	"update log pending= d= n$lte k=":      {indexPending, ""},
	"delete log d= n$lt k$in":              {indexNumber, "claims stay"},
	"delete log d$gte$lt k$ne":             {indexNumber, ""},
	"find revisions _id= d=":               {indexID, ""},
	"find revisions d=":                    {indexNumber, ""},
	"find revisions d= n$gte":              {indexNumber, ""},
	"find revisions d= n$gte$lt":           {indexNumber, ""},
	"find revisions pending=":              {indexPending, ""},
	"update revisions _id= d=":             {indexID, ""},
	"delete revisions d= n$lt":             {indexNumber, ""},
	"delete revisions d$gte$lt":            {indexNumber, ""},
	"find plans _id= d=":                   {indexID, ""},
	"find plans d=":                        {indexPlan, ""},
	"find plans d= p=":                     {indexPlan, ""},
	"delete plans _id= d= p=":              {indexID, ""},
	"delete plans d= p$in":                 {indexPlan, ""},
	"delete plans d$gte$lt":                {indexPlan, ""},
	"find versions d= f$lte u$gt id=":      {indexRecord, history},
	"find versions d= f$lte u$gt id$gt":    {indexRecord, history},
	"find versions d= f$lte u$gt id$in":    {indexRecord, history},
	"find versions d= f$lte u$gt id$gt$eq": {indexRecord, history},
	"find versions d= f$lte u$gt t$in":     {indexTerms, history},
	// Pages and totals of searches.
	"find versions d= f$lte u$gt $and id$gt":    {indexTerms, terms},
	"find versions d= f$lte u$gt $and id$gt$eq": {indexRecord, history},
	"aggregate versions d= f$lte u$gt $and":     {indexTerms, terms},
	"aggregate versions d= f$lte u$gt $and id=": {indexRecord, history},
	"aggregate versions d= f$lte u$gt id=":      {indexRecord, history},
	"find versions d= f= k$gt id$gt":            {indexChanges, "documents that only changed terms"},
	"find versions d= f= k$eq id$gt":            {indexChanges, "changes of other kinds"},
	"find versions d= f$gt":                     {indexChanges, ""},
	"find versions d= id= f$lte":                {indexRecord, ""},
	"find versions d= id$gt f$lte":              {indexRecord, ""},
	"find versions d$in id=":                    {indexRecord, ""},
	"find versions d$gt$lt":                     {indexRecord, ""},
	"find versions d=":                          {indexRecord, ""},
	"aggregate versions d=":                     {indexRecord, ""},
	"update versions d= u= _id$in":              {indexID, ""},
	"update versions d= id= _id= e$ne":          {indexID, ""},
	"update versions d= id= _id= u=":            {indexID, ""},
	"update versions d= id= _id=":               {indexID, ""},
	"delete versions d=":                        {indexRecord, ""},
	"delete versions d= u$lte":                  {indexClosed, ""},
	"delete versions d$gte$lt":                  {indexRecord, ""},
}

// query is one that was sent.
type query struct {
	command string
	coll    string
	filter  bson.Raw
	hint    bson.Raw
	sent    bson.Raw
}

func queryOf(e *event.CommandStartedEvent) (query, bool) {
	q := query{command: e.CommandName, sent: e.Command}
	var filter bson.RawValue
	switch q.command {
	case "find":
		filter = e.Command.Lookup("filter")
	case "aggregate":
		filter = e.Command.Lookup("pipeline", "0", "$match")
	case "update", "delete":
		filter = e.Command.Lookup(q.command+"s", "0", "q")
		q.hint, _ = e.Command.Lookup(q.command+"s", "0", "hint").DocumentOK()
	default:
		return q, false
	}
	q.filter, _ = filter.DocumentOK()
	if hint, ok := e.Command.Lookup("hint").DocumentOK(); ok {
		q.hint = hint
	}
	q.coll = e.Command.Lookup(q.command).StringValue()
	return q, true
}

// shape is the command, the collection, and the fields with the operators that
// bound them.
func (q query) shape(t *testing.T) string {
	kind, _, _ := strings.Cut(q.coll, ".")
	out := []string{q.command, kind}
	elements, err := q.filter.Elements()
	require.NoError(t, err)
	for _, e := range elements {
		text := e.Key()
		bounds, ok := e.Value().DocumentOK()
		switch {
		case ok:
			operators, err := bounds.Elements()
			require.NoError(t, err)
			for _, o := range operators {
				text += o.Key()
			}
		case !strings.HasPrefix(text, "$"):
			text += "="
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// TestEachQueryHasItsIndex looks at all queries of the life of a district: each
// is of a known shape, has the index that answers it, and names it where the
// planner could take another. A real server explains each with what it holds at
// that moment.
func TestEachQueryHasItsIndex(t *testing.T) {
	server := mongotest.Find(t)
	database := mongotest.Database(t)
	p, other := startProcess(t, database), startProcess(t, database)
	if server.Real {
		// A scan of all there is shows.
		require.NoError(t, p.OpenDistrict(t.Context(), "d0"))
		var others []*typev1.Record
		for i := range 500 {
			others = append(others, user(fmt.Sprintf("other%03d", i), "student"))
		}
		require.NoError(t, importAll(t.Context(), p, "d0", "first", others))
		commitPlan(t, p, "d0", "first", 1)
	}
	declared := indexes()
	var mu sync.Mutex
	seen := map[string]bool{}
	watch := func(e *event.CommandStartedEvent) {
		q, ok := queryOf(e)
		if !ok {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		shape := q.shape(t)
		if seen[shape] && !server.Real {
			return
		}
		seen[shape] = true
		want, known := shapes[shape]
		if !known {
			t.Errorf("unknown shape of query %q: state the index that answers it", shape)
			return
		}
		if want.by == nil {
			return
		}
		if !slices.Equal(want.by, indexID) && !slices.ContainsFunc(declared[q.coll], func(x index) bool { return slices.Equal(x, want.by) }) {
			t.Errorf("%s: there is no index %v", shape, want.by)
		}
		if _, err := q.filter.LookupErr(strings.TrimPrefix(want.by[0], "-")); err != nil {
			t.Errorf("%s does not bound the first key of %v", shape, want.by)
		}
		if q.hint != nil {
			keys, err := bson.Marshal(want.by.keys())
			if err != nil || q.hint.String() != bson.Raw(keys).String() {
				t.Errorf("%s names index %v, not %v", shape, q.hint, want.by)
			}
		}
		if q.hint == nil && q.command != "delete" && !slices.Equal(want.by, indexID) {
			t.Errorf("%s does not name its index", shape)
		}
		if server.Real {
			other.explain(t, shape, q, want)
		}
	}
	p.watch.Store(&watch)
	wholeLife(t, p)
	p.watch.Store(nil)
	for shape := range shapes {
		require.Contains(t, slices.Collect(maps.Keys(seen)), shape, "a shape that nothing sends")
	}
}

// wholeLife lets a district be made, changed, read, pruned, checked and erased.
func wholeLife(t *testing.T, p *process) {
	const d = store.DistrictID("d1")
	ctx := t.Context()
	prepare(t, p, d)
	changes := func(id store.PlanID, q store.ChangeQuery) {
		t.Helper()
		q.Limit = 100
		_, err := p.PlanChanges(ctx, d, id, q)
		require.NoError(t, err)
	}
	changes("second", store.ChangeQuery{})
	commitPlan(t, p, d, "second", 2)
	changes("second", store.ChangeQuery{Kind: store.Updated})
	require.NoError(t, importAll(ctx, p, d, "dropped", first()))
	require.NoError(t, p.Discard(ctx, d, "dropped"))
	third := second()
	third[0] = org("s1", "North Middle")
	require.NoError(t, importAll(ctx, p, d, "third", third))
	require.NoError(t, importAll(ctx, p, d, "never", append(second()[:1:1], second()[2:]...)))
	require.NoError(t, p.OpenDistrict(ctx, "d2"))
	delta := func(id store.PlanID, r *typev1.Record) {
		_, err := p.Import(ctx, store.PlanHeader{District: d, Plan: id}, candidate([]*typev1.Record{r}))
		require.NoError(t, err)
	}
	delta("between", org("s2", "South Middle"))
	commitPlan(t, p, d, "between", 3)
	commitPlan(t, p, d, "third", 4) // was compared with revision 2

	for _, scope := range []store.Scope{{All: true}, {Schools: []string{"s1", "s2"}}} {
		r := p.Snapshot(d, 2, scope)
		_, err := r.Get(ctx, users, "u1")
		require.NoError(t, err)
		_, err = r.History(ctx, users, "u1")
		require.NoError(t, err)
		for _, err := range r.Scan(ctx, store.Position{}) {
			require.NoError(t, err)
		}
		list := searches()
		list["id"] = store.Query{Entity: users, SourcedID: "u1"}
		list["id and role"] = store.Query{Entity: users, SourcedID: "u1", Role: "student"}
		for _, q := range list {
			for _, limit := range []int{0, 1} {
				_, err := r.Page(ctx, q, "", limit)
				require.NoError(t, err)
			}
		}
		_, err = p.Summary(ctx, d, scope)
		require.NoError(t, err)
	}
	for _, err := range p.Changes(ctx, d, 0, 0) {
		require.NoError(t, err)
	}
	for _, before := range []store.Revision{0, 2} {
		_, err := p.Revisions(ctx, d, before, 10)
		require.NoError(t, err)
	}
	_, err := p.RevisionAt(ctx, d, time.Now())
	require.NoError(t, err)
	for _, err := range p.Pending(ctx) {
		require.NoError(t, err)
	}
	require.NoError(t, p.MarkPublished(ctx, d, 1))
	for _, err := range p.Districts(ctx) {
		require.NoError(t, err)
	}
	// A person is erased while an import is under way, which looks that up.
	_, err = p.Import(ctx, store.PlanHeader{District: d, Plan: "late", Complete: record.Entities()}, func(yield func(store.ImportRecord, error) bool) {
		require.NoError(t, p.ErasePerson(ctx, d, "u1"))
		candidate(third)(yield)
	})
	require.NoError(t, err)

	doc, err := p.district(ctx, d)
	require.NoError(t, err)
	_, err = p.versions(users).UpdateOne(ctx, bson.D{
		{Key: "d", Value: doc.Key}, {Key: "id", Value: "u2"}, {Key: "_id", Value: versionID(doc.Key, 1, "u2")},
	}, set("u", live))
	require.NoError(t, err)
	_, err = p.versions(users).UpdateOne(ctx, bson.D{
		{Key: "d", Value: doc.Key}, {Key: "id", Value: "g1"}, {Key: "_id", Value: versionID(doc.Key, 2, "g1")},
	}, set("h", []byte("?")))
	require.NoError(t, err)
	owner := stagedOwner(doc.Key, "nobody")
	require.NoError(t, p.insertVersions(ctx, users, []version{{ID: versionID(owner, 0, "u"), Owner: owner, Record: "u", To: live}}))
	require.NotEmpty(t, problems(t, p, d, true))
	require.Empty(t, problems(t, p, d, true))

	require.NoError(t, p.sweep(ctx))
	require.NoError(t, p.Prune(ctx, d, 3))
	require.NoError(t, p.EraseDistrict(ctx, d))
	require.NoError(t, p.sweep(ctx))
}

// explain asks a server how it answers a query that is about to be sent.
func (p *process) explain(t *testing.T, shape string, q query, want answered) {
	command := bson.D{{Key: q.command, Value: q.coll}}
	for _, field := range []string{"filter", "sort", "projection", "limit", "singleBatch", "pipeline", "cursor", "hint"} {
		if v, err := q.sent.LookupErr(field); err == nil {
			command = append(command, bson.E{Key: field, Value: v})
		}
	}
	if list, err := q.sent.LookupErr(q.command + "s"); err == nil { // only one of them can be explained
		command = append(command, bson.E{Key: q.command + "s", Value: bson.A{list.Array().Index(0)}})
	}
	var plan bson.Raw
	if err := p.db.RunCommand(t.Context(), bson.D{{Key: "explain", Value: command}, {Key: "verbosity", Value: "executionStats"}}).Decode(&plan); err != nil {
		t.Errorf("explain %s: %v", shape, err)
		return
	}
	if strings.Contains(plan.String(), `"EOF"`) {
		return // There is no such collection yet.
	}
	if q.hint == nil {
		want.by = nil // Any will do that leads to few documents.
	}
	if problem := judge(plan, want); problem != "" {
		t.Errorf("%s: %s: %v", shape, problem, plan)
	}
}

// judge tells what is wrong with an explained plan.
func judge(plan bson.Raw, want answered) string {
	stages, numbers := map[string]bool{}, map[string]int64{}
	names := map[string]bool{}
	walk(plan, func(key string, v bson.RawValue) {
		switch key {
		case "stage":
			stages[v.StringValue()] = true
		case "indexName":
			names[v.StringValue()] = true
		case "totalDocsExamined", "nReturned", "nWouldDelete", "nMatched", "keysExamined":
			n, _ := v.AsInt64OK()
			numbers[key] = max(numbers[key], n)
		}
	})
	if stages["COLLSCAN"] {
		return "looks at the whole collection"
	}
	for name := range names {
		if want.by != nil && !strings.HasPrefix(name+"_", strings.TrimSuffix(want.by.name(), "1")) {
			return "uses index " + name
		}
	}
	// Looking at a handful more is no scan.
	if useful := max(numbers["nReturned"], numbers["nWouldDelete"], numbers["nMatched"]); want.looks == "" && numbers["totalDocsExamined"] > 2*useful+20 {
		return "looks at many documents for few"
	}
	return ""
}

func (x index) name() string {
	var parts []string
	for _, k := range x {
		if name, down := strings.CutPrefix(k, "-"); down {
			parts = append(parts, name+"_-1")
		} else {
			parts = append(parts, name+"_1")
		}
	}
	return strings.Join(parts, "_")
}

// walk calls f with all that an explained plan says of the plan that won.
func walk(doc bson.Raw, f func(string, bson.RawValue)) {
	elements, _ := doc.Elements()
	for _, e := range elements {
		v := e.Value()
		switch v.Type {
		case bson.TypeEmbeddedDocument:
			if e.Key() != "command" && e.Key() != "indexBounds" {
				walk(v.Document(), f)
			}
		case bson.TypeArray:
			if e.Key() != "rejectedPlans" && e.Key() != "allPlansExecution" {
				walk(bson.Raw(v.Array()), f)
			}
		default:
			f(e.Key(), v)
		}
	}
}

func TestExplainedPlansAreJudged(t *testing.T) {
	plan := func(stage, name string, examined, returned int) bson.Raw {
		raw, err := bson.Marshal(bson.D{
			{Key: "queryPlanner", Value: bson.D{
				{Key: "winningPlan", Value: bson.D{{Key: "stage", Value: "FETCH"}, {Key: "inputStages", Value: bson.A{
					bson.D{{Key: "stage", Value: stage}, {Key: "indexName", Value: name}},
				}}}},
				{Key: "rejectedPlans", Value: bson.A{bson.D{{Key: "stage", Value: "COLLSCAN"}}}},
			}},
			{Key: "executionStats", Value: bson.D{{Key: "nReturned", Value: returned}, {Key: "totalDocsExamined", Value: int64(examined)}}},
		})
		require.NoError(t, err)
		return raw
	}
	require.Empty(t, judge(plan("IXSCAN", "d_1_n_-1", 7, 7), answered{index{"d", "-n"}, ""}))
	require.Empty(t, judge(plan("IXSCAN", "_id_", 1, 1), answered{indexID, ""}))
	require.Empty(t, judge(plan("IXSCAN", "d_1_n_-1", 7, 7), answered{index{"d"}, ""}))
	require.Empty(t, judge(plan("IXSCAN", "d_1_p_1", 7, 7), answered{nil, ""}))
	require.Contains(t, judge(plan("IXSCAN", "d_1", 7, 7), answered{index{"d", "-n"}, ""}), "uses index d_1")
	require.Contains(t, judge(plan("IXSCAN", "d_1_p_1", 7, 7), answered{index{"d", "-n"}, ""}), "uses index d_1_p_1")
	require.Contains(t, judge(plan("COLLSCAN", "", 7, 7), answered{indexID, ""}), "whole collection")
	require.Contains(t, judge(plan("IXSCAN", "d_1", 900, 7), answered{index{"d"}, ""}), "many documents")
	require.Empty(t, judge(plan("IXSCAN", "d_1", 900, 7), answered{index{"d"}, "because"}))
}
