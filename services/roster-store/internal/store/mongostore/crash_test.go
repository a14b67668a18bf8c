package mongostore

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit/mongotest"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// process stands for one of several that use a database.
type process struct {
	*Store
	// watch is called before each command is sent; may be nil.
	watch atomic.Pointer[func(*event.CommandStartedEvent)]
}

func startProcess(t *testing.T, database string) *process {
	t.Helper()
	p := &process{}
	client, err := mongo.Connect(mongodb.Options(config.Secret(mongotest.Find(t).URI)).SetMonitor(&event.CommandMonitor{
		Started: func(_ context.Context, e *event.CommandStartedEvent) {
			if watch := p.watch.Load(); watch != nil {
				(*watch)(e)
			}
		},
	}))
	require.NoError(t, err)
	cfg := Config{Database: database}
	cfg.setDefaults()
	p.Store, err = open(t.Context(), client, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func isWrite(e *event.CommandStartedEvent) bool {
	return slices.Contains([]string{"insert", "update", "delete"}, e.CommandName)
}

// dyingAt returns a context that ends when the process is about to make its nth
// write from now, counted from 0.
func (p *process) dyingAt(ctx context.Context, n int) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	var writes atomic.Int64
	watch := func(e *event.CommandStartedEvent) {
		if isWrite(e) && writes.Add(1) == int64(n)+1 {
			cancel()
		}
	}
	p.watch.Store(&watch)
	return ctx
}

func ref(id string) *typev1.Ref { return &typev1.Ref{SourcedId: id} }

func org(id, name string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: "active", Name: name}}}
}

func user(id, role string, agents ...string) *typev1.Record {
	u := &typev1.User{SourcedId: id, Status: "active", GivenName: "Given " + id, Roles: []*typev1.Role{{Role: role}}}
	for _, a := range agents {
		u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: a})
	}
	return &typev1.Record{Record: &typev1.Record_User{User: u}}
}

func class(id, school string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Class{Class: &typev1.Class{SourcedId: id, Status: "active", School: ref(school), Course: ref("c1")}}}
}

func enrollment(id, userID, school string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
		SourcedId: id, Status: "active", User: ref(userID), Class: ref("k1"), School: ref(school), Role: "student",
	}}}
}

// first and second are two states of a district. Between them a class moves to
// another school, so that a course, a user, its guardian and its demographics
// change their schools without changing themselves.
func first() []*typev1.Record {
	return []*typev1.Record{
		org("s1", "North"), org("s2", "South"),
		{Record: &typev1.Record_Course{Course: &typev1.Course{SourcedId: "c1", Status: "active"}}},
		class("k1", "s1"),
		user("g1", "guardian"), user("u1", "student", "g1"), user("u2", "student"),
		enrollment("e1", "u1", "s1"), enrollment("e2", "u2", "s1"),
		{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{SourcedId: "u1", Status: "active"}}},
	}
}

func second() []*typev1.Record {
	out := first()
	out[0] = org("s1", "North High")
	out[3] = class("k1", "s2")
	out[7], out[8] = enrollment("e1", "u1", "s2"), enrollment("e3", "u2", "s2")
	return out
}

func candidate(records []*typev1.Record) iter.Seq2[store.ImportRecord, error] {
	return func(yield func(store.ImportRecord, error) bool) {
		for _, r := range records {
			body, err := proto.Marshal(r)
			e, base := record.Of(r)
			if !yield(store.ImportRecord{Entity: e, ID: base.GetSourcedId(), Hash: record.HashOf(r), Body: body}, err) {
				return
			}
		}
	}
}

func importAll(ctx context.Context, s store.Store, d store.DistrictID, id store.PlanID, records []*typev1.Record) error {
	_, err := s.Import(ctx, store.PlanHeader{District: d, Plan: id, Complete: record.Entities()}, candidate(records))
	return err
}

// prepare makes a district that has the first state and a plan for the second.
func prepare(t *testing.T, s store.Store, d store.DistrictID) {
	t.Helper()
	require.NoError(t, s.OpenDistrict(t.Context(), d))
	require.NoError(t, importAll(t.Context(), s, d, "first", first()))
	commitPlan(t, s, d, "first", 1)
	require.NoError(t, importAll(t.Context(), s, d, "second", second()))
}

func commitPlan(t *testing.T, s store.Store, d store.DistrictID, id store.PlanID, want store.Revision) {
	t.Helper()
	out, err := s.Commit(t.Context(), d, id, 0)
	require.NoError(t, err)
	require.Equal(t, store.Outcome{Revision: want, Committed: true}, out)
}

// stored lists what a revision sees, terms included, as text.
func (p *process) stored(t *testing.T, d store.DistrictID, rev store.Revision) []string {
	t.Helper()
	doc, err := p.district(t.Context(), d)
	require.NoError(t, err)
	var out []string
	for _, e := range record.Entities() {
		require.NoError(t, each(t.Context(), p.versions(e), at(doc.Key, rev), func(v version) error {
			slices.Sort(v.Terms)
			out = append(out, fmt.Sprint(record.EntityName(e), v.Record, v.From, v.Since, v.Kind, v.Tombstone, v.Terms))
			return nil
		}))
	}
	slices.Sort(out)
	return out
}

// owned lists what is left in all collections under keys
// that begin with prefix.
func (p *process) owned(t *testing.T, prefix string) []string {
	t.Helper()
	names, err := p.db.ListCollectionNames(t.Context(), bson.D{})
	require.NoError(t, err)
	var out []string
	for _, name := range names {
		list, err := all[struct {
			ID any    `bson:"_id"`
			D  string `bson:"d"`
			K  any    `bson:"k"`
		}](t.Context(), p.db.Collection(name), bson.D{})
		require.NoError(t, err)
		for _, doc := range list {
			if len(doc.D) >= len(prefix) && doc.D[:len(prefix)] == prefix {
				out = append(out, fmt.Sprint(name, " ", doc.K))
			}
		}
	}
	return out
}

// TestCommitSurvivesDeathAtEachWrite lets a process die before each write of a
// commit. Others see all of the revision or nothing, and go on from there.
func TestCommitSurvivesDeathAtEachWrite(t *testing.T) {
	database := mongotest.Database(t)
	s, dying := startProcess(t, database), startProcess(t, database)
	prepare(t, s, "reference")
	commitPlan(t, s, "reference", "second", 2)
	want := [][]string{{}, s.stored(t, "reference", 1), s.stored(t, "reference", 2)}
	require.NotEqual(t, want[1], want[2])

	for n := 0; ; n++ {
		d := store.DistrictID(fmt.Sprint("d", n))
		prepare(t, s, d)
		_, err := dying.Commit(dying.dyingAt(t.Context(), n), d, "second", 0)
		dying.watch.Store(nil)
		if err == nil {
			require.Greater(t, n, 10, "there should be more writes than that")
			break
		}
		head, err := s.Head(t.Context(), d)
		require.NoError(t, err)
		require.Equal(t, want[head.Revision], s.stored(t, d, head.Revision), "head after %d writes", n)
		require.Equal(t, want[1], s.stored(t, d, 1), "revision 1 after %d writes", n)
		if n%2 == 0 {
			// Two processes go on at once.
			var both sync.WaitGroup
			both.Go(func() { _, _ = dying.Commit(t.Context(), d, "second", 0) })
			commitPlan(t, s, d, "second", 2)
			both.Wait()
		} else {
			// The claim is made (write 0). Whoever writes next goes on, whatever it wants.
			require.NoError(t, importAll(t.Context(), s, d, "third", second()))
			out, err := s.Head(t.Context(), d)
			require.NoError(t, err)
			require.Equal(t, store.Revision(2), out.Revision, "after %d writes", n)
		}
		commitPlan(t, s, d, "second", 2)
		require.Equal(t, want[1], s.stored(t, d, 1), "revision 1 in the end, after %d writes", n)
		require.Equal(t, want[2], s.stored(t, d, 2), "revision 2 in the end, after %d writes", n)
		require.Equal(t, want[2], s.stored(t, d, 1<<40), "nothing is left open, after %d writes", n)
		var pending []store.Revision
		for p, err := range s.Pending(t.Context()) {
			require.NoError(t, err)
			if p.District == d {
				pending = append(pending, p.Revision.Revision)
			}
		}
		require.Equal(t, []store.Revision{1, 2}, pending)
		doc, err := s.district(t.Context(), d)
		require.NoError(t, err)
		require.NoError(t, s.EraseDistrict(t.Context(), d))
		require.Equal(t, []string{"log erase"}, s.owned(t, doc.Key))
	}
}

// TestImportSurvivesDeathAtEachWrite: the plan is whole or not there.
func TestImportSurvivesDeathAtEachWrite(t *testing.T) {
	database := mongotest.Database(t)
	s, dying := startProcess(t, database), startProcess(t, database)
	prepare(t, s, "reference")
	commitPlan(t, s, "reference", "second", 2)
	for n := 0; ; n++ {
		d := store.DistrictID(fmt.Sprint("d", n))
		prepare(t, s, d)
		require.NoError(t, s.Discard(t.Context(), d, "second"))
		err := importAll(dying.dyingAt(t.Context(), n), dying, d, "second", second())
		dying.watch.Store(nil)
		if err == nil {
			require.Greater(t, n, 3, "there should be more writes than that")
			break
		}
		_, err = s.Plan(t.Context(), d, "second")
		require.ErrorIs(t, err, store.ErrPlanUnknown)
		require.NoError(t, importAll(t.Context(), s, d, "second", second()))
		commitPlan(t, s, d, "second", 2)
		require.Equal(t, s.stored(t, "reference", 2), s.stored(t, d, 2))
		require.NoError(t, s.EraseDistrict(t.Context(), d))
	}
}

// TestEraseSurvivesDeathAtEachWrite: what has begun to go is gone for all, and
// all of it goes in the end.
func TestEraseSurvivesDeathAtEachWrite(t *testing.T) {
	database := mongotest.Database(t)
	s, dying := startProcess(t, database), startProcess(t, database)
	for n := 0; ; n++ {
		d := store.DistrictID(fmt.Sprint("d", n))
		prepare(t, s, d)
		doc, err := s.district(t.Context(), d)
		require.NoError(t, err)
		err = dying.EraseDistrict(dying.dyingAt(t.Context(), n), d)
		dying.watch.Store(nil)
		if n > 1 {
			_, err := s.Head(t.Context(), d)
			require.ErrorIs(t, err, store.ErrDistrictUnknown)
		}
		switch {
		case err == nil:
			require.Greater(t, n, 10, "there should be more writes than that")
		case n%2 == 0:
			require.NoError(t, s.EraseDistrict(t.Context(), d))
		default:
			require.NoError(t, s.OpenDistrict(t.Context(), d))
			if n > 1 {
				head, err := s.Head(t.Context(), d)
				require.NoError(t, err)
				require.Zero(t, head.Revision)
			}
			require.NoError(t, s.EraseDistrict(t.Context(), d))
		}
		require.Equal(t, []string{"log erase"}, s.owned(t, doc.Key), "after %d writes", n)
		if err == nil {
			break
		}
	}
}
