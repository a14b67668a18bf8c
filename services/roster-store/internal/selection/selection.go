// Package selection makes a plan of chosen changes of another plan, above any
// engine.
package selection

import (
	"context"
	"errors"
	"fmt"
	"iter"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/roster-store/internal/diff"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Choice says what of a plan is wanted.
type Choice struct {
	// WithoutRemovals leaves out removals.
	WithoutRemovals bool
	// Schools, if there are any, leave out what touches another school, and
	// removals that touch none. A school's own record touches it; orgs of
	// another type are no schools.
	Schools []string
}

// Make stages the part of a plan that choice wants as a plan of its own, with
// the id, sync and fence of h. What refers to something that is left out is
// left out too: after the commit no record refers to one that is not there,
// unless it does so now or would after a commit of the whole plan. It may be
// repeated, also after the commit of what it has made.
//
// ErrStale: a chosen record has changed since the first plan was made.
func Make(ctx context.Context, s store.Store, of store.PlanID, h store.PlanHeader, choice Choice) (store.Plan, error) {
	if made, err := s.Plan(ctx, h.District, h.Plan); err == nil && made.Revision > 0 {
		return made, nil
	} else if err != nil && !errors.Is(err, store.ErrPlanUnknown) {
		return store.Plan{}, err
	}
	full, err := s.Plan(ctx, h.District, of)
	if err != nil {
		return store.Plan{}, err
	}
	if full.Revision > 0 {
		return store.Plan{}, fmt.Errorf("choose of plan %q of %s: %w", of, h.District, store.ErrCommitted)
	}
	h.Sync = full.Sync
	p := source{store: s, district: h.District, plan: of}
	var schools map[string]bool
	if len(choice.Schools) > 0 {
		if schools, err = p.schools(ctx); err != nil {
			return store.Plan{}, err
		}
	}
	out, err := leftOut(p.changes(ctx, schools != nil), choice, schools)
	if err != nil {
		return store.Plan{}, err
	}
	chosen := without(p.changes(ctx, false), out)
	made, err := s.Import(ctx, h, diff.Delta(chosen))
	if err != nil {
		return store.Plan{}, err
	}
	if err := p.fresh(ctx, chosen, full.Base, made.Base); err != nil {
		if errors.Is(err, store.ErrStale) {
			err = errors.Join(err, s.Discard(ctx, h.District, h.Plan))
		}
		return store.Plan{}, err
	}
	return made, nil
}

// source is the plan to choose from.
type source struct {
	store    store.Store
	district store.DistrictID
	plan     store.PlanID
}

// pageSize is how many changes are in memory at once.
const pageSize = 500

func (p source) changes(ctx context.Context, schools bool) iter.Seq2[store.Change, error] {
	return p.query(ctx, store.ChangeQuery{Schools: schools, Limit: pageSize})
}

func (p source) query(ctx context.Context, q store.ChangeQuery) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		q := q
		for more := true; more; {
			page, err := p.store.PlanChanges(ctx, p.district, p.plan, q)
			if err != nil {
				yield(store.Change{}, err)
				return
			}
			for _, c := range page.Changes {
				if !yield(c, nil) {
					return
				}
				q.After = store.Position{Entity: c.Entity, ID: c.ID}
			}
			more = page.More
		}
	}
}

// schools are the orgs that are a school, or were or will be one by the plan.
func (p source) schools(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	learn := func(body []byte) error {
		r, err := decode(body)
		if err == nil && r.GetOrg().GetType() == "school" {
			out[r.GetOrg().GetSourcedId()] = true
		}
		return err
	}
	head, err := p.store.Head(ctx, p.district)
	if err != nil {
		return nil, err
	}
	const orgs = typev1.Entity_ENTITY_ORGS
	for r, err := range p.store.Snapshot(p.district, head.Revision, store.Scope{All: true}).Scan(ctx, store.Position{}, orgs) {
		if err == nil {
			err = learn(r.Body)
		}
		if err != nil {
			return nil, err
		}
	}
	for c, err := range p.query(ctx, store.ChangeQuery{Entity: orgs, Limit: pageSize}) {
		if err == nil {
			err = learn(c.After)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fresh fails with ErrStale if a revision between the bases of the two plans
// has touched a chosen record: the second one was compared with it, but a
// person has chosen what the first one showed.
func (p source) fresh(ctx context.Context, chosen iter.Seq2[store.Change, error], base, now store.Revision) error {
	if base >= now {
		return nil
	}
	next, stop := iter.Pull2(chosen)
	defer stop()
	c, err, more := next()
	for r, touchedErr := range diff.Touched(ctx, p.store, p.district, base, now, store.Position{}) {
		if errors.Is(touchedErr, store.ErrRevisionGone) {
			return fmt.Errorf("plan %q of %s is older than the history: %w", p.plan, p.district, store.ErrStale)
		}
		if touchedErr != nil {
			return touchedErr
		}
		for more && err == nil && (c.Entity < r.Entity || c.Entity == r.Entity && c.ID < r.ID) {
			c, err, more = next()
		}
		if err != nil || !more {
			return err
		}
		if c.Entity == r.Entity && c.ID == r.ID {
			return fmt.Errorf("plan %q of %s: a chosen record has changed: %w", p.plan, p.district, store.ErrStale)
		}
	}
	return err
}
