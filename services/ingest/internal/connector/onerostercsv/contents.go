// Package onerostercsv reads OneRoster CSV packages: it inspects what was sent
// before it is accepted, and works out from manifest and headers what each file
// is.
package onerostercsv

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/mapping"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/platform/errs"
)

// Limits bound what a package may unfold to.
type Limits struct {
	Entries int
	// Bytes of all entries together, uncompressed.
	Bytes int64
	// Ratio of uncompressed to compressed size of an entry of more than
	// RatioFrom bytes; 0 means any.
	Ratio     int64
	RatioFrom int64
}

// DefaultLimits leave room for a district of a million students.
func DefaultLimits() Limits {
	return Limits{Entries: 1000, Bytes: 8 << 30, Ratio: 200, RatioFrom: 32 << 20}
}

// AcceptedLimits are for packages that were inspected when they arrived: loose
// files were packed by us, so that how well they pack says nothing.
func AcceptedLimits() Limits {
	l := DefaultLimits()
	l.Ratio = 0
	return l
}

// Contents are the entries of a package that passed inspection.
type Contents struct {
	files    map[normalise.Kind]*zip.File
	manifest *zip.File
	notices  []notice
	// Of a package that is mapped: how, and its CSV files by their names in lower
	// case.
	mapped    *mapping.Mapping
	delivered map[string]*zip.File
}

type notice struct{ file, code, message string }

const manifestName = "manifest.csv"

// otherFiles are files of the standard that hold nothing of a roster.
var otherFiles = map[string]bool{
	"categories.csv": true, "classresources.csv": true, "courseresources.csv": true, "lineitems.csv": true,
	"resources.csv": true, "results.csv": true, "lineitemlearningobjectiveids.csv": true, "lineitemscorescales.csv": true,
	"resultlearningobjectiveids.csv": true, "resultscorescales.csv": true, "scorescales.csv": true, "userresources.csv": true,
}

// rosterFiles maps lower-case names to kinds.
var rosterFiles = func() map[string]normalise.Kind {
	m := map[string]normalise.Kind{}
	for _, k := range normalise.Kinds() {
		m[strings.ToLower(k.File())] = k
	}
	return m
}()

// Known returns what tells whether a package may hold a file of some name,
// whatever its case.
func Known(mapped *mapping.Mapping) func(name string) bool {
	return func(name string) bool {
		name = strings.ToLower(name)
		if mapped != nil {
			return slices.Contains(csvNames, path.Ext(name))
		}
		_, ok := rosterFiles[name]
		return ok || name == manifestName
	}
}

// Reads returns what tells whether a file of some name is read of a package.
func Reads(mapped *mapping.Mapping) func(name string) bool {
	if mapped == nil || len(mapped.Records) == 0 {
		return Known(mapped)
	}
	return func(name string) bool { return Known(mapped)(name) && mapped.Reads(name) }
}

// csvNames are what the names of CSV files end in.
var csvNames = []string{".csv", ".tsv", ".tab", ".txt"}

func refused(reason, format string, args ...any) *errs.Error {
	return errs.Errorf(codes.InvalidArgument, reason, format, args...)
}

var drive = regexp.MustCompile(`^[a-zA-Z]:`)

// BaseName returns the file's name without its folders, or an error for a name
// that points outside of the package.
func BaseName(name string) (base string, inFolder bool, err error) {
	slashed := strings.ReplaceAll(name, `\`, "/")
	if strings.HasPrefix(slashed, "/") || drive.MatchString(slashed) {
		return "", false, refused("UPLOAD_TRAVERSAL", "the package holds a file with an absolute name (%q): pack the files without their path", shorten(name)).With("file", shorten(name))
	}
	for part := range strings.SplitSeq(slashed, "/") {
		if part == ".." {
			return "", false, refused("UPLOAD_TRAVERSAL", "the package holds a file with \"..\" in its name (%q): pack the files without their path", shorten(name)).With("file", shorten(name))
		}
	}
	return path.Base(slashed), strings.Contains(strings.TrimPrefix(slashed, "./"), "/"), nil
}

func shorten(name string) string {
	if len(name) > 100 {
		return strings.ToValidUTF8(name[:100], "") + "…"
	}
	return strings.ToValidUTF8(name, "?")
}

// Inspect opens a package and checks everything that can be known without
// reading it through. Its errors say what to do about it. How the files are
// mapped is nil for those of OneRoster.
func Inspect(r io.ReaderAt, size int64, limits Limits, mapped *mapping.Mapping) (*Contents, error) {
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // BaseName looks at the paths
		return nil, notAZip(r, size, err)
	}
	z.RegisterDecompressor(zip.Deflate, func(in io.Reader) io.ReadCloser { return flate.NewReader(in) })
	if len(z.File) > limits.Entries {
		return nil, refused("UPLOAD_TOO_LARGE", "the zip holds %d files, more than the %d that are allowed", len(z.File), limits.Entries)
	}
	c := &Contents{files: map[normalise.Kind]*zip.File{}, mapped: mapped, delivered: map[string]*zip.File{}}
	names := map[string]string{} // base name in lower case to the name in the zip
	var total uint64
	for _, f := range z.File {
		base, inFolder, err := BaseName(f.Name)
		if err != nil {
			return nil, err
		}
		total += f.UncompressedSize64
		switch {
		case f.Flags&0x1 != 0:
			return nil, refused("UPLOAD_ENCRYPTED", "the zip is encrypted (%s): pack it without a password", shorten(f.Name)).With("file", base)
		case total > uint64(limits.Bytes):
			return nil, refused("UPLOAD_TOO_LARGE", "the zip unfolds to more than the %d bytes that are allowed", limits.Bytes)
		case limits.Ratio > 0 && f.UncompressedSize64 > uint64(limits.RatioFrom) && f.UncompressedSize64/uint64(limits.Ratio) > f.CompressedSize64:
			return nil, refused("UPLOAD_BOMB", "%s unfolds to more than %d times its size, which no roster does", shorten(f.Name), limits.Ratio).With("file", base)
		case f.FileInfo().IsDir(), strings.Contains("/"+f.Name, "/__MACOSX/"), strings.HasPrefix(base, "."), base == "Thumbs.db":
			continue
		}
		lower := strings.ToLower(base)
		kind, roster := rosterFiles[lower]
		if !Known(mapped)(base) {
			switch {
			case mapped != nil:
				c.notice(base, "file-unknown", "the file is no CSV file and was not read")
			case otherFiles[lower]:
				c.notice(base, "file-ignored", "the file holds nothing of a roster and was not read")
			default:
				c.notice(base, "file-unknown", "the file is not one of OneRoster's and was not read")
			}
			continue
		}
		if first, dup := names[lower]; dup {
			return nil, refused("UPLOAD_AMBIGUOUS", "the package holds %s twice (%q and %q): remove one", base, shorten(first), shorten(f.Name)).With("file", base)
		}
		names[lower] = f.Name
		if inFolder && mapped == nil {
			c.notice(base, "file-in-folder", "the file lies in a folder; the standard wants it at the top of the zip")
		}
		switch {
		case mapped != nil:
			c.delivered[lower] = f
		case roster:
			c.files[kind] = f
			if base != kind.File() {
				c.notice(kind.File(), "file-name-case", "the file is written "+base+"; it was read as if it were right")
			}
		default:
			c.manifest = f
		}
		if err := sniff(f, base); err != nil {
			return nil, err
		}
	}
	switch {
	case mapped != nil && len(c.delivered) == 0:
		return nil, refused("UPLOAD_NO_ROSTER", "the package holds no CSV file")
	case mapped == nil && len(c.files) == 0 && c.manifest == nil:
		return nil, refused("UPLOAD_NO_ROSTER", "the package holds no file of a OneRoster roster: it needs users.csv, classes.csv and enrollments.csv")
	}
	return c, nil
}

func notAZip(r io.ReaderAt, size int64, cause error) error {
	head := make([]byte, 4)
	n, _ := r.ReadAt(head, 0)
	switch {
	case n == 4 && string(head[:2]) == "PK":
		return refused("UPLOAD_DAMAGED", "the zip is damaged or was cut off (%d bytes arrived): send it again", size)
	case errors.Is(cause, zip.ErrFormat), errors.Is(cause, io.EOF), size < 4:
		return refused("UPLOAD_NOT_ZIP", "the file is not a zip: send a zip, or the CSV files themselves with their names ending in .csv")
	}
	return fmt.Errorf("open zip: %w", cause)
}

// sniff refuses what is not text as early as possible.
func sniff(f *zip.File, base string) error {
	in, err := f.Open()
	if err != nil {
		if errors.Is(err, zip.ErrAlgorithm) {
			return refused("UPLOAD_COMPRESSION", "%s is compressed in a way that is not read: use the usual zip compression (Deflate)", base).With("file", base)
		}
		return damaged(base)
	}
	defer func() { _ = in.Close() }()
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged(base)
	}
	if uint64(n) < min(f.UncompressedSize64, uint64(len(head))) {
		return damaged(base)
	}
	if _, err := csvtext.Sniff(head[:n]); err != nil {
		return refused("UPLOAD_ENCODING", "%s: %w", base, err).With("file", base)
	}
	return nil
}

func damaged(base string) error {
	return refused("UPLOAD_DAMAGED", "%s in the zip is damaged: make the zip anew", base).With("file", base)
}

func (c *Contents) notice(file, code, message string) {
	c.notices = append(c.notices, notice{shorten(file), code, message})
}

// Files lists what will be read.
func (c *Contents) Files() []*ingestv1.UploadedFile {
	var out []*ingestv1.UploadedFile
	for _, name := range slices.Sorted(maps.Keys(c.delivered)) {
		f := c.delivered[name]
		base, _, _ := BaseName(f.Name) // it passed inspection
		out = append(out, &ingestv1.UploadedFile{Name: base, Size: float64(f.UncompressedSize64)})
	}
	if c.manifest != nil {
		out = append(out, &ingestv1.UploadedFile{Name: manifestName, Size: float64(c.manifest.UncompressedSize64)})
	}
	for _, k := range normalise.Kinds() {
		if f := c.files[k]; f != nil {
			out = append(out, &ingestv1.UploadedFile{Name: k.File(), Size: float64(f.UncompressedSize64)})
		}
	}
	return out
}
