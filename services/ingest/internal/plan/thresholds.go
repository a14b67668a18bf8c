package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/record"
)

// Thresholds are above what a plan is held, by type of reason. Those of one
// entity are under type.entity, and go before those of the type.
type Thresholds struct {
	set, usual map[string]*ingestv1.HoldThreshold
}

// ThresholdsOf are those of a policy, with the default ones where it has none.
func ThresholdsOf(p *ingestv1.HoldPolicy, rollover bool) Thresholds {
	if rollover {
		return Thresholds{p.GetRolloverThresholds(), defaults(true)}
	}
	return Thresholds{p.GetThresholds(), defaults(false)}
}

// of returns nil for a type that has none.
func (t Thresholds) of(name, entity string) *ingestv1.HoldThreshold {
	for _, from := range []map[string]*ingestv1.HoldThreshold{t.set, t.usual} {
		for _, key := range []string{name + "." + entity, name} {
			if limit := from[key]; limit != nil {
				return limit
			}
		}
	}
	return nil
}

// defaults are the usual thresholds of the trade. Small schools change by large
// shares every day, so that a share counts only from a number of records on.
func defaults(rollover bool) map[string]*ingestv1.HoldThreshold {
	out := map[string]*ingestv1.HoldThreshold{}
	for _, k := range slices.Concat([]kind{removals, updates}, signals) {
		from := k.usual
		if rollover {
			from = k.rollover
		}
		for entity, limit := range from {
			out[strings.TrimSuffix(k.name+"."+entity, ".")] = limit
		}
	}
	return out
}

// Complete returns a policy with all that it leaves to the defaults.
func Complete(p *ingestv1.HoldPolicy) *ingestv1.HoldPolicy {
	out := &ingestv1.HoldPolicy{Mode: p.GetMode(), Thresholds: complete(ThresholdsOf(p, false)), RolloverThresholds: complete(ThresholdsOf(p, true))}
	if out.GetMode() == ingestv1.HoldMode_HOLD_MODE_UNSPECIFIED {
		out.Mode = ingestv1.HoldMode_HOLD_ALL
	}
	return out
}

func complete(t Thresholds) map[string]*ingestv1.HoldThreshold {
	out := maps.Clone(t.usual)
	maps.DeleteFunc(out, func(key string, _ *ingestv1.HoldThreshold) bool {
		name, _, _ := strings.Cut(key, ".")
		return t.set[name] != nil // also those of its entities
	})
	maps.Copy(out, t.set)
	return out
}

// Check returns what is wrong with a policy, and where.
func Check(p *ingestv1.HoldPolicy) (field string, err error) {
	if _, known := ingestv1.HoldMode_name[int32(p.GetMode())]; !known {
		return "mode", fmt.Errorf("must be HOLD_ALL, HOLD_SCHOOLS or APPLY_SAFE")
	}
	for at, set := range map[string]map[string]*ingestv1.HoldThreshold{"thresholds": p.GetThresholds(), "rolloverThresholds": p.GetRolloverThresholds()} {
		for _, key := range slices.Sorted(maps.Keys(set)) {
			if err := check(key, set[key]); err != nil {
				return at + "." + key, err
			}
		}
	}
	return "", nil
}

func check(key string, limit *ingestv1.HoldThreshold) error {
	name, entity, ofEntity := strings.Cut(key, ".")
	known := defaults(false)
	if known[name] == nil {
		return fmt.Errorf("is no type of reason with a threshold: there are %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	if _, err := record.ParseEntity(entity); ofEntity && (err != nil || name != ManyRemovals && name != ManyUpdates) {
		return fmt.Errorf("must be a type of reason; %s and %s may have an entity, as in %s.users", ManyRemovals, ManyUpdates, ManyRemovals)
	}
	if limit.GetPercent() < 0 || limit.GetPercent() > 99 || limit.GetMin() < 0 {
		return fmt.Errorf("must have a percent from 0 to 99 and a min of 0 or more")
	}
	return nil
}
