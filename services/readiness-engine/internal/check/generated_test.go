package check_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/check"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
	"github.com/securly/sync/services/readiness-engine/internal/rostertest"
	"github.com/securly/sync/services/rostergen"
)

// apply adds records to a replica.
func apply(t testing.TB, r *replica.Replica, records ...*typev1.Record) {
	t.Helper()
	for _, rec := range records {
		body, err := proto.Marshal(rec)
		require.NoError(t, err)
		require.NoError(t, r.Apply(body))
	}
}

// counts runs all checks and returns what each found.
func counts(v *check.View) (actionable, informational map[string]int) {
	actionable, informational = map[string]int{}, map[string]int{}
	for _, c := range check.Catalogue() {
		res := v.Result(c)
		actionable[c.ID] = res.Actionable
		if n := len(res.Findings) - res.Actionable; n > 0 {
			informational[c.ID] = n
		}
	}
	return actionable, informational
}

// TestGenerated compares the checks with the flaws that a generator put in.
func TestGenerated(t *testing.T) {
	for name, cfg := range map[string]rostergen.Config{
		"sound":        {Seed: 1, Students: 400},
		"three each":   {Seed: 2, Students: 1000, Flaws: rostergen.Each(3)},
		"realistic":    {Seed: 3, Students: 1000, Flaws: rostergen.Realistic(1000)},
		"on day three": {Seed: 4, Students: 1000, Flaws: rostergen.Realistic(1000), Day: 3, ChangeShare: 0.05},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := rostergen.New(cfg)
			require.NoError(t, err)
			r := replica.New(nil)
			for rec := range rostertest.Generated(d) {
				apply(t, r, rec)
			}
			expected := d.Expected()
			want, wantInfo := map[string]int{}, map[string]int{}
			for c, n := range expected.Checks {
				want[string(c)] = n
			}
			for c, n := range expected.Informational {
				if n > 0 {
					wantInfo[string(c)] = n
				}
			}
			today, err := time.Parse(time.DateOnly, expected.Today)
			require.NoError(t, err)
			got, info := counts(check.NewView(r, check.Given{Now: today}))
			require.Equal(t, want, got)
			require.Equal(t, wantInfo, info, "informational")
		})
	}
}
