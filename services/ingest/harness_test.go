package ingest_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"google.golang.org/grpc"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest"
	"github.com/securly/sync/services/ingest/internal/rostertest"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// hub is an ingest service with everything around it.
type hub struct {
	t         testing.TB
	ctx       context.Context
	roster    *rostertest.Store
	readiness *readiness
	docs      docstore.Store
	bus       *events.Bus
	blobs     *blob.Bucket
	files     string
	temp      string
	mail      string // the mail server's address; empty for none
	service   *ingest.Service
	sftpPort  int
	clock     atomic.Int64 // how far the service's clock is ahead
	stop      func()

	districts ingestv1.DistrictServiceClient
	sources   ingestv1.SourceServiceClient
	syncs     ingestv1.SyncServiceClient
	mappings  ingestv1.MappingServiceClient
	sharing   ingestv1.SharingServiceClient
	upkeep    ingestv1.UpkeepServiceClient
	explain   ingestv1.ExplainServiceClient
	notices   ingestv1.NotificationServiceClient
	entries   ingestv1.ManualEntryServiceClient
	guardians ingestv1.GuardianServiceClient
}

type readiness struct {
	readinessv1.UnimplementedReadinessServiceServer
	readinessv1.UnimplementedUpkeepServiceServer
	erased, persons []string

	mu      sync.Mutex
	windows []*readinessv1.RolloverWindow
}

func (r *readiness) setWindows(w ...*readinessv1.RolloverWindow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.windows = w
}

func (r *readiness) GetReadinessSettings(context.Context, *readinessv1.GetReadinessSettingsRequest) (*readinessv1.ReadinessSettings, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &readinessv1.ReadinessSettings{RolloverWindows: r.windows}, nil
}

func (r *readiness) ErasePersonFindings(_ context.Context, req *readinessv1.ErasePersonFindingsRequest) (*readinessv1.ErasePersonFindingsResponse, error) {
	r.persons = append(r.persons, req.GetSourcedId())
	return &readinessv1.ErasePersonFindingsResponse{}, nil
}

func (r *readiness) EraseDistrict(_ context.Context, req *readinessv1.EraseDistrictRequest) (*readinessv1.EraseDistrictResponse, error) {
	r.erased = append(r.erased, req.GetDistrict())
	return &readinessv1.EraseDistrictResponse{}, nil
}

// newHub starts a hub with a district "d" that has a source "sis".
func newHub(t testing.TB) *hub {
	h := &hub{t: t, roster: rostertest.New(), readiness: &readiness{}, docs: testkit.Docs(t), bus: testkit.Bus(t), files: t.TempDir(), temp: filepath.Join(t.TempDir(), "temporary")}
	h.ctx = testkit.As(t, t.Context(), testkit.Service())
	var err error
	h.blobs, err = fileblob.OpenBucket(h.files, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.blobs.Close()) })
	h.start()
	t.Cleanup(func() { h.stop() })
	_, err = h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "d", District: &ingestv1.District{DisplayName: "Made-up District"}})
	require.NoError(t, err)
	h.newSource("sis", nil)
	return h
}

// start starts the service; stop stops it as a signal would.
func (h *hub) start() {
	conn := testkit.Server(h.t, func(r grpc.ServiceRegistrar) {
		h.roster.Register(r)
		readinessv1.RegisterReadinessServiceServer(r, h.readiness)
		readinessv1.RegisterUpkeepServiceServer(r, h.readiness)
	}, grpc.WithPerRPCCredentials(service(testkit.Token(h.t, testkit.Service()))))
	keeper, err := ingest.OpenKeeper(h.ctx, "", filepath.Join(h.files, "..", "secrets.key"))
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, keeper.Close()) })
	sftp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(h.t, err)
	h.sftpPort = sftp.Addr().(*net.TCPAddr).Port
	h.service, err = ingest.New(ingest.Config{
		SFTPKey: filepath.Join(h.files, "..", "sftp_host_key"), TempDir: h.temp, Sweep: 20 * time.Millisecond, Retain: 20 * time.Millisecond, LeaseLife: 300 * time.Millisecond, MaxUpload: 64 << 20,
		Notify: 20 * time.Millisecond, Mail: ingest.Mail{Server: config.Secret(h.mail), From: "sync@hub.example", PublicURL: "https://hub.example"},
	}, ingest.Deps{
		Docs: h.docs, Bus: h.bus, Blobs: h.blobs, Log: testkit.Log(h.t), SFTP: sftp,
		Roster: rosterv1.NewRosterServiceClient(conn), Readiness: readinessv1.NewReadinessServiceClient(conn),
		RosterUpkeep: rosterv1.NewUpkeepServiceClient(conn), ReadinessUpkeep: readinessv1.NewUpkeepServiceClient(conn),
		Secrets: keeper, Now: func() time.Time { return time.Now().Add(time.Duration(h.clock.Load())) },
	})
	require.NoError(h.t, err)
	own := testkit.Server(h.t, h.service.Register)
	h.sharing = ingestv1.NewSharingServiceClient(own)
	h.districts, h.sources, h.syncs = ingestv1.NewDistrictServiceClient(own), ingestv1.NewSourceServiceClient(own), ingestv1.NewSyncServiceClient(own)
	h.mappings = ingestv1.NewMappingServiceClient(own)
	h.explain = ingestv1.NewExplainServiceClient(own)
	h.guardians = ingestv1.NewGuardianServiceClient(own)
	h.entries = ingestv1.NewManualEntryServiceClient(own)
	h.upkeep, h.notices = ingestv1.NewUpkeepServiceClient(own), ingestv1.NewNotificationServiceClient(own)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.service.Run(ctx) }()
	h.stop = func() {
		cancel()
		require.NoError(h.t, <-done)
		require.NoError(h.t, h.service.Close())
		h.stop = func() {}
	}
}

// service is a fixed token for calls between services.
type service string

func (s service) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(s)}, nil
}
func (service) RequireTransportSecurity() bool { return false }

func (h *hub) newSource(id string, settings map[string]string) {
	h.t.Helper()
	s := &ingestv1.Source{Connector: "oneroster-csv"}
	if len(settings) > 0 {
		s.Settings = structOf(h.t, settings)
	}
	_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: id, Source: s})
	require.NoError(h.t, err)
}

// send uploads files as they are, in small chunks.
func (h *hub) send(source string, files map[string][]byte) (*ingestv1.UploadResponse, error) {
	stream, err := h.sources.Upload(h.ctx)
	require.NoError(h.t, err)
	put := func(m *ingestv1.UploadRequest) { _ = stream.Send(m) } // the answer says what went wrong
	put(&ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_Header{Header: &ingestv1.UploadHeader{District: "d", Source: source}}})
	for _, name := range slices.Sorted(maps.Keys(files)) {
		put(&ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_File{File: &ingestv1.UploadFile{Filename: name}}})
		for chunk := range slices.Chunk(files[name], 64<<10) {
			put(&ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_Chunk{Chunk: chunk}})
		}
	}
	put(&ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_End{End: &ingestv1.UploadEnd{}}})
	return stream.CloseAndRecv()
}

func (h *hub) upload(source string, files map[string]string) string {
	h.t.Helper()
	up, err := h.send(source, map[string][]byte{"roster.zip": testkit.Zip(h.t, files)})
	require.NoError(h.t, err)
	return up.GetUploadId()
}

func (h *hub) startSync(source string) *ingestv1.Sync {
	h.t.Helper()
	s, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: source})
	require.NoError(h.t, err)
	require.Equal(h.t, ingestv1.SyncState_QUEUED, s.GetState())
	return s
}

// sync uploads a package and waits until its sync has ended or is on hold.
func (h *hub) sync(source string, files map[string]string) *ingestv1.Sync {
	h.t.Helper()
	h.upload(source, files)
	return h.wait(h.startSync(source).GetSyncId())
}

func (h *hub) get(id string) *ingestv1.Sync {
	h.t.Helper()
	s, err := h.syncs.GetSync(h.ctx, &ingestv1.GetSyncRequest{District: "d", Sync: id})
	require.NoError(h.t, err)
	return s
}

func (h *hub) wait(id string, states ...ingestv1.SyncState) *ingestv1.Sync {
	h.t.Helper()
	var s *ingestv1.Sync
	require.Eventually(h.t, func() bool {
		s = h.get(id)
		if len(states) > 0 {
			return slices.Contains(states, s.GetState())
		}
		return state.Final(s.GetState()) || s.GetState() == ingestv1.SyncState_ON_HOLD
	}, testkit.Wait, 5*time.Millisecond, "sync %s", id)
	return s
}

// findings returns all findings of a sync as "level code file:row:column".
func (h *hub) findings(id string) []string {
	h.t.Helper()
	var out []string
	for token := ""; ; {
		page, err := h.syncs.ListSyncFindings(h.ctx, &ingestv1.ListSyncFindingsRequest{District: "d", Sync: id, PageSize: 3, PageToken: token})
		require.NoError(h.t, err)
		for _, f := range page.GetFindings() {
			out = append(out, fmt.Sprintf("%s %s %s:%d:%s", f.GetLevel(), f.GetCode(), f.GetFile(), f.GetRow(), f.GetColumn()))
			require.NotEmpty(h.t, f.GetMessage())
		}
		if token = page.GetNextPageToken(); token == "" {
			require.Len(h.t, out, int(page.GetTotalSize()))
			return out
		}
	}
}

// stored lists the files that the service keeps under a prefix.
func (h *hub) stored(prefix string) []string {
	h.t.Helper()
	var out []string
	require.NoError(h.t, filepath.WalkDir(h.files, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(h.files, path)
			if strings.HasPrefix(name, prefix) {
				out = append(out, name)
			}
		}
		return err
	}))
	return out
}

// sound is a small package without any fault, OneRoster 1.1. Cases change one
// thing in it.
func sound() map[string]string {
	return map[string]string{
		"manifest.csv": "propertyName,value\nmanifest.version,1.0\noneroster.version,1.1\nfile.orgs,bulk\nfile.users,bulk\nfile.classes,bulk\n" +
			"file.enrollments,bulk\nfile.academicSessions,bulk\nfile.courses,bulk\n",
		"orgs.csv":             "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\nd,,,Made-up District,district,,\ns,,,Made-up School,school,,d\n",
		"academicSessions.csv": "sourcedId,status,dateLastModified,title,type,startDate,endDate,parentSourcedId,schoolYear\ny,,,2026/27,schoolYear,2026-08-01,2027-06-30,,2027\n",
		"courses.csv":          "sourcedId,status,dateLastModified,schoolYearSourcedId,title,courseCode,grades,orgSourcedId,subjects,subjectCodes\nco,,,y,Art,ART1,05,s,,\n",
		"classes.csv": "sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,schoolSourcedId,termSourcedIds,subjects,subjectCodes,periods\n" +
			"cl,,,Art A,05,co,A,scheduled,,s,y,,,\n",
		"users.csv": "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,password\n" +
			"u1,,,true,s,student,zoe,,Zoé,Müller,,100,zoe@made-up.example,,,,05,\n" +
			"u2,,,true,s,teacher,tom,,Tom,Tree,,200,tom@made-up.example,,,,,\n",
		"enrollments.csv": "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,primary,beginDate,endDate\n" +
			"e1,,,cl,s,u1,student,,2026-08-15,2027-06-15\ne2,,,cl,s,u2,teacher,true,2026-08-15,2027-06-15\n",
	}
}
