// Package upload receives packages: it takes them in as they arrive, inspects
// them as a whole, and keeps only what is fit to be read.
package upload

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/flate"
	"gocloud.dev/blob"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/mapping"
	"github.com/securly/sync/services/platform/durable"
	"github.com/securly/sync/services/platform/errs"
)

// maxFiles bounds how many loose files one upload may have.
const maxFiles = 100

// Package is an upload that passed inspection. Close removes it from the local disk.
type Package struct {
	Files []*ingestv1.UploadedFile
	Size  int64
	// Digest of the names and contents of the files that Pack was given.
	Digest []byte
	// Contents are open until Close.
	Contents *onerostercsv.Contents
	file     *os.File
}

// Receive takes in one upload, a zip or loose CSV files, up to maxBytes. The
// files are packed into one zip, so that all packages are the same later.
// recv returns the messages behind the header, and mapped how the files of the
// source are mapped, nil for those of OneRoster.
func Receive(dir string, maxBytes int64, mapped *mapping.Mapping, recv func() (*ingestv1.UploadRequest, error)) (*Package, error) {
	return pack(dir, maxBytes, mapped, func(in *intake) error {
		for !in.ended {
			m, err := recv()
			if errors.Is(err, io.EOF) {
				return invalid("UPLOAD_CUT_OFF", "the upload was cut off before its end: send it again")
			}
			if err != nil {
				return err
			}
			if err := in.take(m); err != nil {
				return err
			}
		}
		return nil
	})
}

// Pack makes a package of files that a connector has fetched, by the same rules.
func Pack(dir string, maxBytes int64, mapped *mapping.Mapping, files []connector.File) (*Package, error) {
	digest := sha256.New()
	p, err := pack(dir, maxBytes, mapped, func(in *intake) error {
		buf := make([]byte, 256<<10)
		for _, f := range files {
			if err := in.file(f.Name); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(digest, "%q", in.name) // a hash takes everything
			if err := in.local(f.Path, io.MultiWriter(digest, chunks{in}), buf); err != nil {
				return err
			}
		}
		return in.end()
	})
	if err == nil {
		p.Digest = digest.Sum(nil)
	}
	return p, err
}

// chunks is an intake as a writer.
type chunks struct{ in *intake }

func (c chunks) Write(p []byte) (int, error) { return len(p), c.in.chunk(p) }

// local takes the content of a file on the local disk.
func (in *intake) local(path string, to io.Writer, buf []byte) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("pack files: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Nothing but Read and Write, so that the buffer is used.
	_, err = io.CopyBuffer(to, struct{ io.Reader }{f}, buf)
	return err
}

func pack(dir string, maxBytes int64, mapped *mapping.Mapping, fill func(*intake) error) (_ *Package, err error) {
	f, err := os.CreateTemp(dir, "upload-*")
	if err != nil {
		return nil, fmt.Errorf("receive upload: %w", err)
	}
	p := &Package{file: f}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	in := &intake{out: f, left: maxBytes, max: maxBytes, known: onerostercsv.Known(mapped)}
	if err := fill(in); err != nil {
		return nil, err
	}
	limits := onerostercsv.DefaultLimits()
	if in.loose != nil {
		limits = onerostercsv.AcceptedLimits()
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("receive upload: %w", err)
	}
	p.Size = info.Size()
	if p.Contents, err = onerostercsv.Inspect(f, p.Size, limits, mapped); err != nil {
		return nil, err
	}
	p.Files = p.Contents.Files()
	return p, nil
}

// Save copies the package to the bucket.
func (p *Package) Save(ctx context.Context, bucket *blob.Bucket, key string) error {
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("keep upload: %w", err)
	}
	w, err := durable.Create(ctx, bucket, key, "application/zip")
	if err != nil {
		return fmt.Errorf("keep upload: %w", err)
	}
	if _, err := io.Copy(w, p.file); err != nil {
		w.Abort()
		return fmt.Errorf("keep upload: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("keep upload: %w", err)
	}
	return nil
}

// Close removes the local copy.
func (p *Package) Close() error {
	return errors.Join(p.file.Close(), os.Remove(p.file.Name()))
}

func invalid(reason, format string, args ...any) *errs.Error {
	return errs.Errorf(codes.InvalidArgument, reason, format, args...)
}

// intake follows the messages of one upload.
type intake struct {
	out       *os.File
	known     func(name string) bool
	max, left int64
	files     int
	name      string
	begun     bool // the current file has content
	zip       bool // the upload is a zip, not loose files
	loose     *zip.Writer
	entry     io.Writer
	ended     bool
}

func (in *intake) take(m *ingestv1.UploadRequest) error {
	switch v := m.GetMessage().(type) {
	case *ingestv1.UploadRequest_File:
		return in.file(v.File.GetFilename())
	case *ingestv1.UploadRequest_Chunk:
		return in.chunk(v.Chunk)
	case *ingestv1.UploadRequest_End:
		return in.end()
	}
	return invalid("UPLOAD_ORDER", "the upload has a message that does not belong there: after the header come files and their chunks, then the end")
}

func (in *intake) file(name string) error {
	if err := in.finishFile(); err != nil {
		return err
	}
	if in.files++; in.files > maxFiles {
		return invalid("UPLOAD_TOO_LARGE", "the upload has more than %d files: send them as one zip", maxFiles)
	}
	if in.zip {
		return invalid("UPLOAD_MIXED", "the upload has a zip and other files: send one zip, or the CSV files")
	}
	base, _, err := onerostercsv.BaseName(name)
	if err != nil {
		return err
	}
	in.name, in.begun = base, false
	return nil
}

func (in *intake) chunk(data []byte) error {
	if in.files == 0 {
		return invalid("UPLOAD_ORDER", "the upload has content before it names a file")
	}
	if in.left -= int64(len(data)); in.left < 0 {
		return invalid("UPLOAD_TOO_LARGE", "the upload is larger than the %d bytes that are allowed", in.max)
	}
	if len(data) == 0 {
		return nil
	}
	if !in.begun {
		if err := in.begin(data); err != nil {
			return err
		}
	}
	var out io.Writer = in.out
	if in.entry != nil {
		out = in.entry
	}
	if _, err := out.Write(data); err != nil {
		return fmt.Errorf("receive upload: %w", err)
	}
	return nil
}

// begin finds out by its first bytes what a file is.
func (in *intake) begin(data []byte) error {
	in.begun = true
	if len(data) >= 2 && string(data[:2]) == "PK" {
		if in.loose != nil {
			return invalid("UPLOAD_MIXED", "the upload has a zip and other files: send one zip, or the CSV files")
		}
		in.zip = true
		return nil
	}
	return in.beginLoose()
}

func (in *intake) beginLoose() error {
	if !strings.EqualFold(path.Ext(in.name), ".csv") && !in.known(in.name) {
		return invalid("UPLOAD_NOT_ZIP", "the file is not a zip: send a zip, or the CSV files themselves with their names ending in .csv")
	}
	if in.loose == nil {
		in.loose = zip.NewWriter(in.out)
		in.loose.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
			return flate.NewWriter(w, flate.BestSpeed)
		})
	}
	var err error
	if in.entry, err = in.loose.Create(in.name); err != nil {
		return fmt.Errorf("receive upload: %w", err)
	}
	return nil
}

// finishFile sees to files without content.
func (in *intake) finishFile() error {
	if in.files == 0 || in.begun {
		return nil
	}
	in.begun = true
	return in.beginLoose()
}

func (in *intake) end() error {
	if in.files == 0 {
		return invalid("UPLOAD_EMPTY", "the upload has no file: send a zip or CSV files in the form field \"file\"")
	}
	if err := in.finishFile(); err != nil {
		return err
	}
	in.ended = true
	if in.loose != nil {
		if err := in.loose.Close(); err != nil {
			return fmt.Errorf("receive upload: %w", err)
		}
	}
	return nil
}
