package resourceid_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/platform/resourceid"
)

func TestValid(t *testing.T) {
	for _, id := range []string{"a", "7", "lake-side", "a-", strings.Repeat("x", 63)} {
		require.True(t, resourceid.Valid(id), id)
	}
	for _, id := range []string{"", "-a", "A", "a_b", "a.b", "a/b", "..", "ä", "a\n", "a\xff", "*", strings.Repeat("x", 64)} {
		require.False(t, resourceid.Valid(id), "%q", id)
	}
}
