// Package storetest checks the promises of the store contract on any engine.
// Each case is named after the promise it holds an engine to.
package storetest

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/roster-store/internal/store"
)

// Opener opens the engine on a folder of its own. Opening the same folder again
// after Close, or after the process was killed, finds everything acknowledged.
type Opener func(t testing.TB, dir string) store.Store

// Run runs the whole suite.
func Run(t *testing.T, open Opener) { run(t, open, false, nil) }

// RunSmall runs the whole suite with fewer records: for an engine on a server
// that looks at all it has for every question.
func RunSmall(t *testing.T, open Opener) { run(t, open, true, nil) }

// RunExcept runs the suite but for the cases that are named, each with the
// reason why: for a store behind an interface that cannot ask everything.
func RunExcept(t *testing.T, open Opener, excused map[string]string) { run(t, open, true, excused) }

func run(t *testing.T, open Opener, small bool, excused map[string]string) {
	cases := []struct {
		name string
		run  func(*testing.T, suite)
	}{
		{"DistrictsAreOpenedListedAndErased", districts},
		{"UnknownAndMisnamedDistrictsAreRefused", unknownDistricts},
		{"NothingIsVisibleBeforeTheCommit", invisibleBeforeCommit},
		{"PlanCountsWhatChanges", planCounts},
		{"PlanCountsPerSchool", planSchools},
		{"SchoolsOfChangesAddUp", changeSchools},
		{"PlanTellsItsEffect", planEffects},
		{"EqualPlansHaveEqualDigests", digests},
		{"UndoIsKeptAndCarriedOn", undo},
		{"RemovedIsATombstoneAndIsRevived", tombstones},
		{"DeltaRemovesNothing", deltas},
		{"DisorderIsRefusedAndNamed", disorder},
		{"ForeignBodiesAreRefused", foreignBodies},
		{"BrokenStreamLeavesNoPlan", brokenStream},
		{"FinishedPlanIsImmutable", immutablePlan},
		{"StagedPlanSurvivesRestart", stagedRestart},
		{"PlanChangesShowBeforeAndAfter", planChanges},
		{"CommitMayBeRepeated", repeatedCommit},
		{"PlanWithoutChangesMakesNoRevision", emptyPlan},
		{"DiscardedPlanIsGone", discard},
		{"StaleOnlyIfTouched", stale},
		{"LowerFenceIsRefused", fences},
		{"BlankDateIsTheCommitTime", dates},
		{"RevisionsAreListedAndFoundByTime", revisions},
		{"SnapshotIsNotChangedByLaterCommits", snapshots},
		{"HistoryListsVersions", history},
		{"ScanResumes", scanResumes},
		{"ReadersNeverSeePartOfARevision", atomicity},
		{"RacingCommitsAreOrdered", racingCommits},
		{"RacingImportersAreStaleOnlyIfTouched", racingImporters},
		{"IDsAreKeptByteForByte", byteExact},
		{"EmptyDistrictIsRevisionZero", emptyDistrict},
		{"PruneCutsNoStream", prunedMeanwhile},
		{"ChangesAreWholeOrderedAndResumable", changesAtHead},
		{"ScopeFollowsEnrollmentsAndChildren", scopes},
		{"PendingUntilPublished", outbox},
		{"PrunedRevisionsAreGone", prune},
		{"ErasedPersonIsForgotten", erasedPerson},
		{"PersonIsErasedFromTheFirstPlan", erasedBeforeFirst},
		{"PersonIsErasedWhileOthersWork", erasedMeanwhile},
		{"CommittedSurvivesRestart", committedRestart},
		{"ClosedStoreSaysSo", closed},
		{"ErasedDistrictEndsItsStreams", erasedStream},
		{"CanceledCallsEnd", canceledCalls},
		{"DifferencesMakeTheSamePlan", differences},
		{"ModelOfRandomPlans", model},
	}
	unknown := maps.Clone(excused)
	for _, c := range cases {
		delete(unknown, c.name)
		if excused[c.name] != "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := suite{open: open, dir: t.TempDir(), small: small, excused: excused}
			s.Store = open(t, s.dir)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			c.run(t, s)
		})
	}
	require.Empty(t, unknown, "excused cases that do not exist")
}

// suite is a fresh store and how to open it again.
type suite struct {
	store.Store
	open    Opener
	dir     string
	small   bool
	excused map[string]string
}

// size is how many of something a case needs, or does with.
func (s *suite) size(many, few int) int {
	if s.small {
		return few
	}
	return many
}

// restart closes the store and opens it again.
func (s *suite) restart(t *testing.T) {
	t.Helper()
	require.NoError(t, s.Close())
	s.Store = s.open(t, s.dir)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
}

// RunModel runs only the last case, which meets most of the others: enough for
// another setting of an engine that has passed them.
func RunModel(t *testing.T, open Opener) {
	s := suite{open: open, dir: t.TempDir(), small: true}
	s.Store = open(t, s.dir)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	model(t, s)
}

func model(t *testing.T, s suite) {
	for seed := range uint64(s.size(3, 2)) {
		t.Run("", func(t *testing.T) {
			require.NoError(t, s.EraseDistrict(t.Context(), district))
			runModel(t, s, world{rand.New(rand.NewPCG(seed, 1)), s.size(600, 200)}, s.size(5, 3))
		})
	}
}
