package merge

import (
	"bytes"
	"iter"

	"github.com/securly/sync/services/ingest/internal/layer"
)

// Changes says what the candidate of one entity becomes when one of the layers
// that it is merged of changes. above are the layers that come before that one,
// below those behind it; the changes come in ascending order of ids. A change
// is valid until the next one.
func Changes(above []iter.Seq2[layer.Entry, error], changes iter.Seq2[layer.Change, error], below []iter.Seq2[layer.Entry, error]) iter.Seq2[layer.Change, error] {
	if len(above)+len(below) == 0 {
		return changes
	}
	return func(yield func(layer.Change, error) bool) {
		var winners, others []*head
		for i, l := range append(append([]iter.Seq2[layer.Entry, error]{}, above...), below...) {
			next, stop := iter.Pull2(l)
			defer stop()
			h := &head{next: next}
			if i < len(above) {
				winners = append(winners, h)
			} else {
				others = append(others, h)
			}
			if err := h.advance(); err != nil {
				yield(layer.Change{}, err)
				return
			}
		}
		for c, err := range changes {
			if err == nil {
				var hidden, instead *head
				if hidden, err = find(winners, c.ID); err == nil && hidden == nil {
					instead, err = find(others, c.ID)
				}
				if hidden != nil {
					continue
				}
				if instead != nil {
					if !c.Was {
						c.Was, c.Before = true, instead.entry
					}
					if !c.Is {
						c.Is, c.After = true, instead.entry
					}
					if c.Before.Hash == c.After.Hash {
						continue
					}
				}
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// find moves all heads to an id and returns the first that has it, nil if none
// does.
func find(heads []*head, id []byte) (*head, error) {
	var first *head
	for _, h := range heads {
		for h.more && bytes.Compare(h.entry.ID, id) < 0 {
			if err := h.advance(); err != nil {
				return nil, err
			}
		}
		if first == nil && h.more && bytes.Equal(h.entry.ID, id) {
			first = h
		}
	}
	return first, nil
}
