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

	"github.com/securly/sync/services/platform/record"
)

// Entry is one record of a layer. Body is an encoded typev1.Record.
type Entry struct {
	ID   []byte
	Hash record.Hash
	// Deleted tells that the record's status is tobedeleted.
	Deleted bool
	Body    []byte
}

// magic begins every layer file; its last character is the version.
const magic = "securly-sync layer 1\n"

// maxEntry bounds what a damaged file can make a reader allocate.
const maxEntry = 64 << 20

// ErrDamaged means that a layer file cannot be read.
var ErrDamaged = errors.New("the layer file is damaged")

// Writer writes a layer file. Entries must come in ascending order of their ids.
type Writer struct {
	blob    *blob.Writer
	packed  *s2.Writer
	out     *bufio.Writer
	cancel  context.CancelFunc
	head    []byte
	records int64
}

// Create begins a layer file; it is there once Close has succeeded.
func Create(ctx context.Context, bucket *blob.Bucket, key string) (*Writer, error) {
	ctx, cancel := context.WithCancel(ctx)
	b, err := bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/octet-stream", DisableContentTypeDetection: true})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("write layer file %s: %w", key, err)
	}
	packed := s2.NewWriter(b, s2.WriterConcurrency(1), s2.WriterBlockSize(256<<10))
	w := &Writer{blob: b, packed: packed, out: bufio.NewWriterSize(packed, 256<<10), cancel: cancel}
	_, _ = w.out.WriteString(magic) // an error stays in the writer
	return w, nil
}

// Add appends an entry.
func (w *Writer) Add(e Entry) error {
	head := append(w.head[:0], e.Hash[:]...)
	deleted := byte(0)
	if e.Deleted {
		deleted = 1
	}
	head = append(head, deleted)
	head = binary.AppendUvarint(head, uint64(len(e.ID)))
	head = binary.AppendUvarint(head, uint64(len(e.Body)))
	w.head = head
	w.records++
	_, _ = w.out.Write(head)
	_, _ = w.out.Write(e.ID)
	if _, err := w.out.Write(e.Body); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

// Records counts what was added.
func (w *Writer) Records() int64 { return w.records }

// Close makes the file visible.
func (w *Writer) Close() error {
	defer w.cancel()
	if err := errors.Join(w.out.Flush(), w.packed.Close()); err != nil {
		w.cancel()
		_ = w.blob.Close()
		return fmt.Errorf("write layer: %w", err)
	}
	if err := w.blob.Close(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

// Abort gives the file up. It does nothing after Close.
func (w *Writer) Abort() {
	w.cancel()
	_ = w.blob.Close()
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
		for {
			e, next, err := readEntry(in, buf)
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

func readEntry(in *bufio.Reader, buf []byte) (Entry, []byte, error) {
	var e Entry
	head := make([]byte, 0, record.HashSize+1)
	head = head[:cap(head)]
	if n, err := io.ReadFull(in, head); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			return e, nil, io.EOF
		}
		return e, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	e.Hash, e.Deleted = record.Hash(head[:record.HashSize]), head[record.HashSize] == 1
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
