package layer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/s2"
	"gocloud.dev/blob"

	"github.com/securly/sync/services/ingest/internal/durable"
	"github.com/securly/sync/services/platform/record"
)

// Entry is one record of a layer. Body is an encoded typev1.Record.
type Entry struct {
	ID   []byte
	Hash record.Hash
	// Deleted tells that the record's status is tobedeleted.
	Deleted bool
	// Joined is what a user's roles and profiles were made of, if HasJoined;
	// WorkedOutOrg tells that the primary org follows from the roles.
	Joined                  uint64
	HasJoined, WorkedOutOrg bool
	Body                    []byte
	// mark of the row that the record was made of. Read does not return it.
	mark Mark
}

const (
	entryDeleted = 1 << iota
	entryJoined
	entryWorkedOutOrg
)

// entryHead is the fixed part of an encoded entry: hash, flags, joined.
const entryHead = record.HashSize + 1 + 8

// magic begins every layer file; its last character is the version.
const magic = "securly-sync layer 2\n"

// maxEntry bounds what a damaged file can make a reader allocate.
const maxEntry = 64 << 20

// ErrDamaged means that a layer file cannot be read.
var ErrDamaged = errors.New("the layer file is damaged")

// Writer writes a layer file. Entries must come in ascending order of their ids.
type Writer struct {
	file    *durable.Writer
	packed  *s2.Writer
	out     *bufio.Writer
	marks   *durable.Writer
	marked  *bufio.Writer
	head    []byte
	records int64
}

// Create begins a layer file; it is there once Close has succeeded.
func Create(ctx context.Context, bucket *blob.Bucket, key string) (*Writer, error) {
	file, err := durable.Create(ctx, bucket, key, "application/octet-stream")
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	marks, err := durable.Create(ctx, bucket, MarksKey(key), "application/octet-stream")
	if err != nil {
		file.Abort()
		return nil, fmt.Errorf("write layer: %w", err)
	}
	packed := s2.NewWriter(file, s2.WriterConcurrency(1), s2.WriterBlockSize(256<<10))
	w := &Writer{
		file: file, packed: packed, out: bufio.NewWriterSize(packed, 256<<10),
		marks: marks, marked: bufio.NewWriterSize(marks, 64<<10),
	}
	_, _ = w.out.WriteString(magic) // an error stays in the writer
	return w, nil
}

// Add appends an entry.
func (w *Writer) Add(e Entry) error {
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
	head := append(append(w.head[:0], e.Hash[:]...), flags)
	head = binary.LittleEndian.AppendUint64(head, e.Joined)
	head = binary.AppendUvarint(head, uint64(len(e.ID)))
	head = binary.AppendUvarint(head, uint64(len(e.Body)))
	_, _ = w.out.Write(head)
	_, _ = w.out.Write(e.ID)
	if _, err := w.out.Write(e.Body); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	w.head = e.mark.append(head[:0])
	if _, err := w.marked.Write(w.head); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	w.records++
	return nil
}

// Records counts what was added.
func (w *Writer) Records() int64 { return w.records }

// Close makes the file visible.
func (w *Writer) Close() error {
	if err := errors.Join(w.out.Flush(), w.packed.Close(), w.marked.Flush()); err != nil {
		w.Abort()
		return fmt.Errorf("write layer: %w", err)
	}
	if err := errors.Join(w.marks.Close(), w.file.Close()); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

// Abort gives the file up. It does nothing after Close.
func (w *Writer) Abort() {
	w.marks.Abort()
	w.file.Abort()
}

// Read yields the entries of a layer file in order. An entry is valid until the
// next one.
func Read(ctx context.Context, bucket *blob.Bucket, key string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r, err := bucket.NewReader(ctx, key, nil)
		if err != nil {
			yield(Entry{}, fmt.Errorf("read layer file %s: %w", key, err))
			return
		}
		defer func() { _ = r.Close() }()
		in := bufio.NewReaderSize(s2.NewReader(r), 256<<10)
		head := make([]byte, len(magic))
		if _, err := io.ReadFull(in, head); err != nil || !bytes.Equal(head, []byte(magic)) {
			yield(Entry{}, fmt.Errorf("read layer file %s: %w", key, ErrDamaged))
			return
		}
		var buf []byte
		fixed := make([]byte, entryHead)
		for {
			e, next, err := readEntry(in, fixed, buf)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Entry{}, fmt.Errorf("read layer file %s: %w", key, err))
				return
			}
			buf = next
			if !yield(e, nil) {
				return
			}
		}
	}
}

func readEntry(in *bufio.Reader, head, buf []byte) (Entry, []byte, error) {
	var e Entry
	if n, err := io.ReadFull(in, head); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			return e, nil, io.EOF
		}
		return e, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	e.Hash = record.Hash(head[:record.HashSize])
	flags := head[record.HashSize]
	e.Deleted, e.HasJoined, e.WorkedOutOrg = flags&entryDeleted != 0, flags&entryJoined != 0, flags&entryWorkedOutOrg != 0
	e.Joined = binary.LittleEndian.Uint64(head[record.HashSize+1:])
	id, err1 := binary.ReadUvarint(in)
	body, err2 := binary.ReadUvarint(in)
	if err1 != nil || err2 != nil || id+body > maxEntry {
		return e, nil, ErrDamaged
	}
	n := int(id + body)
	if cap(buf) < n {
		buf = make([]byte, 2*n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(in, buf); err != nil {
		return e, nil, fmt.Errorf("%w: the file ends too early", ErrDamaged)
	}
	e.ID, e.Body = buf[:id:id], buf[id:]
	return e, buf, nil
}
