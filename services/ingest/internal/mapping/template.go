package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/securly/sync/services/ingest/internal/csvtext"
)

// template is text with columns in it.
type template []part

// part is a text, or a column.
type part struct {
	text   string
	column string
	at     int // of the column in a row, once it is bound
}

// parse reads a template: "{SchoolID}-{SectionID}". A doubled brace is one that
// is meant as such.
func parse(s string) (template, error) {
	var t template
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			t = append(t, part{text: text.String()})
			text.Reset()
		}
	}
	for len(s) > 0 {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			i = len(s)
		}
		text.WriteString(s[:i])
		if s = s[i:]; s == "" {
			break
		}
		if len(s) > 1 && s[1] == s[0] {
			text.WriteByte(s[0])
			s = s[2:]
			continue
		}
		end := strings.IndexAny(s[1:], "{}")
		if s[0] == '}' || end < 0 || s[1+end] == '{' {
			return nil, fmt.Errorf("has a %q that does not belong to the name of a column: write {{ or }} for a brace", s[:1])
		}
		column := csvtext.Visible(s[1 : 1+end])
		if err := checkColumn(column); err != nil {
			return nil, err
		}
		flush()
		t = append(t, part{column: column})
		s = s[end+2:]
	}
	flush()
	return t, nil
}

// checkColumn refuses what cannot be the name of a column, and what must not be
// read.
func checkColumn(name string) error {
	switch {
	case csvtext.Fold(name) == "":
		return errors.New("names no column")
	case csvtext.Secret(name):
		return fmt.Errorf("reads the column %q: passwords are never stored", name)
	}
	return nil
}

// split cuts a template at the commas of its text.
func (t template) split() []template {
	out := []template{nil}
	for _, p := range t {
		for i, text := range strings.Split(p.text, ",") {
			if i > 0 {
				out = append(out, nil)
			}
			if p.text = text; p.text != "" || p.column != "" {
				out[len(out)-1] = append(out[len(out)-1], p)
			}
		}
	}
	return slices.DeleteFunc(out, func(t template) bool { return len(t) == 0 })
}

// value puts the cells of a row in. It is blank if all columns are, or if any is
// where whole is asked for; text alone is never blank.
func (t template) value(cells []string, whole bool) string {
	if len(t) == 1 { // a column or a constant: nearly all are
		if t[0].column == "" {
			return t[0].text
		}
		return csvtext.Clean(cells[t[0].at])
	}
	columns, blank := 0, 0
	var out strings.Builder
	for _, p := range t {
		if p.column == "" {
			out.WriteString(p.text)
			continue
		}
		columns++
		v := csvtext.Clean(cells[p.at])
		if v == "" {
			blank++
		}
		out.WriteString(v)
	}
	if blank > 0 && (whole || blank == columns) {
		return ""
	}
	return strings.TrimSpace(out.String())
}

// dateTokens are what a date may be written with, and how time.Parse calls it.
// Of those that begin alike the longer comes first.
var dateTokens = []string{
	"yyyy", "2006", "yy", "06", "MMMM", "January", "MMM", "Jan", "MM", "01", "M", "1", "dd", "02", "d", "2", "HH", "15", "mm", "04", "ss", "05",
}

// layout translates MM/dd/yyyy.
func layout(format string) (string, error) {
	var out strings.Builder
	has := map[byte]bool{}
next:
	for s := format; s != ""; {
		for i := 0; i < len(dateTokens); i += 2 {
			if rest, ok := strings.CutPrefix(s, dateTokens[i]); ok {
				out.WriteString(dateTokens[i+1])
				has[s[0]], s = true, rest
				continue next
			}
		}
		if c := s[0]; c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' && c != 'T' && c != 'Z' {
			return "", fmt.Errorf("has %q, which is no part of a date: write MM/dd/yyyy for example", s[:1])
		}
		out.WriteByte(s[0])
		s = s[1:]
	}
	if !has['y'] || !has['M'] || !has['d'] {
		return "", errors.New("needs a year, a month and a day: write MM/dd/yyyy for example")
	}
	return out.String(), nil
}
