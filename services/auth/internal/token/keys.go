// Package token signs access tokens, and keeps and rotates the keys for it.
package token

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/docstore"
)

const (
	// reload is how old the keys in memory may be. Another replica's new key is seen after that,
	// long before it signs.
	reload = time.Minute
	// ahead is how long a key is published before it signs.
	ahead = time.Hour
	// leeway is what verifiers add to the end of a token.
	leeway = 30 * time.Second
)

// Keys are the signing keys of all replicas, kept in the document store.
type Keys struct {
	docs *docstore.Collection[*authv1.SigningKeyState]
	now  func() time.Time
	// life is how long a key signs before the next one takes over.
	life time.Duration
	// tokenLife is how long a key must still verify after that.
	tokenLife time.Duration

	mu     sync.Mutex
	loaded time.Time
	keys   []key // oldest first
}

type key struct {
	number   uint64
	kid      string
	private  ed25519.PrivateKey
	activate time.Time
}

// NewKeys returns the keys of store. Nothing is read before the first use.
func NewKeys(store docstore.Store, now func() time.Time, life, tokenLife time.Duration) *Keys {
	return &Keys{
		docs:      docstore.NewCollection[*authv1.SigningKeyState](store, "signing-keys", nil),
		now:       now,
		life:      life,
		tokenLife: tokenLife,
	}
}

// JWKS returns the public keys that verify tokens, as a JSON Web Key Set.
func (k *Keys) JWKS(ctx context.Context) ([]byte, error) {
	keys, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	for _, key := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: key.private.Public(), KeyID: key.kid, Algorithm: string(jose.EdDSA), Use: "sig",
		})
	}
	jwks, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encode the key set: %w", err)
	}
	return jwks, nil
}

// signing returns the newest key that is active.
func (k *Keys) signing(ctx context.Context) (key, error) {
	keys, err := k.current(ctx)
	if err != nil {
		return key{}, err
	}
	now := k.now()
	for i := len(keys) - 1; i >= 0; i-- {
		if !keys[i].activate.After(now) {
			return keys[i], nil
		}
	}
	return key{}, errors.New("no signing key is active: is the clock of this machine right?")
}

// current returns the published keys, after reading and rotating them when it is time to.
func (k *Keys) current(ctx context.Context) ([]key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if len(k.keys) > 0 && now.Sub(k.loaded).Abs() < reload {
		return k.keys, nil
	}
	keys, err := k.read(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case len(keys) == 0:
		err = k.add(ctx, 1, now, now)
	case !now.Before(keys[len(keys)-1].activate.Add(k.life - ahead)):
		err = k.add(ctx, keys[len(keys)-1].number+1, now, now.Add(ahead))
	}
	if err != nil {
		return nil, err
	}
	if keys, err = k.read(ctx); err != nil {
		return nil, err
	}
	keys, err = k.retire(ctx, keys, now)
	if err != nil {
		return nil, err
	}
	k.keys, k.loaded = keys, now
	return keys, nil
}

func (k *Keys) read(ctx context.Context) ([]key, error) {
	docs, _, err := k.docs.List(ctx, docstore.Query{Limit: 100})
	if err != nil {
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	keys := make([]key, 0, len(docs))
	for _, doc := range docs {
		number, err := strconv.ParseUint(doc.ID, 10, 64)
		if err != nil || len(doc.Value.GetSeed()) != ed25519.SeedSize {
			return nil, fmt.Errorf("signing key %q in the store is damaged: restore the data of the auth service from a backup", doc.ID)
		}
		keys = append(keys, key{
			number:   number,
			kid:      doc.Value.GetKid(),
			private:  ed25519.NewKeyFromSeed(doc.Value.GetSeed()),
			activate: doc.Value.GetActivateTime().AsTime(),
		})
	}
	return keys, nil
}

// add makes a key. When another replica was faster, its key is as good.
func (k *Keys) add(ctx context.Context, number uint64, now, activate time.Time) error {
	seed, kid := make([]byte, ed25519.SeedSize), make([]byte, 8)
	rand.Read(seed) // never fails
	rand.Read(kid)
	_, err := k.docs.Create(ctx, fmt.Sprintf("%020d", number), &authv1.SigningKeyState{
		Kid:          hex.EncodeToString(kid),
		Seed:         seed,
		CreateTime:   timestamppb.New(now),
		ActivateTime: timestamppb.New(activate),
	})
	if err != nil && !errors.Is(err, docstore.ErrExists) {
		return fmt.Errorf("store a new signing key: %w", err)
	}
	return nil
}

// retire forgets keys whose last token has ended.
func (k *Keys) retire(ctx context.Context, keys []key, now time.Time) ([]key, error) {
	for len(keys) > 1 && now.After(keys[1].activate.Add(k.tokenLife+leeway)) {
		if err := k.docs.Delete(ctx, fmt.Sprintf("%020d", keys[0].number)); err != nil && !errors.Is(err, docstore.ErrNotFound) {
			return nil, fmt.Errorf("delete a retired signing key: %w", err)
		}
		keys = keys[1:]
	}
	return keys, nil
}
