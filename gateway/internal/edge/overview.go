package edge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/errs"
)

// recentReports are those that the last one of the newest revision is found among.
const recentReports = 10

// overview joins what three services know about a district. What there is not yet, or what the
// caller may not see, is absent.
func (a *API) overview(w http.ResponseWriter, r *http.Request, params map[string]string) error {
	district := params["district"]
	if err := populate(&rosterv1.GetSummaryRequest{}, r.URL.Query(), "district"); err != nil {
		return err
	}
	var answer struct {
		Roster     json.RawMessage `json:"roster"`
		LastSync   json.RawMessage `json:"lastSync,omitempty"`
		LastReport json.RawMessage `json:"lastReport,omitempty"`
	}
	calls, ctx := errgroup.WithContext(r.Context())
	calls.Go(func() error {
		summary, err := a.rosters.GetSummary(ctx, &rosterv1.GetSummaryRequest{District: district})
		if err != nil {
			return err
		}
		answer.Roster, err = jsonOf(summary)
		return err
	})
	calls.Go(func() error {
		syncs, err := a.syncs.ListSyncs(ctx, &ingestv1.ListSyncsRequest{District: district, PageSize: 1})
		if err != nil || len(syncs.GetSyncs()) == 0 {
			return unlessHidden(err)
		}
		answer.LastSync, err = jsonOf(syncs.GetSyncs()[0])
		return err
	})
	calls.Go(func() error {
		reports, err := a.readiness.ListReadinessReports(ctx, &readinessv1.ListReadinessReportsRequest{District: district, PageSize: recentReports})
		if err != nil || len(reports.GetReadinessReports()) == 0 {
			return unlessHidden(err)
		}
		// Somebody may have asked for an older revision, or compared with it.
		newest := slices.MaxFunc(reports.GetReadinessReports(), func(a, b *readinessv1.ReadinessReport) int {
			return cmp.Compare(a.GetRevision(), b.GetRevision())
		})
		answer.LastReport, err = jsonOf(newest)
		return err
	})
	if err := calls.Wait(); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// unlessHidden forgives that a caller may not see a part.
func unlessHidden(err error) error {
	if err == nil || errs.Status(err).Code() == codes.PermissionDenied {
		return nil
	}
	return err
}

func jsonOf(m proto.Message) (json.RawMessage, error) {
	text, err := newAPIJSON().Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write %s as JSON: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return text, nil
}
