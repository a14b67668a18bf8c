package store

// Problem is a broken invariant of a stored district. It names records by id
// and holds nothing else of them.
type Problem struct {
	// Invariant is what does not hold, in words: BrokenOverlap. Engines have
	// more of them than those below.
	Invariant string
	// Where is the entity and id, plan or revision, for an operator to find.
	Where string
	// Repaired tells that it holds now.
	Repaired bool
}

// The invariants that every engine has.
const (
	BrokenOverlap  = "versions overlap"
	BrokenGap      = "versions leave a gap"
	BrokenLive     = "no version is live"
	BrokenNewer    = "a version is newer than the head"
	BrokenBody     = "the body cannot be read"
	BrokenHash     = "the hash does not follow from the body"
	BrokenTerms    = "index entries do not follow from the body"
	BrokenRevision = "a revision has no readable document"
	BrokenBeyond   = "a revision is beyond the head"
	BrokenPlan     = "the plan of a revision is gone"
	BrokenChanges  = "counts of a revision are not those of its changes"
	BrokenSummary  = "counts of the head are not those of its records"
	BrokenStaged   = "staged changes without a plan"
	BrokenLost     = "a plan has lost what was staged for it"
)
