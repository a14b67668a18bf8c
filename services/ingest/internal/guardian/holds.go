package guardian

import (
	"fmt"
	"math"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
)

// Types of the reasons for which what a guardian file changes waits for a person.
const (
	MatchLow             = "guardian-match-low"
	MatchDropped         = "guardian-match-dropped"
	RelationshipsRemoved = "guardian-relationships-removed"
)

// floor is from how many relationships on a share of them counts.
const floor = 25

const nextStep = "look at the findings for the rows whose students were not found: another key for students, or the roster of another day, is the usual cause; " +
	"approve if these students are really not in the roster, else discard and correct the file or the source's settings"

// Compare adds to a report what the roster is from.
func Compare(r, last *ingestv1.GuardianReport) {
	if last != nil {
		r.LastMatchPercent, r.LastRelationships = &last.MatchPercent, last.Relationships
	}
}

// Holds returns why what a guardian file changes waits for a person. Other
// sources go on meanwhile, and the relationships of before stay.
func Holds(r *ingestv1.GuardianReport, g *ingestv1.GuardianFile) []*ingestv1.HoldReason {
	var out []*ingestv1.HoldReason
	hold := func(kind string, count, of int32, next, format string, args ...any) {
		out = append(out, &ingestv1.HoldReason{
			Type: kind, Entity: "users", Count: count, Population: of, Message: fmt.Sprintf(format, args...), NextStep: next, DistrictWide: true,
		})
	}
	least, drop := 80.0, 10.0
	if g.MinMatchPercent != nil {
		least = float64(g.GetMinMatchPercent())
	}
	if g.MaxDropPercent != nil {
		drop = float64(g.GetMaxDropPercent())
	}
	lost := r.GetRows() - r.GetMatchedRows()
	if r.GetMatchPercent() < least {
		hold(MatchLow, lost, r.GetRows(), nextStep, "the students of %d of %d rows of the guardian file were not found: %.1f %% match, fewer than %.0f %%", lost, r.GetRows(), shown(r.GetMatchPercent()), least)
	}
	if r.LastMatchPercent != nil && r.GetLastMatchPercent()-r.GetMatchPercent() > drop {
		hold(MatchDropped, lost, r.GetRows(), nextStep, "%.1f %% of the rows of the guardian file match, down from %.1f %% of the file before", shown(r.GetMatchPercent()), r.GetLastMatchPercent())
	}
	if removed := r.GetLastRelationships() - r.GetRelationships(); removed >= floor && float64(removed)*100 > float64(r.GetLastRelationships())*drop {
		hold(RelationshipsRemoved, removed, r.GetLastRelationships(),
			"check that the file is complete; approve if these guardians are really none any more, else discard and send a complete file",
			"the guardian file has %d relationships, %d fewer than the roster", r.GetRelationships(), removed)
	}
	return out
}

// shown rounds down, so that no share seems to reach what it misses.
func shown(percent float64) float64 { return math.Floor(percent*10) / 10 }
