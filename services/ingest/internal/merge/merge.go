// Package merge makes the candidate of a district from the layers of its
// sources. It is pure and streams: its memory does not grow with the layers.
//
// A source contributes up to three streams per entity. What it delivers goes to
// Base. A reader of packages that only says something of records that others
// make, of guardians for example, writes layer files of its own for Over (what
// it says wins) or Fill (it fills in what nobody else says) into
// SyncDocument.over and SyncDocument.fill. An entry there is a record like any
// other, or an overlay (layer.Entry.Overlay): a record with the id and only the
// fields that it has to say, which does nothing where no other stream has a
// record of that id. Its status does not count.
package merge

import (
	"bytes"
	"cmp"
	"iter"
	"slices"

	"github.com/securly/sync/services/ingest/internal/layer"
)

// Rank orders streams before the creation of their sources does.
type Rank uint8

// The ranks.
const (
	Over Rank = iota
	Base
	Fill
)

// Stream is what one source says of one entity, in ascending order of ids.
type Stream struct {
	Source  string
	Rank    Rank
	Entries iter.Seq2[layer.Entry, error]
	// Changes are how Entries differ from what they were; nil if they do not.
	// Only the function Changes looks at them.
	Changes iter.Seq2[layer.Change, error]
}

// Layers merges streams of one entity. Of records with the same id each field is
// that of the first stream which has a value for it, by rank and then as the
// streams are given; a record that only one stream has stays as it is. An entry
// is valid until the next one.
func Layers(streams ...Stream) iter.Seq2[layer.Entry, error] {
	if len(streams) == 1 && streams[0].Rank == Base {
		return streams[0].Entries
	}
	return func(yield func(layer.Entry, error) bool) {
		heads, stop := open(streams)
		defer stop()
		var here []piece
		for {
			// Districts have a handful of sources: looking at each is fastest.
			var id []byte
			for _, h := range heads {
				if err := h.start(); err != nil {
					yield(layer.Entry{}, err)
					return
				}
				if h.more && (id == nil || bytes.Compare(h.entry.ID, id) < 0) {
					id = h.entry.ID
				}
			}
			if id == nil {
				return
			}
			here = here[:0]
			for _, h := range heads {
				if h.here = h.more && bytes.Equal(h.entry.ID, id); h.here {
					here = append(here, piece{h.stream, h.entry})
				}
			}
			if e, ok, err := fold(here); err != nil || ok {
				if !yield(e, err) || err != nil {
					return
				}
			}
			for _, h := range heads {
				if !h.here {
					continue
				}
				if err := h.advance(); err != nil {
					yield(layer.Entry{}, err)
					return
				}
			}
		}
	}
}

// head is a stream and where it stands.
type head struct {
	stream  *Stream
	next    func() (layer.Entry, error, bool)
	entry   layer.Entry
	more    bool
	here    bool // it has the id that is looked at
	started bool
}

// open returns a head for each stream, in their order; none has been read from.
func open(streams []Stream) (heads []*head, stop func()) {
	var stops []func()
	for i := range streams {
		next, stop := iter.Pull2(streams[i].Entries)
		heads, stops = append(heads, &head{stream: &streams[i], next: next}), append(stops, stop)
	}
	slices.SortStableFunc(heads, func(a, b *head) int { return cmp.Compare(a.stream.Rank, b.stream.Rank) })
	return heads, func() {
		for _, stop := range stops {
			stop()
		}
	}
}

func (h *head) start() error {
	if h.started {
		return nil
	}
	return h.advance()
}

func (h *head) advance() error {
	h.started = true
	var err error
	h.entry, err, h.more = h.next()
	return err
}

// find moves to an id and tells whether it is there.
func (h *head) find(id []byte) (bool, error) {
	if err := h.start(); err != nil {
		return false, err
	}
	for h.more && bytes.Compare(h.entry.ID, id) < 0 {
		if err := h.advance(); err != nil {
			return false, err
		}
	}
	return h.more && bytes.Equal(h.entry.ID, id), nil
}
