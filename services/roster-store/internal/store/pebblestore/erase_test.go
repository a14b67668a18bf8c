package pebblestore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// person is a user all of whose words are its own: no word begins like one of
// another user, so that none hides in what a file shortens.
func person(id, word string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_User{User: &typev1.User{
		SourcedId: id, Status: "active", GivenName: "G" + word, FamilyName: "F" + word, Email: "E" + word + "@example.org",
		Phone: "P" + word, Username: "U" + word, Metadata: map[string]string{"note": "M" + word},
		Roles: []*typev1.Role{{Role: "student", Org: &typev1.Ref{SourcedId: "s1"}}},
	}}}
}

// stored returns which of the words are in any file of a folder, its name or
// its content.
func stored(t *testing.T, dir string, words ...string) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a database that was opened removes files behind the call
		}
		for _, w := range words {
			if bytes.Contains(b, []byte(w)) || strings.Contains(path, w) {
				found = append(found, w)
			}
		}
		return err
	}))
	slices.Sort(found)
	return slices.Compact(found)
}

func importRecords(t *testing.T, s *Store, d store.DistrictID, plan string, commit bool, records ...*typev1.Record) {
	t.Helper()
	_, err := s.Import(t.Context(), store.PlanHeader{District: d, Plan: store.PlanID(plan)}, func(yield func(store.ImportRecord, error) bool) {
		for _, r := range records {
			e, base := record.Of(r)
			body, err := proto.Marshal(r)
			if !yield(store.ImportRecord{Entity: e, ID: base.GetSourcedId(), Hash: record.HashOf(r), Body: body}, err) {
				return
			}
		}
	})
	require.NoError(t, err)
	if commit {
		_, err = s.Commit(t.Context(), d, store.PlanID(plan), 0)
		require.NoError(t, err)
	}
}

// fillWithPerson leaves traces of user p wherever there can be some, and returns
// all its words. District d has revisions, e only a staged plan.
func fillWithPerson(t *testing.T, s *Store) (words []string) {
	t.Helper()
	staged := func(w string) string {
		words = append(words, "G"+w, "F"+w, "E"+w, "P"+w, "U"+w, "M"+w)
		return w
	}
	indexed := func(w string) string {
		words = append(words, "g"+w, "f"+w, "e"+w)
		return staged(w)
	}
	ctx := t.Context()
	require.NoError(t, s.OpenDistrict(ctx, "d"))
	all := []*typev1.Record{person("a", "other"), person("p", indexed("aquila")), person("z", "last")}
	importRecords(t, s, "d", "first", true, all...)
	importRecords(t, s, "d", "second", true, person("p", indexed("borealis")))
	importRecords(t, s, "d", "third", true, person("p", indexed("cygnus")))
	flush := func() {
		d, release, err := s.use(ctx, "d")
		require.NoError(t, err)
		defer release()
		require.NoError(t, d.db.Flush())
	}
	flush()
	require.NoError(t, s.Prune(ctx, "d", 2))
	importRecords(t, s, "d", "discarded", false, person("p", staged("draco")))
	flush()
	require.NoError(t, s.Discard(ctx, "d", "discarded"))
	importRecords(t, s, "d", "staged", false, person("p", staged("eridanus")))
	importRecords(t, s, "d", "last", true, person("p", indexed("fornax")))

	require.NoError(t, s.OpenDistrict(ctx, "e"))
	importRecords(t, s, "e", "first", false, person("p", indexed("gemini")), person("q", "other"))
	return words
}

func openPlain(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir, plain: true})
	require.NoError(t, err)
	return s
}

func TestErasedPersonIsInNoFile(t *testing.T) {
	dir := t.TempDir()
	s := openPlain(t, dir)
	words := fillWithPerson(t, s)
	slices.Sort(words)
	require.Equal(t, words, stored(t, dir, words...), "the search finds what is there")
	for _, d := range []store.DistrictID{"d", "e"} {
		require.NoError(t, s.ErasePerson(t.Context(), d, "p"))
	}
	require.Empty(t, stored(t, dir, words...), "while the store is open")
	require.ErrorIs(t, s.ErasePerson(t.Context(), "d", "nobody"), store.ErrRecordUnknown)
	marks, err := os.ReadDir(filepath.Join(dir, erasingDir))
	require.NoError(t, err)
	require.Empty(t, marks)
	require.Equal(t, []string{"Gother"}, stored(t, dir, "Gother"), "others are still there")
	importRecords(t, s, "d", "other", true, person("a", "another"))
	require.NoError(t, s.Close())
	require.Empty(t, stored(t, dir, words...), "when the store is closed")
	s = openPlain(t, dir)
	for _, d := range []store.DistrictID{"d", "e"} {
		_, err := s.Head(t.Context(), d)
		require.NoError(t, err)
	}
	require.Empty(t, stored(t, dir, words...), "when it is open again")
	require.NoError(t, s.Close())
}

// TestInterruptedErasureIsFinished ends the process, so to say, after each step.
func TestInterruptedErasureIsFinished(t *testing.T) {
	for name, steps := range map[string]func(*Store, *district) error{
		"blanked": func(*Store, *district) error { return nil },
		"half copied": func(s *Store, d *district) error {
			return s.fill(t.Context(), d, filepath.Join(s.dir(d.id), fmt.Sprint(d.copy+1, ".new")))
		},
		"copied": func(s *Store, d *district) error {
			next, err := s.copyDistrict(t.Context(), d)
			if err != nil {
				return err
			}
			return next.close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openPlain(t, dir)
			words := fillWithPerson(t, s)
			for _, id := range []store.DistrictID{"d", "e"} {
				d, release, err := s.useAlone(t.Context(), id)
				require.NoError(t, err)
				require.NoError(t, d.blankPerson(t.Context(), "p", s.erasingFile(id)))
				require.NoError(t, steps(s, d))
				release()
			}
			require.NoError(t, s.Close())
			require.NotEmpty(t, stored(t, dir, words...))

			s = openPlain(t, dir)
			require.Empty(t, stored(t, dir, words...), "before anybody has asked for a district")
			rec, err := s.Snapshot("d", 4, store.Scope{All: true}).Get(t.Context(), users, "p")
			require.NoError(t, err)
			require.NotContains(t, string(rec.Body), "fornax")
			_, err = s.Commit(t.Context(), "e", "first", 0)
			require.NoError(t, err)
			require.NoError(t, s.Close())
			require.Empty(t, stored(t, dir, words...))
		})
	}
}

// TestFailedErasureLosesNothing lets the copy fail: what is written afterwards
// is there, and the erasure can be repeated.
func TestFailedErasureLosesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openPlain(t, dir)
	words := fillWithPerson(t, s)
	// The name of the copy is taken, by something that does not go away.
	taken := filepath.Join(dir, "d", "2", "in the way")
	require.NoError(t, os.MkdirAll(taken, 0o700))
	require.ErrorContains(t, s.ErasePerson(t.Context(), "d", "p"), "still in the files")
	require.NoError(t, os.RemoveAll(filepath.Dir(taken)))
	importRecords(t, s, "d", "after", true, person("n", "new"))
	require.NoError(t, s.Close())
	s = openPlain(t, dir)
	info, err := s.Head(t.Context(), "d")
	require.NoError(t, err)
	require.Equal(t, store.Revision(5), info.Revision)
	require.NoError(t, s.ErasePerson(t.Context(), "d", "p"))
	require.NoError(t, s.EraseDistrict(t.Context(), "e"))
	require.Empty(t, stored(t, dir, words...))
	require.NoError(t, s.Close())
}

// TestErasedPersonIsNotErasedAgain: to copy a district takes long, and who erases
// may have to ask more than once.
func TestErasedPersonIsNotErasedAgain(t *testing.T) {
	dir := t.TempDir()
	s := openPlain(t, dir)
	fillWithPerson(t, s)
	copies := func(id store.DistrictID) int {
		d, release, err := s.use(t.Context(), id)
		require.NoError(t, err)
		defer release()
		return d.copy
	}
	for _, id := range []store.DistrictID{"d", "e"} {
		first := copies(id)
		for range 3 {
			require.NoError(t, s.ErasePerson(t.Context(), id, "p"))
			require.Equal(t, first+1, copies(id))
		}
	}
	// What was staged since may be in files though nobody can read it.
	importRecords(t, s, "d", "back", false, person("p", "back"))
	require.NoError(t, s.Discard(t.Context(), "d", "back"))
	before := copies("d")
	require.NoError(t, s.ErasePerson(t.Context(), "d", "p"))
	require.Equal(t, before+1, copies("d"))
	require.Empty(t, stored(t, dir, "Gback"))
	require.NoError(t, s.Close())
}
