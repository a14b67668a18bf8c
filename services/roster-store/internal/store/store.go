// Package store is the contract of the roster store: every version of every
// record of every district, read at a revision, written as a plan that one step
// makes visible. The comments are promises; package storetest checks each of
// them on every engine.
//
// A record version is visible at revision r when from <= r < to; the live
// version has no to. Revision 0 is the empty district. Revisions count up by
// one without gaps. No record ever disappears: one that its source no longer
// has gets a version with status tobedeleted and is revived under its id when
// it returns.
package store

import (
	"context"
	"iter"
	"time"

	"github.com/securly/sync/services/platform/record"
)

// Store keeps the rosters of all districts. Its methods may be called from any
// number of goroutines; after Close each fails with ErrClosed. Methods that
// name a district fail with ErrDistrictUnknown if it was never opened or has
// been erased, and with ErrInvalid if the name is none.
//
// What a method has acknowledged with a nil error survives the death of the
// process and of the machine.
type Store interface {
	// OpenDistrict makes an empty district at revision 0. One that exists is
	// left as it is.
	OpenDistrict(ctx context.Context, d DistrictID) error
	// Districts yields all districts in the order of their names.
	Districts(ctx context.Context) iter.Seq2[DistrictID, error]
	// EraseDistrict removes a district with all that was ever stored for it.
	// Erasing one that is not there is no error. Calls and streams that run on
	// it meanwhile fail with ErrDistrictUnknown or finish.
	EraseDistrict(ctx context.Context, d DistrictID) error

	Reads
	Plans
	Outbox
	Upkeep

	// Prune forgets what only revisions before keep can see: superseded
	// versions, their changes and their plans. Reading a revision before keep
	// fails with ErrRevisionGone from then on. keep is lowered to the head.
	Prune(ctx context.Context, d DistrictID, keep Revision) error
	// Close ends all running calls and streams with ErrClosed, then releases
	// everything.
	Close() error
}

// Reads are the ways to see committed revisions. A reader never sees part of a
// revision.
type Reads interface {
	// Head returns the newest revision; all of its writes are visible.
	Head(ctx context.Context, d DistrictID) (RevisionInfo, error)
	// Revisions lists revisions newest first, those before the given one or
	// from the head if it is 0, at most limit. Pruned ones are not listed.
	Revisions(ctx context.Context, d DistrictID, before Revision, limit int) ([]RevisionInfo, error)
	// RevisionAt returns the newest revision committed at t or before,
	// revision 0 if there was none.
	RevisionAt(ctx context.Context, d DistrictID, t time.Time) (Revision, error)
	// Summary counts the records of the head. It is cheap for Scope{All: true}.
	Summary(ctx context.Context, d DistrictID, scope Scope) (Summary, error)
	// Snapshot reads d as of rev, limited to what scope may see. It holds
	// nothing and needs no closing; a commit that comes later does not change
	// what it reads. Its methods fail with ErrRevisionGone if rev was pruned
	// and with ErrRevisionUnknown if it is not committed.
	Snapshot(d DistrictID, rev Revision, scope Scope) Reader
	// Changes yields what revisions after the given one brought, up to and
	// with the last one named, or the head at the time of the call if that is
	// 0: ordered, whole revisions, no gap, no repeat. Each revision is one
	// Begin, its records by entity and id, one End. The records are those of
	// that revision, whatever came later. Fails with ErrRevisionGone if a
	// revision to be sent was pruned, and with ErrRevisionUnknown if after or
	// last is beyond the head.
	Changes(ctx context.Context, d DistrictID, after, last Revision) iter.Seq2[Event, error]
}

// Plans are the one way to write.
type Plans interface {
	// Import compares a candidate with the head and stages the differences.
	// Nothing becomes visible. Records come by entity (in any order of
	// entities, each in one run) and within it in ascending byte order of id;
	// otherwise, or when an id is empty or comes twice, it fails with
	// ErrInvalid and names it. An error from records is returned and leaves no
	// plan. The same plan id again starts over an unfinished staging; a
	// finished plan is immutable and is returned as it is, without a record
	// being read. Memory does not grow with the number of records, but in the
	// first plan of an empty district, which is indexed as it is read: there an
	// engine may hold ids and terms, below 400 bytes for each record. A record
	// in records is not kept after the next one is taken.
	Import(ctx context.Context, h PlanHeader, records iter.Seq2[ImportRecord, error]) (Plan, error)
	// Plan returns a finished plan, ErrPlanUnknown if there is none. It is
	// kept after its commit until its revision is pruned.
	Plan(ctx context.Context, d DistrictID, id PlanID) (Plan, error)
	// PlanChanges pages through a plan by entity and id, with the bodies
	// before and after. It goes on to work after the commit.
	PlanChanges(ctx context.Context, d DistrictID, id PlanID, q ChangeQuery) (ChangePage, error)
	// Commit makes a plan visible as one new revision, at once and completely,
	// or fails and changes nothing visible. It may be repeated, also after a
	// crash, and returns the same revision again. A plan without changes makes
	// no revision: it returns the head, and Outcome.Committed is false.
	// ErrStale: one of the plan's records has changed since it was compared.
	Commit(ctx context.Context, d DistrictID, id PlanID, fence Fence) (Outcome, error)
	// Discard drops a plan that was not committed, finished or not; one that
	// does not exist is no error. ErrCommitted if it was committed.
	Discard(ctx context.Context, d DistrictID, id PlanID) error
}

// Outbox holds the announcement of each revision until it was made. It is part
// of the commit, so that no revision goes unannounced.
type Outbox interface {
	// Pending yields the revisions not yet announced, over all districts,
	// oldest first within each.
	Pending(ctx context.Context) iter.Seq2[PendingRevision, error]
	// MarkPublished takes a revision out of Pending. It may be repeated.
	MarkPublished(ctx context.Context, d DistrictID, rev Revision) error
}

// Reader reads one district at one revision within one scope. Bodies belong to
// the caller, except where it says otherwise.
type Reader interface {
	// Get returns the version of a record visible at the revision, tombstones
	// included. ErrRecordUnknown if there is none or the scope hides it.
	Get(ctx context.Context, e Entity, id string) (Record, error)
	// Page returns the records that match q with ids after the given one, in
	// ascending byte order of id, and how many match in all. A limit of 0
	// counts only.
	Page(ctx context.Context, q Query, after string, limit int) (Page, error)
	// Scan yields all records after the given position, by entity in the order
	// of the numbers, then by id. The entities are all if none is given. The
	// body is valid until the next step.
	Scan(ctx context.Context, after Position, entities ...Entity) iter.Seq2[Record, error]
	// History lists the kept versions of a record up to the revision, newest
	// first. ErrRecordUnknown as for Get.
	History(ctx context.Context, e Entity, id string) ([]Record, error)
}

// PlanHeader says what a candidate is.
type PlanHeader struct {
	District DistrictID
	// Plan is chosen by the caller and unique within the district.
	Plan PlanID
	Sync SyncID
	// Complete lists the entities of which the candidate holds every record:
	// what is absent is removed. Other entities may still get records and lose
	// none.
	Complete []Entity
	// Unsent is how many records a caller leaves out for each entity since it
	// knows them to be as they are at the head. They count as received and
	// unchanged.
	Unsent map[Entity]int
	// Fence is refused with ErrFenced if the district has seen a higher one.
	Fence Fence
	// Undo marks a plan that takes the district back to an earlier revision;
	// it is kept with the revision that the plan makes.
	Undo *Undo
}

// Undo says to which revision a plan goes back. A plan that goes back to
// revision 0 removes everything.
type Undo struct {
	To Revision
}

// ImportRecord is one record of a candidate.
type ImportRecord struct {
	Entity Entity
	ID     string
	// Hash is record.HashOf of the record.
	Hash record.Hash
	// Body is the encoding of a type.v1.Record of that entity with that id. A
	// blank dateLastModified reads as the commit time of the version. Nil means
	// that the candidate does not hold the record: it is not received, and
	// removed as if the candidate were complete. One of more than 4 MiB may be
	// refused with ErrInvalid.
	Body []byte
}

// Plan is what a commit would do.
type Plan struct {
	ID   PlanID
	Sync SyncID
	// Base is the head it was compared with.
	Base       Revision
	CreateTime time.Time
	Counts     map[Entity]Counts
	// Schools counts the changes that touch a school, by its sourcedId. A
	// change of several schools counts in each; received and unchanged are 0.
	Schools map[string]map[Entity]Counts
	// Revision is what the commit made; 0 before it and for a plan without
	// changes.
	Revision Revision
	// LastUndo is the newest revision up to Base that went back to an earlier
	// one, 0 for none.
	LastUndo Revision
	// Effect is that on the district, SchoolEffects that on each of Schools.
	Effect        Effect
	SchoolEffects map[string]Effect
	// Digest is the same for two plans that change the same records from the
	// same to the same.
	Digest []byte
}

// Changes is how many records the plan touches.
func (p Plan) Changes() int {
	n := 0
	for _, c := range p.Counts {
		n += c.Created + c.Updated + c.Removed
	}
	return n
}

// Counts of one entity in a plan or revision. A record that is revived counts
// as created, one whose status turns to tobedeleted as removed. Removals of
// absent records are not received: Received = Created + Updated + Unchanged +
// those removals that the candidate stated itself.
type Counts struct {
	Received, Created, Updated, Removed, Unchanged int
}

// Add counts a change of a kind.
func (c Counts) Add(k Kind) Counts {
	switch k {
	case Created:
		c.Created++
	case Updated:
		c.Updated++
	case Removed:
		c.Removed++
	}
	return c
}

// Kind says what a change does to a record.
type Kind uint8

// The kinds of a change.
const (
	Created Kind = iota + 1
	Updated
	Removed
)

// ChangeQuery selects changes of a plan; zero values mean any.
type ChangeQuery struct {
	Entity Entity
	Kind   Kind
	// Schools asks for Change.Schools of a plan that is not committed.
	Schools bool
	// After is the position of the last change of the page before.
	After Position
	Limit int
}

// Change is one change of a plan. Before is nil for a record that is new.
type Change struct {
	Entity        Entity
	ID            string
	Kind          Kind
	Before, After []byte
	// Schools are the sourcedIds that Plan.Schools counts the change under,
	// in ascending order; only if the query asks for them.
	Schools []string
}

// ChangePage is a page of changes; More says that others follow, Total counts
// all that match.
type ChangePage struct {
	Changes []Change
	Total   int
	More    bool
}

// Outcome of a commit.
type Outcome struct {
	Revision  Revision
	Committed bool
}

// RevisionInfo describes a committed revision. That of revision 0 is empty.
type RevisionInfo struct {
	Revision   Revision
	CommitTime time.Time
	Sync       SyncID
	Plan       PlanID
	Counts     map[Entity]Counts
	// Undo is that of the plan.
	Undo *Undo
	// LastUndo is the newest revision up to this one that has an Undo, 0 for
	// none.
	LastUndo Revision
}

// Summary counts what the head holds.
type Summary struct {
	Head RevisionInfo
	// Active counts records without tombstones, Total all of them.
	Active, Total map[Entity]int
	// Families counts active users by role family; one with several counts in
	// each.
	Families map[record.Family]int
}

// Record is one version of one record.
type Record struct {
	Entity Entity
	ID     string
	// From is the revision that brought the version, To the one that
	// superseded it, 0 while it is live at the revision that was read.
	From, To Revision
	// Body is the encoding of a type.v1.Record. It may state a field twice; as
	// everywhere in protobuf the last one counts.
	Body []byte
}

// Query selects records of one entity. Empty fields mean any; the others
// combine with AND and compare exactly unless stated.
type Query struct {
	Entity    Entity
	SourcedID string
	// Role is a token or a family of the user or enrollment; for demographics
	// of their user.
	Role string
	// Email compares without regard to case.
	Email string
	// OrgID is an org of a user's roles, the org of a course, the school of a
	// class or enrollment, the parent of an org.
	OrgID   string
	ClassID string
	// UserID is the user of an enrollment, or either end of a relationship of
	// users.
	UserID string
	Status string
	// SchoolID is a school that the record is in the scope of.
	SchoolID string
	// Text holds beginnings of words of a name, title or email, without regard
	// to case; each must match a word.
	Text string
}

// Page of records. More says that others follow.
type Page struct {
	Records []Record
	Total   int
	More    bool
}

// Position names a record in the order of a stream; its zero value is before
// the first.
type Position struct {
	Entity Entity
	ID     string
}

// Scope is what a caller may see. Its zero value may see only what belongs to
// all: orgs and academic sessions.
type Scope struct {
	// All allows the whole district.
	All bool
	// Schools allows what belongs to any of these schools.
	Schools []string
}

// Phase of an event in a stream of changes.
type Phase uint8

// The phases of a revision in a stream of changes.
const (
	Begin Phase = iota + 1
	Data
	End
)

// Event is one step of a stream of changes. Begin and End carry the revision,
// Data its number, the kind and a record whose body is valid until the next
// step.
type Event struct {
	Phase    Phase
	Revision RevisionInfo
	Kind     Kind
	Record   Record
}

// PendingRevision is a committed revision that waits to be announced.
type PendingRevision struct {
	District DistrictID
	Revision RevisionInfo
}

// Upkeep keeps a district sound and forgets what has to be forgotten.
type Upkeep interface {
	// ErasePerson blanks what is kept of a user and its demographics, for good
	// and wherever it is: in every version, in plans, in indexes and in what
	// the engine keeps of its own past (logs, obsolete files). Ids, hashes,
	// status and revisions stay, so that a source that still delivers the same
	// record changes nothing. Other records keep the ids they refer to. It is
	// done when it returns, may be repeated, and finds its way after a crash.
	// ErrRecordUnknown if no version was ever kept.
	ErasePerson(ctx context.Context, d DistrictID, userID string) error
	// Check looks for what must not be: versions of a record that overlap or
	// leave a gap, live records whose hash or index entries do not follow from
	// their body, a head that is not the newest complete revision, counts that
	// do not add up, staged changes without a plan. What can be made right
	// from the versions alone it repairs if asked to, and says so.
	Check(ctx context.Context, d DistrictID, repair bool) iter.Seq2[Problem, error]
}
