package api

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/plan"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/sealed"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/syncrun"
	"github.com/securly/sync/services/ingest/internal/upload"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/pagetoken"
)

type sources struct {
	ingestv1.UnimplementedSourceServiceServer
	Deps
	trials trials
}

// sourceEtag changes with the settings. The document changes more often, with
// every sync, which must not get into the way of someone who edits them.
func sourceEtag(s *ingestv1.Source) string {
	return strconv.FormatInt(s.GetUpdateTime().AsTime().UnixNano(), 10)
}

func (d *Deps) sourceView(doc *ingestv1.SourceDocument) *ingestv1.Source {
	v := doc.GetSource()
	v.Name = "districts/" + doc.GetDistrict() + "/sources/" + v.GetSourceId()
	v.Etag = sourceEtag(v)
	v.SecretsSet = doc.GetSecrets().GetNames()
	v.Drop = d.drop(doc)
	v.HoldPolicy = plan.Complete(v.GetHoldPolicy())
	return v
}

func (s *sources) ListConnectors(context.Context, *ingestv1.ListConnectorsRequest) (*ingestv1.ListConnectorsResponse, error) {
	return catalogue.List(), nil
}

func checkSettings(prefix string, d *connector.Description, settings *structpb.Struct) error {
	if field, err := d.CheckSettings(settings); err != nil {
		return invalid(strings.TrimSuffix(prefix+"settings."+field, "."), "%w", err)
	}
	return nil
}

func checkPolicy(prefix string, policy *ingestv1.HoldPolicy) error {
	if field, err := plan.Check(policy); err != nil {
		return invalid(prefix+"holdPolicy."+field, "%w", err)
	}
	return nil
}

func checkSecrets(prefix string, d *connector.Description, secrets map[string]string) error {
	if name, err := d.CheckSecrets(secrets); err != nil {
		return invalid(prefix+"secrets."+name, "%w", err)
	}
	return nil
}

// describe returns the description of a source's connector.
func describe(d *ingestv1.SourceDocument) (*connector.Description, error) {
	c := catalogue.Get(d.GetSource().GetConnector())
	if c == nil {
		return nil, errs.Errorf(codes.FailedPrecondition, "CONNECTOR_UNKNOWN", "this version of the hub has no connector %q", d.GetSource().GetConnector())
	}
	return c.Describe(), nil
}

// given are the secrets that there are after an update: what it leaves out
// stays, what it has empty goes.
func given(before, update map[string]string) map[string]string {
	out := maps.Clone(before)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, update)
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

// reseal returns the secrets of a source after an update. Of one that has moved
// none are kept: they were entered for another server.
func (s *sources) reseal(ctx context.Context, d *ingestv1.SourceDocument, update map[string]string, moved bool) (*ingestv1.SealedSecrets, error) {
	owner := state.Key(d.GetDistrict(), d.GetSource().GetSourceId())
	if moved {
		return s.Secrets.Seal(ctx, owner, given(nil, update))
	}
	before, err := s.Secrets.Open(ctx, owner, d.GetSecrets())
	if errors.Is(err, sealed.ErrUnreadable) {
		before, err = nil, nil // entering them again is the way out of that
	}
	if err != nil {
		return nil, err
	}
	return s.Secrets.Seal(ctx, owner, given(before, update))
}

func (s *sources) CreateSource(ctx context.Context, req *ingestv1.CreateSourceRequest) (*ingestv1.Source, error) {
	id := req.GetSourceId()
	if err := checkID("sourceId", id); err != nil {
		return nil, err
	}
	through := catalogue.Get(req.GetSource().GetConnector())
	if through == nil {
		return nil, invalid("source.connector", "there is no connector %.80q; the catalogue of connectors lists them", req.GetSource().GetConnector())
	}
	name := strings.TrimSpace(req.GetSource().GetDisplayName())
	if err := checkName("source.displayName", name); err != nil {
		return nil, err
	}
	if name == "" {
		name = id
	}
	if err := checkSettings("source.", through.Describe(), req.GetSource().GetSettings()); err != nil {
		return nil, err
	}
	if err := checkSecrets("source.", through.Describe(), req.GetSource().GetSecrets()); err != nil {
		return nil, err
	}
	if err := checkSchedule("source.", through.Describe(), req.GetSource()); err != nil {
		return nil, err
	}
	if err := checkPolicy("source.", req.GetSource().GetHoldPolicy()); err != nil {
		return nil, err
	}
	if _, err := checkMapping("source.mapping", req.GetSource().GetMapping()); err != nil {
		return nil, err
	}
	if err := checkGuardians("source.guardians", req.GetSource()); err != nil {
		return nil, err
	}
	shared, err := checkSharing("source.sharing", req.GetSource().GetSharing())
	if err == nil {
		err = checkShared("source.sharing", req.GetSource())
	}
	if err != nil {
		return nil, err
	}
	secrets, err := s.Secrets.Seal(ctx, state.Key(req.GetDistrict(), id), given(nil, req.GetSource().GetSecrets()))
	if err != nil {
		return nil, err
	}
	owner, err := s.Store.District(ctx, req.GetDistrict())
	if err != nil {
		return nil, err
	}
	now := timestamppb.New(s.Now())
	doc, err := s.Store.Sources.Create(ctx, state.Key(req.GetDistrict(), id), &ingestv1.SourceDocument{
		District: req.GetDistrict(), Secrets: secrets,
		Source: &ingestv1.Source{
			SourceId: id, DisplayName: name, Connector: req.GetSource().GetConnector(), Settings: req.GetSource().GetSettings(),
			Mapping: req.GetSource().GetMapping(), CreateTime: now, UpdateTime: now, Schedule: req.GetSource().GetSchedule(), StaleAfterHours: req.GetSource().GetStaleAfterHours(),
			HoldPolicy: req.GetSource().GetHoldPolicy(), Guardians: req.GetSource().GetGuardians(), Sharing: shared,
		},
		ScheduledFrom: now,
	})
	if errors.Is(err, docstore.ErrExists) {
		return nil, errs.Errorf(codes.AlreadyExists, "SOURCE_EXISTS", "sourceId: there is a source %s already", id).With("field", "sourceId")
	}
	if err != nil {
		return nil, err
	}
	// What is written for a district that is deleted meanwhile must not turn up
	// in the next one of its name.
	again, err := s.Store.District(ctx, req.GetDistrict())
	if err == nil && !proto.Equal(again.Value.GetDistrict().GetCreateTime(), owner.Value.GetDistrict().GetCreateTime()) {
		err = authn.DistrictNotFound(req.GetDistrict())
	}
	if err != nil {
		if undo := s.Store.Sources.DeleteVersion(context.WithoutCancel(ctx), doc); undo != nil && !isNotFound(undo) {
			err = errors.Join(err, undo)
		}
		return nil, err
	}
	return s.shown(owner.Value, doc.Value), nil
}

func (s *sources) ListSources(ctx context.Context, req *ingestv1.ListSourcesRequest) (*ingestv1.ListSourcesResponse, error) {
	owner, err := s.Store.District(ctx, req.GetDistrict())
	if err != nil {
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
	out := &ingestv1.ListSourcesResponse{NextPageToken: next}
	for _, doc := range docs {
		out.Sources = append(out.Sources, s.shown(owner.Value, doc.Value))
	}
	return out, nil
}

// source returns a source of a district that exists.
func (d *Deps) source(ctx context.Context, district, source string) (docstore.Doc[*ingestv1.SourceDocument], error) {
	if _, err := d.Store.District(ctx, district); err != nil {
		return docstore.Doc[*ingestv1.SourceDocument]{}, err
	}
	return d.Store.Source(ctx, district, source)
}

// still fails if a source, or its district, is not the one any more that it was:
// it may have been deleted, and another created under its name. What was written
// for it before has to be undone then; what is there now, deleting will find.
func (d *Deps) still(ctx context.Context, was *ingestv1.SourceDocument) error {
	id := was.GetSource().GetSourceId()
	now, err := d.source(ctx, was.GetDistrict(), id)
	if err == nil && !proto.Equal(now.Value.GetSource().GetCreateTime(), was.GetSource().GetCreateTime()) {
		return errs.Errorf(state.ErrSourceNotFound.Code, state.ErrSourceNotFound.Reason, "source %q was deleted in the meantime", id).With("source", id)
	}
	return err
}

func (s *sources) GetSource(ctx context.Context, req *ingestv1.GetSourceRequest) (*ingestv1.Source, error) {
	doc, err := s.source(ctx, req.GetDistrict(), req.GetSource())
	if err != nil {
		return nil, err
	}
	return s.show(ctx, doc.Value)
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
	changes, err := updated(mask, next)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSpace(next.GetDisplayName())
	if err := checkName("displayName", name); err != nil {
		return nil, err
	}
	doc, err := s.source(ctx, req.GetDistrict(), req.GetSource())
	if err != nil {
		return nil, err
	}
	through, err := describe(doc.Value)
	if err != nil {
		return nil, err
	}
	if changes("settings", next.GetSettings() != nil) {
		if err := checkSettings("", through, next.GetSettings()); err != nil {
			return nil, err
		}
	}
	if err := checkSecrets("", through, next.GetSecrets()); err != nil {
		return nil, err
	}
	if err := checkSchedule("", through, next); err != nil {
		return nil, err
	}
	if err := checkPolicy("", next.GetHoldPolicy()); err != nil {
		return nil, err
	}
	if _, err := checkMapping("mapping", next.GetMapping()); err != nil {
		return nil, err
	}
	shared, err := checkSharing("sharing", next.GetSharing())
	if err != nil {
		return nil, err
	}
	doc, err = s.Store.Sources.Modify(ctx, doc.ID, func(d *ingestv1.SourceDocument) error {
		v := d.GetSource()
		if err := checkEtag(next.GetEtag(), sourceEtag(v)); err != nil {
			return err
		}
		if next.GetConnector() != "" && next.GetConnector() != v.GetConnector() {
			return invalid("connector", "cannot be changed: create another source")
		}
		if changes("display_name", name != "") {
			v.DisplayName = cmp.Or(name, v.GetSourceId())
		}
		if changes("mapping", next.GetMapping() != nil) {
			v.Mapping = next.GetMapping()
		}
		if changes("guardians", next.GetGuardians() != nil) {
			if err := s.setGuardians(ctx, d, next.GetGuardians()); err != nil {
				return err
			}
		}
		if changes("sharing", next.GetSharing() != nil) && !proto.Equal(v.GetSharing(), shared) {
			v.Sharing, d.SharingSync = shared, state.NewID()
		}
		enters := changes("secrets", len(next.GetSecrets()) > 0)
		moved := false
		if changes("settings", next.GetSettings() != nil) {
			moved = through.Moved(v.GetSettings(), next.GetSettings())
			v.Settings = next.GetSettings()
		}
		if moved && d.GetSecrets() != nil && (!enters || len(given(nil, next.GetSecrets())) == 0) {
			return invalid("secrets", "enter them again: those that are kept are for the server and user in the settings before")
		}
		if enters {
			if d.Secrets, err = s.reseal(ctx, d, next.GetSecrets(), moved); err != nil {
				return err
			}
		}
		v.UpdateTime = timestamppb.New(s.Now())
		if changes("schedule", next.GetSchedule() != nil) {
			v.Schedule, d.ScheduledFrom = next.GetSchedule(), v.GetUpdateTime()
		}
		if changes("hold_policy", next.GetHoldPolicy() != nil) {
			v.HoldPolicy = next.GetHoldPolicy()
		}
		if changes("stale_after_hours", next.GetStaleAfterHours() != 0) {
			v.StaleAfterHours, d.ScheduledFrom = next.GetStaleAfterHours(), v.GetUpdateTime()
		}
		if err := checkShared("sharing", v); err != nil {
			return err
		}
		return checkGuardians("guardians", v)
	})
	if isNotFound(err) {
		return nil, state.ErrSourceNotFound
	}
	if err != nil {
		return nil, err
	}
	if sync, err := s.shareAnew(ctx, doc.Value); err != nil {
		s.Log.WarnContext(ctx, "share anew", "source", doc.ID, "error", err) // it is tried again
	} else if sync != "" {
		doc.Value.Source.LastSync = sync
	}
	return s.show(ctx, doc.Value)
}

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
	owner, err := s.source(ctx, district, source)
	if err == nil {
		err = schedule.RefuseStopped(owner.Value.GetSource())
	}
	if err == nil && catalogue.Manual(owner.Value.GetSource().GetConnector()) {
		err = errs.New(codes.FailedPrecondition, "SOURCE_MANUAL", "the records of this source are entered by hand: upload to another source")
	}
	if err != nil {
		return err
	}
	mapped, err := onerostercsv.MappingOf(owner.Value.GetSource())
	if err != nil {
		return err
	}
	p, err := upload.Receive(s.TempDir, s.MaxUpload, mapped, stream.Recv)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	id := state.NewID()
	key := syncrun.UploadPrefix(district, source) + id + ".zip"
	if err := p.Save(ctx, s.Blobs, key); err != nil {
		return err
	}
	_, err = s.Store.Uploads.Create(ctx, state.Key(district, source, id), &ingestv1.UploadDocument{
		District: district, Source: source, UploadId: id, Files: p.Files, Key: key, Size: p.Size, CreateTime: timestamppb.New(s.Now()),
	})
	if err == nil {
		err = s.still(ctx, owner.Value)
	}
	if err != nil {
		ctx := context.WithoutCancel(ctx)
		if undo := s.Store.Uploads.Delete(ctx, state.Key(district, source, id)); undo != nil && !isNotFound(undo) {
			err = errors.Join(err, undo)
		}
		return errors.Join(err, syncrun.DeleteBlob(ctx, s.Blobs, key))
	}
	if err := syncrun.TidyUploads(ctx, s.Store, s.Blobs, district, source); err != nil {
		s.Log.WarnContext(ctx, "delete old uploads", "district", district, "source", source, "error", err)
	}
	return stream.SendAndClose(&ingestv1.UploadResponse{UploadId: id, Files: p.Files})
}
