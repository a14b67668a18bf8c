package testkit

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
)

// LayerText returns what the blocks of a layer file hold, so that tests can look
// for what must not be there; false if it is none.
func LayerText(t testing.TB, raw []byte) (text []byte, ok bool) {
	t.Helper()
	const magic = "securly-sync layer "
	if !bytes.HasPrefix(raw, []byte(magic)) {
		return nil, false
	}
	rest, ok := bytes.CutPrefix(raw, []byte(magic+"3\n"))
	require.True(t, ok, "a layer file of a version that the tests cannot read")
	for len(rest) > 0 {
		size := binary.LittleEndian.Uint32(rest[8:])
		block := rest[12 : 12+size]
		rest = rest[12+size:]
		_, n := binary.Uvarint(block)
		id, m := binary.Uvarint(block[n:])
		plain, err := s2.Decode(nil, block[n+m+int(id):])
		require.NoError(t, err)
		text = append(text, plain...)
	}
	return text, true
}
