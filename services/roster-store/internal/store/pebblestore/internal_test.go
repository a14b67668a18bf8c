package pebblestore

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/storetest"
)

// TestModelOfFiles has indexes that do not fit into one run, and commits that do
// not fit into memory.
func TestModelOfFiles(t *testing.T) {
	storetest.RunModel(t, func(t testing.TB, dir string) store.Store {
		s, err := Open(Config{Dir: dir, MaxOpen: 1, runRecords: 50, largeCommit: 5})
		require.NoError(t, err)
		return s
	})
}

func TestIdleDistrictsAreClosed(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), MaxOpen: 3})
	require.NoError(t, err)
	defer s.Close()
	for round := range 2 {
		for i := range 10 {
			id := store.DistrictID(fmt.Sprint("d", i))
			if round == 0 {
				require.NoError(t, s.OpenDistrict(t.Context(), id))
			}
			info, err := s.Head(t.Context(), id)
			require.NoError(t, err)
			require.Zero(t, info.Revision)
			require.LessOrEqual(t, len(s.slots), 3)
		}
	}
}

// TestFieldNumbers holds the numbers that body writes to the protos.
func TestFieldNumbers(t *testing.T) {
	fields := (&typev1.Record{}).ProtoReflect().Descriptor().Fields()
	require.Len(t, recordField, fields.Len()+1)
	names := map[typev1.Entity]string{
		typev1.Entity_ENTITY_ORGS: "org", typev1.Entity_ENTITY_ACADEMIC_SESSIONS: "academic_session",
		typev1.Entity_ENTITY_COURSES: "course", typev1.Entity_ENTITY_CLASSES: "class", typev1.Entity_ENTITY_USERS: "user",
		typev1.Entity_ENTITY_ENROLLMENTS: "enrollment", typev1.Entity_ENTITY_DEMOGRAPHICS: "demographics",
	}
	for e, number := range recordField {
		if e == 0 {
			continue
		}
		f := fields.ByNumber(number)
		require.Equal(t, names[typev1.Entity(e)], string(f.Name()))
		require.EqualValues(t, dateField, f.Message().Fields().ByName("date_last_modified").Number())
	}
}

func FuzzBlock(f *testing.F) {
	f.Add(appendBlock(nil, [][]byte{[]byte("a"), []byte("ab"), []byte("b")}))
	f.Add([]byte{3, 0, 1, 'a', 9, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		var k, again block
		if k.decode(b) != nil {
			return
		}
		ids := make([][]byte, 0, k.len())
		for i := range k.len() {
			ids = append(ids, k.id(i))
		}
		require.NoError(t, again.decode(appendBlock(nil, ids)))
		require.Equal(t, k.buf, again.buf)
		require.Equal(t, k.ends, again.ends)
	})
}

func FuzzEscape(f *testing.F) {
	f.Add([]byte("a"), []byte("a\x00"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		text, rest, ok := unescape(append(escape(nil, a), b...))
		require.True(t, ok)
		require.Equal(t, string(a), string(text))
		require.Equal(t, string(b), string(rest))
		require.Equal(t, string(a) < string(b), string(escape(nil, a)) < string(escape(nil, b)))
	})
}
