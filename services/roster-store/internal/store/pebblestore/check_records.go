package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// records looks at all versions, and has all that follows from the live ones
// worked out anew to compare it.
func (k *check) records() (err error) {
	scratch := filepath.Join(k.d.dir, scratchDir)
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(scratch, "")
	if err != nil {
		return err
	}
	b, err := newBulk(k.d, dir, planDoc{Plan: store.Plan{
		Counts: map[store.Entity]store.Counts{}, Schools: map[string]map[store.Entity]store.Counts{},
	}})
	if err != nil {
		return err
	}
	b.derivedOnly = true
	defer func() { err = errors.Join(err, b.close()) }() // removes the folder
	for _, e := range record.Entities() {
		if err := b.begin(e); err != nil {
			return err
		}
		if err := k.entity(b, e); err != nil {
			return err
		}
		if err := b.end(); err != nil {
			return err
		}
	}
	if err := b.writeStaged(); err != nil {
		return err
	}
	if err := k.summary(b.summary); err != nil {
		return err
	}
	return k.derived(dir)
}

// entity walks the live versions, the superseded ones and the hashes of an
// entity side by side; all three are in the order of ids.
func (k *check) entity(b *bulk, e store.Entity) (err error) {
	old, err := k.walk([]byte{spaceOld, byte(e)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.it.Close()) }()
	hashes, err := k.walk([]byte{spaceHash, byte(e)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hashes.it.Close()) }()
	err = k.each(span([]byte{spaceLive, byte(e)}), func(key, value []byte) error {
		id := key[2:]
		if err := k.withoutLive(e, old, hashes, id); err != nil {
			return err
		}
		var hash []byte
		if hashes.ok && bytes.Equal(hashes.id(), id) {
			v, err := hashes.it.ValueAndErr()
			if err != nil {
				return err
			}
			hash = bytes.Clone(v)
			hashes.next()
		}
		from, flags, body, err := revFlags(value)
		if err != nil {
			return k.report(store.BrokenBody, whereRecord(e, id), nil)
		}
		if err := k.chain(e, id, old, from); err != nil {
			return err
		}
		return k.live(b, e, id, from, flags, body, hash)
	})
	if err != nil {
		return err
	}
	return k.withoutLive(e, old, hashes, nil)
}

// walker is an iterator over keys of records, some with a revision at the end.
type walker struct {
	it *pebble.Iterator
	ok bool
}

func (k *check) walk(prefix []byte) (*walker, error) {
	it, err := k.snap.NewIter(span(prefix))
	if err != nil {
		return nil, err
	}
	return &walker{it, it.First()}, nil
}

func (w *walker) next() { w.ok = w.it.Next() }

func (w *walker) id() []byte {
	if key := w.it.Key(); key[0] == spaceHash {
		return key[2:]
	}
	id, _, _ := unescape(w.it.Key()[2:])
	return id
}

// withoutLive reports versions and hashes of records below an id, nil for all.
func (k *check) withoutLive(e store.Entity, old, hashes *walker, id []byte) error {
	for _, w := range []*walker{old, hashes} {
		for ; w.ok && (id == nil || bytes.Compare(w.id(), id) < 0); w.next() {
			var err error
			if w == hashes {
				err = k.report(store.BrokenHash, whereRecord(e, w.id()), k.delete(w.it.Key()))
			} else {
				err = k.report(store.BrokenLive, whereRecord(e, w.id()), nil)
			}
			if err != nil {
				return err
			}
		}
		if err := w.it.Error(); err != nil {
			return err
		}
	}
	return nil
}

// chain checks that each superseded version ends where the next one begins.
func (k *check) chain(e store.Entity, id []byte, old *walker, live store.Revision) error {
	k.brought(e, live)
	var last struct {
		key, value []byte
		to         store.Revision
	}
	follow := func(from store.Revision) error {
		switch {
		case last.key == nil || last.to == from:
			return nil
		case last.to < from:
			return k.report(store.BrokenGap, whereRecord(e, id), nil)
		}
		// The newer version counts.
		_, flags, body, err := revFlags(last.value)
		if err != nil {
			return err
		}
		begin := store.Revision(binary.BigEndian.Uint64(last.key[len(last.key)-8:]))
		if begin >= from {
			return k.report(store.BrokenOverlap, whereRecord(e, id), nil)
		}
		return k.report(store.BrokenOverlap, whereRecord(e, id), k.set(last.key, appendVersion(nil, from, flags, body)))
	}
	for ; old.ok && bytes.Equal(old.id(), id); old.next() {
		key := old.it.Key()
		from := store.Revision(binary.BigEndian.Uint64(key[len(key)-8:]))
		value, err := old.it.ValueAndErr()
		if err != nil {
			return err
		}
		to, _, body, err := revFlags(value)
		if err == nil && to <= k.floor {
			continue // what an interrupted prune has left
		}
		k.brought(e, from)
		if err == nil {
			_, err = search.Decode(e, string(id), body)
		}
		if err != nil {
			if err := k.report(store.BrokenBody, whereRecord(e, id), nil); err != nil {
				return err
			}
			continue
		}
		if err := follow(from); err != nil {
			return err
		}
		last.key, last.value, last.to = bytes.Clone(key), bytes.Clone(value), to
	}
	if live > k.head {
		return k.report(store.BrokenNewer, whereRecord(e, id), nil)
	}
	return follow(live)
}

// brought counts a version for the revision that brought it.
func (k *check) brought(e store.Entity, rev store.Revision) {
	if k.made[rev] == nil {
		k.made[rev] = map[store.Entity]int{}
	}
	k.made[rev][e]++
}

// live checks a live version and its hash, and adds it to what is worked out.
func (k *check) live(b *bulk, e store.Entity, id []byte, from store.Revision, flags byte, body, hash []byte) error {
	body = bytes.Clone(body)
	rec, err := search.Decode(e, string(id), body)
	if err != nil {
		return k.report(store.BrokenBody, whereRecord(e, id), nil)
	}
	facts := search.FactsOf(rec)
	r := bulkRecord{string(id), record.HashOf(rec), body, flagsOf(facts) | flags&flagErased, facts}
	hashFrom, hashFlags, sum, err := revFlags(hash)
	kept := err == nil && len(sum) == record.HashSize
	if kept && flags&flagErased != 0 {
		r.hash = record.Hash(sum) // nothing else knows it any more
	}
	if flags != r.flags || !kept || hashFrom != from || hashFlags != flags || r.hash != record.Hash(sum) {
		if err := k.report(store.BrokenHash, whereRecord(e, id), func() error {
			return errors.Join(
				k.batch.Set(recordKey(spaceLive, e, id), appendVersion(nil, from, r.flags, body), nil),
				k.batch.Set(recordKey(spaceHash, e, id), appendVersion(nil, from, r.flags, r.hash[:]), nil),
			)
		}); err != nil {
			return err
		}
	}
	return b.add(r)
}

// summary compares the counts of the head with those of the records.
func (k *check) summary(want summaryDoc) error {
	var have summaryDoc
	ok, err := getDoc(k.snap, metaKey(metaSummary), &have)
	if err != nil || !ok || !sameCounts(have.Active, want.Active) || !sameCounts(have.Total, want.Total) || !sameCounts(have.Families, want.Families) {
		if err := k.report(store.BrokenSummary, whereRevision(k.head), func() error {
			return setDoc(k.batch, metaKey(metaSummary), want)
		}); err != nil {
			return err
		}
	}
	doc := k.docs[k.head]
	if doc == nil || sameCounts(doc.Total, want.Total) {
		return nil
	}
	return k.report(store.BrokenSummary, whereRevision(k.head), func() error {
		doc.Total = want.Total
		return setDoc(k.batch, revisionKey(spaceRevision, k.head), doc)
	})
}

// sameCounts takes what is missing for 0.
func sameCounts[K comparable](a, b map[K]int) bool {
	for key, n := range a {
		if b[key] != n {
			return false
		}
	}
	for key, n := range b {
		if a[key] != n {
			return false
		}
	}
	return true
}

// changes compares the log of each revision with its counts and its versions.
func (k *check) changes() error {
	for rev := k.first(); rev <= k.head; rev++ {
		doc := k.docs[rev]
		if doc == nil {
			continue
		}
		found := tallies{}
		if doc.Bulk {
			for e, n := range k.made[rev] {
				found[e] = store.Counts{Created: n}
			}
		} else if err := k.each(span(revisionKey(spaceChange, rev)), func(key, value []byte) error {
			e, id := recordOf(key[9:])
			if len(value) == 1 {
				found.count(e, store.Kind(value[0]))
			}
			return k.hasVersion(e, id, rev)
		}); err != nil {
			return err
		}
		complete := true
		for _, e := range record.Entities() {
			if n := found[e]; n.Created+n.Updated+n.Removed != k.made[rev][e] {
				complete = false
				if err := k.report(brokenVersions, whereRevision(rev)+", "+record.EntityName(e), nil); err != nil {
					return err
				}
			}
		}
		if found.equal(doc.Counts) {
			continue
		}
		repair := func() error {
			for _, e := range record.Entities() {
				n := doc.Counts[e]
				n.Created, n.Updated, n.Removed = found[e].Created, found[e].Updated, found[e].Removed
				if n != (store.Counts{}) {
					doc.Counts[e] = n
				}
			}
			return setDoc(k.batch, revisionKey(spaceRevision, rev), doc)
		}
		if !complete || doc.Bulk {
			repair = nil
		}
		if err := k.report(store.BrokenChanges, whereRevision(rev), repair); err != nil {
			return err
		}
	}
	return nil
}

// hasVersion checks that a change of a revision has a version of it.
func (k *check) hasVersion(e store.Entity, id []byte, rev store.Revision) error {
	v, err := get(k.snap, recordKey(spaceLive, e, id))
	if err != nil {
		return err
	}
	if from, _, _, err := revFlags(v); err == nil && from == rev {
		return nil
	}
	if v, err = get(k.snap, versionKey(spaceOld, e, id, rev)); err != nil || v != nil {
		return err
	}
	return k.report(brokenChange, whereRecord(e, id)+", "+whereRevision(rev), nil)
}

// past compares superseded terms with the log that says who has some.
func (k *check) past() error {
	o := span([]byte{spaceTermsLog})
	o.LowerBound = revisionKey(spaceTermsLog, k.floor+1)
	if err := k.each(o, func(key, _ []byte) error {
		rev := store.Revision(binary.BigEndian.Uint64(key[1:]))
		e, id := recordOf(key[9:])
		v, err := get(k.snap, versionKey(spaceOldTerms, e, id, rev))
		if err != nil || v != nil {
			return err
		}
		return k.report(brokenPast, whereRecord(e, id), nil)
	}); err != nil {
		return err
	}
	return k.each(span([]byte{spaceOldTerms}), func(key, _ []byte) error {
		id, rest, ok := unescape(key[2:])
		if !ok || len(rest) != 8 {
			return k.report(brokenPast, record.EntityName(store.Entity(key[1])), nil)
		}
		rev := store.Revision(binary.BigEndian.Uint64(rest))
		if rev <= k.floor {
			return nil
		}
		log := logKey(spaceTermsLog, rev, store.Entity(key[1]), id)
		if there, err := get(k.snap, log); err != nil || there != nil {
			return err
		}
		return k.report(brokenPast, whereRecord(store.Entity(key[1]), id), k.set(log, nil))
	})
}
