package csvtext

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxRow bounds a row in bytes. Nothing a roster says about one person or class
// comes near it.
const MaxRow = 1 << 20

// A row that runs over several lines is bounded more narrowly, so that a file in
// which no quote is ever closed takes no more than linear time.
const (
	maxLinesBytes = 32 << 10
	maxLines      = 50
)

// batchSize is how much text a batch gathers: large enough that handing it over
// costs nothing, small enough that a few of them in flight are little memory.
const batchSize = 256 << 10

// Fault says why a row could not be read.
type Fault uint8

// The faults.
const (
	// FaultNone is a row to parse.
	FaultNone Fault = iota
	// FaultTooLong is a row of more than MaxRow bytes.
	FaultTooLong
	// FaultQuote is a line with a quote that is never closed.
	FaultQuote
)

// Batch is a run of rows of one file. It may be read by another goroutine than
// the one that filled it.
type Batch struct {
	data []byte
	rows []Row
	text []span
}

type span struct{ start, end int }

// Row is where a row stands and what is known about it before it is parsed.
type Row struct {
	// Number counts rows from 1; the header is row 1, blank lines count.
	Number int
	Fault  Fault
	quoted bool
	stray  bool // its quotes mean nothing
	lines  bool // it spans several lines
}

// Len returns the number of rows.
func (b *Batch) Len() int { return len(b.rows) }

// Row returns row i and its text without line end.
func (b *Batch) Row(i int) (Row, []byte) {
	return b.rows[i], b.data[b.text[i].start:b.text[i].end]
}

func (b *Batch) reset() { b.data, b.rows, b.text = b.data[:0], b.rows[:0], b.text[:0] }

func (b *Batch) add(row Row, text []byte) {
	start := len(b.data)
	b.data = append(b.data, text...)
	b.rows = append(b.rows, row)
	b.text = append(b.text, span{start, len(b.data)})
}

// Reader splits a file into rows.
type Reader struct {
	src   io.Reader
	buf   []byte
	start int // the unread text is buf[start:end]
	end   int
	lf    int // no line feed in buf[start:lf]; buf[lf] is one if lf < end
	err   error
	row   int

	comma   byte
	columns int
	check   *Parser
	last    int // row to read; 0 for all
}

// NewReader reads text that Decode has returned.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, 128<<10), comma: ','}
}

// Header reads the first row that is not blank and finds out the delimiter by
// it. io.EOF means that there is none.
func (r *Reader) Header() (fields []string, comma byte, err error) {
	for {
		row, text, err := r.next()
		if err != nil {
			return nil, 0, err
		}
		if row.Fault != FaultNone {
			return nil, 0, errors.New("the header cannot be read: a quote in it is not closed, or it has no end")
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		r.comma = delimiter(text)
		parser := NewParser(r.comma)
		fields, _, err := parser.Fields(row, text)
		if err != nil {
			return nil, 0, fmt.Errorf("the header cannot be read: %w", err)
		}
		header := make([]string, len(fields))
		copy(header, fields)
		return header, r.comma, nil
	}
}

// delimiter is a comma unless the header has none and something else instead.
func delimiter(header []byte) byte {
	best, most := byte(','), bytes.Count(header, []byte{','})
	if most > 0 {
		return best
	}
	for _, c := range []byte{'\t', ';', '|'} {
		if n := bytes.Count(header, []byte{c}); n > most {
			best, most = c, n
		}
	}
	return best
}

// Expect tells how many columns the header has. It decides whether a quoted
// value that runs over several lines is one or a quote that was never closed.
func (r *Reader) Expect(columns int) {
	r.columns = columns
	r.check = NewParser(r.comma)
}

// Limit has no more than some rows read from here on; 0 means all.
func (r *Reader) Limit(rows int) {
	if rows > 0 {
		r.last = r.row + rows
	}
}

// ReadBatch fills b. It returns io.EOF, and no rows, at the end of the file.
func (r *Reader) ReadBatch(b *Batch) error {
	b.reset()
	for len(b.data) < batchSize && len(b.rows) < batchSize/16 {
		if r.last > 0 && r.row >= r.last {
			if len(b.rows) > 0 {
				return nil
			}
			return io.EOF
		}
		row, text, err := r.next()
		if errors.Is(err, io.EOF) && len(b.rows) > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		b.add(row, text)
	}
	return nil
}

// next returns the next row; its text is valid until the call after.
func (r *Reader) next() (Row, []byte, error) {
	r.row++
	row := Row{Number: r.row}
	n, ok, err := r.lineEnd(0)
	if err != nil {
		return row, nil, err
	}
	if !ok {
		row.Fault = FaultTooLong
		return row, nil, r.skipLine()
	}
	line := r.buf[r.start : r.start+n]
	if bytes.IndexByte(line, '"') < 0 {
		r.start += n
		return row, line, r.skipEnd()
	}
	row.quoted = true
	end, ok, err := r.quotedEnd(n)
	if err != nil {
		return row, nil, err
	}
	line = r.buf[r.start : r.start+n] // reading on may have moved it
	if !ok || (end > n && !r.plausible(end)) {
		// Only this line is lost: reading goes on with the next. Where its quotes
		// come in pairs it is not: they are a part of the values.
		r.start += n
		r.lf = r.start
		if bytes.Count(line, []byte{'"'})%2 == 0 {
			row.quoted, row.stray = false, true
			return row, r.buf[r.start-n : r.start], r.skipEnd()
		}
		row.Fault = FaultQuote
		return row, nil, r.skipEnd()
	}
	row.lines = end > n
	line = r.buf[r.start : r.start+end]
	r.start += end
	return row, line, r.skipEnd()
}

// plausible tells whether the text up to end is one proper row of several lines.
func (r *Reader) plausible(end int) bool {
	if r.check == nil {
		return true
	}
	fields, lazy, err := r.check.Fields(Row{quoted: true, lines: true}, r.buf[r.start:r.start+end])
	return err == nil && !lazy && len(fields) >= r.columns
}

// lineEnd returns the offset from start of the first line end at or after from.
// False means that the line is longer than MaxRow.
func (r *Reader) lineEnd(from int) (int, bool, error) {
	for {
		if r.lf < r.start+from {
			r.lf = r.start + from
		}
		if r.lf < r.end && r.buf[r.lf] != '\n' {
			if i := bytes.IndexByte(r.buf[r.lf:r.end], '\n'); i >= 0 {
				r.lf += i
			} else {
				r.lf = r.end
			}
		}
		if i := bytes.IndexByte(r.buf[r.start+from:r.lf], '\r'); i >= 0 {
			return from + i, true, nil
		}
		if r.lf < r.end {
			return r.lf - r.start, true, nil
		}
		if r.end-r.start > MaxRow {
			return 0, false, nil
		}
		// Carriage returns up to here are excluded already.
		searched := r.end - r.start
		if err := r.fill(); err != nil {
			if !errors.Is(err, io.EOF) {
				return 0, false, err
			}
			if r.end == r.start && from == 0 {
				return 0, false, io.EOF
			}
			return r.end - r.start, true, nil
		}
		from = max(from, searched)
	}
}

// quotedEnd returns the offset of the line end that is outside of quotes; n is
// that of the first line end. False means that the quotes are never closed
// within MaxRow.
func (r *Reader) quotedEnd(n int) (int, bool, error) {
	at := 0 // offset of the beginning of a field
	lines := 1
	for {
		if at >= n {
			return n, true, nil
		}
		if r.buf[r.start+at] != '"' {
			i := bytes.IndexByte(r.buf[r.start+at:r.start+n], r.comma)
			if i < 0 {
				return n, true, nil
			}
			at += i + 1
			continue
		}
		at++
		for closed := false; !closed; {
			i := bytes.IndexByte(r.buf[r.start+at:r.start+n], '"')
			if i < 0 {
				// The value goes on behind the line end.
				if lines++; lines > maxLines || n > maxLinesBytes || r.start+n >= r.end {
					return 0, false, nil // no end in sight, or the file ends inside the quotes
				}
				at = n + 1
				next, ok, err := r.lineEnd(at)
				if err != nil || !ok {
					return 0, false, err
				}
				if next < at { // at the end of the file
					return 0, false, nil
				}
				n = next
				continue
			}
			at += i + 1
			switch {
			case at >= n, r.buf[r.start+at] == r.comma:
				closed = true
			case r.buf[r.start+at] == '"':
				at++
			}
		}
		at++
		if at > n {
			return n, true, nil
		}
	}
}

// skipEnd moves behind the line end at start: CR, LF or CR LF.
func (r *Reader) skipEnd() error {
	if r.start >= r.end {
		return nil
	}
	if r.buf[r.start] == '\n' {
		r.start++
		return nil
	}
	if r.start+1 >= r.end {
		// The row's text lies before start: it must not move while it is in use.
		if r.end == len(r.buf) {
			r.grow()
		}
		if err := r.read(); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	r.start++
	if r.start < r.end && r.buf[r.start] == '\n' {
		r.start++
	}
	return nil
}

// skipLine moves behind a line that is too long without keeping it.
func (r *Reader) skipLine() error {
	for {
		if i := bytes.IndexAny(r.buf[r.start:r.end], "\r\n"); i >= 0 {
			r.start += i
			return r.skipEnd()
		}
		r.start, r.end, r.lf = 0, 0, 0
		if err := r.read(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// fill reads more text, making room for it first.
func (r *Reader) fill() error {
	if r.end == len(r.buf) {
		if r.start > 0 {
			r.lf -= r.start
			r.end = copy(r.buf, r.buf[r.start:r.end])
			r.start = 0
		} else {
			r.grow()
		}
	}
	return r.read()
}

func (r *Reader) grow() {
	buf := make([]byte, 2*len(r.buf))
	copy(buf, r.buf[:r.end])
	r.buf = buf
}

func (r *Reader) read() error {
	for tries := 0; r.err == nil; tries++ {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.err = err
		if n > 0 {
			return nil
		}
		if tries == 100 {
			return io.ErrNoProgress
		}
	}
	return r.err
}
