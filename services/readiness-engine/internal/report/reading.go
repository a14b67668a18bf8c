package report

import (
	"context"
	"iter"

	"google.golang.org/grpc/codes"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/readiness-engine/internal/check"
)

// Filter selects findings; empty fields select all.
type Filter struct {
	CheckID, Product, School string
	Actionable               *bool
}

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

// Finding is one finding and where to go on behind it.
type Finding struct {
	*readinessv1.ReadinessFinding
	Next int
}

// Findings yields the findings of a completed report in the order of the
// catalogue, from a place on.
func (r *Reports) Findings(ctx context.Context, stored *readinessv1.StoredReport, lens Lens, from int) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		at := 0 // the place of the first finding of s
		for _, s := range stored.GetFindings() {
			end := at + int(s.GetCount())
			v := lens.verdict(s.GetCheckId(), stored)
			if lens.Selects(s.GetCheckId()) && from < end && (v.mode != readinessv1.CheckMode_OFF || len(v.bySchool) > 0) {
				place := max(from, at)
				for found, err := range r.findings.read(ctx, s, place-at) {
					if err != nil {
						yield(Finding{}, err)
						return
					}
					place++
					if lens.lets(found, v) && !yield(Finding{found, place}, nil) {
						return
					}
				}
			}
			at = end
		}
	}
}

// lets tells whether a finding is to be seen, and makes it read as the settings
// have it.
func (l Lens) lets(found *readinessv1.ReadinessFinding, v verdict) bool {
	mode, reason := v.at(found.GetSchoolId())
	if mode == readinessv1.CheckMode_INFORMATIONAL && found.GetActionable() {
		found.Actionable, found.Reason = false, found.GetReason()+" "+reason
	}
	return mode != readinessv1.CheckMode_OFF && (l.School == "" || l.School == found.GetSchoolId()) &&
		(l.Actionable == nil || *l.Actionable == found.GetActionable())
}

// Count returns how many findings Findings yields from the beginning.
func (r *Reports) Count(ctx context.Context, stored *readinessv1.StoredReport, lens Lens) (int, error) {
	counts, err := r.counter(ctx, stored, lens)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, c := range stored.GetReport().GetChecks() {
		if !lens.Selects(c.GetCheckId()) {
			continue
		}
		v := lens.verdict(c.GetCheckId(), stored)
		actionable, informational := counts.of(c, v, lens.School, lens.School != "")
		if lens.Actionable == nil || *lens.Actionable {
			n += int(actionable)
		}
		if lens.Actionable == nil || !*lens.Actionable {
			n += int(informational)
		}
	}
	return n, nil
}
