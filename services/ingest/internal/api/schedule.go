package api

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
)

// maxStale is a leap year.
const maxStale = 366 * 24

// checkSchedule checks when a source is synced by itself and when it is stale.
func checkSchedule(prefix string, through *connector.Description, s *ingestv1.Source) error {
	if hours := s.GetStaleAfterHours(); hours < 0 || hours > maxStale {
		return invalid(prefix+"staleAfterHours", "must be from 1 to %d, or 0 for the default", maxStale)
	}
	if s.GetSchedule() == nil {
		return nil
	}
	if through.GetKind() != connector.Pull {
		return invalid(prefix+"schedule", "the hub fetches nothing from a source of the connector %s: it is synced when a package is brought", through.GetConnectorId())
	}
	if _, field, err := schedule.Parse(s.GetSchedule(), time.UTC); err != nil {
		return invalid(prefix+"schedule."+field, "%w", err)
	}
	return nil
}

// shown is what callers see of a source now.
func (s *sources) shown(owner *ingestv1.DistrictDocument, doc *ingestv1.SourceDocument) *ingestv1.Source {
	schedule.Tell(doc, schedule.Zone(owner.GetDistrict()), s.Now())
	return s.sourceView(doc)
}

func (s *sources) show(ctx context.Context, doc *ingestv1.SourceDocument) (*ingestv1.Source, error) {
	owner, err := s.Store.District(ctx, doc.GetDistrict())
	if err != nil {
		return nil, err
	}
	source := s.shown(owner.Value, doc)
	return source, s.incoming(ctx, doc.GetDistrict(), source)
}

// Starter starts the syncs of schedules.
func Starter(d Deps) *schedule.Starter {
	return &schedule.Starter{
		Store: d.Store, Log: d.Log, Now: d.Now,
		Start: func(ctx context.Context, source *ingestv1.SourceDocument, sync, reason string) error {
			_, err := d.start(ctx, source, "", &ingestv1.Sync{SyncId: sync, Reason: reason})
			return err
		},
	}
}

func (s *sources) PauseSource(ctx context.Context, req *ingestv1.PauseSourceRequest) (*ingestv1.Source, error) {
	now := s.Now()
	if len(req.GetMessage()) > 1000 {
		return nil, invalid("message", "must not be longer than 1000 bytes")
	}
	if req.GetUntil() != nil && (!req.GetUntil().IsValid() || !req.GetUntil().AsTime().After(now)) {
		return nil, invalid("until", "must be in the future; leave it out to pause until the source is resumed")
	}
	return s.setPause(ctx, req.GetDistrict(), req.GetSource(), now, &ingestv1.Pause{
		StartTime: timestamppb.New(now), Until: req.GetUntil(), Message: req.GetMessage(), ByOperator: authn.FromContext(ctx).SeesAllDistricts(),
	})
}

func (s *sources) ResumeSource(ctx context.Context, req *ingestv1.ResumeSourceRequest) (*ingestv1.Source, error) {
	return s.setPause(ctx, req.GetDistrict(), req.GetSource(), s.Now(), nil)
}

// setPause begins a pause, or ends the one that there is; so it does with a stop.
func (s *sources) setPause(ctx context.Context, district, source string, now time.Time, next *ingestv1.Pause) (*ingestv1.Source, error) {
	doc, err := s.source(ctx, district, source)
	if err != nil {
		return nil, err
	}
	doc, err = s.Store.Sources.Modify(ctx, doc.ID, func(d *ingestv1.SourceDocument) error {
		was := schedule.Paused(d.GetSource(), now)
		if was.GetByOperator() && !authn.FromContext(ctx).SeesAllDistricts() {
			return errs.Errorf(codes.PermissionDenied, "PAUSED_BY_OPERATOR", "source %s was paused by an operator, who alone can change that", source).With("source", source)
		}
		stop := d.GetSource().GetStopped()
		if stop.GetRemoval() != "" {
			return schedule.RefuseStopped(d.GetSource())
		}
		d.Source.Pause = next
		if (was != nil || stop != nil) && next == nil {
			d.ScheduledFrom, d.Source.Stopped = timestamppb.New(now), nil
		}
		return nil
	})
	if isNotFound(err) {
		return nil, state.ErrSourceNotFound
	}
	if err != nil {
		return nil, err
	}
	return s.show(ctx, doc.Value)
}
