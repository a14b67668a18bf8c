package edge

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/securly/sync/services/platform/errs"
)

// parseQuery refuses parameters that a method does not have. Ignoring a mistyped filter would
// answer with everything.
func parseQuery(msg proto.Message, values url.Values) error {
	var parser runtime.DefaultQueryParser
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !hasField(msg.ProtoReflect().Descriptor(), name) {
			return invalidParameter(name, "there is no such parameter here")
		}
		if err := parser.Parse(msg, url.Values{name: values[name]}, utilities.NewDoubleArray(nil)); err != nil {
			return invalidParameter(name, "%q is not a value for it", values.Get(name))
		}
	}
	return nil
}

func invalidParameter(name, format string, args ...any) error {
	return errs.Errorf(codes.InvalidArgument, "PARAMETER_INVALID", "query parameter %q: %s", name, fmt.Sprintf(format, args...)).
		With("field", name)
}

// fieldOf finds a field by its JSON or its proto name.
func fieldOf(d protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if f := d.Fields().ByJSONName(name); f != nil {
		return f
	}
	return d.Fields().ByName(protoreflect.Name(name))
}

// hasField follows a dotted name.
func hasField(d protoreflect.MessageDescriptor, name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if d == nil {
			return false
		}
		f := fieldOf(d, part)
		if f == nil {
			return false
		}
		d = f.Message()
	}
	return true
}
