package edge

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/securly/sync/gateway/internal/stream"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/record"
)

func entityNames() []string {
	var names []string
	for _, e := range record.Entities() {
		names = append(names, record.EntityName(e))
	}
	return names
}

func (a *API) downloadRecords(entity string) func(http.ResponseWriter, *http.Request, map[string]string) error {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) error {
		req := &rosterv1.ListRecordsRequest{}
		if err := populate(req, r.URL.Query(), "district", "entity"); err != nil {
			return err
		}
		req.District, req.Entity = params["district"], entity
		body, err := a.rosters.ExportRecordsCsv(r.Context(), req)
		return download(w, body, err, req.GetDistrict(), entity)
	}
}

func (a *API) downloadChanges(w http.ResponseWriter, r *http.Request, params map[string]string) error {
	req := &ingestv1.ListSyncChangesRequest{}
	if err := populate(req, r.URL.Query(), "district", "sync"); err != nil {
		return err
	}
	req.District, req.Sync = params["district"], params["sync"]
	body, err := a.syncs.ExportSyncChanges(r.Context(), req)
	return download(w, body, err, req.GetDistrict(), "changes", req.GetSync(), req.GetEntity(), req.GetKind())
}

func (a *API) downloadReport(w http.ResponseWriter, r *http.Request, params map[string]string) error {
	req := &readinessv1.DownloadReadinessReportRequest{}
	if err := populate(req, r.URL.Query(), "district", "report"); err != nil {
		return err
	}
	req.District, req.Report = params["district"], params["report"]
	body, err := a.readiness.DownloadReadinessReport(r.Context(), req)
	return download(w, body, err, req.GetDistrict(), "readiness", req.GetReport(), req.GetProduct(), req.GetCheckId())
}

// populate reads a query string; what the path says is left alone.
func populate(req proto.Message, query url.Values, pathParams ...string) error {
	query = maps.Clone(query)
	for _, p := range pathParams {
		query.Del(p)
	}
	return parseQuery(req, query)
}

var notInFileNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// download answers with a file made of the stream's chunks.
func download(w http.ResponseWriter, body grpc.ServerStreamingClient[httpbody.HttpBody], err error, nameParts ...string) error {
	if err != nil {
		return err
	}
	name := strings.Join(slices.DeleteFunc(nameParts, func(p string) bool { return p == "" }), "-")
	name = notInFileNames.ReplaceAllString(name, "_")
	return stream.Copy(w, body.Recv, func(first *httpbody.HttpBody) {
		contentType := first.GetContentType()
		if contentType == "" {
			contentType = "text/csv; charset=utf-8"
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.csv"`, name))
	}, func(chunk *httpbody.HttpBody) ([]byte, error) { return chunk.GetData(), nil })
}
