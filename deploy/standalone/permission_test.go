package standalone_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
)

// verdict is how a call was judged.
type verdict string

const (
	passed          verdict = "passed" // whatever the method then made of the request
	unauthenticated verdict = "unauthenticated"
	denied          verdict = "denied"
	notFound        verdict = "no such district"
)

func judge(err error) verdict {
	var e *errs.Error
	switch {
	case errors.As(err, &e) && e.Code == codes.Unauthenticated && e.Reason == authn.ErrUnauthenticated.Reason:
		return unauthenticated
	case errors.As(err, &e) && e.Code == codes.PermissionDenied:
		return denied
	case errors.Is(err, authn.ErrDistrictNotFound):
		return notFound
	}
	return passed
}

// The golden list of what each method asks for. A new method, or a change of an old one, shows here.
func TestPermissionsAreAsAgreed(t *testing.T) {
	var lines []string
	for _, m := range authn.Methods() {
		require.NoError(t, m.Check())
		line := fmt.Sprintf("%s %s %s", m.Name, strings.TrimPrefix(m.Permission.GetAccess().String(), "ACCESS_"), m.Permission.GetScope())
		if m.Permission.GetSchoolScoped() {
			line += " +schools"
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	const golden = "testdata/permissions.golden"
	text := strings.Join(lines, "\n") + "\n"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile(golden, []byte(text), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), text, "when this is meant: UPDATE_GOLDEN=1 go test ./deploy/standalone")
}

// Every method, called by every kind of caller, about its own district and about another's.
func TestPermissionMatrix(t *testing.T) {
	h := start(t, t.TempDir())
	operator := h.as(t, clientID, clientSecret, "")
	auth := authv1.NewAuthServiceClient(h.conn)
	everything := issuedScopes(t, h)
	client := func(scopes []string, schools ...string) context.Context {
		made, err := auth.CreateClient(operator, &authv1.CreateClientRequest{
			DisplayName: "Matrix", Scopes: scopes, Districts: []string{"mine"}, Schools: schools,
		})
		require.NoError(t, err)
		return h.as(t, made.GetClientId(), made.GetClientSecret(), "")
	}
	secret, err := os.ReadFile(h.DataDir() + "/service-secret")
	require.NoError(t, err)
	service := func(name string) context.Context { return h.as(t, name, strings.TrimSpace(string(secret)), "") }

	type role struct {
		name    string
		ctx     context.Context
		scopes  []string
		all     bool // sees all districts
		schools bool
		service bool
	}
	unrelated := []string{"audit.read"}
	roles := []role{
		{name: "operator", ctx: operator, scopes: everything, all: true},
		{name: "district", ctx: client(everything), scopes: everything},
		{name: "district without scopes", ctx: client(unrelated), scopes: unrelated},
		{name: "school", ctx: client(everything, "s1"), scopes: everything, schools: true},
		{name: "ingest", ctx: service("service:ingest"), scopes: []string{"internal.import", "rosters.read", "readiness.read"}, all: true, service: true},
		{name: "readiness engine", ctx: service("service:readiness-engine"), scopes: []string{"rosters.read", "districts.read", "sources.read"}, all: true, service: true},
		{name: "gateway", ctx: service("service:gateway"), scopes: []string{"internal.sessions"}, all: true, service: true},
		{name: "command line", ctx: service("service:cli"), scopes: []string{"users.manage", "internal.sessions", "internal.operate", "districts.write"}, all: true, service: true},
	}
	// want is what the architecture says (§7), written a second time.
	want := func(p *typev1.Permission, r role, district string) verdict {
		has := true
		for s := range strings.FieldsSeq(p.GetScope()) {
			has = has && slices.Contains(r.scopes, s)
		}
		switch access := p.GetAccess(); {
		case access == typev1.Access_ACCESS_PUBLIC:
			return passed
		case !has, r.schools && !p.GetSchoolScoped():
			return denied
		case access == typev1.Access_ACCESS_SERVICE && !r.service, access == typev1.Access_ACCESS_ALL_DISTRICTS && !r.all:
			return denied
		case access == typev1.Access_ACCESS_DISTRICT && !r.all && district != "mine":
			return notFound
		}
		return passed
	}
	for _, m := range authn.Methods() {
		t.Run(strings.TrimPrefix(m.Name, "/securly.sync."), func(t *testing.T) {
			for _, district := range []string{"mine", "theirs"} {
				anonymous := unauthenticated
				if m.Permission.GetAccess() == typev1.Access_ACCESS_PUBLIC {
					anonymous = passed
				}
				require.Equal(t, anonymous, call(t.Context(), t, h.conn, m, district), "nobody, district %s", district)
				forged := authn.WithToken(t.Context(), "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.")
				require.Equal(t, anonymous, call(forged, t, h.conn, m, district), "forged token, district %s", district)
				for _, r := range roles {
					ensure(operator, roles[4].ctx, t, h.conn, "mine", "theirs")
					require.Equal(t, want(m.Permission, r, district), call(r.ctx, t, h.conn, m, district), "%s, district %s", r.name, district)
				}
			}
		})
	}
}

// issuedScopes returns every scope that a client can have.
func issuedScopes(t *testing.T, h *hub) []string {
	t.Helper()
	me, err := authv1.NewAuthServiceClient(h.conn).GetMe(h.as(t, clientID, clientSecret, ""), &authv1.GetMeRequest{})
	require.NoError(t, err)
	return me.GetScopes()
}

// ensure makes the districts that an earlier call may have deleted, also if only the store's part.
func ensure(operator, ingest context.Context, t *testing.T, conn *grpc.ClientConn, ids ...string) {
	t.Helper()
	for _, id := range ids {
		require.Eventually(t, func() bool {
			_, err := ingestv1.NewDistrictServiceClient(conn).CreateDistrict(operator, &ingestv1.CreateDistrictRequest{
				DistrictId: id, District: &ingestv1.District{DisplayName: id},
			})
			return err == nil || errs.Status(err).Code() == codes.AlreadyExists
		}, 10*time.Second, 5*time.Millisecond)
		_, err := rosterv1.NewRosterServiceClient(conn).OpenDistrict(ingest, &rosterv1.OpenDistrictRequest{District: id})
		require.NoError(t, err)
	}
}

// call calls a method about a district, with nothing else in the request.
func call(ctx context.Context, t *testing.T, conn *grpc.ClientConn, m authn.Method, district string) verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, resp := newMessage(t, m.Descriptor.Input()), newMessage(t, m.Descriptor.Output())
	setDistrict(req.ProtoReflect(), district)
	if !m.Descriptor.IsStreamingClient() && !m.Descriptor.IsStreamingServer() {
		return judge(conn.Invoke(ctx, m.Name, req, resp))
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{
		ClientStreams: m.Descriptor.IsStreamingClient(), ServerStreams: m.Descriptor.IsStreamingServer(),
	}, m.Name)
	if err != nil {
		return judge(err)
	}
	if err := stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return judge(err)
	}
	require.NoError(t, stream.CloseSend())
	return judge(stream.RecvMsg(resp)) // a watch sends something at once, or nothing is wrong
}

func newMessage(t *testing.T, d protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	require.NoError(t, err)
	return kind.New().Interface()
}

func setDistrict(m protoreflect.Message, district string) {
	if f := m.Descriptor().Fields().ByName("district"); f != nil && f.Kind() == protoreflect.StringKind {
		m.Set(f, protoreflect.ValueOfString(district))
	}
	if f := m.Descriptor().Fields().ByName("header"); f != nil {
		setDistrict(m.Mutable(f).Message(), district)
	}
}
