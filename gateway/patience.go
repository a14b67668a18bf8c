package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// errSlowBody takes the place of an error that names addresses.
var errSlowBody = errors.New("it did not arrive in time: send it without pauses")

// impatient ends the connection of a client that sends its body too slowly. Handlers read bodies
// before they know who sends them, so anybody could hold connections open. An upload, which may take
// longer, moves its own deadline.
func impatient(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		body := &timedBody{ReadCloser: r.Body, control: http.NewResponseController(w)}
		// A writer without deadlines, in a test, is no reason to refuse a request.
		_ = body.control.SetReadDeadline(time.Now().Add(limit))
		r = r.WithContext(r.Context())
		r.Body = body
		next.ServeHTTP(w, r)
	})
}

// timedBody lifts the deadline at its end: the server goes on reading, to notice that the client has
// gone, and would take the deadline for that.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		_ = b.control.SetReadDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errSlowBody
	}
	return n, err //nolint:wrapcheck // A reader's error is its own.
}
