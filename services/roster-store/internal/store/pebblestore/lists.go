package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// A list of ids is kept as blocks: the value of a key with the first id (or one
// below it) holds up to blockMax ids, each without what it shares with the one
// before. A row per id would make the indexes larger than the records.
const (
	blockFill = 128 // ids per block when it is written
	blockMax  = 256 // ids at which a block is split
)

var errBlock = errors.New("damaged block of ids")

// appendBlock encodes ascending ids.
func appendBlock(b []byte, ids [][]byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	var last []byte
	for _, id := range ids {
		shared := 0
		for limit := min(len(last), len(id)); shared < limit && last[shared] == id[shared]; {
			shared++
		}
		b = binary.AppendUvarint(b, uint64(shared))
		b = binary.AppendUvarint(b, uint64(len(id)-shared))
		b = append(b, id[shared:]...)
		last = id
	}
	return b
}

// block is a decoded one; its buffers are used again by the next decode.
type block struct {
	buf  []byte
	ends []int
}

func (k *block) len() int { return len(k.ends) }

func (k *block) id(i int) []byte {
	start := 0
	if i > 0 {
		start = k.ends[i-1]
	}
	return k.buf[start:k.ends[i]:k.ends[i]]
}

func (k *block) decode(b []byte) error {
	k.buf, k.ends = k.buf[:0], k.ends[:0]
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return errBlock
	}
	b = b[n:]
	start := 0
	for range count {
		shared, n := binary.Uvarint(b)
		if n <= 0 {
			return errBlock
		}
		length, m := binary.Uvarint(b[n:])
		if m <= 0 || uint64(len(b)-n-m) < length || shared > uint64(len(k.buf)-start) {
			return errBlock
		}
		end := len(k.buf)
		k.buf = append(k.buf, k.buf[start:start+int(shared)]...)
		k.buf = append(k.buf, b[n+m:n+m+int(length)]...)
		k.ends = append(k.ends, len(k.buf))
		start, b = end, b[n+m+int(length):]
	}
	return nil
}

// search returns the index of the first id not below the given one.
func (k *block) search(id []byte) int {
	lo, hi := 0, len(k.ends)
	for lo < hi {
		if mid := (lo + hi) / 2; bytes.Compare(k.id(mid), id) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// reader is what is read from: a database or a snapshot of it.
type reader interface {
	pebble.Reader
}

// get copies a value; nil without an error if there is none.
func get(r reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read key space %c: %w", key[0], err)
	}
	v = append([]byte{}, v...)
	return v, closer.Close()
}

func span(prefix []byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: prefix, UpperBound: afterKey(prefix)}
}

// some tells whether there is any key.
func some(r reader, o *pebble.IterOptions) (bool, error) {
	it, err := r.NewIter(o)
	if err != nil {
		return false, err
	}
	ok := it.First()
	return ok, errors.Join(it.Error(), it.Close())
}

// list walks the ids of one list in ascending order.
type list struct {
	prefix []byte
	key    []byte // of the last seek
	it     *pebble.Iterator
	block  block
	pos    int
	valid  bool
}

func openList(r reader, prefix []byte) (*list, error) {
	it, err := r.NewIter(span(prefix))
	if err != nil {
		return nil, fmt.Errorf("open list: %w", err)
	}
	return &list{prefix: prefix, it: it}, nil
}

// nearBlocks is how many blocks are read one after the other before the
// iterator is sent to look for an id.
const nearBlocks = 3

// seek goes to the first id not below the given one.
func (l *list) seek(id []byte) (bool, error) {
	if l.valid && bytes.Compare(id, l.block.id(0)) >= 0 {
		for range nearBlocks {
			if bytes.Compare(id, l.block.id(l.block.len()-1)) <= 0 {
				l.pos = l.block.search(id)
				return true, nil
			}
			// The next block begins above all ids of this one, so whichever of
			// them is not below id is the first.
			if ok, err := l.load(l.it.Next(), nil); !ok {
				return false, err
			}
		}
	}
	l.key = append(append(append(l.key[:0], l.prefix...), id...), 0)
	if !l.it.SeekLT(l.key) && !l.it.First() {
		l.valid = false
		return false, l.it.Error()
	}
	return l.load(true, id)
}

// load decodes the block at the iterator, or the next one if that ends below id.
func (l *list) load(ok bool, id []byte) (bool, error) {
	for ; ok; ok = l.it.Next() {
		v, err := l.it.ValueAndErr()
		if err != nil {
			return false, err
		}
		if err := l.block.decode(v); err != nil {
			return false, err
		}
		if l.pos = l.block.search(id); l.pos < l.block.len() {
			l.valid = true
			return true, nil
		}
	}
	l.valid = false
	return false, l.it.Error()
}

func (l *list) next() (bool, error) {
	if l.pos++; l.pos < l.block.len() {
		return true, nil
	}
	return l.load(l.it.Next(), nil)
}

func (l *list) id() []byte { return l.block.id(l.pos) }

func (l *list) close() error { return l.it.Close() }

// edit is one id that joins or leaves a list.
type edit struct {
	id  []byte
	add bool
}

// editList works out what edits, sorted by id, do to the list whose blocks begin
// with prefix: the new values of keys, nil for those that go, and how many ids
// the list has then. The count is negative if it needs none: only lists that
// were ever split have one. Adding what is there and removing what is not change
// nothing.
func editList(r reader, prefix, countKey []byte, edits []edit) (blocks map[string][]byte, count int, err error) {
	it, err := r.NewIter(span(prefix))
	if err != nil {
		return nil, 0, fmt.Errorf("open list: %w", err)
	}
	defer it.Close()
	blocks = map[string][]byte{}
	delta, split := 0, false
	var k block
	for len(edits) > 0 {
		var upper []byte
		var ids [][]byte
		// The block that covers the first edit: the last one that begins at or
		// below it, or the first one.
		if it.SeekLT(next(append(slices.Clone(prefix), edits[0].id...))) || it.First() {
			v, err := it.ValueAndErr()
			if err != nil {
				return nil, 0, err
			}
			if err := k.decode(v); err != nil {
				return nil, 0, err
			}
			for i := range k.len() {
				ids = append(ids, k.id(i))
			}
			blocks[string(it.Key())] = nil
			if it.Next() {
				upper = bytes.Clone(it.Key()[len(prefix):])
			}
		}
		if err := it.Error(); err != nil {
			return nil, 0, err
		}
		n := len(edits)
		if upper != nil {
			if i := slices.IndexFunc(edits, func(e edit) bool { return bytes.Compare(e.id, upper) >= 0 }); i >= 0 {
				n = i
			}
		}
		merged, d := mergeEdits(ids, edits[:n])
		edits, delta = edits[n:], delta+d
		for len(merged) > 0 {
			size := len(merged)
			if size > blockMax {
				size, split = blockFill, true
			}
			blocks[string(prefix)+string(merged[0])] = appendBlock(nil, merged[:size])
			merged = merged[size:]
		}
	}
	stored, err := get(r, countKey)
	if err != nil || stored == nil && !split {
		return blocks, -1, err
	}
	before, err := listLen(r, prefix, countKey)
	return blocks, before + delta, err
}

// mergeEdits returns the ids after the edits and by how much they have grown.
func mergeEdits(ids [][]byte, edits []edit) ([][]byte, int) {
	before := len(ids)
	out := make([][]byte, 0, len(ids)+len(edits))
	for len(edits) > 0 || len(ids) > 0 {
		c := 1
		if len(edits) == 0 {
			c = -1
		} else if len(ids) > 0 {
			c = bytes.Compare(ids[0], edits[0].id)
		}
		if c < 0 {
			out, ids = append(out, ids[0]), ids[1:]
			continue
		}
		if edits[0].add {
			out = append(out, edits[0].id)
		}
		if c == 0 {
			ids = ids[1:]
		}
		edits = edits[1:]
	}
	return out, len(out) - before
}

func blockLen(it *pebble.Iterator) (int, error) {
	v, err := it.ValueAndErr()
	if err != nil {
		return 0, err
	}
	c, n := binary.Uvarint(v)
	if n <= 0 {
		return 0, errBlock
	}
	return int(c), nil
}

// listLen counts a list without walking it.
func listLen(r reader, prefix, countKey []byte) (int, error) {
	stored, err := get(r, countKey)
	if err != nil {
		return 0, err
	}
	if stored != nil {
		c, n := binary.Uvarint(stored)
		if n <= 0 {
			return 0, errBlock
		}
		return int(c), nil
	}
	it, err := r.NewIter(span(prefix))
	if err != nil {
		return 0, fmt.Errorf("open list: %w", err)
	}
	count := 0
	for ok := it.First(); ok; ok = it.Next() {
		n, err := blockLen(it)
		if err != nil {
			return 0, errors.Join(err, it.Close())
		}
		count += n
	}
	return count, it.Close()
}
