package token

import (
	"context"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/securly/sync/services/platform/authn"
)

// Token is a signed access token.
type Token struct {
	Text    string
	Expires time.Time
}

// Issuer signs access tokens.
type Issuer struct {
	keys *Keys
	now  func() time.Time
	life time.Duration
}

// NewIssuer returns an issuer of tokens that are valid for life.
func NewIssuer(keys *Keys, now func() time.Time, life time.Duration) *Issuer {
	return &Issuer{keys: keys, now: now, life: life}
}

// Issue signs a token for p.
func (i *Issuer) Issue(ctx context.Context, p authn.Principal) (Token, error) {
	key, err := i.keys.signing(ctx)
	if err != nil {
		return Token{}, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: key.private, KeyID: key.kid}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return Token{}, fmt.Errorf("prepare the signing key: %w", err)
	}
	now := i.now()
	text, err := authn.Sign(signer, p, now, i.life)
	if err != nil {
		return Token{}, err
	}
	return Token{Text: text, Expires: now.Add(i.life)}, nil
}
