package pagetoken_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/pagetoken"
)

var sealer = pagetoken.New([]byte("a key for tests"))

func TestReplicasOpenEachOthersTokens(t *testing.T) {
	token := sealer.Seal([]byte("d1|rev 7|role=student"), []byte("user-1042"))
	position, err := pagetoken.New([]byte("a key for tests")).Open(token, []byte("d1|rev 7|role=student"))
	require.NoError(t, err)
	require.Equal(t, "user-1042", string(position))
}

func TestTokensDoNotShowThePosition(t *testing.T) {
	a := sealer.Seal(nil, []byte("user-1042"))
	b := sealer.Seal(nil, []byte("user-1042"))
	require.NotContains(t, a, "1042")
	require.NotEqual(t, a, b, "nor that two positions are equal")
	require.Equal(t, strings.Trim(a, "+/=&?"), a, "fits into a URL")
}

func TestRefused(t *testing.T) {
	binding := []byte("d1|rev 7")
	token := sealer.Seal(binding, []byte("user-1042"))
	changed := func(i int) string {
		c := byte('A')
		if token[i] == c {
			c = 'B'
		}
		return token[:i] + string(c) + token[i+1:]
	}
	refuse := func(name, token string, binding []byte, s *pagetoken.Sealer) {
		t.Helper()
		position, err := s.Open(token, binding)
		require.ErrorIs(t, err, pagetoken.ErrInvalid, name)
		require.Empty(t, position)
		var e *errs.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "pageToken", e.Detail("field"))
	}
	refuse("other binding", token, []byte("d1|rev 8"), sealer)
	refuse("no binding", token, nil, sealer)
	refuse("other key", token, binding, pagetoken.New([]byte("another key")))
	refuse("fresh key", token, binding, pagetoken.New(pagetoken.Key()))
	for i := range token {
		refuse("cut off", token[:i], binding, sealer)
		refuse("changed", changed(i), binding, sealer)
	}
	refuse("longer", token+"A", binding, sealer)
}

// FuzzOpen: whatever is not a token is refused, and what is sealed opens.
func FuzzOpen(f *testing.F) {
	f.Add(sealer.Seal(nil, []byte("x")), []byte("binding"), []byte("position"))
	f.Add("", []byte(nil), []byte(nil))
	f.Fuzz(func(t *testing.T, foreign string, binding, position []byte) {
		token := sealer.Seal(binding, position)
		got, err := sealer.Open(token, binding)
		require.NoError(t, err)
		require.Equal(t, string(position), string(got))
		_, err = sealer.Open(foreign, append([]byte("never used "), binding...))
		require.ErrorIs(t, err, pagetoken.ErrInvalid)
	})
}

func TestSize(t *testing.T) {
	for asked, want := range map[int32]int{0: 100, 1: 1, 1000: 1000, 1001: 1000, 1<<31 - 1: 1000} {
		size, err := pagetoken.Size(asked)
		require.NoError(t, err)
		require.Equal(t, want, size)
	}
	_, err := pagetoken.Size(-1)
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "PAGE_SIZE_INVALID", e.Reason)
	require.Equal(t, "pageSize", e.Detail("field"))
}
