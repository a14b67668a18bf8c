// Package rosterclient gives a product the rosters of a Securly Sync hub: all of
// a district's records at one revision, and a copy that follows the district
// for as long as the product runs.
//
// # Keeping a copy
//
// Client.Follow does the whole job: it exports a district that the product has
// nothing of, then hands over what each later revision changes, comes back
// after a lost connection, a restart of the hub or an expired token, and starts
// again from an export when the hub no longer has what the copy would need next.
// The product supplies a Store, which maps to what a database offers: one
// transaction for each revision.
//
// What to store, and when: the records, by entity and sourcedId, and with them
// the number and time of the revision, in the same transaction. Nothing else. Then no
// crash and no break, wherever it happens, makes the copy miss a change or take
// one twice:
//
//   - A transaction is committed only when its revision has arrived completely.
//     If the stream breaks in between, it is rolled back and the same revision
//     begins again, so nothing of a half revision is ever to be kept.
//   - Follow asks the Store for its revision when it starts, and goes on there.
//   - A record that is gone comes as a record with the status "tobedeleted". So
//     does one that leaves the schools that the product's client is limited to.
//   - A person that was erased at the hub comes as an update to what is kept of
//     it: id, status, roles and the ids of relatives. To put that in the place of
//     the record erases the person from the copy. Older records and whatever else
//     was made of it, the product has to erase itself; so has one that only
//     exports.
//
// A store without transactions keeps the promise too if it writes the number of
// the revision last: applying a revision again over a part of itself does no
// harm.
//
// The copy is one of what the client may see. When the schools that it is limited
// to are changed, give the product an empty copy: records of a school that was
// added would otherwise come only when they change.
//
// # Reading once
//
// Client.Export yields every record of one revision and resumes by itself after
// the last one that has arrived.
//
// Memory is bounded by one message of the stream, about half a megabyte,
// whatever the size of the district.
package rosterclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
)

const (
	// maxMessage is what the hub sends at most.
	maxMessage = 16 << 20
	// idleLimit is how long a stream may bring nothing. The hub sends a
	// bookmark every 15 seconds, so the connection is lost without a word.
	idleLimit = time.Minute
)

// Config says where a hub is and which client of it the product is.
type Config struct {
	// Addr is the gRPC address of the roster service: "sync.example.org:9090".
	Addr string
	// TokenURL is where tokens are issued: "https://sync.example.org/oauth2/token".
	TokenURL string
	// ClientID and ClientSecret are those of a client with the scope
	// rosters.read, as `securly-sync client create` prints them.
	ClientID, ClientSecret string
	// TLS says which certificates to trust; nil means those of the system.
	TLS *tls.Config
	// Plaintext sends the secret, the tokens and the rosters without
	// encryption: for a hub on the same machine, or behind a proxy there.
	Plaintext bool
	// Log hears of every attempt that failed and is made again; nil means
	// slog.Default().
	Log *slog.Logger
}

// Client reads rosters. It may be used from any number of goroutines; to follow
// several districts, call Follow for each in a goroutine of its own.
type Client struct {
	roster rosterv1.RosterServiceClient
	log    *slog.Logger
	tokens *tokens // nil: the connection brings its own
	conn   *grpc.ClientConn
	pause  func(attempt int) time.Duration
}

// Dial returns a client of a hub. It connects on first use. Options are for
// tracing and the like.
func Dial(cfg Config, opts ...grpc.DialOption) (*Client, error) {
	if cfg.Addr == "" {
		return nil, errors.New("rosterclient: Addr is empty: set the gRPC address of the roster service")
	}
	tokens, err := newTokens(cfg)
	if err != nil {
		return nil, fmt.Errorf("rosterclient: %w", err)
	}
	transport := credentials.NewTLS(cfg.TLS)
	if cfg.Plaintext {
		transport = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient(cfg.Addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(tokens),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("rosterclient: connect to %s: %w", cfg.Addr, err)
	}
	c := New(conn, cfg.Log)
	c.tokens, c.conn = tokens, conn
	return c, nil
}

// New returns a client on a connection that brings its own credentials and
// stays the caller's. A nil log means slog.Default().
func New(conn grpc.ClientConnInterface, log *slog.Logger) *Client {
	if log == nil {
		log = slog.Default()
	}
	return &Client{roster: rosterv1.NewRosterServiceClient(conn), log: log, pause: pause}
}

// Close ends all calls and the connection that Dial has made.
func (c *Client) Close() error {
	if c.conn == nil {
		return nil
	}
	c.tokens.http.CloseIdleConnections()
	return c.conn.Close()
}

// Head returns the newest revision of a district, 0 if it has no roster yet.
func (c *Client) Head(ctx context.Context, district string) (int32, error) {
	for tries := c.attempts("head", district); ; {
		summary, err := c.roster.GetSummary(ctx, &rosterv1.GetSummaryRequest{District: district})
		if err == nil {
			return summary.GetRevision(), nil
		}
		if err := tries.wait(ctx, err); err != nil {
			return 0, err
		}
	}
}
