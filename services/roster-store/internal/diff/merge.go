package diff

import (
	"container/heap"
	"iter"

	"github.com/securly/sync/services/roster-store/internal/store"
)

// merge yields the records of several streams by entity and id; of those of one
// record only that of the first stream that has it.
func merge(streams []iter.Seq2[store.Record, error]) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		open := make(cursors, 0, len(streams))
		for i, s := range streams {
			next, stop := iter.Pull2(s)
			defer stop()
			c := &cursor{rank: i, next: next}
			more, err := c.advance()
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			if more {
				open = append(open, c)
			}
		}
		heap.Init(&open)
		for len(open) > 0 {
			top := open[0].at
			if !yield(top, nil) {
				return
			}
			for len(open) > 0 && compare(open[0].at, top) == 0 {
				more, err := open[0].advance()
				if err != nil {
					yield(store.Record{}, err)
					return
				}
				if more {
					heap.Fix(&open, 0)
				} else {
					heap.Pop(&open)
				}
			}
		}
	}
}

// cursor is at a record of a stream.
type cursor struct {
	rank int
	next func() (store.Record, error, bool)
	at   store.Record
}

func (c *cursor) advance() (more bool, err error) {
	c.at, err, more = c.next()
	return more, err
}

type cursors []*cursor

func (c cursors) Len() int      { return len(c) }
func (c cursors) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *cursors) Push(x any)   { *c = append(*c, x.(*cursor)) }

func (c cursors) Less(i, j int) bool {
	if by := compare(c[i].at, c[j].at); by != 0 {
		return by < 0
	}
	return c[i].rank < c[j].rank
}

func (c *cursors) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	*c = (*c)[:last]
	return x
}
