package health_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/securly/sync/services/platform/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(c *health.Checks, path string) (int, string) {
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadySaysWhatIsMissing(t *testing.T) {
	var c health.Checks
	var busErr error
	c.Add("events", func(context.Context) error { return busErr })
	c.Add("store", func(context.Context) error { return errors.New("disk is full") })

	code, text := get(&c, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "store is not ready: disk is full\n", text)
	busErr = errors.New("no connection")
	_, text = get(&c, "/readyz")
	require.Equal(t, "events is not ready: no connection\nstore is not ready: disk is full\n", text)
	code, text = get(&c, "/healthz")
	require.Equal(t, http.StatusOK, code, "it runs all the same")
	require.Equal(t, "ok\n", text)
}

func TestDrain(t *testing.T) {
	var c health.Checks
	code, text := get(&c, "/readyz")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ready\n", text)
	c.Drain()
	code, _ = get(&c, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	code, _ = get(&c, "/healthz")
	require.Equal(t, http.StatusOK, code)
}

func TestSlowCheckIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c health.Checks
		for _, name := range []string{"a", "b"} {
			c.Add(name, func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}
		require.ErrorIs(t, c.Ready(t.Context()), context.DeadlineExceeded)
	})
}
