package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/securly/sync/gateway"
	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/auth"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/health"
	"github.com/securly/sync/services/platform/rpc"
	"github.com/securly/sync/services/platform/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	clientID      = "automation"
	clientSecret  = "made+up secret%21"
	serviceSecret = "made-up-service-secret"
	maxUpload     = 4 << 20
)

// edge is a gateway in front of the real auth service and of services that answer what a test says.
type edge struct {
	*httptest.Server
	operator  string
	auth      authv1.AuthServiceClient
	districts *districts
	sources   *sources
	syncs     *syncs
	explains  *explains
	rosters   *rosters
	readiness *readiness
}

func start(t *testing.T) *edge {
	t.Helper()
	return startWith(t, "")
}

// startWith is start with a bootstrap client, whose secret takes long to check on purpose.
func startWith(t *testing.T, bootstrap config.Secret, change ...func(*gateway.Config)) *edge {
	t.Helper()
	e := &edge{districts: &districts{}, sources: &sources{}, syncs: &syncs{}, explains: &explains{}, rosters: &rosters{}, readiness: &readiness{}}
	service, err := auth.New(
		auth.Config{BootstrapClient: bootstrap, ServiceSecret: serviceSecret},
		auth.Deps{Docs: testkit.Docs(t), Log: testkit.Log(t)})
	require.NoError(t, err)
	network := rpc.NewInMemory()
	server := rpc.NewServer(rpc.ServerOptions{Log: testkit.Log(t), Verifier: authn.NewVerifier(service.Keys)})
	service.Register(server)
	ingestv1.RegisterDistrictServiceServer(server, e.districts)
	ingestv1.RegisterSourceServiceServer(server, e.sources)
	ingestv1.RegisterSyncServiceServer(server, e.syncs)
	ingestv1.RegisterExplainServiceServer(server, e.explains)
	rosterv1.RegisterRosterServiceServer(server, e.rosters)
	readinessv1.RegisterReadinessServiceServer(server, e.readiness)
	served := make(chan error, 1)
	go func() { served <- server.Serve(network.Listener()) }()
	conn, err := network.Dial()
	require.NoError(t, err)
	e.auth = authv1.NewAuthServiceClient(conn)
	cfg := gateway.Config{ServiceSecret: serviceSecret, MaxUpload: maxUpload}
	for _, f := range change {
		f(&cfg)
	}
	g, err := gateway.New(
		cfg,
		gateway.Deps{
			Auth: conn, Ingest: conn, Roster: conn, Readiness: conn,
			Log: testkit.Log(t), Health: (&health.Checks{}).Handler(),
		})
	require.NoError(t, err)
	e.Server = httptest.NewServer(g.Handler())
	t.Cleanup(func() {
		e.Close()
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-served)
	})
	return e
}

// token is the operator's.
func (e *edge) token(t *testing.T) string {
	t.Helper()
	if e.operator != "" {
		return e.operator
	}
	link, err := e.auth.CreateSignInLink(e.asService(t), &authv1.CreateSignInLinkRequest{})
	require.NoError(t, err)
	session, err := e.auth.RedeemSignInLink(t.Context(), &authv1.RedeemSignInLinkRequest{Code: link.GetCode()})
	require.NoError(t, err)
	e.operator = session.GetAccessToken()
	return e.operator
}

type answer struct {
	*http.Response
	body string
}

// json decodes the body.
func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &m), a.body)
	return m
}

func (e *edge) do(t *testing.T, client *http.Client, method, path string, body io.Reader, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, e.URL+path, body)
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(t, res.Body.Close())
	require.NoError(t, err)
	return answer{res, string(text)}
}

// call is do with the operator's token.
func (e *edge) call(t *testing.T, method, path, body string, header ...string) answer {
	t.Helper()
	return e.do(t, e.Client(), method, path, strings.NewReader(body), append(header, "Authorization", "Bearer "+e.token(t))...)
}

// browser keeps cookies and follows no redirects.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// asService returns a context of the gateway's own.
func (e *edge) asService(t *testing.T) context.Context {
	t.Helper()
	issued, err := e.auth.IssueToken(t.Context(), &authv1.IssueTokenRequest{ClientId: "service:gateway", ClientSecret: serviceSecret})
	require.NoError(t, err)
	return authn.WithToken(t.Context(), issued.GetAccessToken())
}

func (e *edge) signIn(t *testing.T, client *http.Client) {
	t.Helper()
	link, err := e.auth.CreateSignInLink(e.asService(t), &authv1.CreateSignInLinkRequest{})
	require.NoError(t, err)
	a := e.do(t, client, "GET", "/auth/link?code="+url.QueryEscape(link.GetCode()), nil)
	require.Equal(t, http.StatusSeeOther, a.StatusCode, a.body)
	require.Equal(t, "/", a.Header.Get("Location"))
}

type districts struct {
	ingestv1.UnimplementedDistrictServiceServer
	created *ingestv1.CreateDistrictRequest
	updated *ingestv1.UpdateDistrictRequest
	create  func(context.Context) error
}

func (d *districts) CreateDistrict(ctx context.Context, req *ingestv1.CreateDistrictRequest) (*ingestv1.District, error) {
	d.created = req
	if d.create != nil {
		if err := d.create(ctx); err != nil {
			return nil, err
		}
	}
	return &ingestv1.District{Name: "districts/" + req.GetDistrictId(), DistrictId: req.GetDistrictId(), DisplayName: req.GetDistrict().GetDisplayName()}, nil
}

func (d *districts) UpdateDistrict(_ context.Context, req *ingestv1.UpdateDistrictRequest) (*ingestv1.District, error) {
	d.updated = req
	return &ingestv1.District{DistrictId: req.GetDistrict()}, nil
}

func (d *districts) ListDistricts(context.Context, *ingestv1.ListDistrictsRequest) (*ingestv1.ListDistrictsResponse, error) {
	return &ingestv1.ListDistrictsResponse{}, nil
}

type uploadStream = grpc.ClientStreamingServer[ingestv1.UploadRequest, ingestv1.UploadResponse]

type sources struct {
	ingestv1.UnimplementedSourceServiceServer
	// upload is read by handlers that may outlive the request of a client which left.
	upload atomic.Pointer[func(uploadStream) error]
}

func (s *sources) Upload(in uploadStream) error { return (*s.upload.Load())(in) }

func (s *sources) onUpload(f func(uploadStream) error) { s.upload.Store(&f) }

type syncs struct {
	ingestv1.UnimplementedSyncServiceServer
	list []*ingestv1.Sync
	err  error
}

func (s *syncs) ListSyncs(context.Context, *ingestv1.ListSyncsRequest) (*ingestv1.ListSyncsResponse, error) {
	return &ingestv1.ListSyncsResponse{Syncs: s.list}, s.err
}

type explains struct {
	ingestv1.UnimplementedExplainServiceServer
	asked *ingestv1.ExplainRecordRequest
}

func (e *explains) ExplainRecord(_ context.Context, req *ingestv1.ExplainRecordRequest) (*ingestv1.ExplainRecordResponse, error) {
	e.asked = req
	return &ingestv1.ExplainRecordResponse{Entity: req.GetEntity(), SourcedId: req.GetSourcedId(), Verdict: "never-delivered"}, nil
}

func (e *explains) ListPackages(context.Context, *ingestv1.ListPackagesRequest) (*ingestv1.ListPackagesResponse, error) {
	return &ingestv1.ListPackagesResponse{Packages: []*ingestv1.Package{{UploadId: "up", Size: 12}}}, nil
}

type rosters struct {
	rosterv1.UnimplementedRosterServiceServer
	listed  *rosterv1.ListRecordsRequest
	list    func(*rosterv1.ListRecordsRequest) (*rosterv1.ListRecordsResponse, error)
	get     *rosterv1.GetRecordResponse
	history *rosterv1.GetRecordHistoryResponse
	summary *rosterv1.Summary
	csv     func(grpc.ServerStreamingServer[httpBody]) error
	export  func(*rosterv1.ExportRequest, grpc.ServerStreamingServer[rosterv1.ExportResponse]) error
	watch   func(*rosterv1.WatchRequest, grpc.ServerStreamingServer[rosterv1.WatchResponse]) error
}

func (r *rosters) ListRecords(_ context.Context, req *rosterv1.ListRecordsRequest) (*rosterv1.ListRecordsResponse, error) {
	r.listed = req
	return r.list(req)
}

func (r *rosters) GetRecord(context.Context, *rosterv1.GetRecordRequest) (*rosterv1.GetRecordResponse, error) {
	return r.get, nil
}

func (r *rosters) GetRecordHistory(context.Context, *rosterv1.GetRecordHistoryRequest) (*rosterv1.GetRecordHistoryResponse, error) {
	return r.history, nil
}

func (r *rosters) GetSummary(context.Context, *rosterv1.GetSummaryRequest) (*rosterv1.Summary, error) {
	return r.summary, nil
}

func (r *rosters) ExportRecordsCsv(req *rosterv1.ListRecordsRequest, out grpc.ServerStreamingServer[httpBody]) error {
	r.listed = req
	return r.csv(out)
}

func (r *rosters) Export(req *rosterv1.ExportRequest, out grpc.ServerStreamingServer[rosterv1.ExportResponse]) error {
	return r.export(req, out)
}

func (r *rosters) Watch(req *rosterv1.WatchRequest, out grpc.ServerStreamingServer[rosterv1.WatchResponse]) error {
	return r.watch(req, out)
}

type readiness struct {
	readinessv1.UnimplementedReadinessServiceServer
	list []*readinessv1.ReadinessReport
}

func (r *readiness) ListReadinessReports(context.Context, *readinessv1.ListReadinessReportsRequest) (*readinessv1.ListReadinessReportsResponse, error) {
	return &readinessv1.ListReadinessReportsResponse{ReadinessReports: r.list}, nil
}
