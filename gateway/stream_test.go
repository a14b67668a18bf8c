package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
)

func readAll(client *http.Client, req *http.Request) error {
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return errors.Join(err, res.Body.Close())
}

// received is what the ingest service has seen of an upload.
type received struct {
	header   *ingestv1.UploadHeader
	files    map[string][]byte
	complete bool
	err      error
}

// keep makes the ingest service keep uploads, and tells of each.
func (s *sources) keep() <-chan received {
	seen := make(chan received, 10)
	s.onUpload(func(in uploadStream) error {
		got := received{files: map[string][]byte{}}
		var name string
		for {
			req, err := in.Recv()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					got.err = err
				}
				break
			}
			switch m := req.GetMessage().(type) {
			case *ingestv1.UploadRequest_Header:
				got.header = m.Header
			case *ingestv1.UploadRequest_File:
				name = m.File.GetFilename()
				got.files[name] = nil
			case *ingestv1.UploadRequest_Chunk:
				got.files[name] = append(got.files[name], m.Chunk...)
			case *ingestv1.UploadRequest_End:
				got.complete = true
			}
		}
		seen <- got
		if !got.complete {
			return errs.New(codes.Aborted, "UPLOAD_CUT_OFF", "cut off")
		}
		resp := &ingestv1.UploadResponse{UploadId: "1"}
		for name, content := range got.files {
			resp.Files = append(resp.Files, &ingestv1.UploadedFile{Name: name, Size: float64(len(content))})
		}
		return in.SendAndClose(resp)
	})
	return seen
}

func form(t *testing.T, files map[string][]byte) (body []byte, contentType string) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for name, content := range files {
		part, err := w.CreateFormFile("file", name)
		require.NoError(t, err)
		_, err = part.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes(), w.FormDataContentType()
}

const uploadPath = "/v1/districts/d/sources/s:upload"

func TestUpload(t *testing.T) {
	e := start(t)
	seen := e.sources.keep()
	large := bytes.Repeat([]byte("0123456789"), 100_000)
	body, kind := form(t, map[string][]byte{"users.csv": []byte("sourcedId\n"), "../../orgs.csv": large, "empty.csv": {}})
	a := e.call(t, "POST", uploadPath, string(body), "Content-Type", kind)
	require.Equal(t, 200, a.StatusCode, a.body)
	require.Equal(t, "1", a.json(t)["uploadId"])
	require.Len(t, a.json(t)["files"], 3)
	got := <-seen
	require.Equal(t, "d", got.header.GetDistrict())
	require.Equal(t, "s", got.header.GetSource())
	require.Equal(t, large, got.files["../../orgs.csv"], "a hostile name is judged by ingest")
	require.Contains(t, got.files, "empty.csv")
}

// Whatever way an upload ends early, ingest is not told that it is complete.
func TestUploadThatIsCutOff(t *testing.T) {
	e := start(t)
	body, kind := form(t, map[string][]byte{"users.csv": bytes.Repeat([]byte("x"), 600_000)})
	token := e.token(t)
	address, err := url.Parse(e.URL)
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		sent int
	}{
		{"in a file", 300_000},
		{"at the end of a chunk", 256 << 10},
		{"before the end of the form", len(body) - 10},
		{"in the last two bytes", len(body) - 3},
		{"in the header of a file", 40},
	} {
		for _, length := range []string{fmt.Sprintf("Content-Length: %d\r\n", len(body)), "Transfer-Encoding: chunked\r\n", fmt.Sprintf("Content-Length: %d\r\n", c.sent)} {
			t.Run(c.name+" "+strings.Fields(length)[0], func(t *testing.T) {
				seen := e.sources.keep()
				conn, err := net.Dial("tcp", address.Host)
				require.NoError(t, err)
				defer func() { require.NoError(t, conn.Close()) }()
				_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n%s\r\n", uploadPath, token, kind, length)
				require.NoError(t, err)
				if strings.HasPrefix(length, "Transfer") {
					_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", c.sent, body[:c.sent])
				} else {
					_, err = conn.Write(body[:c.sent])
				}
				require.NoError(t, err)
				require.NoError(t, conn.(*net.TCPConn).CloseWrite())
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, 400, res.StatusCode)
				got := <-seen
				require.False(t, got.complete)
				require.Error(t, got.err, "the stream is cancelled, not ended")
			})
		}
	}
}

func TestUploadThatIsRefused(t *testing.T) {
	e := start(t)
	good, kind := form(t, map[string][]byte{"users.csv": []byte("x")})
	tooLarge, largeKind := form(t, map[string][]byte{"users.csv": bytes.Repeat([]byte("x"), maxUpload+1)})
	var field bytes.Buffer
	w := multipart.NewWriter(&field)
	require.NoError(t, w.WriteField("note", "x"))
	require.NoError(t, w.Close())
	for _, c := range []struct {
		name, body, kind, reason string
	}{
		{"not a form", "PK", "application/zip", "UPLOAD_FORM_INVALID"},
		{"no content type", string(good), "", "UPLOAD_FORM_INVALID"},
		{"no boundary", string(good), "multipart/form-data", "UPLOAD_FORM_INVALID"},
		{"other boundary", string(good), "multipart/form-data; boundary=other", "UPLOAD_CUT_OFF"},
		{"no file", "--x--\r\n", "multipart/form-data; boundary=x", "UPLOAD_FORM_INVALID"},
		{"other field", field.String(), w.FormDataContentType(), "UPLOAD_FORM_INVALID"},
		{"too large", string(tooLarge), largeKind, "UPLOAD_TOO_LARGE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := e.sources.keep()
			a := e.call(t, "POST", uploadPath, c.body, "Content-Type", c.kind)
			require.Equal(t, 400, a.StatusCode, a.body)
			require.Equal(t, c.reason, a.json(t)["reason"], a.body)
			select {
			case got := <-seen:
				require.False(t, got.complete)
			default:
			}
		})
	}
	t.Run("by ingest, in the middle", func(t *testing.T) {
		e.sources.onUpload(func(in uploadStream) error {
			if _, err := in.Recv(); err != nil {
				return err
			}
			return errs.New(codes.InvalidArgument, "PACKAGE_INVALID", "users.csv: is not a CSV file").With("file", "users.csv")
		})
		body, kind := form(t, map[string][]byte{"users.csv": bytes.Repeat([]byte("x"), maxUpload-1000)})
		a := e.call(t, "POST", uploadPath, string(body), "Content-Type", kind)
		require.Equal(t, 400, a.StatusCode, a.body)
		require.Equal(t, "PACKAGE_INVALID", a.json(t)["reason"])
	})
	require.Equal(t, 401, e.do(t, e.Client(), "POST", uploadPath, bytes.NewReader(good), "Content-Type", kind).StatusCode)
}

func TestExport(t *testing.T) {
	e := start(t)
	e.rosters.export = func(req *rosterv1.ExportRequest, out grpc.ServerStreamingServer[rosterv1.ExportResponse]) error {
		revision := req.GetRevision()
		if revision == 0 {
			revision = 9
		}
		for _, id := range []string{"a", "b"} {
			if err := out.Send(&rosterv1.ExportResponse{Revision: revision, Records: []*typev1.Record{userRecord(id)}}); err != nil {
				return err
			}
		}
		return nil
	}
	e.rosters.list = func(req *rosterv1.ListRecordsRequest) (*rosterv1.ListRecordsResponse, error) {
		require.Equal(t, "2026-09-01", req.GetAsOf())
		return &rosterv1.ListRecordsResponse{Revision: 5}, nil
	}
	for asOf, revision := range map[string]string{"": "9", "3": "3", "2026-09-01": "5"} {
		a := e.call(t, "GET", "/v1/districts/d:export?entities=users,orgs&asOf="+asOf, "")
		require.Equal(t, 200, a.StatusCode, a.body)
		require.Equal(t, revision, a.Header.Get("Securly-Sync-Revision"))
		require.Equal(t, "application/x-ndjson", a.Header.Get("Content-Type"))
		lines := strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
		require.Len(t, lines, 2)
		require.Equal(t, `{"entity":"users","record":`+strings.ReplaceAll(userText, "u:1/ü", "a")+`}`, lines[0])
	}
	a := e.call(t, "GET", "/v1/districts/d:export?entities=pupils", "")
	require.Equal(t, 400, a.StatusCode)
	require.Contains(t, a.body, "pupils")

	var asked *rosterv1.ExportRequest
	e.rosters.export = func(req *rosterv1.ExportRequest, out grpc.ServerStreamingServer[rosterv1.ExportResponse]) error {
		asked = req
		return out.Send(&rosterv1.ExportResponse{Revision: req.GetRevision()})
	}
	a = e.call(t, "GET", "/v1/districts/d:export?asOf=9&afterEntity=users&afterSourcedId=u%3A1%2F%C3%BC", "")
	require.Equal(t, 200, a.StatusCode, a.body)
	require.Equal(t, "users u:1/ü", asked.GetAfter().GetEntity()+" "+asked.GetAfter().GetSourcedId())
	for query, field := range map[string]string{"afterEntity=users&afterSourcedId=a": "asOf", "asOf=9&afterSourcedId=a": "afterEntity"} {
		a = e.call(t, "GET", "/v1/districts/d:export?"+query, "")
		require.Equal(t, 400, a.StatusCode)
		require.Contains(t, a.body, field)
	}
}

type event struct{ name, id, data string }

// events reads server-sent events until the stream ends.
func events(t *testing.T, body io.Reader, want int) []event {
	t.Helper()
	var all []event
	var now event
	lines := bufio.NewScanner(body)
	for len(all) < want && lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			now.name = value
		case "id":
			now.id = value
		case "data":
			now.data = value
		case "":
			if now.name != "" {
				all = append(all, now)
			}
			now = event{}
		}
	}
	require.Len(t, all, want)
	return all
}

func TestWatchResumes(t *testing.T) {
	e := start(t)
	// The store commits revisions 1 and 2, and drops the connection within revision 2 once.
	dropped := false
	e.rosters.watch = func(req *rosterv1.WatchRequest, out grpc.ServerStreamingServer[rosterv1.WatchResponse]) error {
		for r := req.GetAfter() + 1; r <= 2; r++ {
			for _, m := range []*rosterv1.WatchResponse{
				{Event: &rosterv1.WatchResponse_Begin{Begin: &rosterv1.RevisionBegin{Revision: r, CommitTime: noon}}},
				{Event: &rosterv1.WatchResponse_Changes{Changes: &rosterv1.Changes{Records: []*typev1.Record{userRecord("a")}}}},
			} {
				if err := out.Send(m); err != nil {
					return err
				}
			}
			if r == 2 && !dropped {
				dropped = true
				return errs.New(codes.Unavailable, "SLOW_WATCHER", "resume")
			}
			if err := out.Send(&rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_End{End: &rosterv1.RevisionEnd{Revision: r}}}); err != nil {
				return err
			}
		}
		if err := out.Send(&rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Bookmark{Bookmark: &rosterv1.Bookmark{Revision: 2}}}); err != nil {
			return err
		}
		<-out.Context().Done()
		return context.Cause(out.Context())
	}
	watch := func(path string, want int, header ...string) []event {
		req, err := http.NewRequestWithContext(t.Context(), "GET", e.URL+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+e.token(t))
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := e.Client().Do(req)
		require.NoError(t, err)
		defer func() { require.NoError(t, res.Body.Close()) }()
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
		return events(t, res.Body, want)
	}
	const changes = `{"records":[{"entity":"users","record":{"sourcedId":"a","status":"active","givenName":"Ada","roles":[{"role":"student","org":{"sourcedId":"s/1"}}]}}]}`
	first := watch("/v1/districts/d:watch", 6)
	require.Equal(t, []event{
		{"begin", "", `{"commitTime":"2026-09-01T12:00:00Z","revision":1}`},
		{"changes", "", changes},
		{"end", "1", `{"revision":1}`},
		{"begin", "", `{"commitTime":"2026-09-01T12:00:00Z","revision":2}`},
		{"changes", "", changes},
	}, first[:5])
	require.Equal(t, "problem", first[5].name)
	require.Contains(t, first[5].data, "SLOW_WATCHER")

	// A browser comes again with the last id it has, on the address of before.
	again := watch("/v1/districts/d:watch?after=0", 4, "Last-Event-ID", "1")
	require.Equal(t, []event{
		{"begin", "", `{"commitTime":"2026-09-01T12:00:00Z","revision":2}`},
		{"changes", "", changes},
		{"end", "2", `{"revision":2}`},
		{"bookmark", "2", `{"revision":2}`},
	}, again)
	require.Equal(t, []event{{"bookmark", "2", `{"revision":2}`}}, watch("/v1/districts/d:watch?after=2", 1))
}

func TestWatchRefused(t *testing.T) {
	e := start(t)
	e.rosters.watch = func(*rosterv1.WatchRequest, grpc.ServerStreamingServer[rosterv1.WatchResponse]) error {
		return authn.DistrictNotFound("d")
	}
	require.Equal(t, 404, e.call(t, "GET", "/v1/districts/d:watch", "").StatusCode)
	a := e.call(t, "GET", "/v1/districts/d:watch?after=soon", "")
	require.Equal(t, 400, a.StatusCode)
	require.Contains(t, a.body, "after")
	require.Equal(t, 400, e.call(t, "GET", "/v1/districts/d:watch", "", "Last-Event-ID", "-1").StatusCode)
}
