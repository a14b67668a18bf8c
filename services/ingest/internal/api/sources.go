package api

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/syncrun"
	"github.com/securly/sync/services/ingest/internal/upload"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/pagetoken"
)

type sources struct {
	ingestv1.UnimplementedSourceServiceServer
	Deps
}

// searchedSyncs is how far back the last sync of a source is looked for.
const searchedSyncs = 500

// view shows sources with their last syncs.
func (s *sources) view(ctx context.Context, district string, docs ...docstore.Doc[*ingestv1.SourceDocument]) ([]*ingestv1.Source, error) {
	last := map[string]string{}
	recent, _, err := s.Store.Syncs.List(ctx, docstore.Query{Prefix: state.Within(district), Descending: true, Limit: searchedSyncs})
	if err != nil {
		return nil, err
	}
	for _, doc := range recent {
		sync := doc.Value.GetSync()
		if last[sync.GetSource()] == "" {
			last[sync.GetSource()] = sync.GetSyncId()
		}
	}
	out := make([]*ingestv1.Source, len(docs))
	for i, doc := range docs {
		v := doc.Value.GetSource()
		v.Name = "districts/" + district + "/sources/" + v.GetSourceId()
		v.Etag = etag(doc.Version)
		v.LastSync = last[v.GetSourceId()]
		out[i] = v
	}
	return out, nil
}

func (s *sources) ListConnectors(context.Context, *ingestv1.ListConnectorsRequest) (*ingestv1.ListConnectorsResponse, error) {
	return &ingestv1.ListConnectorsResponse{Connectors: connector.All()}, nil
}

func checkSettings(prefix string, settings *structpb.Struct) error {
	if field, err := connector.CheckSettings(settings); err != nil {
		return invalid(prefix+"settings."+field, "%w", err)
	}
	return nil
}

func (s *sources) CreateSource(ctx context.Context, req *ingestv1.CreateSourceRequest) (*ingestv1.Source, error) {
	id := req.GetSourceId()
	if err := checkID("sourceId", id); err != nil {
		return nil, err
	}
	if !connector.Known(req.GetSource().GetConnector()) {
		return nil, invalid("source.connector", "there is no connector %.80q; the catalogue of connectors lists them", req.GetSource().GetConnector())
	}
	name := strings.TrimSpace(req.GetSource().GetDisplayName())
	if err := checkName("source.displayName", name); err != nil {
		return nil, err
	}
	if name == "" {
		name = id
	}
	if err := checkSettings("source.", req.GetSource().GetSettings()); err != nil {
		return nil, err
	}
	if _, err := s.Store.District(ctx, req.GetDistrict()); err != nil {
		return nil, err
	}
	now := timestamppb.New(s.Now())
	doc, err := s.Store.Sources.Create(ctx, state.Key(req.GetDistrict(), id), &ingestv1.SourceDocument{
		District: req.GetDistrict(),
		Source: &ingestv1.Source{
			SourceId: id, DisplayName: name, Connector: req.GetSource().GetConnector(), Settings: req.GetSource().GetSettings(),
			CreateTime: now, UpdateTime: now,
		},
	})
	if errors.Is(err, docstore.ErrExists) {
		return nil, errs.Errorf(codes.AlreadyExists, "SOURCE_EXISTS", "sourceId: there is a source %s already", id).With("field", "sourceId")
	}
	if err != nil {
		return nil, err
	}
	return s.one(ctx, req.GetDistrict(), doc)
}

func (s *sources) one(ctx context.Context, district string, doc docstore.Doc[*ingestv1.SourceDocument]) (*ingestv1.Source, error) {
	views, err := s.view(ctx, district, doc)
	if err != nil {
		return nil, err
	}
	return views[0], nil
}

func (s *sources) ListSources(ctx context.Context, req *ingestv1.ListSourcesRequest) (*ingestv1.ListSourcesResponse, error) {
	if _, err := s.Store.District(ctx, req.GetDistrict()); err != nil {
		return nil, err
	}
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	within := state.Within(req.GetDistrict())
	docs, next, err := page(ctx, &s.Deps, s.Store.Sources, "sources of "+within, within, req.GetPageToken(), size)
	if err != nil {
		return nil, err
	}
	views, err := s.view(ctx, req.GetDistrict(), docs...)
	if err != nil {
		return nil, err
	}
	return &ingestv1.ListSourcesResponse{Sources: views, NextPageToken: next}, nil
}

// source returns a source of a district that exists.
func (d *Deps) source(ctx context.Context, district, source string) (docstore.Doc[*ingestv1.SourceDocument], error) {
	if _, err := d.Store.District(ctx, district); err != nil {
		return docstore.Doc[*ingestv1.SourceDocument]{}, err
	}
	return d.Store.Source(ctx, district, source)
}

func (s *sources) GetSource(ctx context.Context, req *ingestv1.GetSourceRequest) (*ingestv1.Source, error) {
	doc, err := s.source(ctx, req.GetDistrict(), req.GetSource())
	if err != nil {
		return nil, err
	}
	return s.one(ctx, req.GetDistrict(), doc)
}

var sourceFields = []string{
	"display_name", "settings", "name", "source_id", "connector", "create_time", "update_time", "etag", "last_sync",
}

func (s *sources) UpdateSource(ctx context.Context, req *ingestv1.UpdateSourceRequest) (*ingestv1.Source, error) {
	next := proto.CloneOf(req.GetSettings())
	if next == nil {
		return nil, invalid("settings", "is required")
	}
	mask := req.GetUpdateMask().GetPaths()
	for i, path := range mask { // a part of the settings stands for all of them
		mask[i], _, _ = strings.Cut(path, ".")
	}
	changes, err := updated(mask, sourceFields)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSpace(next.GetDisplayName())
	if err := checkName("displayName", name); err != nil {
		return nil, err
	}
	if err := checkSettings("", next.GetSettings()); err != nil {
		return nil, err
	}
	doc, err := s.source(ctx, req.GetDistrict(), req.GetSource())
	if err != nil {
		return nil, err
	}
	if err := checkEtag(next.GetEtag(), doc.Version); err != nil {
		return nil, err
	}
	v := doc.Value.GetSource()
	if next.GetConnector() != "" && next.GetConnector() != v.GetConnector() {
		return nil, invalid("connector", "cannot be changed: create another source")
	}
	if changes("display_name", name != "") {
		v.DisplayName = name
		if name == "" {
			v.DisplayName = v.GetSourceId()
		}
	}
	if changes("settings", next.GetSettings() != nil) {
		v.Settings = next.GetSettings()
	}
	v.UpdateTime = timestamppb.New(s.Now())
	if doc, err = s.Store.Sources.Update(ctx, doc); err != nil {
		return nil, err
	}
	return s.one(ctx, req.GetDistrict(), doc)
}

func (s *sources) DeleteSource(ctx context.Context, req *ingestv1.DeleteSourceRequest) (*ingestv1.DeleteSourceResponse, error) {
	district, source := req.GetDistrict(), req.GetSource()
	doc, err := s.source(ctx, district, source)
	if err != nil {
		return nil, err
	}
	// No sync of it runs, or begins to, while it goes.
	lease, err := s.Leases.Acquire(ctx, state.SourceLease(district, source))
	if errors.Is(err, state.ErrBusy) {
		return nil, errs.Errorf(codes.FailedPrecondition, "SOURCE_BUSY", "a sync of source %s is running: wait until it has ended, or cancel it", source).With("source", source)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			s.Log.WarnContext(ctx, "release source", "district", district, "source", source, "error", err)
		}
	}()
	for open, err := range s.Store.Open.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, err
		}
		if open.Value.GetSource() == source {
			return nil, errs.Errorf(codes.FailedPrecondition, "SOURCE_BUSY", "source %s has a sync that has not ended: wait for it, or cancel or discard it", source).With("source", source)
		}
	}
	layer, err := s.Store.Layer(ctx, district, source)
	if err != nil {
		return nil, err
	}
	for _, f := range layer.GetFiles() {
		if f.GetRecords() > 0 {
			return nil, errs.Errorf(codes.FailedPrecondition, "SOURCE_OWNS_RECORDS", "source %s owns records of the roster and cannot be deleted", source).With("source", source)
		}
	}
	for upload, err := range s.Store.Uploads.All(ctx, state.Within(district, source)) {
		if err != nil {
			return nil, err
		}
		if err := s.Store.Uploads.Delete(ctx, upload.ID); err != nil && !isNotFound(err) {
			return nil, err
		}
	}
	for _, prefix := range []string{uploadPrefix(district, source), syncrun.LayerPrefix(district, source)} {
		if err := syncrun.DeleteBlobs(ctx, s.Blobs, prefix, func(string) bool { return true }); err != nil {
			return nil, err
		}
	}
	if err := s.Store.Layers.Delete(ctx, doc.ID); err != nil && !isNotFound(err) {
		return nil, err
	}
	if err := s.Store.Sources.Delete(ctx, doc.ID); err != nil && !isNotFound(err) {
		return nil, err
	}
	return &ingestv1.DeleteSourceResponse{}, nil
}

func uploadPrefix(district, source string) string { return "uploads/" + district + "/" + source + "/" }

func (s *sources) Upload(stream grpc.ClientStreamingServer[ingestv1.UploadRequest, ingestv1.UploadResponse]) (err error) {
	ctx := stream.Context()
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	header := first.GetHeader()
	if header == nil {
		return errs.New(codes.InvalidArgument, "UPLOAD_ORDER", "the upload does not begin with its header")
	}
	district, source := header.GetDistrict(), header.GetSource()
	if _, err := s.source(ctx, district, source); err != nil {
		return err
	}
	p, err := upload.Receive(s.TempDir, s.MaxUpload, stream.Recv)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	id := state.NewID()
	key := uploadPrefix(district, source) + id + ".zip"
	if err := p.Save(ctx, s.Blobs, key); err != nil {
		return err
	}
	_, err = s.Store.Uploads.Create(ctx, state.Key(district, source, id), &ingestv1.UploadDocument{
		District: district, Source: source, UploadId: id, Files: p.Files, Key: key, Size: p.Size, CreateTime: timestamppb.New(s.Now()),
	})
	if err != nil {
		return errors.Join(err, syncrun.DeleteBlob(context.WithoutCancel(ctx), s.Blobs, key))
	}
	return stream.SendAndClose(&ingestv1.UploadResponse{UploadId: id, Files: p.Files})
}
