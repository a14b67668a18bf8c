package csvtext

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// read returns what the file holds, a row as its fields joined by |, a fault by its name.
func read(t testing.TB, text string) (header []string, rows []string) {
	t.Helper()
	src, _, err := Decode(iotest(text))
	require.NoError(t, err)
	r := NewReader(src)
	header, comma, err := r.Header()
	require.NoError(t, err)
	r.Expect(len(header))
	p := NewParser(comma)
	var b Batch
	for {
		err := r.ReadBatch(&b)
		if errors.Is(err, io.EOF) {
			return header, rows
		}
		require.NoError(t, err)
		for i := range b.Len() {
			row, text := b.Row(i)
			out := ""
			switch row.Fault {
			case FaultTooLong:
				out = "TOO LONG"
			case FaultQuote:
				out = "QUOTE"
			default:
				fields, lazy, err := p.Fields(row, text)
				out = strings.Join(fields, "|")
				if lazy {
					out = "LAZY " + out
				}
				if err != nil {
					out = err.Error()
				}
			}
			rows = append(rows, fmt.Sprintf("%d: %s", row.Number, out))
		}
	}
}

// iotest delivers text in pieces, so that every boundary is hit.
func iotest(text string) io.Reader { return &pieces{text: text} }

type pieces struct {
	text string
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	p.n = p.n%7 + 1
	n := copy(b, p.text[:min(p.n*p.n, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

func TestReader(t *testing.T) {
	long := strings.Repeat("x", 10<<20)
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"line feed", "a,b\n1,2\n3,4\n", []string{"2: 1|2", "3: 3|4"}},
		{"no end of the last line", "a,b\n1,2\n3,4", []string{"2: 1|2", "3: 3|4"}},
		{"carriage return and line feed", "a,b\r\n1,2\r\n3,4\r\n", []string{"2: 1|2", "3: 3|4"}},
		{"carriage return", "a,b\r1,2\r3,4\r", []string{"2: 1|2", "3: 3|4"}},
		{"mixed line ends", "a,b\r1,2\n3,4\r\n5,6\r\r\n7,8", []string{"2: 1|2", "3: 3|4", "4: 5|6", "5: ", "6: 7|8"}},
		{"quoted", "a,b\n\"1\",\"x, \"\"y\"\"\"\n", []string{`2: 1|x, "y"`}},
		{"a value over two lines", "a,b\n1,\"x\r\ny\"\n3,4\n", []string{"2: 1|x y", "3: 3|4"}},
		{"stray quote", "a,b\n1,5\" pipe\n3,4\n", []string{`2: LAZY 1|5" pipe`, "3: 3|4"}},
		{"stray quote in quotes", "a,b\n1,\"x \"y\" z\"\n3,4\n", []string{`2: LAZY 1|x "y" z`, "3: 3|4"}},
		{"quotes that do not span their value", "a,b\n1,\"x\" y\n3,4\n", []string{`2: LAZY 1|"x" y`, "3: 3|4"}},
		{"quotes that do not span their value, before others", "a,b\n1,\"x\" y\n3,\"4\n5\"\n", []string{`2: LAZY 1|"x" y`, "3: 3|4 5"}},
		{"quote never closed", "a,b\n1,\"x\n3,4\n5,6\n", []string{"2: QUOTE", "3: 3|4", "4: 5|6"}},
		{"quote never closed before quoted rows", "a,b\n1,\"x\n3,\"4\"\n5,\"6\"\n", []string{"2: QUOTE", "3: 3|4", "4: 5|6"}},
		{"quote at the end", "a,b\n1,2\n3,\"", []string{"2: 1|2", "3: QUOTE"}},
		{"long cell", "a,b\n1," + long + "\n3,4\n", []string{"2: TOO LONG", "3: 3|4"}},
		{"long quoted cell", "a,b\n1,\"" + long + "\"\n3,4\n", []string{"2: TOO LONG", "3: 3|4"}},
		{"long cell at the end", "a,b\n1,2\n" + long, []string{"2: 1|2", "3: TOO LONG"}},
		{"blank lines count", "\n\na,b\n\n1,2\n", []string{"4: ", "5: 1|2"}},
		{"tabs", "a\tb\n1\t2,5\n", []string{"2: 1|2,5"}},
		{"semicolons", "a;b\n1;\"2;5\"\n", []string{"2: 1|2;5"}},
		{"Windows-1252", "a,b\nJos\xe9,2\n", []string{"2: José|2"}},
		{"not text", "a,b\n1\x81\xff,2\n3,4\n", []string{"2: the row is not text", "3: 3|4"}},
		{"zero byte", "a,b\n" + strings.Repeat("1,2\n", 2000) + "1\x00,2\n", nil},
		{"byte order mark", "\xef\xbb\xbfa,b\n1,2\n", []string{"2: 1|2"}},
		{"UTF-16 LE", utf16Text("\ufeffa,b\r\n1,é\r\n", false), []string{"2: 1|é"}},
		{"UTF-16 BE", utf16Text("\ufeffa,b\r\n1,é\r\n", true), []string{"2: 1|é"}},
		{"UTF-16 LE without mark", utf16Text("a,b\r\n1,x\r\n", false), []string{"2: 1|x"}},
		{"UTF-16 BE without mark", utf16Text("a,b\r\n1,x\r\n", true), []string{"2: 1|x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			header, rows := read(t, test.text)
			require.Equal(t, []string{"a", "b"}, header)
			if test.want == nil {
				require.Equal(t, "2002: the row is not text", rows[len(rows)-1])
				return
			}
			require.Equal(t, test.want, rows)
		})
	}
}

func utf16Text(s string, big bool) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		if big {
			b.WriteByte(byte(u >> 8))
		}
		b.WriteByte(byte(u))
		if !big {
			b.WriteByte(byte(u >> 8))
		}
	}
	return b.String()
}

func TestDecodeRefusesWhatIsNoText(t *testing.T) {
	for name, text := range map[string]string{
		"UTF-32 LE": "\xff\xfe\x00\x00a\x00\x00\x00",
		"UTF-32 BE": "\x00\x00\xfe\xff\x00\x00\x00a",
		"binary":    "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x03\x00>\x00",
	} {
		_, _, err := Decode(strings.NewReader(text))
		require.ErrorIs(t, err, ErrEncoding, name)
	}
}

// Unclosed quotes must cost no more than linear time.
func TestQuotesThatAreNeverClosed(t *testing.T) {
	_, rows := read(t, "a,b\n"+strings.Repeat("1,\"x\n", 20000))
	require.Len(t, rows, 20000)
}

func FuzzReader(f *testing.F) {
	for _, seed := range []string{"a,b\n1,2\n", "a,b\r\"1\",\"x\ny\"\r", "a;b\n\"\n\"\"\n", "a\n\xff\xfe\n\"x\"y\n", "\xff\xfea\x00\n\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		src, _, err := Decode(strings.NewReader(text))
		if err != nil {
			return
		}
		r := NewReader(src)
		header, comma, err := r.Header()
		if err != nil {
			return
		}
		r.Expect(len(header))
		p := NewParser(comma)
		var b Batch
		number := 0
		for {
			err := r.ReadBatch(&b)
			if errors.Is(err, io.EOF) {
				return
			}
			require.NoError(t, err)
			for i := range b.Len() {
				row, text := b.Row(i)
				require.Greater(t, row.Number, number)
				number = row.Number
				if row.Fault == FaultNone {
					fields, _, err := p.Fields(row, text)
					require.True(t, err != nil || len(fields) > 0)
				}
			}
		}
	})
}
