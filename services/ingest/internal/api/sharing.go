package api

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/sharing"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/syncrun"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

type sharings struct {
	ingestv1.UnimplementedSharingServiceServer
	*sources
}

// checkSharing returns sharing settings as they are kept; nil for none.
func checkSharing(field string, s *ingestv1.Sharing) (*ingestv1.Sharing, error) {
	normal, part, err := sharing.Normal(s)
	if err != nil {
		return nil, invalid(field+"."+part, "%w", err)
	}
	return normal, nil
}

// checkShared refuses sharing settings of a source whose records nobody delivers.
func checkShared(field string, s *ingestv1.Source) error {
	if s.GetSharing() != nil && catalogue.Manual(s.GetConnector()) {
		return invalid(field, "what is entered by hand is shared as a whole: set it for the sources that deliver records")
	}
	return nil
}

func (s *sharings) PreviewSharing(ctx context.Context, req *ingestv1.PreviewSharingRequest) (*ingestv1.PreviewSharingResponse, error) {
	settings, err := checkSharing("sharing", req.GetSharing())
	if err != nil {
		return nil, err
	}
	if _, err := s.source(ctx, req.GetDistrict(), req.GetSource()); err != nil {
		return nil, err
	}
	// It holds the users' ids in memory.
	end, err := s.trials.begin(state.Key(req.GetDistrict(), req.GetSource()))
	if err != nil {
		return nil, err
	}
	defer end()
	for {
		l, err := s.Store.Layer(ctx, req.GetDistrict(), req.GetSource())
		if err != nil {
			return nil, err
		}
		if len(l.GetFiles()) == 0 {
			return nil, errs.Errorf(codes.FailedPrecondition, "SOURCE_NOT_SYNCED", "source %s has no records yet that settings could be tried on: sync it first", req.GetSource()).With("source", req.GetSource())
		}
		out, err := preview(settings, syncrun.Records(ctx, s.Blobs, req.GetSource(), l.GetFiles()))
		if errors.Is(err, layer.ErrDamaged) {
			// A sync may have replaced what was being read.
			now, again := s.Store.Layer(ctx, req.GetDistrict(), req.GetSource())
			if again == nil && now.GetSync() != l.GetSync() {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		out.Sync = l.GetSync()
		return out, nil
	}
}

func preview(settings *ingestv1.Sharing, records sharing.Records) (*ingestv1.PreviewSharingResponse, error) {
	out := &ingestv1.PreviewSharingResponse{Counts: map[string]*ingestv1.SharingCounts{}}
	filter, err := sharing.New(settings, records)
	if err != nil {
		return nil, err
	}
	for _, e := range record.Entities() {
		counts := &ingestv1.SharingCounts{}
		for _, err := range filter.Apply(records(e), counts) {
			if err != nil {
				return nil, err
			}
		}
		if counts.GetKept()+counts.GetDropped() > 0 {
			out.Counts[record.EntityName(e)] = counts
		}
	}
	out.Choices, err = sharing.Choices(records)
	return out, err
}

// ShareAnew starts the syncs of sources whose sharing settings were changed, one
// for all replicas: the source says which.
func ShareAnew(ctx context.Context, d Deps) {
	for doc, err := range d.Store.Sources.All(ctx, "") {
		if err == nil {
			_, err = d.shareAnew(ctx, doc.Value)
		}
		if err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "share anew", "source", doc.ID, "error", err)
		}
	}
}

// shareAnew starts the sync that a source is to be shared anew by; empty if
// there is nothing to share, or if it has to wait until the source is resumed.
func (d *Deps) shareAnew(ctx context.Context, source *ingestv1.SourceDocument) (string, error) {
	district, id, sync := source.GetDistrict(), source.GetSource().GetSourceId(), source.GetSharingSync()
	if sync == "" || source.GetSource().GetStopped() != nil || schedule.Paused(source.GetSource(), d.Now()) != nil {
		return "", nil
	}
	needed, err := d.needsSharing(ctx, district, id)
	if err != nil {
		return "", err
	}
	if needed {
		_, err = d.start(ctx, source, "", &ingestv1.Sync{SyncId: sync, Remerge: true, Reason: "sharing settings were changed"})
	} else {
		sync = ""
	}
	if err == nil {
		_, err = d.Store.Sources.Modify(ctx, state.Key(district, id), func(now *ingestv1.SourceDocument) error {
			if now.GetSharingSync() == source.GetSharingSync() {
				now.SharingSync = ""
			}
			return nil
		})
	}
	if isNotFound(err) || errors.Is(err, state.ErrSourceNotFound) || errors.Is(err, authn.ErrDistrictNotFound) {
		return "", nil // it is being deleted
	}
	return sync, err
}

// needsSharing tells whether a source has records, or is about to have some that
// may be shared by the settings before.
func (d *Deps) needsSharing(ctx context.Context, district, source string) (bool, error) {
	l, err := d.Store.Layer(ctx, district, source)
	if err != nil || l.GetSync() != "" {
		return err == nil, err
	}
	for open, err := range d.Store.Open.All(ctx, state.Within(district)) {
		if err != nil || open.Value.GetSource() == source {
			return err == nil, err
		}
	}
	return false, nil
}
