// Package demo fills a hub with a made-up district, through the same doors that everybody uses.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/rostergen"
)

const (
	district = "demo"
	source   = "sis"
	students = 2000
	// changes of the second day, so that there is a history to look at.
	changes = 0.01
	poll    = 50 * time.Millisecond
)

// Scopes that Fill needs.
var Scopes = []string{
	"districts.read", "districts.write", "sources.read", "sources.write", "syncs.run", "syncs.approve", "rosters.read", "readiness.read",
}

// Fill makes a district, syncs two days of it, and returns when the hub has reported on the second.
func Fill(ctx context.Context, conn grpc.ClientConnInterface, clientID, clientSecret string) error {
	issued, err := authv1.NewAuthServiceClient(conn).IssueToken(ctx, &authv1.IssueTokenRequest{ClientId: clientID, ClientSecret: clientSecret})
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	ctx = authn.WithToken(ctx, issued.GetAccessToken())

	var revision int32
	for day := 1; day <= 2; day++ {
		made, err := rostergen.New(rostergen.Config{
			Seed: 1, Students: students, Flaws: rostergen.Realistic(students),
			Day: day, ChangeShare: changes, ReferenceDate: time.Now(),
		})
		if err != nil {
			return fmt.Errorf("make a district up: %w", err)
		}
		if day == 1 {
			if err := create(ctx, conn, made); err != nil {
				return err
			}
		}
		if revision, err = load(ctx, conn, made); err != nil {
			return fmt.Errorf("sync day %d: %w", day, err)
		}
	}
	return awaitReport(ctx, readinessv1.NewReadinessServiceClient(conn), revision)
}

func create(ctx context.Context, conn grpc.ClientConnInterface, made *rostergen.District) error {
	_, err := ingestv1.NewDistrictServiceClient(conn).CreateDistrict(ctx, &ingestv1.CreateDistrictRequest{
		DistrictId: district,
		District:   &ingestv1.District{DisplayName: made.Name(), TimeZone: "America/Chicago", EmailDomains: made.Domains()},
	})
	if err != nil {
		return fmt.Errorf("create the district: %w", err)
	}
	_, err = ingestv1.NewSourceServiceClient(conn).CreateSource(ctx, &ingestv1.CreateSourceRequest{
		District: district, SourceId: source,
		Source: &ingestv1.Source{DisplayName: "Student information system", Connector: "oneroster-csv", Settings: &structpb.Struct{}},
	})
	if err != nil {
		return fmt.Errorf("create the source: %w", err)
	}
	return nil
}

// load uploads the district as it is on its day, syncs it and returns the revision.
func load(ctx context.Context, conn grpc.ClientConnInterface, made *rostergen.District) (int32, error) {
	uploadID, err := upload(ctx, ingestv1.NewSourceServiceClient(conn), made)
	if err != nil {
		return 0, fmt.Errorf("upload: %w", err)
	}
	syncs := ingestv1.NewSyncServiceClient(conn)
	sync, err := syncs.StartSync(ctx, &ingestv1.StartSyncRequest{District: district, Source: source, UploadId: uploadID})
	for {
		if err != nil {
			return 0, err
		}
		switch sync.GetState() {
		case ingestv1.SyncState_COMPLETED:
			return sync.GetRevision(), nil
		case ingestv1.SyncState_ON_HOLD:
			_, err = syncs.ApproveSync(ctx, &ingestv1.ApproveSyncRequest{District: district, Sync: sync.GetSyncId()})
			if err != nil {
				return 0, fmt.Errorf("approve the plan: %w", err)
			}
		case ingestv1.SyncState_FAILED, ingestv1.SyncState_CANCELLED, ingestv1.SyncState_DISCARDED, ingestv1.SyncState_SUPERSEDED:
			return 0, fmt.Errorf("the sync ended %s: %s", sync.GetState(), sync.GetError())
		}
		if err := pause(ctx); err != nil {
			return 0, err
		}
		sync, err = syncs.GetSync(ctx, &ingestv1.GetSyncRequest{District: district, Sync: sync.GetSyncId()})
	}
}

func upload(ctx context.Context, sources ingestv1.SourceServiceClient, made *rostergen.District) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := sources.Upload(ctx)
	if err != nil {
		return "", err
	}
	w := uploadWriter{out}
	err = errors.Join(
		out.Send(&ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_Header{Header: &ingestv1.UploadHeader{District: district, Source: source}}}),
		out.Send(&ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_File{File: &ingestv1.UploadFile{Filename: "roster.zip"}}}),
		made.WriteZip(w),
		out.Send(&ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_End{End: &ingestv1.UploadEnd{}}}))
	// A stream that was refused says why in its answer, not when something is sent.
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	stored, err := out.CloseAndRecv()
	return stored.GetUploadId(), err
}

// uploadWriter sends what is written as chunks.
type uploadWriter struct {
	out ingestv1.SourceService_UploadClient
}

func (w uploadWriter) Write(p []byte) (int, error) {
	if err := w.out.Send(&ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_Chunk{Chunk: p}}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// awaitReport waits for the report that the hub makes by itself after a commit.
func awaitReport(ctx context.Context, readiness readinessv1.ReadinessServiceClient, revision int32) error {
	for {
		page, err := readiness.ListReadinessReports(ctx, &readinessv1.ListReadinessReportsRequest{District: district, PageSize: 10})
		if err != nil {
			return fmt.Errorf("wait for the report: %w", err)
		}
		for _, r := range page.GetReadinessReports() {
			if r.GetRevision() < revision {
				continue
			}
			switch r.GetState() {
			case readinessv1.ReportState_COMPLETED:
				return nil
			case readinessv1.ReportState_FAILED:
				return fmt.Errorf("the report failed: %s", r.GetError())
			}
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("wait for the report: %w", err)
		}
	}
}

func pause(ctx context.Context) error {
	timer := time.NewTimer(poll)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
