package mongostore

import (
	"context"
	"iter"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// Changes implements store.Reads.
func (s *Store) Changes(ctx context.Context, id store.DistrictID, after, last store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		c, end, err := s.begin(ctx, id)
		if err != nil {
			yield(store.Event{}, err)
			return
		}
		defer end()
		after = max(after, 0)
		st, newest, err := c.head()
		if err == nil {
			// The first revision to send must be there, not the one before it.
			err = checkRevision(id, min(after+1, max(newest, after)), newest, st.Floor)
		}
		if last == 0 {
			last = newest
		} else if err == nil && last > newest {
			err = checkRevision(id, last, newest, st.Floor)
		}
		if err != nil {
			yield(store.Event{}, c.fail(err, "changes"))
			return
		}
		for rev := after + 1; rev <= last; rev++ {
			if !c.changes(rev, yield) {
				return
			}
		}
	}
}

// changes yields one revision and returns false if it was the last.
func (c *call) changes(rev store.Revision, yield func(store.Event, error) bool) bool {
	info, err := c.revision(rev)
	if err != nil {
		yield(store.Event{}, c.fail(err, "changes"))
		return false
	}
	if !yield(store.Event{Phase: store.Begin, Revision: info.RevisionInfo}, nil) {
		return false
	}
	for _, e := range record.Entities() {
		for batch, err := range c.s.batches(c.ctx, e, changed(c.key, rev, 0), "", "h", "t") {
			if err == nil {
				err = c.still(rev)
			}
			if err != nil {
				yield(store.Event{}, c.fail(err, "changes"))
				return false
			}
			for _, v := range batch {
				ev := store.Event{Phase: store.Data, Kind: v.Kind, Record: v.record(e)}
				ev.Revision.Revision = rev
				if !yield(ev, nil) {
					return false
				}
			}
		}
	}
	// What was pruned meanwhile looks like nothing.
	if err := c.still(rev); err != nil {
		yield(store.Event{}, c.fail(err, "changes"))
		return false
	}
	return yield(store.Event{Phase: store.End, Revision: info.RevisionInfo}, nil)
}

// changed selects the versions that an owner has got with a revision by a
// change of a kind, 0 for any.
func changed(owner string, rev store.Revision, kind store.Kind) bson.D {
	kinds := bson.D{{Key: "$gt", Value: 0}}
	if kind != 0 {
		kinds = bson.D{{Key: "$eq", Value: kind}}
	}
	return bson.D{{Key: "d", Value: owner}, {Key: "f", Value: rev}, {Key: "k", Value: kinds}}
}

// Plan implements store.Plans.
func (s *Store) Plan(ctx context.Context, id store.DistrictID, planID store.PlanID) (store.Plan, error) {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return store.Plan{}, err
	}
	defer end()
	plan, _, err := c.knownPlan(planID)
	if err != nil {
		return store.Plan{}, c.fail(err, "plan %q", planID)
	}
	return *plan, nil
}

func (c *call) knownPlan(id store.PlanID) (*store.Plan, *planDoc, error) {
	if _, err := c.state(); err != nil {
		return nil, nil, err
	}
	plan, doc, _, err := c.plan(id)
	if err == nil && plan == nil {
		err = store.ErrPlanUnknown
	}
	return plan, doc, err
}

// PlanChanges implements store.Plans.
func (s *Store) PlanChanges(ctx context.Context, id store.DistrictID, planID store.PlanID, q store.ChangeQuery) (store.ChangePage, error) {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return store.ChangePage{}, err
	}
	defer end()
	page, err := c.planChanges(planID, q)
	if err != nil {
		return store.ChangePage{}, c.fail(err, "changes of plan %q", planID)
	}
	return page, nil
}

func (c *call) planChanges(id store.PlanID, q store.ChangeQuery) (store.ChangePage, error) {
	plan, doc, err := c.knownPlan(id)
	if err != nil {
		return store.ChangePage{}, err
	}
	st, before, err := c.head()
	if err != nil {
		return store.ChangePage{}, err
	}
	// After the commit the versions say what the plan has changed.
	owner := stagedOwner(c.key, doc.Token)
	if plan.Revision > 0 {
		owner, before = c.key, plan.Revision-1
	}
	page := store.ChangePage{Total: countChanges(*plan, q)}
	for _, e := range record.Entities() {
		if e < q.After.Entity || q.Entity != 0 && e != q.Entity {
			continue
		}
		start := ""
		if e == q.After.Entity {
			start = q.After.ID
		}
		for batch, err := range c.s.batches(c.ctx, e, changed(owner, plan.Revision, q.Kind), start, "h") {
			if err != nil {
				return store.ChangePage{}, err
			}
			room := q.Limit - len(page.Changes)
			if page.More = len(batch) > room; page.More {
				batch = batch[:room]
			}
			if err := c.addChanges(&page, e, batch, before); err != nil {
				return store.ChangePage{}, err
			}
			if q.Schools && plan.Revision == 0 {
				addSchools(page.Changes[len(page.Changes)-len(batch):], batch)
			}
			if page.More {
				return page, c.still(st.Floor)
			}
		}
	}
	return page, c.still(st.Floor)
}

// addChanges adds staged or committed versions, with what they replace.
func (c *call) addChanges(page *store.ChangePage, e store.Entity, batch []version, before store.Revision) error {
	old := map[string][]byte{}
	if err := c.s.ofIDs(c.ctx, e, at(c.key, before), idsOf(batch), func(v version) error {
		old[v.Record] = v.Body
		return nil
	}); err != nil {
		return err
	}
	for _, v := range batch {
		page.Changes = append(page.Changes, store.Change{Entity: e, ID: v.Record, Kind: v.Kind, Before: old[v.Record], After: v.Body})
	}
	return nil
}

// addSchools names the schools that staged changes were counted under. Of what an
// empty district gets, terms say it.
func addSchools(changes []store.Change, staged []version) {
	for i, v := range staged {
		if changes[i].Schools = v.Schools; len(v.Schools) == 0 {
			changes[i].Schools = v.values(fieldPrefix(search.FieldSchool))
			slices.Sort(changes[i].Schools)
		}
	}
}

func countChanges(p store.Plan, q store.ChangeQuery) int {
	n := 0
	for e, c := range p.Counts {
		if q.Entity != 0 && e != q.Entity {
			continue
		}
		switch q.Kind {
		case 0:
			n += c.Created + c.Updated + c.Removed
		case store.Created:
			n += c.Created
		case store.Updated:
			n += c.Updated
		case store.Removed:
			n += c.Removed
		}
	}
	return n
}
