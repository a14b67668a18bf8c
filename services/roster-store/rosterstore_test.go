package rosterstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/mongotest"
	rosterstore "github.com/securly/sync/services/roster-store"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// start serves a roster store in a fresh folder and runs it until the test ends.
func start(t *testing.T) rosterv1.RosterServiceClient {
	t.Helper()
	return startOn(t, rosterstore.Config{DataDir: t.TempDir()})
}

func startOn(t *testing.T, cfg rosterstore.Config) rosterv1.RosterServiceClient {
	t.Helper()
	cfg.TokenKey = []byte("test")
	s, err := rosterstore.New(cfg, rosterstore.Deps{Bus: testkit.Bus(t), Log: testkit.Log(t)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ran)
		require.NoError(t, s.Close())
	})
	return rosterv1.NewRosterServiceClient(testkit.Server(t, s.Register))
}

func school(id string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{
		SourcedId: id, Status: record.StatusActive, Name: "School " + id, Type: "school",
	}}}
}

func student(id, org string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_User{User: &typev1.User{
		SourcedId: id, Status: record.StatusActive, GivenName: "Given " + id, FamilyName: "=Family",
		Email: strings.ToLower(id) + "@made-up.example", DateLastModified: "2026-01-01T00:00:00.000Z",
		Roles: []*typev1.Role{{RoleType: "primary", Role: "student", Org: &typev1.Ref{SourcedId: org}}},
	}}}
}

// plan imports a complete candidate; records come sorted.
func plan(ctx context.Context, t *testing.T, c rosterv1.RosterServiceClient, district, id string, records ...*typev1.Record) (*rosterv1.Plan, error) {
	t.Helper()
	stream, err := c.Import(ctx)
	require.NoError(t, err)
	send := func(m *rosterv1.ImportRequest) {
		if err := stream.Send(m); err != nil {
			require.ErrorIs(t, err, io.EOF) // the answer says why
		}
	}
	send(&rosterv1.ImportRequest{Message: &rosterv1.ImportRequest_Header{Header: &rosterv1.PlanHeader{
		District: district, Plan: id, Sync: "sync-" + id, Complete: record.Entities(),
	}}})
	for _, r := range records {
		e, base := record.Of(r)
		body, err := proto.Marshal(r)
		require.NoError(t, err)
		hash := record.HashOf(r)
		send(&rosterv1.ImportRequest{Message: &rosterv1.ImportRequest_Batch{Batch: &rosterv1.ImportBatch{
			Entity: e, Records: []*rosterv1.ImportRecord{{SourcedId: base.GetSourcedId(), Hash: hash[:], Body: body}},
		}}})
	}
	return stream.CloseAndRecv()
}

// commit makes a revision of a complete candidate.
func commit(ctx context.Context, t *testing.T, c rosterv1.RosterServiceClient, district, id string, records ...*typev1.Record) int32 {
	t.Helper()
	_, err := plan(ctx, t, c, district, id, records...)
	require.NoError(t, err)
	done, err := c.CommitPlan(ctx, &rosterv1.CommitPlanRequest{District: district, Plan: id})
	require.NoError(t, err)
	return done.GetRevision()
}

func wantCode(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code, err)
	require.Equal(t, reason, e.Reason, err)
}

func TestPlanThenCommit(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { planThenCommit(t, start(t)) })
	t.Run("MongoDB", func(t *testing.T) {
		planThenCommit(t, startOn(t, rosterstore.Config{
			MongoDB: config.Secret(mongotest.Find(t).URI), MongoDatabase: mongotest.Database(t),
		}))
	})
}

func planThenCommit(t *testing.T, c rosterv1.RosterServiceClient) {
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
	require.NoError(t, err)

	p, err := plan(ctx, t, c, "d", "p1", school("s1"), student("A", "s1"), student("B", "s1"))
	require.NoError(t, err)
	require.EqualValues(t, 2, p.GetCounts()["users"].GetCreated())
	require.Len(t, p.GetSchools(), 1)
	require.Equal(t, "School s1", p.GetSchools()[0].GetName())

	users := &rosterv1.ListRecordsRequest{District: "d", Entity: "users"}
	list, err := c.ListRecords(ctx, users)
	require.NoError(t, err)
	require.Zero(t, list.GetTotalSize(), "a plan is not visible")

	done, err := c.CommitPlan(ctx, &rosterv1.CommitPlanRequest{District: "d", Plan: "p1"})
	require.NoError(t, err)
	require.True(t, done.GetCommitted())
	list, err = c.ListRecords(ctx, users)
	require.NoError(t, err)
	require.EqualValues(t, 2, list.GetTotalSize())
	require.Empty(t, cmp.Diff(student("A", "s1").GetUser(), list.GetUsers()[0], protocmp.Transform()))

	changed := student("B", "s1")
	changed.GetUser().GivenName = "New"
	p, err = plan(ctx, t, c, "d", "p2", school("s1"), changed)
	require.NoError(t, err)
	require.EqualValues(t, 1, p.GetCounts()["users"].GetUpdated())
	require.EqualValues(t, 1, p.GetCounts()["users"].GetRemoved())
	changes, err := c.ListPlanChanges(ctx, &rosterv1.ListPlanChangesRequest{District: "d", Plan: "p2", Kind: "updated"})
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]*rosterv1.Change{{
		Entity: "users", SourcedId: "B", Kind: "updated",
		Fields: []*rosterv1.FieldChange{{Field: "givenName", Before: `"Given B"`, After: `"New"`}},
	}}, changes.GetChanges(), protocmp.Transform()))
	_, err = c.DiscardPlan(ctx, &rosterv1.DiscardPlanRequest{District: "d", Plan: "p2"})
	require.NoError(t, err)
	_, err = c.CommitPlan(ctx, &rosterv1.CommitPlanRequest{District: "d", Plan: "p2"})
	wantCode(t, err, codes.NotFound, "PLAN_NOT_FOUND")

	_, err = plan(ctx, t, c, "d", "p3", student("B", "s1"), student("A", "s1"))
	wantCode(t, err, codes.InvalidArgument, "INVALID_ARGUMENT")
}

func TestPagesAreTiedToTheirList(t *testing.T) {
	c := start(t)
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
	require.NoError(t, err)
	records := []*typev1.Record{school("s1")}
	for i := range 25 {
		records = append(records, student(fmt.Sprintf("u %02d/%%2F", i), "s1"))
	}
	commit(ctx, t, c, "d", "p1", records...)

	req := &rosterv1.ListRecordsRequest{District: "d", Entity: "users", Role: "student", PageSize: 10}
	var ids []string
	for {
		page, err := c.ListRecords(ctx, req)
		require.NoError(t, err)
		require.EqualValues(t, 25, page.GetTotalSize())
		for _, u := range page.GetUsers() {
			ids = append(ids, u.GetSourcedId())
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
		if len(ids) == 10 {
			// A commit between two pages does not change what they show.
			require.EqualValues(t, 2, commit(ctx, t, c, "d", "p2", records[:3]...))
			other := proto.Clone(req).(*rosterv1.ListRecordsRequest)
			other.Role = ""
			_, err = c.ListRecords(ctx, other)
			wantCode(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
		}
	}
	require.Len(t, ids, 25)
	require.True(t, slices.IsSorted(ids))

	got, err := c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users", Status: "active"})
	require.NoError(t, err)
	require.EqualValues(t, 2, got.GetTotalSize())
	got, err = c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users", Status: "active", AsOf: "1"})
	require.NoError(t, err)
	require.EqualValues(t, 25, got.GetTotalSize())

	history, err := c.GetRecordHistory(ctx, &rosterv1.GetRecordHistoryRequest{District: "d", Entity: "users", SourcedId: ids[20]})
	require.NoError(t, err)
	require.Len(t, history.GetVersions(), 2)
	require.Equal(t, "status", history.GetVersions()[0].GetFields()[0].GetField())
	require.EqualValues(t, 2, history.GetVersions()[1].GetToRevision())
}

func TestSchoolScope(t *testing.T) {
	c := start(t)
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
	require.NoError(t, err)
	commit(ctx, t, c, "d", "p1", school("s1"), school("s2"), student("A", "s1"), student("B", "s2"))

	principal := testkit.Operator()
	principal.Districts, principal.Schools = []string{"d"}, []string{"s2"}
	ctx = testkit.As(t, t.Context(), principal)
	list, err := c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users"})
	require.NoError(t, err)
	require.EqualValues(t, 1, list.GetTotalSize())
	require.Equal(t, "B", list.GetUsers()[0].GetSourcedId())
	_, err = c.GetRecord(ctx, &rosterv1.GetRecordRequest{District: "d", Entity: "users", SourcedId: "A"})
	wantCode(t, err, codes.NotFound, "RECORD_NOT_FOUND")
	summary, err := c.GetSummary(ctx, &rosterv1.GetSummaryRequest{District: "d"})
	require.NoError(t, err)
	require.EqualValues(t, 1, summary.GetUsersByRole()["student"])
	_, err = c.ListRevisions(ctx, &rosterv1.ListRevisionsRequest{District: "d"})
	wantCode(t, err, codes.PermissionDenied, "SCHOOL_LIMITED")
}

func TestExportResumes(t *testing.T) {
	c := start(t)
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
	require.NoError(t, err)
	records := []*typev1.Record{school("s1")}
	for i := range 3000 {
		u := student(fmt.Sprintf("u%05d", i), "s1")
		u.GetUser().Metadata = map[string]string{"note": strings.Repeat("x", 500)}
		records = append(records, u)
	}
	commit(ctx, t, c, "d", "p1", records...)

	req := &rosterv1.ExportRequest{District: "d"}
	var got []*typev1.Record
	for batches := 0; ; batches++ {
		stream, err := c.Export(ctx, req)
		require.NoError(t, err)
		m, err := stream.Recv()
		require.NoError(t, err)
		if len(m.GetRecords()) == 0 {
			require.Greater(t, batches, 2)
			break
		}
		got = append(got, m.GetRecords()...)
		// Only the first message of each stream is taken, as if the connection broke.
		req.Revision, req.Resume = m.GetRevision(), m.GetResume()
	}
	require.Empty(t, cmp.Diff(records[1:], got[1:], protocmp.Transform()))

	after := &rosterv1.RecordKey{Entity: "users", SourcedId: "u02998"}
	stream, err := c.Export(ctx, &rosterv1.ExportRequest{District: "d", Revision: 1, After: after})
	require.NoError(t, err)
	m, err := stream.Recv()
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(records[3000:], m.GetRecords(), protocmp.Transform()))
	for _, bad := range []*rosterv1.ExportRequest{
		{District: "d", After: after},
		{District: "d", Revision: 1, After: after, Resume: req.GetResume()},
		{District: "d", Revision: 1, After: &rosterv1.RecordKey{Entity: "pupils"}},
		{District: "d", Revision: 1, Resume: []byte{99}},
	} {
		stream, err := c.Export(ctx, bad)
		require.NoError(t, err)
		_, err = stream.Recv()
		wantCode(t, err, codes.InvalidArgument, "INVALID_ARGUMENT")
	}
}

func TestWatchFollows(t *testing.T) {
	c := start(t)
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
	require.NoError(t, err)
	commit(ctx, t, c, "d", "p1", school("s1"), student("A", "s1"))

	watchCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Watch(watchCtx, &rosterv1.WatchRequest{District: "d"})
	require.NoError(t, err)
	next := func() []string {
		var events []string
		for {
			m, err := stream.Recv()
			require.NoError(t, err)
			switch {
			case m.GetBegin() != nil:
				events = append(events, fmt.Sprintf("begin %d", m.GetBegin().GetRevision()))
			case m.GetChanges() != nil:
				for _, r := range m.GetChanges().GetRecords() {
					_, base := record.Of(r)
					events = append(events, base.GetSourcedId()+" "+base.GetStatus())
				}
			case m.GetEnd() != nil:
				events = append(events, fmt.Sprintf("end %d", m.GetEnd().GetRevision()))
			case m.GetBookmark() != nil:
				return append(events, fmt.Sprintf("bookmark %d", m.GetBookmark().GetRevision()))
			}
		}
	}
	require.Equal(t, []string{"begin 1", "s1 active", "A active", "end 1", "bookmark 1"}, next())
	commit(ctx, t, c, "d", "p2", school("s1"), student("B", "s1"))
	require.Equal(t, []string{"begin 2", "A tobedeleted", "B active", "end 2", "bookmark 2"}, next())
	cancel()
	_, err = stream.Recv()
	require.ErrorIs(t, err, context.Canceled)
}

// A number alone does not tell whether a hub that was restored from a backup
// still has what the caller has.
func TestWatchKnowsARevisionByItsTime(t *testing.T) {
	c := start(t)
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
	require.NoError(t, err)
	commit(ctx, t, c, "d", "p1", school("s1"))
	export, err := c.Export(ctx, &rosterv1.ExportRequest{District: "d"})
	require.NoError(t, err)
	m, err := export.Recv()
	require.NoError(t, err)

	at := m.GetCommitTime()
	for _, after := range []*timestamppb.Timestamp{nil, at, timestamppb.New(at.AsTime().Add(time.Millisecond))} {
		stream, err := c.Watch(ctx, &rosterv1.WatchRequest{District: "d", After: 1, AfterCommitTime: after})
		require.NoError(t, err)
		m, err := stream.Recv()
		if after == nil || after.AsTime().Equal(at.AsTime()) {
			require.NoError(t, err)
			require.EqualValues(t, 1, m.GetBookmark().GetRevision())
			continue
		}
		wantCode(t, err, codes.NotFound, "REVISION_NOT_FOUND")
	}
}

func TestCSVIsSafeInASpreadsheet(t *testing.T) {
	c := start(t)
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
	require.NoError(t, err)
	commit(ctx, t, c, "d", "p1", school("s1"), student("A", "s1"))
	stream, err := c.ExportRecordsCsv(ctx, &rosterv1.ListRecordsRequest{District: "d", Entity: "users"})
	require.NoError(t, err)
	var text strings.Builder
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		text.Write(m.GetData())
	}
	require.Equal(t, "sourcedId,status,dateLastModified,enabledUser,username,givenName,familyName,middleName,roles,orgSourcedIds,"+
		"identifier,email,sms,phone,agentSourcedIds,grades,street,city,state,zip,metadata\n"+
		"A,active,2026-01-01T00:00:00.000Z,,,Given A,'=Family,,student,s1,,a@made-up.example,,,,,,,,,\n", text.String())
}

func TestUnknownDistrict(t *testing.T) {
	c := start(t)
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.ListRecords(ctx, &rosterv1.ListRecordsRequest{District: "nobody", Entity: "users"})
	wantCode(t, err, codes.NotFound, "DISTRICT_NOT_FOUND")
	foreign := testkit.Operator()
	foreign.Districts = []string{"mine"}
	_, other := c.ListRecords(testkit.As(t, t.Context(), foreign), &rosterv1.ListRecordsRequest{District: "nobody", Entity: "users"})
	require.Equal(t, other.Error(), err.Error(), "unknown and foreign districts read the same")
	require.Equal(t, authn.DistrictNotFound("nobody").Error(), err.Error())
}
