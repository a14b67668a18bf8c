package mongostore

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/securly/sync/services/roster-store/internal/store"
)

// Prune implements store.Store. Once the floor is in the log nobody reads what
// goes, so it may go in any number of steps; if they are interrupted the next
// call or Open does the rest.
func (s *Store) Prune(ctx context.Context, id store.DistrictID, keep store.Revision) error {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return err
	}
	defer end()
	return c.fail(c.prune(keep), "prune")
}

func (c *call) prune(keep store.Revision) error {
	end, err := c.alone()
	if err != nil {
		return err
	}
	defer end()
	st, err := c.decide(func(e *entry) (bool, error) {
		e.Kind = kindPrune
		raised := min(keep, e.Rev) > e.Floor
		if raised {
			e.Floor, e.Pending = min(keep, e.Rev), true
		}
		return raised, nil
	})
	if err != nil || st.Floor == 0 {
		return err
	}
	return c.dropPruned(st)
}

// dropPruned removes what only revisions before the floor of a state can see.
func (c *call) dropPruned(st entry) error {
	if err := c.s.removeVersions(c.ctx, bson.D{{Key: "d", Value: c.key}, {Key: "u", Value: bson.D{{Key: "$lte", Value: st.Floor}}}}); err != nil {
		return err
	}
	if err := c.prunePlans(st.Floor); err != nil {
		return err
	}
	before := bson.D{{Key: "$lt", Value: st.Floor}}
	if err := remove(c.ctx, c.s.db.Collection(collRevisions), bson.D{{Key: "d", Value: c.key}, {Key: "n", Value: before}}); err != nil {
		return err
	}
	// Claims stay for their times, erasures of persons for imports that have not
	// seen them; of the rest only the newest entry counts.
	if err := remove(c.ctx, c.s.db.Collection(collLog), bson.D{
		{Key: "d", Value: c.key}, {Key: "n", Value: bson.D{{Key: "$lt", Value: st.N}}}, in("k", []string{kindOpen, kindFence, kindPrune}),
	}); err != nil {
		return err
	}
	return c.done(indexPending, bson.D{
		{Key: "pending", Value: true}, {Key: "d", Value: c.key}, {Key: "n", Value: bson.D{{Key: "$lte", Value: st.N}}}, {Key: "k", Value: kindPrune},
	})
}

// prunePlans removes the plans whose outcome was a revision before the floor.
func (c *call) prunePlans(floor store.Revision) error {
	plans := c.s.db.Collection(collPlans)
	var tokens []string
	if err := each(c.ctx, plans, bson.D{{Key: "d", Value: c.key}}, func(doc planDoc) error {
		decided, err := c.planEntry(doc.Token)
		if err == nil && decided != nil && decided.Rev < floor {
			tokens = append(tokens, doc.Token)
		}
		return err
	}, find(indexPlan)); err != nil {
		return err
	}
	return remove(c.ctx, plans, bson.D{{Key: "d", Value: c.key}, in("p", append([]string{}, tokens...))})
}
