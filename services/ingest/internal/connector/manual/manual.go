// Package manual is the connector of records that are entered by hand. Its
// package is the list of entries in the hub itself; here is what an entry may
// say, and what it comes to in the layers of its source.
package manual

import (
	_ "embed" // the description
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/platform/record"
)

//go:embed connector.json
var description []byte

var described = connector.Describe(description)

// Connector is the connector of records that are entered by hand.
type Connector struct{}

// Describe returns its description.
func (Connector) Describe() *connector.Description { return described }

// maxRecord bounds one entry, in bytes.
const maxRecord = 64 << 10

// required are the fields without which a new record is of no use.
var required = map[typev1.Entity][]protoreflect.Name{
	typev1.Entity_ENTITY_ORGS:              {"name", "type"},
	typev1.Entity_ENTITY_ACADEMIC_SESSIONS: {"title", "type", "start_date", "end_date"},
	typev1.Entity_ENTITY_COURSES:           {"title", "org"},
	typev1.Entity_ENTITY_CLASSES:           {"title", "school"},
	typev1.Entity_ENTITY_USERS:             {"given_name", "family_name", "roles"},
	typev1.Entity_ENTITY_ENROLLMENTS:       {"user", "class", "school", "role"},
}

// Check says what is wrong with an entry: in which field, by JSON name, and why.
// It takes out what is not the entry's to say.
func Check(e *ingestv1.ManualEntry) (field string, err error) {
	entity, base := record.Of(e.GetRecord())
	if entity == typev1.Entity_ENTITY_UNSPECIFIED {
		return "record", errors.New("is required: one of org, academicSession, course, class, user, enrollment, demographics")
	}
	switch {
	case base.GetSourcedId() == "":
		return "record.sourcedId", errors.New("is required")
	case len(base.GetSourcedId()) > 255:
		return "record.sourcedId", errors.New("must not be longer than 255 bytes")
	case strings.ContainsFunc(base.GetSourcedId(), unicode.IsControl):
		return "record.sourcedId", errors.New("has characters that cannot be seen")
	case proto.Size(e.GetRecord()) > maxRecord:
		return "record", fmt.Errorf("must not be longer than %d bytes", maxRecord)
	}
	record.SetStatus(e.GetRecord(), record.StatusActive)
	record.SetDateLastModified(e.GetRecord(), "")
	m := body(e.GetRecord())
	fields := m.Descriptor().Fields()
	for _, name := range required[entity] {
		if f := fields.ByName(name); !e.GetCorrection() && !m.Has(f) {
			return "record." + f.JSONName(), errors.New("is required for a record that no source delivers")
		}
	}
	if field, err := checkValues(m); err != nil {
		return "record." + field, err
	}
	if u := e.GetRecord().GetUser(); u != nil && u.PrimaryOrg == nil && len(u.GetRoles()) > 0 {
		u.PrimaryOrg = proto.CloneOf(u.GetRoles()[0].GetOrg())
	}
	slices.Sort(e.SourceWins)
	e.SourceWins = slices.Compact(e.GetSourceWins())
	for _, name := range e.GetSourceWins() {
		if name == "sourcedId" || !isField(fields, name) {
			return "sourceWins", fmt.Errorf("%q is no field of such a record", name)
		}
	}
	return "", nil
}

// checkValues looks at what the readers of packages make sure of.
func checkValues(m protoreflect.Message) (field string, err error) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case strings.HasSuffix(string(f.Name()), "_date"):
			if _, failed := time.Parse(time.DateOnly, v.String()); failed != nil {
				field, err = f.JSONName(), errors.New("is no date; 2026-08-31 would be one")
			}
		case f.Message() != nil && !f.IsMap():
			// Lists of records and references, looked at one by one.
			each := []protoreflect.Message{}
			if f.IsList() {
				for i := range v.List().Len() {
					each = append(each, v.List().Get(i).Message())
				}
			} else {
				each = append(each, v.Message())
			}
			for _, part := range each {
				if id := part.Descriptor().Fields().ByName("sourced_id"); id != nil && !part.Has(id) {
					field, err = f.JSONName(), errors.New("has an entry without a sourcedId")
				} else if inner, failed := checkValues(part); failed != nil {
					field, err = f.JSONName()+"."+inner, failed
				}
			}
		case f.Name() == "role":
			role, known := normalise.Role(v.String())
			if !known {
				field, err = f.JSONName(), errors.New("is no role that the hub knows: student, teacher or guardian would be one")
			}
			m.Set(f, protoreflect.ValueOfString(role))
		}
		return err == nil
	})
	return field, err
}

// isField tells whether there is a field with a JSON name; metadata has a key.
func isField(fields protoreflect.FieldDescriptors, name string) bool {
	name, key, keyed := strings.Cut(name, ".")
	f := fields.ByJSONName(name)
	return f != nil && f.IsMap() == keyed && (key != "") == keyed
}

func body(r *typev1.Record) protoreflect.Message {
	m := r.ProtoReflect()
	return m.Get(m.WhichOneof(m.Descriptor().Oneofs().Get(0))).Message()
}

// Entries are what an entry comes to: what it says before all sources, and what
// it fills in behind them; either may be nil.
func Entries(e *ingestv1.ManualEntry) (over, fill *layer.Entry, err error) {
	wins, fills := proto.CloneOf(e.GetRecord()), proto.CloneOf(e.GetRecord())
	keep(body(wins), e.GetSourceWins(), false)
	keep(body(fills), e.GetSourceWins(), true)
	if over, err = entry(wins, e.GetCorrection()); err != nil {
		return nil, nil, err
	}
	if len(e.GetSourceWins()) > 0 {
		fill, err = entry(fills, true)
	}
	return over, fill, err
}

func entry(r *typev1.Record, overlay bool) (*layer.Entry, error) {
	_, base := record.Of(r)
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode what was entered: %w", err)
	}
	return &layer.Entry{ID: []byte(base.GetSourcedId()), Hash: record.HashOf(r), Overlay: overlay, Body: text}, nil
}

// keep takes out the fields that are among names, or those that are not.
func keep(m protoreflect.Message, names []string, among bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Name() == "sourced_id" || f.Name() == "status":
		case f.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
				if slices.Contains(names, f.JSONName()+"."+k.String()) != among {
					v.Map().Clear(k)
				}
				return true
			})
		case slices.Contains(names, f.JSONName()) != among:
			m.Clear(f)
		}
		return true
	})
}
