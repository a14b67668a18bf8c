package merge

import (
	"bytes"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// Origin is what one field of a record is from.
type Origin struct {
	// Field is its JSON name: email, metadata.address, agents.<id> for a link and
	// agents.<id>.custody for an attribute that another source has for it.
	Field  string
	Source string
	Rank   Rank
}

// Provenance returns the record that streams make of an id, and which of them
// each of its fields is from; nil if they make none. It reads each stream up to
// the id.
func Provenance(id []byte, streams ...Stream) (*typev1.Record, []Origin, error) {
	heads, stop := open(streams)
	defer stop()
	var here []piece
	for _, h := range heads {
		is, err := h.find(id)
		if err != nil {
			return nil, nil, err
		}
		if is {
			e := h.entry
			e.ID, e.Body = bytes.Clone(e.ID), bytes.Clone(e.Body)
			here = append(here, piece{h.stream, e})
		}
	}
	if decides(here) < 0 {
		return nil, nil, nil
	}
	var from []Origin
	rec, err := folded(here, func(field string, s *Stream) {
		from = append(from, Origin{Field: field, Source: s.Source, Rank: s.Rank})
	})
	return rec, from, err
}
