// Package stream answers HTTP requests with the streams of the services: whole rosters as NDJSON,
// changes as server-sent events.
package stream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"
)

// Copy answers with the encoded messages of a stream, the first of which sets the headers. An
// error before the first message is returned, to be answered with. One after it breaks the
// connection: it is the only way to tell the client that what it got is not all.
func Copy[M proto.Message](w http.ResponseWriter, recv func() (M, error), header func(first M), encode func(M) ([]byte, error)) error {
	message, err := recv()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	header(message)
	control := http.NewResponseController(w)
	for err == nil {
		var text []byte
		if text, err = encode(message); err != nil {
			break
		}
		if err = extend(control); err != nil {
			break
		}
		if _, err = w.Write(text); err != nil {
			break
		}
		message, err = recv()
	}
	// The server still holds the end of the answer.
	if !errors.Is(err, io.EOF) || extend(control) != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// writeTimeout ends the connection of a client that no longer reads.
const writeTimeout = time.Minute

// extend gives the client time for what is written next. A writer without deadlines, in a test, is
// no reason to write nothing.
func extend(control *http.ResponseController) error {
	if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("set a write deadline: %w", err)
	}
	return nil
}
