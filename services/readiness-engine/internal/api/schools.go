package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/readiness-engine/internal/report"
	"github.com/securly/sync/services/readiness-engine/internal/standing"
)

// recentSyncs is how many of a district's syncs are looked at at once. The last
// one of a source that is not among them is asked for.
const recentSyncs = 50

// Ingest is what the engine asks the ingest service.
type Ingest struct {
	Districts report.Districts
	Sources   ingestv1.SourceServiceClient
	Syncs     ingestv1.SyncServiceClient
}

// ListSchoolStatuses lists schools, those that need action first.
func (s *Server) ListSchoolStatuses(ctx context.Context, req *readinessv1.ListSchoolStatusesRequest) (*readinessv1.ListSchoolStatusesResponse, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	mine := authn.FromContext(ctx).Schools
	list := binding(append([]string{"schools", req.GetDistrict()}, mine...)...)
	last := &readinessv1.SchoolStatus{}
	position, err := s.after(ctx, req, list)
	if err == nil {
		err = proto.Unmarshal([]byte(position), last)
	}
	if err != nil {
		return nil, err
	}
	sources, err := s.standing(ctx, req.GetDistrict())
	if err != nil {
		return nil, err
	}
	out := &readinessv1.ListSchoolStatusesResponse{}
	if len(mine) == 0 {
		out.Sources = standing.Sources(sources)
	}
	stored, err := s.reports.Newest(ctx, req.GetDistrict())
	if err != nil || stored == nil {
		return out, err
	}
	out.Report, out.Revision = stored.GetReport().GetName(), stored.GetReport().GetRevision()
	lens, err := s.reports.Lens(ctx, req.GetDistrict(), report.Filter{})
	if err != nil {
		return nil, err
	}
	schools, err := s.reports.Schools(ctx, stored, lens)
	if err != nil {
		return nil, err
	}
	if len(mine) > 0 {
		schools = slices.DeleteFunc(schools, func(s *readinessv1.SchoolStatus) bool { return !slices.Contains(mine, s.GetSchoolId()) })
	}
	for _, school := range schools {
		school.Status = standing.At(sources, school.GetSchoolId())
	}
	out.TotalSize = int32(len(schools))
	slices.SortFunc(schools, byNeed)
	if position != "" {
		schools = slices.DeleteFunc(schools, func(s *readinessv1.SchoolStatus) bool { return byNeed(s, last) <= 0 })
	}
	if len(schools) > size {
		schools = schools[:size]
		next, err := proto.Marshal(schools[size-1])
		if err != nil {
			return nil, fmt.Errorf("make a page token: %w", err)
		}
		out.NextPageToken = s.tokens.Seal(list, next)
	}
	out.Schools = schools
	return out, nil
}

// byNeed orders schools by what they need: a person where data does not come in
// or waits, then the data itself.
func byNeed(a, b *readinessv1.SchoolStatus) int {
	urgent := func(s *readinessv1.SchoolStatus) readinessv1.SyncStatus_State {
		return min(s.GetStatus().GetState(), readinessv1.SyncStatus_PAUSED)
	}
	return cmp.Or(
		cmp.Compare(urgent(a), urgent(b)),
		cmp.Compare(b.GetErrors(), a.GetErrors()),
		cmp.Compare(b.GetAlerts(), a.GetAlerts()),
		cmp.Compare(a.GetStatus().GetState(), b.GetStatus().GetState()),
		strings.Compare(a.GetName(), b.GetName()),
		strings.Compare(a.GetSchoolId(), b.GetSchoolId()),
	)
}

// standing says how each source of a district stands.
func (s *Server) standing(ctx context.Context, district string) ([]standing.Standing, error) {
	recent, err := s.ingest.Syncs.ListSyncs(ctx, &ingestv1.ListSyncsRequest{District: district, PageSize: recentSyncs})
	if err != nil {
		return nil, fmt.Errorf("list the syncs of %s: %w", district, err)
	}
	var out []standing.Standing
	for page := ""; ; {
		sources, err := s.ingest.Sources.ListSources(ctx, &ingestv1.ListSourcesRequest{District: district, PageToken: page})
		if err != nil {
			return nil, fmt.Errorf("list the sources of %s: %w", district, err)
		}
		for _, source := range sources.GetSources() {
			of := slices.DeleteFunc(slices.Clone(recent.GetSyncs()), func(sync *ingestv1.Sync) bool { return sync.GetSource() != source.GetSourceId() })
			if len(of) == 0 && source.GetLastSync() != "" {
				last, err := s.ingest.Syncs.GetSync(ctx, &ingestv1.GetSyncRequest{District: district, Sync: source.GetLastSync()})
				if err != nil {
					return nil, fmt.Errorf("read the last sync of source %s in %s: %w", source.GetSourceId(), district, err)
				}
				of = append(of, last)
			}
			out = append(out, standing.Of(source, of))
		}
		if page = sources.GetNextPageToken(); page == "" {
			return out, nil
		}
	}
}
