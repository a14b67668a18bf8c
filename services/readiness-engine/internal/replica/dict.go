package replica

import (
	"encoding/binary"
	"hash/maphash"
	"unsafe"
)

// chunkSize bounds the memory that a small dictionary wastes. A position is a
// chunk number and an offset in 32 bits, so a dictionary holds up to 4 GiB.
const (
	chunkBits = 16
	chunkSize = 1 << chunkBits
)

var seed = maphash.MakeSeed()

// dict gives each distinct text a small number, counted up from 1; 0 is the
// empty text. Texts are never forgotten: a replica with much churn is rebuilt.
type dict struct {
	chunks    [][]byte
	positions []uint32 // of each entry, by number
	slots     []uint64 // open addressing: 32 bits of hash, 32 bits of number
}

// maxLoad is the part of the slots that may be in use.
var maxLoad = struct{ used, of int }{4, 5}

// slot returns where a hash of 32 bits belongs. The number of slots need not be
// a power of two, so that a dictionary of known size has no more than it needs.
func (d *dict) slot(hash uint64) uint64 { return hash * uint64(len(d.slots)) >> 32 }

func (d *dict) after(slot uint64) uint64 {
	if slot++; slot == uint64(len(d.slots)) {
		return 0
	}
	return slot
}

func (d *dict) len() int { return max(1, len(d.positions)) }

// reserve makes room for n texts.
func (d *dict) reserve(n int) {
	if d.positions == nil {
		d.positions = make([]uint32, 1, n+1)
	}
	if size := n*maxLoad.of/maxLoad.used + 16; size > len(d.slots) {
		d.rehash(size)
	}
}

// number returns the number of b, which is new to the dictionary when added.
func (d *dict) number(b []byte) (n uint32, added bool) {
	if len(b) == 0 {
		return 0, false
	}
	if len(d.positions)*maxLoad.of >= len(d.slots)*maxLoad.used {
		d.reserve(len(d.positions) * 3 / 2)
	}
	hash := uint64(uint32(maphash.Bytes(seed, b)))
	for i := d.slot(hash); ; i = d.after(i) {
		slot := d.slots[i]
		if slot == 0 {
			n = uint32(len(d.positions))
			d.positions = append(d.positions, d.store(b))
			d.slots[i] = hash<<32 | uint64(n)
			return n, true
		}
		if slot>>32 == hash && d.text(uint32(slot)) == string(b) {
			return uint32(slot), false
		}
	}
}

// find returns the number of b, 0 when it has none.
func (d *dict) find(b []byte) uint32 {
	if len(b) == 0 || len(d.slots) == 0 {
		return 0
	}
	hash := uint64(uint32(maphash.Bytes(seed, b)))
	for i := d.slot(hash); d.slots[i] != 0; i = d.after(i) {
		if slot := d.slots[i]; slot>>32 == hash && d.text(uint32(slot)) == string(b) {
			return uint32(slot)
		}
	}
	return 0
}

// text returns the text of n. It is no copy: what a chunk holds never changes.
func (d *dict) text(n uint32) string {
	if n == 0 {
		return ""
	}
	at := d.positions[n]
	b := d.chunks[at>>chunkBits][at&(chunkSize-1):]
	size, w := uint64(b[0]), 1
	if size >= 0x80 {
		size, w = binary.Uvarint(b)
	}
	b = b[w : w+int(size)]
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // The bytes never change.
}

// store appends a text and returns its position.
func (d *dict) store(b []byte) uint32 {
	need := len(b) + binary.MaxVarintLen32
	last := len(d.chunks) - 1
	if last < 0 || len(d.chunks[last])+need > chunkSize {
		// A text longer than a chunk has one of its own, which counts as full. The
		// first chunk grows with need, so that a small district stays small.
		size := need
		if last >= 0 {
			size = max(need, chunkSize)
		}
		d.chunks = append(d.chunks, make([]byte, 0, size))
		last++
	}
	c := d.chunks[last]
	at := uint32(last)<<chunkBits | uint32(len(c))
	d.chunks[last] = append(binary.AppendUvarint(c, uint64(len(b))), b...)
	return at
}

func (d *dict) rehash(size int) {
	old := d.slots
	d.slots = make([]uint64, size)
	for _, slot := range old {
		if slot == 0 {
			continue
		}
		i := d.slot(slot >> 32)
		for d.slots[i] != 0 {
			i = d.after(i)
		}
		d.slots[i] = slot
	}
}

// size is the memory in bytes.
func (d *dict) size() int {
	n := 4*cap(d.positions) + 8*cap(d.slots)
	for _, c := range d.chunks {
		n += cap(c)
	}
	return n
}
