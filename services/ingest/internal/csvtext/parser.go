package csvtext

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// ErrUnreadable means that a row is neither UTF-8 nor Windows-1252, or holds
// bytes that no text has.
var ErrUnreadable = errors.New("the row is not text")

// Parser splits rows into fields. Each worker has its own.
type Parser struct {
	comma  byte
	fields []string
	strict *quotedParser
	lazy   *quotedParser
	// Recoded counts the rows that were read as Windows-1252.
	Recoded int
}

// NewParser returns a parser for a delimiter.
func NewParser(comma byte) *Parser {
	return &Parser{comma: comma}
}

// Fields returns the fields of a row; the slice is valid until the next call,
// the strings stay. lazy tells that quotes in the row break the rules and were
// taken as they stand.
func (p *Parser) Fields(row Row, text []byte) (fields []string, lazy bool, err error) {
	if !utf8.Valid(text) {
		decoded, ok := windows1252(text)
		if !ok {
			return nil, false, ErrUnreadable
		}
		p.Recoded++
		text = decoded
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, false, ErrUnreadable
	}
	if row.quoted {
		return p.quoted(row, text)
	}
	// One string for the whole row: the fields share it.
	rest := string(text)
	p.fields = p.fields[:0]
	for {
		i := strings.IndexByte(rest, p.comma)
		if i < 0 {
			p.fields = append(p.fields, rest)
			return p.fields, row.stray, nil
		}
		p.fields = append(p.fields, rest[:i])
		rest = rest[i+1:]
	}
}

func (p *Parser) quoted(row Row, text []byte) (fields []string, lazy bool, err error) {
	if p.strict == nil {
		p.strict = newQuotedParser(p.comma, false)
	}
	fields, err = p.strict.parse(text)
	if err != nil {
		p.strict = nil // it may hold a part of the row
		if p.lazy == nil {
			p.lazy = newQuotedParser(p.comma, true)
		}
		lazy = true
		if fields, err = p.lazy.parse(text); err != nil {
			p.lazy = nil
			return nil, true, ErrUnreadable
		}
	}
	if row.lines {
		for i, f := range fields {
			if strings.ContainsAny(f, "\r\n") {
				fields[i] = strings.Join(strings.FieldsFunc(f, func(c rune) bool { return c == '\r' || c == '\n' }), " ")
			}
		}
	}
	return fields, lazy, nil
}

// Lines tells whether the row spans several lines, which were joined by spaces.
func (r Row) Lines() bool { return r.lines }

// quotedParser is an encoding/csv reader that is fed one row at a time.
type quotedParser struct {
	feed   feed
	reader *csv.Reader
}

func newQuotedParser(comma byte, lazy bool) *quotedParser {
	p := &quotedParser{}
	p.reader = csv.NewReader(&p.feed)
	p.reader.Comma = rune(comma)
	p.reader.FieldsPerRecord = -1
	p.reader.LazyQuotes = lazy
	p.reader.ReuseRecord = true
	return p
}

func (p *quotedParser) parse(text []byte) ([]string, error) {
	p.feed = feed{text: text}
	before := p.reader.InputOffset()
	fields, err := p.reader.Read()
	if err != nil {
		return nil, err
	}
	if p.reader.InputOffset()-before != int64(len(text))+1 {
		return nil, ErrUnreadable // it sees another end than Reader does
	}
	return fields, nil
}

// feed yields a row and a line end.
type feed struct {
	text []byte
	done bool
}

func (f *feed) Read(b []byte) (int, error) {
	if len(f.text) > 0 {
		n := copy(b, f.text)
		f.text = f.text[n:]
		if n < len(b) && len(f.text) == 0 {
			b[n] = '\n'
			f.done = true
			n++
		}
		return n, nil
	}
	if !f.done && len(b) > 0 {
		b[0] = '\n'
		f.done = true
		return 1, nil
	}
	return 0, io.EOF
}
