package report

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/readiness-engine/internal/check"
)

// Bounds of settings.
const (
	maxRules   = 1000
	maxWindows = 20
)

// errSettingsChanged is a write that would undo another.
var errSettingsChanged = errs.New(codes.Aborted, "ETAG_MISMATCH",
	"etag: somebody changed the readiness settings meanwhile: read them again and retry").With("field", "etag")

// Settings returns the settings of a district, empty ones if it never set any.
func (r *Reports) Settings(ctx context.Context, district string) (*readinessv1.ReadinessSettings, error) {
	doc, err := r.settings.Get(ctx, district)
	if errors.Is(err, docstore.ErrNotFound) {
		return shown(district, docstore.Doc[*readinessv1.ReadinessSettings]{Value: &readinessv1.ReadinessSettings{}}), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read readiness settings of %s: %w", district, err)
	}
	return shown(district, doc), nil
}

func shown(district string, doc docstore.Doc[*readinessv1.ReadinessSettings]) *readinessv1.ReadinessSettings {
	s := doc.Value
	s.Name = "districts/" + district + "/readinessSettings"
	s.Etag = strconv.FormatInt(doc.Version, 36)
	return s
}

// SetSettings changes the fields of a mask, all that next has if it is empty.
func (r *Reports) SetSettings(ctx context.Context, district string, next *readinessv1.ReadinessSettings, mask []string, now time.Time) (*readinessv1.ReadinessSettings, error) {
	rules, windows := len(mask) == 0 && len(next.GetRules()) > 0, len(mask) == 0 && len(next.GetRolloverWindows()) > 0
	for _, path := range mask {
		switch path {
		case "rules":
			rules = true
		case "rollover_windows":
			windows = true
		case "etag", "name", "update_time": // nothing to write, but part of what was read
		default:
			return nil, invalid("updateMask", "there is no field %q: rules and rolloverWindows can be changed", path)
		}
	}
	if err := validate(next); err != nil {
		return nil, err
	}
	apply := func(s *readinessv1.ReadinessSettings) {
		if rules {
			s.Rules = next.GetRules()
		}
		if windows {
			s.RolloverWindows = next.GetRolloverWindows()
		}
		s.UpdateTime = timestamppb.New(now)
	}
	doc, err := r.settings.Get(ctx, district)
	if errors.Is(err, docstore.ErrNotFound) {
		doc = docstore.Doc[*readinessv1.ReadinessSettings]{Value: &readinessv1.ReadinessSettings{}}
	} else if err != nil {
		return nil, fmt.Errorf("read readiness settings of %s: %w", district, err)
	}
	if next.GetEtag() != "" && next.GetEtag() != strconv.FormatInt(doc.Version, 36) {
		return nil, errSettingsChanged
	}
	apply(doc.Value)
	if doc.ID == "" {
		doc, err = r.settings.Create(ctx, district, doc.Value)
	} else {
		doc, err = r.settings.Update(ctx, doc)
	}
	switch {
	case errors.Is(err, docstore.ErrConflict), errors.Is(err, docstore.ErrExists):
		return nil, errSettingsChanged
	case err != nil:
		return nil, fmt.Errorf("write readiness settings of %s: %w", district, err)
	}
	return shown(district, doc), nil
}

func invalid(field, format string, args ...any) error {
	return errs.Errorf(codes.InvalidArgument, "INVALID_ARGUMENT", "%s: %s", field, fmt.Sprintf(format, args...)).With("field", field)
}

func validate(s *readinessv1.ReadinessSettings) error {
	if len(s.GetRules()) > maxRules {
		return invalid("rules", "must not have more than %d entries", maxRules)
	}
	type subject struct{ check, product, school string }
	seen := map[subject]bool{}
	for i, rule := range s.GetRules() {
		at := fmt.Sprintf("rules[%d].", i)
		of := subject{rule.GetCheckId(), rule.GetProduct(), rule.GetSchoolId()}
		c := check.Find(rule.GetCheckId())
		switch {
		case c == nil:
			return invalid(at+"checkId", "there is no readiness check %q: see the list of readiness checks", rule.GetCheckId())
		case rule.GetProduct() != "" && !check.IsProduct(rule.GetProduct()):
			return invalid(at+"product", "there is no product %q: see the products in the list of readiness checks", rule.GetProduct())
		case !c.Concerns(rule.GetProduct()):
			return invalid(at+"product", "%s does not concern %s", rule.GetCheckId(), rule.GetProduct())
		case readinessv1.CheckMode_name[int32(rule.GetMode())] == "" || rule.GetMode() == readinessv1.CheckMode_CHECK_MODE_UNSPECIFIED:
			return invalid(at+"mode", "must be COUNTED, INFORMATIONAL or OFF")
		case len(rule.GetSchoolId()) > 256:
			return invalid(at+"schoolId", "must not be longer than 256 bytes")
		case seen[of]:
			return invalid(at+"checkId", "an earlier rule is about the same check, product and school")
		}
		seen[of] = true
	}
	if len(s.GetRolloverWindows()) > maxWindows {
		return invalid("rolloverWindows", "must not have more than %d entries", maxWindows)
	}
	for i, w := range s.GetRolloverWindows() {
		at := fmt.Sprintf("rolloverWindows[%d].", i)
		start, err := time.Parse(time.DateOnly, w.GetStartDate())
		if err != nil {
			return invalid(at+"startDate", "is no date; 2026-07-01 would be one")
		}
		end, err := time.Parse(time.DateOnly, w.GetEndDate())
		if err != nil {
			return invalid(at+"endDate", "is no date; 2026-08-31 would be one")
		}
		if end.Before(start) {
			return invalid(at+"endDate", "is before startDate")
		}
	}
	return nil
}
