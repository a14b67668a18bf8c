package edge

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/securly/sync/gateway/internal/problem"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
)

// binding says where the fields of a method's request come from: from the path, from the body, and
// all others from the query.
type binding struct {
	request protoreflect.MessageType
	body    string // a field, "*" for all, "" for none
}

var variable = regexp.MustCompile(`\{(\w+)\}`)

// bindings returns what the protos declare, by method and pattern as runtime.Pattern writes it.
func bindings() (map[string]binding, error) {
	all := map[string]binding{}
	for _, m := range authn.Methods() {
		rule, _ := proto.GetExtension(m.Descriptor.Options(), annotations.E_Http).(*annotations.HttpRule)
		if rule == nil {
			continue
		}
		request, err := protoregistry.GlobalTypes.FindMessageByName(m.Descriptor.Input().FullName())
		if err != nil {
			return nil, fmt.Errorf("find the request of %s: %w", m.Name, err)
		}
		for _, r := range append(rule.GetAdditionalBindings(), rule) {
			var method, path string
			switch p := r.GetPattern().(type) {
			case *annotations.HttpRule_Get:
				method, path = http.MethodGet, p.Get
			case *annotations.HttpRule_Post:
				method, path = http.MethodPost, p.Post
			case *annotations.HttpRule_Put:
				method, path = http.MethodPut, p.Put
			case *annotations.HttpRule_Patch:
				method, path = http.MethodPatch, p.Patch
			case *annotations.HttpRule_Delete:
				method, path = http.MethodDelete, p.Delete
			default:
				return nil, fmt.Errorf("%s: its HTTP method is not known here", m.Name)
			}
			all[method+" "+variable.ReplaceAllString(path, "{$1=*}")] = binding{request, r.GetBody()}
		}
	}
	return all, nil
}

// checked refuses path and query parameters that a method does not have or cannot read, by name. The
// generated routes do not know what an error of ours is, and look at a query only if they use it.
func (a *API) checked(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		if err := a.checkParameters(r, params); err != nil {
			problem.Write(w, r, a.log, err)
			return
		}
		next(w, r, params)
	}
}

func (a *API) checkParameters(r *http.Request, params map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if !utf8.ValidString(params[name]) {
			return errs.Errorf(codes.InvalidArgument, "PARAMETER_INVALID", "%s in the path: it is not UTF-8", name).With("field", name)
		}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errs.New(codes.InvalidArgument, "PARAMETER_INVALID", "the query cannot be read: encode the names and values of its parameters")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !utf8.ValidString(name) {
			return invalidParameter(strings.ToValidUTF8(name, "\uFFFD"), "there is no such parameter here")
		}
		if slices.ContainsFunc(query[name], func(v string) bool { return !utf8.ValidString(v) }) {
			return invalidParameter(name, "it is not UTF-8")
		}
	}
	pattern, _ := runtime.HTTPPattern(r.Context())
	b, ok := a.bindings[r.Method+" "+pattern.String()]
	if !ok {
		return nil // A route of our own, which looks at its query itself.
	}
	request := b.request.New()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		first, _, _ := strings.Cut(name, ".")
		field := fieldOf(request.Descriptor(), first)
		if field == nil || b.body == "*" || b.body == string(field.Name()) {
			return invalidParameter(name, "there is no such parameter here")
		}
		if _, ok := params[string(field.Name())]; ok {
			return invalidParameter(name, "it is in the path already")
		}
	}
	return parseQuery(request.Interface(), query)
}
