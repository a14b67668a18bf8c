package plan

import (
	"testing"

	"github.com/stretchr/testify/require"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
)

func TestHolds(t *testing.T) {
	for _, test := range []struct {
		name    string
		entity  string
		counts  *rosterv1.ChangeCounts
		schools int
		want    []string
	}{
		{"nothing", "users", &rosterv1.ChangeCounts{Unchanged: 1000}, 0, nil},
		{"the first delivery of an entity", "users", &rosterv1.ChangeCounts{Created: 1000}, 0, nil},
		{"ten in a hundred", "users", &rosterv1.ChangeCounts{Removed: 100, Unchanged: 900}, 0, nil},
		{"more than ten in a hundred", "users", &rosterv1.ChangeCounts{Removed: 101, Unchanged: 900}, 0, []string{ManyRemovals}},
		{"a large share of few", "users", &rosterv1.ChangeCounts{Removed: 24, Unchanged: 30}, 0, nil},
		{"all of few", "classes", &rosterv1.ChangeCounts{Removed: 3}, 0, []string{EntityEmptied}},
		{"all of many", "classes", &rosterv1.ChangeCounts{Removed: 3000}, 0, []string{EntityEmptied}},
		{"all replaced, as by other ids", "users", &rosterv1.ChangeCounts{Removed: 1000, Created: 1000}, 0, []string{ManyRemovals}},
		{"moves between classes", "enrollments", &rosterv1.ChangeCounts{Removed: 300, Created: 290, Unchanged: 700}, 0, nil},
		{"enrollments lost", "enrollments", &rosterv1.ChangeCounts{Removed: 300, Created: 50, Unchanged: 700}, 0, []string{ManyRemovals}},
		{"updates up to the threshold", "users", &rosterv1.ChangeCounts{Updated: 750, Unchanged: 250}, 0, nil},
		{"updates above it", "users", &rosterv1.ChangeCounts{Updated: 751, Unchanged: 249}, 0, []string{ManyUpdates}},
		{"a school", "orgs", &rosterv1.ChangeCounts{Removed: 1, Unchanged: 40}, 1, []string{SchoolsRemoved}},
		{"a department", "orgs", &rosterv1.ChangeCounts{Removed: 1, Unchanged: 40}, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &rosterv1.Plan{Counts: map[string]*rosterv1.ChangeCounts{test.entity: test.counts}}
			var got []string
			for _, r := range Holds(p, Facts{RemovedSchools: test.schools}, DefaultThresholds()) {
				got = append(got, r.GetType())
				require.Equal(t, test.entity, r.GetEntity())
				require.NotEmpty(t, r.GetMessage())
				require.NotEmpty(t, r.GetNextStep())
			}
			require.Equal(t, test.want, got)
		})
	}
}

func TestDecisionsHold(t *testing.T) {
	types := func(p *rosterv1.Plan, f Facts) (out []string) {
		for _, r := range Holds(p, f, DefaultThresholds()) {
			out = append(out, r.GetType())
			require.NotEmpty(t, r.GetMessage())
			require.NotEmpty(t, r.GetNextStep())
		}
		return out
	}
	p := &rosterv1.Plan{LastUndo: 7, Counts: map[string]*rosterv1.ChangeCounts{"users": {Updated: 1, Unchanged: 9}}}
	require.Equal(t, []string{RevisionRestored}, types(p, Facts{}))
	require.Equal(t, []string{RevisionRestored}, types(p, Facts{KnownUndo: 6}))
	require.Empty(t, types(p, Facts{KnownUndo: 7}))
	require.Equal(t, []string{PlanChanged}, types(p, Facts{KnownUndo: 7, PartlyApproved: true}))
	require.Empty(t, types(&rosterv1.Plan{LastUndo: 7}, Facts{PartlyApproved: true}), "it changes nothing")
}
