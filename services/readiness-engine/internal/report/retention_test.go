package report

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob/memblob"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/testkit"
)

// declared is what districts have declared.
type declared map[string]*ingestv1.District

func (d declared) GetDistrict(_ context.Context, req *ingestv1.GetDistrictRequest, _ ...grpc.CallOption) (*ingestv1.District, error) {
	if found := d[req.GetDistrict()]; found != nil {
		return found, nil
	}
	return nil, authn.DistrictNotFound(req.GetDistrict())
}

func TestWhichReportsAreOld(t *testing.T) {
	const day = 24 * time.Hour
	type stored struct {
		id    string
		age   time.Duration
		state readinessv1.ReportState
	}
	const completed, failed, queued = readinessv1.ReportState_COMPLETED, readinessv1.ReportState_FAILED, readinessv1.ReportState_QUEUED
	for name, c := range map[string]struct {
		reports []stored
		newest  int
		history int32 // days that the district has set
		want    []string
	}{
		"by age": {[]stored{{"a", 500 * day, completed}, {"b", 401 * day, failed}, {"c", 399 * day, completed}, {"d", day, completed}}, 100, 0, []string{"b", "a"}},
		"by the history of the district": {
			[]stored{{"a", 31 * day, completed}, {"b", 29 * day, failed}, {"c", day, completed}}, 100, 30, []string{"a"},
		},
		"a longer history": {[]stored{{"a", 500 * day, completed}, {"b", day, completed}}, 100, 600, nil},
		"by count":         {[]stored{{"a", 4 * day, completed}, {"b", 3 * day, completed}, {"c", 2 * day, failed}, {"d", day, completed}}, 2, 0, []string{"b", "a"}},
		"the newest stays, and what is to be made": {
			[]stored{{"a", 900 * day, queued}, {"b", 800 * day, completed}, {"c", 700 * day, completed}}, 100, 0, []string{"b"},
		},
		"none": {nil, 100, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			bucket := memblob.OpenBucket(nil)
			defer func() { require.NoError(t, bucket.Close()) }()
			now := time.Date(2026, time.October, 14, 12, 0, 0, 0, time.UTC)
			district := &ingestv1.District{}
			if c.history > 0 {
				district.HistoryDays = &c.history
			}
			reports := Open(testkit.Docs(t), bucket, declared{"d1": district})
			r := NewRunner(RunnerConfig{Retain: 400 * day, Newest: c.newest}, reports, nil, slog.New(slog.DiscardHandler), func() time.Time { return now })
			for _, s := range c.reports {
				_, err := reports.reports.Create(t.Context(), documentID("d1", s.id), &readinessv1.StoredReport{
					District: "d1", Report: &readinessv1.ReadinessReport{ReportId: s.id, State: s.state, CreateTime: timestamppb.New(now.Add(-s.age))},
				})
				require.NoError(t, err)
			}
			old, err := r.old(t.Context(), "d1")
			require.NoError(t, err)
			for i := range c.want {
				c.want[i] = documentID("d1", c.want[i])
			}
			require.Equal(t, c.want, old)
		})
	}
}
