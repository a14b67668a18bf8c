package standalone_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/securly/sync/deploy/standalone"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/rostergen"
)

// caller calls a hub as the client that it was started with.
type caller struct {
	*hub
	t   *testing.T
	ctx context.Context
}

func (h *hub) caller(t *testing.T) caller { return caller{h, t, h.as(t, clientID, clientSecret, "")} }

func (c caller) newDistrict(id string) {
	c.t.Helper()
	_, err := ingestv1.NewDistrictServiceClient(c.conn).CreateDistrict(c.ctx, &ingestv1.CreateDistrictRequest{DistrictId: id, District: &ingestv1.District{}})
	require.NoError(c.t, err)
	_, err = ingestv1.NewSourceServiceClient(c.conn).CreateSource(c.ctx, &ingestv1.CreateSourceRequest{
		District: id, SourceId: "sis", Source: &ingestv1.Source{Connector: "oneroster-csv"},
	})
	require.NoError(c.t, err)
}

// startSync uploads a package and starts a sync of it.
func (c caller) startSync(district string, pack []byte) *ingestv1.Sync {
	c.t.Helper()
	out, err := ingestv1.NewSourceServiceClient(c.conn).Upload(c.ctx)
	require.NoError(c.t, err)
	for _, m := range []*ingestv1.UploadRequest{
		{Message: &ingestv1.UploadRequest_Header{Header: &ingestv1.UploadHeader{District: district, Source: "sis"}}},
		{Message: &ingestv1.UploadRequest_File{File: &ingestv1.UploadFile{Filename: "roster.zip"}}},
		{Message: &ingestv1.UploadRequest_Chunk{Chunk: pack}},
		{Message: &ingestv1.UploadRequest_End{End: &ingestv1.UploadEnd{}}},
	} {
		require.NoError(c.t, out.Send(m))
	}
	_, err = out.CloseAndRecv()
	require.NoError(c.t, err)
	s, err := ingestv1.NewSyncServiceClient(c.conn).StartSync(c.ctx, &ingestv1.StartSyncRequest{District: district, Source: "sis"})
	require.NoError(c.t, err)
	return s
}

// ended waits for the end of a sync that goes well.
func (c caller) ended(district, id string) *ingestv1.Sync {
	c.t.Helper()
	var s *ingestv1.Sync
	require.Eventually(c.t, func() bool {
		var err error
		s, err = ingestv1.NewSyncServiceClient(c.conn).GetSync(c.ctx, &ingestv1.GetSyncRequest{District: district, Sync: id})
		require.NoError(c.t, err)
		return s.GetEndTime() != nil || s.GetState() == ingestv1.SyncState_ON_HOLD
	}, testkit.Wait, 10*time.Millisecond)
	require.Equal(c.t, ingestv1.SyncState_COMPLETED, s.GetState(), s)
	return s
}

func (c caller) sync(district string, pack []byte) *ingestv1.Sync {
	c.t.Helper()
	return c.ended(district, c.startSync(district, pack).GetSyncId())
}

// report waits for the report over a revision and returns it with its findings.
func (c caller) report(district, id string) (*readinessv1.ReadinessReport, []*readinessv1.ReadinessFinding) {
	c.t.Helper()
	client := readinessv1.NewReadinessServiceClient(c.conn)
	var r *readinessv1.ReadinessReport
	require.Eventually(c.t, func() bool {
		var err error
		r, err = client.GetReadinessReport(c.ctx, &readinessv1.GetReadinessReportRequest{District: district, Report: id})
		return err == nil && r.GetState() == readinessv1.ReportState_COMPLETED
	}, testkit.Wait, 10*time.Millisecond)
	page, err := client.ListReadinessFindings(c.ctx, &readinessv1.ListReadinessFindingsRequest{District: district, Report: id, PageSize: 1000})
	require.NoError(c.t, err)
	return r, page.GetFindings()
}

// export returns a roster at a revision, 0 for the newest.
func (c caller) export(district string, revision int32) (records [][]byte, head int32) {
	c.t.Helper()
	in, err := rosterv1.NewRosterServiceClient(c.conn).Export(c.ctx, &rosterv1.ExportRequest{District: district, Revision: revision})
	require.NoError(c.t, err)
	for {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return records, head
		}
		require.NoError(c.t, err)
		head = m.GetRevision()
		for _, r := range m.GetRecords() {
			text, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
			require.NoError(c.t, err)
			records = append(records, text)
		}
	}
}

// doctor returns what is wrong.
func doctor(t *testing.T, dataDir string, repair bool) (problems []*typev1.Problem) {
	t.Helper()
	o, err := standalone.Connect(t.Context(), dataDir, testkit.Log(t))
	require.NoError(t, err)
	checked, err := o.Check(t.Context(), repair, func(p *typev1.Problem) error {
		problems = append(problems, p)
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, checked)
	require.NoError(t, o.Close())
	return problems
}

// generated returns the package of a made-up district of one day.
func generated(t *testing.T, day int) []byte {
	t.Helper()
	made, err := rostergen.New(rostergen.Config{
		Seed: 1, Students: 200, Flaws: rostergen.Realistic(200), Day: day, ChangeShare: 0.02, ReferenceDate: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC),
	})
	require.NoError(t, err)
	var pack bytes.Buffer
	require.NoError(t, made.WriteZip(&pack))
	return pack.Bytes()
}
