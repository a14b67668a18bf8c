package api

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
	"github.com/securly/sync/services/ingest/internal/connector/manual"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/platform/record"
)

// entries implements ManualEntryService.
type entries struct {
	ingestv1.UnimplementedManualEntryServiceServer
	Deps
}

// owner returns a source whose records are entered by hand.
func (s *entries) owner(ctx context.Context, district, source string) (*ingestv1.SourceDocument, error) {
	doc, err := s.source(ctx, district, source)
	if err == nil && !catalogue.Manual(doc.Value.GetSource().GetConnector()) {
		err = errs.Errorf(codes.FailedPrecondition, "SOURCE_NOT_MANUAL", "the records of source %s are delivered: make a source with the connector manual for what is entered by hand", source).With("source", source)
	}
	return doc.Value, err
}

func entryView(doc docstore.Doc[*ingestv1.ManualEntryDocument]) *ingestv1.ManualEntry {
	v := doc.Value.GetEntry()
	v.Etag = etag(doc.Version)
	return v
}

func (s *entries) ListManualEntries(ctx context.Context, req *ingestv1.ListManualEntriesRequest) (*ingestv1.ListManualEntriesResponse, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	if _, err := s.owner(ctx, req.GetDistrict(), req.GetSource()); err != nil {
		return nil, err
	}
	within := state.Within(req.GetDistrict(), req.GetSource())
	if req.GetEntity() != "" {
		if _, err := record.ParseEntity(req.GetEntity()); err != nil {
			return nil, invalid("entity", "%v", err)
		}
		within += req.GetEntity() + "/"
	}
	docs, next, err := page(ctx, &s.Deps, s.Store.Entries, "entries of "+within, within, req.GetPageToken(), size)
	if err != nil {
		return nil, err
	}
	out := &ingestv1.ListManualEntriesResponse{NextPageToken: next}
	for _, doc := range docs {
		out.Entries = append(out.Entries, entryView(doc))
	}
	return out, nil
}

func (s *entries) GetManualEntry(ctx context.Context, req *ingestv1.GetManualEntryRequest) (*ingestv1.ManualEntry, error) {
	doc, err := s.entry(ctx, req.GetDistrict(), req.GetSource(), req.GetEntity(), req.GetSourcedId())
	if err != nil {
		return nil, err
	}
	return entryView(doc), nil
}

func (s *entries) entry(ctx context.Context, district, source, entity, id string) (docstore.Doc[*ingestv1.ManualEntryDocument], error) {
	if _, err := s.owner(ctx, district, source); err != nil {
		return docstore.Doc[*ingestv1.ManualEntryDocument]{}, err
	}
	if _, err := record.ParseEntity(entity); err != nil {
		return docstore.Doc[*ingestv1.ManualEntryDocument]{}, invalid("entity", "%v", err)
	}
	doc, err := s.Store.Entries.Get(ctx, state.Key(district, source, entity, id))
	if isNotFound(err) {
		err = errs.New(codes.NotFound, "ENTRY_NOT_FOUND", "sourcedId: nothing is entered of this record").With("field", "sourcedId")
	}
	return doc, err
}

func (s *entries) PutManualEntry(ctx context.Context, req *ingestv1.PutManualEntryRequest) (*ingestv1.ManualEntry, error) {
	e := proto.CloneOf(req.GetEntry())
	if e == nil {
		return nil, invalid("entry", "is required")
	}
	owner, err := s.owner(ctx, req.GetDistrict(), req.GetSource())
	if err == nil {
		err = schedule.RefuseStopped(owner.GetSource())
	}
	if err != nil {
		return nil, err
	}
	if field, err := manual.Check(e); err != nil {
		return nil, invalid(strings.TrimSuffix("entry."+field, "."), "%v", err)
	}
	sent := e.GetEtag()
	e.Etag, e.UpdateTime, e.UpdatedBy = "", timestamppb.New(s.Now()), writer(ctx)
	entity, _ := record.Of(e.GetRecord())
	d := &ingestv1.ManualEntryDocument{District: req.GetDistrict(), Source: req.GetSource(), Entity: record.EntityName(entity), Entry: e}
	doc, err := s.Store.Entries.Get(ctx, state.EntryKey(d))
	switch {
	case isNotFound(err):
		if sent != "" {
			return nil, checkEtag(sent, "")
		}
		doc, err = s.Store.Entries.Create(ctx, state.EntryKey(d), d)
	case err == nil:
		if err := checkEtag(sent, etag(doc.Version)); err != nil {
			return nil, err
		}
		doc.Value = d
		doc, err = s.Store.Entries.Update(ctx, doc)
	}
	if errors.Is(err, docstore.ErrExists) || errors.Is(err, docstore.ErrConflict) {
		return nil, checkEtag("another", etag(doc.Version))
	}
	if err != nil {
		return nil, err
	}
	// The source may have been removed while the entry was written.
	now, err := s.owner(ctx, req.GetDistrict(), req.GetSource())
	if err == nil {
		err = cmp.Or(s.still(ctx, owner), schedule.RefuseStopped(now.GetSource()))
	}
	if err != nil {
		if undo := s.Store.Entries.DeleteVersion(ctx, doc); undo != nil && !isNotFound(undo) {
			err = errors.Join(err, undo)
		}
		return nil, err
	}
	return entryView(doc), nil
}

// writer is who is told to have written an entry.
func writer(ctx context.Context) string {
	p := authn.FromContext(ctx)
	if p.DisplayName != "" {
		return p.DisplayName
	}
	return p.Subject
}

func (s *entries) DeleteManualEntry(ctx context.Context, req *ingestv1.DeleteManualEntryRequest) (*ingestv1.DeleteManualEntryResponse, error) {
	doc, err := s.entry(ctx, req.GetDistrict(), req.GetSource(), req.GetEntity(), req.GetSourcedId())
	if err != nil {
		return nil, err
	}
	if err := s.Store.Entries.Delete(ctx, doc.ID); err != nil && !isNotFound(err) {
		return nil, err
	}
	return &ingestv1.DeleteManualEntryResponse{}, nil
}
