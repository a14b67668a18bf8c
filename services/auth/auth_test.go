package auth_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/auth"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/rpc"
	"github.com/securly/sync/services/platform/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	bootstrapID     = "automation"
	bootstrapSecret = "made up: with colons"
	serviceSecret   = "made-up-service-secret"
)

// hub is an auth service behind the real interceptors, verifying with its own keys.
type hub struct {
	authv1.AuthServiceClient
	service *auth.Service
	clock   *clock
}

func start(t *testing.T, docs docstore.Store) hub {
	t.Helper()
	clock := &clock{now: time.Now()}
	service, err := auth.New(
		auth.Config{BootstrapClient: bootstrapID + ":" + bootstrapSecret, ServiceSecret: serviceSecret},
		auth.Deps{Docs: docs, Log: testkit.Log(t), Now: clock.Now})
	require.NoError(t, err)
	network := rpc.NewInMemory()
	server := rpc.NewServer(rpc.ServerOptions{Log: testkit.Log(t), Verifier: authn.NewVerifier(service.Keys)})
	service.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(network.Listener()) }()
	conn, err := network.Dial()
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-served)
	})
	return hub{AuthServiceClient: authv1.NewAuthServiceClient(conn), service: service, clock: clock}
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// as returns a context with a token of the client.
func (h hub) as(t *testing.T, id, secret, scope string) context.Context {
	t.Helper()
	issued, err := h.IssueToken(t.Context(), &authv1.IssueTokenRequest{ClientId: id, ClientSecret: secret, Scope: scope})
	require.NoError(t, err)
	return authn.WithToken(t.Context(), issued.GetAccessToken())
}

func TestTokenForBootstrapClient(t *testing.T) {
	h := start(t, testkit.Docs(t))
	issued, err := h.IssueToken(t.Context(), &authv1.IssueTokenRequest{ClientId: bootstrapID, ClientSecret: bootstrapSecret})
	require.NoError(t, err)
	require.EqualValues(t, 15*60, issued.GetExpiresIn())

	who, err := authn.NewVerifier(h.service.Keys).Verify(t.Context(), issued.GetAccessToken())
	require.NoError(t, err)
	require.Equal(t, "client:"+bootstrapID, who.Subject)
	require.True(t, who.SeesAllDistricts())
	require.False(t, who.Service)
	require.Subset(t, who.Scopes, testkit.Operator().Scopes)
	require.Contains(t, who.Scopes, "https://purl.imsglobal.org/spec/or/v1p2/scope/roster.readonly")
	require.Equal(t, strings.Join(who.Scopes, " "), issued.GetScope())

	me, err := h.GetMe(authn.WithToken(t.Context(), issued.GetAccessToken()), &authv1.GetMeRequest{})
	require.NoError(t, err)
	require.Equal(t, who.Subject, me.GetSubject())
	require.Equal(t, []string{"*"}, me.GetDistricts())
}

// Each service may do what it calls and no more.
func TestServicesHaveFewScopes(t *testing.T) {
	h := start(t, testkit.Docs(t))
	for id, want := range map[string]string{
		"service:gateway":          "internal.sessions",
		"service:ingest":           "internal.import rosters.read readiness.read",
		"service:readiness-engine": "rosters.read districts.read sources.read",
		"service:cli":              "users.manage internal.sessions internal.operate districts.write",
	} {
		issued, err := h.IssueToken(t.Context(), &authv1.IssueTokenRequest{ClientId: id, ClientSecret: serviceSecret})
		require.NoError(t, err, id)
		require.Equal(t, want, issued.GetScope(), id)
	}
	for _, id := range []string{"service:auth", "service:roster-store"} {
		_, err := h.IssueToken(t.Context(), &authv1.IssueTokenRequest{ClientId: id, ClientSecret: serviceSecret})
		require.Error(t, err, "%s calls no other service", id)
	}
}

func TestBadClient(t *testing.T) {
	h := start(t, testkit.Docs(t))
	made, err := h.CreateClient(h.as(t, bootstrapID, bootstrapSecret, ""), &authv1.CreateClientRequest{
		DisplayName: "Reader", Scopes: []string{"rosters.read"}, Districts: []string{"lakeside"},
	})
	require.NoError(t, err)
	for name, c := range map[string][2]string{
		"unknown":                 {"nobody", "x"},
		"empty":                   {"", ""},
		"wrong bootstrap secret":  {bootstrapID, "wrong"},
		"wrong generated secret":  {made.GetClientId(), "wrong"},
		"no secret":               {made.GetClientId(), ""},
		"service, wrong secret":   {"service:gateway", "wrong"},
		"unknown service":         {"service:nobody", serviceSecret},
		"hostile id":              {strings.Repeat("x", 1<<16), "x"},
		"id with control letters": {"a\x00b", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.IssueToken(t.Context(), &authv1.IssueTokenRequest{ClientId: c[0], ClientSecret: c[1]})
			var e *errs.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, codes.Unauthenticated, e.Code)
			require.Equal(t, "INVALID_CLIENT", e.Reason)
		})
	}
}

func TestScopesAreIntersected(t *testing.T) {
	h := start(t, testkit.Docs(t))
	made, err := h.CreateClient(h.as(t, bootstrapID, bootstrapSecret, ""), &authv1.CreateClientRequest{
		DisplayName: "Reader", Districts: []string{"lakeside"},
		Scopes: []string{"rosters.read", "readiness.read", "http://purl.imsglobal.org/spec/or/v1p1/scope/roster.readonly"},
	})
	require.NoError(t, err)
	const oneRoster = "https://purl.imsglobal.org/spec/or/v1p1/scope/roster.readonly"
	for _, c := range []struct{ name, asked, granted string }{
		{"all without being asked", "", "rosters.read readiness.read " + oneRoster},
		{"one", "rosters.read", "rosters.read"},
		{"unknown ones are left out", "rosters.read grades.write", "rosters.read"},
		{"others' are left out", "users.manage readiness.read internal.import", "readiness.read"},
		{"each once, in order", "readiness.read rosters.read  readiness.read", "readiness.read rosters.read"},
		{"http spelling", "http://purl.imsglobal.org/spec/or/v1p1/scope/roster.readonly", oneRoster},
	} {
		t.Run(c.name, func(t *testing.T) {
			issued, err := h.IssueToken(t.Context(), &authv1.IssueTokenRequest{
				ClientId: made.GetClientId(), ClientSecret: made.GetClientSecret(), Scope: c.asked,
			})
			require.NoError(t, err)
			require.Equal(t, c.granted, issued.GetScope())
		})
	}
	_, err = h.IssueToken(t.Context(), &authv1.IssueTokenRequest{
		ClientId: made.GetClientId(), ClientSecret: made.GetClientSecret(), Scope: "users.manage",
	})
	require.Equal(t, codes.InvalidArgument, errs.Status(err).Code())
}

func TestClients(t *testing.T) {
	h := start(t, testkit.Docs(t))
	admin := h.as(t, bootstrapID, bootstrapSecret, "")
	var ids []string
	for _, name := range []string{"one", "two", "three"} {
		h.clock.Advance(time.Second)
		made, err := h.CreateClient(admin, &authv1.CreateClientRequest{
			DisplayName: name, Scopes: []string{"rosters.read"}, Districts: []string{"lakeside"}, Product: "classroom",
		})
		require.NoError(t, err)
		require.Greater(t, len(made.GetClientSecret()), 40)
		ids = append(ids, made.GetClientId())
	}

	var listed []string
	req := &authv1.ListClientsRequest{PageSize: 2}
	for {
		page, err := h.ListClients(admin, req)
		require.NoError(t, err)
		for _, c := range page.GetClients() {
			require.Empty(t, c.GetClientSecret(), "a secret is shown once")
			listed = append(listed, c.GetClientId())
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	require.Equal(t, append([]string{bootstrapID}, ids...), listed)

	_, err := h.DeleteClient(admin, &authv1.DeleteClientRequest{Client: ids[0]})
	require.NoError(t, err)
	_, err = h.DeleteClient(admin, &authv1.DeleteClientRequest{Client: ids[0]})
	require.Equal(t, codes.NotFound, errs.Status(err).Code())
	_, err = h.ListClients(admin, &authv1.ListClientsRequest{PageToken: "made-up"})
	require.Equal(t, codes.InvalidArgument, errs.Status(err).Code())
}

func TestClientIsChecked(t *testing.T) {
	h := start(t, testkit.Docs(t))
	admin := h.as(t, bootstrapID, bootstrapSecret, "")
	good := func() *authv1.CreateClientRequest {
		return &authv1.CreateClientRequest{DisplayName: "x", Scopes: []string{"rosters.read"}, Districts: []string{"*"}}
	}
	for field, spoil := range map[string]func(*authv1.CreateClientRequest){
		"displayName": func(r *authv1.CreateClientRequest) { r.DisplayName = " " },
		"scopes":      func(r *authv1.CreateClientRequest) { r.Scopes = []string{"internal.import"} },
		"districts":   func(r *authv1.CreateClientRequest) { r.Districts = nil },
		"product":     func(r *authv1.CreateClientRequest) { r.Product = "Class Room" },
		"schools":     func(r *authv1.CreateClientRequest) { r.Schools = []string{""} },
	} {
		t.Run(field, func(t *testing.T) {
			req := good()
			spoil(req)
			_, err := h.CreateClient(admin, req)
			var e *errs.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, codes.InvalidArgument, e.Code)
			require.Equal(t, field, e.Detail("field"))
		})
	}
}

func TestBootstrapClientIsCreatedOnce(t *testing.T) {
	docs := testkit.Docs(t)
	admin := start(t, docs).as(t, bootstrapID, bootstrapSecret, "")
	second := start(t, docs)
	list, err := second.ListClients(admin, &authv1.ListClientsRequest{})
	require.NoError(t, err, "a restarted service knows the keys of before")
	require.Len(t, list.GetClients(), 1)

	for _, bad := range []config.Secret{"no-secret", ":x", "id:", "i d:x"} {
		_, err := auth.New(auth.Config{BootstrapClient: bad}, auth.Deps{Docs: docs, Log: testkit.Log(t)})
		require.Error(t, err)
	}
}

func TestSignInLinkWorksOnce(t *testing.T) {
	h := start(t, testkit.Docs(t))
	gateway := h.as(t, "service:gateway", serviceSecret, "")
	link, err := h.CreateSignInLink(gateway, &authv1.CreateSignInLinkRequest{})
	require.NoError(t, err)

	var sessions []*authv1.Session
	var mu sync.Mutex
	var racing sync.WaitGroup
	for range 8 {
		racing.Go(func() {
			session, err := h.RedeemSignInLink(t.Context(), &authv1.RedeemSignInLinkRequest{Code: link.GetCode()})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				sessions = append(sessions, session)
			}
		})
	}
	racing.Wait()
	require.Len(t, sessions, 1)

	me, err := h.GetMe(authn.WithToken(t.Context(), sessions[0].GetAccessToken()), &authv1.GetMeRequest{})
	require.NoError(t, err)
	require.Equal(t, "operator", me.GetSubject())

	id := sessions[0].GetSessionId()
	_, err = h.RefreshSession(gateway, &authv1.RefreshSessionRequest{SessionId: id})
	require.NoError(t, err)
	_, err = h.RefreshSession(authn.WithToken(t.Context(), sessions[0].GetAccessToken()), &authv1.RefreshSessionRequest{SessionId: id})
	require.Equal(t, codes.PermissionDenied, errs.Status(err).Code(), "only a service may ask for tokens")
	_, err = h.EndSession(gateway, &authv1.EndSessionRequest{SessionId: id})
	require.NoError(t, err)
	_, err = h.RefreshSession(gateway, &authv1.RefreshSessionRequest{SessionId: id})
	require.Equal(t, codes.Unauthenticated, errs.Status(err).Code())
}

func TestLinksAndSessionsEnd(t *testing.T) {
	h := start(t, testkit.Docs(t))
	gateway := h.as(t, "service:gateway", serviceSecret, "")
	late, err := h.CreateSignInLink(gateway, &authv1.CreateSignInLinkRequest{})
	require.NoError(t, err)
	inTime, err := h.CreateSignInLink(gateway, &authv1.CreateSignInLinkRequest{})
	require.NoError(t, err)
	session, err := h.RedeemSignInLink(t.Context(), &authv1.RedeemSignInLinkRequest{Code: inTime.GetCode()})
	require.NoError(t, err)

	h.clock.Advance(time.Hour)
	_, err = h.RedeemSignInLink(t.Context(), &authv1.RedeemSignInLinkRequest{Code: late.GetCode()})
	require.Equal(t, codes.Unauthenticated, errs.Status(err).Code())
	h.clock.Advance(11 * time.Hour)
	_, err = h.RefreshSession(gateway, &authv1.RefreshSessionRequest{SessionId: session.GetSessionId()})
	require.Equal(t, codes.Unauthenticated, errs.Status(err).Code())
}

func TestRunSweepsAndStops(t *testing.T) {
	docs := testkit.Docs(t)
	h := start(t, docs)
	gateway := h.as(t, "service:gateway", serviceSecret, "")
	_, err := h.CreateSignInLink(gateway, &authv1.CreateSignInLinkRequest{})
	require.NoError(t, err)
	h.clock.Advance(2 * time.Hour)

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.service.Run(ctx) }()
	links := docstore.NewCollection[*authv1.SignInLinkState](docs, "sign-in-links", nil)
	require.Eventually(t, func() bool {
		left, _, err := links.List(t.Context(), docstore.Query{})
		return err == nil && len(left) == 0
	}, testkit.Wait, time.Millisecond)
	stop()
	require.NoError(t, <-ended)
}

func TestKeysRotate(t *testing.T) {
	docs := testkit.Docs(t)
	h := start(t, docs)
	other := start(t, docs) // another replica, whose clock we move along
	advance := func(d time.Duration) { h.clock.Advance(d); other.clock.Advance(d) }
	kids := func(h hub) []string {
		text, err := h.service.Keys(t.Context())
		require.NoError(t, err)
		var set struct {
			Keys []struct{ Kid, D string }
		}
		require.NoError(t, json.Unmarshal(text, &set))
		var ids []string
		for _, k := range set.Keys {
			require.Empty(t, k.D, "private keys stay here")
			ids = append(ids, k.Kid)
		}
		return ids
	}
	first := kids(h)
	require.Len(t, first, 1)
	require.Equal(t, first, kids(other))

	advance(30*24*time.Hour - time.Hour)
	both := kids(h)
	require.Len(t, both, 2, "the next key is published before it signs")
	require.Equal(t, both, kids(other))
	require.Equal(t, first[0], signedBy(t, h))

	advance(time.Hour)
	require.Equal(t, both[1], signedBy(t, h))
	require.Equal(t, both[1], signedBy(t, other))
	require.Equal(t, both, kids(h), "tokens of the old key are still good")

	advance(time.Hour)
	require.Equal(t, both[1:], kids(h))
	require.Equal(t, both[1:], kids(other))
}

// signedBy returns the id of the key that signs now.
func signedBy(t *testing.T, h hub) string {
	t.Helper()
	issued, err := h.IssueToken(t.Context(), &authv1.IssueTokenRequest{ClientId: "service:ingest", ClientSecret: serviceSecret})
	require.NoError(t, err)
	token, err := jwt.ParseSigned(issued.GetAccessToken(), []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(t, err)
	return token.Headers[0].KeyID
}
