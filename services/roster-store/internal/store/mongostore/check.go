package mongostore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// Check implements store.Upkeep. It looks at the head of the moment when it
// begins and ignores what comes later, so commits may go on. What a crash has
// interrupted is no problem: the next writer or Open goes on from there.
//
// It repairs overlaps (the newer version counts), hashes, index entries, counts
// and what is staged for nobody. The rest needs what is not there any more: a
// backup, or the next sync.
func (s *Store) Check(ctx context.Context, id store.DistrictID, repair bool) iter.Seq2[store.Problem, error] {
	return func(yield func(store.Problem, error) bool) {
		c, end, err := s.begin(ctx, id)
		if err != nil {
			yield(store.Problem{}, err)
			return
		}
		defer end()
		k := &check{call: c, repair: repair, tell: yield, made: map[store.Revision]map[store.Entity]store.Counts{}}
		if err := k.run(); err != nil && !errors.Is(err, errEnough) {
			yield(store.Problem{}, c.fail(err, "check"))
		}
	}
}

// errEnough ends a check that nobody listens to any more.
var errEnough = errors.New("enough")

type check struct {
	*call
	repair bool
	tell   func(store.Problem, error) bool

	head  store.Revision
	infos map[store.Revision]revisionInfo
	// made counts the changes that versions stand for.
	made map[store.Revision]map[store.Entity]store.Counts
}

func (k *check) report(invariant string, repaired bool, where string, args ...any) error {
	if !k.tell(store.Problem{Invariant: invariant, Where: fmt.Sprintf(where, args...), Repaired: repaired}, nil) {
		return errEnough
	}
	return nil
}

func (k *check) run() error {
	st, head, err := k.call.head()
	if err != nil {
		return err
	}
	k.head = head
	if err := k.revisions(st); err != nil {
		return err
	}
	if err := k.plans(); err != nil {
		return err
	}
	counted := newSummary(summary{})
	for _, e := range record.Entities() {
		if err := k.newer(e); err != nil {
			return err
		}
		if err := k.chains(e); err != nil {
			return err
		}
		if err := k.live(e, &counted); err != nil {
			return err
		}
	}
	if err := k.counts(counted); err != nil {
		return err
	}
	return k.orphans()
}

// revisions reads what is kept of all revisions.
func (k *check) revisions(st entry) error {
	k.infos = map[store.Revision]revisionInfo{}
	err := each(k.ctx, k.s.db.Collection(collRevisions), bson.D{{Key: "d", Value: k.key}}, func(doc revisionDoc) error {
		var info revisionInfo
		switch {
		case doc.N > st.Rev:
			return k.beyond(doc.N, store.BrokenBeyond, "revision %d", doc.N)
		case json.Unmarshal(doc.Info, &info) == nil && info.Revision == doc.N:
			k.infos[doc.N] = info
		}
		return nil
	}, find(indexNumber))
	if err != nil {
		return err
	}
	for rev := max(st.Floor, 1); rev <= k.head; rev++ {
		if _, ok := k.infos[rev]; !ok {
			if err := k.report(store.BrokenRevision, false, "revision %d", rev); err != nil {
				return err
			}
		}
	}
	return nil
}

// beyond reports what is of a revision that nobody has claimed, nor since.
func (k *check) beyond(rev store.Revision, invariant, where string, args ...any) error {
	st, err := k.state()
	if err != nil || rev <= st.Rev {
		return err
	}
	return k.report(invariant, false, where, args...)
}

// plans looks for the plans of all revisions, and for what is staged for others.
func (k *check) plans() error {
	var open []string
	kept := map[string]bool{}
	if err := each(k.ctx, k.s.db.Collection(collPlans), bson.D{{Key: "d", Value: k.key}}, func(doc planDoc) error {
		kept[doc.ID] = true
		decided, err := k.planEntry(doc.Token)
		if decided == nil {
			open = append(open, doc.ID)
		}
		return err
	}, find(indexPlan).SetProjection(bson.D{{Key: "plan", Value: 0}})); err != nil {
		return err
	}
	st, err := k.state()
	if err != nil {
		return err
	}
	for rev := max(st.Floor, 1); rev <= k.head; rev++ {
		if info, ok := k.infos[rev]; ok && !kept[planKey(k.key, info.Plan)] {
			if err := k.report(store.BrokenPlan, false, "revision %d", rev); err != nil {
				return err
			}
		}
	}
	for _, id := range open {
		if err := k.open(id); err != nil {
			return err
		}
	}
	return nil
}

// open looks whether all that is staged for a plan is there.
func (k *check) open(id string) error {
	doc, err := oneByID[planDoc](k.call, collPlans, id)
	if err != nil || doc == nil {
		return err
	}
	plan, err := doc.decode()
	if err != nil {
		return err
	}
	staged, err := k.countStaged(doc.Token)
	if err != nil || staged == plan.Changes() {
		return err
	}
	// It may have been decided since.
	decided, err := k.planEntry(doc.Token)
	if err != nil || decided != nil {
		return err
	}
	return k.report(store.BrokenLost, false, "plan %q", plan.ID)
}

// newer looks for versions of revisions that nobody has claimed.
func (k *check) newer(e store.Entity) error {
	return each(k.ctx, k.s.versions(e), bson.D{{Key: "d", Value: k.key}, {Key: "f", Value: bson.D{{Key: "$gt", Value: k.head}}}}, func(v version) error {
		return k.beyond(v.From, store.BrokenNewer, "%s %q of revision %d", record.EntityName(e), v.Record, v.From)
	}, find(indexChanges).SetProjection(bson.D{{Key: "id", Value: 1}, {Key: "f", Value: 1}}))
}

// chains looks at how the versions of each record follow each other.
func (k *check) chains(e store.Entity) error {
	after, limit := "", batchCount
	for {
		list, err := all[version](k.ctx, k.s.versions(e), bson.D{
			{Key: "d", Value: k.key}, idAfter(after), {Key: "f", Value: bson.D{{Key: "$lte", Value: k.head}}},
		}, find(indexRecord).SetSort(bson.D{{Key: "id", Value: 1}, {Key: "f", Value: 1}}).SetLimit(int64(limit)).
			SetProjection(bson.D{{Key: "b", Value: 0}, {Key: "t", Value: 0}, {Key: "h", Value: 0}}))
		if err != nil {
			return err
		}
		// What may have been pruned before it was read counts no more.
		st, err := k.state()
		if err != nil {
			return err
		}
		full := len(list) == limit
		if full { // The last record may go on beyond the batch.
			last := list[limit-1].Record
			list = list[:slices.IndexFunc(list, func(v version) bool { return v.Record == last })]
			if len(list) == 0 {
				limit *= 2
				continue
			}
		}
		for len(list) > 0 {
			n := 1
			for n < len(list) && list[n].Record == list[0].Record {
				n++
			}
			after = list[0].Record
			if err := k.chain(e, list[:n], st.Floor); err != nil {
				return err
			}
			list = list[n:]
		}
		if !full {
			return nil
		}
	}
}

func (k *check) chain(e store.Entity, versions []version, floor store.Revision) error {
	versions = slices.DeleteFunc(versions, func(v version) bool { return v.To <= floor })
	for i, v := range versions {
		k.count(e, v)
		next := live
		if i+1 < len(versions) {
			next = versions[i+1].From
		}
		to := v.To
		if to > k.head {
			to = live
		}
		var err error
		switch {
		case to > next:
			var fixed bool
			fixed, err = k.set(e, v, bson.E{Key: "u", Value: v.To}, bson.D{{Key: "u", Value: next}})
			if err == nil {
				err = k.report(store.BrokenOverlap, fixed, "%s %q at revision %d", record.EntityName(e), v.Record, next)
			}
		case to < next && next == live:
			err = k.report(store.BrokenLive, false, "%s %q since revision %d", record.EntityName(e), v.Record, to)
		case to < next:
			err = k.report(store.BrokenGap, false, "%s %q from revision %d to %d", record.EntityName(e), v.Record, to, next)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *check) count(e store.Entity, v version) {
	if v.Kind == 0 {
		return
	}
	per := k.made[v.From]
	if per == nil {
		per = map[store.Entity]store.Counts{}
		k.made[v.From] = per
	}
	n := per[e]
	countKind(&n, v.Kind)
	per[e] = n
}

// set repairs a version if that is asked for and it is still as it was read.
func (k *check) set(e store.Entity, v version, still bson.E, fields bson.D) (bool, error) {
	if !k.repair {
		return false, nil
	}
	done, err := k.s.versions(e).UpdateOne(k.ctx, append(v.itself(), still), bson.D{{Key: "$set", Value: fields}})
	if err != nil {
		return false, fmt.Errorf("repair %s: %w", record.EntityName(e), mongodb.Wordless(err))
	}
	return done.MatchedCount == 1, nil
}

// live compares what is kept beside the bodies of live records with the bodies,
// and counts the records.
func (k *check) live(e store.Entity, counted *summary) error {
	d := &deriver{s: k.s, owner: k.key, rev: k.head}
	for batch, err := range k.s.batches(k.ctx, e, at(k.key, k.head), "") {
		if err == nil {
			err = k.still(k.head)
		}
		if err != nil {
			return err
		}
		derived := map[string][]string{}
		if search.Derives(e) {
			if derived, err = d.derived(k.ctx, e, idsOf(batch)); err != nil {
				return err
			}
		}
		for _, v := range batch {
			rec, err := v.decode(e)
			if err != nil {
				if err := k.report(store.BrokenBody, false, "%s %q", record.EntityName(e), v.Record); err != nil {
					return err
				}
				continue
			}
			facts := search.FactsOf(rec)
			counted.add(e, facts, 1)
			hash := record.HashOf(rec)
			if !v.Erased && !bytes.Equal(v.Hash, hash[:]) {
				if err := k.mend(e, v, store.BrokenHash, bson.D{{Key: "h", Value: hash[:]}}); err != nil {
					return err
				}
			}
			terms := append(ownTerms(e, facts), derived[v.Record]...)
			if v.Tombstone != facts.Tombstone || !sameSet(v.Terms, terms) {
				if err := k.mend(e, v, store.BrokenTerms, bson.D{{Key: "t", Value: terms}, {Key: "x", Value: facts.Tombstone}}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// mend repairs what follows from the body of a version.
func (k *check) mend(e store.Entity, v version, invariant string, fields bson.D) error {
	fixed, err := k.set(e, v, bson.E{Key: "e", Value: bson.D{{Key: "$ne", Value: !v.Erased}}}, fields)
	if err != nil {
		return err
	}
	return k.report(invariant, fixed, "%s %q", record.EntityName(e), v.Record)
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// counts compares what revisions say of themselves with what was counted.
func (k *check) counts(counted summary) error {
	st, err := k.state()
	if err != nil {
		return err
	}
	for rev := max(st.Floor, 1); rev <= k.head; rev++ {
		info, ok := k.infos[rev]
		if !ok {
			continue
		}
		if stated, wrong := correct(info.Counts, k.made[rev]); wrong {
			info.Counts = stated
			if err := k.restate(info, store.BrokenChanges); err != nil {
				return err
			}
		}
		if rev == k.head && !info.summary.equal(counted) {
			info.summary = counted
			if err := k.restate(info, store.BrokenSummary); err != nil {
				return err
			}
		}
	}
	return nil
}

// correct returns counts with the changes that were made. What was received and
// has changed nothing left no trace.
func correct(stated, made map[store.Entity]store.Counts) (_ map[store.Entity]store.Counts, wrong bool) {
	out := map[store.Entity]store.Counts{}
	for _, e := range record.Entities() {
		said, ok := stated[e]
		is := said
		is.Created, is.Updated, is.Removed = made[e].Created, made[e].Updated, made[e].Removed
		wrong = wrong || is != said
		if ok || is != said {
			out[e] = is
		}
	}
	return out, wrong
}

// restate repairs what a revision says of itself. Head that has moved meanwhile
// has built on it: the next check finds that.
func (k *check) restate(info revisionInfo, invariant string) error {
	fixed := false
	if k.repair {
		text, err := json.Marshal(info)
		if err != nil {
			return err
		}
		if _, err = k.s.db.Collection(collRevisions).UpdateOne(k.ctx, k.byID(numbered(k.key, int64(info.Revision))),
			bson.D{{Key: "$set", Value: bson.D{{Key: "info", Value: text}}}}); err != nil {
			return fmt.Errorf("repair revision %d: %w", info.Revision, mongodb.Wordless(err))
		}
		st, err := k.state()
		if err != nil {
			return err
		}
		fixed = invariant != store.BrokenSummary || st.Rev == k.head
	}
	return k.report(invariant, fixed, "revision %d", info.Revision)
}

// orphans looks for what is staged for nobody.
func (k *check) orphans() error {
	for _, e := range record.Entities() {
		for after := stagedOwner(k.key, ""); ; {
			v, err := one[version](k.ctx, k.s.versions(e),
				bson.D{{Key: "d", Value: bson.D{{Key: "$gt", Value: after}, {Key: "$lt", Value: k.key + "\x7f"}}}},
				findOne(indexRecord).SetSort(bson.D{{Key: "d", Value: 1}}).SetProjection(bson.D{{Key: "d", Value: 1}}))
			if err != nil {
				return err
			}
			if v == nil {
				break
			}
			after = v.Owner
			if err := k.orphan(e, v.Owner); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *check) orphan(e store.Entity, owner string) error {
	token := owner[len(stagedOwner(k.key, "")):]
	doc, err := oneByID[stagingDoc](k.call, collStagings, token)
	if err != nil || doc != nil && k.s.now().Sub(doc.At) < stagedFor {
		return err // Being staged, or not dead for long.
	}
	plan, err := k.s.planByToken(k.ctx, k.key, token)
	if err != nil || plan != nil {
		return err
	}
	// It may have been removed since it was found.
	v, err := one[version](k.ctx, k.s.versions(e), bson.D{{Key: "d", Value: owner}},
		findOne(indexRecord).SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil || v == nil {
		return err
	}
	if k.repair {
		if err := k.s.dropStaged(k.ctx, k.key, token); err != nil {
			return err
		}
	}
	return k.report(store.BrokenStaged, k.repair, "%s staged as %s", record.EntityName(e), token)
}
