package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/securly/sync/gateway/internal/problem"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
)

const (
	// watchLife is shorter than a token's life. Browsers connect again by themselves, with their
	// resume point, and so show again who they are.
	watchLife = 10 * time.Minute
	// beat keeps proxies from closing a connection on which nothing happens.
	beat = 15 * time.Second
	// refusal is how long the store may take to refuse a watch.
	refusal = time.Second
)

// Watch answers with what changes after a revision, as server-sent events:
//
//	event: begin      data: {"revision":43,"commitTime":"…"}
//	event: changes    data: {"records":[{"entity":"users","record":{…}},…]}
//	event: end        data: {"revision":43}       id: 43
//	event: bookmark   data: {"revision":43}       id: 43
//	event: problem    data: problem JSON; the stream ends
//
// Only what completes a revision has an id, so that a client which lost its connection in between
// gets the revision again as a whole.
func Watch(rosters rosterv1.RosterServiceClient, stopping <-chan struct{}) func(http.ResponseWriter, *http.Request, map[string]string) error {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) error {
		if err := allow(r.URL.Query(), "after"); err != nil {
			return err
		}
		after, err := resumePoint(r)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), watchLife)
		defer cancel()
		in, err := rosters.Watch(ctx, &rosterv1.WatchRequest{District: params["district"], After: after})
		if err != nil {
			return err
		}
		messages := make(chan received)
		go receive(ctx, in, messages)
		ticker := time.NewTicker(beat)
		defer ticker.Stop()

		events := &eventWriter{w: w, control: http.NewResponseController(w)}
		// A refusal comes at once; the first event may take until the next sync.
		select {
		case first := <-messages:
			if first.err != nil {
				return first.err
			}
			events.start()
			events.send(first.message)
		case <-time.After(refusal):
			events.start()
		case <-stopping:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		for events.err == nil {
			select {
			case next := <-messages:
				if next.err != nil {
					// The end of the stream's own time is no problem: the client comes again.
					if ctx.Err() == nil {
						events.event("problem", "", problem.From(r.Context(), next.err).JSON())
					}
					return nil
				}
				events.send(next.message)
			case <-ticker.C:
				events.comment()
			case <-stopping:
				return nil
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	}
}

// resumePoint prefers the header: a browser that connects again repeats the address, with the
// parameter of its first connection.
func resumePoint(r *http.Request) (int32, error) {
	name, text := "Last-Event-ID", r.Header.Get("Last-Event-ID")
	if text == "" {
		name, text = "after", r.URL.Query().Get("after")
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, invalid(name, "%q is not a revision", text)
	}
	return int32(n), nil
}

type received struct {
	message *rosterv1.WatchResponse
	err     error
}

// receive hands on one message at a time, so that a slow client slows the stream down.
func receive(ctx context.Context, in rosterv1.RosterService_WatchClient, out chan<- received) {
	for {
		message, err := in.Recv()
		select {
		case out <- received{message, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// eventWriter writes events until the first error.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

func (e *eventWriter) start() {
	e.w.Header().Set("Content-Type", "text/event-stream")
	// nginx would hold events back.
	e.w.Header().Set("X-Accel-Buffering", "no")
	e.write("retry: 1000\n\n")
}

func (e *eventWriter) comment() { e.write(":\n\n") }

func (e *eventWriter) event(name, id string, data []byte) {
	text := "event: " + name + "\n"
	if id != "" {
		text += "id: " + id + "\n"
	}
	e.write(text + "data: " + string(data) + "\n\n")
}

func (e *eventWriter) write(text string) {
	if e.err != nil {
		return
	}
	if e.err = extend(e.control); e.err != nil {
		return
	}
	if _, e.err = e.w.Write([]byte(text)); e.err != nil {
		return
	}
	e.err = e.control.Flush()
}

func (e *eventWriter) send(m *rosterv1.WatchResponse) {
	switch v := m.GetEvent().(type) {
	case *rosterv1.WatchResponse_Begin:
		e.event("begin", "", revisionJSON(v.Begin.GetRevision(), v.Begin.GetCommitTime()))
	case *rosterv1.WatchResponse_Changes:
		data := []byte(`{"records":[`)
		for i, r := range v.Changes.GetRecords() {
			if i > 0 {
				data = append(data, ',')
			}
			text, err := envelope(r)
			if err != nil {
				e.err = err
				return
			}
			data = append(data, text...)
		}
		e.event("changes", "", append(data, "]}"...))
	case *rosterv1.WatchResponse_End:
		e.complete("end", v.End.GetRevision())
	case *rosterv1.WatchResponse_Bookmark:
		e.complete("bookmark", v.Bookmark.GetRevision())
	}
}

func (e *eventWriter) complete(name string, revision int32) {
	e.event(name, strconv.Itoa(int(revision)), revisionJSON(revision, nil))
}

func revisionJSON(revision int32, commit *timestamppb.Timestamp) []byte {
	data := map[string]any{"revision": revision}
	if commit != nil {
		data["commitTime"] = commit.AsTime()
	}
	text, err := json.Marshal(data)
	if err != nil {
		panic(fmt.Sprintf("a number and a time are plain data: %v", err))
	}
	return text
}
