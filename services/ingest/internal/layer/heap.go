package layer

// heap is a binary heap of sorted streams. Unlike container/heap it moves the
// top in place when its stream goes on, which is what a merge does all the time.
type heap[T any] struct {
	items   []T
	compare func(a, b T) int
}

func newHeap[T any](items []T, compare func(a, b T) int) *heap[T] {
	h := &heap[T]{items: items, compare: compare}
	for i := len(items)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
	return h
}

func (h *heap[T]) len() int { return len(h.items) }
func (h *heap[T]) top() T   { return h.items[0] }

// fix restores the order after the top has moved on, or removes it at its end.
func (h *heap[T]) fix(more bool) {
	if !more {
		last := len(h.items) - 1
		h.items[0] = h.items[last]
		h.items = h.items[:last]
	}
	h.down(0)
}

func (h *heap[T]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			return
		}
		if other := child + 1; other < len(h.items) && h.compare(h.items[other], h.items[child]) < 0 {
			child = other
		}
		if h.compare(h.items[i], h.items[child]) <= 0 {
			return
		}
		h.items[i], h.items[child] = h.items[child], h.items[i]
		i = child
	}
}
