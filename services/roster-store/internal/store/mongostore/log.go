package mongostore

import (
	"encoding/json"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// entry is one decision about a district. It also carries what all entries up to
// it add up to, so that the newest one is the state of the district.
//
// Entries are numbered without gaps and each is a unique insert: whoever inserts
// number n has seen everything up to n-1, and whatever it has checked against
// that is true at the moment of the insert.
type entry struct {
	ID    string `bson:"_id"` // numbered
	Owner string `bson:"d"`
	N     int64  `bson:"n"`
	Kind  string `bson:"k"`
	Token string `bson:"p"` // of the plan, where the entry is about one
	// Record is the person to be erased.
	Record string `bson:"record,omitempty"`
	// Pending says that what the entry has decided remains to be done.
	Pending bool `bson:"pending"`

	Rev   store.Revision `bson:"rev"`   // newest that is claimed
	Floor store.Revision `bson:"floor"` // oldest that is not pruned
	Fence store.Fence    `bson:"fence"` // highest seen
	At    time.Time      `bson:"at"`    // commit time of Rev
	// Erasures of persons so far: what was counted before one is counted anew.
	Erasures int64 `bson:"erasures"`
}

// Kinds of entries.
const (
	kindOpen    = "open"
	kindClaim   = "claim"   // of Rev by a plan; complete when there is a revisionDoc
	kindNothing = "nothing" // commit of a plan without changes
	kindFence   = "fence"
	kindDiscard = "discard"
	kindPrune   = "prune"  // pending until what is before Floor is removed
	kindForget  = "forget" // of a person; pending until nothing of it is left
	kindErase   = "erase"
)

// state returns the newest entry.
func (c *call) state() (entry, error) {
	newest, err := one[entry](c.ctx, c.s.db.Collection(collLog), bson.D{{Key: "d", Value: c.key}},
		findOne(indexNumber).SetSort(bson.D{{Key: "n", Value: -1}}))
	if err == nil && (newest == nil || newest.Kind == kindErase) {
		err = unknown(c.id)
	}
	if err != nil {
		return entry{}, err
	}
	return *newest, nil
}

// head returns the state and the newest complete revision.
func (c *call) head() (entry, store.Revision, error) {
	st, err := c.state()
	if err != nil || st.Kind != kindClaim {
		return st, st.Rev, err
	}
	rev := st.Rev
	done, err := c.complete(rev)
	if !done {
		rev--
	}
	return st, rev, err
}

// still fails if what was read of a revision may have been pruned or erased
// meanwhile.
func (c *call) still(rev store.Revision) error {
	st, err := c.state()
	if err == nil && rev < st.Floor {
		err = gone(c.id, rev, st.Floor)
	}
	return err
}

func gone(id store.DistrictID, rev, floor store.Revision) error {
	return fmt.Errorf("revision %d of %s, the oldest kept is %d: %w", rev, id, floor, store.ErrRevisionGone)
}

// settled returns the state after what must not wait is done, whoever has
// decided it: the newest claimed revision is complete, the person is erased.
func (c *call) settled() (entry, error) {
	st, err := c.state()
	switch {
	case err != nil:
		return entry{}, err
	case st.Kind == kindForget && st.Pending:
		st.Pending = false
		return st, c.forget(st)
	case st.Kind != kindClaim:
		return st, nil
	}
	done, err := c.complete(st.Rev)
	if err == nil && !done {
		err = c.rollForward(st)
	}
	return st, err
}

// done notes that what entries have decided is done.
func (c *call) done(x index, filter bson.D) error {
	_, err := c.s.db.Collection(collLog).UpdateMany(c.ctx, filter, bson.D{{Key: "$set", Value: bson.D{{Key: "pending", Value: false}}}},
		options.UpdateMany().SetHint(x.keys()))
	if err != nil {
		return fmt.Errorf("write %s: %w", collLog, mongodb.Wordless(err))
	}
	return nil
}

// decide appends an entry that build makes of the state. build runs again when
// someone else was faster, and returns false if there is nothing to decide any
// more.
func (c *call) decide(build func(*entry) (bool, error)) (entry, error) {
	for {
		st, err := c.settled()
		if err != nil {
			return entry{}, err
		}
		next := st
		next.N++
		next.ID, next.Kind, next.Token, next.Record, next.Pending = numbered(c.key, next.N), "", "", "", false
		if ok, err := build(&next); err != nil || !ok {
			return st, err
		}
		if first, err := insert(c.ctx, c.s.db.Collection(collLog), next); err != nil || first {
			return next, err
		}
	}
}

// raiseFence refuses a fence below one seen and remembers a higher one.
func (c *call) raiseFence(fence store.Fence) error {
	_, err := c.decide(func(e *entry) (bool, error) {
		raised, err := c.checkFence(e, fence)
		e.Kind = kindFence
		return raised, err
	})
	return err
}

func (c *call) checkFence(e *entry, fence store.Fence) (raised bool, err error) {
	if fence < e.Fence {
		return false, fmt.Errorf("fence %d of %s, seen %d: %w", fence, c.id, e.Fence, store.ErrFenced)
	}
	raised = fence > e.Fence
	e.Fence = fence
	return raised, nil
}

// complete tells whether readers may see a revision.
func (c *call) complete(rev store.Revision) (bool, error) {
	doc, err := oneByID[struct{}](c, collRevisions, numbered(c.key, int64(rev)), options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	return doc != nil, err
}

// revision returns what is known of a complete revision.
func (c *call) revision(rev store.Revision) (revisionInfo, error) {
	var info revisionInfo
	if rev == 0 {
		return info, nil
	}
	doc, err := oneByID[revisionDoc](c, collRevisions, numbered(c.key, int64(rev)))
	if err == nil && doc == nil {
		// Only Prune and EraseDistrict take one away.
		if err = c.still(rev); err == nil {
			err = fmt.Errorf("revision %d of %s has no document", rev, c.id)
		}
	}
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(doc.Info, &info); err != nil {
		return info, fmt.Errorf("read revision %d of %s: %w", rev, c.id, err)
	}
	return info, nil
}

// planEntry returns the entry that decided about a plan, nil if none did.
func (c *call) planEntry(token string) (*entry, error) {
	return one[entry](c.ctx, c.s.db.Collection(collLog), bson.D{{Key: "d", Value: c.key}, {Key: "p", Value: token}},
		findOne(indexPlan).SetSort(bson.D{{Key: "n", Value: -1}}))
}

// plan returns a finished plan and the entry that decided about it; nil if
// there is no such plan.
func (c *call) plan(id store.PlanID) (*store.Plan, *planDoc, *entry, error) {
	doc, err := oneByID[planDoc](c, collPlans, planKey(c.key, id))
	if err != nil || doc == nil {
		return nil, nil, nil, err
	}
	decided, err := c.planEntry(doc.Token)
	if err != nil {
		return nil, nil, nil, err
	}
	if decided != nil && decided.Kind == kindDiscard {
		return nil, nil, nil, c.dropPlan(doc) // A crash has left it.
	}
	plan, err := doc.decode()
	if err == nil && decided != nil && decided.Kind == kindClaim {
		var done bool
		if done, err = c.complete(decided.Rev); done {
			plan.Revision = decided.Rev
		}
	}
	return plan, doc, decided, err
}

// byID selects one of the district's documents, and its shard.
func (c *call) byID(id string) bson.D {
	return bson.D{{Key: "_id", Value: id}, {Key: "d", Value: c.key}}
}

func oneByID[T any](c *call, coll, id string, opts ...options.Lister[options.FindOneOptions]) (*T, error) {
	return one[T](c.ctx, c.s.db.Collection(coll), c.byID(id), append(opts, findOne(indexID))...)
}

func planKey(key string, id store.PlanID) string { return key + "/" + string(id) }

func (p *planDoc) decode() (*store.Plan, error) {
	plan := &store.Plan{}
	if err := json.Unmarshal(p.Plan, plan); err != nil {
		return nil, fmt.Errorf("read plan %q: %w", p.ID, err)
	}
	return plan, nil
}
