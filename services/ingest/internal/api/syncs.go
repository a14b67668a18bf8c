package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/securly/sync/proto/gen/securly/sync/event/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/syncrun"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/platform/sheet"
)

type syncs struct {
	ingestv1.UnimplementedSyncServiceServer
	Deps
}

func syncView(d *ingestv1.SyncDocument) *ingestv1.Sync {
	v := d.GetSync()
	v.Name = "districts/" + d.GetDistrict() + "/syncs/" + v.GetSyncId()
	v.Digest = hex.EncodeToString(d.GetDigest())
	return v
}

func (s *syncs) StartSync(ctx context.Context, req *ingestv1.StartSyncRequest) (*ingestv1.Sync, error) {
	district, source := req.GetDistrict(), req.GetSource()
	owner, err := s.source(ctx, district, source)
	if err != nil {
		return nil, err
	}
	if len(req.GetReason()) > 1000 {
		return nil, invalid("reason", "must not be longer than 1000 bytes")
	}
	if err := schedule.Refuse(owner.Value.GetSource(), s.Now()); err != nil {
		return nil, err
	}
	upload := &ingestv1.UploadDocument{} // to be pulled
	_, pulls := catalogue.Puller(owner.Value.GetSource().GetConnector())
	if pulls = pulls || catalogue.Manual(owner.Value.GetSource().GetConnector()); !pulls || req.GetUploadId() != "" {
		if upload, err = s.Store.Upload(ctx, district, source, req.GetUploadId()); err != nil {
			return nil, err
		}
	}
	doc, err := s.start(ctx, owner.Value, upload.GetKey(), &ingestv1.Sync{
		SyncId: state.NewID(), UploadId: upload.GetUploadId(), DryRun: req.GetDryRun(), Reason: req.GetReason(),
	})
	if err != nil {
		return nil, err
	}
	return syncView(doc), nil
}

// start queues a sync. If there is one of its id already, it is that.
func (d *Deps) start(ctx context.Context, owner *ingestv1.SourceDocument, uploadKey string, sync *ingestv1.Sync) (*ingestv1.SyncDocument, error) {
	district, source, id, now := owner.GetDistrict(), owner.GetSource().GetSourceId(), sync.GetSyncId(), timestamppb.New(d.Now())
	key := state.Key(district, id)
	// The mark first: a sync that is not on the list would never be run.
	_, err := d.Store.Open.Create(ctx, key, &ingestv1.OpenSyncDocument{District: district, Source: source, Sync: id, CreateTime: now})
	if err != nil && !errors.Is(err, docstore.ErrExists) {
		return nil, err
	}
	sync.Source, sync.State, sync.CreateTime = source, ingestv1.SyncState_QUEUED, now
	sync.Steps = []*ingestv1.SyncStep{{State: ingestv1.SyncState_QUEUED, StartTime: now}}
	doc, err := d.Store.Syncs.Create(ctx, key, &ingestv1.SyncDocument{District: district, UploadKey: uploadKey, TraceParent: syncrun.TraceParent(ctx), Sync: sync})
	if errors.Is(err, docstore.ErrExists) {
		there, err := d.Store.Sync(ctx, district, id)
		return there.Value, err
	}
	if err == nil {
		err = d.setLast(ctx, owner, id)
	}
	if err != nil {
		ctx := context.WithoutCancel(ctx)
		for _, undo := range []error{d.Store.Syncs.Delete(ctx, key), d.Store.Open.Delete(ctx, key)} {
			if undo != nil && !isNotFound(undo) {
				err = errors.Join(err, undo)
			}
		}
		return nil, err
	}
	d.wake(ctx, district, id, "queued")
	return doc.Value, nil
}

// setLast keeps the last sync of a source that is still there.
func (d *Deps) setLast(ctx context.Context, source *ingestv1.SourceDocument, sync string) error {
	if err := d.still(ctx, source); err != nil {
		return err
	}
	_, err := d.Store.Sources.Modify(ctx, state.Key(source.GetDistrict(), source.GetSource().GetSourceId()), func(doc *ingestv1.SourceDocument) error {
		doc.Source.LastSync = max(doc.GetSource().GetLastSync(), sync)
		return nil
	})
	if isNotFound(err) {
		return state.ErrSourceNotFound
	}
	return err
}

// wake has a runner look at a sync. An event that is lost costs time only.
func (d *Deps) wake(ctx context.Context, district, sync, what string) {
	d.Wake()
	err := d.Bus.Publish(ctx, events.Subject("ingest", district, "sync-queued"), state.Key("sync-queued", district, sync, what), &eventv1.SyncQueued{District: district, Sync: sync})
	if err != nil {
		d.Log.WarnContext(ctx, "announce sync", "district", district, "sync", sync, "error", err)
	}
}

func (s *syncs) ListSyncs(ctx context.Context, req *ingestv1.ListSyncsRequest) (*ingestv1.ListSyncsResponse, error) {
	if _, err := s.Store.District(ctx, req.GetDistrict()); err != nil {
		return nil, err
	}
	within := state.Within(req.GetDistrict())
	binding := "syncs of " + within + req.GetSource()
	after, err := s.open(req.GetPageToken(), binding)
	if err != nil {
		return nil, err
	}
	out := &ingestv1.ListSyncsResponse{}
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	for len(out.Syncs) < size {
		// No more than are missing, so that none is read that does not fit.
		docs, next, err := s.Store.Syncs.List(ctx, docstore.Query{Prefix: within, After: after, Limit: size - len(out.Syncs), Descending: true})
		if err != nil {
			return nil, err
		}
		for _, doc := range docs {
			if req.GetSource() == "" || doc.Value.GetSync().GetSource() == req.GetSource() {
				out.Syncs = append(out.Syncs, syncView(doc.Value))
			}
		}
		if after = next; next == "" {
			break
		}
	}
	out.NextPageToken = s.seal(binding, after)
	return out, nil
}

// sync returns a sync of a district that exists.
func (s *syncs) sync(ctx context.Context, district, sync string) (*ingestv1.SyncDocument, error) {
	if _, err := s.Store.District(ctx, district); err != nil {
		return nil, err
	}
	doc, err := s.Store.Sync(ctx, district, sync)
	if err != nil {
		return nil, err
	}
	return doc.Value, nil
}

func (s *syncs) GetSync(ctx context.Context, req *ingestv1.GetSyncRequest) (*ingestv1.Sync, error) {
	doc, err := s.sync(ctx, req.GetDistrict(), req.GetSync())
	if err != nil {
		return nil, err
	}
	return syncView(doc), nil
}

func (s *syncs) ListSyncChanges(ctx context.Context, req *ingestv1.ListSyncChangesRequest) (*ingestv1.ListSyncChangesResponse, error) {
	// The roster store is not asked when there is no plan.
	if _, err := pagetoken.Size(req.GetPageSize()); err != nil {
		return nil, err
	}
	doc, err := s.sync(ctx, req.GetDistrict(), req.GetSync())
	if err != nil {
		return nil, err
	}
	return s.changes(ctx, doc, req)
}

var errPlanUnknown = errs.New(codes.NotFound, "PLAN_NOT_FOUND", "")

// changes asks the roster store, which keeps plans and what was made of them.
func (s *syncs) changes(ctx context.Context, doc *ingestv1.SyncDocument, req *ingestv1.ListSyncChangesRequest) (*ingestv1.ListSyncChangesResponse, error) {
	out := &ingestv1.ListSyncChangesResponse{}
	switch now := doc.GetSync().GetState(); {
	case doc.GetPlan() == "", state.Final(now) && now != ingestv1.SyncState_COMPLETED:
		return out, nil // there is no plan, or it was dropped
	}
	page, err := s.Roster.ListPlanChanges(ctx, &rosterv1.ListPlanChangesRequest{
		District: req.GetDistrict(), Plan: syncrun.PlanOf(doc), Entity: req.GetEntity(), Kind: req.GetKind(),
		PageSize: req.GetPageSize(), PageToken: req.GetPageToken(),
	})
	if errors.Is(err, errPlanUnknown) {
		return out, nil // it was dropped: that of a dry run, for a newer sync
	}
	if err != nil {
		return nil, err
	}
	out.NextPageToken, out.TotalSize = page.GetNextPageToken(), page.GetTotalSize()
	for _, c := range page.GetChanges() {
		change := &ingestv1.SyncChange{Entity: c.GetEntity(), SourcedId: c.GetSourcedId(), Kind: c.GetKind()}
		for _, f := range c.GetFields() {
			change.Fields = append(change.Fields, &ingestv1.SyncFieldChange{Field: f.GetField(), Before: f.GetBefore(), After: f.GetAfter()})
		}
		out.Changes = append(out.Changes, change)
	}
	return out, nil
}

func (s *syncs) ExportSyncChanges(req *ingestv1.ListSyncChangesRequest, stream grpc.ServerStreamingServer[httpbody.HttpBody]) error {
	ctx := stream.Context()
	doc, err := s.sync(ctx, req.GetDistrict(), req.GetSync())
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	w := csv.NewWriter(&buf)
	write := func(row ...string) error { return w.Write(sheet.Guard(row)) }
	if err := write("entity", "sourcedId", "kind", "field", "before", "after"); err != nil {
		return err
	}
	ask := &ingestv1.ListSyncChangesRequest{District: req.GetDistrict(), Sync: req.GetSync(), Entity: req.GetEntity(), Kind: req.GetKind(), PageSize: 1000}
	for {
		page, err := s.changes(ctx, doc, ask)
		if err != nil {
			return err
		}
		for _, c := range page.GetChanges() {
			fields := c.GetFields()
			if len(fields) == 0 {
				fields = []*ingestv1.SyncFieldChange{{}}
			}
			for _, f := range fields {
				if err := write(c.GetEntity(), c.GetSourcedId(), c.GetKind(), f.GetField(), f.GetBefore(), f.GetAfter()); err != nil {
					return err
				}
			}
		}
		w.Flush()
		if err := w.Error(); err != nil {
			return err
		}
		if err := stream.Send(&httpbody.HttpBody{ContentType: "text/csv; charset=utf-8", Data: bytes.Clone(buf.Bytes())}); err != nil {
			return err
		}
		buf.Reset()
		if ask.PageToken = page.GetNextPageToken(); ask.PageToken == "" {
			return nil
		}
	}
}

func (s *syncs) ListSyncFindings(ctx context.Context, req *ingestv1.ListSyncFindingsRequest) (*ingestv1.ListSyncFindingsResponse, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	doc, err := s.sync(ctx, req.GetDistrict(), req.GetSync())
	if err != nil {
		return nil, err
	}
	binding := "findings of " + state.Key(req.GetDistrict(), req.GetSync())
	position, err := s.open(req.GetPageToken(), binding)
	if err != nil {
		return nil, err
	}
	offset := 0
	if position != "" {
		if offset, err = strconv.Atoi(position); err != nil {
			return nil, err
		}
	}
	out := &ingestv1.ListSyncFindingsResponse{TotalSize: doc.GetSync().GetFindingsCount()}
	if doc.GetFindingsKey() == "" {
		return out, nil
	}
	if out.Findings, err = finding.Load(ctx, s.Blobs, doc.GetFindingsKey(), offset, size); err != nil {
		return nil, err
	}
	if next := offset + len(out.Findings); len(out.Findings) == size && next < int(doc.GetFindingsKept()) {
		out.NextPageToken = s.seal(binding, strconv.Itoa(next))
	}
	return out, nil
}

func (s *syncs) ApproveSync(ctx context.Context, req *ingestv1.ApproveSyncRequest) (*ingestv1.Sync, error) {
	return s.decide(ctx, req.GetDistrict(), req.GetSync(), ingestv1.SyncState_COMMITTING, "approved", func(d *ingestv1.SyncDocument) error {
		if seen := req.GetDigest(); seen != "" && seen != hex.EncodeToString(d.GetDigest()) {
			return errs.Errorf(codes.Aborted, "PLAN_CHANGED", "the plan of sync %s is no longer the one that was looked at, it was made anew in the meantime: look at its changes again, then approve or discard it", req.GetSync())
		}
		d.ApprovedDigest = d.GetDigest()
		if !req.GetWithoutRemovals() && len(req.GetSchools()) == 0 {
			return nil
		}
		if d.GetSync().GetRemovesSource() {
			return errs.Errorf(codes.FailedPrecondition, "SYNC_REMOVES_SOURCE", "sync %s removes a source, which is done as a whole or not at all: approve all of it, or discard it", req.GetSync())
		}
		if d.GetPartial() && !d.GetSync().GetRemerge() {
			return errs.Errorf(codes.FailedPrecondition, "SYNC_HAS_CHANGES_ONLY", "the package of sync %s has only what has changed, and no other package brings again what is left out: approve all of it, or discard it, or upload and sync a complete package", req.GetSync())
		}
		if damaged := d.GetRebuild(); len(damaged) > 0 {
			return errs.Errorf(codes.FailedPrecondition, "LAYER_DAMAGED", "what was stored of the %s of source %s is damaged, so that nothing can be left as it was: approve all of sync %s, or discard it", strings.Join(damaged, ", "), d.GetSync().GetSource(), req.GetSync())
		}
		for _, id := range req.GetSchools() {
			if !slices.ContainsFunc(d.GetSync().GetSchools(), func(c *ingestv1.SchoolChanges) bool { return c.GetSchoolId() == id }) {
				return invalid("schools", "no change of sync %s touches a school %q: take the ids from the sync's schools", req.GetSync(), id)
			}
		}
		d.Selection = &ingestv1.Selection{Plan: d.GetPlan() + "-part", WithoutRemovals: req.GetWithoutRemovals(), Schools: req.GetSchools()}
		return nil
	}, ingestv1.SyncState_ON_HOLD)
}

func (s *syncs) DiscardSync(ctx context.Context, req *ingestv1.DiscardSyncRequest) (*ingestv1.Sync, error) {
	return s.decide(ctx, req.GetDistrict(), req.GetSync(), ingestv1.SyncState_DISCARDED, "discarded", nil,
		ingestv1.SyncState_ON_HOLD)
}

func (s *syncs) CancelSync(ctx context.Context, req *ingestv1.CancelSyncRequest) (*ingestv1.Sync, error) {
	return s.decide(ctx, req.GetDistrict(), req.GetSync(), ingestv1.SyncState_CANCELLED, "cancelled", nil,
		ingestv1.SyncState_QUEUED, ingestv1.SyncState_PULLING, ingestv1.SyncState_NORMALISING, ingestv1.SyncState_PLANNING, ingestv1.SyncState_ON_HOLD)
}

// decide moves a sync as a person has decided, with another change in the same
// write unless it is nil.
func (s *syncs) decide(ctx context.Context, district, sync string, to ingestv1.SyncState, what string, change func(*ingestv1.SyncDocument) error, from ...ingestv1.SyncState) (*ingestv1.Sync, error) {
	if _, err := s.sync(ctx, district, sync); err != nil {
		return nil, err
	}
	var found ingestv1.SyncState
	doc, err := s.Store.Syncs.Modify(ctx, state.Key(district, sync), func(d *ingestv1.SyncDocument) error {
		found = d.GetSync().GetState()
		if err := syncrun.Enter(d.GetSync(), s.Now(), to, from...); err != nil || change == nil {
			return err
		}
		return change(d)
	})
	if syncrun.IsMoved(err) {
		return nil, errs.Errorf(codes.FailedPrecondition, "SYNC_STATE", "sync %s is %s and cannot be %s", sync, found, what).With("state", found.String())
	}
	if errors.Is(err, docstore.ErrNotFound) {
		return nil, state.ErrSyncNotFound
	}
	if err != nil {
		return nil, err
	}
	s.wake(ctx, district, sync, what)
	return syncView(doc.Value), nil
}
