package standalone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	operatorv1 "github.com/securly/sync/proto/gen/securly/sync/operator/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/rpc"
)

// answerTime is how long a hub that runs may take to say so.
const answerTime = 3 * time.Second

// Operator does what the command line may do: whoever can read the data directory is an operator.
type Operator struct {
	folder folder
	url    string // "" when no hub is running
	opened lifecycle.Stack

	auth     authv1.AuthServiceClient
	operator operatorv1.OperatorServiceClient
	ingest   ingestv1.UpkeepServiceClient
	checks   []checker
}

// Operator returns the operator of a hub in this process.
func (h *Hub) Operator() (*Operator, error) {
	conn, err := h.dialAs("cli")
	if err != nil {
		return nil, err
	}
	o := &Operator{folder: h.folder, url: h.URL()}
	o.use(conn)
	return o, nil
}

// use makes the clients of a connection that carries the operator's token.
func (o *Operator) use(conn *grpc.ClientConn) {
	o.auth = authv1.NewAuthServiceClient(conn)
	o.operator = operatorv1.NewOperatorServiceClient(conn)
	o.ingest = ingestv1.NewUpkeepServiceClient(conn)
	o.checks = []checker{rosterv1.NewUpkeepServiceClient(conn), o.ingest, readinessv1.NewUpkeepServiceClient(conn)}
}

// Connect returns the operator of the hub of a data directory: of the one that runs, else of what it
// has stored. Close ends it.
func Connect(ctx context.Context, dataDir string, log *slog.Logger) (*Operator, error) {
	f := folder(dataDir)
	if err := f.create(); err != nil {
		return nil, err
	}
	secret, err := f.secret()
	if err != nil {
		return nil, err
	}
	r, err := f.running()
	if err == nil {
		if o, err := connectTo(ctx, f, r, secret); err == nil {
			return o, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return openStored(ctx, f, secret, log)
}

// connectTo reaches the hub that listens there, if it still does.
func connectTo(ctx context.Context, f folder, r running, secret config.Secret) (_ *Operator, err error) {
	o := &Operator{folder: f, url: r.HTTPURL}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.Close())
		}
	}()
	err = o.connect(secret, func(opts ...grpc.DialOption) (*grpc.ClientConn, error) { return rpc.Dial(r.GRPCAddr, opts...) })
	if err != nil {
		return nil, err
	}
	// After a crash another program, or another hub, may listen there.
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if _, err := o.auth.GetMe(ctx, &authv1.GetMeRequest{}); err != nil {
		return nil, fmt.Errorf("reach the hub at %s: %w", r.GRPCAddr, err)
	}
	return o, nil
}

// openStored runs what a hub answers with on what is stored, without its doors and without anything
// that works by itself.
func openStored(ctx context.Context, f folder, secret config.Secret, log *slog.Logger) (_ *Operator, err error) {
	o := &Operator{folder: f}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.Close())
		}
	}()
	h := newHub(Config{DataDir: string(f)}, Deps{Log: log, Registry: prometheus.NewRegistry()})
	o.opened.Push("stored state", h.Close)
	if err := h.open(ctx); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- h.server.Serve(h.network.Listener()) }()
	o.opened.Push("in-memory server", func() error {
		h.server.Stop()
		return <-ended
	})
	return o, o.connect(secret, h.network.Dial)
}

// connect makes the connection that carries the operator's token, and the one to get it with.
func (o *Operator) connect(secret config.Secret, dial func(...grpc.DialOption) (*grpc.ClientConn, error)) error {
	plain, err := dial()
	if err != nil {
		return err
	}
	o.opened.Push("connection", plain.Close)
	conn, err := dial(grpc.WithPerRPCCredentials(
		authn.ServiceCredentials(authv1.NewAuthServiceClient(plain), "service:cli", secret.Reveal())))
	if err != nil {
		return err
	}
	o.opened.Push("connection", conn.Close)
	o.use(conn)
	return nil
}

// CreateClient makes a client; the answer holds its secret.
func (o *Operator) CreateClient(ctx context.Context, req *authv1.CreateClientRequest) (*authv1.Client, error) {
	return o.auth.CreateClient(ctx, req)
}

// SignInLink makes a link that signs one browser in, once.
func (o *Operator) SignInLink(ctx context.Context) (link string, expires time.Time, err error) {
	if o.url == "" {
		return "", time.Time{}, errors.New("no hub is running on this data directory: start it with `securly-sync serve`, which prints a link")
	}
	made, err := o.auth.CreateSignInLink(ctx, &authv1.CreateSignInLinkRequest{})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("make a sign-in link: %w", err)
	}
	return o.url + "/auth/link?code=" + url.QueryEscape(made.GetCode()), made.GetExpireTime().AsTime(), nil
}

// Close ends the connection and closes what Connect has opened.
func (o *Operator) Close() error { return o.opened.Close() }
