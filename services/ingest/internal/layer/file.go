package layer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
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
	// raw is the entry as it was read.
	raw []byte
}

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

// Add appends an entry.
func (w *Writer) Add(e Entry) error {
	if err := w.records.add(e); err != nil {
		return err
	}
	return w.addMark(e.mark)
}

// copy is Add for an entry as it was read.
func (w *Writer) copy(e Entry) error {
	if err := w.records.copy(e); err != nil {
		return err
	}
	return w.addMark(e.mark)
}

// copyBlock appends the block at which r stands, whose first entry is the one at
// a position. It does nothing if the block before is not whole.
func (w *Writer) copyBlock(r *Reader, known *Known, at int) (bool, error) {
	if whole, err := w.records.align(); err != nil || !whole {
		return false, err
	}
	if err := w.records.copyBlock(r.block, r.entries); err != nil {
		return false, err
	}
	for i := range r.entries {
		var m Mark
		if known != nil {
			m, _ = known.at(at + i)
		}
		if err := w.addMark(m); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (w *Writer) addMark(m Mark) error {
	w.mark = m.append(w.mark[:0])
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
			e.abort()
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
