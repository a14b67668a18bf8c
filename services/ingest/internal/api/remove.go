package api

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/syncrun"
	"github.com/securly/sync/services/platform/errs"
)

// What becomes of the records of a source that is deleted.
const (
	freezeRecords = "freeze"
	removeRecords = "remove"
)

func (s *sources) DeleteSource(ctx context.Context, req *ingestv1.DeleteSourceRequest) (*ingestv1.DeleteSourceResponse, error) {
	district, source, records := req.GetDistrict(), req.GetSource(), req.GetRecords()
	if records != "" && records != freezeRecords && records != removeRecords {
		return nil, invalid("records", "must be freeze, to keep the records of the source as they are, or remove")
	}
	doc, err := s.source(ctx, district, source)
	if err != nil {
		return nil, err
	}
	if removal := doc.Value.GetSource().GetStopped().GetRemoval(); records == removeRecords && removal != "" {
		sync, err := s.Store.Sync(ctx, district, removal)
		if err != nil {
			return nil, err
		}
		return &ingestv1.DeleteSourceResponse{Sync: syncView(sync.Value)}, nil
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
	if records == freezeRecords {
		return &ingestv1.DeleteSourceResponse{}, s.freeze(ctx, district, source)
	}
	owns, err := s.ownsRecords(ctx, district, source)
	switch {
	case err != nil:
		return nil, err
	case !owns:
		return &ingestv1.DeleteSourceResponse{}, syncrun.RemoveSource(ctx, s.Store, s.Roster, s.Blobs, district, source)
	case records == "":
		return nil, errs.Errorf(codes.FailedPrecondition, "SOURCE_OWNS_RECORDS", "source %s owns records of the roster: say with records=freeze that they stay as they are, or with records=remove that they are removed with it", source).With("source", source)
	}
	removal, err := s.start(ctx, doc.Value, "", &ingestv1.Sync{SyncId: state.NewID(), RemovesSource: true, Reason: "the source is removed"})
	if err == nil {
		err = syncrun.StopForRemoval(ctx, s.Store, removal)
	}
	if err != nil {
		return nil, err
	}
	return &ingestv1.DeleteSourceResponse{Sync: syncView(removal)}, nil
}

// freeze stops a source with its records as they are. What would bring new ones
// is forgotten: secrets, the password of those who drop files, what they have
// dropped, and what a dry run would have brought.
func (s *sources) freeze(ctx context.Context, district, source string) error {
	doc, err := s.Store.Sources.Modify(ctx, state.Key(district, source), func(d *ingestv1.SourceDocument) error {
		if d.Source.Stopped == nil {
			d.Source.Stopped = &ingestv1.Stop{Time: timestamppb.New(s.Now()), Frozen: true}
		}
		d.Secrets, d.DropPassword = nil, nil
		return nil
	})
	if isNotFound(err) {
		return state.ErrSourceNotFound
	}
	if err == nil {
		err = syncrun.KeepDryRun(ctx, s.Store, s.Roster, doc, "")
	}
	if err == nil {
		_, err = s.inbox(district, source).Clear(ctx)
	}
	return err
}

func (s *sources) ownsRecords(ctx context.Context, district, source string) (bool, error) {
	layer, err := s.Store.Layer(ctx, district, source)
	if err != nil {
		return false, err
	}
	for _, f := range state.Current(layer).All() {
		if f.GetRecords() > 0 {
			return true, nil
		}
	}
	return false, nil
}
