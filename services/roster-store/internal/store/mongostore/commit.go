package mongostore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Commit implements store.Plans. The moment of the commit for writers is the
// insert of the claim, for readers that of the completion mark. What lies
// between is repeatable; if this process dies there, the next writer goes on.
func (s *Store) Commit(ctx context.Context, id store.DistrictID, planID store.PlanID, fence store.Fence) (store.Outcome, error) {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return store.Outcome{}, err
	}
	defer end()
	out, err := c.commit(planID, fence)
	if err != nil {
		return store.Outcome{}, c.fail(err, "commit plan %q", planID)
	}
	return out, nil
}

func (c *call) commit(id store.PlanID, fence store.Fence) (store.Outcome, error) {
	var none store.Outcome
	end, err := c.alone()
	if err != nil {
		return none, err
	}
	defer end()
	plan, doc, decided, err := c.plan(id)
	if err == nil && plan == nil {
		err = store.ErrPlanUnknown
	}
	if err != nil {
		return none, err
	}
	claimed := entry{}
	if decided != nil {
		claimed = *decided
	} else if claimed, err = c.decide(func(e *entry) (bool, error) {
		// Another process may have been faster.
		if decided, err = c.planEntry(doc.Token); decided != nil || err != nil {
			return false, err
		}
		if _, err := c.checkFence(e, fence); err != nil {
			return false, err
		}
		e.Token, e.Kind = doc.Token, kindNothing
		if plan.Changes() == 0 {
			return true, nil
		}
		if err := c.checkFresh(plan, doc.Token, e.Rev); err != nil {
			return false, err
		}
		e.Kind = kindClaim
		e.Rev++
		if now := c.s.now(); now.After(e.At) {
			e.At = now
		}
		return true, nil
	}); err != nil {
		return none, err
	}
	if decided != nil {
		claimed = *decided
	}
	switch claimed.Kind {
	case kindDiscard:
		return none, store.ErrPlanUnknown
	case kindNothing:
		return store.Outcome{Revision: claimed.Rev}, remove(c.ctx, c.s.db.Collection(collStagings), c.byID(doc.Token))
	}
	if err := c.rollForward(claimed); err != nil {
		return none, err
	}
	return store.Outcome{Revision: claimed.Rev, Committed: true}, nil
}

// checkFresh fails if a record of the plan has changed since it was compared.
// It is valid for a claim of the next revision.
func (c *call) checkFresh(plan *store.Plan, token string, head store.Revision) error {
	owner := stagedOwner(c.key, token)
	staged, err := c.countStaged(token)
	if err != nil {
		return err
	}
	for _, e := range record.Entities() {
		if plan.Base == head {
			break
		}
		for batch, err := range c.s.batches(c.ctx, e, at(owner, 0), "", "b", "h", "t") {
			if err != nil {
				return err
			}
			since := map[string]store.Revision{}
			if err := c.s.ofIDs(c.ctx, e, at(c.key, head), idsOf(batch), func(v version) error {
				since[v.Record] = v.Since
				return nil
			}, find(indexRecord).SetProjection(bson.D{{Key: "id", Value: 1}, {Key: "s", Value: 1}})); err != nil {
				return err
			}
			for _, v := range batch {
				if now := since[v.Record]; now != v.Since {
					return fmt.Errorf("%s %q was planned from revision %d, now it is of %d: %w",
						record.EntityName(e), v.Record, v.Since, now, store.ErrStale)
				}
			}
		}
	}
	if staged != plan.Changes() {
		return fmt.Errorf("%d of %d changes are still staged, make the plan anew: %w", staged, plan.Changes(), store.ErrStale)
	}
	return nil
}

func (c *call) countStaged(token string) (int, error) {
	staged := 0
	for _, e := range record.Entities() {
		n, err := c.s.versions(e).CountDocuments(c.ctx, bson.D{{Key: "d", Value: stagedOwner(c.key, token)}}, options.Count().SetHint(indexRecord.keys()))
		if err != nil {
			return 0, fmt.Errorf("count what is staged: %w", mongodb.Wordless(err))
		}
		staged += int(n)
	}
	return staged, nil
}

// errComplete ends the work on a revision that another process has completed.
var errComplete = errors.New("the revision is complete")

// rollForward completes a claimed revision.
func (c *call) rollForward(claim entry) error {
	done, err := c.complete(claim.Rev)
	if err != nil {
		return err
	}
	if !done {
		err := c.apply(claim)
		if err == nil {
			_, err = c.state()
		}
		if errors.Is(err, store.ErrDistrictUnknown) {
			// What was written since the look before is in nobody's way, but must go.
			err = errors.Join(err, c.s.removeDistrict(c.ctx, c.key))
		}
		if err != nil && !errors.Is(err, errComplete) {
			return fmt.Errorf("apply revision %d: %w", claim.Rev, err)
		}
	}
	return c.s.dropStaged(c.ctx, c.key, claim.Token)
}

// apply writes what a claimed revision changes. Each step leads to the same
// whether it is done once, again after a crash, or by several at a time: what is
// inserted has the key of its revision, what is closed is closed at that
// revision, and no step reads what a later one writes.
func (c *call) apply(claim entry) error {
	doc, err := c.s.planByToken(c.ctx, c.key, claim.Token)
	if err == nil && doc == nil {
		err = c.gate(claim.Rev)() // Pruning a complete revision takes its plan.
		if err == nil {
			err = fmt.Errorf("its plan %s is gone", claim.Token)
		}
	}
	if err != nil {
		return err
	}
	plan, err := doc.decode()
	if err != nil {
		return err
	}
	base, err := c.revision(claim.Rev - 1)
	if err != nil {
		return err
	}
	a := newApplication(c, claim, base.summary)
	if err := a.run(); err != nil {
		return err
	}
	info := store.RevisionInfo{
		Revision: claim.Rev, CommitTime: claim.At.UTC(), Sync: plan.Sync, Plan: plan.ID, Counts: plan.Counts,
		Undo: doc.Undo, LastUndo: base.LastUndo,
	}
	if info.Undo != nil {
		info.LastUndo = claim.Rev
	}
	text, err := json.Marshal(revisionInfo{RevisionInfo: info, summary: a.summary})
	if err != nil {
		return err
	}
	_, err = insert(c.ctx, c.s.db.Collection(collRevisions), revisionDoc{
		ID: numbered(c.key, int64(claim.Rev)), Owner: c.key, N: claim.Rev, District: c.id, Pending: true, Info: text,
	})
	return err
}

// gate returns a check to pass before each batch of writes: whoever is late must
// not write to a revision that others have completed, built on or even pruned.
func (c *call) gate(rev store.Revision) func() error {
	return func() error {
		if err := c.still(rev); err != nil {
			return err
		}
		done, err := c.complete(rev)
		if err == nil && done {
			err = errComplete
		}
		return err
	}
}

// staged yields what is staged under a token, a batch at a time.
func (c *call) staged(e store.Entity, token string) iter.Seq2[[]version, error] {
	return c.s.batches(c.ctx, e, at(stagedOwner(c.key, token), 0), "")
}

// Discard implements store.Plans.
func (s *Store) Discard(ctx context.Context, id store.DistrictID, planID store.PlanID) error {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return err
	}
	defer end()
	return c.fail(c.discard(planID), "discard plan %q", planID)
}

func (c *call) discard(id store.PlanID) error {
	endClaim, err := c.claim(id)
	if err != nil {
		return err
	}
	defer endClaim()
	end, err := c.alone()
	if err != nil {
		return err
	}
	defer end()
	_, doc, decided, err := c.plan(id)
	if err != nil || doc == nil {
		return err
	}
	if decided == nil {
		if _, err := c.decide(func(e *entry) (bool, error) {
			if decided, err = c.planEntry(doc.Token); decided != nil || err != nil {
				return false, err
			}
			e.Kind, e.Token = kindDiscard, doc.Token
			return true, nil
		}); err != nil {
			return err
		}
	}
	if decided != nil && decided.Kind == kindClaim {
		return store.ErrCommitted
	}
	return c.dropPlan(doc)
}

// dropPlan removes a plan that is decided not to become a revision.
func (c *call) dropPlan(doc *planDoc) error {
	if err := c.s.dropStaged(c.ctx, c.key, doc.Token); err != nil {
		return err
	}
	return remove(c.ctx, c.s.db.Collection(collPlans), append(c.byID(doc.ID), bson.E{Key: "p", Value: doc.Token}))
}
