package standalone_test

import (
	"context"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/securly/sync/deploy/standalone"
	"github.com/securly/sync/deploy/standalone/internal/demo"
	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/rpc"
	"github.com/securly/sync/services/platform/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	clientID     = "automation"
	clientSecret = "made-up-secret"
)

// hub is a running hub with a connection to its gRPC address.
type hub struct {
	*standalone.Hub
	conn *grpc.ClientConn
	stop func() // ends it; later calls do nothing
}

func start(t *testing.T, dataDir string) *hub {
	t.Helper()
	opened, err := standalone.Open(t.Context(), standalone.Config{
		DataDir: dataDir, HTTPAddr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0",
		BootstrapClient: clientID + ":" + clientSecret, Grace: 5 * time.Second,
	}, standalone.Deps{Log: testkit.Log(t), Registry: prometheus.NewRegistry()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- opened.Run(ctx) }()
	conn, err := rpc.Dial(opened.GRPCAddr())
	require.NoError(t, err)
	h := &hub{Hub: opened, conn: conn}
	stopped := false
	h.stop = func() {
		if stopped {
			return
		}
		stopped = true
		require.NoError(t, conn.Close())
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, opened.Close())
	}
	t.Cleanup(h.stop)
	return h
}

// as returns a context with a token of the client.
func (h *hub) as(t *testing.T, id, secret, scope string) context.Context {
	t.Helper()
	issued, err := authv1.NewAuthServiceClient(h.conn).IssueToken(t.Context(),
		&authv1.IssueTokenRequest{ClientId: id, ClientSecret: secret, Scope: scope}, grpc.WaitForReady(true))
	require.NoError(t, err)
	return authn.WithToken(t.Context(), issued.GetAccessToken())
}

func (h *hub) get(t *testing.T, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL()+path, nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testkit.Wait}
	res, err := client.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

// The main job from end to end, and all of it still there after a restart.
func TestDemoSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir)
	ctx := h.as(t, clientID, clientSecret, "")
	require.NoError(t, demo.Fill(t.Context(), h.conn, clientID, clientSecret))

	look := func(h *hub, ctx context.Context) (users int32, report *readinessv1.ReadinessReport) {
		page, err := rosterv1.NewRosterServiceClient(h.conn).ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "demo", Entity: "users", Role: "student", Status: "active"})
		require.NoError(t, err)
		reports, err := readinessv1.NewReadinessServiceClient(h.conn).ListReadinessReports(ctx, &readinessv1.ListReadinessReportsRequest{District: "demo"})
		require.NoError(t, err)
		require.NotEmpty(t, reports.GetReadinessReports())
		return page.GetTotalSize(), reports.GetReadinessReports()[0]
	}
	users, report := look(h, ctx)
	require.EqualValues(t, 2000, users)
	require.EqualValues(t, 2, report.GetRevision())
	require.Equal(t, readinessv1.ReportState_COMPLETED, report.GetState())
	h.stop()

	began := time.Now()
	h = start(t, dir)
	require.Eventually(t, func() bool { return h.get(t, "/readyz") == http.StatusOK }, testkit.Wait, time.Millisecond)
	t.Logf("ready again after %s", time.Since(began))
	// A token of before the restart is still good: the keys are kept.
	users, again := look(h, ctx)
	require.EqualValues(t, 2000, users)
	require.Equal(t, report.GetName(), again.GetName())
	require.Len(t, again.GetChecks(), len(report.GetChecks()))
}

func TestHealthAndDoors(t *testing.T) {
	h := start(t, t.TempDir())
	require.Eventually(t, func() bool { return h.get(t, "/readyz") == http.StatusOK }, testkit.Wait, time.Millisecond)
	for _, path := range []string{"/healthz", "/metrics", "/openapi.json", "/docs", "/.well-known/jwks.json", "/"} {
		require.Equal(t, http.StatusOK, h.get(t, path), path)
	}
	check, err := grpc_health_v1.NewHealthClient(h.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, check.GetStatus())
}

func TestOperator(t *testing.T) {
	dir := t.TempDir()
	create := func() *authv1.Client {
		operator, err := standalone.Connect(t.Context(), dir, testkit.Log(t))
		require.NoError(t, err)
		client, err := operator.CreateClient(t.Context(), &authv1.CreateClientRequest{
			DisplayName: "Reader", Scopes: []string{"rosters.read"}, Districts: []string{"lakeside"},
		})
		require.NoError(t, err)
		require.NoError(t, operator.Close())
		return client
	}
	before := create() // on a folder that no hub has used yet
	h := start(t, dir)
	h.as(t, before.GetClientId(), before.GetClientSecret(), "")
	during := create() // at the hub that runs
	h.as(t, during.GetClientId(), during.GetClientSecret(), "")

	operator, err := h.Operator()
	require.NoError(t, err)
	link, _, err := operator.SignInLink(t.Context())
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, h.get(t, strings.TrimPrefix(link, h.URL())), "signed in and redirected to the UI")
	require.Equal(t, http.StatusUnauthorized, h.get(t, strings.TrimPrefix(link, h.URL())))

	h.stop()
	offline, err := standalone.Connect(t.Context(), dir, testkit.Log(t))
	require.NoError(t, err)
	_, _, err = offline.SignInLink(t.Context())
	require.ErrorContains(t, err, "no hub is running")
	require.NoError(t, offline.Close())
}

func TestDataDirectoryIsPrivateAndForOneHub(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hub")
	start(t, dir)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path == dir || !d.IsDir() && filepath.Dir(path) == dir {
			info, err := d.Info()
			require.NoError(t, err)
			require.Zero(t, info.Mode().Perm()&0o077, path)
		}
		return err
	}))
	_, err := standalone.Open(t.Context(), standalone.Config{DataDir: dir, HTTPAddr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0"},
		standalone.Deps{Log: testkit.Log(t), Registry: prometheus.NewRegistry()})
	require.ErrorContains(t, err, "is another hub running on this data directory?")
	_, err = os.Stat(filepath.Join(dir, "running.json"))
	require.NoError(t, err, "the mark of the first hub is left alone")
}

func TestAddressInUse(t *testing.T) {
	h := start(t, t.TempDir())
	_, err := standalone.Open(t.Context(), standalone.Config{
		DataDir: t.TempDir(), HTTPAddr: strings.TrimPrefix(h.URL(), "http://"), GRPCAddr: "127.0.0.1:0",
	}, standalone.Deps{Log: testkit.Log(t), Registry: prometheus.NewRegistry()})
	require.ErrorContains(t, err, "--http-addr")
}

// Each caller sees a district that is not there and one that is not its own alike.
func TestForeignDistrictLooksLikeNone(t *testing.T) {
	h := start(t, t.TempDir())
	ctx := h.as(t, clientID, clientSecret, "")
	districts := ingestv1.NewDistrictServiceClient(h.conn)
	_, err := districts.CreateDistrict(ctx, &ingestv1.CreateDistrictRequest{DistrictId: "theirs", District: &ingestv1.District{DisplayName: "Theirs"}})
	require.NoError(t, err)
	made, err := authv1.NewAuthServiceClient(h.conn).CreateClient(ctx, &authv1.CreateClientRequest{
		DisplayName: "Reader", Scopes: []string{"districts.read"}, Districts: []string{"mine"},
	})
	require.NoError(t, err)
	reader := h.as(t, made.GetClientId(), made.GetClientSecret(), "")
	_, foreign := districts.GetDistrict(reader, &ingestv1.GetDistrictRequest{District: "theirs"})
	_, unknown := districts.GetDistrict(ctx, &ingestv1.GetDistrictRequest{District: "theirz"})
	require.Equal(t, codes.NotFound, errs.Status(foreign).Code())
	require.Equal(t, strings.ReplaceAll(foreign.Error(), "theirs", "theirz"), unknown.Error())
}
