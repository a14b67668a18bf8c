package merge

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/platform/record"
)

// piece is what one stream says of an id.
type piece struct {
	stream *Stream
	entry  layer.Entry
}

// decides returns which of the pieces of an id says whether its record is
// active: the first of Base, or else the first that is no overlay. Overlays alone
// make no record; -1 then.
func decides(pieces []piece) int {
	if i := slices.IndexFunc(pieces, func(p piece) bool { return p.stream.Rank == Base && !p.entry.Overlay }); i >= 0 {
		return i
	}
	return slices.IndexFunc(pieces, func(p piece) bool { return !p.entry.Overlay })
}

// agree tells that all say the same.
func agree(pieces []piece) bool {
	return !slices.ContainsFunc(pieces, func(p piece) bool { return p.entry.Hash != pieces[0].entry.Hash })
}

// fold makes one record of what streams say of an id, in their order. False
// means that there is none.
func fold(pieces []piece) (layer.Entry, bool, error) {
	if decides(pieces) < 0 {
		return layer.Entry{}, false, nil
	}
	e := pieces[0].entry
	if e.Overlay = false; agree(pieces) {
		return e, true, nil
	}
	rec, err := folded(pieces, func(string, *Stream) {})
	if err != nil {
		return layer.Entry{}, false, err
	}
	_, base := record.Of(rec)
	e = layer.Entry{ID: e.ID, Hash: record.HashOf(rec), Deleted: base.GetStatus() == record.StatusToBeDeleted}
	if e.Body, err = (proto.MarshalOptions{Deterministic: true}).Marshal(rec); err != nil {
		return e, false, fmt.Errorf("encode a merged record: %w", err)
	}
	return e, true, nil
}

// folded is the record of an id. It tells took which stream each field is from.
func folded(pieces []piece, took func(field string, from *Stream)) (*typev1.Record, error) {
	var out *typev1.Record
	var into protoreflect.Message
	var kind protoreflect.FieldDescriptor
	deciding, status := decides(pieces), ""
	for i, p := range pieces {
		rec := &typev1.Record{}
		if err := proto.Unmarshal(p.entry.Body, rec); err != nil {
			return nil, fmt.Errorf("%w: %w", layer.ErrDamaged, err)
		}
		m := rec.ProtoReflect()
		of := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
		if of == nil || kind != nil && of != kind {
			return nil, fmt.Errorf("%w: a record of another entity", layer.ErrDamaged)
		}
		if kind == nil {
			out, kind = &typev1.Record{}, of
			into = out.ProtoReflect().Mutable(kind).Message()
		}
		add(into, m.Get(kind).Message(), func(field string) { took(field, p.stream) })
		if i == deciding {
			_, base := record.Of(rec)
			status = base.GetStatus()
			took("status", p.stream)
		}
	}
	record.SetStatus(out, status)
	return out, nil
}

// add takes over what into has no value for: of metadata each key, of agents
// each one and each attribute, all else as a whole.
func add(into, from protoreflect.Message, took func(field string)) {
	from.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Name() == "status":
		case f.Name() == "agents":
			addAgents(into.Mutable(f).List(), v.List(), took)
		case f.IsMap():
			m := into.Mutable(f).Map()
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				if !m.Has(k) {
					m.Set(k, v)
					took(f.JSONName() + "." + k.String())
				}
				return true
			})
		case !into.Has(f):
			into.Set(f, v)
			took(f.JSONName())
		}
		return true
	})
}

func addAgents(into, from protoreflect.List, took func(field string)) {
	known := map[string]protoreflect.Message{}
	id := func(a protoreflect.Message) string { return a.Interface().(*typev1.Relationship).GetSourcedId() }
	for i := range into.Len() {
		known[id(into.Get(i).Message())] = into.Get(i).Message()
	}
	for i := range from.Len() {
		a := from.Get(i).Message()
		there := known[id(a)]
		if there == nil {
			into.Append(from.Get(i))
			known[id(a)] = a
			took("agents." + id(a))
			continue
		}
		add(there, a, func(field string) { took("agents." + id(a) + "." + field) })
	}
}
