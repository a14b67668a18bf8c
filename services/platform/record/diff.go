package record

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// FieldChange is one top-level field that differs between two versions; the
// values are compact JSON text, empty where the field is absent.
type FieldChange struct {
	Field, Before, After string
}

// Diff compares two versions of a record field by field; either may be nil. The
// fields are in the order of their names. dateLastModified does not count.
func Diff(before, after *typev1.Record) ([]FieldChange, error) {
	b, err := fields(before)
	if err != nil {
		return nil, err
	}
	a, err := fields(after)
	if err != nil {
		return nil, err
	}
	names := map[string]struct{}{}
	for k := range b {
		names[k] = struct{}{}
	}
	for k := range a {
		names[k] = struct{}{}
	}
	delete(names, "dateLastModified")
	var out []FieldChange
	for _, k := range slices.Sorted(maps.Keys(names)) {
		if b[k] != a[k] {
			out = append(out, FieldChange{Field: k, Before: b[k], After: a[k]})
		}
	}
	return out, nil
}

// fields splits a record into its JSON fields.
func fields(r *typev1.Record) (map[string]string, error) {
	if r == nil {
		return nil, nil
	}
	text, err := JSON(r)
	if err != nil {
		return nil, err
	}
	// A round trip through a map also sorts the keys of metadata, so that equal
	// values have equal text.
	var parts map[string]any
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, fmt.Errorf("read record as JSON: %w", err)
	}
	out := make(map[string]string, len(parts))
	for k, v := range parts {
		t, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("write field %s as JSON: %w", k, err)
		}
		out[k] = string(t)
	}
	return out, nil
}

// JSON writes the inner record with OneRoster 1.2 names; fields without a value are absent.
func JSON(r *typev1.Record) ([]byte, error) {
	_, base := Of(r)
	m, ok := base.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("write record as JSON: the record is empty")
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write record as JSON: %w", err)
	}
	return text, nil
}

func sortedKeys(m map[string]string) []string {
	return slices.Sorted(maps.Keys(m))
}
