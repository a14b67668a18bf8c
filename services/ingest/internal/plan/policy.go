// Package plan decides whether what a sync would change may be committed at
// once or waits for a person. It is pure: a plan in, reasons out.
package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// Types of reasons that follow from what a person has decided.
const (
	// RevisionRestored: the roster was taken back to an earlier revision.
	RevisionRestored = "revision-restored"
	// PlanChanged: what a person has approved is no longer the plan.
	PlanChanged = "plan-changed"
	// SourceRemoved: a person removes a source with its records.
	SourceRemoved = "source-removed"
)

// Facts are what a plan does not say itself.
type Facts struct {
	// RemovedSchools counts the orgs of type school that it removes.
	RemovedSchools int
	// KnownUndo is the newest revision that took the roster back and that the
	// source has committed after.
	KnownUndo int32
	// Approved tells that a person had approved the plan, or a part of it, when
	// it was another one.
	Approved bool
	// SourceRemoved tells that the sync removes its source.
	SourceRemoved bool
}

// Holds returns why a plan has to wait; nothing means that it may be committed.
// What is the same fact of the district and of one school is said once, of the
// school.
func Holds(p *rosterv1.Plan, f Facts, t Thresholds) []*ingestv1.HoldReason {
	district := whole(p).holds(f, t)
	schools := map[[2]string][]*ingestv1.HoldReason{} // by type and entity
	var out []*ingestv1.HoldReason
	for _, s := range p.GetSchools() {
		for _, r := range ofSchool(s).holds(Facts{}, t) {
			key := [2]string{r.GetType(), r.GetEntity()}
			schools[key] = append(schools[key], r)
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b *ingestv1.HoldReason) int { return cmp.Compare(b.GetCount(), a.GetCount()) })
	for _, r := range district {
		for _, of := range schools[[2]string{r.GetType(), r.GetEntity()}] {
			if of.GetCount() == r.GetCount() && !r.GetDistrictWide() {
				r.Type = "" // said of the school
			}
		}
	}
	district = slices.DeleteFunc(district, func(r *ingestv1.HoldReason) bool { return r.GetType() == "" })
	return slices.Concat(decisions(p, f), district, out)
}

// place is a part of a plan: all of it, or what touches one school.
type place struct {
	id, name    string // of the school
	counts      map[string]*rosterv1.ChangeCounts
	populations map[string]int32
	signals     *rosterv1.PlanSignals
}

func whole(p *rosterv1.Plan) place {
	populations := map[string]int32{} // by what stays of what is complete, if they are not told
	for name, c := range p.GetCounts() {
		populations[name] = c.GetRemoved() + c.GetUpdated() + c.GetUnchanged()
	}
	maps.Copy(populations, p.GetPopulations())
	return place{counts: p.GetCounts(), populations: populations, signals: p.GetSignals()}
}

func ofSchool(s *rosterv1.SchoolPlan) place {
	return place{id: s.GetSchoolId(), name: cmp.Or(s.GetName(), s.GetSchoolId()), counts: s.GetCounts(), populations: s.GetPopulations(), signals: s.GetSignals()}
}

func (p place) users() int32 { return p.populations["users"] }

func (p place) students() int32 { return cmp.Or(p.signals.GetStudents(), p.users()) }

// common are the entities that all schools share.
var common = []typev1.Entity{typev1.Entity_ENTITY_ORGS, typev1.Entity_ENTITY_ACADEMIC_SESSIONS}

func (p place) holds(f Facts, t Thresholds) (out []*ingestv1.HoldReason) {
	add := func(k kind, entity string, count, population int32) {
		if r := p.hold(k, entity, count, population, t); r != nil {
			out = append(out, r)
		}
	}
	for _, e := range record.Entities() {
		shared := slices.Contains(common, e)
		if shared && p.id != "" {
			continue
		}
		name := record.EntityName(e)
		c, before := p.counts[name], p.populations[name]
		if before == 0 {
			continue
		}
		gone, fewer, other := emptied, removals, updates
		gone.district = p.id == ""
		fewer.district, other.district = shared, shared
		empty := c.GetRemoved() >= before && c.GetCreated() == 0 && (p.id == "" || before >= smallSchool)
		switch {
		case empty:
			add(gone, name, c.GetRemoved(), before)
		case e == typev1.Entity_ENTITY_ENROLLMENTS:
			add(unenrolled, name, p.signals.GetStudentsLosingEnrollments(), p.students())
		default:
			add(fewer, name, c.GetRemoved(), before)
		}
		add(other, name, c.GetUpdated(), before)
	}
	for _, k := range signals {
		count, population := k.measure(p, f)
		add(k, k.entity, count, population)
	}
	return out
}

// smallSchool is how many records of an entity a school may lose without having
// lost them all by mistake.
const smallSchool = 5

// hold returns a reason if there is more than its threshold. What is no part of
// anything has no share; of a population that is not known no share can be told.
func (p place) hold(k kind, entity string, count, population int32, t Thresholds) *ingestv1.HoldReason {
	limit, percent := t.of(k.name, entity), t.of(k.name, entity).GetPercent()
	if k.alone {
		percent = 0
	}
	if limit.GetOff() || count < max(1, limit.GetMin()) || percent > 0 && (population == 0 || int64(count)*100 <= int64(population)*int64(percent)) {
		return nil
	}
	n, where := fmt.Sprint(count), ""
	if population > 0 && count < population {
		n = fmt.Sprintf("%d of %d", count, population)
	}
	if p.id != "" {
		where = " at " + p.name
	}
	message := strings.NewReplacer("{n}", n, "{what}", entity, "{where}", where).Replace(k.message)
	if percent > 0 {
		message += fmt.Sprintf(", more than %d %%", percent)
	}
	return &ingestv1.HoldReason{
		Type: k.name, Entity: entity, SchoolId: p.id, SchoolName: p.name, Count: count, Population: population,
		Message: message, NextStep: k.next, DistrictWide: k.district,
	}
}

// decisions are the reasons that follow from what a person has decided before,
// for a plan that changes anything.
func decisions(p *rosterv1.Plan, f Facts) []*ingestv1.HoldReason {
	changes := Changes(p)
	if changes == 0 {
		return nil
	}
	var out []*ingestv1.HoldReason
	hold := func(kind, message, next string) {
		out = append(out, &ingestv1.HoldReason{Type: kind, Count: changes, DistrictWide: true, Message: message, NextStep: next})
	}
	if p.GetLastUndo() > f.KnownUndo {
		hold(RevisionRestored, fmt.Sprintf("the roster was taken back to an earlier revision, as revision %d, and this is the first sync of the source that would change it again", p.GetLastUndo()),
			"look at the changes; approve if the source has been corrected, and its next syncs go on as before, else discard and correct the export")
	}
	if f.SourceRemoved {
		hold(SourceRemoved, "the source is removed, and with it the records that no other source has",
			"look at the changes; approve to remove the records and the source, or discard to keep both")
	}
	if f.Approved {
		hold(PlanChanged, "this plan was approved, but before it was applied a record in it has changed, so that the plan was made anew",
			"look at the changes and approve again")
	}
	return out
}
