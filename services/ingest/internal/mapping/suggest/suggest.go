// Package suggest proposes a mapping by what the files and columns of student
// information systems are usually called.
package suggest

import (
	"bytes"
	_ "embed" // the shapes
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/fileset"
	"github.com/securly/sync/services/ingest/internal/csvtext"
)

// shape is what a file of one kind usually looks like; shapes.yaml says more.
type shape struct {
	Entity string
	Files  []string
	Needs  []string
	Fields map[string][]string
	Own    map[string][]string
	Full   []string
	Texts  map[string]string
	Values map[string]map[string]string
	// Flat tells that the names in Own say enough in the only file of a package.
	Flat bool
}

//go:embed shapes.yaml
var shapesText []byte

var shapes = readShapes()

// readShapes panics if there is a fault in the file, since it is a constant of
// the program.
func readShapes() []shape {
	var out []shape
	dec := yaml.NewDecoder(bytes.NewReader(shapesText))
	dec.KnownFields(true)
	if err := dec.Decode(&out); err != nil {
		panic(fmt.Sprintf("shapes.yaml: %v", err))
	}
	return out
}

// Mapping proposes a mapping for the files of a package; one without records if
// they fit no shape. Each shape is looked for in one file, the one that fits it
// best.
func Mapping(files []*ingestv1.DeliveredFile) *ingestv1.Mapping {
	out := &ingestv1.Mapping{}
	for _, s := range shapes {
		var best *ingestv1.MappedRecords
		most := 0
		for _, f := range files {
			named := s.named(f.GetName())
			r := s.fit(f, named || s.Flat && len(files) == 1)
			if r == nil {
				continue
			}
			score := len(r.GetFields())
			if named {
				score += 1000 // the name says more than any number of columns
			}
			if score > most {
				best, most = r, score
			}
		}
		if best != nil {
			out.Records = append(out.Records, best)
		}
	}
	return out
}

// named tells whether a file is called like one of the shape.
func (s *shape) named(file string) bool {
	name := plain(strings.TrimSuffix(file, path.Ext(file)))
	return slices.ContainsFunc(s.Files, func(word string) bool { return strings.Contains(name, word) })
}

// fit maps what it finds in a file; nil if that is not enough.
func (s *shape) fit(f *ingestv1.DeliveredFile, own bool) *ingestv1.MappedRecords {
	columns := map[string]*ingestv1.DeliveredColumn{} // by plain names
	for _, c := range f.GetColumns() {
		name := c.GetName()
		if csvtext.Secret(name) || strings.ContainsAny(name, "{}") {
			continue
		}
		for _, p := range []string{plain(name[strings.LastIndexByte(name, '.')+1:]), plain(name)} {
			if _, taken := columns[p]; !taken && p != "" {
				columns[p] = c
			}
		}
	}
	r := &ingestv1.MappedRecords{Entity: s.Entity, File: fileset.Undated(f.GetName()), Fields: map[string]*ingestv1.MappedField{}}
	find := func(fields map[string][]string) {
		for field, names := range fields {
			for _, name := range names {
				if column, ok := columns[name]; ok && r.GetFields()[field] == nil {
					r.Fields[field] = &ingestv1.MappedField{Value: "{" + column.GetName() + "}", Values: s.Values[field]}
				}
			}
		}
	}
	find(s.Fields)
	if own {
		find(s.Own)
	}
	s.full(r, columns, own)
	for _, field := range s.Needs {
		if r.GetFields()[field] == nil {
			return nil
		}
	}
	for field, text := range s.Texts {
		if r.GetFields()[field] != nil {
			continue
		}
		for other, from := range r.GetFields() {
			text = strings.ReplaceAll(text, "{"+other+"}", from.GetValue())
		}
		r.Fields[field] = &ingestv1.MappedField{Value: text}
	}
	return proto.CloneOf(r) // values are shared with the shape
}

// full takes names apart that are written "Last, First" in one column.
func (s *shape) full(r *ingestv1.MappedRecords, columns map[string]*ingestv1.DeliveredColumn, own bool) {
	names := s.Full
	if own && len(names) > 0 {
		names = append(slices.Clone(names), "name", "fullname", "lastfirst")
	}
	for _, name := range names {
		samples := columns[name].GetSamples()
		if len(samples) == 0 || slices.ContainsFunc(samples, func(s string) bool { return !strings.Contains(s, ",") }) {
			continue
		}
		for i, field := range []string{"familyName", "givenName"} {
			if r.GetFields()[field] == nil {
				r.Fields[field] = &ingestv1.MappedField{Value: "{" + columns[name].GetName() + "}", Split: &ingestv1.FieldSplit{At: ",", Part: int32(i + 1)}}
			}
		}
	}
}

// plain makes names comparable.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(".#/():&", r) {
			return -1
		}
		return r
	}, csvtext.Fold(name))
}
