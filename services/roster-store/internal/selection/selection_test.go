package selection_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/roster-store/internal/selection"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/pebblestore"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	orgs         = typev1.Entity_ENTITY_ORGS
	sessions     = typev1.Entity_ENTITY_ACADEMIC_SESSIONS
	courses      = typev1.Entity_ENTITY_COURSES
	classes      = typev1.Entity_ENTITY_CLASSES
	users        = typev1.Entity_ENTITY_USERS
	enrollments  = typev1.Entity_ENTITY_ENROLLMENTS
	demographics = typev1.Entity_ENTITY_DEMOGRAPHICS
)

// roster is the active records of a district.
type roster map[store.Position]*typev1.Record

// random makes a small district in which records refer to each other at random,
// also to some that are not there.
func random(rng *rand.Rand) roster {
	out := roster{}
	ref := func(kind string, n int) *typev1.Ref { return &typev1.Ref{SourcedId: fmt.Sprint(kind, rng.IntN(n))} }
	text := func() string { return fmt.Sprint(rng.IntN(3)) }
	put := func(e store.Entity, kind string, n int, make func(id string) *typev1.Record) {
		for i := range n {
			if rng.IntN(4) > 0 {
				id := fmt.Sprint(kind, i)
				out[store.Position{Entity: e, ID: id}] = make(id)
			}
		}
	}
	const active = record.StatusActive
	put(orgs, "o", 5, func(id string) *typev1.Record {
		kind := "school"
		if id == "o0" {
			kind = "district"
		}
		return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: active, Name: text(), Type: kind, Parent: ref("o", 2)}}}
	})
	put(sessions, "t", 3, func(id string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_AcademicSession{AcademicSession: &typev1.AcademicSession{SourcedId: id, Status: active, Title: text()}}}
	})
	put(courses, "c", 4, func(id string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{SourcedId: id, Status: active, Title: text(), SchoolYear: ref("t", 4), Org: ref("o", 5)}}}
	})
	put(classes, "k", 6, func(id string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Class{Class: &typev1.Class{
			SourcedId: id, Status: active, Title: text(), Course: ref("c", 5), School: ref("o", 5), Terms: []*typev1.Ref{ref("t", 4)},
		}}}
	})
	put(users, "u", 8, func(id string) *typev1.Record {
		u := &typev1.User{
			SourcedId: id, Status: active, GivenName: text(),
			Roles: []*typev1.Role{{Role: []string{"student", "teacher", "guardian"}[rng.IntN(3)], Org: ref("o", 5)}},
		}
		if rng.IntN(2) == 0 {
			u.Agents = []*typev1.Relationship{{SourcedId: fmt.Sprint("u", rng.IntN(9))}}
		}
		return &typev1.Record{Record: &typev1.Record_User{User: u}}
	})
	put(enrollments, "e", 9, func(id string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
			SourcedId: id, Status: active, Role: "student", User: ref("u", 9), Class: ref("k", 7), School: ref("o", 5),
		}}}
	})
	put(demographics, "u", 8, func(id string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{SourcedId: id, Status: active, Sex: text()}}}
	})
	return out
}

// dangling lists references to what is not there.
func (r roster) dangling() map[string]bool {
	out := map[string]bool{}
	for at, rec := range r {
		for e, id := range record.References(rec) {
			if _, ok := r[store.Position{Entity: e, ID: id}]; !ok {
				out[fmt.Sprint(at, " to ", record.EntityName(e), " ", id)] = true
			}
		}
	}
	return out
}

func positions(m roster) []store.Position {
	return slices.SortedFunc(maps.Keys(m), func(a, b store.Position) int {
		if a.Entity != b.Entity {
			return int(a.Entity) - int(b.Entity)
		}
		return slices.Compare([]byte(a.ID), []byte(b.ID))
	})
}

const district store.DistrictID = "d"

type harness struct {
	t *testing.T
	store.Store
}

func open(t *testing.T) harness {
	s, err := pebblestore.Open(pebblestore.Config{Dir: t.TempDir(), Log: testkit.Log(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return harness{t, s}
}

func (h harness) plan(id store.PlanID, r roster) store.Plan {
	h.t.Helper()
	p, err := h.Import(h.t.Context(), store.PlanHeader{District: district, Plan: id, Sync: "s", Complete: record.Entities()},
		func(yield func(store.ImportRecord, error) bool) {
			for _, at := range positions(r) {
				body, err := proto.Marshal(r[at])
				require.NoError(h.t, err)
				if !yield(store.ImportRecord{Entity: at.Entity, ID: at.ID, Hash: record.HashOf(r[at]), Body: body}, nil) {
					return
				}
			}
		})
	require.NoError(h.t, err)
	return p
}

func (h harness) commit(id store.PlanID) {
	h.t.Helper()
	_, err := h.Commit(h.t.Context(), district, id, 0)
	require.NoError(h.t, err)
}

func (h harness) changes(id store.PlanID) map[store.Position]store.Change {
	h.t.Helper()
	page, err := h.PlanChanges(h.t.Context(), district, id, store.ChangeQuery{Schools: true, Limit: 1000})
	require.NoError(h.t, err)
	out := map[store.Position]store.Change{}
	for _, c := range page.Changes {
		out[store.Position{Entity: c.Entity, ID: c.ID}] = c
	}
	require.Len(h.t, out, page.Total)
	return out
}

func (h harness) live() roster {
	out := h.all()
	maps.DeleteFunc(out, func(_ store.Position, r *typev1.Record) bool { return !active(r) })
	return out
}

// all are the records of the head, removed ones included.
func (h harness) all() roster {
	h.t.Helper()
	head, err := h.Head(h.t.Context(), district)
	require.NoError(h.t, err)
	out := roster{}
	for r, err := range h.Snapshot(district, head.Revision, store.Scope{All: true}).Scan(h.t.Context(), store.Position{}) {
		require.NoError(h.t, err)
		out[store.Position{Entity: r.Entity, ID: r.ID}] = decode(h.t, r.Body)
	}
	return out
}

func decode(t *testing.T, body []byte) *typev1.Record {
	t.Helper()
	r := &typev1.Record{}
	require.NoError(t, proto.Unmarshal(body, r))
	return r
}

func active(r *typev1.Record) bool {
	_, base := record.Of(r)
	return base != nil && base.GetStatus() == record.StatusActive
}

// Over random plans and choices: what is applied and what is left out is the
// plan, nothing is applied before what it refers to, nothing is left out
// without a reason, and a second plan of the same data brings the rest.
func TestRandomPlans(t *testing.T) {
	h := open(t)
	rng := rand.New(rand.NewPCG(11, 12))
	withheld := 0
	require.NoError(t, h.OpenDistrict(t.Context(), district))
	for i := range 40 {
		base, whole, chosen, last := store.PlanID(fmt.Sprint("base ", i)), store.PlanID(fmt.Sprint("full ", i)), store.PlanID(fmt.Sprint("part ", i)), store.PlanID(fmt.Sprint("rest ", i))
		before := random(rng)
		h.plan(base, before)
		h.commit(base)
		before = h.live()
		next := maps.Clone(before)
		// A part of another district: some records new, some changed, some gone.
		other := random(rng)
		for at := range before {
			if rng.IntN(3) == 0 {
				delete(next, at)
			}
		}
		for at, r := range other {
			if rng.IntN(2) == 0 {
				next[at] = r
			}
		}
		h.plan(whole, next)
		full, schools := h.changes(whole), schoolsOf(h.all(), next)
		choice := selection.Choice{WithoutRemovals: rng.IntN(2) == 0}
		for _, school := range []string{"o0", "o1", "o2", "o3", "o4"} {
			if rng.IntN(2) == 0 {
				choice.Schools = append(choice.Schools, school)
			}
		}
		made, err := selection.Make(t.Context(), h, whole, store.PlanHeader{District: district, Plan: chosen}, choice)
		require.NoError(t, err)
		part := h.changes(chosen)
		for at, c := range part {
			require.Empty(t, cmp.Diff(full[at], c), "a part of the plan")
		}
		require.Len(t, part, made.Changes())
		withheld += len(full) - len(part)
		for at, c := range full {
			if _, applied := part[at]; !applied {
				require.True(t, reason(t, at, c, choice, before, schools, full, part), "%v is left out of %+v without a reason", at, choice)
			} else {
				require.False(t, unwanted(c, choice, schools), "%v is applied", at)
				if c.Kind != store.Created {
					require.False(t, letsGo(t, c, func(at store.Position, _ ...store.Kind) bool {
						_, applied := part[at]
						return full[at].Kind == store.Removed && !applied
					}), "%v is applied, though the person stays", at)
				}
			}
		}
		h.commit(chosen)
		again, err := selection.Make(t.Context(), h, whole, store.PlanHeader{District: district, Plan: chosen}, choice)
		require.NoError(t, err, "it may be repeated after the commit")
		require.Equal(t, made.Counts, again.Counts)
		known := before.dangling()
		maps.Copy(known, next.dangling())
		for ref := range h.live().dangling() {
			require.True(t, known[ref], "%s dangles after %+v", ref, choice)
		}
		h.plan(last, next)
		rest := h.changes(last)
		require.Len(t, rest, len(full)-len(part))
		h.commit(last)
		require.Empty(t, cmp.Diff(hashes(next), hashes(h.live())))
	}
	require.Greater(t, withheld, 500, "the plans are such that much is left out")
}

func hashes(r roster) map[store.Position]record.Hash {
	out := map[store.Position]record.Hash{}
	for at, rec := range r {
		out[at] = record.HashOf(rec)
	}
	return out
}

// schoolsOf are the orgs that are, were or will be a school.
func schoolsOf(rosters ...roster) map[string]bool {
	out := map[string]bool{}
	for _, r := range rosters {
		for at, rec := range r {
			if rec.GetOrg().GetType() == "school" {
				out[at.ID] = true
			}
		}
	}
	return out
}

// unwanted tells whether a person did not choose a change, by the rule in words.
func unwanted(c store.Change, choice selection.Choice, schools map[string]bool) bool {
	removal := c.Kind == store.Removed
	if choice.WithoutRemovals && removal {
		return true
	}
	if len(choice.Schools) == 0 {
		return false
	}
	touched := slices.Clone(c.Schools)
	if c.Entity == orgs {
		touched = append(touched, c.ID)
	}
	touched = slices.DeleteFunc(touched, func(id string) bool { return !schools[id] })
	if len(touched) == 0 {
		return removal
	}
	return slices.ContainsFunc(touched, func(id string) bool { return !slices.Contains(choice.Schools, id) })
}

// letsGo tells whether a change takes away what is said of a person who stays.
func letsGo(t *testing.T, c store.Change, left func(store.Position, ...store.Kind) bool) bool {
	const users = typev1.Entity_ENTITY_USERS
	before, after := map[string]bool{}, map[string]bool{}
	for body, into := range map[string]map[string]bool{string(c.Before): before, string(c.After): after} {
		if r := decode(t, []byte(body)); active(r) {
			for e, id := range record.References(r) {
				into[id] = into[id] || e == users
			}
		}
	}
	for id, refers := range before {
		if refers && (c.Kind == store.Removed || !after[id]) && left(store.Position{Entity: users, ID: id}, store.Removed) {
			return true
		}
	}
	return false
}

// reason tells whether a change had to be left out.
func reason(t *testing.T, at store.Position, c store.Change, choice selection.Choice, before roster, schools map[string]bool, full, part map[store.Position]store.Change) bool {
	left := func(at store.Position, kinds ...store.Kind) bool {
		other, planned := full[at]
		_, applied := part[at]
		return planned && !applied && slices.Contains(kinds, other.Kind)
	}
	if unwanted(c, choice, schools) {
		return true
	}
	if c.Kind != store.Created && letsGo(t, c, left) {
		return true
	}
	if c.Kind != store.Removed {
		for e, id := range record.References(decode(t, c.After)) {
			if left(store.Position{Entity: e, ID: id}, store.Created) {
				return true
			}
		}
		return false
	}
	for other, r := range before {
		if left(other, store.Updated, store.Removed) {
			for e, id := range record.References(r) {
				if (store.Position{Entity: e, ID: id}) == at {
					return true
				}
			}
		}
	}
	return false
}

func TestStaleOnlyIfChosen(t *testing.T) {
	h := open(t)
	require.NoError(t, h.OpenDistrict(t.Context(), district))
	school := func(id, name string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: record.StatusActive, Name: name, Type: "school"}}}
	}
	of := func(records ...*typev1.Record) roster {
		out := roster{}
		for _, r := range records {
			out[store.Position{Entity: orgs, ID: r.GetOrg().GetSourcedId()}] = r
		}
		return out
	}
	h.plan("base", of(school("a", "1"), school("b", "1"), school("c", "1")))
	h.commit("base")
	h.plan("full", of(school("a", "2"), school("b", "2"), school("c", "1")))
	h.plan("other", of(school("a", "1"), school("b", "3"), school("c", "3")))
	h.commit("other")
	make := func(as store.PlanID, schools ...string) error {
		_, err := selection.Make(t.Context(), h, "full", store.PlanHeader{District: district, Plan: as}, selection.Choice{Schools: schools})
		return err
	}
	require.ErrorIs(t, make("both", "a", "b"), store.ErrStale)
	_, err := h.Plan(t.Context(), district, "both")
	require.ErrorIs(t, err, store.ErrPlanUnknown, "nothing is left of it")
	require.NoError(t, make("one", "a"))
	h.commit("one")
	require.Equal(t, "2", h.live()[store.Position{Entity: orgs, ID: "a"}].GetOrg().GetName())
	require.Equal(t, "3", h.live()[store.Position{Entity: orgs, ID: "b"}].GetOrg().GetName())
	require.ErrorIs(t, make("none of it", "a"), store.ErrStale, "it was applied by now")

	h.plan("next", of(school("c", "4")))
	h.commit("next")
	_, err = selection.Make(t.Context(), h, "next", store.PlanHeader{District: district, Plan: "too late"}, selection.Choice{WithoutRemovals: true})
	require.ErrorIs(t, err, store.ErrCommitted)
	_, err = selection.Make(t.Context(), h, "nobody's", store.PlanHeader{District: district, Plan: "part"}, selection.Choice{WithoutRemovals: true})
	require.ErrorIs(t, err, store.ErrPlanUnknown)
	require.NoError(t, h.Prune(t.Context(), district, 4))
	require.ErrorIs(t, make("pruned", "a"), store.ErrStale)
}
