package authn_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// hub is one handler of each kind of access. Handlers answer with no error, so
// an error in these tests comes from the interceptor.
type hub struct {
	authv1.UnimplementedAuthServiceServer
	rosterv1.UnimplementedRosterServiceServer
	ingestv1.UnimplementedSourceServiceServer

	caller authn.Principal // Of the last call.
}

func (h *hub) saw(ctx context.Context) { h.caller = authn.FromContext(ctx) }

func (h *hub) GetKeys(ctx context.Context, _ *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	h.saw(ctx)
	return &authv1.GetKeysResponse{}, nil
}

func (h *hub) GetMe(ctx context.Context, _ *authv1.GetMeRequest) (*authv1.Me, error) {
	h.saw(ctx)
	return &authv1.Me{}, nil
}

func (h *hub) ListClients(ctx context.Context, _ *authv1.ListClientsRequest) (*authv1.ListClientsResponse, error) {
	h.saw(ctx)
	return &authv1.ListClientsResponse{}, nil
}

func (h *hub) GetPlan(ctx context.Context, _ *rosterv1.GetPlanRequest) (*rosterv1.Plan, error) {
	h.saw(ctx)
	return &rosterv1.Plan{}, nil
}

func (h *hub) ListRecords(ctx context.Context, _ *rosterv1.ListRecordsRequest) (*rosterv1.ListRecordsResponse, error) {
	h.saw(ctx)
	return &rosterv1.ListRecordsResponse{}, nil
}

func (h *hub) ListRevisions(ctx context.Context, _ *rosterv1.ListRevisionsRequest) (*rosterv1.ListRevisionsResponse, error) {
	h.saw(ctx)
	return &rosterv1.ListRevisionsResponse{}, nil
}

func (h *hub) Export(_ *rosterv1.ExportRequest, stream grpc.ServerStreamingServer[rosterv1.ExportResponse]) error {
	h.saw(stream.Context())
	return nil
}

func (h *hub) Upload(stream grpc.ClientStreamingServer[ingestv1.UploadRequest, ingestv1.UploadResponse]) error {
	h.saw(stream.Context())
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if m.GetEnd() != nil {
			return stream.SendAndClose(&ingestv1.UploadResponse{})
		}
	}
}

func (h *hub) register(r grpc.ServiceRegistrar) {
	authv1.RegisterAuthServiceServer(r, h)
	rosterv1.RegisterRosterServiceServer(r, h)
	ingestv1.RegisterSourceServiceServer(r, h)
}

func upload(ctx context.Context, conn *grpc.ClientConn, messages ...*ingestv1.UploadRequest) error {
	stream, err := ingestv1.NewSourceServiceClient(conn).Upload(ctx)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if stream.Send(m) != nil {
			break // The reason comes with the answer.
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

func uploadHeader(district string) *ingestv1.UploadRequest {
	return &ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_Header{Header: &ingestv1.UploadHeader{District: district}}}
}

func uploadChunk() *ingestv1.UploadRequest {
	return &ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_Chunk{Chunk: []byte("a,b")}}
}

func uploadEnd() *ingestv1.UploadRequest {
	return &ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_End{End: &ingestv1.UploadEnd{}}}
}

// The calls, one for each kind of access and stream.
var (
	public = func(ctx context.Context, c *grpc.ClientConn) error {
		_, err := authv1.NewAuthServiceClient(c).GetKeys(ctx, &authv1.GetKeysRequest{})
		return err
	}
	authenticated = func(ctx context.Context, c *grpc.ClientConn) error {
		_, err := authv1.NewAuthServiceClient(c).GetMe(ctx, &authv1.GetMeRequest{})
		return err
	}
	allDistricts = func(ctx context.Context, c *grpc.ClientConn) error {
		_, err := authv1.NewAuthServiceClient(c).ListClients(ctx, &authv1.ListClientsRequest{})
		return err
	}
	serviceOnly = func(ctx context.Context, c *grpc.ClientConn) error {
		_, err := rosterv1.NewRosterServiceClient(c).GetPlan(ctx, &rosterv1.GetPlanRequest{District: "lakeside"})
		return err
	}
)

func listRecords(district string) func(context.Context, *grpc.ClientConn) error {
	return func(ctx context.Context, c *grpc.ClientConn) error {
		_, err := rosterv1.NewRosterServiceClient(c).ListRecords(ctx, &rosterv1.ListRecordsRequest{District: district})
		return err
	}
}

func listRevisions(district string) func(context.Context, *grpc.ClientConn) error {
	return func(ctx context.Context, c *grpc.ClientConn) error {
		_, err := rosterv1.NewRosterServiceClient(c).ListRevisions(ctx, &rosterv1.ListRevisionsRequest{District: district})
		return err
	}
}

func export(district string) func(context.Context, *grpc.ClientConn) error {
	return func(ctx context.Context, c *grpc.ClientConn) error {
		stream, err := rosterv1.NewRosterServiceClient(c).Export(ctx, &rosterv1.ExportRequest{District: district})
		if err != nil {
			return err
		}
		if _, err = stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
}

func uploadTo(messages ...*ingestv1.UploadRequest) func(context.Context, *grpc.ClientConn) error {
	return func(ctx context.Context, c *grpc.ClientConn) error { return upload(ctx, c, messages...) }
}

func TestPermissions(t *testing.T) {
	h := &hub{}
	conn := testkit.Server(t, h.register)

	nobody := authn.Principal{}
	reader := authn.Principal{Subject: "reader", Districts: []string{"lakeside"}, Scopes: []string{"rosters.read", "syncs.run"}}
	principal := reader // Of a school.
	principal.Schools = []string{"school-1"}
	unscoped := authn.Principal{Subject: "unscoped", Districts: []string{"lakeside"}}
	nowhere := authn.Principal{Subject: "nowhere", Scopes: []string{"rosters.read"}}
	manager := authn.Principal{Subject: "manager", Districts: []string{"lakeside"}, Scopes: []string{"users.manage", "internal.import"}}
	operator, service := testkit.Operator(), testkit.Service()
	weakService := authn.Principal{Subject: "weak", Service: true, Districts: []string{"*"}}

	for name, test := range map[string]struct {
		as     authn.Principal
		call   func(context.Context, *grpc.ClientConn) error
		code   codes.Code
		reason string
	}{
		"public, nobody":              {nobody, public, codes.OK, ""},
		"public, token":               {reader, public, codes.OK, ""},
		"authenticated, nobody":       {nobody, authenticated, codes.Unauthenticated, "TOKEN_INVALID"},
		"authenticated, any token":    {unscoped, authenticated, codes.OK, ""},
		"authenticated, school":       {principal, authenticated, codes.OK, ""},
		"all districts, nobody":       {nobody, allDistricts, codes.Unauthenticated, "TOKEN_INVALID"},
		"all districts, service":      {service, allDistricts, codes.OK, ""},
		"all districts, one district": {manager, allDistricts, codes.PermissionDenied, authn.ReasonAll},
		"all districts, reader":       {reader, allDistricts, codes.PermissionDenied, authn.ReasonScope},
		"all districts, operator":     {operator, allDistricts, codes.OK, ""},
		"service, nobody":             {nobody, serviceOnly, codes.Unauthenticated, "TOKEN_INVALID"},
		"service, scope alone":        {manager, serviceOnly, codes.PermissionDenied, authn.ReasonService},
		"service, operator":           {operator, serviceOnly, codes.PermissionDenied, authn.ReasonScope},
		"service, claim alone":        {weakService, serviceOnly, codes.PermissionDenied, authn.ReasonScope},
		"service, service":            {service, serviceOnly, codes.OK, ""},

		"district, nobody":             {nobody, listRecords("lakeside"), codes.Unauthenticated, "TOKEN_INVALID"},
		"district, own":                {reader, listRecords("lakeside"), codes.OK, ""},
		"district, operator":           {operator, listRecords("lakeside"), codes.OK, ""},
		"district, no scope":           {unscoped, listRecords("lakeside"), codes.PermissionDenied, authn.ReasonScope},
		"district, foreign":            {reader, listRecords("hillside"), codes.NotFound, "DISTRICT_NOT_FOUND"},
		"district, none in token":      {nowhere, listRecords("lakeside"), codes.NotFound, "DISTRICT_NOT_FOUND"},
		"district, foreign, no scope":  {unscoped, listRecords("hillside"), codes.PermissionDenied, authn.ReasonScope},
		"district, missing":            {operator, listRecords(""), codes.InvalidArgument, "DISTRICT_INVALID"},
		"district, all":                {operator, listRecords("*"), codes.InvalidArgument, "DISTRICT_INVALID"},
		"district, upper case":         {operator, listRecords("Lakeside"), codes.InvalidArgument, "DISTRICT_INVALID"},
		"district, path":               {operator, listRecords("../hillside"), codes.InvalidArgument, "DISTRICT_INVALID"},
		"district, line end":           {operator, listRecords("lakeside\n"), codes.InvalidArgument, "DISTRICT_INVALID"},
		"district, begins with hyphen": {operator, listRecords("-lakeside"), codes.InvalidArgument, "DISTRICT_INVALID"},

		"school-limited, scoped method": {principal, listRecords("lakeside"), codes.OK, ""},
		"school-limited, foreign":       {principal, listRecords("hillside"), codes.NotFound, "DISTRICT_NOT_FOUND"},
		"school-limited, whole method":  {principal, listRevisions("lakeside"), codes.PermissionDenied, authn.ReasonSchools},

		"server stream, own":     {reader, export("lakeside"), codes.OK, ""},
		"server stream, foreign": {reader, export("hillside"), codes.NotFound, "DISTRICT_NOT_FOUND"},
		"server stream, nobody":  {nobody, export("lakeside"), codes.Unauthenticated, "TOKEN_INVALID"},

		"client stream, own":           {reader, uploadTo(uploadHeader("lakeside"), uploadChunk(), uploadEnd()), codes.OK, ""},
		"client stream, foreign":       {reader, uploadTo(uploadHeader("hillside"), uploadEnd()), codes.NotFound, "DISTRICT_NOT_FOUND"},
		"client stream, no header":     {operator, uploadTo(uploadChunk(), uploadEnd()), codes.InvalidArgument, "DISTRICT_INVALID"},
		"client stream, header late":   {operator, uploadTo(uploadChunk(), uploadHeader("lakeside"), uploadEnd()), codes.InvalidArgument, "DISTRICT_INVALID"},
		"client stream, second header": {reader, uploadTo(uploadHeader("lakeside"), uploadHeader("hillside"), uploadEnd()), codes.InvalidArgument, "DISTRICT_CHANGED"},
		"client stream, same header":   {reader, uploadTo(uploadHeader("lakeside"), uploadHeader("lakeside"), uploadEnd()), codes.OK, ""},
		"client stream, nobody":        {nobody, uploadTo(uploadHeader("lakeside"), uploadEnd()), codes.Unauthenticated, "TOKEN_INVALID"},
		"client stream, school":        {principal, uploadTo(uploadHeader("lakeside"), uploadEnd()), codes.PermissionDenied, authn.ReasonSchools},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if test.as.Subject != "" {
				ctx = testkit.As(t, ctx, test.as)
			}
			err := test.call(ctx, conn)
			if test.code == codes.OK {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, errs.New(test.code, test.reason, ""), "got %v", err)
		})
	}
}

func TestHandlerSeesTheCaller(t *testing.T) {
	h := &hub{}
	conn := testkit.Server(t, h.register)
	caller := authn.Principal{
		Subject: "c-1", DisplayName: "A Product", Scopes: []string{"rosters.read"},
		Districts: []string{"lakeside"}, Schools: []string{"s 1", "s/2"}, Product: "filter",
	}
	ctx := testkit.As(t, t.Context(), caller)

	require.NoError(t, listRecords("lakeside")(ctx, conn))
	require.Empty(t, cmp.Diff(caller, h.caller))
	h.caller = authn.Principal{}
	require.NoError(t, export("lakeside")(ctx, conn))
	require.Empty(t, cmp.Diff(caller, h.caller))
	// Nobody checked the token of a public call, so nobody may rely on it.
	require.NoError(t, public(ctx, conn))
	require.Empty(t, cmp.Diff(authn.Principal{}, h.caller))
}

func TestForeignDistrictLooksUnknown(t *testing.T) {
	conn := testkit.Server(t, (&hub{}).register)
	ctx := testkit.As(t, t.Context(), authn.Principal{Subject: "x", Districts: []string{"lakeside"}, Scopes: []string{"rosters.read"}})
	foreign := errs.Status(listRecords("hillside")(ctx, conn))
	unknown := errs.Status(authn.DistrictNotFound("hillside"))
	require.Equal(t, unknown.Proto().String(), foreign.Proto().String())
}

func TestMalformedAuthorization(t *testing.T) {
	conn := testkit.Server(t, (&hub{}).register)
	good := testkit.Token(t, testkit.Operator())
	for name, values := range map[string][]string{
		"no scheme":    {good},
		"other scheme": {"Basic " + good},
		"no token":     {"Bearer "},
		"not a token":  {"Bearer x.y.z"},
		"two headers":  {"Bearer " + good, "Bearer " + good},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{"authorization": values})
			require.ErrorIs(t, authenticated(ctx, conn), authn.ErrUnauthenticated)
		})
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "bearer "+good)
	require.NoError(t, authenticated(ctx, conn), "schemes have no case")
}

func TestGRPCsOwnServicesArePublic(t *testing.T) {
	conn := testkit.Server(t, (&hub{}).register)
	answer, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, answer.GetStatus())
}

// TestMethodWithoutPermissionIsRefused calls a method that no proto declares,
// even as someone who may do everything.
func TestMethodWithoutPermissionIsRefused(t *testing.T) {
	reached := false
	conn := testkit.Server(t, func(r grpc.ServiceRegistrar) {
		r.RegisterService(&grpc.ServiceDesc{
			ServiceName: "securly.sync.undeclared.v1.Service", HandlerType: (*any)(nil),
			Methods: []grpc.MethodDesc{{MethodName: "Do", Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
				request := &authv1.GetMeRequest{}
				if err := decode(request); err != nil {
					return nil, err
				}
				info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/securly.sync.undeclared.v1.Service/Do"}
				return intercept(ctx, request, info, func(context.Context, any) (any, error) {
					reached = true
					return &authv1.Me{}, nil
				})
			}}},
		}, struct{}{})
	})
	err := conn.Invoke(testkit.As(t, t.Context(), testkit.Service()), "/securly.sync.undeclared.v1.Service/Do", &authv1.GetMeRequest{}, &authv1.Me{})
	require.Equal(t, codes.Internal, errs.Status(err).Code())
	require.Equal(t, "internal error", errs.Status(err).Message())
	require.False(t, reached)
}

func TestForwardAndServiceCredentials(t *testing.T) {
	h := &hub{}
	issuer := &tokens{t: t, as: testkit.Service(), seconds: 3600}
	authConn := testkit.Server(t, func(r grpc.ServiceRegistrar) { authv1.RegisterAuthServiceServer(r, issuer) })
	conn := testkit.Server(t, h.register, grpc.WithPerRPCCredentials(
		authn.ServiceCredentials(authv1.NewAuthServiceClient(authConn), "test-service", "s3cret")))

	for range 3 {
		require.NoError(t, listRecords("lakeside")(t.Context(), conn))
		require.Equal(t, "test-service", h.caller.Subject)
	}
	require.Equal(t, 1, issuer.issued, "the token is kept")

	user := authn.Principal{Subject: "user", Districts: []string{"lakeside"}, Scopes: []string{"rosters.read"}}
	incoming := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+testkit.Token(t, user)))
	require.NoError(t, listRecords("lakeside")(authn.Forward(incoming), conn))
	require.Equal(t, "user", h.caller.Subject, "a forwarded call is the user's")
	require.ErrorIs(t, listRecords("hillside")(authn.Forward(incoming), conn), authn.ErrDistrictNotFound)

	issuer.refuse = true
	broken := testkit.Server(t, h.register, grpc.WithPerRPCCredentials(
		authn.ServiceCredentials(authv1.NewAuthServiceClient(authConn), "test-service", "wrong")))
	require.Equal(t, codes.Unavailable, status.Code(listRecords("lakeside")(t.Context(), broken)), "not the caller's fault")
}

// tokens is an auth service that only issues tokens.
type tokens struct {
	authv1.UnimplementedAuthServiceServer
	t       *testing.T
	as      authn.Principal
	seconds int32
	issued  int
	refuse  bool
}

func (i *tokens) IssueToken(_ context.Context, r *authv1.IssueTokenRequest) (*authv1.IssueTokenResponse, error) {
	if i.refuse || r.GetClientSecret() != "s3cret" {
		return nil, authn.ErrUnauthenticated
	}
	i.issued++
	return &authv1.IssueTokenResponse{AccessToken: testkit.Token(i.t, i.as), ExpiresIn: i.seconds}, nil
}
