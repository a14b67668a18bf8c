package authn_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	_ "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	_ "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	_ "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
)

func TestEveryMethodDeclaresItsPermission(t *testing.T) {
	methods := authn.Methods()
	require.NotEmpty(t, methods)
	services := map[string]bool{}
	for _, m := range methods {
		require.NoError(t, m.Check())
		services[string(m.Descriptor.Parent().FullName())] = true
	}
	// A service whose generated code is not imported here would not be checked.
	for _, s := range []string{
		"securly.sync.auth.v1.AuthService",
		"securly.sync.ingest.v1.DistrictService",
		"securly.sync.ingest.v1.SourceService",
		"securly.sync.ingest.v1.SyncService",
		"securly.sync.readiness.v1.ReadinessService",
		"securly.sync.roster.v1.RosterService",
	} {
		require.True(t, services[s], "%s is not linked", s)
	}
}

// TestCheck declares a method in each wrong way.
func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		permission *typev1.Permission
		input      string
		problem    string
	}{
		"no option":               {nil, ".x.WithDistrict", "declares no permission"},
		"access not set":          {&typev1.Permission{Scope: "s"}, ".x.WithDistrict", "declares no permission"},
		"public with scope":       {&typev1.Permission{Access: typev1.Access_ACCESS_PUBLIC, Scope: "s"}, ".x.Empty", "protect nothing"},
		"service without scope":   {&typev1.Permission{Access: typev1.Access_ACCESS_SERVICE}, ".x.Empty", "without a scope"},
		"district without field":  {&typev1.Permission{Access: typev1.Access_ACCESS_DISTRICT, Scope: "s"}, ".x.Empty", "neither a text field"},
		"district in a list":      {&typev1.Permission{Access: typev1.Access_ACCESS_DISTRICT, Scope: "s"}, ".x.WithDistricts", "neither a text field"},
		"public":                  {&typev1.Permission{Access: typev1.Access_ACCESS_PUBLIC}, ".x.Empty", ""},
		"authenticated":           {&typev1.Permission{Access: typev1.Access_ACCESS_AUTHENTICATED}, ".x.Empty", ""},
		"authenticated and scope": {&typev1.Permission{Access: typev1.Access_ACCESS_AUTHENTICATED, Scope: "s"}, ".x.Empty", ""},
		"district":                {&typev1.Permission{Access: typev1.Access_ACCESS_DISTRICT, Scope: "s"}, ".x.WithDistrict", ""},
		"district in the header":  {&typev1.Permission{Access: typev1.Access_ACCESS_DISTRICT, Scope: "s"}, ".x.WithHeader", ""},
	} {
		t.Run(name, func(t *testing.T) {
			options := &descriptorpb.MethodOptions{}
			if test.permission != nil {
				proto.SetExtension(options, typev1.E_Permission, test.permission)
			}
			file, err := protodesc.NewFile(exampleFile(options, test.input), nil)
			require.NoError(t, err)
			rpc := file.Services().Get(0).Methods().Get(0)
			err = authn.Method{Name: "/x.S/M", Descriptor: rpc, Permission: test.permission}.Check()
			if test.problem == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.problem)
			}
		})
	}
}

func exampleFile(options *descriptorpb.MethodOptions, input string) *descriptorpb.FileDescriptorProto {
	field := func(name, message string, label descriptorpb.FieldDescriptorProto_Label) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(1), Label: label.Enum(),
			Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
		}
		if message != "" {
			f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(message)
		}
		return f
	}
	const one, many = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	message := func(name string, fields ...*descriptorpb.FieldDescriptorProto) *descriptorpb.DescriptorProto {
		return &descriptorpb.DescriptorProto{Name: proto.String(name), Field: fields}
	}
	return &descriptorpb.FileDescriptorProto{
		Name: proto.String("x.proto"), Package: proto.String("x"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			message("Empty"),
			message("WithDistrict", field("district", "", one)),
			message("WithDistricts", field("district", "", many)),
			message("WithHeader", field("header", ".x.WithDistrict", one)),
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("S"),
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name: proto.String("M"), InputType: proto.String(input), OutputType: proto.String(".x.Empty"), Options: options,
			}},
		}},
	}
}
