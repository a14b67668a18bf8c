package layer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/securly/sync/services/platform/record"
)

// Read yields the entries of a layer file, so many as records says, in order. An
// entry is valid until the next one.
func Read(ctx context.Context, bucket *blob.Bucket, key string, records int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r := Open(ctx, bucket, key, records)
		defer r.close()
		for {
			e, more, err := r.next()
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !more || !yield(e, nil) {
				return
			}
		}
	}
}

// Reader reads a layer file entry by entry, or passes over whole blocks.
type Reader struct {
	open func() (*blob.Reader, error)
	key  string
	file *blob.Reader // nil until something is read
	in   *bufio.Reader

	left    int64 // records in the blocks behind this one
	size    int   // of the block, as far as it is in the buffer of in
	large   []byte
	block   []byte // as it is in the file
	entries int    // of the block, which were not yet read
	last    []byte // id in the block
	packed  []byte
	buf     []byte
	rest    []byte // of the block's entries, nil before the first is read
}

// Open returns a reader of a layer file with so many records; what is wrong with
// the file shows when it is read.
func Open(ctx context.Context, bucket *blob.Bucket, key string, records int64) *Reader {
	return &Reader{key: key, left: records, open: func() (*blob.Reader, error) { return bucket.NewReader(ctx, key, nil) }}
}

func (r *Reader) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
}

// next returns the next entry, which is valid until the one behind it is read.
// False means that there is none.
func (r *Reader) next() (e Entry, more bool, err error) {
	if r.entries == 0 {
		if more, err := r.nextBlock(); err != nil || !more {
			return e, false, err
		}
	}
	if err = r.unpack(); err == nil {
		err = r.entry(&e)
	}
	if err != nil {
		return e, false, fmt.Errorf("read layer file %s: %w", r.key, err)
	}
	return e, true, nil
}

// nextBlock goes on to the next block, whatever is left of this one.
func (r *Reader) nextBlock() (more bool, err error) {
	more, err = r.advance()
	if err != nil {
		return false, fmt.Errorf("read layer file %s: %w", r.key, err)
	}
	return more, nil
}

func (r *Reader) advance() (bool, error) {
	if r.file == nil {
		if err := r.begin(); err != nil {
			return false, err
		}
	}
	_, _ = r.in.Discard(r.size) // what is buffered
	r.size, r.entries, r.rest = 0, 0, nil
	head, err := r.in.Peek(blockHead)
	switch {
	case len(head) == 0 && errors.Is(err, io.EOF) && r.left == 0:
		return false, nil
	case err != nil:
		return false, damage(err)
	}
	size := blockHead + int(binary.LittleEndian.Uint32(head[8:]))
	switch {
	case size > maxBlock:
		return false, ErrDamaged
	case size <= r.in.Size():
		r.block, err = r.in.Peek(size)
		r.size = size
	default:
		r.large = slices.Grow(r.large[:0], size)[:size]
		r.block = r.large
		_, err = io.ReadFull(r.in, r.block)
	}
	if err != nil {
		return false, damage(err)
	}
	if xxhash.Sum64(r.block[8:]) != binary.LittleEndian.Uint64(r.block) {
		return false, fmt.Errorf("%w: a block has another checksum", ErrDamaged)
	}
	rest := r.block[blockHead:]
	entries, n1 := binary.Uvarint(rest)
	id, n2 := binary.Uvarint(rest[max(n1, 0):])
	if n1 <= 0 || n2 <= 0 || entries == 0 || id > uint64(len(rest)-n1-n2) {
		return false, ErrDamaged
	}
	if entries > uint64(r.left) {
		return false, fmt.Errorf("%w: it has more records than were written", ErrDamaged)
	}
	r.left -= int64(entries)
	r.entries = int(entries)
	rest = rest[n1+n2:]
	r.last, r.packed = rest[:id:id], rest[id:]
	return true, nil
}

// begin opens the file.
func (r *Reader) begin() error {
	file, err := r.open()
	if gcerrors.Code(err) == gcerrors.NotFound {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return err
	}
	r.file, r.in = file, bufio.NewReaderSize(file, 256<<10)
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r.in, head); err != nil {
		return damage(err)
	}
	if string(head) != magic {
		return fmt.Errorf("%w: it is none, or of another version", ErrDamaged)
	}
	return nil
}

// unpack has the entries of the block ready.
func (r *Reader) unpack() error {
	if r.rest != nil {
		return nil
	}
	n, err := s2.DecodedLen(r.packed)
	if err == nil && n > maxBlock {
		err = s2.ErrTooLarge
	}
	if err == nil {
		r.buf = slices.Grow(r.buf[:0], n)
		r.buf, err = s2.Decode(r.buf[:cap(r.buf)], r.packed)
	}
	if err != nil {
		return damage(err)
	}
	r.rest = r.buf
	return nil
}

// entry takes the next entry of the block.
func (r *Reader) entry(e *Entry) error {
	raw := r.rest
	if len(raw) < entryHead {
		return ErrDamaged
	}
	id, n1 := binary.Uvarint(raw[entryHead:])
	body, n2 := binary.Uvarint(raw[entryHead+max(n1, 0):])
	start := entryHead + n1 + n2
	if n1 <= 0 || n2 <= 0 || id > maxEntry || body > maxEntry || int(id+body) > len(raw)-start {
		return ErrDamaged
	}
	size := start + int(id+body)
	if r.entries--; (r.entries == 0) != (size == len(raw)) {
		return ErrDamaged
	}
	r.rest = raw[size:]
	e.Hash = record.Hash(raw)
	flags := raw[record.HashSize]
	e.Deleted, e.HasJoined, e.WorkedOutOrg = flags&entryDeleted != 0, flags&entryJoined != 0, flags&entryWorkedOutOrg != 0
	e.before, e.Overlay = flags&entryBefore != 0, flags&entryOverlay != 0
	e.Joined = binary.LittleEndian.Uint64(raw[record.HashSize+1:])
	idEnd := start + int(id)
	e.ID, e.Body, e.raw = raw[start:idEnd:idEnd], raw[idEnd:size:size], raw[:size:size]
	return nil
}

// damage tells errors of the content from those of the way to it, which may go
// away by waiting.
func damage(err error) error {
	for _, content := range []error{io.EOF, io.ErrUnexpectedEOF, s2.ErrCorrupt, s2.ErrTooLarge, s2.ErrUnsupported} {
		if errors.Is(err, content) {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return err
}
