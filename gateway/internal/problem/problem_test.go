package problem_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/securly/sync/gateway/internal/problem"
	"github.com/securly/sync/services/platform/errs"
)

func TestStatusOfReasons(t *testing.T) {
	for code, want := range map[codes.Code]int{
		codes.NotFound:        http.StatusNotFound,
		codes.InvalidArgument: http.StatusBadRequest,
		codes.OutOfRange:      http.StatusGone,
	} {
		err := fmt.Errorf("revision 3: %w", errs.New(code, "REASON", "read a newer one"))
		p := problem.From(t.Context(), err)
		require.Equal(t, want, p.Code)
		require.Equal(t, "REASON", p.Reason)
		require.Equal(t, "revision 3: read a newer one", p.Message)
	}
}
