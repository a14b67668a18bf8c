package mongostore

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// application writes the versions of one revision: first what the plan states,
// then what follows from it for other records. It holds one batch, and the ids
// of those users and courses whose schools may change.
type application struct {
	c     *call
	claim entry
	gate  func() error
	summary
	// dirty are records whose derived terms are worked out anew, by entity; of
	// users those of their relatives and demographics as well.
	dirty map[store.Entity]map[string]bool
	// alone are users for whose relatives and demographics nothing changes.
	alone map[string]bool
}

func newApplication(c *call, claim entry, base summary) *application {
	a := &application{
		c: c, claim: claim, gate: c.gate(claim.Rev),
		dirty: map[store.Entity]map[string]bool{users: {}, courses: {}, demographics: {}},
		alone: map[string]bool{},
	}
	a.summary = newSummary(base)
	return a
}

// newSummary returns a summary to count on from another one, which may be empty.
func newSummary(base summary) summary {
	s := summary{Active: map[store.Entity]int{}, Total: map[store.Entity]int{}, Families: map[record.Family]int{}}
	maps.Copy(s.Active, base.Active)
	maps.Copy(s.Total, base.Total)
	maps.Copy(s.Families, base.Families)
	return s
}

// equal compares; what is not mentioned is 0.
func (s *summary) equal(other summary) bool {
	return sameCounts(s.Active, other.Active) && sameCounts(s.Total, other.Total) && sameCounts(s.Families, other.Families)
}

func sameCounts[K comparable](a, b map[K]int) bool {
	zero := func(_ K, n int) bool { return n == 0 }
	a, b = maps.Clone(a), maps.Clone(b)
	maps.DeleteFunc(a, zero)
	maps.DeleteFunc(b, zero)
	return maps.Equal(a, b)
}

// add counts a record in (by 1) or out (by -1).
func (s *summary) add(e store.Entity, f search.Facts, by int) {
	s.Total[e] += by
	if f.Tombstone {
		return
	}
	s.Active[e] += by
	for _, family := range f.Families {
		s.Families[family] += by
	}
}

func (a *application) run() error {
	for _, e := range record.Entities() {
		for batch, err := range a.c.staged(e, a.claim.Token) {
			if err != nil {
				return err
			}
			if err := a.gate(); err != nil {
				return err
			}
			if err := a.replace(e, batch); err != nil {
				return err
			}
		}
	}
	if a.first() {
		return nil // What was staged for an empty district has all its terms.
	}
	return a.derive()
}

// first tells whether the revision is the first of the district.
func (a *application) first() bool { return a.claim.Rev == 1 }

// replace inserts the versions that the plan states and closes those before.
func (a *application) replace(e store.Entity, staged []version) error {
	before := found{}
	if !a.first() {
		if err := a.c.s.ofIDs(a.c.ctx, e, at(a.c.key, a.claim.Rev-1), idsOf(staged), before.add); err != nil {
			return err
		}
	}
	docs := make([]version, 0, len(staged))
	var closed []string
	for _, v := range staged {
		rec, err := v.decode(e)
		if err != nil {
			return err
		}
		now := search.FactsOf(rec)
		if !now.Stamped {
			record.SetDateLastModified(rec, a.claim.At.UTC().Format(record.TimeFormat))
			if v.Body, err = proto.Marshal(rec); err != nil {
				return fmt.Errorf("encode one of %s: %w", record.EntityName(e), err)
			}
		}
		a.summary.add(e, now, 1)
		var was search.Facts
		if old, ok := before[v.Record]; ok {
			rec, err := old.decode(e)
			if err != nil {
				return err
			}
			was = search.FactsOf(rec)
			a.summary.add(e, was, -1)
			closed = append(closed, old.ID)
		}
		v.ID, v.Owner = versionID(a.c.key, a.claim.Rev, v.Record), a.c.key
		v.From, v.Since, v.Schools = a.claim.Rev, a.claim.Rev, nil
		if !a.first() {
			v.Terms = ownTerms(e, now)
			a.note(e, v.Record, was, now)
		}
		docs = append(docs, v)
	}
	if err := a.c.s.insertVersions(a.c.ctx, e, docs); err != nil {
		return err
	}
	return a.c.s.closeVersions(a.c.ctx, e, a.c.key, closed, a.claim.Rev)
}

// note remembers whose schools may follow from the change of one record.
func (a *application) note(e store.Entity, id string, was, now search.Facts) {
	switch {
	case e == users && search.SameRelations(was, now):
		a.alone[id] = true
		return
	case search.Derives(e):
		a.dirty[e][id] = true
	}
	for _, f := range []search.Facts{was, now} {
		for _, other := range f.Agents {
			a.dirty[users][other] = true
		}
	}
	if was.Tombstone == now.Tombstone && was.LinkUser == now.LinkUser && was.LinkCourse == now.LinkCourse && slices.Equal(was.Schools, now.Schools) {
		return
	}
	for _, f := range []search.Facts{was, now} {
		if f.LinkUser != "" {
			a.dirty[users][f.LinkUser] = true
		}
		if f.LinkCourse != "" {
			a.dirty[courses][f.LinkCourse] = true
		}
	}
}

// derive works out anew the terms that follow from other records.
func (a *application) derive() error {
	d := &deriver{s: a.c.s, owner: a.c.key, rev: a.claim.Rev}
	// Relatives of a user may inherit its schools, its demographics do.
	direct := slices.Sorted(maps.Keys(a.dirty[users]))
	for ids := range slices.Chunk(direct, idsPerQuery) {
		self := found{}
		if err := d.terms(a.c.ctx, users, ids, self); err != nil {
			return err
		}
		related, err := d.related(a.c.ctx, ids, self)
		if err != nil {
			return err
		}
		for _, list := range related {
			for _, id := range list {
				a.dirty[users][id] = true
			}
		}
	}
	maps.Copy(a.dirty[demographics], a.dirty[users])
	maps.Copy(a.dirty[users], a.alone)
	for _, e := range []store.Entity{courses, users, demographics} {
		for ids := range slices.Chunk(slices.Sorted(maps.Keys(a.dirty[e])), idsPerQuery) {
			if err := a.gate(); err != nil {
				return err
			}
			if err := d.refresh(a.c.ctx, e, ids, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
