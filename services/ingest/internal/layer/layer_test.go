package layer

import (
	"context"
	"fmt"
	"maps"
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

// Whenever its context ends, a file that is being written can be given up.
func TestAbortAfterTheContextHasEnded(t *testing.T) {
	b := bucket(t)
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		w, err := Create(ctx, b, "k", false)
		require.NoError(t, err)
		body := make([]byte, batchSize)
		for range 3 {
			require.NoError(t, w.Add(Entry{Body: body}))
		}
		cancel()
		for err == nil {
			err = w.Add(Entry{Body: body})
		}
		require.ErrorIs(t, err, context.Canceled)
		w.Abort()
	}
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
		plan.Previous = Open(t.Context(), b, "previous", int64(previous))
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
	plan := Build{Rows: NewSorter(t.TempDir(), 1<<20), Mode: Delta, Previous: Open(t.Context(), b, "was", 3)}
	require.NoError(t, plan.Write(next))
	require.NoError(t, next.Close())
	require.Zero(t, next.Changes())
	require.Equal(t, w.Checksum(), next.Checksum(), "the same file")
}

// However blocks go over from one file to the next, the records, their marks and
// what has changed are those of the rows.
func TestBlocksThatStay(t *testing.T) {
	for _, mode := range []Mode{Bulk, Delta} {
		b, r := bucket(t), rand.New(rand.NewPCG(5, 6))
		body := func(id string, hash byte) []byte { return []byte(strings.Repeat(id+string(rune(hash)), 20)) }
		mark := func(id string, hash byte) Mark { return NewMarker("t").Mark(fmt.Append(nil, id, hash)) }
		was, key, records := map[string]byte{}, "", int64(0)
		for day := range 40 {
			is := maps.Clone(was)
			for range []int{0, 1, 30}[r.IntN(3)] {
				switch id := fmt.Sprintf("%05d", r.IntN(8000)); {
				case mode == Bulk && r.IntN(3) == 0:
					delete(is, id)
				default:
					is[id] = byte(r.IntN(100))
				}
			}
			if day == 0 || day == 20 { // many at once
				from := r.IntN(4000)
				for i := range 2000 {
					is[fmt.Sprintf("%05d", from+i)] = byte(day)
				}
			}
			if day == 30 && mode == Bulk {
				maps.DeleteFunc(is, func(id string, _ byte) bool { return id > "02" && id < "04" })
			}
			s := NewSorter(t.TempDir(), 1<<20)
			build := Build{Rows: s, Mode: mode, Rejected: func(it Item) { t.Errorf("%s rejected", it.ID) }}
			if key != "" {
				build.Previous = Open(t.Context(), b, key, records)
				if mode == Bulk {
					build.Known = LoadKnown(t.Context(), b, key, records)
				}
			}
			rows, row := s.Buffer(), 0
			for id, hash := range is {
				row++
				at := make([]uint32, 1)
				if build.Known != nil {
					if build.Known.Find([]Mark{mark(id, hash)}, at); at[0] != 0 {
						require.Zero(t, build.Known.See(at[0], row))
						continue
					}
				}
				if old, ok := was[id]; mode == Delta && ok && old == hash {
					continue
				}
				require.NoError(t, rows.Add(Item{ID: []byte(id), Row: row, Hash: record.Hash{hash}, Body: body(id, hash), Mark: mark(id, hash)}))
			}
			rows.Close()
			next := fmt.Sprint(day)
			w, err := Create(t.Context(), b, next, true)
			require.NoError(t, err)
			require.NoError(t, build.Write(w))
			require.NoError(t, w.Close())
			require.NoError(t, s.Close())

			require.EqualValues(t, len(is), w.Records())
			sound, err := Sound(t.Context(), b, next, w.Checksum())
			require.NoError(t, err)
			require.True(t, sound)
			marks, err := b.ReadAll(t.Context(), MarksKey(next))
			require.NoError(t, err)
			ids, i := slices.Sorted(maps.Keys(is)), 0
			for e, err := range Read(t.Context(), b, next, w.Records()) {
				require.NoError(t, err)
				id := string(e.ID)
				require.Equal(t, ids[i], id)
				require.Equal(t, record.Hash{is[id]}, e.Hash)
				require.Equal(t, body(id, is[id]), e.Body)
				if mode == Bulk {
					require.Equal(t, mark(id, is[id]), readMark(marks[i*markSize:]))
				}
				i++
			}
			require.Len(t, ids, i)
			for c, err := range ReadChanges(t.Context(), b, next, w.Changes()) {
				require.NoError(t, err)
				id := string(c.ID)
				old, there := was[id]
				require.Equal(t, there, c.Was)
				require.Equal(t, old, c.Before.Hash[0])
				if delete(was, id); c.Is {
					was[id] = c.After.Hash[0]
				}
			}
			if key == "" {
				was = is // nobody asks for its changes
			}
			require.Equal(t, is, was)
			key, records = next, w.Records()
		}
		require.Less(t, blocksOf(t, b, key, records), 2*int(records)*160/blockSize, "blocks have not become small")
	}
}

func blocksOf(t *testing.T, b *blob.Bucket, key string, records int64) (n int) {
	r := Open(t.Context(), b, key, records)
	defer r.close()
	for {
		more, err := r.nextBlock()
		require.NoError(t, err)
		if !more {
			return n
		}
		n++
	}
}

// Wherever a file is changed or cut, it is not taken for another one: not by who
// reads all of it, and not by who passes on what stays.
func TestDamageIsFound(t *testing.T) {
	b, r := bucket(t), rand.New(rand.NewPCG(7, 8))
	w, err := Create(t.Context(), b, "k", false)
	require.NoError(t, err)
	for i := range 400 {
		require.NoError(t, w.Add(Entry{ID: fmt.Appendf(nil, "%06d", i), Body: fmt.Appendf(nil, "%x", r.Uint64())}))
	}
	require.NoError(t, w.Close())
	whole, err := b.ReadAll(t.Context(), "k")
	require.NoError(t, err)
	requireDamage := func(content []byte, what ...any) {
		require.NoError(t, b.WriteAll(t.Context(), "damaged", content, nil))
		var failed error
		for _, err := range Read(t.Context(), b, "damaged", w.Records()) {
			failed = err
		}
		require.ErrorIs(t, failed, ErrDamaged, what...)
		next, err := Create(t.Context(), b, "next", true)
		require.NoError(t, err)
		build := Build{Rows: NewSorter(t.TempDir(), 1<<20), Mode: Delta, Previous: Open(t.Context(), b, "damaged", w.Records())}
		require.ErrorIs(t, build.Write(next), ErrDamaged, what...)
		next.Abort()
	}
	for at := 0; at < len(whole); at += 1 + r.IntN(40) {
		changed := slices.Clone(whole)
		changed[at] ^= 1 << r.IntN(8)
		requireDamage(changed, "changed at %d", at)
		requireDamage(whole[:at], "cut at %d", at)
	}
	requireDamage(append(slices.Clone(whole), 0), "longer")
	requireDamage([]byte("\xff\x06\x00\x00S2sTwO"+string(whole)), "of the version before")
}
