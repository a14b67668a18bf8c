package mongostore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/securly/sync/services/roster-store/internal/store"
)

// OpenDistrict implements store.Store.
func (s *Store) OpenDistrict(ctx context.Context, id store.DistrictID) error {
	if err := store.CheckDistrict(id); err != nil {
		return err
	}
	ctx, end := s.until(ctx)
	defer end()
	if err := s.openDistrict(ctx, id); err != nil {
		return fmt.Errorf("open district %s: %w", id, s.failed(ctx, err))
	}
	return nil
}

func (s *Store) openDistrict(ctx context.Context, id store.DistrictID) error {
	for {
		old, err := s.district(ctx, id)
		if err != nil {
			return err
		}
		if old != nil {
			c := &call{s: s, id: id, key: old.Key, ctx: ctx}
			if _, err := c.state(); err == nil || !errors.Is(err, store.ErrDistrictUnknown) {
				return err
			}
			// Being erased: that comes first.
			if err := s.erase(ctx, *old); err != nil {
				return err
			}
		}
		// The log comes first: a district that can be looked up has a state.
		doc := districtDoc{Name: id, Key: fmt.Sprintf("%s.%s", id, rand.Text()[:12])}
		if _, err := insert(ctx, s.db.Collection(collLog), entry{ID: numbered(doc.Key, 0), Owner: doc.Key, Kind: kindOpen}); err != nil {
			return err
		}
		first, err := insert(ctx, s.db.Collection(collDistricts), doc)
		if err != nil || first {
			return err
		}
		// Someone else was faster.
		if err := remove(ctx, s.db.Collection(collLog), bson.D{{Key: "d", Value: doc.Key}}); err != nil {
			return err
		}
	}
}

// district looks a district up, nil if there is none.
func (s *Store) district(ctx context.Context, id store.DistrictID) (*districtDoc, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return one[districtDoc](ctx, s.db.Collection(collDistricts), bson.D{{Key: "_id", Value: id}})
}

// Districts implements store.Store.
func (s *Store) Districts(ctx context.Context) iter.Seq2[store.DistrictID, error] {
	return func(yield func(store.DistrictID, error) bool) {
		ctx, end := s.until(ctx)
		defer end()
		for after := store.DistrictID(""); ; {
			list, err := all[districtDoc](ctx, s.db.Collection(collDistricts), bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}},
				options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(batchCount))
			erased := map[string]bool{}
			if err == nil {
				erased, err = s.erasedKeys(ctx)
			}
			if err != nil {
				yield("", fmt.Errorf("list districts: %w", s.failed(ctx, err)))
				return
			}
			for _, doc := range list {
				if after = doc.Name; !erased[doc.Key] && !yield(doc.Name, nil) {
					return
				}
			}
			if len(list) < batchCount {
				return
			}
		}
	}
}

// erasedDoc remembers an erasure, which may be under way.
type erasedDoc struct {
	Key  string           `bson:"_id"`
	Name store.DistrictID `bson:"district"`
	At   time.Time        `bson:"at"`
}

func (s *Store) erasedKeys(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	err := each(ctx, s.db.Collection(collErased), bson.D{}, func(doc erasedDoc) error {
		out[doc.Key] = true
		return nil
	})
	return out, err
}

// EraseDistrict implements store.Store.
func (s *Store) EraseDistrict(ctx context.Context, id store.DistrictID) error {
	if err := store.CheckDistrict(id); err != nil {
		return err
	}
	ctx, end := s.until(ctx)
	defer end()
	doc, err := s.district(ctx, id)
	if err == nil && doc != nil {
		err = s.erase(ctx, *doc)
	}
	if err != nil {
		return fmt.Errorf("erase district %s: %w", id, s.failed(ctx, err))
	}
	return nil
}

// erase first lets nobody in any more, then removes. A crash in between is made
// up for by the next Open, OpenDistrict or EraseDistrict.
func (s *Store) erase(ctx context.Context, doc districtDoc) error {
	if _, err := insert(ctx, s.db.Collection(collErased), erasedDoc{Key: doc.Key, Name: doc.Name, At: s.now()}); err != nil {
		return err
	}
	c := &call{s: s, id: doc.Name, key: doc.Key, ctx: ctx}
	for {
		st, err := c.state()
		if errors.Is(err, store.ErrDistrictUnknown) {
			break
		}
		if err != nil {
			return err
		}
		st.N++
		st.ID, st.Kind, st.Pending = numbered(c.key, st.N), kindErase, false
		if _, err := insert(ctx, s.db.Collection(collLog), st); err != nil {
			return err
		}
	}
	// A commit that is under way here gives up at its next step.
	end, err := c.alone()
	if err != nil {
		return err
	}
	defer end()
	if err := s.removeDistrict(ctx, doc.Key); err != nil {
		return err
	}
	return remove(ctx, s.db.Collection(collDistricts), bson.D{{Key: "_id", Value: doc.Name}, {Key: "key", Value: doc.Key}})
}

// removeDistrict deletes everything under a key, what is staged included, but
// the note that it is erased.
func (s *Store) removeDistrict(ctx context.Context, key string) error {
	owned := bson.D{{Key: "d", Value: bson.D{{Key: "$gte", Value: key}, {Key: "$lt", Value: key + "\x7f"}}}}
	for _, name := range []string{collRevisions, collPlans, collStagings} {
		if err := remove(ctx, s.db.Collection(name), owned); err != nil {
			return err
		}
	}
	if err := s.removeVersions(ctx, owned); err != nil {
		return err
	}
	return remove(ctx, s.db.Collection(collLog), append(owned, bson.E{Key: "k", Value: bson.D{{Key: "$ne", Value: kindErase}}}))
}

const (
	// eraseAgain is how long erased districts are swept: no call that has begun
	// before lasts so long.
	eraseAgain = 7 * 24 * time.Hour
	// stagedFor is when a staging that has no plan is taken for dead.
	stagedFor = 2 * 24 * time.Hour
)

// sweep removes what processes that have died left behind.
func (s *Store) sweep(ctx context.Context) error {
	erased, err := all[erasedDoc](ctx, s.db.Collection(collErased), bson.D{})
	if err != nil {
		return err
	}
	for _, doc := range erased {
		if err := s.erase(ctx, districtDoc{Name: doc.Name, Key: doc.Key}); err != nil {
			return fmt.Errorf("finish erasing district %s: %w", doc.Name, err)
		}
		if s.now().Sub(doc.At) < eraseAgain {
			continue
		}
		err := remove(ctx, s.db.Collection(collLog), bson.D{{Key: "d", Value: doc.Key}})
		if err == nil {
			err = remove(ctx, s.db.Collection(collErased), bson.D{{Key: "_id", Value: doc.Key}})
		}
		if err != nil {
			return err
		}
	}
	if err := s.resume(ctx); err != nil {
		return err
	}
	stagings, err := all[stagingDoc](ctx, s.db.Collection(collStagings), bson.D{})
	if err != nil {
		return err
	}
	for _, doc := range stagings {
		if err := s.sweepStaging(ctx, doc); err != nil {
			return fmt.Errorf("remove dead staging %s: %w", doc.Token, err)
		}
	}
	return nil
}

// resume finishes the erasures of persons and the prunings that were decided.
func (s *Store) resume(ctx context.Context) error {
	pending, err := all[entry](ctx, s.db.Collection(collLog), bson.D{{Key: "pending", Value: true}}, find(indexPending))
	if err != nil {
		return err
	}
	for _, e := range pending {
		c := &call{s: s, key: e.Owner, ctx: ctx}
		if e.Kind == kindForget {
			err = c.forget(e)
		} else {
			err = c.dropPruned(e)
		}
		if err != nil {
			return fmt.Errorf("finish entry %s of the log: %w", e.ID, err)
		}
	}
	return nil
}

// sweepStaging drops a staging that never finished, or whose plan is committed.
func (s *Store) sweepStaging(ctx context.Context, doc stagingDoc) error {
	plan, err := s.planByToken(ctx, doc.Owner, doc.Token)
	if err != nil {
		return err
	}
	if plan == nil {
		if s.now().Sub(doc.At) < stagedFor {
			return nil
		}
		return s.dropStaged(ctx, doc.Owner, doc.Token)
	}
	c := &call{s: s, key: doc.Owner, ctx: ctx}
	decided, err := c.planEntry(doc.Token)
	if err != nil || decided == nil || decided.Kind != kindClaim {
		return err
	}
	if done, err := c.complete(decided.Rev); err != nil || !done {
		return err
	}
	return s.dropStaged(ctx, doc.Owner, doc.Token)
}
