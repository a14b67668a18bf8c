// Package standing says how the data of each source of a district comes in, and
// what that means for its schools.
package standing

import (
	"cmp"
	"slices"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
)

// Standing is how one source stands.
type Standing struct {
	source *ingestv1.Source
	held   *ingestv1.Sync // waits for a person; nil if there is none
	rest   status         // how the source stands apart from that
}

type status = *readinessv1.SyncStatus

// Of looks at a source and the newest of its syncs, newest first.
func Of(source *ingestv1.Source, syncs []*ingestv1.Sync) Standing {
	st := Standing{source: source}
	var running, ended *ingestv1.Sync // the newest of each
	completed := source.GetLastInputTime() != nil
	for _, s := range syncs {
		if s.GetDryRun() {
			continue
		}
		switch s.GetState() {
		case ingestv1.SyncState_ON_HOLD:
			st.held = cmp.Or(st.held, s)
		case ingestv1.SyncState_COMPLETED, ingestv1.SyncState_FAILED:
			ended = cmp.Or(ended, s)
			completed = completed || s.GetState() == ingestv1.SyncState_COMPLETED
		case ingestv1.SyncState_CANCELLED, ingestv1.SyncState_DISCARDED, ingestv1.SyncState_SUPERSEDED:
			// Nothing was tried to its end.
		default:
			running = cmp.Or(running, s)
		}
	}
	st.rest = st.is(readinessv1.SyncStatus_CONNECTED, "", nil)
	switch failed := ended.GetState() == ingestv1.SyncState_FAILED; {
	case source.GetStopped() != nil:
		st.rest = st.is(readinessv1.SyncStatus_PAUSED, "The source is stopped: its records stay as they are.", nil)
	case source.GetPause() != nil:
		st.rest = st.is(readinessv1.SyncStatus_PAUSED, cmp.Or(source.GetPause().GetMessage(), "The source is paused."), nil)
	case running != nil:
		st.rest = st.is(readinessv1.SyncStatus_PROCESSING, "A sync is under way.", running)
	case failed:
		st.rest = st.is(readinessv1.SyncStatus_FAILING, cmp.Or(ended.GetError(), "The last sync has failed."), ended)
	case source.GetStaleSince() != nil:
		st.rest = st.is(readinessv1.SyncStatus_FAILING, "The source has brought nothing new for too long.", nil)
	case !completed:
		st.rest = st.is(readinessv1.SyncStatus_SETUP, "Nothing was ever synced.", nil)
	}
	return st
}

func (st Standing) is(state readinessv1.SyncStatus_State, reason string, sync *ingestv1.Sync) status {
	return &readinessv1.SyncStatus{State: state, Reason: reason, SourceId: st.source.GetSourceId(), SyncId: sync.GetSyncId()}
}

func (st Standing) onHold() status {
	return st.is(readinessv1.SyncStatus_ON_HOLD, "Changes wait until a person approves or discards them.", st.held)
}

// status is that of the source itself.
func (st Standing) status() status {
	if st.held == nil {
		return st.rest
	}
	return worst(st.onHold(), st.rest)
}

// at is what the source means for a school; nil if the two have nothing to do
// with each other. A source says what it shares or concerns every school.
func (st Standing) at(school string) status {
	if shares := st.source.GetSharing().GetSchools(); len(shares) > 0 && !slices.Contains(shares, school) {
		return nil
	}
	touched := st.held.GetSchools()
	// A plan that touches no school, or has reasons that no school has to do with,
	// concerns them all.
	if st.held != nil && (len(touched) == 0 || slices.ContainsFunc(touched, func(s *ingestv1.SchoolChanges) bool { return s.GetSchoolId() == school })) {
		return worst(st.onHold(), st.rest)
	}
	return st.rest
}

// worst returns the one that needs action more. The order of the states is that
// of the need.
func worst(a, b status) status {
	if a == nil || b != nil && b.GetState() < a.GetState() {
		return b
	}
	return a
}

// Sources returns the sources, those that need action first.
func Sources(all []Standing) []*readinessv1.SourceStatus {
	var out []*readinessv1.SourceStatus
	for _, st := range all {
		out = append(out, &readinessv1.SourceStatus{
			SourceId: st.source.GetSourceId(), DisplayName: st.source.GetDisplayName(), Status: st.status(),
		})
	}
	slices.SortStableFunc(out, func(a, b *readinessv1.SourceStatus) int {
		return cmp.Compare(a.GetStatus().GetState(), b.GetStatus().GetState())
	})
	return out
}

// At returns how a school stands. A source that was never synced has no school
// yet, unless it is the only one.
func At(all []Standing, school string) *readinessv1.SyncStatus {
	var out status
	for _, st := range all {
		if s := st.at(school); s.GetState() != readinessv1.SyncStatus_SETUP {
			out = worst(out, s)
		}
	}
	if out == nil {
		return &readinessv1.SyncStatus{State: readinessv1.SyncStatus_SETUP, Reason: "No source delivers the school."}
	}
	return out
}
