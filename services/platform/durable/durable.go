// Package durable writes blobs that survive a power cut once Close has
// returned. Object stores promise that by themselves; files in a folder only do
// once they have been synced.
package durable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gocloud.dev/blob"
)

// Writer writes one blob, which is there once Close has succeeded.
type Writer struct {
	*blob.Writer
	cancel context.CancelFunc
	disk   *os.File // the file behind the blob, if it is one
}

// Create begins a blob.
func Create(ctx context.Context, bucket *blob.Bucket, key, contentType string) (*Writer, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &Writer{cancel: cancel}
	var err error
	w.Writer, err = bucket.NewWriter(ctx, key, &blob.WriterOptions{
		ContentType: contentType, DisableContentTypeDetection: true,
		BeforeWrite: func(as func(any) bool) error {
			var f *os.File
			if !as(&f) {
				return nil
			}
			// A handle of our own: the bucket closes its own before it renames the file.
			var err error
			w.disk, err = os.Open(f.Name())
			return err
		},
	})
	if err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("write %s: %w", key, err), w.closeDisk())
	}
	return w, nil
}

// Close makes the blob visible and durable.
func (w *Writer) Close() (err error) {
	defer w.cancel()
	defer func() { err = errors.Join(err, w.closeDisk()) }()
	if err := w.Writer.Close(); err != nil || w.disk == nil {
		return err
	}
	if err := w.disk.Sync(); err != nil {
		return fmt.Errorf("write to disk: %w", err)
	}
	dir, err := os.Open(filepath.Dir(w.disk.Name()))
	if err != nil {
		return fmt.Errorf("write folder to disk: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("write folder to disk: %w", err)
	}
	return nil
}

// Abort gives the blob up. It does nothing after Close.
func (w *Writer) Abort() {
	w.cancel()
	_ = w.Writer.Close() // fails, as it is told to
	_ = w.closeDisk()
}

func (w *Writer) closeDisk() error {
	if w.disk == nil {
		return nil
	}
	err := w.disk.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
