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
	kept  atomic.Int64
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

// See notes that the file has a row with this mark. known tells whether a
// record was made of it before; other is the number of the later of two such
// rows when there is one already, and 0 else.
func (k *Known) See(m Mark, row int) (known bool, other int) {
	for at := k.slot(m.key); k.slots[at] != 0; at = (at + 1) & (len(k.slots) - 1) {
		r := &k.rows[k.slots[at]-1]
		if r.key != m.key || r.check != m.check {
			continue
		}
		for {
			was := r.seen.Load()
			switch {
			case was == 0 && r.seen.CompareAndSwap(0, uint32(row)):
				k.kept.Add(1)
				return true, 0
			case was == 0:
			case int(was) <= row:
				return true, row
			case r.seen.CompareAndSwap(was, uint32(row)):
				return true, int(was)
			}
		}
	}
	return false, 0
}

// All tells whether every record of the layer was recognised.
func (k *Known) All() bool { return k.kept.Load() == int64(len(k.rows)) }

// at returns the mark of the record at a position and the row that has it now,
// 0 if none was seen.
func (k *Known) at(position int) (Mark, int) {
	r := &k.rows[position]
	return Mark{r.key, r.check}, int(r.seen.Load())
}
