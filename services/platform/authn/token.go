package authn

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/errs"
)

// Issuer is both the issuer and the audience of the hub's tokens.
const Issuer = "securly-sync"

const (
	leeway       = 30 * time.Second
	keysMaxAge   = 5 * time.Minute  // After this a withdrawn key is no longer accepted.
	keysMinAge   = 10 * time.Second // Unknown key ids cause no more fetches than this.
	keysRetry    = time.Second      // After a fetch that failed.
	fetchTimeout = 5 * time.Second
	forever      = time.Duration(math.MaxInt64)
)

var (
	// ErrUnauthenticated is the answer to a call without a valid token.
	ErrUnauthenticated = errs.New(codes.Unauthenticated, "TOKEN_INVALID", "the access token is missing, expired or not valid: get a new one")
	errNoKeys          = errs.New(codes.Unavailable, "KEYS_UNAVAILABLE", "tokens cannot be checked now: the auth service does not answer")
)

// claims is the token's body beside the registered claims.
type claims struct {
	jwt.Claims
	Name      string   `json:"name,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	Districts []string `json:"districts,omitempty"`
	Schools   []string `json:"schools,omitempty"`
	Product   string   `json:"product,omitempty"`
	Service   bool     `json:"svc,omitempty"`
}

// Sign makes a token for p with a fresh id. The signer's key names its kid.
func Sign(signer jose.Signer, p Principal, issued time.Time, lifetime time.Duration) (string, error) {
	token, err := jwt.Signed(signer).Claims(claims{
		Claims: jwt.Claims{
			Issuer:   Issuer,
			Audience: jwt.Audience{Issuer},
			Subject:  p.Subject,
			IssuedAt: jwt.NewNumericDate(issued),
			Expiry:   jwt.NewNumericDate(issued.Add(lifetime)),
			ID:       uuid.NewString(),
		},
		Name:      p.DisplayName,
		Scope:     strings.Join(p.Scopes, " "),
		Districts: p.Districts,
		Schools:   p.Schools,
		Product:   p.Product,
		Service:   p.Service,
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign token for %s: %w", p.Subject, err)
	}
	return token, nil
}

// KeySource fetches the JSON Web Key Set that verifies tokens.
type KeySource func(ctx context.Context) (jwksJSON []byte, err error)

// RemoteKeys is the KeySource of every service: it asks the auth service.
func RemoteKeys(client authv1.AuthServiceClient) KeySource {
	return func(ctx context.Context) ([]byte, error) {
		keys, err := client.GetKeys(ctx, &authv1.GetKeysRequest{})
		if err != nil {
			return nil, fmt.Errorf("get token keys from the auth service: %w", err)
		}
		return []byte(keys.GetJwks()), nil
	}
}

// Verifier checks tokens. It keeps the keys and fetches them again when a token
// names a key that it does not know, and from time to time.
type Verifier struct {
	source KeySource
	now    func() time.Time

	mu      sync.RWMutex
	keys    jose.JSONWebKeySet
	fetched time.Time // The last success.

	fetching sync.Mutex // Held during a fetch, so that there is one at a time.
	failed   time.Time  // The last failure, guarded by fetching.
	failure  error
}

// NewVerifier returns a Verifier; it asks keys on first use.
func NewVerifier(keys KeySource) *Verifier { return &Verifier{source: keys, now: time.Now} }

// Verify returns the principal of a token, ErrUnauthenticated, or an
// Unavailable error while there are no keys.
func (v *Verifier) Verify(ctx context.Context, token string) (Principal, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(parsed.Headers) != 1 {
		return Principal{}, ErrUnauthenticated
	}
	key, err := v.key(ctx, parsed.Headers[0].KeyID)
	if err != nil {
		return Principal{}, err
	}
	var c claims
	if err := parsed.Claims(key, &c); err != nil {
		return Principal{}, ErrUnauthenticated
	}
	err = c.ValidateWithLeeway(jwt.Expected{Issuer: Issuer, AnyAudience: jwt.Audience{Issuer}, Time: v.now()}, leeway)
	// The library takes a token without an end for one that never ends.
	if err != nil || c.Expiry == nil || c.Subject == "" {
		return Principal{}, ErrUnauthenticated
	}
	return Principal{
		Subject:     c.Subject,
		DisplayName: c.Name,
		Scopes:      strings.Fields(c.Scope),
		Districts:   c.Districts,
		Schools:     c.Schools,
		Product:     c.Product,
		Service:     c.Service,
	}, nil
}

func (v *Verifier) key(ctx context.Context, id string) (jose.JSONWebKey, error) {
	if key, ok := v.known(id, keysMaxAge); ok {
		return key, nil
	}
	// Old keys are better than waiting, and better than an outage of everything
	// when auth is away.
	old, aged := v.known(id, forever)
	if !aged {
		v.fetching.Lock()
	} else if !v.fetching.TryLock() {
		return old, nil
	}
	defer v.fetching.Unlock()
	// Another call may have fetched while this one waited.
	if key, ok := v.known(id, keysMaxAge); ok {
		return key, nil
	}
	now := v.now()
	if v.failure == nil && now.Sub(v.fetched) < keysMinAge {
		return jose.JSONWebKey{}, ErrUnauthenticated
	}
	if v.failure == nil || now.Sub(v.failed) >= keysRetry {
		if v.failure = v.fetch(ctx); v.failure != nil {
			v.failed = now
		}
	}
	if v.failure != nil {
		if aged {
			return old, nil
		}
		return jose.JSONWebKey{}, errNoKeys.Because(v.failure)
	}
	if key, ok := v.known(id, keysMaxAge); ok {
		return key, nil
	}
	return jose.JSONWebKey{}, ErrUnauthenticated
}

func (v *Verifier) known(id string, maxAge time.Duration) (jose.JSONWebKey, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	keys := v.keys.Key(id)
	if len(keys) != 1 || v.now().Sub(v.fetched) >= maxAge {
		return jose.JSONWebKey{}, false
	}
	return keys[0], true
}

// fetch does not end with the call that happened to need it: others wait too.
func (v *Verifier) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	text, err := v.source(ctx)
	if err != nil {
		return err
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(text, &keys); err != nil {
		return fmt.Errorf("read token keys: %w", err)
	}
	for _, k := range keys.Keys {
		if !k.IsPublic() || !k.Valid() {
			return fmt.Errorf("read token keys: key %q is not a valid public key", k.KeyID)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys, v.fetched = keys, v.now()
	return nil
}
