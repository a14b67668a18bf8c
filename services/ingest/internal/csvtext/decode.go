// Package csvtext reads CSV as school systems write it: any of the usual
// encodings, line ends and delimiters, quotes that are not closed, cells of any
// size. It never needs more memory than its limits, and every line of the file
// comes out as a row or as a named fault, so that one bad line cannot swallow
// its neighbours. The quoting rules themselves are left to encoding/csv.
package csvtext

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Encoding names how the text of a file is written.
type Encoding string

// The encodings that are read. Windows-1252 is not recognised for a file but
// row by row, where a row is not UTF-8.
const (
	UTF8    Encoding = "UTF-8"
	UTF8BOM Encoding = "UTF-8 with byte order mark"
	UTF16LE Encoding = "UTF-16 LE"
	UTF16BE Encoding = "UTF-16 BE"
)

// ErrEncoding means that a file is no text in an encoding that is read.
var ErrEncoding = errors.New("the file is not text in UTF-8, UTF-16 or Windows-1252: save it as CSV UTF-8")

const sniffSize = 4096

// Decode recognises the encoding of src and returns its text as UTF-8, without
// byte order mark. Bytes that are not UTF-8 are passed on for Parser to judge.
func Decode(src io.Reader) (io.Reader, Encoding, error) {
	in := bufio.NewReaderSize(src, 64<<10)
	head, err := in.Peek(sniffSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("read the beginning: %w", err)
	}
	encoding, err := Sniff(head)
	if err != nil {
		return nil, "", err
	}
	switch encoding {
	case UTF8BOM:
		_, err = in.Discard(3)
		return in, encoding, err
	case UTF16LE:
		return transform.NewReader(in, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder()), encoding, nil
	case UTF16BE:
		return transform.NewReader(in, unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder()), encoding, nil
	}
	return in, encoding, nil
}

// Sniff recognises the encoding by the first bytes of a file.
func Sniff(head []byte) (Encoding, error) {
	switch {
	case bytes.HasPrefix(head, []byte{0xEF, 0xBB, 0xBF}):
		return UTF8BOM, nil
	case bytes.HasPrefix(head, []byte{0xFF, 0xFE, 0, 0}), bytes.HasPrefix(head, []byte{0, 0, 0xFE, 0xFF}):
		return "", ErrEncoding // UTF-32
	case bytes.HasPrefix(head, []byte{0xFF, 0xFE}):
		return UTF16LE, nil
	case bytes.HasPrefix(head, []byte{0xFE, 0xFF}):
		return UTF16BE, nil
	}
	// Text in Western languages has a zero in every second byte of UTF-16; no
	// other text has any.
	var zeros [2]int
	for i, b := range head {
		if b == 0 {
			zeros[i&1]++
		}
	}
	half := len(head) / 2
	switch {
	case zeros == [2]int{}:
		return UTF8, nil
	case zeros[0] == 0 && zeros[1]*4 >= half*3:
		return UTF16LE, nil
	case zeros[1] == 0 && zeros[0]*4 >= half*3:
		return UTF16BE, nil
	}
	return "", ErrEncoding
}

// windows1252 decodes a row that is not UTF-8. False when it is neither.
func windows1252(row []byte) ([]byte, bool) {
	text, err := charmap.Windows1252.NewDecoder().Bytes(row)
	if err != nil || bytes.ContainsRune(text, utf8.RuneError) {
		return nil, false
	}
	return text, true
}
