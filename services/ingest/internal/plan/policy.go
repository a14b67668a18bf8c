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
)

// Holds returns why a plan has to wait; nothing means that it may be committed.
// removedSchools counts the orgs of type school that it removes.
func Holds(p *rosterv1.Plan, removedSchools int, t Thresholds) []*ingestv1.HoldReason {
	var out []*ingestv1.HoldReason
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
	if removedSchools > 0 {
		out = append(out, &ingestv1.HoldReason{
			Type: SchoolsRemoved, Entity: record.EntityName(typev1.Entity_ENTITY_ORGS), Count: int32(removedSchools),
			Message:  fmt.Sprintf("schools would be removed: %d", removedSchools),
			NextStep: "approve if the schools have closed or left the district, else discard and correct the export",
		})
	}
	return out
}
