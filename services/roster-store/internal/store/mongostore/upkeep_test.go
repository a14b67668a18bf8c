package mongostore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit/mongotest"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// person is a student whom nothing but the id may be left of, with demographics.
func person(given string) []*typev1.Record {
	u := user("p1", "student", "g1")
	u.GetUser().GivenName, u.GetUser().Email, u.GetUser().Roles[0].Org = given, given+"@example.org", ref("s2")
	return []*typev1.Record{u, {Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{
		SourcedId: "p1", Status: "active", CityOfBirth: "Wherever-" + given,
	}}}}
}

// with adds the person to the first state.
func with(given string) []*typev1.Record {
	out, p := first(), person(given)
	return slices.Concat(out[:5], p[:1], out[5:9], p[1:], out[9:])
}

// personalDistrict makes a district where a person is in two revisions and two plans.
func personalDistrict(t *testing.T, s store.Store, d store.DistrictID) {
	t.Helper()
	require.NoError(t, s.OpenDistrict(t.Context(), d))
	for i, given := range []string{"Zeb9ulon", "Zeb9edee"} {
		id := store.PlanID(fmt.Sprint("plan ", i))
		require.NoError(t, importAll(t.Context(), s, d, id, with(given)))
		commitPlan(t, s, d, id, store.Revision(i+1))
	}
	require.NoError(t, importAll(t.Context(), s, d, "renamed", with("Zeb9ra")))
	require.NoError(t, importAll(t.Context(), s, d, "removed", first()))
}

// traces are the documents that still say who the person was. No random key has a 9.
func (p *process) traces(t *testing.T) []string {
	t.Helper()
	names, err := p.db.ListCollectionNames(t.Context(), bson.D{})
	require.NoError(t, err)
	var out []string
	for _, name := range names {
		require.NoError(t, each(t.Context(), p.db.Collection(name), bson.D{}, func(doc bson.Raw) error {
			if bytes.Contains(bytes.ToLower(doc), []byte("zeb9")) {
				out = append(out, fmt.Sprint(name, " ", doc.Lookup("_id")))
			}
			return nil
		}))
	}
	return out
}

func problems(t *testing.T, s store.Upkeep, d store.DistrictID, repair bool) []store.Problem {
	t.Helper()
	var out []store.Problem
	for p, err := range s.Check(t.Context(), d, repair) {
		require.NoError(t, err)
		out = append(out, p)
	}
	return out
}

// TestErasePersonSurvivesDeathAtEachWrite: what was decided is done by whoever
// comes next.
func TestErasePersonSurvivesDeathAtEachWrite(t *testing.T) {
	for n, done := 0, false; !done; n++ {
		database := mongotest.Database(t)
		s, dying := startProcess(t, database), startProcess(t, database)
		d := store.DistrictID("d1")
		personalDistrict(t, s, d)
		require.NotEmpty(t, s.traces(t))
		err := dying.ErasePerson(dying.dyingAt(t.Context(), n), d, "p1")
		dying.watch.Store(nil)
		switch done = err == nil; {
		case done:
			require.Greater(t, n, 8, "there should be more writes than that")
		case n == 0 || n%3 == 0:
			require.NoError(t, s.ErasePerson(t.Context(), d, "p1"))
		case n%3 == 1:
			startProcess(t, database)
		default:
			_, err := s.Import(t.Context(), store.PlanHeader{District: d, Plan: "next"}, candidate(nil))
			require.NoError(t, err)
		}
		require.Empty(t, s.traces(t), "after %d writes", n)
		require.Empty(t, problems(t, s, d, false), "after %d writes", n)

		whole := s.Snapshot(d, 2, store.Scope{All: true})
		page, err := whole.Page(t.Context(), store.Query{Entity: users, Text: "zeb9"}, "", 10)
		require.NoError(t, err)
		require.Zero(t, page.Total)
		page, err = s.Snapshot(d, 2, store.Scope{Schools: []string{"s2"}}).Page(t.Context(), store.Query{Entity: users}, "", 10)
		require.NoError(t, err)
		require.Equal(t, 2, page.Total, "the person is counted, and its guardian is where it was")
		history, err := whole.History(t.Context(), users, "p1")
		require.NoError(t, err)
		require.Len(t, history, 2)
		plan, err := s.Import(t.Context(), store.PlanHeader{District: d, Plan: "same", Complete: record.Entities()}, candidate(with("Zeb9edee")))
		require.NoError(t, err)
		require.Zero(t, plan.Changes(), "the source delivers the same record")
		commitPlan(t, s, d, "removed", 3)
		require.Empty(t, s.traces(t))
		require.Empty(t, problems(t, s, d, false))
	}
}

// before runs f once, when the process is about to send the command that is
// looked for.
func (p *process) before(is func(*event.CommandStartedEvent) bool, f func()) {
	var once sync.Once
	watch := func(e *event.CommandStartedEvent) {
		if is(e) {
			once.Do(f)
		}
	}
	p.watch.Store(&watch)
}

// writesUsers finds a write of staged users.
func writesUsers(command string) func(*event.CommandStartedEvent) bool {
	return func(e *event.CommandStartedEvent) bool {
		return e.CommandName == command && e.Command.Lookup(command).StringValue() == collVersions+"users" &&
			strings.Contains(e.Command.String(), "~")
	}
}

// TestErasedDuringImport: a plan that is being staged while a person is erased
// keeps nothing of it, and the terms of others.
func TestErasedDuringImport(t *testing.T) {
	for name, c := range map[string]struct {
		command string
		base    bool
		records []*typev1.Record
	}{
		"a removal copies what was read":    {"insert", true, first()},
		"terms were worked out from before": {"update", false, with("Zeb9ulon")},
	} {
		t.Run(name, func(t *testing.T) {
			database := mongotest.Database(t)
			s, other := startProcess(t, database), startProcess(t, database)
			d := store.DistrictID("d1")
			if c.base {
				personalDistrict(t, s, d)
			} else {
				require.NoError(t, s.OpenDistrict(t.Context(), d))
			}
			erased := false
			s.before(writesUsers(c.command), func() {
				erased = true
				if err := other.ErasePerson(context.WithoutCancel(t.Context()), d, "p1"); err != nil {
					t.Error(err)
				}
			})
			require.NoError(t, importAll(t.Context(), s, d, "under way", c.records))
			s.watch.Store(nil)
			require.True(t, erased)
			require.Empty(t, s.traces(t))
			_, err := s.Commit(t.Context(), d, "under way", 0)
			require.NoError(t, err)
			require.Empty(t, s.traces(t))
			require.Empty(t, problems(t, s, d, false))
		})
	}
}

func TestErasePersonUnknown(t *testing.T) {
	s := startProcess(t, mongotest.Database(t))
	prepare(t, s, "d1")
	require.ErrorIs(t, s.ErasePerson(t.Context(), "d1", "nobody"), store.ErrRecordUnknown)
	require.ErrorIs(t, s.ErasePerson(t.Context(), "d2", "u1"), store.ErrDistrictUnknown)
}

// TestErasePersonWhoseBodyIsDamaged: what nobody can read goes as well.
func TestErasePersonWhoseBodyIsDamaged(t *testing.T) {
	s := startProcess(t, mongotest.Database(t))
	personalDistrict(t, s, "d1")
	_, err := s.versions(users).UpdateMany(t.Context(), bson.D{{Key: "id", Value: "p1"}}, set("b", []byte("\xffZeb9ulon")))
	require.NoError(t, err)
	require.NoError(t, s.ErasePerson(t.Context(), "d1", "p1"))
	require.Empty(t, s.traces(t))
	rec, err := s.Snapshot("d1", 2, store.Scope{All: true}).Get(t.Context(), users, "p1")
	require.NoError(t, err)
	require.NotEmpty(t, rec.Body)
}

func set(field string, value any) bson.D {
	return bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: value}}}}
}

// TestPruneSurvivesDeathAtEachWrite: readers see what is kept all the time, and
// all that is to go goes.
func TestPruneSurvivesDeathAtEachWrite(t *testing.T) {
	database := mongotest.Database(t)
	s, dying := startProcess(t, database), startProcess(t, database)
	prepare(t, s, "reference")
	commitPlan(t, s, "reference", "second", 2)
	require.NoError(t, s.Prune(t.Context(), "reference", 2))
	kept := func(d store.DistrictID) []string {
		doc, err := s.district(t.Context(), d)
		require.NoError(t, err)
		out := s.owned(t, doc.Key)
		slices.Sort(out)
		return out
	}
	want, visible := kept("reference"), s.stored(t, "reference", 2)
	for n, done := 0, false; !done; n++ {
		d := store.DistrictID(fmt.Sprint("d", n))
		prepare(t, s, d)
		commitPlan(t, s, d, "second", 2)
		err := dying.Prune(dying.dyingAt(t.Context(), n), d, 2)
		dying.watch.Store(nil)
		require.Equal(t, visible, s.stored(t, d, 2), "after %d writes", n)
		require.Empty(t, problems(t, s, d, false), "after %d writes", n)
		switch done = err == nil; {
		case done:
			require.Greater(t, n, 8, "there should be more writes than that")
		case n == 0 || n%2 == 0:
			require.NoError(t, s.Prune(t.Context(), d, 2))
		default:
			startProcess(t, database)
		}
		require.Equal(t, want, kept(d), "after %d writes", n)
		require.Equal(t, visible, s.stored(t, d, 2), "after %d writes", n)
		require.NoError(t, s.EraseDistrict(t.Context(), d))
	}
}

// TestCheckFindsWhatMustNotBe breaks each invariant by a direct write.
func TestCheckFindsWhatMustNotBe(t *testing.T) {
	const d = store.DistrictID("d1")
	byID := func(key, id string, from store.Revision) bson.D {
		return bson.D{{Key: "_id", Value: versionID(key, from, id)}}
	}
	for name, c := range map[string]struct {
		damage   func(t *testing.T, s *process, key string) error
		where    string
		repaired bool
	}{
		store.BrokenOverlap: {func(t *testing.T, s *process, key string) error {
			_, err := s.versions(record.Entities()[0]).UpdateOne(t.Context(), byID(key, "s1", 1), set("u", live))
			return err
		}, `orgs "s1" at revision 2`, true},
		store.BrokenGap: {func(t *testing.T, s *process, key string) error {
			_, err := s.versions(enrollments).UpdateOne(t.Context(), byID(key, "e1", 1), set("u", 1))
			return err
		}, `enrollments "e1" from revision 1 to 2`, false},
		store.BrokenLive: {func(t *testing.T, s *process, key string) error {
			_, err := s.versions(record.Entities()[0]).UpdateOne(t.Context(), byID(key, "s1", 2), set("u", 2))
			return err
		}, `orgs "s1" since revision 2`, false},
		store.BrokenBody: {func(t *testing.T, s *process, key string) error {
			_, err := s.versions(classes).UpdateOne(t.Context(), byID(key, "k1", 2), set("b", []byte{0xff}))
			return err
		}, `classes "k1"`, false},
		store.BrokenHash: {func(t *testing.T, s *process, key string) error {
			_, err := s.versions(classes).UpdateOne(t.Context(), byID(key, "k1", 2), set("h", make([]byte, 16)))
			return err
		}, `classes "k1"`, true},
		store.BrokenTerms: {func(t *testing.T, s *process, key string) error {
			_, err := s.versions(users).UpdateMany(t.Context(), bson.D{{Key: "id", Value: "g1"}, {Key: "d", Value: key}, {Key: "u", Value: live}},
				set("t", []string{"1active"}))
			return err
		}, `users "g1"`, true},
		store.BrokenRevision: {func(t *testing.T, s *process, key string) error {
			_, err := s.db.Collection(collRevisions).UpdateOne(t.Context(), bson.D{{Key: "_id", Value: numbered(key, 1)}}, set("info", []byte("?")))
			return err
		}, "revision 1", false},
		store.BrokenBeyond: {func(t *testing.T, s *process, key string) error {
			_, err := insert(t.Context(), s.db.Collection(collRevisions), revisionDoc{ID: numbered(key, 3), Owner: key, N: 3})
			return err
		}, "revision 3", false},
		store.BrokenNewer: {func(t *testing.T, s *process, key string) error {
			return s.insertVersions(t.Context(), classes, []version{{ID: versionID(key, 3, "k1"), Owner: key, Record: "k1", From: 3, To: live}})
		}, `classes "k1" of revision 3`, false},
		store.BrokenPlan: {func(t *testing.T, s *process, key string) error {
			return remove(t.Context(), s.db.Collection(collPlans), bson.D{{Key: "_id", Value: planKey(key, "first")}})
		}, "revision 1", false},
		store.BrokenLost: {func(t *testing.T, s *process, key string) error {
			doc, err := one[planDoc](t.Context(), s.db.Collection(collPlans), bson.D{{Key: "_id", Value: planKey(key, "kept")}})
			require.NoError(t, err)
			owner := stagedOwner(key, doc.Token)
			return remove(t.Context(), s.versions(record.Entities()[0]), bson.D{{Key: "d", Value: owner}})
		}, `plan "kept"`, false},
		store.BrokenChanges: {func(t *testing.T, s *process, key string) error {
			return s.rewrite(t, key, 1, `"Created":1`, `"Created":7`)
		}, "revision 1", true},
		store.BrokenSummary: {func(t *testing.T, s *process, key string) error {
			return s.rewrite(t, key, 2, `"Total":{"1":2`, `"Total":{"1":5`)
		}, "revision 2", true},
		store.BrokenStaged: {func(t *testing.T, s *process, key string) error {
			owner := stagedOwner(key, "nobody")
			return s.insertVersions(t.Context(), users, []version{{ID: versionID(owner, 0, "u"), Owner: owner, Record: "u", To: live}})
		}, "users staged as nobody", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := startProcess(t, mongotest.Database(t))
			prepare(t, s, d)
			require.NoError(t, importAll(t.Context(), s, d, "kept", append([]*typev1.Record{org("s0", "New")}, first()...)))
			commitPlan(t, s, d, "second", 2)
			doc, err := s.district(t.Context(), d)
			require.NoError(t, err)
			require.Empty(t, problems(t, s, d, false))
			require.NoError(t, c.damage(t, s, doc.Key))
			want := store.Problem{Invariant: name, Where: c.where}
			require.Contains(t, problems(t, s, d, false), want)
			want.Repaired = c.repaired
			require.Contains(t, problems(t, s, d, true), want)
			again := problems(t, s, d, true)
			if c.repaired {
				require.Empty(t, again)
				require.Empty(t, problems(t, s, d, false))
			} else {
				require.Contains(t, again, want)
			}
			for _, err := range s.Check(t.Context(), d, false) {
				require.NoError(t, err)
				break // whoever has seen enough may leave
			}
		})
	}
}

// rewrite changes what a revision says of itself.
func (p *process) rewrite(t *testing.T, key string, rev store.Revision, before, after string) error {
	t.Helper()
	id := bson.D{{Key: "_id", Value: numbered(key, int64(rev))}}
	doc, err := one[revisionDoc](t.Context(), p.db.Collection(collRevisions), id)
	require.NoError(t, err)
	require.Contains(t, string(doc.Info), before)
	_, err = p.db.Collection(collRevisions).UpdateOne(t.Context(), id,
		set("info", []byte(strings.Replace(string(doc.Info), before, after, 1))))
	return err
}

// TestCheckWalksLongHistories has a record with more versions than a batch.
func TestCheckWalksLongHistories(t *testing.T) {
	s := startProcess(t, mongotest.Database(t))
	k := &check{call: &call{s: s.Store, id: "d1", key: "k", ctx: t.Context()}, head: batchCount + 10, made: map[store.Revision]map[store.Entity]store.Counts{}}
	var found []string
	k.tell = func(p store.Problem, _ error) bool {
		found = append(found, p.Invariant+" "+p.Where)
		return true
	}
	_, err := insert(t.Context(), s.db.Collection(collLog), entry{ID: numbered("k", 0), Owner: "k", Kind: kindOpen})
	require.NoError(t, err)
	var docs []version
	for rev := store.Revision(1); rev <= k.head; rev++ {
		docs = append(docs, version{ID: versionID("k", rev, "long"), Owner: "k", Record: "long", From: rev, To: rev + 1})
	}
	docs[len(docs)-1].To = live
	for _, id := range []string{"a", "z"} {
		docs = append(docs, version{ID: versionID("k", 1, id), Owner: "k", Record: id, From: 1, To: 2})
	}
	require.NoError(t, s.insertVersions(t.Context(), users, docs))
	require.NoError(t, k.chains(users))
	require.Equal(t, []string{store.BrokenLive + ` users "a" since revision 2`, store.BrokenLive + ` users "z" since revision 2`}, found)
}
