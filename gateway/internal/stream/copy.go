// Package stream answers HTTP requests with the streams of the services: whole rosters as NDJSON,
// changes as server-sent events.
package stream

import (
	"errors"
	"io"
	"net/http"

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
	for err == nil {
		var text []byte
		if text, err = encode(message); err != nil {
			break
		}
		if _, err = w.Write(text); err != nil {
			break
		}
		message, err = recv()
	}
	if !errors.Is(err, io.EOF) {
		panic(http.ErrAbortHandler)
	}
	return nil
}
