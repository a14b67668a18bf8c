package check

import "iter"

// chains keep items in lists by key. An item is taken out without a search.
// Keys and items are small numbers; item 0 is none.
type chains struct{ first, next, prev []uint32 }

func (c *chains) grow(keys, items int) {
	c.first, c.next, c.prev = grown(c.first, keys), grown(c.next, items), grown(c.prev, items)
}

func (c *chains) add(key, item uint32) {
	head := c.first[key]
	c.next[item], c.prev[item] = head, 0
	c.prev[head] = item // item 0 takes what nobody reads
	c.first[key] = item
}

func (c *chains) remove(key, item uint32) {
	if c.first[key] == item {
		c.first[key] = c.next[item]
	} else {
		c.next[c.prev[item]] = c.next[item]
	}
	c.prev[c.next[item]] = c.prev[item]
}

// of yields the items of a key.
func (c *chains) of(key uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for item := c.first[key]; item != 0; item = c.next[item] {
			if !yield(item) {
				return
			}
		}
	}
}

func (c *chains) size() int { return 4 * (cap(c.first) + cap(c.next) + cap(c.prev)) }

// grown lengthens a slice with zero values.
func grown[T any](s []T, n int) []T {
	if len(s) >= n {
		return s
	}
	return append(s, make([]T, n-len(s))...)
}

// rows is a set of row numbers, or all of them.
type rows struct {
	all  uint32 // not 0: all rows below
	bits []uint64
	list []uint32
}

func (r *rows) add(row uint32) {
	if r.all != 0 {
		return
	}
	if need := int(row/64) + 1; need > len(r.bits) {
		r.bits = grown(r.bits, need+need/4)
	}
	if bit := uint64(1) << (row % 64); r.bits[row/64]&bit == 0 {
		r.bits[row/64] |= bit
		r.list = append(r.list, row)
	}
}

func (r *rows) has(row uint32) bool {
	return r.all != 0 || int(row/64) < len(r.bits) && r.bits[row/64]&(1<<(row%64)) != 0
}

func (r *rows) empty() bool { return r.all == 0 && len(r.list) == 0 }

// each yields the rows of the set, also those that are added meanwhile.
func (r *rows) each() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for row := range r.all {
			if !yield(row) {
				return
			}
		}
		for i := 0; i < len(r.list); i++ {
			if !yield(r.list[i]) {
				return
			}
		}
	}
}
