package layer

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"
	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"

	"github.com/securly/sync/services/platform/durable"
	"github.com/securly/sync/services/platform/record"
)

// A file of entries is its magic and then blocks, each of them compressed for
// itself, so that one in which nothing changes goes over to the next file as it
// is. A block is:
//
//	checksum of the rest, size of what follows (little endian)
//	number of entries, length of the last id (varints), last id
//	the entries, compressed
//
// An entry is its hash, flags, joined, the lengths of id and body, id, body.

// magic begins every layer file; its last character is the version.
const magic = "securly-sync layer 3\n"

const (
	// blockSize is how large the entries of a block are at least. If one entry in
	// a hundred changes, blocks have to be small for most of them to stay.
	blockSize = 4 << 10
	// batchSize is how much is compressed and written at a time.
	batchSize = 256 << 10
	// blockHead is the fixed part of a block.
	blockHead = 8 + 4
	// entryHead is the fixed part of an entry.
	entryHead = record.HashSize + 1 + 8
	// maxEntry bounds what a damaged file can make a reader allocate.
	maxEntry = 64 << 20
	maxBlock = 3 * maxEntry
)

const (
	entryDeleted = 1 << iota
	entryJoined
	entryWorkedOutOrg
	entryBefore
	entryOverlay
)

// entries is a file of entries on its way; pack writes what the others gather.
type entries struct {
	file  *durable.Writer
	sum   *xxhash.Digest // of what is in the file
	limit int            // of a block
	n     int64

	batch      *batch
	full, free chan *batch
	packing    *errgroup.Group
	ctx        context.Context // ends when packing fails
}

// batch is a sequence of blocks.
type batch struct {
	raw    []byte
	blocks []block
	open   block // the one that is being filled
}

// block is a part of raw. One that is whole is as it is in the file, else it has
// entries, the last of which has the id that begins at last.
type block struct {
	start, end    int
	last, lastEnd int
	entries       int
	whole         bool
}

func createEntries(ctx context.Context, bucket *blob.Bucket, key string) (*entries, error) {
	file, err := durable.Create(ctx, bucket, key, "application/octet-stream")
	if err != nil {
		return nil, err
	}
	w := &entries{file: file, sum: xxhash.New(), limit: blockSize, batch: &batch{}, full: make(chan *batch, 1), free: make(chan *batch, 3)}
	w.free <- &batch{}
	w.free <- &batch{}
	w.packing, w.ctx = errgroup.WithContext(ctx)
	full := w.full
	w.packing.Go(func() error { return w.pack(full) })
	return w, nil
}

func (w *entries) add(e Entry) error {
	var flags byte
	if e.Deleted {
		flags |= entryDeleted
	}
	if e.HasJoined {
		flags |= entryJoined
	}
	if e.WorkedOutOrg {
		flags |= entryWorkedOutOrg
	}
	if e.before {
		flags |= entryBefore
	}
	if e.Overlay {
		flags |= entryOverlay
	}
	b := w.batch
	raw := append(append(b.raw, e.Hash[:]...), flags)
	raw = binary.LittleEndian.AppendUint64(raw, e.Joined)
	raw = binary.AppendUvarint(raw, uint64(len(e.ID)))
	raw = binary.AppendUvarint(raw, uint64(len(e.Body)))
	last := len(raw)
	b.raw = append(append(raw, e.ID...), e.Body...)
	return w.added(last, len(e.ID))
}

// copy appends an entry as it was read.
func (w *entries) copy(e Entry) error {
	b := w.batch
	last := len(b.raw) + len(e.raw) - len(e.Body) - len(e.ID)
	b.raw = append(b.raw, e.raw...)
	return w.added(last, len(e.ID))
}

func (w *entries) added(last, size int) error {
	w.n++
	open := &w.batch.open
	open.entries++
	open.last, open.lastEnd = last, last+size
	if len(w.batch.raw)-open.start < w.limit {
		return nil
	}
	return w.end()
}

// align ends the open block, unless it is so small that the next one should
// rather go on with it. It tells whether no block is open.
func (w *entries) align() (bool, error) {
	if n := w.batch.open.entries; n > 0 && len(w.batch.raw)-w.batch.open.start < blockSize/2 {
		return false, nil
	} else if n == 0 {
		return true, nil
	}
	return true, w.end()
}

// end ends the open block.
func (w *entries) end() error {
	b := w.batch
	b.open.end = len(b.raw)
	b.blocks = append(b.blocks, b.open)
	b.open = block{start: len(b.raw)}
	if len(b.raw) < batchSize {
		return nil
	}
	return w.hand()
}

// copyBlock appends a whole block; none may be open.
func (w *entries) copyBlock(raw []byte, entries int) error {
	w.n += int64(entries)
	w.batch.raw = append(w.batch.raw, raw...)
	w.batch.open.whole = true
	return w.end()
}

// hand has the batch packed and takes another.
func (w *entries) hand() error {
	select {
	case w.full <- w.batch:
	case <-w.ctx.Done():
		return fmt.Errorf("write layer: %w", context.Cause(w.ctx))
	}
	select {
	case w.batch = <-w.free:
		return nil
	case <-w.ctx.Done():
		w.batch = &batch{}
		return fmt.Errorf("write layer: %w", context.Cause(w.ctx))
	}
}

// flush writes what is left.
func (w *entries) flush() error {
	if w.batch.open.entries > 0 {
		if err := w.end(); err != nil {
			return err
		}
	}
	if err := w.hand(); err != nil {
		return err
	}
	return w.stop()
}

// stop ends the packing.
func (w *entries) stop() error {
	if w.full == nil {
		return nil
	}
	close(w.full)
	w.full = nil
	return w.packing.Wait()
}

func (w *entries) abort() {
	_ = w.stop() // what it writes is dropped
	w.file.Abort()
}

// pack compresses batches and writes them.
func (w *entries) pack(full <-chan *batch) error {
	out := append(make([]byte, 0, batchSize), magic...)
	for b := range full {
		for _, k := range b.blocks {
			raw := b.raw[k.start:k.end]
			if k.whole {
				out = append(out, raw...)
				continue
			}
			at := len(out)
			out = slices.Grow(out, blockHead)[:at+blockHead]
			out = binary.AppendUvarint(out, uint64(k.entries))
			out = binary.AppendUvarint(out, uint64(k.lastEnd-k.last))
			out = append(out, b.raw[k.last:k.lastEnd]...)
			out = slices.Grow(out, s2.MaxEncodedLen(len(raw)))
			out = out[:len(out)+len(s2.Encode(out[len(out):cap(out)], raw))]
			binary.LittleEndian.PutUint32(out[at+8:], uint32(len(out)-at-blockHead))
			binary.LittleEndian.PutUint64(out[at:], xxhash.Sum64(out[at+8:]))
		}
		if _, err := w.file.Write(out); err != nil {
			return fmt.Errorf("write layer: %w", err)
		}
		_, _ = w.sum.Write(out) // never fails
		out = out[:0]
		if cap(b.raw) > 4*batchSize {
			b.raw = nil // an entry was very large
		}
		*b = batch{raw: b.raw[:0], blocks: b.blocks[:0]}
		w.free <- b // never blocks: it has room for all
	}
	return nil
}
