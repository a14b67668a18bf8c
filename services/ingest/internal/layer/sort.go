// Package layer keeps the last good records of a source: per entity one file,
// ordered by the bytes of the sourcedId. It is built with a sort that needs a
// bounded amount of memory and is read as a stream.
package layer

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sync"

	"github.com/securly/sync/services/platform/record"
)

// Part says what an item is a part of.
type Part uint8

// The parts, in the order in which they come for one id.
const (
	PartRecord Part = iota
	PartRole
	PartProfile
)

// Item is one row on its way into a layer. Body is an encoded *typev1.Record,
// *typev1.Role or *typev1.UserProfile.
type Item struct {
	ID      []byte
	Part    Part
	Deleted bool
	Bare    bool
	Overlay bool // see Entry
	// Row orders items with the same id and part.
	Row  int
	Hash record.Hash
	// Mark of the row's text; zero for a row that must be read again each time.
	Mark Mark
	Body []byte
}

const (
	flagDeleted = 1 << iota
	flagBare
	flagOverlay
)

// Sorter orders items by (ID, Part, Row). Its buffers are filled by one
// goroutine each; what does not fit into memory goes to files in dir.
type Sorter struct {
	dir   string
	limit int

	mu   sync.Mutex
	runs []source
}

// NewSorter returns a sorter whose buffers hold up to limit bytes each.
func NewSorter(dir string, limit int) *Sorter { return &Sorter{dir: dir, limit: limit} }

// Buffer is one goroutine's way into a Sorter.
type Buffer struct {
	s      *Sorter
	arena  []byte
	items  []place
	common []byte // what the ids in the buffer begin with
}

// place is where an item is. key holds the first bytes of the id in which ids
// of the buffer differ, so that comparing two ids rarely touches the ids.
type place struct {
	key   uint64
	start uint32
}

// Buffer returns a new buffer.
func (s *Sorter) Buffer() *Buffer { return &Buffer{s: s} }

// Add copies an item into the buffer.
func (b *Buffer) Add(it Item) error {
	size := itemHead + len(it.ID) + len(it.Body)
	if len(b.arena) > 0 && len(b.arena)+size > b.s.limit {
		if err := b.spill(); err != nil {
			return err
		}
	}
	if need := len(b.arena) + size; need > cap(b.arena) {
		// append would grow a large slice by a quarter at a time.
		larger := make([]byte, len(b.arena), max(need, min(b.s.limit, max(64<<10, 4*cap(b.arena)))))
		copy(larger, b.arena)
		b.arena = larger
	}
	if len(b.items) == 0 {
		b.common = append(b.common[:0], it.ID...)
	} else if !bytes.HasPrefix(it.ID, b.common) {
		n := 0
		for n < len(b.common) && n < len(it.ID) && b.common[n] == it.ID[n] {
			n++
		}
		b.common = b.common[:n]
	}
	b.items = append(b.items, place{start: uint32(len(b.arena))})
	b.arena = appendItem(b.arena, it)
	return nil
}

// Close hands what is left to the sorter.
func (b *Buffer) Close() {
	if len(b.items) == 0 {
		return
	}
	b.sort()
	b.s.add(&memoryRun{arena: b.arena, items: b.items})
	b.arena, b.items = nil, nil
}

func (b *Buffer) sort() {
	skip := len(b.common)
	for i := range b.items {
		p := &b.items[i]
		id := itemID(b.arena[p.start:])[skip:]
		var first [8]byte
		copy(first[:], id)
		p.key = binary.BigEndian.Uint64(first[:])
	}
	slices.SortFunc(b.items, func(x, y place) int {
		if x.key != y.key {
			if x.key < y.key {
				return -1
			}
			return 1
		}
		return compareEncoded(b.arena[x.start:], b.arena[y.start:])
	})
}

// spill writes a sorted run and empties the buffer.
func (b *Buffer) spill() error {
	b.sort()
	f, err := os.CreateTemp(b.s.dir, "run-*")
	if err != nil {
		return fmt.Errorf("make a file to sort in: %w", err)
	}
	b.s.add(&fileRun{f: f})
	w := bufio.NewWriterSize(f, 256<<10)
	for _, p := range b.items {
		item := b.arena[p.start:]
		if _, err := w.Write(item[:itemSize(item)]); err != nil {
			return fmt.Errorf("write a sorted run: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write a sorted run: %w", err)
	}
	b.arena, b.items = b.arena[:0], b.items[:0]
	return nil
}

// Empty tells whether no item was added. All buffers must be closed before.
func (s *Sorter) Empty() bool { return len(s.runs) == 0 }

func (s *Sorter) add(r source) {
	s.mu.Lock()
	s.runs = append(s.runs, r)
	s.mu.Unlock()
}

// Close removes the files of the sorter. It may be called at any time after
// the last use, also when something failed.
func (s *Sorter) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	for _, r := range s.runs {
		failed = errors.Join(failed, r.close())
	}
	s.runs = nil
	return failed
}

// Items yields all items in order. An item is valid until the next one.
// All buffers must be closed before.
func (s *Sorter) Items() iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		cursors := make([]*cursor, 0, len(s.runs))
		for _, r := range s.runs {
			c := &cursor{}
			if err := r.open(c); err != nil {
				yield(Item{}, err)
				return
			}
			ok, err := c.next()
			if err != nil {
				yield(Item{}, err)
				return
			}
			if ok {
				cursors = append(cursors, c)
			}
		}
		h := newHeap(cursors, func(a, b *cursor) int { return compareEncoded(a.item, b.item) })
		for h.len() > 0 {
			c := h.top()
			if !yield(decodeItem(c.item), nil) {
				return
			}
			ok, err := c.next()
			if err != nil {
				yield(Item{}, err)
				return
			}
			h.fix(ok)
		}
	}
}

type source interface {
	open(*cursor) error
	close() error
}

type memoryRun struct {
	arena []byte
	items []place
}

func (m *memoryRun) open(c *cursor) error { c.memory = m; return nil }
func (m *memoryRun) close() error         { m.arena, m.items = nil, nil; return nil }

type fileRun struct{ f *os.File }

func (r *fileRun) open(c *cursor) error {
	if _, err := r.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read a sorted run: %w", err)
	}
	c.in = bufio.NewReaderSize(r.f, 128<<10)
	return nil
}

func (r *fileRun) close() error { return errors.Join(r.f.Close(), os.Remove(r.f.Name())) }

// cursor walks through one run; item is its encoded current item.
type cursor struct {
	memory *memoryRun
	at     int
	in     *bufio.Reader
	buf    []byte
	item   []byte
}

func (c *cursor) next() (bool, error) {
	if c.memory != nil {
		if c.at == len(c.memory.items) {
			return false, nil
		}
		item := c.memory.arena[c.memory.items[c.at].start:]
		c.item = item[:itemSize(item)]
		c.at++
		return true, nil
	}
	head, err := c.in.Peek(itemHead)
	if errors.Is(err, io.EOF) && len(head) == 0 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read a sorted run: %w", err)
	}
	n := itemSize(head)
	c.buf = slices.Grow(c.buf[:0], n)[:n]
	if _, err := io.ReadFull(c.in, c.buf); err != nil {
		return false, fmt.Errorf("read a sorted run: %w", err)
	}
	c.item = c.buf
	return true, nil
}

// An encoded item: lengths of id and body, part, flags, row, hash, mark, id, body.
const (
	itemMark = 4 + 4 + 1 + 1 + 4 + record.HashSize
	itemHead = itemMark + markSize
)

func appendItem(b []byte, it Item) []byte {
	var flags byte
	if it.Deleted {
		flags |= flagDeleted
	}
	if it.Bare {
		flags |= flagBare
	}
	if it.Overlay {
		flags |= flagOverlay
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(it.ID)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(it.Body)))
	b = append(b, byte(it.Part), flags)
	b = binary.LittleEndian.AppendUint32(b, uint32(it.Row))
	b = append(b, it.Hash[:]...)
	b = it.Mark.append(b)
	b = append(b, it.ID...)
	return append(b, it.Body...)
}

func itemSize(b []byte) int {
	return itemHead + int(binary.LittleEndian.Uint32(b)) + int(binary.LittleEndian.Uint32(b[4:]))
}

func itemID(b []byte) []byte {
	return b[itemHead : itemHead+int(binary.LittleEndian.Uint32(b))]
}

func decodeItem(b []byte) Item {
	return Item{
		ID:      itemID(b),
		Part:    Part(b[8]),
		Deleted: b[9]&flagDeleted != 0,
		Bare:    b[9]&flagBare != 0,
		Overlay: b[9]&flagOverlay != 0,
		Row:     int(binary.LittleEndian.Uint32(b[10:])),
		Hash:    record.Hash(b[14:itemMark]),
		Mark:    readMark(b[itemMark:]),
		Body:    b[itemHead+int(binary.LittleEndian.Uint32(b)) : itemSize(b)],
	}
}

func compareEncoded(a, b []byte) int {
	if c := bytes.Compare(itemID(a), itemID(b)); c != 0 {
		return c
	}
	if c := cmp.Compare(a[8], b[8]); c != 0 {
		return c
	}
	return cmp.Compare(binary.LittleEndian.Uint32(a[10:]), binary.LittleEndian.Uint32(b[10:]))
}
