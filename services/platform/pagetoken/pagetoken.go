// Package pagetoken holds what all lists have in common: how long their pages are, and tokens for the
// next one. It seals positions in a list into opaque page tokens. A token
// can neither be read nor changed nor used with another list: what the list
// depends on (revision, filter, order) is its binding.
package pagetoken

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"google.golang.org/grpc/codes"

	"github.com/securly/sync/services/platform/errs"
)

// Sizes of pages: of one that is not asked for, and of the largest.
const (
	DefaultSize = 100
	MaxSize     = 1000
)

// Size returns how long a page of any list is when asked is the pageSize of its request.
func Size(asked int32) (int, error) {
	switch {
	case asked < 0:
		return 0, errs.New(codes.InvalidArgument, "PAGE_SIZE_INVALID", "pageSize: must not be negative").With("field", "pageSize")
	case asked == 0:
		return DefaultSize, nil
	}
	return int(min(asked, MaxSize)), nil
}

// ErrInvalid is the answer to a token that this list has not given out.
var ErrInvalid = errs.New(codes.InvalidArgument, "PAGE_TOKEN_INVALID",
	"the page token does not belong to this list: start again without a token, or repeat the filter of the first page").
	With("field", "pageToken")

// Sealer makes and opens tokens. All replicas of a service share its key.
type Sealer struct{ aead cipher.AEAD }

// New returns a Sealer for a key of any length.
func New(key []byte) *Sealer {
	k := sha256.Sum256(append([]byte("securly-sync page token\x00"), key...))
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err) // 32 bytes are a key.
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the block size that GCM needs.
	}
	return &Sealer{aead: aead}
}

// Key returns a fresh random key.
func Key() []byte {
	k := make([]byte, 32)
	_, _ = rand.Read(k) // Never fails.
	return k
}

// Seal returns the token for position in the list that binding identifies.
func (s *Sealer) Seal(binding, position []byte) string {
	sealed := s.aead.Seal(nil, nil, position, binding) //nolint:gosec // This AEAD makes its own nonce.
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// Open returns the position in token, or ErrInvalid.
func (s *Sealer) Open(token string, binding []byte) ([]byte, error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return nil, ErrInvalid
	}
	position, err := s.aead.Open(nil, nil, sealed, binding)
	if err != nil {
		return nil, ErrInvalid
	}
	return position, nil
}
