package authn

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/resourceid"
)

// Reasons of PermissionDenied.
const (
	ReasonScope   = "SCOPE_MISSING"
	ReasonSchools = "SCHOOL_LIMITED"
	ReasonService = "SERVICE_ONLY"
	ReasonAll     = "ALL_DISTRICTS_ONLY"
)

// public are the services of gRPC itself that anybody may call.
var public = []string{
	"/grpc.health.v1.Health/",
	"/grpc.reflection.v1.ServerReflection/",
	"/grpc.reflection.v1alpha.ServerReflection/",
}

// Method is an RPC of the hub with what it declares.
type Method struct {
	// Name as gRPC has it, "/securly.sync.auth.v1.AuthService/GetMe".
	Name       string
	Descriptor protoreflect.MethodDescriptor
	// Permission is nil if the proto has no option, which is an error.
	Permission *typev1.Permission
}

// Methods returns all RPCs of the hub whose generated code is linked into the
// program, by name.
func Methods() []Method {
	var methods []Method
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "securly.sync.") {
			return true
		}
		for i := range file.Services().Len() {
			for j := range file.Services().Get(i).Methods().Len() {
				methods = append(methods, describe(file.Services().Get(i).Methods().Get(j)))
			}
		}
		return true
	})
	slices.SortFunc(methods, func(a, b Method) int { return strings.Compare(a.Name, b.Name) })
	return methods
}

func describe(d protoreflect.MethodDescriptor) Method {
	m := Method{Name: fmt.Sprintf("/%s/%s", d.Parent().FullName(), d.Name()), Descriptor: d}
	if proto.HasExtension(d.Options(), typev1.E_Permission) {
		m.Permission, _ = proto.GetExtension(d.Options(), typev1.E_Permission).(*typev1.Permission)
	}
	return m
}

// Check says what is wrong with the declaration of a method; a method that
// fails it cannot be called.
func (m Method) Check() error {
	access, scope := m.Permission.GetAccess(), m.Permission.GetScope()
	switch access {
	case typev1.Access_ACCESS_PUBLIC:
		if scope != "" {
			return fmt.Errorf("%s is public, so its scope %q would protect nothing", m.Name, scope)
		}
	case typev1.Access_ACCESS_AUTHENTICATED:
	case typev1.Access_ACCESS_DISTRICT, typev1.Access_ACCESS_ALL_DISTRICTS, typev1.Access_ACCESS_SERVICE:
		if scope == "" {
			return fmt.Errorf("%s declares %s without a scope", m.Name, access)
		}
	default:
		return fmt.Errorf("%s declares no permission: add the option securly.sync.type.v1.permission", m.Name)
	}
	if access == typev1.Access_ACCESS_DISTRICT && districtPath(m.Descriptor.Input()) == nil {
		return fmt.Errorf("%s is for a district, but %s has neither a text field district nor header.district", m.Name, m.Descriptor.Input().FullName())
	}
	return nil
}

// permissions remembers Method by name; the registry does not change.
var permissions sync.Map

// lookup returns the declaration of a method that passes Check.
func lookup(name string) (Method, error) {
	if m, ok := permissions.Load(name); ok {
		return m.(Method), nil
	}
	service, method, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return Method{}, fmt.Errorf("find the permission of %s: %w", name, err)
	}
	rpc, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return Method{}, fmt.Errorf("find the permission of %s: it is no method", name)
	}
	m := describe(rpc)
	if err := m.Check(); err != nil {
		return Method{}, err
	}
	permissions.Store(name, m)
	return m, nil
}

// permit decides all that does not depend on the request.
func (m Method) permit(p Principal) error {
	need := m.Permission
	for scope := range strings.FieldsSeq(need.GetScope()) {
		if !p.HasScope(scope) {
			return errs.Errorf(codes.PermissionDenied, ReasonScope, "needs scope %s", scope).With("scope", scope)
		}
	}
	if len(p.Schools) > 0 && !need.GetSchoolScoped() {
		return errs.New(codes.PermissionDenied, ReasonSchools, "not for callers that are limited to some schools")
	}
	switch need.GetAccess() {
	case typev1.Access_ACCESS_SERVICE:
		if !p.Service {
			return errs.New(codes.PermissionDenied, ReasonService, "only the hub's own services may call this")
		}
	case typev1.Access_ACCESS_ALL_DISTRICTS:
		if !p.SeesAllDistricts() {
			return errs.New(codes.PermissionDenied, ReasonAll, "only callers with access to all districts may call this")
		}
	}
	return nil
}

// CheckDistrictID reports whether id has the form of a district's id.
func CheckDistrictID(id string) error {
	if !resourceid.Valid(id) {
		return errs.Errorf(codes.InvalidArgument, "DISTRICT_INVALID",
			"district %.80q: "+resourceid.Form, id).
			With("field", "district")
	}
	return nil
}

// permitDistrict decides about the district that a request names.
func permitDistrict(p Principal, district string) error {
	if err := CheckDistrictID(district); err != nil {
		return err
	}
	if !p.SeesDistrict(district) {
		return DistrictNotFound(district)
	}
	return nil
}

// districtPath returns the fields that lead to the district of a request:
// district, or header.district for streams of a client. Nil if there is none.
func districtPath(m protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	isText := func(f protoreflect.FieldDescriptor) bool {
		return f != nil && f.Kind() == protoreflect.StringKind && !f.IsList()
	}
	if f := m.Fields().ByName("district"); isText(f) {
		return []protoreflect.FieldDescriptor{f}
	}
	if h := m.Fields().ByName("header"); h != nil && h.Message() != nil && !h.IsList() {
		if f := h.Message().Fields().ByName("district"); isText(f) {
			return []protoreflect.FieldDescriptor{h, f}
		}
	}
	return nil
}

// districtOf returns the district that a request names; empty if it names none.
func districtOf(request any) string {
	msg, ok := request.(proto.Message)
	if !ok {
		return ""
	}
	m := msg.ProtoReflect()
	path := districtPath(m.Descriptor())
	if path == nil {
		return ""
	}
	for _, f := range path[:len(path)-1] {
		m = m.Get(f).Message()
	}
	return m.Get(path[len(path)-1]).String()
}

// authorize is the decision for a call before its request is looked at. The
// returned Method has no Permission when anybody may call it.
func (v *Verifier) authorize(ctx context.Context, name string) (Method, Principal, error) {
	for _, prefix := range public {
		if strings.HasPrefix(name, prefix) {
			return Method{}, Principal{}, nil
		}
	}
	m, err := lookup(name)
	if err != nil {
		return Method{}, Principal{}, err // Internal: our own mistake, logged and not shown.
	}
	if m.Permission.GetAccess() == typev1.Access_ACCESS_PUBLIC {
		return m, Principal{}, nil
	}
	token, err := bearer(ctx)
	if err != nil {
		return Method{}, Principal{}, err
	}
	p, err := v.Verify(ctx, token)
	if err != nil {
		return Method{}, Principal{}, err
	}
	return m, p, m.permit(p)
}
