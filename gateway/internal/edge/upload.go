package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/errs"
)

const (
	chunkSize = 256 << 10
	// uploadIdle is how long a client may send nothing.
	uploadIdle = time.Minute
	// drainLimit is how much of a refused upload is still read, so that clients which send all
	// before they listen get to see why.
	drainLimit = 64 << 20
	drainTime  = 30 * time.Second
)

var (
	errUploadForm = errs.New(codes.InvalidArgument, "UPLOAD_FORM_INVALID",
		`send the package as multipart/form-data in the field "file": one zip or several CSV files, as curl -F file=@roster.zip does`)
	errCutOff = errs.New(codes.InvalidArgument, "UPLOAD_CUT_OFF",
		"the upload ended before it was complete, so nothing was stored: send it again")
)

// upload passes a package on to the ingest service while it arrives. Only an upload that arrived
// completely is told to be complete; ingest drops every other.
func (a *API) upload(w http.ResponseWriter, r *http.Request, params map[string]string) error {
	if err := populate(&authv1.GetMeRequest{}, r.URL.Query()); err != nil { // It has no parameters.
		return err
	}
	// A stream tells only with its end whether the caller may open it, and the gateway waits for
	// nobody's body who has not signed in.
	if _, err := a.auth.GetMe(r.Context(), &authv1.GetMeRequest{}); err != nil {
		return err
	}
	// A stream that is not ended in order is cancelled, at the latest here.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	body := &uploadBody{reader: http.MaxBytesReader(w, r.Body, a.maxUpload), control: http.NewResponseController(w)}
	stored, err := a.forward(ctx, body, r.Header.Get("Content-Type"), params)
	if err != nil {
		if r.Context().Err() != nil { // The client is gone, so the stream was cancelled.
			err = errCutOff
		}
		cancel()
		if deadlineErr := body.allow(drainTime); deadlineErr == nil {
			io.Copy(io.Discard, io.LimitReader(body.reader, drainLimit)) //nolint:errcheck // the answer is the error already
		}
		return err
	}
	text, err := newAPIJSON().Marshal(stored)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(text) //nolint:errcheck,gosec // the client is gone; JSON is no page
	return nil
}

func (a *API) forward(ctx context.Context, body io.Reader, contentType string, params map[string]string) (*ingestv1.UploadResponse, error) {
	kind, form, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" || form["boundary"] == "" {
		return nil, errUploadForm
	}
	out, err := a.sources.Upload(ctx)
	if err != nil {
		return nil, err
	}
	header := &ingestv1.UploadHeader{District: params["district"], Source: params["source"]}
	if err := send(out, &ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_Header{Header: header}}); err != nil {
		return nil, err
	}
	files := 0
	parts := multipart.NewReader(body, form["boundary"])
	for {
		part, err := parts.NextRawPart()
		// Exactly io.EOF is the end of the form; wrapped, it is the end of a form that was cut off.
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, a.cutOff(err)
		}
		if err := a.forwardFile(out, part); err != nil {
			return nil, err
		}
		files++
	}
	// What follows the form means nothing, but only its arrival shows that nothing is missing.
	if _, err := io.Copy(io.Discard, body); err != nil {
		return nil, a.cutOff(err)
	}
	if files == 0 {
		return nil, errUploadForm
	}
	if err := send(out, &ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_End{End: &ingestv1.UploadEnd{}}}); err != nil {
		return nil, err
	}
	return out.CloseAndRecv()
}

func (a *API) forwardFile(out ingestv1.SourceService_UploadClient, part *multipart.Part) error {
	// Part.FileName would cut folders off, and hide a hostile name from who judges it.
	_, disposition, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil || disposition["name"] != "file" || disposition["filename"] == "" || !utf8.ValidString(disposition["filename"]) {
		return errUploadForm
	}
	file := &ingestv1.UploadFile{Filename: disposition["filename"]}
	if err := send(out, &ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_File{File: file}}); err != nil {
		return err
	}
	buf := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(part, buf)
		if n > 0 {
			// The connection encodes a message before Send returns, so buf can be used again.
			if err := send(out, &ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_Chunk{Chunk: buf[:n]}}); err != nil {
				return err
			}
		}
		switch {
		// ReadFull turns the end of the part into ErrUnexpectedEOF, which is also what a part that
		// was cut off ends with; the next read tells them apart.
		case errors.Is(err, io.ErrUnexpectedEOF):
			if _, err := part.Read(buf); err != io.EOF { //nolint:errorlint // wrapped, it is no end
				return a.cutOff(err)
			}
			return nil
		case err == io.EOF:
			return nil
		case err != nil:
			return a.cutOff(err)
		}
	}
}

// send explains why a stream has ended early: the reason comes with the answer, not with Send.
func send(out ingestv1.SourceService_UploadClient, req *ingestv1.UploadRequest) error {
	err := out.Send(req)
	if errors.Is(err, io.EOF) {
		if _, answer := out.CloseAndRecv(); answer != nil {
			return answer
		}
		return errs.New(codes.Internal, "UPLOAD_ENDED", "the upload was answered before it was complete")
	}
	return err
}

// cutOff says why the body could not be read to its end.
func (a *API) cutOff(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return errs.Errorf(codes.InvalidArgument, "UPLOAD_TOO_LARGE",
			"the upload is larger than %d MiB: send a zip, or fewer files at once", a.maxUpload>>20)
	}
	return errCutOff
}

// uploadBody lets a slow client take its time as long as something arrives.
type uploadBody struct {
	reader  io.Reader
	control *http.ResponseController
}

func (b *uploadBody) Read(p []byte) (int, error) {
	if err := b.allow(uploadIdle); err != nil {
		return 0, err
	}
	return b.reader.Read(p)
}

// allow has the client send something, or all, within d.
func (b *uploadBody) allow(d time.Duration) error {
	// A writer without deadlines, in a test, is no reason to refuse an upload.
	if err := b.control.SetReadDeadline(time.Now().Add(d)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("set a read deadline: %w", err)
	}
	return nil
}
