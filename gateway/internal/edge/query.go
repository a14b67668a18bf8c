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

// strictQuery refuses parameters that a method does not have. Ignoring a mistyped filter would
// answer with everything.
type strictQuery struct{ runtime.DefaultQueryParser }

func (q *strictQuery) Parse(msg proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !hasField(msg.ProtoReflect().Descriptor(), name) {
			return invalidParameter(name, "there is no such parameter here")
		}
		if err := q.DefaultQueryParser.Parse(msg, url.Values{name: values[name]}, filter); err != nil {
			return invalidParameter(name, "%q is not a value for it", values.Get(name))
		}
	}
	return nil
}

func invalidParameter(name, format string, args ...any) error {
	return errs.Errorf(codes.InvalidArgument, "PARAMETER_INVALID", "query parameter %q: %s", name, fmt.Sprintf(format, args...)).
		With("field", name)
}

// hasField follows a dotted name; JSON and proto names are both good.
func hasField(d protoreflect.MessageDescriptor, name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if d == nil {
			return false
		}
		f := d.Fields().ByJSONName(part)
		if f == nil {
			f = d.Fields().ByName(protoreflect.Name(part))
		}
		if f == nil {
			return false
		}
		d = f.Message()
	}
	return true
}
