package mongostore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"google.golang.org/grpc/codes"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/mongotest"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestEachCommandStatesItsConcerns looks at all that goes over the wire in the
// life of a district.
func TestEachCommandStatesItsConcerns(t *testing.T) {
	p := startProcess(t, mongotest.Database(t))
	var mu sync.Mutex
	seen := map[string]int{}
	watch := func(e *event.CommandStartedEvent) {
		mu.Lock()
		defer mu.Unlock()
		seen[e.CommandName]++
		for _, never := range []string{"startTransaction", "collation"} {
			_, err := e.Command.LookupErr(never)
			require.Error(t, err, "%s with %s", e.CommandName, never)
		}
		switch e.CommandName {
		case "insert", "update", "delete":
			concern := e.Command.Lookup("writeConcern").Document()
			require.Equal(t, "majority", concern.Lookup("w").StringValue())
			require.True(t, concern.Lookup("j").Boolean())
		case "find", "aggregate":
			require.Equal(t, "majority", e.Command.Lookup("readConcern", "level").StringValue(), e.CommandName)
		case "getMore", "endSessions", "killCursors":
		default:
			require.Fail(t, "unexpected command", e.CommandName)
		}
		require.Less(t, len(e.Command), 2*batchBytes)
	}
	p.watch.Store(&watch)
	wholeLife(t, p)
	p.watch.Store(nil)
	for _, name := range []string{"insert", "update", "delete", "find", "aggregate"} {
		require.Positive(t, seen[name], name)
	}
}

// TestBatchesAreSizedByBytes imports records that are large together.
func TestBatchesAreSizedByBytes(t *testing.T) {
	p := startProcess(t, mongotest.Database(t))
	largest := 0
	watch := func(e *event.CommandStartedEvent) {
		if e.CommandName == "insert" {
			largest = max(largest, len(e.Command))
		}
	}
	p.watch.Store(&watch)
	d := store.DistrictID("d1")
	require.NoError(t, p.OpenDistrict(t.Context(), d))
	records := first()[:0]
	for i := range 6 {
		large := org(fmt.Sprint("o", i), "Large")
		large.GetOrg().Metadata = map[string]string{"notes": strings.Repeat("x", batchBytes/5)}
		records = append(records, large)
	}
	require.NoError(t, importAll(t.Context(), p, d, "large", records))
	commitPlan(t, p, d, "large", 1)
	p.watch.Store(nil)
	require.Greater(t, largest, batchBytes/2)
	require.Less(t, largest, 2*batchBytes)
	n := 0
	for _, err := range p.Snapshot(d, 1, store.Scope{All: true}).Scan(t.Context(), store.Position{}) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 6, n)
}

// TestLargestRecord: what fits is kept, what does not is refused by name before
// the server refuses it.
func TestLargestRecord(t *testing.T) {
	p := startProcess(t, mongotest.Database(t))
	largest := 0
	watch := func(e *event.CommandStartedEvent) { largest = max(largest, len(e.Command)) }
	p.watch.Store(&watch)
	d := store.DistrictID("d1")
	require.NoError(t, p.OpenDistrict(t.Context(), d))
	of := func(bytes int) []*typev1.Record {
		large := org("large", "Large")
		large.GetOrg().Metadata = map[string]string{"notes": strings.Repeat("x", bytes)}
		return append(first()[:0], org("before", ""), large, org("next", ""))
	}
	require.NoError(t, importAll(t.Context(), p, d, "fits", of(recordBytes-1000)))
	commitPlan(t, p, d, "fits", 1)
	rec, err := p.Snapshot(d, 1, store.Scope{All: true}).Get(t.Context(), record.Entities()[0], "large")
	require.NoError(t, err)
	require.Greater(t, len(rec.Body), recordBytes-1000)
	err = importAll(t.Context(), p, d, "too large", of(recordBytes))
	p.watch.Store(nil)
	require.ErrorIs(t, err, store.ErrInvalid)
	require.ErrorContains(t, err, `orgs "large"`)
	require.Less(t, largest, 16<<20)
}

// TestErrorsForTheLogNameNoRecord: what is wrong inside of the store is logged,
// so it holds no id.
func TestErrorsForTheLogNameNoRecord(t *testing.T) {
	for name, damaged := range map[string]func(key string) bson.D{
		"a live body":   func(key string) bson.D { return bson.D{{Key: "d", Value: key}} },
		"a staged body": func(key string) bson.D { return bson.D{{Key: "d", Value: bson.D{{Key: "$gt", Value: key}}}} },
	} {
		t.Run(name, func(t *testing.T) {
			p := startProcess(t, mongotest.Database(t))
			prepare(t, p, "d1")
			doc, err := p.district(t.Context(), "d1")
			require.NoError(t, err)
			for _, e := range record.Entities() {
				_, err := p.versions(e).UpdateMany(t.Context(), damaged(doc.Key), set("b", []byte{0xff}))
				require.NoError(t, err)
			}
			_, commit := p.Commit(t.Context(), "d1", "second", 0)
			require.Error(t, commit)
			all := []error{commit}
			if name == "a live body" {
				_, err := p.Import(t.Context(), store.PlanHeader{District: "d1", Plan: "third", Complete: record.Entities()}, candidate(nil))
				require.Error(t, err)
				all = append(all, err)
			}
			for _, err := range all {
				require.Equal(t, codes.Internal, errs.Status(err).Code(), err)
				require.ErrorContains(t, err, "check the district")
				for _, r := range second() {
					_, base := record.Of(r)
					require.NotRegexp(t, `\b`+base.GetSourcedId()+`\b`, err.Error())
				}
			}
		})
	}
}

// TestDeltaLooksUpWhatItNames: what an import costs follows what it brings.
func TestDeltaLooksUpWhatItNames(t *testing.T) {
	p := startProcess(t, mongotest.Database(t))
	prepare(t, p, "d1")
	var looked []string
	watch := func(e *event.CommandStartedEvent) {
		if q, ok := queryOf(e); ok && strings.HasPrefix(q.coll, collVersions) {
			looked = append(looked, q.shape(t))
		}
	}
	p.watch.Store(&watch)
	plan, err := p.Import(t.Context(), store.PlanHeader{District: "d1", Plan: "delta"}, candidate([]*typev1.Record{
		org("s0", "New"), org("s1", "Changed"), org("s2", "South"), user("u2", "student"),
	}))
	p.watch.Store(nil)
	require.NoError(t, err)
	require.Equal(t, 2, plan.Changes())
	require.Equal(t, []string{
		"find versions d= f$lte u$gt id$in", // orgs
		"find versions d= f$lte u$gt id$in", // the one that changes, with its body
		"find versions d= f$lte u$gt id$in", // users
	}, looked)
}

// TestProcessesRace lets two processes commit plans, each its own and some the
// same, to one district.
func TestProcessesRace(t *testing.T) {
	database := mongotest.Database(t)
	processes := []*process{startProcess(t, database), startProcess(t, database)}
	d := store.DistrictID("d1")
	prepare(t, processes[0], d)
	plans := []store.PlanID{"second"}
	for i := range 4 {
		id := store.PlanID(fmt.Sprint("own ", i))
		_, err := processes[0].Import(t.Context(), store.PlanHeader{District: d, Plan: id}, candidate(first()[:0]))
		require.NoError(t, err)
		require.NoError(t, processes[0].Discard(t.Context(), d, id))
		_, err = processes[0].Import(t.Context(), store.PlanHeader{District: d, Plan: id},
			candidate(append(first()[:0], org(fmt.Sprint("new ", i), "New"))))
		require.NoError(t, err)
		plans = append(plans, id)
	}
	var mu sync.Mutex
	made := map[store.PlanID][]store.Revision{}
	var wait sync.WaitGroup
	for _, p := range processes {
		for _, id := range plans {
			wait.Go(func() {
				out, err := p.Commit(t.Context(), d, id, 0)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				made[id] = append(made[id], out.Revision)
			})
		}
	}
	wait.Wait()
	var revisions []store.Revision
	for id, list := range made {
		require.Len(t, list, 2)
		require.Equal(t, list[0], list[1], "plan %s has one revision", id)
		revisions = append(revisions, list[0])
	}
	slices.Sort(revisions)
	require.Equal(t, []store.Revision{2, 3, 4, 5, 6}, revisions)
	summary, err := processes[1].Summary(t.Context(), d, store.Scope{All: true})
	require.NoError(t, err)
	require.Equal(t, 6, summary.Total[record.Entities()[0]])
}

// TestDeadStagingsAreSweptUp opens the store again long after a process has died.
func TestDeadStagingsAreSweptUp(t *testing.T) {
	database := mongotest.Database(t)
	p := startProcess(t, database)
	d := store.DistrictID("d1")
	prepare(t, p, d)
	doc, err := p.district(t.Context(), d)
	require.NoError(t, err)
	for token, age := range map[string]time.Duration{"old": 2 * stagedFor, "young": 0} {
		_, err := insert(t.Context(), p.db.Collection(collStagings), stagingDoc{Token: token, Owner: doc.Key, At: p.now().Add(-age)})
		require.NoError(t, err)
		owner := stagedOwner(doc.Key, token)
		require.NoError(t, p.insertVersions(t.Context(), users, []version{{ID: versionID(owner, 0, "u"), Owner: owner, Record: "u", To: live}}))
	}
	again := startProcess(t, database)
	require.Empty(t, again.owned(t, stagedOwner(doc.Key, "old")))
	require.Len(t, again.owned(t, stagedOwner(doc.Key, "young")), 1)
	commitPlan(t, again, d, "second", 2)
}

func TestUnreachableServerIsAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := Open(ctx, Config{URI: config.Secret("mongodb://user:hush@127.0.0.1:1/?connectTimeoutMS=100")})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hush")
}

// searches is a query for each searched field, and for combinations of them.
func searches() map[string]store.Query {
	return map[string]store.Query{
		"status":      {Entity: users, Status: "active"},
		"role":        {Entity: users, Role: "student"},
		"email":       {Entity: users, Email: "a@example.org"},
		"org":         {Entity: users, OrgID: "s1"},
		"class":       {Entity: enrollments, ClassID: "k1"},
		"user":        {Entity: enrollments, UserID: "u1"},
		"school":      {Entity: users, SchoolID: "s1"},
		"text":        {Entity: users, Text: "giv"},
		"initials":    {Entity: users, Text: "g"},
		"marks":       {Entity: users, Text: "o'b(.*"},
		"email text":  {Entity: users, Text: "a@ex"},
		"combination": {Entity: users, Text: "giv u1", Role: "student", Status: "active", SchoolID: "s1"},
	}
}

// TestSearchesAreIntervalsOfTheIndex checks what the planner is given: the
// beginning of the index, and intervals of its terms. On a real server it also
// looks at what the planner makes of it.
func TestSearchesAreIntervalsOfTheIndex(t *testing.T) {
	s := startProcess(t, mongotest.Database(t))
	d := store.DistrictID("d1")
	prepare(t, s, d)
	doc, err := s.district(t.Context(), d)
	require.NoError(t, err)
	for name, q := range searches() {
		for _, scope := range []store.Scope{{All: true}, {Schools: []string{"s1", "s2"}}} {
			v := &view{call: &call{s: s.Store, id: d, key: doc.Key, ctx: t.Context()}, rev: 1, scope: scope}
			filter, err := v.filter(q)
			require.NoError(t, err, name)
			require.Equal(t, indexTerms[0], filter[0].Key)
			require.Equal(t, doc.Key, filter[0].Value)
			require.Equal(t, indexTerms, indexOf(q, filter))
			parts, ok := filter[len(filter)-1].Value.([]bson.D)
			require.True(t, ok, name)
			for _, part := range parts {
				requireInterval(t, part)
			}
			// All servers must understand it.
			_, err = all[version](t.Context(), s.versions(q.Entity), filter)
			require.NoError(t, err, name)
			if mongotest.Find(t).Real {
				s.requireIndex(t, q.Entity, filter)
			}
		}
	}
}

// requireInterval checks that a part of a filter is about terms, and bounded by a
// field of search.
func requireInterval(t *testing.T, part bson.D) {
	t.Helper()
	require.Len(t, part, 1)
	if either, ok := part[0].Value.([]bson.D); ok {
		require.Equal(t, "$or", part[0].Key)
		for _, p := range either {
			requireInterval(t, p)
		}
		return
	}
	require.Equal(t, indexTerms[1], part[0].Key)
	var values []string
	switch value := part[0].Value.(type) {
	case string:
		values = []string{value}
	case bson.D:
		require.Len(t, value, 1)
		switch bound := value[0].Value.(type) {
		case []string:
			require.Equal(t, "$in", value[0].Key)
			values = bound
		case string:
			require.Equal(t, "$regex", value[0].Key)
			require.Equal(t, byte('^'), bound[0], "only a beginning is an interval")
			values = []string{bound[1:]}
		default:
			require.Fail(t, "unknown bound", "%v", part)
		}
	}
	for _, value := range values {
		field := search.Field(value[0] - '0')
		require.True(t, field > 0 && int(field) < search.Fields, value)
		require.Greater(t, len(value), 1)
	}
}

// requireIndex explains a page and a total.
func (p *process) requireIndex(t *testing.T, e store.Entity, filter bson.D) {
	t.Helper()
	name := p.versions(e).Name()
	var plan bson.Raw
	require.NoError(t, p.db.RunCommand(t.Context(), bson.D{
		{Key: "explain", Value: bson.D{
			{Key: "find", Value: name},
			{Key: "filter", Value: filter},
			{Key: "sort", Value: bson.D{{Key: "id", Value: 1}}},
			{Key: "limit", Value: 101},
		}},
		{Key: "verbosity", Value: "queryPlanner"},
	}, options.RunCmd()).Decode(&plan))
	require.NotContains(t, plan.String(), "COLLSCAN", "%s: %v", name, filter)
	scans := indexScans(plan)
	require.NotEmpty(t, scans, "%s: %v", name, filter)
	for _, scan := range scans {
		var bounds map[string][]string
		require.NoError(t, scan.Lookup("indexBounds").Unmarshal(&bounds))
		require.NotContains(t, bounds[indexTerms[0]], "[MinKey, MaxKey]", "%s: %v", name, filter)
		require.NotContains(t, bounds[indexTerms[1]], "[MinKey, MaxKey]", "%s: %v", name, filter)
	}
}

// indexScans finds the scans of an index in an explained plan, however deep.
func indexScans(plan bson.Raw) []bson.Raw {
	if stage, ok := plan.Lookup("stage").StringValueOK(); ok && stage == "IXSCAN" {
		return []bson.Raw{plan}
	}
	var out []bson.Raw
	elements, _ := plan.Elements()
	for _, e := range elements {
		if e.Key() == "rejectedPlans" {
			continue
		}
		if doc, ok := e.Value().DocumentOK(); ok {
			out = append(out, indexScans(doc)...)
		} else if list, ok := e.Value().ArrayOK(); ok {
			values, _ := list.Values()
			for _, v := range values {
				if doc, ok := v.DocumentOK(); ok {
					out = append(out, indexScans(doc)...)
				}
			}
		}
	}
	return out
}

func TestIndexScansAreFoundInPlans(t *testing.T) {
	scan := bson.D{{Key: "stage", Value: "IXSCAN"}, {Key: "indexBounds", Value: bson.D{{Key: "t", Value: bson.A{`["1active", "1active"]`}}}}}
	plan, err := bson.Marshal(bson.D{{Key: "queryPlanner", Value: bson.D{
		{Key: "winningPlan", Value: bson.D{{Key: "stage", Value: "FETCH"}, {Key: "inputStage", Value: bson.D{
			{Key: "stage", Value: "SORT_MERGE"}, {Key: "inputStages", Value: bson.A{scan, scan}},
		}}}},
		{Key: "rejectedPlans", Value: bson.A{scan}},
	}}})
	require.NoError(t, err)
	scans := indexScans(plan)
	require.Len(t, scans, 2)
	var bounds map[string][]string
	require.NoError(t, scans[0].Lookup("indexBounds").Unmarshal(&bounds))
	require.Equal(t, []string{`["1active", "1active"]`}, bounds["t"])
}
