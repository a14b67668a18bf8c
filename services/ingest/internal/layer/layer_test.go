package layer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

func bucket(t testing.TB) *blob.Bucket {
	b := memblob.OpenBucket(nil)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// sorted returns what comes out of a sorter that several goroutines have
// filled with items.
func sorted(t *testing.T, items []Item, limit, workers int) []string {
	t.Helper()
	dir := t.TempDir()
	s := NewSorter(dir, limit)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			b := s.Buffer()
			for i := w; i < len(items); i += workers {
				require.NoError(t, b.Add(items[i]))
			}
			b.Close()
		})
	}
	wg.Wait()
	var out []string
	for it, err := range s.Items() {
		require.NoError(t, err)
		out = append(out, fmt.Sprintf("%q %d %d %t %t %x %q", it.ID, it.Part, it.Row, it.Deleted, it.Bare, it.Hash, it.Body))
	}
	require.NoError(t, s.Close())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	return out
}

// The order of what comes out does not depend on that of what goes in, nor on
// how many workers there are or how often they have to write to the disk.
func TestSortDoesNotDependOnTheOrderOfRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"", "a", "b", "A", "é", "\xff", "\x00", "0", "common-prefix-of-many-ids-"}
	var items []Item
	for i := range 3000 {
		id := ""
		for range 1 + r.IntN(6) {
			id += alphabet[r.IntN(len(alphabet))]
		}
		items = append(items, Item{
			ID: []byte(id), Part: Part(r.IntN(3)), Row: i, Deleted: r.IntN(2) == 0, Bare: r.IntN(2) == 0,
			Hash: record.Hash{byte(i)}, Body: []byte(strings.Repeat("x", r.IntN(50))),
		})
	}
	want := sorted(t, items, 1<<20, 1)
	require.Len(t, want, len(items))
	for _, limit := range []int{1, 4 << 10, 64 << 10, 1 << 20} {
		r.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
		require.Equal(t, want, sorted(t, items, limit, 1+r.IntN(4)), limit)
	}
	slices.SortStableFunc(items, func(a, b Item) int { return strings.Compare(string(a.ID), string(b.ID)) })
	for i := 1; i < len(items); i++ {
		require.LessOrEqual(t, string(items[i-1].ID), string(items[i].ID))
	}
}

func TestLayerFile(t *testing.T) {
	b := bucket(t)
	w, err := Create(t.Context(), b, "k", false)
	require.NoError(t, err)
	var want []string
	for i := range 10_000 {
		e := Entry{ID: fmt.Appendf(nil, "%06d", i), Hash: record.Hash{byte(i), 1}, Deleted: i%7 == 0, Body: []byte(strings.Repeat("b", i%100))}
		want = append(want, fmt.Sprint(e))
		require.NoError(t, w.Add(e))
	}
	require.EqualValues(t, 10_000, w.Records())
	require.NoError(t, w.Close())
	var got []string
	for e, err := range Read(t.Context(), b, "k", w.Records()) {
		require.NoError(t, err)
		e.raw = nil // says the same once more
		got = append(got, fmt.Sprint(e))
	}
	require.Equal(t, want, got)

	whole, err := b.ReadAll(t.Context(), "k")
	require.NoError(t, err)
	for name, damaged := range map[string][]byte{"empty": nil, "not one": []byte("hello"), "cut": whole[:len(whole)/2], "changed": flipped(whole)} {
		require.NoError(t, b.WriteAll(t.Context(), "damaged", damaged, nil))
		var failed error
		for _, err := range Read(t.Context(), b, "damaged", w.Records()) {
			failed = err
		}
		require.ErrorIs(t, failed, ErrDamaged, name)
	}
	for name, records := range map[string]int64{"cut behind a record": 10_001, "one too many": 9_999} {
		var failed error
		for _, err := range Read(t.Context(), b, "k", records) {
			failed = err
		}
		require.ErrorIs(t, failed, ErrDamaged, name)
	}
	for _, err := range Read(t.Context(), b, "gone", 1) {
		require.ErrorIs(t, err, ErrDamaged)
	}
}

func flipped(b []byte) []byte {
	b = slices.Clone(b)
	b[len(b)/2] ^= 0x10
	return b
}

func TestAbortedLayerFileIsNotThere(t *testing.T) {
	b := bucket(t)
	w, err := Create(t.Context(), b, "k", false)
	require.NoError(t, err)
	require.NoError(t, w.Add(Entry{ID: []byte("a")}))
	w.Abort()
	there, err := b.Exists(t.Context(), "k")
	require.NoError(t, err)
	require.False(t, there)
}

func org(id, name, status string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Name: name, Status: status}}}
}

// build writes rows, on top of so many records of the blob "previous", as "id=name", "id" for a bare delete, "id=name!" for a
// delete with values, and returns the layer in the same notation.
func build(t *testing.T, b *blob.Bucket, mode Mode, previous int, rows string) (layer string, rejected []int) {
	t.Helper()
	s := NewSorter(t.TempDir(), 1<<10)
	buf := s.Buffer()
	for i, row := range strings.Fields(rows) {
		id, name, full := strings.Cut(row, "=")
		deleted := !full || strings.HasSuffix(name, "!")
		status := record.StatusActive
		if deleted {
			status = record.StatusToBeDeleted
		}
		rec := org(id, strings.TrimSuffix(name, "!"), status)
		body, err := proto.Marshal(rec)
		require.NoError(t, err)
		require.NoError(t, buf.Add(Item{ID: []byte(id), Row: i, Deleted: deleted, Bare: !full, Hash: record.HashOf(rec), Body: body}))
	}
	buf.Close()
	plan := Build{Rows: s, Mode: mode, Rejected: func(it Item) { rejected = append(rejected, it.Row) }}
	if previous > 0 {
		plan.Previous = Read(t.Context(), b, "previous", int64(previous))
	}
	w, err := Create(t.Context(), b, "next", previous > 0)
	require.NoError(t, err)
	require.NoError(t, plan.Write(w))
	require.NoError(t, w.Close())
	require.NoError(t, s.Close())
	var out []string
	for e, err := range Read(t.Context(), b, "next", w.Records()) {
		require.NoError(t, err)
		var rec typev1.Record
		require.NoError(t, proto.Unmarshal(e.Body, &rec))
		require.Equal(t, record.HashOf(&rec), e.Hash)
		require.Equal(t, rec.GetOrg().GetStatus() == record.StatusToBeDeleted, e.Deleted)
		text := string(e.ID) + "=" + rec.GetOrg().GetName()
		if e.Deleted {
			text += "!"
		}
		out = append(out, text)
	}
	return strings.Join(out, " "), rejected
}

func TestBuild(t *testing.T) {
	for _, test := range []struct {
		name       string
		mode       Mode
		prev, rows string
		want       string
		rejected   []int
	}{
		{"a complete copy", Bulk, "", "b=2 a=1", "a=1 b=2", nil},
		{"a complete copy over another", Bulk, "a=1 c=3", "b=2 a=9", "a=9 b=2", nil},
		{"the first of two rows with one id", Bulk, "", "a=1 b=2 a=3", "a=1 b=2", []int{2}},
		{"a bare delete keeps what was there", Bulk, "a=1 b=2", "a b=2", "a=1! b=2", nil},
		{"a bare delete of what was never there", Bulk, "b=2", "a b=2", "a=! b=2", nil},
		{"changes", Delta, "a=1 b=2 c=3", "b=9 d=4", "a=1 b=9 c=3 d=4", nil},
		{"changes to nothing", Delta, "", "b=9", "b=9", nil},
		{"changes that delete", Delta, "a=1 b=2 c=3", "a c=9!", "a=1! b=2 c=9!", nil},
		{"a record that returns", Delta, "a=1!", "a=1", "a=1", nil},
		{"changes behind the end", Delta, "a=1", "b=2 c=3", "a=1 b=2 c=3", nil},
		{"two changes of one record", Delta, "a=1", "a=2 a=3", "a=2", []int{1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, previous := bucket(t), 0
			if test.prev != "" {
				layer, _ := build(t, b, Bulk, 0, test.prev)
				require.Equal(t, test.prev, layer)
				require.NoError(t, b.Copy(t.Context(), "previous", "next", nil))
				previous = len(strings.Fields(test.prev))
			}
			layer, rejected := build(t, b, test.mode, previous, test.rows)
			require.Equal(t, test.want, layer)
			require.Equal(t, test.rejected, rejected)
		})
	}
}

// An entry that is larger than what is read ahead is read as well, and goes on
// unchanged.
func TestLargeEntry(t *testing.T) {
	b := bucket(t)
	w, err := Create(t.Context(), b, "was", false)
	require.NoError(t, err)
	large := []byte(strings.Repeat("large ", 100_000))
	for _, id := range []string{"a", "b", "c"} {
		require.NoError(t, w.Add(Entry{ID: []byte(id), Hash: record.Hash{1}, Overlay: id == "c", Body: large}))
	}
	require.NoError(t, w.Close())
	next, err := Create(t.Context(), b, "is", true)
	require.NoError(t, err)
	plan := Build{Rows: NewSorter(t.TempDir(), 1<<20), Mode: Delta, Previous: Read(t.Context(), b, "was", 3)}
	require.NoError(t, plan.Write(next))
	require.NoError(t, next.Close())
	require.Zero(t, next.Changes())
	require.Equal(t, w.Checksum(), next.Checksum(), "the same file")
}
