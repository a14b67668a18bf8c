package sheet_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/platform/sheet"
)

func TestGuard(t *testing.T) {
	require.Equal(t,
		[]string{"'=1+1", "'+1", "'-1", "'@sum", "'\t=1", "'\r=1", "'\n=1", "", "Ada", "a=1", "'", "1-1"},
		sheet.Guard([]string{"=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", "", "Ada", "a=1", "'", "1-1"}))
	require.Empty(t, sheet.Guard(nil))
}
