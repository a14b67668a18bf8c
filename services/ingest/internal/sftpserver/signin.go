package sftpserver

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
	"github.com/securly/sync/services/ingest/internal/connector/sftpdrop"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/resourceid"
)

// User is the name under which files are dropped for a source. Ids have no dot.
func User(district, source string) string { return district + "." + source }

// account is who has signed in.
type account struct {
	user   string
	source *ingestv1.SourceDocument
	// with is how: by password, or the fingerprint of a key.
	with string
	key  ssh.PublicKey
}

type accountKey struct{}

func permit(a *account) *ssh.Permissions {
	return &ssh.Permissions{ExtraData: map[any]any{accountKey{}: a}}
}

// lookUpTime bounds what a sign-in needs of the documents.
const lookUpTime = 20 * time.Second

var errRefused = errors.New("sign-in refused")

// lookUp returns the source of a user, or nil if there is none.
func (s *Server) lookUp(ctx context.Context, user string) (*ingestv1.SourceDocument, error) {
	district, source, ok := strings.Cut(user, ".")
	if !ok || !resourceid.Valid(district) || !resourceid.Valid(source) {
		return nil, nil
	}
	_, err := s.Store.District(ctx, district)
	if err == nil {
		doc, err := s.Store.Source(ctx, district, source)
		if err == nil {
			c := catalogue.Get(doc.Value.GetSource().GetConnector())
			if c == nil || c.Describe().GetKind() != connector.Drop || doc.Value.GetSource().GetStopped() != nil {
				return nil, nil
			}
			return doc.Value, nil
		}
		return nil, gone(err)
	}
	return nil, gone(err)
}

// gone passes on errors but those that say that something is not there.
func gone(err error) error {
	var known *errs.Error
	if errors.As(err, &known) && known.Code == codes.NotFound {
		return nil
	}
	return err
}

// nobody's password is compared where there is no account, so that the time
// that takes does not tell.
var nobody = sync.OnceValue(func() []byte {
	hash, err := bcrypt.GenerateFromPassword([]byte("nobody"), bcrypt.DefaultCost)
	if err != nil {
		panic(err) // the cost is a constant
	}
	return hash
})

func (s *Server) checkPassword(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookUpTime)
	defer cancel()
	address := addressOf(c.RemoteAddr())
	user := "user " + c.User()
	refuse := func(why string) (*ssh.Permissions, error) {
		s.failures.add(address)
		s.Log.WarnContext(ctx, "sftp: password refused", "user", shown(c.User()), "address", c.RemoteAddr().String(), "why", why)
		return nil, errRefused
	}
	if s.failures.tooMany(address) || s.failures.tooMany(user) {
		return refuse("too many failures before")
	}
	source, err := s.lookUp(ctx, c.User())
	if err != nil {
		s.Log.WarnContext(ctx, "sftp: look up account", "user", shown(c.User()), "error", err)
		return nil, errRefused
	}
	hash := source.GetDropPassword()
	known := len(hash) > 0
	if !known {
		hash = nobody()
	}
	if err := bcrypt.CompareHashAndPassword(hash, password); err != nil || !known {
		s.failures.add(user)
		return refuse("wrong user or password")
	}
	return permit(&account{user: c.User(), source: source, with: "password"}), nil
}

func (s *Server) checkKey(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookUpTime)
	defer cancel()
	source, err := s.lookUp(ctx, c.User())
	if err != nil {
		s.Log.WarnContext(ctx, "sftp: look up account", "user", shown(c.User()), "error", err)
		return nil, errRefused
	}
	if source == nil || weak(key) || !authorized(source, key) {
		return nil, errRefused
	}
	return permit(&account{user: c.User(), source: source, with: ssh.FingerprintSHA256(key), key: key}), nil
}

// authorized tells whether a key is in the settings of a source.
func authorized(source *ingestv1.SourceDocument, key ssh.PublicKey) bool {
	text, err := sftpdrop.AuthorizedKeys(connector.Settings{Struct: source.GetSource().GetSettings()})
	for rest := []byte(text); err == nil && len(rest) > 0; {
		var listed ssh.PublicKey
		if listed, _, _, rest, err = ssh.ParseAuthorizedKey(rest); err == nil && bytes.Equal(listed.Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}

// weak keys are short RSA keys.
func weak(key ssh.PublicKey) bool {
	crypto, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return true
	}
	public, ok := crypto.CryptoPublicKey().(*rsa.PublicKey)
	return ok && public.N.BitLen() < 2048
}

// valid tells whether one could sign in to an account just so again.
func (s *Server) valid(ctx context.Context, a *account) (bool, error) {
	now, err := s.lookUp(ctx, a.user)
	switch {
	case err != nil || now == nil:
		return false, err
	case !proto.Equal(now.GetSource().GetCreateTime(), a.source.GetSource().GetCreateTime()):
		return false, nil
	case a.key != nil:
		return authorized(now, a.key), nil
	}
	return bytes.Equal(now.GetDropPassword(), a.source.GetDropPassword()), nil
}

// shown is a name that somebody has typed, for the log.
func shown(user string) string { return strings.ToValidUTF8(user[:min(len(user), 128)], "?") }

// addressOf is whom failures are counted for: an address, or the network of one
// that can choose among many.
func addressOf(a net.Addr) string {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	ip := at.Addr().Unmap()
	if ip.Is6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

const (
	// maxFailures may come at once, from an address or of a user; then one each
	// failureEvery.
	maxFailures  = 10
	failureEvery = 30 * time.Second
)

// failures counts in vain signing in, in this process.
type failures struct {
	now func() time.Time

	mu sync.Mutex
	of map[string]*rate.Limiter
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, of: map[string]*rate.Limiter{}}
}

func (f *failures) add(who string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.of[who]
	if l == nil {
		l = rate.NewLimiter(rate.Every(failureEvery), maxFailures)
		f.of[who] = l
	}
	l.AllowN(f.now(), 1)
}

func (f *failures) tooMany(who string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.of[who]
	return l != nil && l.TokensAt(f.now()) < 1
}

// forget drops those who have not failed for long.
func (f *failures) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for who, l := range f.of {
		if l.TokensAt(f.now()) >= maxFailures {
			delete(f.of, who)
		}
	}
}
