// Package dropbox keeps what a district drops for a source until a sync takes
// it: a list in one document, so that every change of it is one step, and the
// files as blobs. Any replica sees the same.
package dropbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/fileset"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/durable"
	"github.com/securly/sync/services/platform/errs"
)

// ErrFull means that no more fits.
var ErrFull = errs.New(codes.ResourceExhausted, "DROP_FULL", "there are too many files, or they are too large: remove some")

// Prefix is where the files of all districts are.
const Prefix = "drops/"

// SourcePrefix is where the files of a source are.
func SourcePrefix(district, source string) string { return Prefix + district + "/" + source + "/" }

// Box is the inbox of one source.
type Box struct {
	Store *state.Store
	Blobs *blob.Bucket
	Now   func() time.Time
	// District and ID of the source.
	District, ID string
	// MaxBytes bounds all files together.
	MaxBytes int64
	// Of is the source as it was when somebody signed in. Nothing is added for
	// another one that has come under its name.
	Of *ingestv1.SourceDocument
}

func (b *Box) key() string { return state.Key(b.District, b.ID) }

// change writes the list; one without files is deleted.
func (b *Box) change(ctx context.Context, change func(*ingestv1.DropDocument) error) error {
	for {
		doc, err := b.Store.Drops.Get(ctx, b.key())
		none := errors.Is(err, docstore.ErrNotFound)
		if none {
			doc.Value, err = &ingestv1.DropDocument{District: b.District, Source: b.ID}, nil
		}
		if err == nil {
			err = change(doc.Value)
		}
		if err != nil {
			return err
		}
		slices.SortFunc(doc.Value.Files, func(x, y *ingestv1.DroppedFile) int {
			return slices.Compare([]string{x.GetName(), x.GetKey()}, []string{y.GetName(), y.GetKey()})
		})
		switch empty := len(doc.Value.GetFiles()) == 0; {
		case none && empty:
			return nil
		case none:
			_, err = b.Store.Drops.Create(ctx, b.key(), doc.Value)
		case empty:
			err = b.Store.Drops.DeleteVersion(ctx, doc)
		default:
			_, err = b.Store.Drops.Update(ctx, doc)
		}
		if !errors.Is(err, docstore.ErrConflict) && !errors.Is(err, docstore.ErrExists) && !errors.Is(err, docstore.ErrNotFound) {
			return err
		}
	}
}

// without removes a file of a name, whole or half, and returns it.
func without(d *ingestv1.DropDocument, name string, half bool) (gone *ingestv1.DroppedFile) {
	d.Files = slices.DeleteFunc(d.Files, func(f *ingestv1.DroppedFile) bool {
		if f.GetName() != name || (f.GetKey() == "") != half {
			return false
		}
		gone = f
		return true
	})
	return gone
}

// add puts a file into the list, in the place of the one that has its name.
func (b *Box) add(d *ingestv1.DropDocument, f *ingestv1.DroppedFile) (replaced *ingestv1.DroppedFile, err error) {
	replaced = without(d, f.GetName(), f.GetKey() == "")
	total := f.GetSize()
	for _, other := range d.GetFiles() {
		total += other.GetSize()
	}
	if len(d.GetFiles()) >= fileset.MaxFiles || total > b.MaxBytes {
		return nil, ErrFull
	}
	d.Files = append(d.Files, f)
	return replaced, nil
}

// Begin notes that a file is being written, so that nobody takes the others for
// all; size is how much of it is there. It is called again as it grows.
func (b *Box) Begin(ctx context.Context, name string, size int64) error {
	err := b.change(ctx, func(d *ingestv1.DropDocument) error {
		_, err := b.add(d, &ingestv1.DroppedFile{Name: name, Size: size, ModifyTime: timestamppb.New(b.Now())})
		return err
	})
	if err != nil {
		return err
	}
	if err := b.still(ctx); err != nil {
		return errors.Join(err, b.forget(ctx, name, ""))
	}
	return nil
}

// Put adds a file that is complete.
func (b *Box) Put(ctx context.Context, name string, from io.Reader) error {
	f := &ingestv1.DroppedFile{Name: name, Key: SourcePrefix(b.District, b.ID) + state.NewID(), ModifyTime: timestamppb.New(b.Now())}
	w, err := durable.Create(ctx, b.Blobs, f.GetKey(), "application/octet-stream")
	if err != nil {
		return fmt.Errorf("keep what was dropped: %w", err)
	}
	if f.Size, err = io.Copy(w, from); err != nil {
		w.Abort()
		return fmt.Errorf("keep what was dropped: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("keep what was dropped: %w", err)
	}
	var replaced *ingestv1.DroppedFile
	err = b.change(ctx, func(d *ingestv1.DropDocument) (err error) {
		without(d, name, true)
		replaced, err = b.add(d, f)
		return err
	})
	if err != nil {
		return errors.Join(err, b.delete(context.WithoutCancel(ctx), f))
	}
	if err := b.still(ctx); err != nil {
		ctx := context.WithoutCancel(ctx)
		return errors.Join(err, b.forget(ctx, name, f.GetKey()), b.delete(ctx, f))
	}
	return b.delete(ctx, replaced)
}

// forget takes back what was noted for a source that is no more.
func (b *Box) forget(ctx context.Context, name, key string) error {
	return b.change(ctx, func(d *ingestv1.DropDocument) error {
		d.Files = slices.DeleteFunc(d.Files, func(f *ingestv1.DroppedFile) bool { return f.GetName() == name && f.GetKey() == key })
		return nil
	})
}

// still fails if the source is not there any more.
func (b *Box) still(ctx context.Context) error {
	if _, err := b.Store.District(ctx, b.District); err != nil {
		return err
	}
	now, err := b.Store.Source(ctx, b.District, b.ID)
	if err == nil && !proto.Equal(now.Value.GetSource().GetCreateTime(), b.Of.GetSource().GetCreateTime()) {
		return state.ErrSourceNotFound
	}
	return err
}

// Rename gives a whole file another name. Another file of that name goes, if
// replace says so.
func (b *Box) Rename(ctx context.Context, from, to string, replace bool) error {
	if from == to {
		return nil
	}
	var replaced *ingestv1.DroppedFile
	err := b.change(ctx, func(d *ingestv1.DropDocument) (err error) {
		f := without(d, from, false)
		if f == nil {
			return fs.ErrNotExist
		}
		f.Name, f.ModifyTime = to, timestamppb.New(b.Now())
		replaced, err = b.add(d, f)
		if err == nil && replaced != nil && !replace {
			return fs.ErrExist
		}
		return err
	})
	if err != nil {
		return err
	}
	return b.delete(ctx, replaced)
}

// Remove removes a file.
func (b *Box) Remove(ctx context.Context, name string) error {
	var gone *ingestv1.DroppedFile
	err := b.change(ctx, func(d *ingestv1.DropDocument) error {
		gone = without(d, name, false)
		if base, half := halfOf(name); gone == nil && half {
			gone = without(d, base, true)
		}
		if gone == nil {
			return fs.ErrNotExist
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.delete(ctx, gone)
}

func (b *Box) delete(ctx context.Context, f *ingestv1.DroppedFile) error {
	if f.GetKey() == "" {
		return nil
	}
	if err := b.Blobs.Delete(ctx, f.GetKey()); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("delete what was dropped: %w", err)
	}
	return nil
}

func halfOf(name string) (string, bool) {
	n := len(name) - len(fileset.Half)
	if n > 0 && name[n:] == fileset.Half {
		return name[:n], true
	}
	return "", false
}

// List returns the files, by name. Those that are being written have names that
// say so.
func (b *Box) List(ctx context.Context) ([]connector.Dropped, error) {
	doc, err := b.Store.Drops.Get(ctx, b.key())
	if errors.Is(err, docstore.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return Files(doc.Value), nil
}

// Files of a document.
func Files(d *ingestv1.DropDocument) []connector.Dropped {
	out := make([]connector.Dropped, 0, len(d.GetFiles()))
	for _, f := range d.GetFiles() {
		name := f.GetName()
		if f.GetKey() == "" {
			name += fileset.Half
		}
		out = append(out, connector.Dropped{Name: name, Key: f.GetKey(), Size: f.GetSize(), Time: f.GetModifyTime().AsTime()})
	}
	return out
}

// Open reads a file.
func (b *Box) Open(ctx context.Context, f connector.Dropped) (io.ReadCloser, error) {
	r, err := b.Blobs.NewReader(ctx, f.Key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, fs.ErrNotExist // removed since
	}
	if err != nil {
		return nil, fmt.Errorf("read what was dropped: %w", err)
	}
	return r, nil
}

// Take removes files, but not those that have come under their names since.
func (b *Box) Take(ctx context.Context, files []connector.Dropped) error {
	var gone []*ingestv1.DroppedFile
	err := b.change(ctx, func(d *ingestv1.DropDocument) error {
		gone = nil
		var left []*ingestv1.DroppedFile
		for i, f := range Files(d) {
			if slices.Contains(files, f) {
				gone = append(gone, d.GetFiles()[i])
			} else {
				left = append(left, d.GetFiles()[i])
			}
		}
		d.Files = left
		return nil
	})
	for _, f := range gone {
		err = errors.Join(err, b.delete(ctx, f))
	}
	return err
}

// Clear removes all files and tells how many there were.
func (b *Box) Clear(ctx context.Context) (int, error) {
	files, err := b.List(ctx)
	if err != nil {
		return 0, err
	}
	return len(files), b.Take(ctx, files)
}
