package record_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// Every reference of a record is yielded, whatever fields come later.
func TestReferencesAreComplete(t *testing.T) {
	for entity, r := range full(t) {
		want := map[string]bool{}
		refs(r.ProtoReflect(), want)
		if d := r.GetDemographics(); d != nil {
			want[d.GetSourcedId()] = true
		}
		got := map[string]bool{}
		for e, id := range record.References(r) {
			require.NotEmpty(t, record.EntityName(e))
			got[id] = true
		}
		require.Equal(t, want, got, record.EntityName(entity))
	}
}

// refs collects what Ref and Relationship fields hold but for references to
// what is no record.
func refs(m protoreflect.Message, into map[string]bool) {
	switch v := m.Interface().(type) {
	case *typev1.Ref:
		into[v.GetSourcedId()] = true
	case *typev1.Relationship:
		into[v.GetSourcedId()] = true
	default:
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch {
			case f.Message() == nil || f.IsMap() || f.Name() == "user_profile":
			case f.IsList():
				for i := range v.List().Len() {
					refs(v.List().Get(i).Message(), into)
				}
			default:
				refs(v.Message(), into)
			}
			return true
		})
	}
}

func TestReferences(t *testing.T) {
	enrollment := &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
		User: &typev1.Ref{SourcedId: "u"}, Class: &typev1.Ref{}, School: &typev1.Ref{SourcedId: "s"},
	}}}
	var got []string
	for e, id := range record.References(enrollment) {
		got = append(got, fmt.Sprint(record.EntityName(e), " ", id))
	}
	require.Equal(t, []string{"users u", "orgs s"}, got, "empty ones are left out")
	for range record.References(enrollment) {
		break // the rest is not asked for
	}
	for range record.References(&typev1.Record{}) {
		t.Fatal("an empty record refers to nothing")
	}
}
