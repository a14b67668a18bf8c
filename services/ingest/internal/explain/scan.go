package explain

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"
	"gocloud.dev/gcerrors"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/mapping"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/ingest/internal/pipeline"
	"github.com/securly/sync/services/platform/record"
)

const (
	// maxRows bounds how many rows of a package are told of each kind.
	maxRows = 20
	// maxCell bounds what is told of a cell, in bytes.
	maxCell = 2000
)

// scan looks for an id in a package. It works on the text of the files, not on
// what they are taken for, so that it also finds rows that could not be read.
type scan struct {
	entity     typev1.Entity
	id         string
	references bool            // look also at rows of others, if there is no own one
	hide       bool            // tell no values
	gone       map[string]bool // persons of whom none are told
	mapped     *mapping.Mapping
	own        func(name string, header []string) match // of a guardian file
}

// match tells whether a row is of the id.
type match func(fields []string) bool

// of reads a package, a copy of it on the local disk, into out.
func (s scan) of(ctx context.Context, file *os.File, out *ingestv1.PackageEvidence) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read a package: %w", err)
	}
	z, err := zip.NewReader(file, info.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return fmt.Errorf("read a package: %w", err)
	}
	z.RegisterDecompressor(zip.Deflate, func(in io.Reader) io.ReadCloser { return flate.NewReader(in) })
	if s.own != nil {
		return s.guardians(ctx, z.File, out)
	}
	for _, f := range z.File {
		if err := s.mappedFile(ctx, f, out); err != nil {
			return err
		}
	}
	if len(out.GetRows()) > 0 {
		return nil
	}
	var others []*zip.File
	for _, f := range z.File {
		kind, name := kindOf(f.Name)
		switch {
		case kind != nil && pipeline.EntityOf(*kind) != s.entity:
			others = append(others, f)
		case table(name):
			if err := s.file(ctx, f, name, s.column(kind), nil, &out.Rows); err != nil {
				return err
			}
		}
	}
	if !s.references || len(out.GetRows()) > 0 {
		return nil
	}
	for _, f := range others {
		_, name := kindOf(f.Name)
		if err := s.file(ctx, f, name, "", nil, &out.References); err != nil {
			return err
		}
	}
	return nil
}

// mappedFile adds the rows that a mapping makes the id of.
func (s scan) mappedFile(ctx context.Context, f *zip.File, out *ingestv1.PackageEvidence) error {
	if s.mapped == nil {
		return nil
	}
	_, name := kindOf(f.Name)
	for _, r := range s.mapped.Of(record.EntityName(s.entity)) {
		if !r.Reads(name) {
			continue
		}
		if err := s.file(ctx, f, name, "", s.mappedBy(r), &out.Rows); err != nil {
			return err
		}
	}
	return nil
}

// mappedBy returns what tells the rows that a mapping makes the id of.
func (s scan) mappedBy(by *mapping.Records) func(name string, header []string) match {
	return func(name string, header []string) match {
		made, missing := by.Bind(name, header)
		if len(missing) > 0 {
			return func([]string) bool { return false } // it makes nothing of the file
		}
		key := slices.Index(made.Header(), "sourcedId")
		return func(fields []string) bool {
			if key < 0 || len(fields) < made.Width() || !made.Wants(fields) {
				return false
			}
			id, _ := made.Value(key, fields)
			return id == s.id
		}
	}
}

// guardians adds the rows of a guardian file: those of the guardian, or else those
// that only name somebody.
func (s scan) guardians(ctx context.Context, files []*zip.File, out *ingestv1.PackageEvidence) error {
	for _, f := range files {
		_, name := kindOf(f.Name)
		if !table(name) {
			continue
		}
		if err := s.file(ctx, f, name, "", s.own, &out.Rows); err != nil {
			return err
		}
		if s.references && len(out.GetRows()) == 0 {
			if err := s.file(ctx, f, name, "", nil, &out.References); err != nil {
				return err
			}
		}
	}
	return nil
}

// table tells whether a file has records.
func table(name string) bool {
	return strings.EqualFold(path.Ext(name), ".csv") && !strings.EqualFold(name, "manifest.csv")
}

// kindOf tells which file of a roster an entry of a zip is; nil for none.
func kindOf(entry string) (*normalise.Kind, string) {
	name := path.Base(strings.ReplaceAll(entry, `\`, "/"))
	for _, k := range normalise.Kinds() {
		if strings.EqualFold(k.File(), name) {
			return &k, name
		}
	}
	return nil, name
}

// column is where rows have the id of the record that they are of. Empty means
// anywhere.
func (s scan) column(kind *normalise.Kind) string {
	switch {
	case kind == nil:
		return ""
	case *kind == normalise.Roles, *kind == normalise.UserProfiles:
		return "usersourcedid"
	}
	return "sourcedid"
}

// file adds the rows of one file that have the id, where that is in a known
// column or told by bind, or else anywhere, alone or in a list. What cannot
// be read is passed over: the findings of its sync say so.
func (s scan) file(ctx context.Context, f *zip.File, name, column string, bind func(name string, header []string) match, out *[]*ingestv1.RowEvidence) error {
	in, err := f.Open()
	if err != nil {
		return nil // see above
	}
	defer func() { _ = in.Close() }()
	text, _, err := csvtext.Decode(in)
	if err != nil {
		return nil // see above
	}
	rows := csvtext.NewReader(text)
	header, comma, err := rows.Header()
	if err != nil {
		return nil // see above
	}
	rows.Expect(len(header))
	at := -1
	if column != "" {
		at = slices.IndexFunc(header, func(h string) bool { return csvtext.Fold(h) == column })
	}
	parser, plain := csvtext.NewParser(comma), s.plain()
	has := match(func(fields []string) bool { return s.has(fields, at, len(header)) })
	if bind != nil {
		plain, has = nil, bind(name, header)
	}
	hidden := s.hidden(name, header)
	var batch csvtext.Batch
	for len(*out) < maxRows {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := rows.ReadBatch(&batch); err != nil {
			return nil // the end, or see above
		}
		for i := range batch.Len() {
			row, line := batch.Row(i)
			if plain != nil && !bytes.Contains(line, plain) {
				continue
			}
			fields, _, err := parser.Fields(row, line)
			if err != nil || !has(fields) {
				continue
			}
			evidence := &ingestv1.RowEvidence{File: name, Row: int32(row.Number)}
			if !hidden(fields) {
				evidence.Values = values(header, fields)
			}
			*out = append(*out, evidence)
			if column == "sourcedid" && at >= 0 || len(*out) == maxRows {
				return nil // of rows with the same id the first counts
			}
		}
	}
	return nil
}

// plain is what a row with the id has in it whatever it is quoted and encoded
// like; nil if that cannot be told.
func (s scan) plain() []byte {
	for i := range len(s.id) {
		if s.id[i] >= 0x80 || s.id[i] == '"' {
			return nil
		}
	}
	return []byte(s.id)
}

// has tells whether a row has the id. In one with too many or too few cells it
// may be anywhere.
func (s scan) has(fields []string, at, width int) bool {
	if at >= 0 && at < len(fields) && len(fields) == width {
		return csvtext.Clean(fields[at]) == s.id
	}
	is := func(id string) bool { return id == s.id }
	return slices.ContainsFunc(fields, func(cell string) bool { return is(csvtext.Clean(cell)) || at < 0 && listed(cell, is) })
}

// listed tells whether a cell is a list with an id.
func listed(cell string, is func(id string) bool) bool {
	for item := range strings.FieldsFuncSeq(cell, func(r rune) bool { return r == ',' || r == ';' }) {
		if is(csvtext.Clean(item)) {
			return true
		}
	}
	return false
}

// hidden returns what tells whether the values of a row are not told: also a row
// of somebody else says something of an erased person whom it names, or whose id
// a mapping makes of it.
func (s scan) hidden(name string, header []string) func(fields []string) bool {
	if s.hide || len(s.gone) == 0 {
		return func([]string) bool { return s.hide }
	}
	var made []*mapping.Rows
	if s.mapped != nil {
		for _, by := range s.mapped.Records {
			if !by.Reads(name) {
				continue
			}
			if rows, missing := by.Bind(name, header); len(missing) == 0 {
				made = append(made, rows)
			}
		}
	}
	gone := func(id string) bool { return s.gone[id] }
	names := func(cell string) bool { return gone(csvtext.Clean(cell)) || listed(cell, gone) }
	return func(fields []string) bool {
		for _, rows := range made {
			if len(fields) < rows.Width() {
				return true // nobody can tell whose it is
			}
			for i := range rows.Header() {
				if v, _ := rows.Value(i, fields); names(v) {
					return true
				}
			}
		}
		return slices.ContainsFunc(fields, names)
	}
}

func values(header, fields []string) []*ingestv1.SourceValue {
	var out []*ingestv1.SourceValue
	for i, value := range fields {
		column := ""
		if i < len(header) {
			column = csvtext.Visible(header[i])
		}
		if secret(column) || column == "" && csvtext.Clean(value) == "" {
			continue
		}
		if len(fields) != len(header) && slices.ContainsFunc(header, secret) {
			value = "" // what is in which column cannot be told
		}
		if len(value) > maxCell {
			value = strings.ToValidUTF8(value[:maxCell], "") + "…"
		}
		out = append(out, &ingestv1.SourceValue{Column: column, Value: strings.Clone(value)})
	}
	return out
}

// secret columns are never shown.
func secret(column string) bool {
	column = csvtext.Fold(column)
	return strings.Contains(column, "password") || strings.Contains(column, "passwd")
}

// look reads a kept package into evidence, which says so if it cannot be read.
func (e *Explainer) look(ctx context.Context, s scan, u *ingestv1.UploadDocument, out *ingestv1.PackageEvidence) (err error) {
	in, err := e.Blobs.NewReader(ctx, u.GetKey(), nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		out.Unread = noLongerKept
		return nil
	}
	if err != nil {
		return fmt.Errorf("open a package: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	f, err := os.CreateTemp(e.TempDir, "explain-*")
	if err != nil {
		return fmt.Errorf("copy a package: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := in.WriteTo(f); err != nil {
		return fmt.Errorf("copy a package: %w", err)
	}
	if err := s.of(ctx, f, out); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		out.Unread = "the package cannot be read"
	}
	return nil
}

const noLongerKept = "the package is no longer kept"
