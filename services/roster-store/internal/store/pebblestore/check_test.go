package pebblestore

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

const (
	orgs        = typev1.Entity_ENTITY_ORGS
	enrollments = typev1.Entity_ENTITY_ENROLLMENTS
)

// breakable makes a district with something of everything: two revisions of
// which the second changes user p and moves it to another school, and a plan
// that is not committed.
func breakable(t *testing.T, s *Store, id store.DistrictID) {
	t.Helper()
	ref := func(id string) *typev1.Ref { return &typev1.Ref{SourcedId: id} }
	school := func(id string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: "active", Name: "School"}}}
	}
	enrollment := func(school string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
			SourcedId: "e1", Status: "active", User: ref("p"), Class: ref("k1"), School: ref(school), Role: "student",
		}}}
	}
	require.NoError(t, s.OpenDistrict(t.Context(), id))
	importRecords(t, s, id, "first", true, school("s1"), school("s2"),
		&typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{SourcedId: "c1", Status: "active", Title: "Algebra"}}},
		&typev1.Record{Record: &typev1.Record_Class{Class: &typev1.Class{SourcedId: "k1", Status: "active", Course: ref("c1"), School: ref("s1")}}},
		person("a", "alpha"), person("p", "pi"), person("z", "zeta"), enrollment("s1"),
		&typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{SourcedId: "p", Status: "active"}}})
	importRecords(t, s, id, "second", true, person("p", "rho"), enrollment("s2"))
	importRecords(t, s, id, "open", false, person("a", "beta"), person("p", "sigma"))
}

// problems runs a check.
func problems(t *testing.T, s *Store, id store.DistrictID, repair bool) []store.Problem {
	t.Helper()
	var out []store.Problem
	for p, err := range s.Check(t.Context(), id, repair) {
		require.NoError(t, err)
		out = append(out, p)
	}
	return out
}

func TestCheckNamesAndRepairs(t *testing.T) {
	const id = "broken"
	sound := t.TempDir()
	s, err := Open(Config{Dir: sound})
	require.NoError(t, err)
	breakable(t, s, id)
	require.Empty(t, problems(t, s, id, true), "before")
	require.NoError(t, s.Close())
	family := listKey(spaceIndex, users, search.Term{Field: search.FieldText, Value: "frho"})
	repaired := func(invariant, where string) store.Problem {
		return store.Problem{Invariant: invariant, Where: where, Repaired: true}
	}
	left := func(invariant, where string) store.Problem { return store.Problem{Invariant: invariant, Where: where} }

	for name, c := range map[string]struct {
		damage func(*testing.T, *district, *pebble.Batch) error
		want   []store.Problem
	}{
		"a superseded version ends too late": {func(t *testing.T, d *district, b *pebble.Batch) error {
			v := value(t, d, versionKey(spaceOld, users, "p", 1))
			return b.Set(versionKey(spaceOld, users, "p", 1), append([]byte{3}, v[1:]...), nil)
		}, []store.Problem{repaired(store.BrokenOverlap, `users "p"`)}},
		"a superseded version ends too early": {func(t *testing.T, d *district, b *pebble.Batch) error {
			v := value(t, d, versionKey(spaceOld, users, "p", 1))
			return b.Set(versionKey(spaceOld, users, "p", 1), append([]byte{1}, v[1:]...), nil)
		}, []store.Problem{left(store.BrokenGap, `users "p"`)}},
		"a superseded version has no live one": {func(t *testing.T, d *district, b *pebble.Batch) error {
			return b.Set(versionKey(spaceOld, orgs, "s0", 1), value(t, d, versionKey(spaceOld, users, "p", 1)), nil)
		}, []store.Problem{left(store.BrokenLive, `orgs "s0"`)}},
		"a live version is of no revision": {func(t *testing.T, d *district, b *pebble.Batch) error {
			v := value(t, d, recordKey(spaceLive, orgs, "s1"))
			h := value(t, d, recordKey(spaceHash, orgs, "s1"))
			v[0], h[0] = 9, 9
			if err := b.Set(recordKey(spaceHash, orgs, "s1"), h, nil); err != nil {
				return err
			}
			return b.Set(recordKey(spaceLive, orgs, "s1"), v, nil)
		}, []store.Problem{left(store.BrokenNewer, `orgs "s1"`), left(store.BrokenChanges, "revision 1")}},
		"a body is damaged": {func(t *testing.T, d *district, b *pebble.Batch) error {
			return b.Set(versionKey(spaceOld, users, "p", 1), []byte{2, 0, 0xff}, nil)
		}, []store.Problem{left(store.BrokenBody, `users "p"`)}},
		"a hash is another": {func(t *testing.T, d *district, b *pebble.Batch) error {
			return b.Set(recordKey(spaceHash, users, "a"), value(t, d, recordKey(spaceHash, users, "z")), nil)
		}, []store.Problem{repaired(store.BrokenHash, `users "a"`)}},
		"a hash is gone": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Delete(recordKey(spaceHash, users, "a"), nil)
		}, []store.Problem{repaired(store.BrokenHash, `users "a"`)}},
		"a hash is of no record": {func(t *testing.T, d *district, b *pebble.Batch) error {
			return b.Set(recordKey(spaceHash, users, "b"), value(t, d, recordKey(spaceHash, users, "a")), nil)
		}, []store.Problem{repaired(store.BrokenHash, `users "b"`)}},
		"flags are wrong": {func(t *testing.T, d *district, b *pebble.Batch) error {
			v := value(t, d, recordKey(spaceLive, users, "a"))
			v[1] |= flagTombstone
			return b.Set(recordKey(spaceLive, users, "a"), v, nil)
		}, []store.Problem{repaired(store.BrokenHash, `users "a"`)}},
		"derived terms are gone": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Delete(recordKey(spaceTerms, users, "p"), nil)
		}, []store.Problem{repaired(store.BrokenTerms, `users "p"`)}},
		"derived terms are of no record": {func(t *testing.T, d *district, b *pebble.Batch) error {
			return b.Set(recordKey(spaceTerms, users, "b"), value(t, d, recordKey(spaceTerms, users, "p")), nil)
		}, []store.Problem{repaired(store.BrokenTerms, `users "b"`)}},
		"a tally is wrong": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Set(recordKey(spaceEnrol, courses, "c1"), appendTally(nil, map[string]int{"s1": 7}), nil)
		}, []store.Problem{repaired(store.BrokenTerms, `courses "c1"`)}},
		"a list is gone": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.DeleteRange(family, afterKey(family), nil)
		}, []store.Problem{repaired(store.BrokenTerms, `users "p"`)}},
		"a list has one too many": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Set(append(family, "p"...), appendBlock(nil, [][]byte{[]byte("p"), []byte("z")}), nil)
		}, []store.Problem{repaired(store.BrokenTerms, `users "z"`)}},
		"a block is damaged": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Set(append(family, "p"...), []byte{9}, nil)
		}, []store.Problem{repaired(store.BrokenTerms, "users"), repaired(store.BrokenTerms, `users "p"`)}},
		"a length is wrong": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Set(append([]byte{spaceCount}, family[1:]...), binary.AppendUvarint(nil, 300), nil)
		}, []store.Problem{repaired(brokenLength, "users")}},
		"the counts of a school are gone": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Delete(populationKey("s1"), nil)
		}, []store.Problem{repaired(brokenSchool, `orgs "s1"`)}},
		"the counts of a school are wrong": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Set(populationKey("s1"), population{students: 9}.append(nil), nil)
		}, []store.Problem{repaired(brokenSchool, `orgs "s1"`)}},
		"the counts of a school are of nobody": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Set(populationKey("nowhere"), []byte{}, nil)
		}, []store.Problem{repaired(brokenSchool, `orgs "nowhere"`)}},
		"superseded terms are not in the log": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Delete(logKey(spaceTermsLog, 2, users, "p"), nil)
		}, []store.Problem{repaired(brokenPast, `users "p"`)}},
		"superseded terms are gone": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Delete(versionKey(spaceOldTerms, users, "p", 2), nil)
		}, []store.Problem{left(brokenPast, `users "p"`)}},
		"a revision is gone": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Delete(revisionKey(spaceRevision, 1), nil)
		}, []store.Problem{left(store.BrokenRevision, "revision 1"), repaired(brokenPending, "revision 1")}},
		"a time is gone": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Delete(revisionKey(spaceTime, 1), nil)
		}, []store.Problem{left(brokenTime, "revision 1")}},
		"a revision is too new": {func(t *testing.T, d *district, b *pebble.Batch) error {
			return b.Set(revisionKey(spaceRevision, 3), value(t, d, revisionKey(spaceRevision, 2)), nil)
		}, []store.Problem{left(store.BrokenBeyond, "revision 3")}},
		"a plan is gone": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Delete(planKey(spacePlan, "first"), nil)
		}, []store.Problem{left(store.BrokenPlan, "revision 1")}},
		"a change has no version": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Set(logKey(spaceChange, 2, orgs, "s1"), []byte{byte(store.Updated)}, nil)
		}, []store.Problem{
			left(brokenChange, `orgs "s1", revision 2`), left(brokenVersions, "revision 2, orgs"), left(store.BrokenChanges, "revision 2"),
		}},
		"a version is no change": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Delete(logKey(spaceChange, 2, enrollments, "e1"), nil)
		}, []store.Problem{left(brokenVersions, "revision 2, enrollments"), left(store.BrokenChanges, "revision 2")}},
		"counts of a revision are wrong": {func(t *testing.T, d *district, b *pebble.Batch) error {
			doc, err := d.revision(d.db, 2)
			require.NoError(t, err)
			doc.Counts[users] = store.Counts{Received: 1, Created: 1}
			return setDoc(b, revisionKey(spaceRevision, 2), doc)
		}, []store.Problem{repaired(store.BrokenChanges, "revision 2")}},
		"totals of the head are wrong": {func(t *testing.T, d *district, b *pebble.Batch) error {
			doc, err := d.revision(d.db, 2)
			require.NoError(t, err)
			doc.Total[users] = 5
			return setDoc(b, revisionKey(spaceRevision, 2), doc)
		}, []store.Problem{repaired(store.BrokenSummary, "revision 2")}},
		"counts of the head are wrong": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return setDoc(b, metaKey(metaSummary), summaryDoc{})
		}, []store.Problem{repaired(store.BrokenSummary, "revision 2")}},
		"an announcement is of no revision": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Set(revisionKey(spacePending, 7), nil, nil)
		}, []store.Problem{repaired(brokenPending, "revision 7")}},
		"announcements are not marked": {func(_ *testing.T, d *district, _ *pebble.Batch) error {
			return os.Remove(s.pendingFile(d.id))
		}, []store.Problem{repaired(brokenPending, "district")}},
		"a staged change has no plan": {func(t *testing.T, d *district, b *pebble.Batch) error {
			return b.Set(stagedKey("nobody's", users, "a"), value(t, d, stagedKey("open", users, "a")), nil)
		}, []store.Problem{repaired(store.BrokenStaged, `plan "nobody's"`)}},
		"staged tables have no plan": {func(_ *testing.T, d *district, _ *pebble.Batch) error {
			return os.MkdirAll(d.stagingDir("nobody's"), 0o700)
		}, []store.Problem{repaired(store.BrokenStaged, `plan "nobody's"`)}},
		"a staged change is gone": {func(_ *testing.T, _ *district, b *pebble.Batch) error {
			return b.Delete(stagedKey("open", users, "a"), nil)
		}, []store.Problem{left(store.BrokenLost, `plan "open"`)}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(sound)))
			s, err = Open(Config{Dir: dir})
			require.NoError(t, err)
			defer s.Close()
			d, release, err := s.use(t.Context(), id)
			require.NoError(t, err)
			defer release()
			b := d.db.NewBatch()
			require.NoError(t, c.damage(t, d, b))
			require.NoError(t, b.Commit(pebble.Sync))

			seen, remaining := []store.Problem{}, []store.Problem{}
			for _, p := range c.want {
				if !p.Repaired {
					remaining = append(remaining, p)
				}
				p.Repaired = false
				seen = append(seen, p)
			}
			require.Equal(t, seen, problems(t, s, id, false))
			require.Equal(t, c.want, problems(t, s, id, true))
			require.ElementsMatch(t, remaining, problems(t, s, id, false), "after the repair")
		})
	}
}

func value(t *testing.T, d *district, key []byte) []byte {
	t.Helper()
	v, err := get(d.db, key)
	require.NoError(t, err)
	require.NotNil(t, v)
	return v
}
