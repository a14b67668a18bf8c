package pebblestore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// The keyspaces of one district. Live state is apart from history, so that a
// long history slows neither reads of the head nor the comparing pass. Ids and
// values are arbitrary bytes; where something follows them they are escaped so
// that keys still sort like their parts.
const (
	spaceMeta     = 'M' // name → small values, see district.go
	spaceRevision = 'R' // rev → revisionDoc
	spaceTime     = 'T' // rev → commit time; kept when the revision is pruned
	spacePending  = 'Q' // rev → nothing; until the revision is announced
	spacePlan     = 'P' // plan → planDoc
	spaceStaged   = 'S' // plan, entity, id → staged change

	spaceLive  = 'L' // entity, id → from, flags, body
	spaceHash  = 'H' // entity, id → from, flags, hash: all the comparing pass reads
	spaceTerms = 'D' // entity, id → terms that follow from other records
	spaceEnrol = 'E' // entity, id → schools that enrollments give a user, classes a course, with counts

	spaceSchool = 'A' // orgs, school → population

	spaceOld      = 'V' // entity, id, from → to, flags, body: superseded versions
	spaceChange   = 'C' // rev, entity, id → kind
	spaceOldTerms = 'W' // entity, id, to → superseded terms of spaceTerms
	spaceTermsLog = 'X' // rev, entity, id → nothing: who has a new entry in spaceOldTerms

	spaceIndex = 'I' // entity, field, value, first id → block of ids
	spaceCount = 'K' // entity, field, value → length of a list that has more than one block
)

// escape appends s so that what follows it does not disturb the order.
func escape[T string | []byte](b []byte, s T) []byte {
	for i := range len(s) {
		b = append(b, s[i])
		if s[i] == 0 {
			b = append(b, 0xff)
		}
	}
	return append(b, 0, 1)
}

// unescape splits an escaped text off b.
func unescape(b []byte) (text, rest []byte, ok bool) {
	end := bytes.Index(b, []byte{0, 1})
	if end < 0 {
		return nil, nil, false
	}
	text = b[:end]
	if bytes.IndexByte(text, 0) >= 0 {
		text = bytes.ReplaceAll(text, []byte{0, 0xff}, []byte{0})
	}
	return text, b[end+2:], true
}

func metaKey(name string) []byte { return append([]byte{spaceMeta}, name...) }

func revisionKey(space byte, rev store.Revision) []byte {
	return binary.BigEndian.AppendUint64([]byte{space}, uint64(rev))
}

func planKey(space byte, id store.PlanID) []byte { return escape([]byte{space}, string(id)) }

// recordKey is for the spaces that hold one value per record.
func recordKey[T string | []byte](space byte, e store.Entity, id T) []byte {
	return append(append(make([]byte, 0, 2+len(id)), space, byte(e)), id...)
}

// recordOf is the inverse of the end of a record key: entity and id.
func recordOf(b []byte) (store.Entity, []byte) { return store.Entity(b[0]), b[1:] }

// versionKey is for the spaces that hold one value per record and revision.
func versionKey[T string | []byte](space byte, e store.Entity, id T, rev store.Revision) []byte {
	b := escape(append(make([]byte, 0, 12+len(id)), space, byte(e)), id)
	return binary.BigEndian.AppendUint64(b, uint64(rev))
}

// logKey is for the spaces that list records per revision.
func logKey[T string | []byte](space byte, rev store.Revision, e store.Entity, id T) []byte {
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, 10+len(id)), space), uint64(rev))
	return append(append(b, byte(e)), id...)
}

func stagedKey[T string | []byte](plan store.PlanID, e store.Entity, id T) []byte {
	return append(append(planKey(spaceStaged, plan), byte(e)), id...)
}

// listKey starts the keys of one list of ids.
func listKey(space byte, e store.Entity, t search.Term) []byte {
	return escape(append(make([]byte, 0, 24+len(t.Value)), space, byte(e), byte(t.Field)), t.Value)
}

// afterKey returns the smallest key greater than all that begin with prefix.
func afterKey(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// next returns the smallest key greater than key.
func next(key []byte) []byte { return append(bytes.Clone(key), 0) }

// flags of a version.
const (
	flagTombstone = 1 << iota
	flagBlankDate // dateLastModified is the commit time of the version
	flagErased    // the person was erased: the body is not that of the hash
)

// appendVersion begins a value of spaceLive and spaceHash with from, one of
// spaceOld with to.
func appendVersion(b []byte, rev store.Revision, flags byte, body []byte) []byte {
	b = binary.AppendUvarint(b, uint64(rev))
	return append(append(b, flags), body...)
}

// revFlags splits what spaceLive, spaceOld and spaceHash values begin with.
func revFlags(b []byte) (rev store.Revision, flags byte, rest []byte, err error) {
	r, n := binary.Uvarint(b)
	if n <= 0 || r > math.MaxInt64 || len(b) == n {
		return 0, 0, nil, fmt.Errorf("damaged value of %d bytes", len(b))
	}
	return store.Revision(r), b[n], b[n+1:], nil
}

// appendTerms and termsOf code the values of spaceTerms and spaceOldTerms.
func appendTerms(b []byte, terms []search.Term) []byte {
	for _, t := range terms {
		b = append(b, byte(t.Field))
		b = binary.AppendUvarint(b, uint64(len(t.Value)))
		b = append(b, t.Value...)
	}
	return b
}

func termsOf(b []byte) ([]search.Term, error) {
	var out []search.Term
	for len(b) > 0 {
		l, n := binary.Uvarint(b[1:])
		if n <= 0 || uint64(len(b)-1-n) < l {
			return nil, fmt.Errorf("damaged terms of %d bytes", len(b))
		}
		end := 1 + n + int(l)
		out = append(out, search.Term{Field: search.Field(b[0]), Value: string(b[1+n : end])})
		b = b[end:]
	}
	return out, nil
}

// appendTally and tallyOf code the values of spaceEnrol: how many records give
// each school.
func appendTally(b []byte, tally map[string]int) []byte {
	for _, s := range slices.Sorted(maps.Keys(tally)) {
		b = binary.AppendUvarint(b, uint64(tally[s]))
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func tallyOf(b []byte) (map[string]int, error) {
	out := map[string]int{}
	for len(b) > 0 {
		c, n := binary.Uvarint(b)
		l, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || uint64(len(b)-n-m) < l {
			return nil, fmt.Errorf("damaged tally of %d bytes", len(b))
		}
		end := n + m + int(l)
		out[string(b[n+m:end])] = int(c)
		b = b[end:]
	}
	return out, nil
}
