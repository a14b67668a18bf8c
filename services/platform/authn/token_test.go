package authn

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/securly/sync/services/platform/errs"
)

// keyring is a KeySource under the test's control.
type keyring struct {
	keys    map[string]ed25519.PrivateKey
	fetches int
	err     error
}

func newKeyring(ids ...string) *keyring {
	k := &keyring{keys: map[string]ed25519.PrivateKey{}}
	for _, id := range ids {
		k.add(id)
	}
	return k
}

func (k *keyring) add(id string) {
	_, k.keys[id], _ = ed25519.GenerateKey(rand.Reader)
}

func (k *keyring) source(context.Context) ([]byte, error) {
	k.fetches++
	if k.err != nil {
		return nil, k.err
	}
	var set jose.JSONWebKeySet
	for id, key := range k.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: "EdDSA"})
	}
	return json.Marshal(set)
}

func (k *keyring) signer(t *testing.T, id string) jose.Signer {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: k.keys[id], KeyID: id}}, nil)
	require.NoError(t, err)
	return s
}

func (k *keyring) sign(t *testing.T, id string, issued time.Time) string {
	token, err := Sign(k.signer(t, id), Principal{Subject: "c-1", Scopes: []string{"rosters.read", "syncs.run"}, Districts: []string{"d"}}, issued, time.Hour)
	require.NoError(t, err)
	return token
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func verifierAt(k *keyring, now *time.Time) *Verifier {
	v := NewVerifier(k.source)
	v.now = func() time.Time { return *now }
	return v
}

func TestVerifyReturnsWhatWasSigned(t *testing.T) {
	keys, now := newKeyring("k1"), noon
	want := Principal{
		Subject: "c-1", DisplayName: "A Client", Scopes: []string{"a.read", "b.write"}, Districts: []string{"d1", "d2"},
		Schools: []string{"school one", "2"}, Product: "filter", Service: true,
	}
	token, err := Sign(keys.signer(t, "k1"), want, noon, time.Hour)
	require.NoError(t, err)
	got, err := verifierAt(keys, &now).Verify(t.Context(), token)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, got))
}

func TestVerifyTime(t *testing.T) {
	keys, now := newKeyring("k1"), noon
	v, token := verifierAt(keys, &now), keys.sign(t, "k1", noon)
	for at, valid := range map[time.Duration]bool{
		-31 * time.Second:            false, // Issued in the future.
		-29 * time.Second:            true,
		0:                            true,
		time.Hour + 29*time.Second:   true,
		time.Hour + 31*time.Second:   false,
		20*time.Hour + 1*time.Second: false,
	} {
		now = noon.Add(at)
		_, err := v.Verify(t.Context(), token)
		if valid {
			require.NoError(t, err, "at %s", at)
		} else {
			require.ErrorIs(t, err, ErrUnauthenticated, "at %s", at)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	keys, now := newKeyring("k1"), noon
	good := keys.sign(t, "k1", noon)
	parts := strings.Split(good, ".")
	claim := func(change func(*jwt.Claims)) string {
		c := jwt.Claims{Issuer: Issuer, Audience: jwt.Audience{Issuer}, Subject: "x", Expiry: jwt.NewNumericDate(noon.Add(time.Hour))}
		change(&c)
		token, err := jwt.Signed(keys.signer(t, "k1")).Claims(c).Serialize()
		require.NoError(t, err)
		return token
	}
	stranger := newKeyring("k1") // The same name, another key.
	secret := []byte("an HMAC with the public key is the classic forgery")
	hmac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: secret, KeyID: "k1"}}, nil)
	require.NoError(t, err)
	forged, err := Sign(hmac, Principal{Subject: "x"}, noon, time.Hour)
	require.NoError(t, err)

	for name, token := range map[string]string{
		"empty":          "",
		"not a token":    "abc",
		"none algorithm": "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"other key":      stranger.sign(t, "k1", noon),
		"unknown key":    newKeyring("k9").sign(t, "k9", noon),
		"HMAC":           forged,
		"changed claims": parts[0] + "." + strings.Split(claim(func(*jwt.Claims) {}), ".")[1] + "." + parts[2],
		"no signature":   parts[0] + "." + parts[1] + ".",
		"other issuer":   claim(func(c *jwt.Claims) { c.Issuer = "someone" }),
		"other audience": claim(func(c *jwt.Claims) { c.Audience = jwt.Audience{"something"} }),
		"no audience":    claim(func(c *jwt.Claims) { c.Audience = nil }),
		"never ends":     claim(func(c *jwt.Claims) { c.Expiry = nil }),
		"no subject":     claim(func(c *jwt.Claims) { c.Subject = "" }),
		"not yet valid":  claim(func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(noon.Add(time.Minute)) }),
	} {
		t.Run(name, func(t *testing.T) {
			p, err := verifierAt(keys, &now).Verify(t.Context(), token)
			require.ErrorIs(t, err, ErrUnauthenticated)
			require.Empty(t, p)
		})
	}
	_, err = verifierAt(keys, &now).Verify(t.Context(), claim(func(*jwt.Claims) {}))
	require.NoError(t, err, "unchanged, it is good")
}

func TestKeysAreFetchedWhenNeeded(t *testing.T) {
	keys, now := newKeyring("k1"), noon
	v := verifierAt(keys, &now)
	verify := func(id string) error {
		_, err := v.Verify(t.Context(), keys.sign(t, id, now))
		return err
	}
	for range 3 {
		require.NoError(t, verify("k1"))
	}
	require.Equal(t, 1, keys.fetches, "known keys are kept")

	keys.add("k2")
	require.ErrorIs(t, verify("k2"), ErrUnauthenticated, "not again so soon")
	require.Equal(t, 1, keys.fetches)
	now = now.Add(keysMinAge)
	require.NoError(t, verify("k2"))
	require.Equal(t, 2, keys.fetches)

	old := keys.sign(t, "k1", now)
	delete(keys.keys, "k1")
	now = now.Add(keysMaxAge)
	_, err := v.Verify(t.Context(), old)
	require.ErrorIs(t, err, ErrUnauthenticated, "a withdrawn key ends")
}

func TestAuthServiceAway(t *testing.T) {
	keys, now := newKeyring("k1"), noon
	keys.err = errors.New("connection refused")
	v := verifierAt(keys, &now)
	token := keys.sign(t, "k1", noon)

	_, err := v.Verify(t.Context(), token)
	require.Equal(t, codes.Unavailable, errs.Status(err).Code(), "not the caller's fault")
	_, err = v.Verify(t.Context(), token)
	require.Error(t, err)
	require.Equal(t, 1, keys.fetches, "an outage is not a storm")

	keys.err, now = nil, now.Add(keysRetry)
	_, err = v.Verify(t.Context(), token)
	require.NoError(t, err, "back soon after it is back")

	keys.err, now = errors.New("connection refused"), now.Add(2*keysMaxAge)
	_, err = v.Verify(t.Context(), token)
	require.NoError(t, err, "the last known keys serve during an outage")
}

func TestPrivateKeysInTheSetAreRefused(t *testing.T) {
	keys := newKeyring("k1")
	leak := func(context.Context) ([]byte, error) {
		return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: keys.keys["k1"], KeyID: "k1"}}})
	}
	_, err := NewVerifier(leak).Verify(t.Context(), keys.sign(t, "k1", time.Now()))
	require.Equal(t, codes.Unavailable, errs.Status(err).Code())
}
