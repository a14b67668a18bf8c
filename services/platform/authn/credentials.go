package authn

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/errs"
)

// ServiceCredentials puts a service's own token on the calls of a connection,
// except on those that already carry one (Forward). client's connection must
// not have these credentials itself.
func ServiceCredentials(client authv1.AuthServiceClient, id, secret string) credentials.PerRPCCredentials {
	return &serviceCredentials{client: client, id: id, secret: secret, now: time.Now}
}

type serviceCredentials struct {
	client     authv1.AuthServiceClient
	id, secret string
	now        func() time.Time

	mu    sync.Mutex
	token string
	renew time.Time
}

func (c *serviceCredentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if md, _ := metadata.FromOutgoingContext(ctx); len(md.Get(header)) > 0 {
		return nil, nil
	}
	token, err := c.fresh(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{header: "Bearer " + token}, nil
}

// RequireTransportSecurity is false: between services the network decides, and
// standalone has none.
func (c *serviceCredentials) RequireTransportSecurity() bool { return false }

func (c *serviceCredentials) fresh(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Before(c.renew) {
		return c.token, nil
	}
	// Other calls wait for this one; it must not end with its caller.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	// The request goes out as the service, whoever the current call is for.
	ctx = metadata.NewOutgoingContext(ctx, nil)
	asked := c.now()
	issued, err := c.client.IssueToken(ctx, &authv1.IssueTokenRequest{ClientId: c.id, ClientSecret: c.secret})
	if err != nil {
		// Whatever the reason: it is the hub's, and must not look like the caller's.
		return "", errs.New(codes.Unavailable, "SERVICE_TOKEN", "the hub's service "+c.id+" cannot get a token").Because(err)
	}
	// Renewed early, so that no token ends on its way.
	c.token = issued.GetAccessToken()
	c.renew = asked.Add(time.Duration(issued.GetExpiresIn()) * time.Second * 3 / 4)
	return c.token, nil
}
