// Package mapping makes fields with known names out of CSV files whose names and
// columns are their sender's. It knows nothing of what the fields mean: rows are
// turned into rows that could stand in a file with the columns that are wanted,
// and read like one.
package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
)

const (
	maxRecords = 100
	maxText    = 1000
	maxSize    = 256 << 10
)

// Error is a fault in a mapping.
type Error struct {
	// Field is the path of what is wrong: records[0].fields.email.value.
	Field   string
	Message string
}

// Error names the field.
func (e *Error) Error() string { return e.Field + ": " + e.Message }

func fault(field, format string, args ...any) error {
	return &Error{Field: field, Message: fmt.Sprintf(format, args...)}
}

// Columns returns the names of the fields that records of an entity have; none
// if there is no such entity.
type Columns func(entity string) []string

// Mapping is a mapping without fault.
type Mapping struct{ Records []*Records }

// Records makes records of one entity of one file.
type Records struct {
	Entity string
	// File in lower case; a * stands for any characters.
	File     string
	fields   []field
	where    []condition
	read     map[string]bool // folded names of the columns that are read
	of       *Mapping        // that it is a part of
	keep     bool
	identity string
}

type field struct {
	name      string
	items     []template // one, unless it is a list
	list      bool
	whole     bool
	split     *ingestv1.FieldSplit
	values    map[string]string
	otherwise template
	reject    bool // values that are not in values
	layout    string
}

type condition struct {
	column string
	values map[string]bool
	not    bool
	at     int
}

// Compile checks a mapping. Its error is an *Error.
func Compile(m *ingestv1.Mapping, columns Columns) (*Mapping, error) {
	switch {
	case len(m.GetRecords()) > maxRecords:
		return nil, fault("records", "has more than %d entries", maxRecords)
	case proto.Size(m) > maxSize:
		return nil, fault("records", "is larger than %d bytes", maxSize)
	}
	out := &Mapping{}
	for i, spec := range m.GetRecords() {
		r, err := compileRecords(spec, fmt.Sprintf("records[%d]", i), columns)
		if err != nil {
			return nil, err
		}
		r.of = out
		out.Records = append(out.Records, r)
	}
	return out, nil
}

// compileRecords checks how records are made of one file; path is where that
// stands.
func compileRecords(spec *ingestv1.MappedRecords, path string, columns Columns) (*Records, error) {
	known := columns(spec.GetEntity())
	r := &Records{Entity: spec.GetEntity(), File: strings.ToLower(strings.TrimSpace(spec.GetFile())), read: map[string]bool{}, keep: spec.GetKeepUnmapped()}
	switch {
	case len(known) == 0:
		return nil, fault(path+".entity", "there are no records called %.80q", spec.GetEntity())
	case r.File == "", len(r.File) > 200, strings.ContainsAny(r.File, `/\`):
		return nil, fault(path+".file", "must be the name of a file, without folders")
	case len(spec.GetFields()) == 0:
		return nil, fault(path+".fields", "is required")
	}
	folded := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(spec.GetFields())) {
		at := path + ".fields." + name
		meta, isMeta := strings.CutPrefix(name, "metadata.")
		if !slices.Contains(known, name) && (!isMeta || csvtext.Visible(meta) != meta || csvtext.Fold(meta) == "" || len(meta) > 200) {
			return nil, fault(at, "%s have no such field; they have %s, and metadata.NAME", r.Entity, strings.Join(known, ", "))
		}
		if folded[csvtext.Fold(name)] {
			return nil, fault(at, "is there twice, but for upper and lower case, spaces, hyphens and underscores")
		}
		folded[csvtext.Fold(name)] = true
		f, err := r.compileField(name, spec.GetFields()[name], at)
		if err != nil {
			return nil, err
		}
		r.fields = append(r.fields, f)
	}
	for i, c := range spec.GetWhere() {
		at := fmt.Sprintf("%s.where[%d]", path, i)
		column := csvtext.Visible(c.GetColumn())
		if err := checkColumn(column); err != nil {
			return nil, fault(at+".column", "%v", err)
		}
		if len(c.GetValues()) == 0 {
			return nil, fault(at+".values", `is required; "" stands for a blank`)
		}
		r.read[csvtext.Fold(column)] = true
		w := condition{column: column, values: map[string]bool{}, not: c.GetNot()}
		for _, v := range c.GetValues() {
			w.values[key(v)] = true
		}
		r.where = append(r.where, w)
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return nil, fault(path, "cannot be kept: %v", err)
	}
	r.identity = string(text)
	return r, nil
}

// key makes values comparable that are written in upper and lower case.
func key(s string) string { return strings.ToLower(csvtext.Clean(s)) }

func (r *Records) compileField(name string, spec *ingestv1.MappedField, at string) (field, error) {
	f := field{name: name, list: lists[name], whole: lists[name] || strings.HasSuffix(strings.ToLower(name), "sourcedid")}
	parsed := func(text, at string) (template, error) {
		if len(text) > maxText {
			return nil, fault(at, "is longer than %d bytes", maxText)
		}
		t, err := parse(text)
		if err != nil {
			return nil, fault(at, "%v", err)
		}
		for _, p := range t {
			if p.column != "" {
				r.read[csvtext.Fold(p.column)] = true
			}
		}
		return t, nil
	}
	value, err := parsed(spec.GetValue(), at+".value")
	if err != nil {
		return f, err
	}
	if f.items = []template{value}; f.list {
		f.items = value.split()
	}
	if len(value) == 0 || len(f.items) == 0 {
		return f, fault(at+".value", "is required: name a column in braces, or write a text; leave the field out if there is none")
	}
	if len(spec.GetValues()) > 0 {
		f.values = map[string]string{}
		for from, to := range spec.GetValues() {
			if _, twice := f.values[key(from)]; twice {
				return f, fault(at+".values", "has %q twice; upper and lower case are the same", key(from))
			}
			f.values[key(from)] = csvtext.Clean(to)
		}
	}
	switch {
	case spec.Otherwise == nil:
		f.reject = f.values != nil
	case f.values == nil:
		return f, fault(at+".otherwise", "is for fields with values")
	default:
		if f.otherwise, err = parsed(spec.GetOtherwise(), at+".otherwise"); err != nil {
			return f, err
		}
	}
	if f.split = spec.GetSplit(); f.split != nil {
		if f.split.GetAt() == "" {
			return f, fault(at+".split.at", `is required: what stands between the parts, "," for example`)
		}
		if f.split.GetPart() == 0 {
			return f, fault(at+".split.part", "is required: 1 is the first part, -1 the last")
		}
	}
	if spec.GetDateFormat() != "" {
		if f.layout, err = layout(spec.GetDateFormat()); err != nil {
			return f, fault(at+".dateFormat", "%v", err)
		}
	}
	return f, nil
}

// lists are the fields whose values are lists.
var lists = map[string]bool{
	"grades": true, "subjects": true, "subjectCodes": true, "termSourcedIds": true, "periods": true,
	"orgSourcedIds": true, "userIds": true, "agentSourcedIds": true,
}

// Identity is the same for mappings that make the same of equal files; empty for
// nil.
func (m *Mapping) Identity() string {
	if m == nil {
		return ""
	}
	h := xxhash.New()
	for _, r := range m.Records {
		_, _ = fmt.Fprintf(h, "%q", r.identity) // a hash takes everything
	}
	return strconv.FormatUint(h.Sum64(), 16)
}

// Reads tells whether any part reads files of some name.
func (m *Mapping) Reads(file string) bool {
	return slices.ContainsFunc(m.Records, func(r *Records) bool { return r.Reads(file) })
}

// Reads tells whether a file of some name is one that File stands for.
func (r *Records) Reads(file string) bool {
	texts := strings.Split(r.File, "*")
	last := len(texts) - 1
	file, ok := strings.CutPrefix(strings.ToLower(file), texts[0])
	if last == 0 {
		return ok && file == ""
	}
	for _, text := range texts[1:last] {
		if ok {
			_, file, ok = strings.Cut(file, text)
		}
	}
	return ok && strings.HasSuffix(file, texts[last])
}

// Of returns what makes records of an entity.
func (m *Mapping) Of(entity string) []*Records {
	var out []*Records
	for _, r := range m.Records {
		if r.Entity == entity {
			out = append(out, r)
		}
	}
	return out
}
