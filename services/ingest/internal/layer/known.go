package layer

import (
	"context"
	"encoding/binary"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"gocloud.dev/blob"
)

// Mark recognises the text of a row, together with all that decides what is
// made of it. With 96 bits two rows of a district practically never share one.
// The zero Mark recognises nothing.
type Mark struct {
	key   uint64
	check uint32
}

const markSize = 12

// Marker makes the marks of the rows of one file.
type Marker struct{ first, second uint64 }

// NewMarker returns a marker for rows that are read in the way that context
// describes: equal rows in other contexts get other marks.
func NewMarker(context string) Marker {
	seed := xxhash.Sum64String(context)
	return Marker{first: seed, second: seed ^ 0x9e3779b97f4a7c15}
}

// Mark returns the mark of a row.
func (m Marker) Mark(text []byte) Mark {
	var d xxhash.Digest
	d.ResetWithSeed(m.first)
	_, _ = d.Write(text) // never fails
	key := d.Sum64()
	d.ResetWithSeed(m.second)
	_, _ = d.Write(text)
	return Mark{key: key, check: uint32(d.Sum64()) | 1} // never zero
}

func (m Mark) append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, m.key), m.check)
}

func readMark(b []byte) Mark {
	return Mark{key: binary.LittleEndian.Uint64(b), check: binary.LittleEndian.Uint32(b[8:])}
}

// MarksKey is where the marks of a layer file are.
func MarksKey(key string) string { return key + ".marks" }

// maxKnown bounds the memory of Known, some 25 bytes a record. The rows of a
// larger entity are all read anew, which takes longer and gives the same.
const maxKnown = 4 << 20

// Known recognises rows that a layer file was made of, so that they need not be
// read again. Workers share it.
type Known struct {
	rows  []knownRow
	slots []uint32 // positions in rows plus one, by key
}

// knownRow is the row behind one record; its size is that of two words, since
// looking rows up is all about cache misses.
type knownRow struct {
	key   uint64
	check uint32
	seen  atomic.Uint32 // the number of the row that has it now, 0 for none
}

// LoadKnown reads the marks of a layer file; nil if it has none that can be
// used, or too many. They save time and nothing else, so no error keeps a sync
// from going on without them.
func LoadKnown(ctx context.Context, bucket *blob.Bucket, key string, records int64) *Known {
	if records > maxKnown {
		return nil
	}
	raw, err := bucket.ReadAll(ctx, MarksKey(key))
	if err != nil || int64(len(raw)) != records*markSize {
		return nil
	}
	size := 16
	for size < int(records)*2 {
		size *= 2
	}
	k := &Known{rows: make([]knownRow, records), slots: make([]uint32, size)}
	for i := range k.rows {
		m := readMark(raw[i*markSize:])
		if m == (Mark{}) {
			continue
		}
		k.rows[i].key, k.rows[i].check = m.key, m.check
		at := k.slot(m.key)
		for k.slots[at] != 0 {
			at = (at + 1) & (size - 1)
		}
		k.slots[at] = uint32(i + 1)
	}
	return k
}

func (k *Known) slot(key uint64) int { return int(key & uint64(len(k.slots)-1)) }

// Find looks up which records were made of rows with these marks: at gets their
// positions plus one, 0 where there is none. It takes many rows at a time, in
// steps: nearly all of its time is waiting for memory, and waits that do not
// depend on each other overlap.
func (k *Known) Find(marks []Mark, at []uint32) {
	for i, m := range marks {
		at[i] = k.slots[k.slot(m.key)]
	}
	for i, m := range marks {
		found, slot := at[i], k.slot(m.key)
		for found != 0 && !k.is(found, m) {
			slot = (slot + 1) & (len(k.slots) - 1)
			found = k.slots[slot]
		}
		at[i] = found //nolint:gosec // at is as long as marks
	}
}

func (k *Known) is(at uint32, m Mark) bool {
	r := &k.rows[at-1]
	return r.key == m.key && r.check == m.check
}

// See notes that the file has the row of a record that was found. It returns the
// number of the later of two such rows when there is one already, and 0 else.
func (k *Known) See(at uint32, row int) (other int) {
	r := &k.rows[at-1]
	for {
		was := r.seen.Load()
		switch {
		case was == 0 && r.seen.CompareAndSwap(0, uint32(row)):
			return 0
		case was == 0:
		case int(was) <= row:
			return row
		case r.seen.CompareAndSwap(was, uint32(row)):
			return int(was)
		}
	}
}

// All tells whether every record of the layer was recognised.
func (k *Known) All() bool { return k.all(0, len(k.rows)) }

// all tells whether all of so many records were recognised.
func (k *Known) all(position, records int) bool {
	for i := range k.rows[position : position+records] {
		if k.rows[position+i].seen.Load() == 0 {
			return false
		}
	}
	return true
}

// at returns the mark of the record at a position and the row that has it now,
// 0 if none was seen.
func (k *Known) at(position int) (Mark, int) {
	r := &k.rows[position]
	return Mark{r.key, r.check}, int(r.seen.Load())
}
