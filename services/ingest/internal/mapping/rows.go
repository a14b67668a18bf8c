package mapping

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/securly/sync/services/ingest/internal/csvtext"
)

// Rows makes rows of the rows of a file with one header.
type Rows struct {
	fields   []field
	where    []condition
	header   []string // of the rows that are made
	shown    []string // for each of them, the columns that it is made of
	kept     []int    // columns that are taken as they are, behind the fields
	width    int
	identity string
}

// HeaderError is a column that the mapping reads and that is not there, or that
// cannot be told from another.
type HeaderError struct {
	Column    string
	Ambiguous bool
}

// Error names the column.
func (e *HeaderError) Error() string {
	if e.Ambiguous {
		return fmt.Sprintf("the column %q, which the mapping reads, is there twice: remove one", e.Column)
	}
	return fmt.Sprintf("the column %q, which the mapping reads, is missing: add it to the file, or change the mapping of the source", e.Column)
}

// Code is that of a finding.
func (e *HeaderError) Code() string {
	if e.Ambiguous {
		return "column-duplicate"
	}
	return "column-missing"
}

// Bind finds the columns in the header of a file of some name; it is indifferent
// to case, spaces, hyphens and underscores, unless there are several that differ
// in them. The errors are about every column that it does not find.
func (r *Records) Bind(file string, header []string) (*Rows, []*HeaderError) {
	b := binder{exact: map[string][]int{}, folded: map[string][]int{}, seen: map[string]bool{}}
	out := &Rows{identity: fmt.Sprintf("%q %q", r.identity, header)}
	for i, name := range header {
		name = csvtext.Visible(name)
		if name == "" {
			continue
		}
		out.width = i + 1
		b.exact[name] = append(b.exact[name], i)
		b.folded[csvtext.Fold(name)] = append(b.folded[csvtext.Fold(name)], i)
	}
	for _, f := range r.fields {
		items, shown := f.items, []string(nil)
		f.items = nil
		for _, t := range items {
			f.items = append(f.items, b.template(t, header, &shown))
		}
		f.otherwise = b.template(f.otherwise, header, &shown)
		if len(shown) == 0 {
			shown = []string{f.name}
		}
		out.fields = append(out.fields, f)
		out.header = append(out.header, f.name)
		out.shown = append(out.shown, strings.Join(shown, ", "))
	}
	for _, c := range r.where {
		c.at = b.find(c.column)
		out.where = append(out.where, c)
	}
	if len(b.errs) > 0 {
		return nil, b.errs
	}
	reads := func(column string) bool {
		return slices.ContainsFunc(r.of.Records, func(o *Records) bool { return o.read[column] && o.Reads(file) })
	}
	taken := map[string]bool{csvtext.Fold("metadata."): true}
	for _, name := range out.header {
		taken[csvtext.Fold(name)] = true
	}
	for i, name := range header[:out.width] {
		name = csvtext.Visible(name)
		to := csvtext.Fold("metadata." + name)
		if r.keep && !reads(csvtext.Fold(name)) && !taken[to] {
			taken[to] = true
			out.header, out.shown, out.kept = append(out.header, "metadata."+name), append(out.shown, name), append(out.kept, i)
		}
	}
	return out, nil
}

type binder struct {
	exact, folded map[string][]int
	seen          map[string]bool // columns that an error is about
	errs          []*HeaderError
}

func (b *binder) find(column string) int {
	at := b.exact[column]
	if len(at) == 0 {
		at = b.folded[csvtext.Fold(column)]
	}
	if len(at) == 1 {
		return at[0]
	}
	if !b.seen[column] {
		b.seen[column] = true
		b.errs = append(b.errs, &HeaderError{Column: column, Ambiguous: len(at) > 1})
	}
	return 0
}

func (b *binder) template(t template, header []string, shown *[]string) template {
	t = slices.Clone(t)
	for i := range t {
		if t[i].column == "" {
			continue
		}
		t[i].at = b.find(t[i].column)
		if len(b.errs) > 0 {
			continue
		}
		if name := csvtext.Visible(header[t[i].at]); !slices.Contains(*shown, name) {
			*shown = append(*shown, name)
		}
	}
	return t
}

// Header names the columns of the rows that are made: fields, and metadata.NAME
// for columns that are kept.
func (r *Rows) Header() []string { return r.header }

// Width is the least number of cells that a row of the file must have. The other
// methods must not be called with a shorter row.
func (r *Rows) Width() int { return r.width }

// Identity is the same for what makes the same rows of equal ones.
func (r *Rows) Identity() string { return r.identity }

// Column tells which columns of the file a column of Header is made of, or its
// own name if that is none.
func (r *Rows) Column(i int) string { return r.shown[i] }

// Wants tells whether a row of the file meets the conditions.
func (r *Rows) Wants(cells []string) bool {
	for _, c := range r.where {
		if c.values[key(cells[c.at])] == c.not {
			return false
		}
	}
	return true
}

// Problem is what may be wrong with a value; it is blank then.
type Problem uint8

// The problems.
const (
	None Problem = iota
	// Uncovered values are not in the values of the field.
	Uncovered
	// BadDate is not written in the field's date format.
	BadDate
)

// Value returns the value for a column of Header.
func (r *Rows) Value(i int, cells []string) (string, Problem) {
	if i >= len(r.fields) {
		return cells[r.kept[i-len(r.fields)]], None
	}
	f := &r.fields[i]
	v := f.raw(cells)
	if f.values != nil {
		var ok bool
		if v, ok = f.mapped(v, cells); !ok {
			return "", Uncovered
		}
	}
	if f.layout != "" && v != "" {
		t, err := time.Parse(f.layout, v)
		if err != nil || t.Year() < 1 {
			return "", BadDate
		}
		v = t.Format(time.DateOnly)
	}
	return v, None
}

// Raw returns what Value would look up in the values of the field.
func (r *Rows) Raw(i int, cells []string) string {
	if i >= len(r.fields) {
		return cells[r.kept[i-len(r.fields)]]
	}
	return r.fields[i].raw(cells)
}

func (f *field) raw(cells []string) string {
	v := f.text(cells)
	if f.split != nil {
		v = nth(v, f.split.GetAt(), int(f.split.GetPart()))
	}
	return v
}

// nth returns the nth part of a text, from its end if n is negative.
func nth(s, at string, n int) string {
	parts := strings.Split(s, at)
	if strings.TrimSpace(at) == "" {
		parts = strings.Fields(s)
	}
	if n < 0 {
		n += len(parts) + 1
	}
	if n < 1 || n > len(parts) {
		return ""
	}
	return csvtext.Clean(parts[n-1])
}

func (f *field) text(cells []string) string {
	if len(f.items) == 1 {
		return f.items[0].value(cells, f.whole)
	}
	items := make([]string, 0, len(f.items))
	for _, t := range f.items {
		if v := t.value(cells, true); v != "" {
			items = append(items, v)
		}
	}
	return strings.Join(items, ",")
}

// mapped looks a value up, in a list each item. False means that it is unknown.
func (f *field) mapped(v string, cells []string) (string, bool) {
	if !f.list || !strings.Contains(v, ",") {
		return f.lookup(v, cells)
	}
	items := strings.Split(v, ",")
	for i := range items {
		var ok bool
		if items[i], ok = f.lookup(items[i], cells); !ok {
			return "", false
		}
	}
	return strings.Join(slices.DeleteFunc(items, func(s string) bool { return s == "" }), ","), true
}

func (f *field) lookup(v string, cells []string) (string, bool) {
	if to, ok := f.values[v]; ok {
		return to, true
	}
	if to, ok := f.values[key(v)]; ok {
		return to, true
	}
	if csvtext.Clean(v) == "" {
		return "", true
	}
	if f.reject {
		return "", false
	}
	return f.otherwise.value(cells, f.whole), true
}
