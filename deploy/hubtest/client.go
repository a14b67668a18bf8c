package hubtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"google.golang.org/grpc/metadata"
)

// Client calls a hub over HTTP with tokens of one client.
type Client struct {
	base   string
	tokens oauth2.TokenSource
}

// Client returns a caller with every scope on all districts.
func (h *Hub) Client(ctx context.Context) (*Client, error) {
	return h.ClientAs(ctx, ClientID, ClientSecret)
}

// ClientAs signs in as the given client.
func (h *Hub) ClientAs(ctx context.Context, id, secret string) (*Client, error) {
	cfg := clientcredentials.Config{
		ClientID: id, ClientSecret: secret, TokenURL: h.HTTPURL + "/oauth2/token", AuthStyle: oauth2.AuthStyleInHeader,
	}
	c := &Client{base: h.HTTPURL, tokens: cfg.TokenSource(context.WithoutCancel(ctx))}
	if _, err := c.tokens.Token(); err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	return c, nil
}

// Authorize returns a context for gRPC calls.
func (c *Client) Authorize(ctx context.Context) (context.Context, error) {
	token, err := c.tokens.Token()
	if err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token.AccessToken), nil
}

// Answer is a reply of the hub.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON decodes the body into out.
func (a *Answer) JSON(out any) error {
	if err := json.Unmarshal(a.Body, out); err != nil {
		return fmt.Errorf("status %d with a body that is not the JSON expected: %w: %.300s", a.Status, err, a.Body)
	}
	return nil
}

// Do sends a request; in is sent as JSON unless it is nil or an io.Reader.
func (c *Client) Do(ctx context.Context, method, path string, in any, header ...string) (*Answer, error) {
	var body io.Reader
	switch v := in.(type) {
	case nil:
	case io.Reader:
		body = v
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	token, err := c.tokens.Token()
	if err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	token.SetAuthHeader(req)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return &Answer{Status: res.StatusCode, Header: res.Header, Body: text}, nil
}

// Call is Do that wants a 2xx and decodes the answer into out unless it is nil.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	a, err := c.Do(ctx, method, path, in)
	if err != nil {
		return err
	}
	if a.Status/100 != 2 {
		return fmt.Errorf("%s %s: status %d: %s", method, path, a.Status, a.Body)
	}
	if out == nil {
		return nil
	}
	return a.JSON(out)
}

// Upload sends files as multipart/form-data in fields named file, streamed.
func (c *Client) Upload(ctx context.Context, district, source string, files ...string) (*Answer, error) {
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() { w.CloseWithError(writeForm(form, files)) }()
	path := fmt.Sprintf("/v1/districts/%s/sources/%s:upload", district, source)
	return c.Do(ctx, http.MethodPost, path, r, "Content-Type", form.FormDataContentType())
}

func writeForm(form *multipart.Writer, files []string) error {
	for _, name := range files {
		part, err := form.CreateFormFile("file", filepath.Base(name))
		if err != nil {
			return err
		}
		if err := copyFile(part, name); err != nil {
			return err
		}
	}
	return form.Close()
}

func copyFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// Sync is the part of a sync that tests look at.
type Sync struct {
	Name          string                    `json:"name"`
	SyncID        string                    `json:"syncId"`
	State         string                    `json:"state"`
	Error         string                    `json:"error"`
	Revision      int                       `json:"revision"`
	DryRun        bool                      `json:"dryRun"`
	FindingsCount int                       `json:"findingsCount"`
	Counts        map[string]map[string]int `json:"counts"`
	HoldReasons   []map[string]any          `json:"holdReasons"`
}

// CreateDistrict makes a district with one source named "sis" of connector oneroster-csv.
func (c *Client) CreateDistrict(ctx context.Context, district string) error {
	err := c.Call(ctx, http.MethodPost, "/v1/districts?districtId="+district,
		map[string]any{"displayName": "District " + district, "timeZone": "America/Chicago"}, nil)
	if err != nil {
		return err
	}
	return c.Call(ctx, http.MethodPost, "/v1/districts/"+district+"/sources?sourceId=sis",
		map[string]any{"displayName": "SIS export", "connector": "oneroster-csv"}, nil)
}

// UploadAndSync uploads files to source "sis", syncs them and waits for the end.
func (c *Client) UploadAndSync(ctx context.Context, district string, files ...string) (Sync, error) {
	a, err := c.Upload(ctx, district, "sis", files...)
	if err != nil {
		return Sync{}, err
	}
	var upload struct {
		UploadID string `json:"uploadId"`
	}
	if err := a.JSON(&upload); err != nil || upload.UploadID == "" {
		return Sync{}, fmt.Errorf("upload to %s: status %d: %s", district, a.Status, a.Body)
	}
	return c.RunSync(ctx, district, map[string]any{"uploadId": upload.UploadID})
}

// RunSync starts a sync of source "sis" and waits until it ends or is on hold.
func (c *Client) RunSync(ctx context.Context, district string, request map[string]any) (Sync, error) {
	var s Sync
	if err := c.Call(ctx, http.MethodPost, "/v1/districts/"+district+"/sources/sis:sync", request, &s); err != nil {
		return s, err
	}
	path := "/v1/" + s.Name
	err := Wait(ctx, "the end of "+s.Name, func() (bool, error) {
		s = Sync{}
		err := c.Call(ctx, http.MethodGet, path, nil, &s)
		return s.Ended() || s.State == "ON_HOLD", err
	})
	return s, err
}

// Ended tells whether the state is final.
func (s Sync) Ended() bool {
	switch s.State {
	case "COMPLETED", "FAILED", "CANCELLED", "DISCARDED", "SUPERSEDED":
		return true
	}
	return false
}

// Report is the part of a readiness report that tests look at.
type Report struct {
	Name     string `json:"name"`
	ReportID string `json:"reportId"`
	State    string `json:"state"`
	Error    string `json:"error"`
	Revision int    `json:"revision"`
	Checks   []struct {
		CheckID            string `json:"checkId"`
		Count              int    `json:"count"`
		InformationalCount int    `json:"informationalCount"`
		Population         int    `json:"population"`
	} `json:"checks"`
}

// Counts returns the actionable count by check id.
func (r Report) Counts() map[string]int {
	out := make(map[string]int, len(r.Checks))
	for _, c := range r.Checks {
		out[c.CheckID] = c.Count
	}
	return out
}

// RunReport asks for a report and waits for its end.
func (c *Client) RunReport(ctx context.Context, district string) (Report, error) {
	var r Report
	if err := c.Call(ctx, http.MethodPost, "/v1/districts/"+district+"/readinessReports", map[string]any{}, &r); err != nil {
		return r, err
	}
	path := "/v1/" + r.Name
	err := Wait(ctx, "the end of "+r.Name, func() (bool, error) {
		r = Report{}
		err := c.Call(ctx, http.MethodGet, path, nil, &r)
		return r.State == "COMPLETED" || r.State == "FAILED", err
	})
	return r, err
}
