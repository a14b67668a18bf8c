// Package edge is the HTTP API: the methods of the services as JSON, and what plain JSON cannot
// carry: tokens, browser sessions, uploads, downloads and the overview.
package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/securly/sync/gateway/internal/problem"
	"github.com/securly/sync/gateway/internal/stream"
	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
)

// maxBody bounds the body of every request but an upload.
const maxBody = 1 << 20

// Conns are the connections to the services. They carry no credentials of their own: each call
// goes out with the token of its caller.
type Conns struct {
	Auth, Ingest, Roster, Readiness grpc.ClientConnInterface
}

// API answers /v1, /oauth2, /auth and /.well-known.
type API struct {
	log       *slog.Logger
	mux       *runtime.ServeMux
	auth      authv1.AuthServiceClient
	sources   ingestv1.SourceServiceClient
	syncs     ingestv1.SyncServiceClient
	rosters   rosterv1.RosterServiceClient
	readiness readinessv1.ReadinessServiceClient
	// asGateway signs the calls that the gateway makes for itself, about sessions.
	asGateway grpc.CallOption
	crossSite *http.CrossOriginProtection
	maxUpload int64
	bindings  map[string]binding
}

// New returns the API. stopping ends the streams that would keep the server from stopping.
func New(conns Conns, asGateway credentials.PerRPCCredentials, maxUpload int64, stopping <-chan struct{}, log *slog.Logger) (*API, error) {
	a := &API{
		log:       log,
		auth:      authv1.NewAuthServiceClient(conns.Auth),
		sources:   ingestv1.NewSourceServiceClient(conns.Ingest),
		syncs:     ingestv1.NewSyncServiceClient(conns.Ingest),
		rosters:   rosterv1.NewRosterServiceClient(conns.Roster),
		readiness: readinessv1.NewReadinessServiceClient(conns.Readiness),
		asGateway: grpc.PerRPCCredentials(asGateway),
		crossSite: http.NewCrossOriginProtection(),
		maxUpload: maxUpload,
	}
	var err error
	if a.bindings, err = bindings(); err != nil {
		return nil, err
	}
	a.mux = runtime.NewServeMux(
		runtime.WithMiddlewares(a.checked),
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newAPIJSON()),
		runtime.WithForwardResponseRewriter(reshape),
		runtime.WithErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
			problem.Write(w, r, log, err)
		}),
		runtime.WithRoutingErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, status int) {
			problem.Write(w, r, log, routingError(r, status))
		}),
		// Headers stay at the edge: a cookie, for one, is no business of a service. The token is
		// forwarded without being asked for.
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		// Both would let a request pose as another method than the one that was checked.
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithWriteContentLength(),
	)
	ctx := context.Background()
	for _, err := range []error{
		authv1.RegisterAuthServiceHandlerClient(ctx, a.mux, a.auth),
		ingestv1.RegisterDistrictServiceHandlerClient(ctx, a.mux, ingestv1.NewDistrictServiceClient(conns.Ingest)),
		ingestv1.RegisterSourceServiceHandlerClient(ctx, a.mux, a.sources),
		ingestv1.RegisterSyncServiceHandlerClient(ctx, a.mux, a.syncs),
		ingestv1.RegisterSharingServiceHandlerClient(ctx, a.mux, ingestv1.NewSharingServiceClient(conns.Ingest)),
		ingestv1.RegisterMappingServiceHandlerClient(ctx, a.mux, ingestv1.NewMappingServiceClient(conns.Ingest)),
		ingestv1.RegisterGuardianServiceHandlerClient(ctx, a.mux, ingestv1.NewGuardianServiceClient(conns.Ingest)),
		ingestv1.RegisterUpkeepServiceHandlerClient(ctx, a.mux, ingestv1.NewUpkeepServiceClient(conns.Ingest)),
		ingestv1.RegisterExplainServiceHandlerClient(ctx, a.mux, ingestv1.NewExplainServiceClient(conns.Ingest)),
		ingestv1.RegisterManualEntryServiceHandlerClient(ctx, a.mux, ingestv1.NewManualEntryServiceClient(conns.Ingest)),
		ingestv1.RegisterNotificationServiceHandlerClient(ctx, a.mux, ingestv1.NewNotificationServiceClient(conns.Ingest)),
		rosterv1.RegisterRosterServiceHandlerClient(ctx, a.mux, a.rosters),
		readinessv1.RegisterReadinessServiceHandlerClient(ctx, a.mux, a.readiness),
		a.routes(stopping),
	} {
		if err != nil {
			return nil, fmt.Errorf("register the API's routes: %w", err)
		}
	}
	return a, nil
}

// routes registers what the protos cannot describe. Later registrations win over generated ones.
func (a *API) routes(stopping <-chan struct{}) error {
	const district = "/v1/districts/{district}"
	routes := []struct {
		method, path string
		handle       func(http.ResponseWriter, *http.Request, map[string]string) error
	}{
		{http.MethodPost, district + "/sources/{source}:upload", a.upload},
		{http.MethodGet, district + "/overview", a.overview},
		{http.MethodGet, district + ":export", stream.Export(a.rosters)},
		{http.MethodGet, district + ":watch", stream.Watch(a.rosters, stopping)},
		{http.MethodGet, district + "/syncs/{sync}/changes:export", a.downloadChanges},
		{http.MethodGet, district + "/readinessReports/{report}:download", a.downloadReport},
	}
	for _, entity := range entityNames() {
		routes = append(routes, routes[0])
		last := &routes[len(routes)-1]
		last.method, last.path, last.handle = http.MethodGet, district+"/"+entity+":export", a.downloadRecords(entity)
	}
	for _, route := range routes {
		err := a.mux.HandlePath(route.method, route.path, func(w http.ResponseWriter, r *http.Request, params map[string]string) {
			if err := route.handle(w, r.WithContext(outgoing(r)), params); err != nil {
				problem.Write(w, r, a.log, err)
			}
		})
		if err != nil {
			return fmt.Errorf("%s %s: %w", route.method, route.path, err)
		}
	}
	return nil
}

// Handler returns the API as one handler.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth2/token", a.token)
	mux.HandleFunc("GET /.well-known/jwks.json", a.keys)
	mux.HandleFunc("GET /auth/link", a.redeemLink)
	mux.HandleFunc("POST /auth/logout", a.logout)
	v1 := a.withSession(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// gRPC would fail to carry such a token, and a token it is not.
		if strings.ContainsFunc(r.Header.Get("Authorization"), func(c rune) bool { return c < ' ' || c > '~' }) {
			problem.Write(w, r, a.log, authn.ErrUnauthenticated)
			return
		}
		if !strings.HasSuffix(r.URL.Path, ":upload") {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		// Answers hold personal data and depend on who asks.
		w.Header().Set("Cache-Control", "no-store")
		a.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), pathKey{}, r.URL.Path)))
	}))
	mux.Handle("/v1", v1)
	mux.Handle("/v1/", v1)
	return mux
}

// outgoing returns a context whose calls go out with the request's token.
func outgoing(r *http.Request) context.Context {
	ctx := r.Context()
	if token := r.Header.Get("Authorization"); token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token)
	}
	return ctx
}

// routingError says that a path or a method is not there.
func routingError(r *http.Request, status int) error {
	err := errs.Errorf(codes.NotFound, "PATH_NOT_FOUND", "there is nothing at %s: see /docs", r.URL.Path)
	switch status {
	case http.StatusMethodNotAllowed:
		err = errs.Errorf(codes.Unimplemented, "METHOD_NOT_ALLOWED", "%s cannot be used with %s: see /docs", r.Method, r.URL.Path)
	case http.StatusBadRequest:
		err = errs.Errorf(codes.InvalidArgument, "PATH_INVALID", "the path %q cannot be read", r.URL.Path)
	}
	return &runtime.HTTPStatusError{HTTPStatus: status, Err: err}
}
