package onerostercsv

import (
	"archive/zip"
	"io"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/mapping"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/platform/errs"
)

// Mapping checks a mapping to the files of OneRoster; that of nil is nil. Its
// error is a *mapping.Error.
func Mapping(m *ingestv1.Mapping) (*mapping.Mapping, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // the files of most sources are not mapped
	}
	return mapping.Compile(m, func(entity string) []string {
		for _, k := range normalise.Kinds() {
			if k.String() == entity && k != normalise.UserProfiles {
				return k.Columns()
			}
		}
		return nil
	})
}

// MappingOf returns how the files of a source are mapped; nil if they are
// OneRoster's. A guardian file may have any name, and is mapped elsewhere.
func MappingOf(s *ingestv1.Source) (*mapping.Mapping, error) {
	if s.GetGuardians() != nil {
		return &mapping.Mapping{}, nil
	}
	m, err := Mapping(s.GetMapping())
	if err != nil {
		return nil, errs.Errorf(codes.FailedPrecondition, "MAPPING_INVALID", "the mapping of source %s cannot be used any more, correct it: %w", s.GetSourceId(), err)
	}
	return m, nil
}

// CSVFile is a file of a package whose names are its sender's.
type CSVFile struct {
	Name string
	Open func() (io.ReadCloser, error)
}

// CSV returns the files of a package that is mapped, by name, but its manifest.
func (c *Contents) CSV() []CSVFile {
	var out []CSVFile
	for _, name := range slices.Sorted(maps.Keys(c.delivered)) {
		if f := c.delivered[name]; name != manifestName {
			base, _, _ := BaseName(f.Name) // it passed inspection
			out = append(out, CSVFile{Name: base, Open: f.Open})
		}
	}
	return out
}

// part is a file that records of a kind are read from.
type part struct {
	kind normalise.Kind
	name string
	// entry is nil unless there is just one file that the mapping means; fit are
	// the names of all.
	entry   *zip.File
	fit     []string
	records *mapping.Records
	head    *head // nil if it cannot be read
}

// parts returns what a kind is read from.
func (c *Contents) parts(k normalise.Kind) []*part {
	if c.mapped == nil {
		if entry := c.files[k]; entry != nil {
			return []*part{{kind: k, name: k.File(), entry: entry}}
		}
		return nil
	}
	var out []*part
	names := slices.Sorted(maps.Keys(c.delivered))
	for _, r := range c.mapped.Of(k.String()) {
		p := &part{kind: k, name: r.File, records: r}
		for _, name := range names {
			if r.Reads(name) {
				p.entry = c.delivered[name]
				p.name, _, _ = BaseName(p.entry.Name) // it passed inspection
				p.fit = append(p.fit, p.name)
			}
		}
		if len(p.fit) > 1 {
			p.entry = nil
		}
		out = append(out, p)
	}
	return out
}
