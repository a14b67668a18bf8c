package mongostore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
	"github.com/securly/sync/services/roster-store/internal/store/signals"
)

// Import implements store.Plans.
func (s *Store) Import(ctx context.Context, h store.PlanHeader, records iter.Seq2[store.ImportRecord, error]) (store.Plan, error) {
	c, end, err := s.begin(ctx, h.District)
	if err != nil {
		return store.Plan{}, err
	}
	defer end()
	if h.Plan == "" {
		return store.Plan{}, fmt.Errorf("import into %s: the plan has no id: %w", h.District, store.ErrInvalid)
	}
	plan, err := c.stage(h, records)
	if err != nil {
		return store.Plan{}, c.fail(err, "stage plan %q", h.Plan)
	}
	return *plan, nil
}

// claim keeps other calls of this process off a plan until end is called.
func (c *call) claim(id store.PlanID) (end func(), err error) {
	key := planKey(c.key, id)
	if _, taken := c.s.busy.LoadOrStore(key, struct{}{}); taken {
		return nil, store.ErrPlanBusy
	}
	return func() { c.s.busy.Delete(key) }, nil
}

func (c *call) stage(h store.PlanHeader, records iter.Seq2[store.ImportRecord, error]) (_ *store.Plan, err error) {
	end, err := c.claim(h.Plan)
	if err != nil {
		return nil, err
	}
	defer end()
	if plan, _, _, err := c.plan(h.Plan); err != nil || plan != nil {
		return plan, err
	}
	st, err := c.base(h.Fence)
	if err != nil {
		return nil, err
	}
	base, err := c.revision(st.Rev)
	if err != nil {
		return nil, err
	}
	token := bson.NewObjectID().Hex()
	now := c.s.now()
	p := &staging{
		c: c, token: token, owner: stagedOwner(c.key, token), complete: h.Complete, undo: h.Undo, seen: st.N,
		signals: signals.New(now), crowded: map[string]bool{},
		plan: store.Plan{
			ID: h.Plan, Sync: h.Sync, Base: st.Rev, CreateTime: now, LastUndo: base.LastUndo,
			Counts:  map[store.Entity]store.Counts{},
			Schools: map[string]map[store.Entity]store.Counts{},
		},
	}
	for e, n := range h.Unsent {
		p.plan.Counts[e] = store.Counts{Received: n, Unchanged: n}
	}
	if _, err := insert(c.ctx, c.s.db.Collection(collStagings), stagingDoc{Token: token, Owner: c.key, At: c.s.now()}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.abandon(token))
		}
	}()
	if err := p.feed(records); err != nil {
		return nil, err
	}
	return p.finish()
}

// base returns the state whose revision to compare with, after the fence is
// raised.
func (c *call) base(fence store.Fence) (entry, error) {
	// A commit that is under way here is waited for rather than done twice.
	end, err := c.alone()
	if err != nil {
		return entry{}, err
	}
	defer end()
	if err := c.raiseFence(fence); err != nil {
		return entry{}, err
	}
	return c.settled()
}

// abandon removes what is staged under a token, also when the caller has given
// up. What it leaves the sweep of the next Open finds.
func (c *call) abandon(token string) error {
	ctx, end := c.s.until(context.WithoutCancel(c.ctx))
	defer end()
	if ctx.Err() != nil {
		return nil
	}
	// The insert of the plan may have failed only on the way back.
	plan, err := c.s.planByToken(ctx, c.key, token)
	if err != nil || plan != nil {
		return err
	}
	return c.s.dropStaged(ctx, c.key, token)
}

func (s *Store) planByToken(ctx context.Context, key, token string) (*planDoc, error) {
	return one[planDoc](ctx, s.db.Collection(collPlans), bson.D{{Key: "d", Value: key}, {Key: "p", Value: token}}, findOne(indexPlan))
}

// dropStaged removes what is staged under a token.
func (s *Store) dropStaged(ctx context.Context, key, token string) error {
	if err := s.removeVersions(ctx, bson.D{{Key: "d", Value: stagedOwner(key, token)}}); err != nil {
		return err
	}
	return remove(ctx, s.db.Collection(collStagings), bson.D{{Key: "_id", Value: token}, {Key: "d", Value: key}})
}

// flush stages the changes that wait.
func (p *staging) flush() error {
	if len(p.changes) == 0 {
		return nil
	}
	var ids []string
	for _, ch := range p.changes {
		if ch.base != 0 {
			ids = append(ids, ch.id)
		}
	}
	before := found{}
	if err := p.c.s.ofIDs(p.c.ctx, p.entity, at(p.c.key, p.plan.Base), ids, before.add); err != nil {
		return err
	}
	docs := make([]version, 0, len(p.changes))
	for _, ch := range p.changes {
		old, ok := before[ch.id]
		if ch.base != 0 && !ok {
			return fmt.Errorf("%s of revision %d: %w", record.EntityName(p.entity), p.plan.Base, store.ErrRevisionGone)
		}
		doc, err := p.staged(ch, old)
		if err != nil {
			return err
		}
		docs = append(docs, doc)
	}
	p.changes, p.bytes = p.changes[:0], 0
	if err := p.c.s.insertVersions(p.c.ctx, p.entity, docs); err != nil {
		return err
	}
	return p.catchUp()
}

// catchUp fails if the base is no longer there, and blanks in what is staged
// those persons who were erased since it was done before: a removal copies what
// was read of a person.
func (p *staging) catchUp() error {
	st, err := p.c.state()
	if err == nil && p.plan.Base < st.Floor {
		err = gone(p.c.id, p.plan.Base, st.Floor)
	}
	if err != nil || st.N == p.seen {
		return err
	}
	erasures, err := all[entry](p.c.ctx, p.c.s.db.Collection(collLog), bson.D{
		{Key: "d", Value: p.c.key}, {Key: "n", Value: bson.D{{Key: "$gt", Value: p.seen}}}, {Key: "k", Value: kindForget},
	}, find(indexNumber))
	if err != nil {
		return err
	}
	for _, e := range erasures {
		if err := p.c.blank([]string{p.owner}, e.Record); err != nil {
			return err
		}
	}
	p.seen = st.N
	return nil
}

func (p *staging) staged(ch change, old version) (version, error) {
	rec, body, err := p.after(&ch, old)
	if err != nil {
		return version{}, err
	}
	facts := search.FactsOf(rec)
	kind := store.Updated
	switch {
	case ch.base == 0, ch.was && !facts.Tombstone:
		kind = store.Created
	case !ch.was && facts.Tombstone:
		kind = store.Removed
	}
	countKind(&p.counts, kind)
	// The schools of what an empty district gets depend on records that are
	// still to come, see finish.
	var schools []string
	if p.plan.Base > 0 || !search.Derives(p.entity) {
		schools = p.countSchools(kind, append(old.values(fieldPrefix(search.FieldSchool)), facts.Schools...))
	}
	if err := p.tell(ch, kind, old, facts, schools); err != nil {
		return version{}, err
	}
	v := version{
		ID: versionID(p.owner, 0, ch.id), Owner: p.owner, Record: ch.id, To: live,
		Since: ch.base, Kind: kind, Tombstone: facts.Tombstone,
		Hash: ch.hash[:], Body: body, Terms: ownTerms(p.entity, facts), Schools: schools, Erased: ch.body == nil && old.Erased,
	}
	if v.size() > recordBytes {
		return v, fmt.Errorf("%s %q takes %d bytes with all that it is found by, at most %d can be kept: %w",
			record.EntityName(p.entity), ch.id, v.size(), recordBytes, store.ErrInvalid)
	}
	return v, nil
}

// tell has a change counted for the signals of the plan.
func (p *staging) tell(ch change, kind store.Kind, old version, now search.Facts, schools []string) error {
	c := signals.Change{Entity: p.entity, ID: ch.id, Kind: kind, Is: now, IsHash: ch.hash, Schools: schools}
	copy(c.WasHash[:], old.Hash)
	if p.plan.Base == 0 {
		p.signals.Digest(p.entity, ch.id, kind, c.WasHash, c.IsHash)
		if signals.Crowded(now) {
			p.crowded[ch.id] = true
		}
		return nil
	}
	if ch.base != 0 {
		rec, err := old.decode(p.entity)
		if err != nil {
			return err
		}
		c.Was = search.FactsOf(rec)
	}
	p.signals.Add(c)
	return nil
}

// after returns the record that a change leads to, with its encoding.
func (p *staging) after(ch *change, old version) (*typev1.Record, []byte, error) {
	if ch.body != nil {
		rec, err := search.Decode(p.entity, ch.id, ch.body)
		return rec, ch.body, err
	}
	rec, err := old.decode(p.entity)
	if err != nil {
		return nil, nil, err
	}
	record.SetStatus(rec, record.StatusToBeDeleted)
	record.SetDateLastModified(rec, "")
	ch.hash = record.HashOf(rec)
	body, err := proto.Marshal(rec)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a removal among %s: %w", record.EntityName(p.entity), err)
	}
	return rec, body, nil
}

// countSchools counts a change of several schools in each, and returns each once.
func (p *staging) countSchools(kind store.Kind, schools []string) []string {
	slices.Sort(schools)
	schools = slices.Compact(schools)
	for _, school := range schools {
		per := p.plan.Schools[school]
		if per == nil {
			per = map[store.Entity]store.Counts{}
			p.plan.Schools[school] = per
		}
		n := per[p.entity]
		countKind(&n, kind)
		per[p.entity] = n
	}
	return schools
}

func countKind(c *store.Counts, k store.Kind) {
	switch k {
	case store.Created:
		c.Created++
	case store.Updated:
		c.Updated++
	case store.Removed:
		c.Removed++
	}
}

// finish inserts the plan, which makes it complete.
func (p *staging) finish() (*store.Plan, error) {
	if p.plan.Base == 0 {
		if err := p.derive(); err != nil {
			return nil, err
		}
	}
	if err := p.catchUp(); err != nil {
		return nil, err
	}
	if err := p.signals.Finish(p.c.ctx, baseOf{p.c, p.plan.Base}, &p.plan); err != nil {
		return nil, err
	}
	text, err := json.Marshal(p.plan)
	if err != nil {
		return nil, err
	}
	doc := planDoc{ID: planKey(p.c.key, p.plan.ID), Owner: p.c.key, Token: p.token, Plan: text, Undo: p.undo}
	first, err := insert(p.c.ctx, p.c.s.db.Collection(collPlans), doc)
	if err != nil {
		return nil, err
	}
	if first {
		// An erasure that comes later than this look removes the plan itself.
		if _, err := p.c.state(); err != nil {
			return nil, errors.Join(err, remove(p.c.ctx, p.c.s.db.Collection(collPlans), p.c.byID(doc.ID)))
		}
		return &p.plan, nil
	}
	// Another process has finished the same plan.
	if err := p.c.s.dropStaged(p.c.ctx, p.c.key, p.token); err != nil {
		return nil, err
	}
	plan, _, _, err := p.c.plan(p.plan.ID)
	if err == nil && plan == nil {
		err = store.ErrPlanBusy // and has discarded it
	}
	return plan, err
}

// derive gives what is staged for an empty district all its terms: there is
// nothing else that they could follow from.
func (p *staging) derive() error {
	d := &deriver{s: p.c.s, owner: p.owner}
	for _, e := range []store.Entity{courses, users, demographics} {
		p.entity = e
		for batch, err := range p.c.s.batches(p.c.ctx, e, at(p.owner, 0), "", "b", "h") {
			if err != nil {
				return err
			}
			if err := d.refresh(p.c.ctx, e, idsOf(batch), func(v version) {
				schools := p.countSchools(store.Created, v.values(fieldPrefix(search.FieldSchool)))
				if e == users && p.crowded[v.Record] {
					p.signals.Crowded(schools)
				}
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

func idsOf(batch []version) []string {
	ids := make([]string, 0, len(batch))
	for _, v := range batch {
		ids = append(ids, v.Record)
	}
	return ids
}
