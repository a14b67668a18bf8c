package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// indexBuilder makes the lists of one entity of an empty district. It holds
// ids and pairs of small numbers, not keys; when there are too many it writes
// them out as a run and goes on, and the runs are merged at the end. Ids only
// ascend, so the blocks of a list in a later run follow those in an earlier one.
type indexBuilder struct {
	d      *district
	dir    string
	entity store.Entity

	terms [search.Fields]map[string]uint32 // by field
	last  [search.Fields]uint32            // the term each field had last
	names []search.Term
	pairs pairs
	ids   []byte
	ends  []uint32
	// members says of each record of an entity with derived terms what it counts as.
	members []member

	runs [][]string // table files of each run
	// lengths of lists with more than one block.
	lengths map[search.Term]int
	schools map[string]int
}

// posting says that the record with a number has a term.
type posting struct{ term, record uint32 }

// pairs grow without being copied: a large slice would be in memory twice.
type pairs [][]posting

const pairsChunk = 32 << 10

func (p *pairs) add(x posting) {
	last := len(*p) - 1
	if last < 0 || len((*p)[last]) == pairsChunk {
		*p = append(*p, make([]posting, 0, pairsChunk))
		last++
	}
	(*p)[last] = append((*p)[last], x)
}

func newIndexBuilder(d *district, dir string, e store.Entity) *indexBuilder {
	x := &indexBuilder{d: d, dir: dir, entity: e, lengths: map[search.Term]int{}, schools: map[string]int{}}
	for f := range x.terms {
		x.terms[f] = map[string]uint32{}
	}
	return x
}

func (x *indexBuilder) len() int { return len(x.ends) }

func (x *indexBuilder) id(n uint32) []byte {
	start := uint32(0)
	if n > 0 {
		start = x.ends[n-1]
	}
	return x.ids[start:x.ends[n]]
}

// record makes the id the current one and returns its number in this run.
func (x *indexBuilder) record(id string) uint32 {
	x.ids = append(x.ids, id...)
	x.ends = append(x.ends, uint32(len(x.ids)))
	return uint32(len(x.ends) - 1)
}

// term adds a record to the list of a term. The records of a term must ascend.
func (x *indexBuilder) term(n uint32, t search.Term) {
	if t.Field == search.FieldEmail {
		// Hardly ever does one come twice, so it is not looked up; flush puts
		// together what is the same.
		x.names = append(x.names, t)
		x.pairs.add(posting{uint32(len(x.names) - 1), n})
		return
	}
	// Often a field says the same as in the record before.
	k := x.last[t.Field]
	if int(k) >= len(x.names) || x.names[k] != t {
		var ok bool
		if k, ok = x.terms[t.Field][t.Value]; !ok {
			k = uint32(len(x.names))
			x.terms[t.Field][t.Value] = k
			x.names = append(x.names, t)
		}
		x.last[t.Field] = k
	}
	x.pairs.add(posting{k, n})
}

// flush writes a run.
func (x *indexBuilder) flush() error {
	// The pairs are grouped by counting; only the distinct terms are sorted.
	starts := make([]uint32, len(x.names)+1)
	for _, chunk := range x.pairs {
		for _, p := range chunk {
			starts[p.term+1]++
		}
	}
	for i := range x.names {
		starts[i+1] += starts[i]
	}
	records := make([]uint32, starts[len(x.names)])
	fill := slices.Clone(starts[:len(x.names)])
	for _, chunk := range x.pairs {
		for _, p := range chunk {
			records[fill[p.term]] = p.record
			fill[p.term]++
		}
	}
	x.pairs = nil
	order := make([]uint32, len(x.names))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return cmp.Or(compareTerms(x.names[a], x.names[b]), cmp.Compare(a, b))
	})

	out := &series{d: x.d, dir: x.dir, name: fmt.Sprintf("index-%d-run-%d", x.entity, len(x.runs))}
	ids := make([][]byte, 0, blockFill)
	var value []byte
	for len(order) > 0 {
		t, members := x.names[order[0]], records[starts[order[0]]:starts[order[0]+1]]
		for order = order[1:]; len(order) > 0 && x.names[order[0]] == t; order = order[1:] {
			members = append(members[:len(members):len(members)], records[starts[order[0]]:starts[order[0]+1]]...)
		}
		if len(members) > blockFill {
			x.lengths[t] = len(members)
		}
		if t.Field == search.FieldSchool {
			x.schools[t.Value] += len(members)
		}
		prefix := listKey(spaceIndex, x.entity, t)
		for part := range slices.Chunk(members, blockFill) {
			ids = ids[:0]
			for _, n := range part {
				ids = append(ids, x.id(n))
			}
			value = appendBlock(value[:0], ids)
			if err := out.Set(append(prefix[:len(prefix):len(prefix)], ids[0]...), value, nil); err != nil {
				return errors.Join(err, out.close())
			}
		}
	}
	x.runs = append(x.runs, out.paths)
	for _, m := range x.terms {
		clear(m)
	}
	x.names, x.ids, x.ends = x.names[:0], x.ids[:0], x.ends[:0]
	return out.close()
}

// finish writes what is left.
func (x *indexBuilder) finish(ctx context.Context) error {
	if x.len() > 0 {
		if err := x.flush(); err != nil {
			return err
		}
	}
	clear(x.terms[:])
	x.names, x.pairs, x.ids, x.ends, x.members = nil, nil, nil, nil, nil
	if err := x.merge(ctx); err != nil {
		return err
	}
	counts := &series{d: x.d, dir: x.dir, name: fmt.Sprintf("count-%d", x.entity)}
	for _, t := range slices.SortedFunc(maps.Keys(x.lengths), compareTerms) {
		if err := counts.Set(listKey(spaceCount, x.entity, t), binary.AppendUvarint(nil, uint64(x.lengths[t])), nil); err != nil {
			return errors.Join(err, counts.close())
		}
	}
	x.lengths = nil
	return counts.close()
}

func (x *indexBuilder) merge(ctx context.Context) error {
	if len(x.runs) <= 1 {
		return nil
	}
	out := &series{d: x.d, dir: x.dir, name: fmt.Sprintf("index-%d", x.entity)}
	it, err := x.d.readTables(ctx, slices.Concat(x.runs...), nil)
	if err != nil {
		return err
	}
	var list []byte // the beginning of the keys of the list being read
	blocks, length := 0, 0
	clear(x.lengths)
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		n := 0
		if v, err = it.ValueAndErr(); err == nil {
			n, err = blockLen(it)
		}
		if err == nil {
			err = out.Set(it.Key(), v, nil)
		}
		value, rest, _ := unescape(it.Key()[3:])
		if begin := it.Key()[:len(it.Key())-len(rest)]; !bytes.Equal(begin, list) {
			list, blocks, length = append(list[:0], begin...), 0, 0
		}
		if blocks, length = blocks+1, length+n; blocks > 1 {
			x.lengths[search.Term{Field: search.Field(list[2]), Value: string(value)}] = length
		}
	}
	err = errors.Join(err, it.Error(), it.Close(), out.close())
	for _, p := range slices.Concat(x.runs...) {
		err = errors.Join(err, os.Remove(p))
	}
	return err
}

func compareTerms(a, b search.Term) int {
	return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Value, b.Value))
}
