package report

import (
	"context"
	"iter"

	"google.golang.org/grpc/codes"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/readiness-engine/internal/check"
)

// Filter selects checks; empty fields select all.
type Filter struct{ CheckID, Product string }

// Validate refuses checks and products that do not exist.
func (f Filter) Validate() error {
	if f.CheckID != "" && check.Find(f.CheckID) == nil {
		return errs.Errorf(codes.InvalidArgument, "CHECK_UNKNOWN",
			"there is no readiness check %q: see the list of readiness checks", f.CheckID).With("field", "checkId")
	}
	if f.Product != "" && !check.IsProduct(f.Product) {
		return errs.Errorf(codes.InvalidArgument, "PRODUCT_UNKNOWN",
			"there is no product %q: see the products in the list of readiness checks", f.Product).With("field", "product")
	}
	return nil
}

// Selects tells whether the filter lets a check through. A check that later
// versions no longer have belongs to no product in particular.
func (f Filter) Selects(checkID string) bool {
	if f.CheckID != "" && f.CheckID != checkID {
		return false
	}
	c := check.Find(checkID)
	return f.Product == "" || c != nil && c.Concerns(f.Product)
}

// Findings yields the findings of a completed report in the order of the
// catalogue, without the first skip ones.
func (r *Reports) Findings(ctx context.Context, stored *readinessv1.StoredReport, filter Filter, skip int) iter.Seq2[*readinessv1.ReadinessFinding, error] {
	return func(yield func(*readinessv1.ReadinessFinding, error) bool) {
		for _, s := range stored.GetFindings() {
			if !filter.Selects(s.GetCheckId()) {
				continue
			}
			if skip >= int(s.GetCount()) {
				skip -= int(s.GetCount())
				continue
			}
			for found, err := range r.findings.read(ctx, s, skip) {
				if !yield(found, err) || err != nil {
					return
				}
			}
			skip = 0
		}
	}
}

// Count returns how many findings Findings would yield.
func Count(stored *readinessv1.StoredReport, filter Filter) int {
	n := 0
	for _, s := range stored.GetFindings() {
		if filter.Selects(s.GetCheckId()) {
			n += int(s.GetCount())
		}
	}
	return n
}
