// Package plan decides whether what a sync would change may be committed at
// once or waits for a person. It is pure: a plan in, reasons out.
package plan

import (
	"fmt"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// Thresholds above which a plan is held. Small districts change by large
// shares every day, so that a share counts only from Floor records on.
type Thresholds struct {
	RemovedPercent int
	UpdatedPercent int
	Floor          int
}

// DefaultThresholds are the usual ones of the trade.
func DefaultThresholds() Thresholds {
	return Thresholds{RemovedPercent: 10, UpdatedPercent: 75, Floor: 25}
}

// Types of reasons.
const (
	ManyRemovals   = "many-removals"
	ManyUpdates    = "many-updates"
	EntityEmptied  = "entity-emptied"
	SchoolsRemoved = "schools-removed"
	// RevisionRestored: the roster was taken back to an earlier revision.
	RevisionRestored = "revision-restored"
	// PlanChanged: what a person has chosen changes of is no longer the plan.
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
	// PartlyApproved tells that a person had chosen changes of the plan before.
	PartlyApproved bool
	// SourceRemoved tells that the sync removes its source.
	SourceRemoved bool
}

// Holds returns why a plan has to wait; nothing means that it may be committed.
func Holds(p *rosterv1.Plan, f Facts, t Thresholds) []*ingestv1.HoldReason {
	out := decisions(p, f)
	for _, e := range record.Entities() {
		name := record.EntityName(e)
		c := p.GetCounts()[name]
		before := int(c.GetRemoved() + c.GetUpdated() + c.GetUnchanged())
		if before == 0 {
			continue
		}
		removed, updated := int(c.GetRemoved()), int(c.GetUpdated())
		hold := func(kind string, count int, message, next string) {
			out = append(out, &ingestv1.HoldReason{Type: kind, Entity: name, Count: int32(count), Population: int32(before), Message: message, NextStep: next})
		}
		lost := removed
		if e == typev1.Entity_ENTITY_ENROLLMENTS {
			// A student who changes classes loses one enrollment and gets another.
			lost = max(0, removed-int(c.GetCreated()))
		}
		switch {
		case removed == before && c.GetCreated() == 0:
			hold(EntityEmptied, removed, fmt.Sprintf("all %d %s would be removed", removed, name),
				"check that the export is complete; approve if they are really gone, else discard and send a complete export")
		case lost >= t.Floor && lost*100 > before*t.RemovedPercent:
			hold(ManyRemovals, lost, fmt.Sprintf("%d of %d %s would be removed, more than %d %%", lost, before, name, t.RemovedPercent),
				"look at the removals; approve if they are right, for example at the end of a school year, else discard and correct the export")
		}
		if updated >= t.Floor && updated*100 > before*t.UpdatedPercent {
			hold(ManyUpdates, updated, fmt.Sprintf("%d of %d %s would be changed, more than %d %%", updated, before, name, t.UpdatedPercent),
				"look at the changes for a column that was mapped or filled in another way; approve if they are right, else discard and correct the export")
		}
	}
	if f.RemovedSchools > 0 {
		out = append(out, &ingestv1.HoldReason{
			Type: SchoolsRemoved, Entity: record.EntityName(typev1.Entity_ENTITY_ORGS), Count: int32(f.RemovedSchools),
			Message:  fmt.Sprintf("schools would be removed: %d", f.RemovedSchools),
			NextStep: "approve if the schools have closed or left the district, else discard and correct the export",
		})
	}
	return out
}

// decisions are the reasons that follow from what a person has decided before,
// for a plan that changes anything.
func decisions(p *rosterv1.Plan, f Facts) []*ingestv1.HoldReason {
	changes := int32(0)
	for _, c := range p.GetCounts() {
		changes += c.GetCreated() + c.GetUpdated() + c.GetRemoved()
	}
	if changes == 0 {
		return nil
	}
	var out []*ingestv1.HoldReason
	if p.GetLastUndo() > f.KnownUndo {
		out = append(out, &ingestv1.HoldReason{
			Type: RevisionRestored, Count: changes,
			Message:  fmt.Sprintf("the roster was taken back to an earlier revision, as revision %d, and this is the first sync of the source that would change it again", p.GetLastUndo()),
			NextStep: "look at the changes; approve if the source has been corrected, and its next syncs go on as before, else discard and correct the export",
		})
	}
	if f.SourceRemoved {
		out = append(out, &ingestv1.HoldReason{
			Type: SourceRemoved, Count: changes,
			Message:  "the source is removed, and with it the records that no other source has",
			NextStep: "look at the changes; approve to remove the records and the source, or discard to keep both",
		})
	}
	if f.PartlyApproved {
		out = append(out, &ingestv1.HoldReason{
			Type: PlanChanged, Count: changes,
			Message:  "a part of this plan was approved, but a record in it has changed before it was applied, so that the plan was made anew",
			NextStep: "look at the changes and approve again",
		})
	}
	return out
}
