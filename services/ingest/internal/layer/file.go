package layer

import (
	"bufio"
	"bytes"
	"cmp"
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

	"github.com/securly/sync/services/platform/durable"
	"github.com/securly/sync/services/platform/record"
)

// Entry is one record of a layer. Body is an encoded typev1.Record.
type Entry struct {
	ID   []byte
	Hash record.Hash
	// Deleted tells that the record's status is tobedeleted.
	Deleted bool
	// Overlay tells that it only says something of a record that others make.
	Overlay bool
	// Joined is what a user's roles and profiles were made of, if HasJoined;
	// WorkedOutOrg tells that the primary org follows from the roles.
	Joined                  uint64
	HasJoined, WorkedOutOrg bool
	Body                    []byte
	// mark of the row that the record was made of. Read does not return it.
	mark Mark
	// before tells that it is what a record was; see Change.
	before bool
	// raw is the entry as Read has found it.
	raw []byte
}

const (
	entryDeleted = 1 << iota
	entryJoined
	entryWorkedOutOrg
	entryBefore
	entryOverlay
)

// entryHead is the fixed part of an encoded entry: hash, flags, joined.
const entryHead = record.HashSize + 1 + 8

// magic begins every layer file; its last character is the version.
const magic = "securly-sync layer 2\n"

// maxEntry bounds what a damaged file can make a reader allocate.
const maxEntry = 64 << 20

// ErrDamaged means that a layer file is gone, or not as it was written.
var ErrDamaged = errors.New("the layer file is damaged")

// Damage says which layer file is damaged.
type Damage struct {
	// Source is empty for the one whose package is read.
	Source, Entity string
	Err            error
}

func (d *Damage) Error() string { return fmt.Sprintf("layer of %s: %v", d.Entity, d.Err) }

// Unwrap returns the cause.
func (d *Damage) Unwrap() error { return d.Err }

// Writer writes a layer file, and beside it the marks of its records and, where
// they are asked for, the differences from the layer file before it. Entries
// must come in ascending order of their ids.
type Writer struct {
	records *entries
	marks   *durable.Writer
	marked  *bufio.Writer
	mark    []byte
	changes *entries // nil if nobody asked
}

// entries is a file of entries.
type entries struct {
	file   *durable.Writer
	sum    *xxhash.Digest // of what is in the file
	packed *s2.Writer
	out    *bufio.Writer
	head   []byte
	n      int64
}

// Create begins a layer file; it is there once Close has succeeded.
func Create(ctx context.Context, bucket *blob.Bucket, key string, changes bool) (_ *Writer, err error) {
	w := &Writer{}
	defer func() {
		if err != nil {
			w.Abort()
			err = fmt.Errorf("write layer: %w", err)
		}
	}()
	if w.records, err = createEntries(ctx, bucket, key); err != nil {
		return nil, err
	}
	if w.marks, err = durable.Create(ctx, bucket, MarksKey(key), "application/octet-stream"); err != nil {
		return nil, err
	}
	w.marked = bufio.NewWriterSize(w.marks, 64<<10)
	if changes {
		w.changes, err = createEntries(ctx, bucket, ChangesKey(key))
	}
	return w, err
}

func createEntries(ctx context.Context, bucket *blob.Bucket, key string) (*entries, error) {
	file, err := durable.Create(ctx, bucket, key, "application/octet-stream")
	if err != nil {
		return nil, err
	}
	w := &entries{file: file, sum: xxhash.New()}
	w.packed = s2.NewWriter(io.MultiWriter(file, w.sum), s2.WriterConcurrency(2), s2.WriterBlockSize(256<<10))
	w.out = bufio.NewWriterSize(w.packed, 256<<10)
	_, _ = w.out.WriteString(magic) // an error stays in the writer
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
	head := append(append(w.head[:0], e.Hash[:]...), flags)
	head = binary.LittleEndian.AppendUint64(head, e.Joined)
	head = binary.AppendUvarint(head, uint64(len(e.ID)))
	head = binary.AppendUvarint(head, uint64(len(e.Body)))
	w.head = head
	_, _ = w.out.Write(head)
	_, _ = w.out.Write(e.ID)
	if _, err := w.out.Write(e.Body); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	w.n++
	return nil
}

// copy appends an entry as Read has found it.
func (w *entries) copy(e Entry) error {
	if _, err := w.out.Write(e.raw); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	w.n++
	return nil
}

func (w *entries) flush() error { return errors.Join(w.out.Flush(), w.packed.Close()) }

// Add appends an entry.
func (w *Writer) Add(e Entry) error {
	if err := w.records.add(e); err != nil {
		return err
	}
	return w.addMark(e)
}

// copy is Add for an entry as Read has found it.
func (w *Writer) copy(e Entry) error {
	if err := w.records.copy(e); err != nil {
		return err
	}
	return w.addMark(e)
}

func (w *Writer) addMark(e Entry) error {
	w.mark = e.mark.append(w.mark[:0])
	if _, err := w.marked.Write(w.mark); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

// Records counts what was added.
func (w *Writer) Records() int64 { return w.records.n }

// Changes counts the entries of the differences, where they were asked for.
func (w *Writer) Changes() int64 { return w.changes.n }

// Checksum is that of the layer file. It is known after Close.
func (w *Writer) Checksum() uint64 { return w.records.sum.Sum64() }

// Close makes the files visible.
func (w *Writer) Close() error {
	err := errors.Join(w.records.flush(), w.marked.Flush())
	if w.changes != nil {
		err = errors.Join(err, w.changes.flush())
	}
	if err != nil {
		w.Abort()
		return fmt.Errorf("write layer: %w", err)
	}
	err = w.marks.Close()
	if w.changes != nil {
		err = errors.Join(err, w.changes.file.Close())
	}
	if err := errors.Join(err, w.records.file.Close()); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

// Abort gives the files up. It does nothing after Close.
func (w *Writer) Abort() {
	for _, e := range []*entries{w.records, w.changes} {
		if e != nil {
			_ = e.packed.Close() // ends its goroutine; what it writes is dropped
			e.file.Abort()
		}
	}
	if w.marks != nil {
		w.marks.Abort()
	}
}

// Sound tells whether a layer file has the bytes that were written.
func Sound(ctx context.Context, bucket *blob.Bucket, key string, checksum uint64) (bool, error) {
	r, err := bucket.NewReader(ctx, key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read layer file %s: %w", key, err)
	}
	sum := xxhash.New()
	_, err = io.Copy(sum, r)
	if err := errors.Join(err, r.Close()); err != nil {
		return false, fmt.Errorf("read layer file %s: %w", key, err)
	}
	return sum.Sum64() == checksum, nil
}

// Read yields the entries of a layer file, so many as records says, in order. An
// entry is valid until the next one.
func Read(ctx context.Context, bucket *blob.Bucket, key string, records int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		fail := func(err error) { yield(Entry{}, fmt.Errorf("read layer file %s: %w", key, err)) }
		r, err := bucket.NewReader(ctx, key, nil)
		if gcerrors.Code(err) == gcerrors.NotFound {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if err != nil {
			fail(err)
			return
		}
		defer func() { _ = r.Close() }()
		in := bufio.NewReaderSize(s2.NewReader(r), 256<<10)
		head := make([]byte, len(magic))
		if _, err := io.ReadFull(in, head); err != nil {
			fail(damage(err))
			return
		}
		if !bytes.Equal(head, []byte(magic)) {
			fail(ErrDamaged)
			return
		}
		large, n := []byte(nil), 0
		for range records {
			_, _ = in.Discard(n) // what is buffered
			var e Entry
			if e, n, err = readEntry(in, &large); err != nil {
				fail(err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
		_, _ = in.Discard(n)
		if _, err := in.Peek(1); err == nil {
			fail(fmt.Errorf("%w: it has more records than were written", ErrDamaged))
		} else if !errors.Is(err, io.EOF) {
			fail(damage(err))
		}
	}
}

// damage tells errors of the content from those of the way to it, which may go
// away by waiting.
func damage(err error) error {
	for _, content := range []error{io.EOF, io.ErrUnexpectedEOF, s2.ErrCorrupt, s2.ErrCRC, s2.ErrTooLarge, s2.ErrUnsupported} {
		if errors.Is(err, content) {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return err
}

// readEntry reads the next entry, which is valid until n bytes are discarded;
// large is for one that does not fit into the buffer, and n is then 0.
func readEntry(in *bufio.Reader, large *[]byte) (e Entry, n int, err error) {
	head, err := in.Peek(entryHead + 2*binary.MaxVarintLen32)
	if len(head) < entryHead {
		return e, 0, damage(err)
	}
	id, n1 := binary.Uvarint(head[entryHead:])
	body, n2 := binary.Uvarint(head[entryHead+max(n1, 0):])
	switch {
	case n1 <= 0 || n2 <= 0 && err != nil:
		return e, 0, damage(cmp.Or(err, ErrDamaged))
	case n2 <= 0 || id > maxEntry || body > maxEntry:
		return e, 0, ErrDamaged
	}
	start := entryHead + n1 + n2
	size := start + int(id+body)
	raw := *large
	if size <= in.Size() {
		n = size
		raw, err = in.Peek(size)
	} else {
		raw = slices.Grow(raw[:0], size)[:size]
		*large = raw
		_, err = io.ReadFull(in, raw)
	}
	if err != nil {
		return e, 0, damage(err)
	}
	e.Hash = record.Hash(raw)
	flags := raw[record.HashSize]
	e.Deleted, e.HasJoined, e.WorkedOutOrg = flags&entryDeleted != 0, flags&entryJoined != 0, flags&entryWorkedOutOrg != 0
	e.before, e.Overlay = flags&entryBefore != 0, flags&entryOverlay != 0
	e.Joined = binary.LittleEndian.Uint64(raw[record.HashSize+1:])
	e.ID, e.Body, e.raw = raw[start:start+int(id):start+int(id)], raw[start+int(id):size:size], raw
	return e, n, nil
}
