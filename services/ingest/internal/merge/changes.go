package merge

import (
	"bytes"
	"iter"

	"github.com/securly/sync/services/ingest/internal/layer"
)

// Changes says what the candidate of one entity becomes different in when the
// streams with Changes change; they come in ascending order of ids. What a
// record was is not always known: its hash is zero then, and it may be the same
// again. A change is valid until the next one.
func Changes(streams ...Stream) iter.Seq2[layer.Change, error] {
	if len(streams) == 1 && streams[0].Rank == Base && streams[0].Changes != nil {
		return streams[0].Changes
	}
	return func(yield func(layer.Change, error) bool) {
		heads, stop := open(streams)
		defer stop()
		changes := make([]*changing, len(heads)) // nil for streams without any
		for i, h := range heads {
			if h.stream.Changes == nil {
				continue
			}
			next, stop := iter.Pull2(h.stream.Changes)
			defer stop()
			changes[i] = &changing{next: next}
			if err := changes[i].advance(); err != nil {
				yield(layer.Change{}, err)
				return
			}
		}
		for {
			var id []byte
			for _, c := range changes {
				if c != nil && c.more && (id == nil || bytes.Compare(c.change.ID, id) < 0) {
					id = c.change.ID
				}
			}
			if id == nil {
				return
			}
			c, err := change(id, heads, changes)
			if err != nil || (c.Was || c.Is) && !c.Same() {
				if !yield(c, err) || err != nil {
					return
				}
			}
			var moved []*changing
			for _, c := range changes {
				if c != nil && c.more && bytes.Equal(c.change.ID, id) {
					moved = append(moved, c)
				}
			}
			for _, c := range moved {
				if err := c.advance(); err != nil {
					yield(layer.Change{}, err)
					return
				}
			}
		}
	}
}

// changing is where a stream's changes stand.
type changing struct {
	next   func() (layer.Change, error, bool)
	change layer.Change
	more   bool
}

func (c *changing) advance() error {
	var err error
	c.change, err, c.more = c.next()
	return err
}

// change is what becomes of one id.
func change(id []byte, heads []*head, changes []*changing) (layer.Change, error) {
	var was, is []piece
	for i, h := range heads {
		if c := changes[i]; c != nil && c.more && bytes.Equal(c.change.ID, id) {
			if c.change.Was {
				was = append(was, piece{h.stream, c.change.Before})
			}
			if c.change.Is {
				is = append(is, piece{h.stream, c.change.After})
			}
			continue
		}
		here, err := h.find(id)
		if err != nil {
			return layer.Change{}, err
		}
		if here {
			was, is = append(was, piece{h.stream, h.entry}), append(is, piece{h.stream, h.entry})
		}
	}
	out := layer.Change{ID: id, Was: decides(was) >= 0}
	if out.Was && agree(was) {
		out.Before = was[0].entry
		out.Before.Overlay = false
	}
	var err error
	out.After, out.Is, err = fold(is)
	return out, err
}
