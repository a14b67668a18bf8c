package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
	_ "time/tzdata" // the zones of districts must be known on every machine

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/readiness-engine/internal/check"
)

// Districts is the part of the ingest API that says what districts have
// declared.
type Districts interface {
	GetDistrict(ctx context.Context, in *ingestv1.GetDistrictRequest, opts ...grpc.CallOption) (*ingestv1.District, error)
}

// declared returns a district as it is set up, an empty one if it is not known
// there.
func (r *Reports) declared(ctx context.Context, district string) (*ingestv1.District, error) {
	d, err := r.declares.GetDistrict(ctx, &ingestv1.GetDistrictRequest{District: district})
	if errors.Is(err, authn.ErrDistrictNotFound) {
		return &ingestv1.District{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask what %s has declared: %w", district, err)
	}
	return d, nil
}

// given returns what the checks of a report go by. Without an answer that of the
// newest report is as good: if the email domains are others by now, the sweep has
// another report made. That one, which is not the report of its revision, needs
// the answer.
func (r *Reports) given(ctx context.Context, q *readinessv1.QueuedReport, now time.Time, log *slog.Logger) (check.Given, error) {
	district := q.GetDistrict()
	d, err := r.declared(ctx, district)
	if err != nil && ctx.Err() == nil && (!q.GetAutomatic() || q.GetReportId() == OfRevision(q.GetRevision())) {
		log.WarnContext(ctx, "readiness: going by what the district had declared at its last report", "district", district, "error", err)
		var newest *readinessv1.StoredReport
		newest, err = r.Newest(ctx, district)
		d = &ingestv1.District{EmailDomains: newest.GetEmailDomains(), TimeZone: newest.GetTimeZone()}
	}
	if err != nil {
		return check.Given{}, err
	}
	zone, err := time.LoadLocation(d.GetTimeZone())
	if err != nil {
		return check.Given{}, fmt.Errorf("time zone of %s: %w", district, err)
	}
	return check.Given{Now: now.In(zone), Domains: d.GetEmailDomains()}, nil
}

// redeclared queues another report over the newest reported revision of a
// district that has declared other email domains since. Its id comes from the
// declaration, so that doing it twice is doing it once.
func (c *Commits) redeclared(ctx context.Context, district string) error {
	d, err := c.reports.declared(ctx, district)
	if err != nil {
		return err
	}
	newest, err := c.reports.Newest(ctx, district)
	if err != nil || newest == nil || slices.Equal(d.GetEmailDomains(), newest.GetEmailDomains()) {
		return err
	}
	revision := newest.GetReport().GetRevision()
	return c.queue(ctx, &readinessv1.QueuedReport{
		District: district, ReportId: fmt.Sprintf("%s-%s", OfRevision(revision), d.GetEtag()),
		CreateTime: timestamppb.New(c.now()), Revision: revision, Automatic: true,
	})
}
