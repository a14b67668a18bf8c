// Package merge makes the candidate of a district from the layers of its
// sources. It is pure and streams: its memory does not grow with the layers.
package merge

import (
	"bytes"
	"iter"

	"github.com/securly/sync/services/ingest/internal/layer"
)

// Layers merges layer streams of one entity, each in ascending order of ids,
// into one. Of records with the same id that of the first stream wins. An entry
// is valid until the next one.
func Layers(layers ...iter.Seq2[layer.Entry, error]) iter.Seq2[layer.Entry, error] {
	if len(layers) == 1 {
		return layers[0]
	}
	return func(yield func(layer.Entry, error) bool) {
		heads := make([]*head, len(layers))
		for i, l := range layers {
			next, stop := iter.Pull2(l)
			defer stop()
			heads[i] = &head{next: next}
			if err := heads[i].advance(); err != nil {
				yield(layer.Entry{}, err)
				return
			}
		}
		for {
			// Districts have a handful of sources: looking at each is fastest.
			var first *head
			for _, h := range heads {
				if h.more && (first == nil || bytes.Compare(h.entry.ID, first.entry.ID) < 0) {
					first = h
				}
			}
			if first == nil {
				return
			}
			if !yield(first.entry, nil) {
				return
			}
			for _, h := range heads {
				if h != first && h.more && bytes.Equal(h.entry.ID, first.entry.ID) {
					if err := h.advance(); err != nil {
						yield(layer.Entry{}, err)
						return
					}
				}
			}
			if err := first.advance(); err != nil {
				yield(layer.Entry{}, err)
				return
			}
		}
	}
}

type head struct {
	next  func() (layer.Entry, error, bool)
	entry layer.Entry
	more  bool
}

func (h *head) advance() error {
	var err error
	h.entry, err, h.more = h.next()
	return err
}
