package stream

import (
	"io"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// timed is a connection that notes until when each write may take.
type timed struct {
	*httptest.ResponseRecorder
	deadline time.Time
	writes   []time.Time
}

func (w *timed) SetWriteDeadline(d time.Time) error {
	w.deadline = d
	return nil
}

func (w *timed) Write(p []byte) (int, error) {
	w.writes = append(w.writes, w.deadline)
	w.deadline = time.Time{}
	return w.ResponseRecorder.Write(p)
}

func TestEachChunkHasADeadline(t *testing.T) {
	w := &timed{ResponseRecorder: httptest.NewRecorder()}
	chunks := []string{"a", "b", "c"}
	began := time.Now()
	err := Copy(w, func() (*wrapperspb.StringValue, error) {
		if len(chunks) == 0 {
			return nil, io.EOF
		}
		next := wrapperspb.String(chunks[0])
		chunks = chunks[1:]
		return next, nil
	}, func(*wrapperspb.StringValue) {}, func(m *wrapperspb.StringValue) ([]byte, error) { return []byte(m.GetValue()), nil })
	require.NoError(t, err)
	require.Equal(t, "abc", w.Body.String())
	require.Len(t, w.writes, 3)
	for _, deadline := range append(w.writes, w.deadline) {
		require.WithinRange(t, deadline, began.Add(writeTimeout), time.Now().Add(writeTimeout))
	}
}
