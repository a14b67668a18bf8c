// Package client keeps OAuth2 clients: products, third parties, automation, and the hub's own
// services.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/auth/internal/scope"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/resourceid"
)

var (
	// ErrInvalidClient does not say which of the two was wrong.
	ErrInvalidClient = errs.New(codes.Unauthenticated, "INVALID_CLIENT", "unknown client or wrong secret")
	// ErrNotFound is for a client that is not there.
	ErrNotFound = errs.New(codes.NotFound, "CLIENT_NOT_FOUND", "there is no such client: list the clients to see their ids")
)

var clientID = regexp.MustCompile(`^[!-~]{1,128}$`)

// services lists the hub's own programs that call others, with what their calls need. Their secret
// is the deployment's.
var services = map[string][]string{
	"service:gateway":          {scope.InternalSessions},
	"service:ingest":           {scope.InternalImport, scope.RostersRead, scope.ReadinessRead},
	"service:readiness-engine": {scope.RostersRead, scope.DistrictsRead, scope.SourcesRead},
	// The command line of an operator who can read the deployment's secret.
	"service:cli": {scope.UsersManage, scope.InternalSessions, scope.InternalOperate, scope.DistrictsWrite},
}

// Registry knows all clients.
type Registry struct {
	docs          *docstore.Collection[*authv1.ClientState]
	now           func() time.Time
	log           *slog.Logger
	serviceSecret string

	mu        sync.Mutex
	bootstrap string // "id:secret" still to be created, "" when that is done
}

// NewRegistry returns the clients of store. bootstrap is "" or the "id:secret" of a client with
// every scope on all districts, which is created once. An empty serviceSecret lets no service in.
func NewRegistry(store docstore.Store, now func() time.Time, log *slog.Logger, serviceSecret, bootstrap string) (*Registry, error) {
	if bootstrap != "" {
		id, secret, ok := strings.Cut(bootstrap, ":")
		if _, taken := services[id]; !ok || taken || !clientID.MatchString(id) || secret == "" {
			return nil, errors.New("the bootstrap client must be \"id:secret\", the id in printable ASCII without a colon, both not empty")
		}
	}
	return &Registry{
		docs: docstore.NewCollection(store, "clients", func(c *authv1.ClientState) string {
			return c.GetCreateTime().AsTime().UTC().Format("2006-01-02T15:04:05.000000000Z")
		}),
		now:           now,
		log:           log,
		serviceSecret: serviceSecret,
		bootstrap:     bootstrap,
	}, nil
}

// Prepare creates the bootstrap client unless it is there. Every use of the registry waits for it.
func (r *Registry) Prepare(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bootstrap == "" {
		return nil
	}
	id, secret, _ := strings.Cut(r.bootstrap, ":")
	doc, err := r.docs.Get(ctx, id)
	if err == nil {
		if !matches(doc.Value.GetSecret(), secret) {
			r.log.WarnContext(ctx, "the bootstrap client exists with another secret and keeps it: delete the client to create it anew", "client", id)
		}
		r.bootstrap = ""
		return nil
	}
	if !errors.Is(err, docstore.ErrNotFound) {
		return fmt.Errorf("read the bootstrap client: %w", err)
	}
	hash, err := hashChosen(secret)
	if err != nil {
		return err
	}
	_, err = r.docs.Create(ctx, id, &authv1.ClientState{
		DisplayName: "Bootstrap",
		Scopes:      scope.All(),
		Districts:   []string{"*"},
		CreateTime:  timestamppb.New(r.now()),
		Secret:      hash,
	})
	if err != nil && !errors.Is(err, docstore.ErrExists) {
		return fmt.Errorf("create the bootstrap client: %w", err)
	}
	r.bootstrap = ""
	return nil
}

// Authenticate returns who the client is, with every scope that it has.
func (r *Registry) Authenticate(ctx context.Context, id, secret string) (authn.Principal, error) {
	if err := r.Prepare(ctx); err != nil {
		return authn.Principal{}, err
	}
	if scopes, ok := services[id]; ok {
		if r.serviceSecret == "" || !matches(hashGenerated(r.serviceSecret), secret) {
			return authn.Principal{}, ErrInvalidClient
		}
		return authn.Principal{Subject: id, DisplayName: id, Scopes: scopes, Districts: []string{"*"}, Service: true}, nil
	}
	if id == "" || secret == "" {
		return authn.Principal{}, ErrInvalidClient
	}
	var state *authv1.ClientState
	if clientID.MatchString(id) {
		doc, err := r.docs.Get(ctx, id)
		if err != nil && !errors.Is(err, docstore.ErrNotFound) {
			return authn.Principal{}, fmt.Errorf("read client %s: %w", id, err)
		}
		state = doc.Value
	}
	if state == nil {
		matches(nobody(), secret)
		return authn.Principal{}, ErrInvalidClient
	}
	if !matches(state.GetSecret(), secret) {
		return authn.Principal{}, ErrInvalidClient
	}
	return authn.Principal{
		Subject:     "client:" + id,
		DisplayName: state.GetDisplayName(),
		Scopes:      state.GetScopes(),
		Districts:   state.GetDistricts(),
		Schools:     state.GetSchools(),
		Product:     state.GetProduct(),
	}, nil
}

// Create makes a client with a generated id and secret; the answer holds the secret.
func (r *Registry) Create(ctx context.Context, req *authv1.CreateClientRequest) (*authv1.Client, error) {
	if err := r.Prepare(ctx); err != nil {
		return nil, err
	}
	state, err := stateOf(req)
	if err != nil {
		return nil, err
	}
	secret := newSecret()
	state.Secret = hashGenerated(secret)
	state.CreateTime = timestamppb.New(r.now())
	doc, err := r.docs.Create(ctx, "c-"+strings.ToLower(newSecret()[:20]), state)
	if err != nil {
		return nil, fmt.Errorf("store a client: %w", err)
	}
	client := shown(doc)
	client.ClientSecret = secret
	return client, nil
}

// List returns a page of clients, oldest first, and the cursor of the next one.
func (r *Registry) List(ctx context.Context, after string, limit int) ([]*authv1.Client, string, error) {
	if err := r.Prepare(ctx); err != nil {
		return nil, "", err
	}
	docs, next, err := r.docs.List(ctx, docstore.Query{After: after, Limit: limit})
	if err != nil {
		return nil, "", fmt.Errorf("list clients: %w", err)
	}
	clients := make([]*authv1.Client, 0, len(docs))
	for _, doc := range docs {
		clients = append(clients, shown(doc))
	}
	return clients, next, nil
}

// Delete forgets a client. Tokens that it has end with their time.
func (r *Registry) Delete(ctx context.Context, id string) error {
	if err := r.Prepare(ctx); err != nil {
		return err
	}
	if !clientID.MatchString(id) {
		return ErrNotFound
	}
	err := r.docs.Delete(ctx, id)
	if errors.Is(err, docstore.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete client %s: %w", id, err)
	}
	return nil
}

// stateOf checks what a client may be asked to be.
func stateOf(req *authv1.CreateClientRequest) (*authv1.ClientState, error) {
	invalid := func(field, format string, args ...any) error {
		return errs.Errorf(codes.InvalidArgument, "CLIENT_INVALID", field+": "+format, args...).With("field", field)
	}
	name := strings.TrimSpace(req.GetDisplayName())
	if name == "" || len(name) > 200 {
		return nil, invalid("displayName", "must have 1 to 200 characters")
	}
	if len(req.GetScopes()) == 0 {
		return nil, invalid("scopes", "is empty: name at least one of %s", strings.Join(scope.All(), " "))
	}
	var scopes []string
	for _, s := range req.GetScopes() {
		s = scope.Canonical(s)
		if !scope.Known(s) {
			return nil, invalid("scopes", "%q is no scope: use %s", s, strings.Join(scope.All(), " "))
		}
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	if len(req.GetDistricts()) == 0 {
		return nil, invalid("districts", "is empty: name the district ids, or \"*\" for all")
	}
	for _, d := range req.GetDistricts() {
		if d != "*" && !resourceid.Valid(d) {
			return nil, invalid("districts", "%q is no district id: use lower-case letters, digits and hyphens, at most 63, or \"*\" for all", d)
		}
	}
	if p := req.GetProduct(); p != "" && !resourceid.Valid(p) {
		return nil, invalid("product", "%q is no product id: use classroom or filter, for example", p)
	}
	if slices.Contains(req.GetSchools(), "") {
		return nil, invalid("schools", "a school id is empty")
	}
	return &authv1.ClientState{
		DisplayName: name,
		Scopes:      scopes,
		Districts:   req.GetDistricts(),
		Schools:     req.GetSchools(),
		Product:     req.GetProduct(),
	}, nil
}

// shown is what callers see of a stored client: never its secret.
func shown(doc docstore.Doc[*authv1.ClientState]) *authv1.Client {
	return &authv1.Client{
		ClientId:    doc.ID,
		DisplayName: doc.Value.GetDisplayName(),
		Scopes:      doc.Value.GetScopes(),
		Districts:   doc.Value.GetDistricts(),
		Schools:     doc.Value.GetSchools(),
		Product:     doc.Value.GetProduct(),
		CreateTime:  doc.Value.GetCreateTime(),
	}
}
