// Package sealed keeps the secrets of sources so that only the hub can read
// them: each source's are encrypted with a key of their own, and that key with
// the hub's, which is a file or a key management service.
package sealed

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"gocloud.dev/secrets"
	_ "gocloud.dev/secrets/awskms" // awskms:// URLs
	_ "gocloud.dev/secrets/gcpkms" // gcpkms:// URLs
	"gocloud.dev/secrets/localsecrets"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/errs"
)

// ErrUnreadable means that secrets were sealed with another key.
var ErrUnreadable = errs.New(codes.FailedPrecondition, "SECRETS_UNREADABLE", "the secrets of the source cannot be opened with the hub's key, which was another one when they were entered: enter them again")

// Sealer seals with the hub's key.
type Sealer struct{ keeper *secrets.Keeper }

// New returns a sealer; the caller keeps the keeper and closes it.
func New(keeper *secrets.Keeper) *Sealer { return &Sealer{keeper} }

// Seal encrypts the secrets of owner; nil if there are none.
func (s *Sealer) Seal(ctx context.Context, owner string, values map[string]string) (*ingestv1.SealedSecrets, error) {
	if len(values) == 0 {
		return nil, nil
	}
	text, err := proto.Marshal(&ingestv1.SecretValues{Owner: owner, Values: values})
	if err != nil {
		return nil, fmt.Errorf("seal secrets: %w", err)
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	own := localsecrets.NewKeeper(key)
	defer func() { _ = own.Close() }() // holds nothing
	out := &ingestv1.SealedSecrets{Names: slices.Sorted(maps.Keys(values))}
	if out.Values, err = own.Encrypt(ctx, text); err != nil {
		return nil, fmt.Errorf("seal secrets: %w", err)
	}
	if out.Key, err = s.keeper.Encrypt(ctx, key[:]); err != nil {
		return nil, fmt.Errorf("seal secrets with the hub's key: %w", err)
	}
	return out, nil
}

// Open decrypts the secrets of owner.
func (s *Sealer) Open(ctx context.Context, owner string, in *ingestv1.SealedSecrets) (map[string]string, error) {
	if in == nil {
		return nil, nil
	}
	key, err := s.keeper.Decrypt(ctx, in.GetKey())
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, ErrUnreadable.Because(err)
	}
	if len(key) != 32 {
		return nil, ErrUnreadable
	}
	own := localsecrets.NewKeeper([32]byte(key))
	defer func() { _ = own.Close() }() // holds nothing
	text, err := own.Decrypt(ctx, in.GetValues())
	if err != nil {
		return nil, ErrUnreadable.Because(err)
	}
	var values ingestv1.SecretValues
	if err := proto.Unmarshal(text, &values); err != nil {
		return nil, ErrUnreadable.Because(err)
	}
	if values.GetOwner() != owner {
		return nil, ErrUnreadable
	}
	return values.GetValues(), nil
}

// OpenKeeper opens the hub's key: the one at url, or the one in a file, which is
// made if there is none yet.
func OpenKeeper(ctx context.Context, url, file string) (*secrets.Keeper, error) {
	if url != "" {
		k, err := secrets.OpenKeeper(ctx, url)
		if err != nil {
			return nil, fmt.Errorf("open the key of secrets: %w", err)
		}
		return k, nil
	}
	key, err := keyFile(file)
	if err != nil {
		return nil, fmt.Errorf("open the key of secrets: %w", err)
	}
	return localsecrets.NewKeeper(key), nil
}

func keyFile(path string) (key [32]byte, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return key, err
		}
		info, err = os.Stat(path)
	}
	if err != nil {
		return key, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return key, fmt.Errorf("others can read %s: chmod 600 it, and if somebody has, delete it and enter the secrets of all sources again", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return key, err
	}
	if key, err = localsecrets.Base64KeyStd(string(text)); err != nil {
		return key, fmt.Errorf("%s holds no key (32 bytes in base64): restore it from a backup", path)
	}
	return key, nil
}

// makeKey writes a new key unless another process is faster: what is at path is
// always a whole key.
func makeKey(path string) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
