package readiness_test

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/securly/sync/proto/gen/securly/sync/event/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/testkit"
	readiness "github.com/securly/sync/services/readiness-engine"
	"github.com/securly/sync/services/readiness-engine/internal/rostertest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// engine is a readiness engine with everything around it.
type engine struct {
	t      *testing.T
	cfg    readiness.Config
	ctx    context.Context
	roster *rostertest.Store
	ingest *rostertest.Ingest
	docs   docstore.Store
	blobs  *blob.Bucket
	bus    *events.Bus
	client readinessv1.ReadinessServiceClient
	run    func() (stop func())
}

func start(t *testing.T) *engine {
	t.Helper()
	return startWith(t, readiness.Config{})
}

// startWith makes an engine with short pauses; cfg says what else is special.
func startWith(t *testing.T, cfg readiness.Config) *engine {
	t.Helper()
	cfg.Sweep, cfg.Retry, cfg.Lease, cfg.Compare = 50*time.Millisecond, time.Millisecond, 300*time.Millisecond, cmp.Or(cfg.Compare, time.Minute)
	e := &engine{
		t: t, cfg: cfg, roster: rostertest.New(), ingest: rostertest.NewIngest(), docs: testkit.Docs(t), blobs: memblob.OpenBucket(nil), bus: testkit.Bus(t),
		ctx: testkit.As(t, t.Context(), testkit.Service()),
	}
	t.Cleanup(func() { require.NoError(t, e.blobs.Close()) })
	service := e.service()
	e.client = readinessv1.NewReadinessServiceClient(testkit.Server(t, service.Register))
	e.run = func() func() {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- service.Run(ctx) }()
		return func() {
			cancel()
			require.NoError(t, <-done)
		}
	}
	return e
}

func (e *engine) service() *readiness.Service {
	s, err := readiness.New(e.cfg, around(e.t, e.roster.Register, e.ingest.Register, readiness.Deps{
		Docs: e.docs, Blobs: e.blobs, Bus: e.bus, Log: testkit.Log(e.t),
	}))
	require.NoError(e.t, err)
	return s
}

// around adds the services around an engine.
func around(t testing.TB, roster, ingest func(grpc.ServiceRegistrar), deps readiness.Deps) readiness.Deps {
	deps.Roster = rosterv1.NewRosterServiceClient(testkit.Server(t, roster, grpcToken(t)))
	conn := testkit.Server(t, ingest, grpcToken(t))
	deps.Districts, deps.Sources, deps.Syncs = ingestv1.NewDistrictServiceClient(conn), ingestv1.NewSourceServiceClient(conn), ingestv1.NewSyncServiceClient(conn)
	return deps
}

// commit makes a revision and announces it.
func (e *engine) commit(district string, records ...*typev1.Record) int32 {
	e.t.Helper()
	revision := e.roster.Commit(district, records...)
	require.NoError(e.t, e.bus.Publish(e.ctx, events.Subject("roster", district, "revision-committed"),
		fmt.Sprintf("%s-%d", district, revision),
		&eventv1.RevisionCommitted{District: district, Revision: revision, CommitTime: timestamppb.Now()}))
	return revision
}

func (e *engine) create(district string) *readinessv1.ReadinessReport {
	e.t.Helper()
	r, err := e.client.CreateReadinessReport(e.ctx, &readinessv1.CreateReadinessReportRequest{District: district})
	require.NoError(e.t, err)
	return r
}

func (e *engine) get(district, report, product string) *readinessv1.ReadinessReport {
	e.t.Helper()
	r, err := e.client.GetReadinessReport(e.ctx, &readinessv1.GetReadinessReportRequest{District: district, Report: report, Product: product})
	require.NoError(e.t, err)
	return r
}

// await waits until a report has ended.
func (e *engine) await(district, report string) (r *readinessv1.ReadinessReport) {
	e.t.Helper()
	require.Eventually(e.t, func() bool {
		var err error
		r, err = e.client.GetReadinessReport(e.ctx, &readinessv1.GetReadinessReportRequest{District: district, Report: report})
		return err == nil && r.EndTime != nil
	}, testkit.Wait, 5*time.Millisecond)
	return r
}

func (e *engine) csv(req *readinessv1.DownloadReadinessReportRequest) [][]string {
	e.t.Helper()
	stream, err := e.client.DownloadReadinessReport(e.ctx, req)
	require.NoError(e.t, err)
	var text strings.Builder
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(e.t, err)
		require.Equal(e.t, "text/csv; charset=utf-8", part.ContentType)
		text.Write(part.Data)
	}
	rows, err := csv.NewReader(strings.NewReader(text.String())).ReadAll()
	require.NoError(e.t, err)
	return rows
}

// keys lists all blobs.
func (e *engine) keys() (keys []string) {
	for it := e.blobs.List(nil); ; {
		object, err := it.Next(e.ctx)
		if errors.Is(err, io.EOF) {
			return keys
		}
		require.NoError(e.t, err)
		keys = append(keys, object.Key)
	}
}

func count(r *readinessv1.ReadinessReport, check string) int32 {
	for _, c := range r.Checks {
		if c.CheckId == check {
			return c.Count
		}
	}
	return -1
}

// reason is what an error says to programs.
func reason(err error) string {
	var e *errs.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func school(id string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: id, Status: "active", Name: "School " + id, Type: "school"}}}
}

func student(id, email string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_User{User: &typev1.User{
		SourcedId: id, Status: "active", Username: id, GivenName: "=cmd()", FamilyName: "Family " + id, Email: email, Grades: []string{"07"},
		Roles: []*typev1.Role{{RoleType: "primary", Role: "student", Org: &typev1.Ref{SourcedId: "s1"}}},
	}}}
}

func TestReportAfterEachCommit(t *testing.T) {
	e := start(t)
	defer e.run()()
	e.commit("d1", school("s1"), student("a", ""), student("b", "b@district.example"))
	first := e.await("d1", "rev-1")
	require.Equal(t, readinessv1.ReportState_COMPLETED, first.State, first.Error)
	require.True(t, first.Automatic)
	require.EqualValues(t, 1, first.Revision)
	require.EqualValues(t, 1, count(first, "student-email-missing"))
	require.EqualValues(t, 2, count(first, "student-guardians-missing"))
	require.EqualValues(t, 0, count(first, "enrollment-end-date-missing"))
	checks, err := e.client.ListReadinessChecks(e.ctx, &readinessv1.ListReadinessChecksRequest{})
	require.NoError(t, err)
	require.Len(t, first.Checks, len(checks.ReadinessChecks), "every check is listed, also with count 0")
	require.Len(t, checks.Products, 11)

	e.commit("d1", student("a", "a@district.example"), student("c", ""), student("d", ""))
	second := e.await("d1", "rev-2")
	require.EqualValues(t, 2, count(second, "student-email-missing"))
	require.Equal(t, 1, e.roster.Exports(), "the second report follows from the changes")

	manual := e.create("d1")
	require.Equal(t, readinessv1.ReportState_QUEUED, manual.State)
	require.False(t, manual.Automatic)
	manual = e.await("d1", manual.ReportId)
	require.Equal(t, second.Checks[0], manual.Checks[0])

	list, err := e.client.ListReadinessReports(e.ctx, &readinessv1.ListReadinessReportsRequest{District: "d1", PageSize: 2})
	require.NoError(t, err)
	require.Equal(t, []string{manual.Name, second.Name}, []string{list.ReadinessReports[0].Name, list.ReadinessReports[1].Name}, "newest first")
	list, err = e.client.ListReadinessReports(e.ctx, &readinessv1.ListReadinessReportsRequest{District: "d1", PageSize: 2, PageToken: list.NextPageToken})
	require.NoError(t, err)
	require.Len(t, list.ReadinessReports, 1)
	require.Equal(t, first.Name, list.ReadinessReports[0].Name)
	require.Empty(t, list.NextPageToken)
}

func TestReportOfAnOlderRevision(t *testing.T) {
	e := start(t)
	e.commit("d1", school("s1"), student("a", ""))
	older := e.create("d1")
	e.commit("d1", student("b", ""))
	newer := e.create("d1")
	e.roster.Commit("d1", student("c", ""))
	stop := e.run()
	require.EqualValues(t, 1, count(e.await("d1", older.ReportId), "student-email-missing"))
	require.EqualValues(t, 2, count(e.await("d1", newer.ReportId), "student-email-missing"))
	require.EqualValues(t, 3, count(e.await("d1", "rev-3"), "student-email-missing"))
	stop()
}

func TestFindingsAndDownload(t *testing.T) {
	e := start(t)
	defer e.run()()
	records := []*typev1.Record{school("s1"), student("ok", "ok@district.example")}
	for i := range 2500 {
		records = append(records, student(fmt.Sprintf("=%04d", i), ""))
	}
	e.commit("d1", records...)
	r := e.await("d1", "rev-1")
	require.EqualValues(t, 2500, count(r, "student-email-missing"))
	require.NotEmpty(t, r.Checks[0].Diagnosis)

	var ids []string
	req := &readinessv1.ListReadinessFindingsRequest{District: "d1", Report: "rev-1", CheckId: "student-email-missing", PageSize: 1000}
	for {
		page, err := e.client.ListReadinessFindings(e.ctx, req)
		require.NoError(t, err)
		require.EqualValues(t, 2500, page.TotalSize)
		for _, f := range page.Findings {
			ids = append(ids, f.SourcedId)
			require.Equal(t, "School s1", f.SchoolName)
			require.True(t, f.Actionable)
		}
		if page.NextPageToken == "" {
			break
		}
		req.PageToken = page.NextPageToken
	}
	require.Len(t, ids, 2500)
	require.True(t, slices.IsSorted(ids))
	require.Len(t, slices.Compact(ids), 2500)
	req.Product = "home"
	_, err := e.client.ListReadinessFindings(e.ctx, req)
	require.Equal(t, codes.InvalidArgument, errs.Status(err).Code(), "a token is good for one filter")

	all := e.csv(&readinessv1.DownloadReadinessReportRequest{District: "d1", Report: "rev-1"})
	require.Len(t, all, 1+2500+2501, "the header, missing emails and missing guardians")
	column := map[string]int{}
	for i, name := range all[0] {
		column[name] = i
	}
	row := all[1]
	require.Equal(t, "student-email-missing", row[column["Check ID"]])
	require.Equal(t, "'=0000", row[column["Securly Internal ID"]], "no cell is a formula")
	require.Equal(t, "'=cmd() Family =0000", row[column["Name"]])
	require.Equal(t, "07", row[column["Grade"]])
	require.Equal(t, "student", row[column["Role"]])

	require.Len(t, e.csv(&readinessv1.DownloadReadinessReportRequest{District: "d1", Report: "rev-1", Product: "filter"}), 1+2500)
	require.Len(t, e.csv(&readinessv1.DownloadReadinessReportRequest{District: "d1", Report: "rev-1", CheckId: "class-terms-missing"}), 1)
	require.EqualValues(t, -1, count(e.get("d1", "rev-1", "filter"), "student-guardians-missing"))
	require.EqualValues(t, 2501, count(e.get("d1", "rev-1", "on-call"), "student-guardians-missing"))
}

func TestWhatIsRefused(t *testing.T) {
	e := start(t)
	e.roster.Open("d1")
	queued := e.create("d1")
	_, err := e.client.CreateReadinessReport(e.ctx, &readinessv1.CreateReadinessReportRequest{District: "nowhere"})
	require.Equal(t, codes.NotFound, errs.Status(err).Code())
	_, err = e.client.ListReadinessReports(e.ctx, &readinessv1.ListReadinessReportsRequest{District: "nowhere"})
	require.Equal(t, codes.NotFound, errs.Status(err).Code())
	_, err = e.client.GetReadinessReport(e.ctx, &readinessv1.GetReadinessReportRequest{District: "d1", Report: "none"})
	require.Equal(t, codes.NotFound, errs.Status(err).Code())
	_, err = e.client.GetReadinessReport(e.ctx, &readinessv1.GetReadinessReportRequest{District: "d1", Report: queued.ReportId, Product: "abacus"})
	require.Equal(t, codes.InvalidArgument, errs.Status(err).Code())
	_, err = e.client.ListReadinessFindings(e.ctx, &readinessv1.ListReadinessFindingsRequest{District: "d1", Report: queued.ReportId, CheckId: "none"})
	require.Equal(t, codes.InvalidArgument, errs.Status(err).Code())
	_, err = e.client.ListReadinessFindings(e.ctx, &readinessv1.ListReadinessFindingsRequest{District: "d1", Report: queued.ReportId})
	require.Equal(t, codes.FailedPrecondition, errs.Status(err).Code())
	_, err = e.client.ListReadinessReports(e.ctx, &readinessv1.ListReadinessReportsRequest{District: "d1", PageToken: "made-up"})
	require.Equal(t, codes.InvalidArgument, errs.Status(err).Code())
}

func TestEmptyDistrictPassesEverything(t *testing.T) {
	e := start(t)
	defer e.run()()
	e.roster.Open("d1")
	r := e.await("d1", e.create("d1").ReportId)
	require.Equal(t, readinessv1.ReportState_COMPLETED, r.State, r.Error)
	for _, c := range r.Checks {
		require.Zero(t, c.Count+c.InformationalCount, c.CheckId)
	}
	require.Len(t, e.csv(&readinessv1.DownloadReadinessReportRequest{District: "d1", Report: r.ReportId}), 1)
}

func TestQueuedReportsSurviveARestart(t *testing.T) {
	e := start(t)
	e.commit("d1", school("s1"), student("a", ""))
	r := e.create("d1") // Nobody runs yet.
	stop := e.run()
	require.Equal(t, readinessv1.ReportState_COMPLETED, e.await("d1", r.ReportId).State)
	stop()

	// An engine has died with a claim to the next report; another one takes over
	// when the claim has run out.
	r = e.create("d1")
	leases := docstore.NewCollection(e.docs, "readiness-leases", func(l *readinessv1.ReportLease) string {
		return l.District + "/" + l.ReportId + "/"
	})
	_, err := leases.Create(e.ctx, "d1/"+r.ReportId+"/1", &readinessv1.ReportLease{
		District: "d1", ReportId: r.ReportId, Attempt: 1, ExpireTime: timestamppb.New(time.Now().Add(200 * time.Millisecond)),
	})
	require.NoError(t, err)
	left := "d1/unnamed/" + r.ReportId + "/half"
	require.NoError(t, e.blobs.WriteAll(e.ctx, left, []byte("half a blob"), nil))
	stop = e.run()
	require.Equal(t, readinessv1.ReportState_COMPLETED, e.await("d1", r.ReportId).State)
	require.Eventually(t, func() bool {
		exists, err := e.blobs.Exists(e.ctx, left)
		return err == nil && !exists
	}, testkit.Wait, 5*time.Millisecond, "what it was writing is cleaned up")
	stop()
}

func TestTwoEnginesShareTheQueue(t *testing.T) {
	e := start(t)
	var reports [][2]string
	for d := range 4 {
		district := fmt.Sprintf("d%d", d)
		e.roster.Commit(district, school("s1"), student("a", ""))
		for range 4 {
			reports = append(reports, [2]string{district, e.create(district).ReportId})
		}
	}
	second := e.service()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- second.Run(ctx) }()
	stop := e.run()
	for _, r := range reports {
		report := e.await(r[0], r[1])
		require.Equal(t, readinessv1.ReportState_COMPLETED, report.State, report.Error)
		require.EqualValues(t, 1, count(report, "student-email-missing"))
	}
	queue := docstore.NewCollection[*readinessv1.QueuedReport](e.docs, "readiness-queue", nil)
	require.Eventually(t, func() bool {
		left, _, err := queue.List(e.ctx, docstore.Query{})
		return err == nil && len(left) == 0
	}, testkit.Wait, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	stop()
}

func TestReportThatTakesEnginesDownFails(t *testing.T) {
	e := start(t)
	e.commit("d1", school("s1"))
	r := e.create("d1")
	leases := docstore.NewCollection(e.docs, "readiness-leases", func(l *readinessv1.ReportLease) string {
		return l.District + "/" + l.ReportId + "/"
	})
	_, err := leases.Create(e.ctx, "d1/"+r.ReportId+"/10", &readinessv1.ReportLease{
		District: "d1", ReportId: r.ReportId, Attempt: 10, ExpireTime: timestamppb.New(time.Now().Add(-time.Second)),
	})
	require.NoError(t, err)
	defer e.run()()
	r = e.await("d1", r.ReportId)
	require.Equal(t, readinessv1.ReportState_FAILED, r.State)
	require.Contains(t, r.Error, "again and again")
}

func TestFailureHasAReason(t *testing.T) {
	e := start(t)
	e.commit("d1", school("s1"))
	r := e.create("d1")
	e.roster.Erase("d1")
	defer e.run()()
	r = e.await("d1", r.ReportId)
	require.Equal(t, readinessv1.ReportState_FAILED, r.State)
	require.Contains(t, r.Error, "district")
}

func TestTransientFailuresAreTriedAgain(t *testing.T) {
	e := start(t)
	e.roster.FailExports(2)
	defer e.run()()
	e.commit("d1", school("s1"), student("a", ""))
	require.Equal(t, readinessv1.ReportState_COMPLETED, e.await("d1", "rev-1").State)
	e.roster.FailExports(100)
	e.commit("d2", school("s1"), student("a", ""))
	r := e.await("d2", "rev-1")
	require.Equal(t, readinessv1.ReportState_FAILED, r.State)
	require.NotEmpty(t, r.Error)
}

// grpcToken makes the calls of a connection as a service.
func grpcToken(t testing.TB) grpc.DialOption {
	return grpc.WithPerRPCCredentials(serviceToken(testkit.Token(t, testkit.Service())))
}

type serviceToken string

func (s serviceToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(s)}, nil
}

func (serviceToken) RequireTransportSecurity() bool { return false }
