package client

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/crypto/bcrypt"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
)

// newSecret returns a secret of 260 random bits: rand.Text has 130.
func newSecret() string { return rand.Text() + rand.Text() }

// hashGenerated is for a secret that cannot be guessed, so that a slow hash would add nothing.
func hashGenerated(secret string) *authv1.SecretHash {
	sum := sha256.Sum256([]byte(secret))
	return &authv1.SecretHash{Hash: &authv1.SecretHash_Sha256{Sha256: sum[:]}}
}

// hashChosen is for a secret that a person chose.
func hashChosen(secret string) (*authv1.SecretHash, error) {
	hash, err := bcrypt.GenerateFromPassword(digest(secret), bcrypt.DefaultCost)
	if err != nil {
		return nil, fmt.Errorf("hash a client's secret: %w", err)
	}
	return &authv1.SecretHash{Hash: &authv1.SecretHash_Bcrypt{Bcrypt: hash}}, nil
}

// digest shortens a secret of any length to what bcrypt takes.
func digest(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return []byte(hex.EncodeToString(sum[:]))
}

// slow bounds how many slow hashes run at once, so that guessing cannot take all processors.
var slow = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// nobody is compared with when a client is unknown: the answer then takes as long.
var nobody = sync.OnceValue(func() *authv1.SecretHash {
	hash, err := hashChosen(newSecret())
	if err != nil {
		panic(err) // only a wrong cost or an input too long, both constants here
	}
	return hash
})

// matches tells whether hash is of secret.
func matches(hash *authv1.SecretHash, secret string) bool {
	switch h := hash.GetHash().(type) {
	case *authv1.SecretHash_Sha256:
		sum := sha256.Sum256([]byte(secret))
		return subtle.ConstantTimeCompare(h.Sha256, sum[:]) == 1
	case *authv1.SecretHash_Bcrypt:
		slow <- struct{}{}
		defer func() { <-slow }()
		return bcrypt.CompareHashAndPassword(h.Bcrypt, digest(secret)) == nil
	}
	return false
}
