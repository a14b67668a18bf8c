package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/gateway"
)

// Bodies are read before anybody has signed in.
func TestSlowBodyIsNotWaitedFor(t *testing.T) {
	e := startWith(t, "", func(c *gateway.Config) { c.BodyTimeout = 50 * time.Millisecond })
	for _, c := range []struct {
		path   string
		status int
	}{
		{"/v1/districts?districtId=x", 400},
		{"/oauth2/token", 400},
		{"/auth/logout", 204},
		{"/v1/nothing:upload", 404},
		{"/", 405},
		{uploadPath, 401},
	} {
		for _, length := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked"} {
			t.Run(c.path+" "+length, func(t *testing.T) {
				conn, err := net.Dial("tcp", e.Listener.Addr().String())
				require.NoError(t, err)
				defer func() { require.NoError(t, conn.Close()) }()
				require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
				_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n%s\r\n\r\n1", c.path, length)
				require.NoError(t, err)
				answer := bufio.NewReader(conn)
				res, err := http.ReadResponse(answer, nil)
				require.NoError(t, err)
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, c.status, res.StatusCode, string(body))
				require.NotContains(t, string(body), "127.0.0.1")
				_, err = answer.ReadByte()
				require.ErrorIs(t, err, io.EOF, "the connection is closed")
			})
		}
	}
}

// The time for a body is none for the answer.
func TestSlowAnswerIsWaitedFor(t *testing.T) {
	const limit = 50 * time.Millisecond
	e := startWith(t, "", func(c *gateway.Config) { c.BodyTimeout = limit })
	e.districts.create = func(ctx context.Context) error {
		select {
		case <-time.After(4 * limit):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for range 2 { // on one connection
		a := e.call(t, "POST", "/v1/districts?districtId=x", `{"displayName":"`+strings.Repeat("x", 10_000)+`"}`)
		require.Equal(t, 200, a.StatusCode, a.body)
	}
}
