package mongostore

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// Head implements store.Reads.
func (s *Store) Head(ctx context.Context, id store.DistrictID) (store.RevisionInfo, error) {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return store.RevisionInfo{}, err
	}
	defer end()
	_, rev, err := c.head()
	var info revisionInfo
	if err == nil {
		info, err = c.revision(rev)
	}
	return info.RevisionInfo, c.fail(err, "head")
}

// Revisions implements store.Reads.
func (s *Store) Revisions(ctx context.Context, id store.DistrictID, before store.Revision, limit int) ([]store.RevisionInfo, error) {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return nil, err
	}
	defer end()
	st, err := c.state()
	if err != nil || limit <= 0 {
		return nil, c.fail(err, "revisions")
	}
	numbers := bson.D{{Key: "$gte", Value: st.Floor}}
	if before > 0 {
		numbers = append(numbers, bson.E{Key: "$lt", Value: before})
	}
	var out []store.RevisionInfo
	err = each(c.ctx, s.db.Collection(collRevisions), bson.D{{Key: "d", Value: c.key}, {Key: "n", Value: numbers}}, func(doc revisionDoc) error {
		var info revisionInfo
		if err := json.Unmarshal(doc.Info, &info); err != nil {
			return err
		}
		out = append(out, info.RevisionInfo)
		return nil
	}, find(indexNumber).SetSort(bson.D{{Key: "n", Value: -1}}).SetLimit(int64(limit)))
	return out, c.fail(err, "revisions")
}

// RevisionAt implements store.Reads.
func (s *Store) RevisionAt(ctx context.Context, id store.DistrictID, t time.Time) (store.Revision, error) {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return 0, err
	}
	defer end()
	_, rev, err := c.head()
	if err != nil {
		return 0, c.fail(err, "revision at a time")
	}
	// The log keeps the times of revisions that were pruned.
	found, err := one[entry](c.ctx, s.db.Collection(collLog), bson.D{{Key: "d", Value: c.key}, {Key: "at", Value: bson.D{{Key: "$lte", Value: t}}}},
		findOne(indexNumber).SetSort(bson.D{{Key: "n", Value: -1}}))
	if err != nil || found == nil {
		return 0, c.fail(err, "revision at a time")
	}
	return min(found.Rev, rev), nil
}

// Summary implements store.Reads.
func (s *Store) Summary(ctx context.Context, id store.DistrictID, scope store.Scope) (store.Summary, error) {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return store.Summary{}, err
	}
	defer end()
	st, rev, err := c.head()
	if err != nil {
		return store.Summary{}, c.fail(err, "summary")
	}
	info, err := c.revision(rev)
	if err != nil {
		return store.Summary{}, c.fail(err, "summary")
	}
	out := store.Summary{Head: info.RevisionInfo, Active: info.Active, Total: info.Total, Families: info.Families}
	if !scope.All {
		err = (&view{call: c, rev: rev, scope: scope, state: st}).countScope(&out)
	}
	return out, c.fail(err, "summary")
}

func (v *view) countScope(out *store.Summary) (err error) {
	out.Active, out.Total, out.Families = map[store.Entity]int{}, map[store.Entity]int{}, map[record.Family]int{}
	count := func(q store.Query) int {
		if err != nil {
			return 0
		}
		var n int
		n, err = v.total(q)
		return n
	}
	for _, e := range record.Entities() {
		out.Total[e] = count(store.Query{Entity: e})
		out.Active[e] = count(store.Query{Entity: e, Status: record.StatusActive})
	}
	for _, f := range record.Families() {
		out.Families[f] = count(store.Query{Entity: users, Role: string(f), Status: record.StatusActive})
	}
	return err
}

// Snapshot implements store.Reads.
func (s *Store) Snapshot(d store.DistrictID, rev store.Revision, scope store.Scope) store.Reader {
	return &reader{s: s, id: d, rev: rev, scope: scope}
}

type reader struct {
	s     *Store
	id    store.DistrictID
	rev   store.Revision
	scope store.Scope
}

// view is a reader for the length of one call. The revision is complete when it
// begins; whoever has read must ask still before handing it on.
type view struct {
	*call
	rev   store.Revision
	scope store.Scope
	// state is that of the log when the call began.
	state entry
}

func (r *reader) see(ctx context.Context) (*view, func(), error) {
	c, end, err := r.s.begin(ctx, r.id)
	if err != nil {
		return nil, nil, err
	}
	st, head, err := c.head()
	if err == nil {
		err = checkRevision(r.id, r.rev, head, st.Floor)
	}
	if err != nil {
		end()
		return nil, nil, r.s.failed(ctx, err)
	}
	return &view{call: c, rev: r.rev, scope: r.scope, state: st}, end, nil
}

func checkRevision(d store.DistrictID, rev, head, floor store.Revision) error {
	switch {
	case rev < floor:
		return gone(d, rev, floor)
	case rev > head:
		return fmt.Errorf("revision %d of %s, the newest is %d: %w", rev, d, head, store.ErrRevisionUnknown)
	}
	return nil
}

func (v *version) record(e store.Entity) store.Record {
	return store.Record{Entity: e, ID: v.Record, From: v.Since, Body: v.Body}
}

// Get implements store.Reader.
func (r *reader) Get(ctx context.Context, e store.Entity, id string) (store.Record, error) {
	v, end, err := r.see(ctx)
	if err != nil {
		return store.Record{}, err
	}
	defer end()
	doc, err := v.get(e, id)
	if err != nil {
		return store.Record{}, v.fail(err, "%s", record.EntityName(e))
	}
	return doc.record(e), nil
}

func (v *view) get(e store.Entity, id string) (*version, error) {
	if record.EntityName(e) == "" {
		return nil, fmt.Errorf("entity %d: no such entity: %w", e, store.ErrInvalid)
	}
	doc, err := one[version](v.ctx, v.s.versions(e), append(at(v.key, v.rev), bson.E{Key: "id", Value: id}),
		findOne(indexRecord))
	if err == nil {
		err = v.still(v.rev)
	}
	if err != nil {
		return nil, err
	}
	conditions, err := search.Conditions(store.Query{Entity: e}, v.scope)
	if err != nil {
		return nil, err
	}
	if doc == nil || !search.AllMet(conditions, termsOf(doc.Terms)) {
		return nil, fmt.Errorf("%q: %w", id, store.ErrRecordUnknown)
	}
	return doc, nil
}

// History implements store.Reader.
func (r *reader) History(ctx context.Context, e store.Entity, id string) ([]store.Record, error) {
	v, end, err := r.see(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	out, err := v.history(e, id)
	return out, v.fail(err, "history of %s", record.EntityName(e))
}

func (v *view) history(e store.Entity, id string) ([]store.Record, error) {
	if _, err := v.get(e, id); err != nil {
		return nil, err
	}
	var out []store.Record
	err := each(v.ctx, v.s.versions(e), bson.D{
		{Key: "d", Value: v.key}, {Key: "id", Value: id}, {Key: "f", Value: bson.D{{Key: "$lte", Value: v.rev}}},
	}, func(doc version) error {
		rec := doc.record(e)
		switch n := len(out); {
		case n > 0 && out[n-1].From == rec.From:
			return nil // only the terms differ
		case n > 0:
			rec.To = out[n-1].From
		}
		out = append(out, rec)
		return nil
	}, find(indexRecord).SetSort(bson.D{{Key: "f", Value: -1}}))
	if err != nil {
		return nil, err
	}
	return out, v.still(v.rev)
}

// Scan implements store.Reader.
func (r *reader) Scan(ctx context.Context, after store.Position, entities ...store.Entity) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		v, end, err := r.see(ctx)
		if err != nil {
			yield(store.Record{}, err)
			return
		}
		defer end()
		for _, e := range record.Entities() {
			if e < after.Entity || len(entities) > 0 && !slices.Contains(entities, e) {
				continue
			}
			start := ""
			if e == after.Entity {
				start = after.ID
			}
			filter, err := v.filter(store.Query{Entity: e})
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			for batch, err := range v.s.batches(v.ctx, e, filter, start, "h", "t") {
				if err == nil {
					err = v.still(v.rev)
				}
				if err != nil {
					yield(store.Record{}, v.fail(err, "scan"))
					return
				}
				for _, doc := range batch {
					if !yield(doc.record(e), nil) {
						return
					}
				}
			}
		}
		// What was pruned meanwhile looks like nothing.
		if err := v.still(v.rev); err != nil {
			yield(store.Record{}, v.fail(err, "scan"))
		}
	}
}

// filter selects the versions that match a query, without its position.
func (v *view) filter(q store.Query) (bson.D, error) {
	conditions, err := search.Conditions(q, v.scope)
	if err != nil {
		return nil, err
	}
	out := at(v.key, v.rev)
	if len(conditions) > 0 {
		var parts []bson.D
		for _, c := range conditions {
			parts = append(parts, met(c))
		}
		out = append(out, bson.E{Key: "$and", Value: parts})
	}
	return out, nil
}

// met selects the versions that meet a condition. Each part is one interval of
// terms, which the index answers.
func met(c search.Condition) bson.D {
	if !c.Prefix {
		var terms []string
		for _, f := range c.Fields {
			terms = append(terms, withPrefix(fieldPrefix(f), c.Values)...)
		}
		if len(terms) == 1 {
			return bson.D{{Key: "t", Value: terms[0]}}
		}
		return bson.D{in("t", append([]string{}, terms...))}
	}
	var parts []bson.D
	for _, f := range c.Fields {
		for _, value := range c.Values {
			parts = append(parts, bson.D{{Key: "t", Value: bson.D{{Key: "$regex", Value: beginning(fieldPrefix(f) + value)}}}})
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return bson.D{{Key: "$or", Value: parts}}
}

// beginning is an expression that the server turns into an interval of the
// index. ($elemMatch with two bounds would say the same, but FerretDB does not
// hold it to one element.)
func beginning(text string) string {
	return "^" + strings.ReplaceAll(regexp.QuoteMeta(text), "\x00", `\x00`)
}

// Page implements store.Reader.
func (r *reader) Page(ctx context.Context, q store.Query, after string, limit int) (store.Page, error) {
	v, end, err := r.see(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer end()
	p, err := v.page(q, after, limit)
	if err == nil {
		err = v.still(v.rev)
	}
	if err != nil {
		return store.Page{}, v.fail(err, "page of %s", record.EntityName(q.Entity))
	}
	return p, nil
}

func (v *view) page(q store.Query, after string, limit int) (store.Page, error) {
	var p store.Page
	filter, err := v.filter(q)
	if err != nil {
		return p, err
	}
	if limit > 0 {
		ids := idAfter(after)
		if q.SourcedID != "" {
			ids.Value = append(ids.Value.(bson.D), bson.E{Key: "$eq", Value: q.SourcedID})
		}
		docs, err := all[version](v.ctx, v.s.versions(q.Entity), append(filter[:len(filter):len(filter)], ids),
			find(indexOf(q, filter)).SetSort(bson.D{{Key: "id", Value: 1}}).SetLimit(int64(limit)+1).
				SetProjection(bson.D{{Key: "h", Value: 0}, {Key: "t", Value: 0}}))
		if err != nil {
			return p, err
		}
		if len(docs) > limit {
			docs, p.More = docs[:limit], true
		}
		for _, doc := range docs {
			p.Records = append(p.Records, doc.record(q.Entity))
		}
		if after == "" && !p.More {
			p.Total = len(docs)
			return p, nil
		}
	}
	p.Total, err = v.total(q)
	if limit == 0 {
		p.More = p.Total > 0
	}
	return p, err
}

// indexOf returns the index for a query: a query that names the record needs no
// terms.
func indexOf(q store.Query, filter bson.D) index {
	if q.SourcedID != "" {
		return indexRecord
	}
	return indexFor(filter)
}

// total counts what matches a query; the answer is remembered. A revision does
// not change but by the erasure of a person, so neither does the answer.
func (v *view) total(q store.Query) (int, error) {
	filter, err := v.filter(q)
	if err != nil {
		return 0, err
	}
	if q.SourcedID != "" {
		filter = append(filter, bson.E{Key: "id", Value: q.SourcedID})
	}
	if unfiltered := at(v.key, v.rev); len(filter) == len(unfiltered) {
		info, err := v.revision(v.rev)
		return info.Total[q.Entity], err
	}
	text, err := bson.Marshal(filter)
	if err != nil {
		return 0, err
	}
	key := fmt.Sprint(v.state.Erasures, record.EntityName(q.Entity), string(text))
	if n, ok := v.s.totals.Get(key); ok {
		return n, nil
	}
	n, err := v.s.versions(q.Entity).CountDocuments(v.ctx, filter, options.Count().SetHint(indexOf(q, filter).keys()))
	if err == nil {
		// What prune takes away meanwhile must not be remembered as missing.
		err = v.still(v.rev)
	}
	if err != nil {
		return 0, mongodb.Wordless(err)
	}
	if !v.state.Pending { // else a person is on the way out, but still counted
		v.s.totals.Add(key, int(n))
	}
	return int(n), nil
}
