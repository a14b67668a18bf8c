package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
)

// types returns the reasons as "type entity school", after a look at what every
// one must have.
func types(t *testing.T, reasons []*ingestv1.HoldReason) (out []string) {
	t.Helper()
	for _, r := range reasons {
		out = append(out, strings.TrimSpace(r.GetType()+" "+r.GetEntity()+" "+r.GetSchoolId()))
		require.NotEmpty(t, r.GetMessage())
		require.NotContains(t, r.GetMessage(), "{")
		require.NotEmpty(t, r.GetNextStep())
		require.Positive(t, r.GetCount())
		require.False(t, r.GetDistrictWide() && r.GetSchoolId() != "")
	}
	return out
}

var usualDay = ThresholdsOf(nil, false)

func TestCounts(t *testing.T) {
	for _, test := range []struct {
		name    string
		entity  string
		counts  *rosterv1.ChangeCounts
		schools int
		want    string
	}{
		{"nothing", "users", &rosterv1.ChangeCounts{Unchanged: 1000}, 0, ""},
		{"the first delivery of an entity", "users", &rosterv1.ChangeCounts{Created: 1000}, 0, ""},
		{"ten in a hundred", "users", &rosterv1.ChangeCounts{Removed: 100, Unchanged: 900}, 0, ""},
		{"more than ten in a hundred", "users", &rosterv1.ChangeCounts{Removed: 101, Unchanged: 900}, 0, "many-removals users"},
		{"a large share of few", "users", &rosterv1.ChangeCounts{Removed: 24, Unchanged: 30}, 0, ""},
		{"all of few", "classes", &rosterv1.ChangeCounts{Removed: 3}, 0, "entity-emptied classes"},
		{"all of many", "classes", &rosterv1.ChangeCounts{Removed: 3000}, 0, "entity-emptied classes"},
		{"all replaced, as by other ids", "users", &rosterv1.ChangeCounts{Removed: 1000, Created: 1000}, 0, "many-removals users"},
		{"updates up to the threshold", "users", &rosterv1.ChangeCounts{Updated: 750, Unchanged: 250}, 0, ""},
		{"updates above it", "users", &rosterv1.ChangeCounts{Updated: 751, Unchanged: 249}, 0, "many-updates users"},
		{"a school", "orgs", &rosterv1.ChangeCounts{Removed: 1, Unchanged: 40}, 1, "schools-removed orgs"},
		{"a department", "orgs", &rosterv1.ChangeCounts{Removed: 1, Unchanged: 40}, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &rosterv1.Plan{Counts: map[string]*rosterv1.ChangeCounts{test.entity: test.counts}}
			require.Equal(t, test.want, strings.Join(types(t, Holds(p, Facts{RemovedSchools: test.schools}, usualDay)), ", "))
		})
	}
}

// Records that were removed long ago, and that the source still lists as such,
// are no population.
func TestTombstonesAreNoPopulation(t *testing.T) {
	p := &rosterv1.Plan{
		Counts:      map[string]*rosterv1.ChangeCounts{"classes": {Removed: 3, Unchanged: 500}},
		Populations: map[string]int32{"classes": 3},
	}
	require.Equal(t, []string{"entity-emptied classes"}, types(t, Holds(p, Facts{}, usualDay)))
}

func TestSignals(t *testing.T) {
	for _, test := range []struct {
		name    string
		signals *rosterv1.PlanSignals
		want    string
	}{
		{"students who move between classes", &rosterv1.PlanSignals{Students: 800}, ""},
		{"ten in a hundred lose enrollments", &rosterv1.PlanSignals{Students: 800, StudentsLosingEnrollments: 80}, ""},
		{"more than that", &rosterv1.PlanSignals{Students: 800, StudentsLosingEnrollments: 81}, "many-removals enrollments"},
		{"ten in a hundred teachers lose enrollments", &rosterv1.PlanSignals{Students: 800, Teachers: 100, TeachersLosingEnrollments: 10}, ""},
		{"more than that", &rosterv1.PlanSignals{Students: 800, Teachers: 100, TeachersLosingEnrollments: 11}, "teachers-unenrolled enrollments"},
		{"few teachers lose enrollments", &rosterv1.PlanSignals{Students: 800, Teachers: 20, TeachersLosingEnrollments: 9}, ""},
		{"few lose enrollments", &rosterv1.PlanSignals{Students: 30, StudentsLosingEnrollments: 24}, ""},
		{"five in a hundred emails", &rosterv1.PlanSignals{Emails: 200, EmailsBlanked: 10}, ""},
		{"more than that", &rosterv1.PlanSignals{Emails: 200, EmailsBlanked: 11}, "emails-blanked users"},
		{"emails that were not counted", &rosterv1.PlanSignals{EmailsBlanked: 51}, "emails-blanked users"},
		{"few emails", &rosterv1.PlanSignals{Emails: 20, EmailsBlanked: 9}, ""},
		{"other ids", &rosterv1.PlanSignals{UsersRekeyed: 51}, "users-rekeyed users"},
		{"few other ids", &rosterv1.PlanSignals{UsersRekeyed: 50}, ""},
		{"other roles", &rosterv1.PlanSignals{RolesFlipped: 51}, "roles-flipped users"},
		{"few other roles", &rosterv1.PlanSignals{RolesFlipped: 50}, ""},
		{"six guardians", &rosterv1.PlanSignals{Students: 800, StudentsManyGuardians: 17}, "many-guardians users"},
		{"large families", &rosterv1.PlanSignals{Students: 800, StudentsManyGuardians: 16}, ""},
		{"emergency contacts", &rosterv1.PlanSignals{Students: 800, EmergencyContactsTurned: 41}, "contacts-turned users"},
		{"few emergency contacts", &rosterv1.PlanSignals{Students: 800, EmergencyContactsTurned: 40}, ""},
		{"a term", &rosterv1.PlanSignals{SessionsEnded: 1}, "terms-ended academicSessions"},
		{"halves of classes", &rosterv1.PlanSignals{ClassesHalved: 6}, "classes-halved classes"},
		{"of few classes", &rosterv1.PlanSignals{ClassesHalved: 4}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			populations := map[string]int32{"users": 1000, "classes": 50, "enrollments": 5000}
			p := &rosterv1.Plan{Populations: populations, Signals: test.signals, Counts: map[string]*rosterv1.ChangeCounts{
				"users": {Unchanged: 1000}, "classes": {Unchanged: 50}, "enrollments": {Removed: 600, Created: 500, Unchanged: 4400},
			}}
			require.Equal(t, test.want, strings.Join(types(t, Holds(p, Facts{}, usualDay)), ", "))
		})
	}
}

func school(id string, users int32, c *rosterv1.ChangeCounts) *rosterv1.SchoolPlan {
	return &rosterv1.SchoolPlan{SchoolId: id, Name: "School " + id, Populations: map[string]int32{"users": users}, Counts: map[string]*rosterv1.ChangeCounts{"users": c}}
}

func TestSchools(t *testing.T) {
	p := &rosterv1.Plan{
		Populations: map[string]int32{"users": 10_000},
		Counts:      map[string]*rosterv1.ChangeCounts{"users": {Removed: 130, Updated: 10, Unchanged: 9860}},
		Schools: []*rosterv1.SchoolPlan{
			school("a", 200, &rosterv1.ChangeCounts{Removed: 100}),
			school("b", 300, &rosterv1.ChangeCounts{Removed: 29, Updated: 10}),
			school("c", 30, &rosterv1.ChangeCounts{Removed: 24}),
			school("d", 20, &rosterv1.ChangeCounts{Removed: 20}),
			school("e", 4, &rosterv1.ChangeCounts{Removed: 4}),
			school("f", 0, &rosterv1.ChangeCounts{Created: 50}),
		},
	}
	reasons := Holds(p, Facts{}, usualDay)
	require.Equal(t, []string{"many-removals users a", "entity-emptied users d"}, types(t, reasons))
	require.Equal(t, "100 of 200 users at School a would be removed, more than 10 %", reasons[0].GetMessage())
	require.Equal(t, "all 20 users at School d would be removed", reasons[1].GetMessage())
	require.Equal(t, []string{"b", "c", "e", "f"}, Choose(ingestv1.HoldMode_HOLD_SCHOOLS, p, reasons).GetSchools())
	require.True(t, Choose(ingestv1.HoldMode_APPLY_SAFE, p, reasons).GetWithoutRemovals())
	require.Nil(t, Choose(ingestv1.HoldMode_HOLD_ALL, p, reasons))
	require.Nil(t, Choose(ingestv1.HoldMode_HOLD_MODE_UNSPECIFIED, p, reasons))

	p.Schools[1].Signals = &rosterv1.PlanSignals{ClassesHalved: 9}
	require.Len(t, Holds(p, Facts{}, usualDay), 2, "nobody has said of how many classes")
	p.Schools[1].Populations["classes"] = 50
	require.Len(t, Holds(p, Facts{}, usualDay), 3)
	p.Schools[1].Signals = nil

	p.Populations["users"], p.Counts["users"].Removed = 900, 100
	require.Equal(t, []string{"many-removals users a", "entity-emptied users d"}, types(t, Holds(p, Facts{}, usualDay)), "the district's removals are the school's")
	p.Counts["users"].Removed = 130
	require.Equal(t, []string{"many-removals users", "many-removals users a", "entity-emptied users d"}, types(t, Holds(p, Facts{}, usualDay)))
}

// What concerns all schools, or would leave people twice, is not applied in part.
func TestWhatIsNotAppliedInPart(t *testing.T) {
	both := []*rosterv1.SchoolPlan{school("a", 100, &rosterv1.ChangeCounts{}), school("b", 100, &rosterv1.ChangeCounts{})}
	for _, test := range []struct {
		name          string
		plan          *rosterv1.Plan
		facts         Facts
		schools, safe bool
	}{
		{"a removed school", &rosterv1.Plan{}, Facts{RemovedSchools: 1}, false, false},
		{"an entity that is gone", &rosterv1.Plan{Counts: map[string]*rosterv1.ChangeCounts{"courses": {Removed: 5}}}, Facts{}, false, false},
		{"terms that have ended", &rosterv1.Plan{Signals: &rosterv1.PlanSignals{SessionsEnded: 1}}, Facts{}, false, false},
		{"a restored roster", &rosterv1.Plan{LastUndo: 3, Counts: map[string]*rosterv1.ChangeCounts{"users": {Created: 1}}}, Facts{}, false, false},
		{"other ids", &rosterv1.Plan{Populations: map[string]int32{"users": 1000}, Signals: &rosterv1.PlanSignals{UsersRekeyed: 100}}, Facts{}, false, false},
		{"updates", &rosterv1.Plan{Counts: map[string]*rosterv1.ChangeCounts{"users": {Updated: 200}}}, Facts{}, false, false},
		{"removals of the whole district", &rosterv1.Plan{Counts: map[string]*rosterv1.ChangeCounts{"users": {Removed: 100, Unchanged: 100}}}, Facts{}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.plan.Schools = both
			reasons := Holds(test.plan, test.facts, usualDay)
			require.NotEmpty(t, types(t, reasons))
			require.Equal(t, test.schools, Choose(ingestv1.HoldMode_HOLD_SCHOOLS, test.plan, reasons) != nil, "no school has tripped")
			require.Equal(t, test.safe, Choose(ingestv1.HoldMode_APPLY_SAFE, test.plan, reasons) != nil)
		})
	}
}

func TestThresholds(t *testing.T) {
	p := &rosterv1.Plan{Counts: map[string]*rosterv1.ChangeCounts{"users": {Removed: 150, Unchanged: 850}, "classes": {Removed: 150, Unchanged: 850}}, Signals: &rosterv1.PlanSignals{SessionsEnded: 2}}
	holds := func(set map[string]*ingestv1.HoldThreshold) string {
		policy := &ingestv1.HoldPolicy{Thresholds: set}
		_, err := Check(policy)
		require.NoError(t, err)
		shown := Complete(policy)
		require.Equal(t, Holds(p, Facts{}, ThresholdsOf(policy, false)), Holds(p, Facts{}, ThresholdsOf(shown, false)), "what is shown means the same")
		require.Equal(t, Complete(shown), shown)
		return strings.Join(types(t, Holds(p, Facts{}, ThresholdsOf(policy, false))), ", ")
	}
	require.Equal(t, "many-removals classes, many-removals users, terms-ended academicSessions", holds(nil))
	require.Equal(t, "terms-ended academicSessions", holds(map[string]*ingestv1.HoldThreshold{"many-removals": {Percent: 15}}))
	require.Equal(t, "many-removals classes, terms-ended academicSessions", holds(map[string]*ingestv1.HoldThreshold{"many-removals.users": {Percent: 20}}))
	require.Equal(t, "many-removals users", holds(map[string]*ingestv1.HoldThreshold{"many-removals": {Min: 151}, "many-removals.users": {}, "terms-ended": {Off: true}}))

	for field, policy := range map[string]*ingestv1.HoldPolicy{
		"mode":                                 {Mode: 9},
		"thresholds.entity-emptied":            {Thresholds: map[string]*ingestv1.HoldThreshold{"entity-emptied": {Off: true}}},
		"thresholds.many-removals.pupils":      {Thresholds: map[string]*ingestv1.HoldThreshold{"many-removals.pupils": {}}},
		"thresholds.emails-blanked.users":      {Thresholds: map[string]*ingestv1.HoldThreshold{"emails-blanked.users": {}}},
		"rolloverThresholds.many-updates":      {RolloverThresholds: map[string]*ingestv1.HoldThreshold{"many-updates": {Percent: 100}}},
		"rolloverThresholds.many-removals":     {RolloverThresholds: map[string]*ingestv1.HoldThreshold{"many-removals": {Min: -1}}},
		"thresholds.nothing":                   {Thresholds: map[string]*ingestv1.HoldThreshold{"nothing": {}}},
		"thresholds.many-removals":             {Thresholds: map[string]*ingestv1.HoldThreshold{"many-removals": {Percent: -1}}},
		"rolloverThresholds.many-removals.rug": {RolloverThresholds: map[string]*ingestv1.HoldThreshold{"many-removals.rug": {}}},
	} {
		got, err := Check(policy)
		require.Error(t, err)
		require.Equal(t, field, got)
	}
}

// A new school year replaces classes and updates everybody; people stay.
func TestRollover(t *testing.T) {
	year := &rosterv1.Plan{Counts: map[string]*rosterv1.ChangeCounts{
		"users":       {Created: 80, Removed: 80, Updated: 900, Unchanged: 20},
		"classes":     {Created: 90, Removed: 100, Updated: 0},
		"enrollments": {Created: 10, Removed: 6000},
	}, Signals: &rosterv1.PlanSignals{Students: 1000, StudentsLosingEnrollments: 990, ClassesHalved: 40}}
	require.Len(t, types(t, Holds(year, Facts{}, usualDay)), 4)
	require.Empty(t, types(t, Holds(year, Facts{}, ThresholdsOf(nil, true))))
	year.Counts["users"].Removed = 400
	require.Equal(t, []string{"many-removals users"}, types(t, Holds(year, Facts{}, ThresholdsOf(nil, true))))

	windows := []*readinessv1.RolloverWindow{{StartDate: "2026-07-01", EndDate: "2026-08-15"}}
	zone, err := time.LoadLocation("America/Chicago")
	require.NoError(t, err)
	for at, in := range map[string]bool{
		"2026-07-01T04:59:59Z": false, "2026-07-01T05:00:00Z": true, "2026-08-16T04:59:59Z": true, "2026-08-16T05:00:00Z": false,
	} {
		now, err := time.Parse(time.RFC3339, at)
		require.NoError(t, err)
		require.Equal(t, in, InRollover(windows, now.In(zone)), at)
	}
}

func TestDecisionsHold(t *testing.T) {
	p := &rosterv1.Plan{LastUndo: 7, Counts: map[string]*rosterv1.ChangeCounts{"users": {Updated: 1, Unchanged: 9}}}
	holds := func(p *rosterv1.Plan, f Facts) []string { return types(t, Holds(p, f, usualDay)) }
	require.Equal(t, []string{RevisionRestored}, holds(p, Facts{}))
	require.Equal(t, []string{RevisionRestored}, holds(p, Facts{KnownUndo: 6}))
	require.Empty(t, holds(p, Facts{KnownUndo: 7}))
	require.Equal(t, []string{PlanChanged}, holds(p, Facts{KnownUndo: 7, Approved: true}))
	require.Empty(t, holds(&rosterv1.Plan{LastUndo: 7}, Facts{Approved: true}), "it changes nothing")
}
