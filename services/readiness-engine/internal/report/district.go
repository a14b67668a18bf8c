package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/authn"
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

// domains returns the email domains that a district has declared. Without an
// answer those of its newest report are as good: if they are others by now, the
// sweep has another report made.
func (r *Reports) domains(ctx context.Context, district string, log *slog.Logger) ([]string, error) {
	d, err := r.declared(ctx, district)
	if err == nil {
		return d.GetEmailDomains(), nil
	}
	if ctx.Err() != nil {
		return nil, err
	}
	log.WarnContext(ctx, "readiness: going by the email domains of the last report", "district", district, "error", err)
	newest, err := r.Newest(ctx, district)
	return newest.GetEmailDomains(), err
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
