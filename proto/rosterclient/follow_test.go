package rosterclient_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/proto/rosterclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that should happen soon.
const patience = 30 * time.Second

// dial returns a client that does not wait long before it tries again.
func dial(t *testing.T, cfg rosterclient.Config) *rosterclient.Client {
	t.Helper()
	c, err := rosterclient.Dial(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c.Hasten()
}

// database is a product's store with transactions. It may fail, as databases do.
type database struct {
	failing *rand.Rand // nil: never

	mu       sync.Mutex
	revision rosterclient.Revision
	records  state
	open     bool
	begun    []rosterclient.Revision
	wake     chan struct{} // has room for one
}

func newDatabase() *database { return &database{records: state{}, wake: make(chan struct{}, 1)} }

var errDatabase = errors.New("the database is away")

func (d *database) fails() error {
	if d.failing != nil && d.failing.IntN(60) == 0 {
		return errDatabase
	}
	return nil
}

func (d *database) Revision(context.Context) (rosterclient.Revision, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.revision, nil
}

func (d *database) Begin(_ context.Context, r rosterclient.Revision) (rosterclient.Tx, error) {
	if err := d.fails(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		return nil, errors.New("a transaction is open already")
	}
	d.open, d.begun = true, append(d.begun, r)
	next := state{}
	if !r.Whole {
		next = maps.Clone(d.records)
	}
	return &transaction{d: d, revision: r, records: next}, nil
}

type transaction struct {
	d        *database
	revision rosterclient.Revision
	records  state
}

func (tx *transaction) Put(_ context.Context, r *typev1.Record) error {
	tx.records[r.GetUser().GetSourcedId()] = r
	return tx.d.fails()
}

func (tx *transaction) Commit(ctx context.Context) error {
	if err := tx.d.fails(); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	tx.d.mu.Lock()
	defer tx.d.mu.Unlock()
	tx.d.open, tx.d.revision, tx.d.records = false, tx.revision, tx.records
	select {
	case tx.d.wake <- struct{}{}:
	default:
	}
	return nil
}

func (tx *transaction) Rollback(context.Context) error {
	tx.d.mu.Lock()
	defer tx.d.mu.Unlock()
	if !tx.d.open {
		return errors.New("no transaction is open")
	}
	tx.d.open = false
	return nil
}

// at waits until the copy has a revision, and returns it.
func (d *database) at(t *testing.T, revision int) state {
	t.Helper()
	late := time.After(patience)
	for {
		d.mu.Lock()
		have, records := int(d.revision.Number), d.records
		d.mu.Unlock()
		if have == revision {
			return records
		}
		select {
		case <-d.wake:
		case <-late:
			require.Failf(t, "the copy stays behind", "it has revision %d, the hub %d", have, revision)
		}
	}
}

// follow keeps the copy in step until the test ends or the function is called,
// which returns the error.
func follow(t *testing.T, c *rosterclient.Client, d *database) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Follow(ctx, district, d) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

func same(t *testing.T, want, got state) {
	t.Helper()
	require.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
}

// Whatever breaks, a copy has at each revision it commits what the hub has, and
// comes to the hub's last one.
func TestCopyIsTheHubs(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			h := startHubTLS(rand.New(rand.NewPCG(seed, 2)), nil)
			defer h.stop()
			c := dial(t, h.config())
			d := newDatabase()
			d.failing = rand.New(rand.NewPCG(seed, 3))
			checked := &checking{database: d, t: t, hub: h}

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				for { // a product that is started again after each error
					err := c.Follow(ctx, district, checked)
					if !errors.Is(err, errDatabase) && status.Code(err) != codes.Unauthenticated {
						ended <- err
						return
					}
				}
			}()
			head := 1
			for range 30 {
				var records []*typev1.Record
				for range 1 + r.IntN(4*batchSize) {
					status := "active"
					if r.IntN(5) == 0 {
						status = "tobedeleted"
					}
					records = append(records, user(fmt.Sprintf("u%02d", r.IntN(60)), fmt.Sprint(r.IntN(1000), "@example.org"), status))
				}
				h.change(records...)
				head++
				switch r.IntN(8) {
				case 0:
					h.prune()
				case 1:
					d.at(t, head)
				}
			}
			same(t, h.revisions[head], d.at(t, head))
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
			require.False(t, d.open, "a transaction is left open")
		})
	}
}

// checking compares each revision with the hub before it takes it.
type checking struct {
	*database
	t   *testing.T
	hub *hub
}

func (c *checking) Begin(ctx context.Context, r rosterclient.Revision) (rosterclient.Tx, error) {
	tx, err := c.database.Begin(ctx, r)
	if err != nil {
		return nil, err
	}
	return &checkedTx{tx.(*transaction), c}, nil
}

type checkedTx struct {
	*transaction
	c *checking
}

func (tx *checkedTx) Commit(ctx context.Context) error {
	tx.c.hub.mu.Lock()
	want := tx.c.hub.revisions[tx.revision.Number]
	tx.c.hub.mu.Unlock()
	if diff := cmp.Diff(want, tx.records, protocmp.Transform()); diff != "" {
		tx.c.t.Errorf("revision %d (-hub +copy):\n%s", tx.revision.Number, diff)
	}
	return tx.transaction.Commit(ctx)
}

// What happens in between is seen once, in order.
func TestFollowGoesOnFromTheStore(t *testing.T) {
	h := startHub()
	defer h.stop()
	d := newDatabase()
	stop := follow(t, dial(t, h.config()), d)
	d.at(t, 1)
	require.ErrorIs(t, stop(), context.Canceled)
	for range 3 {
		h.commit("later@example.org")
	}
	follow(t, dial(t, h.config()), d)
	same(t, h.revisions[4], d.at(t, 4))
	h.listener.cut()
	h.commit("last@example.org")
	same(t, h.revisions[5], d.at(t, 5))
	var numbers []int32
	for i, r := range d.begun {
		require.Equal(t, i == 0, r.Whole)
		require.False(t, r.CommitTime.IsZero())
		numbers = append(numbers, r.Number)
	}
	require.Equal(t, []int32{1, 2, 3, 4, 5}, numbers)
}

// A copy that the hub cannot go on from starts again as a whole.
func TestFollowStartsAgain(t *testing.T) {
	ann, bo := user("u1", "ann@example.org", "active"), user("u2", "bo@example.org", "active")
	for name, c := range map[string]struct {
		meanwhile func(h *hub)
		head      int
	}{
		"revision gone":         {func(h *hub) { h.commit("a@x"); h.commit("b@x"); h.prune() }, 4},
		"restored from before":  {func(h *hub) { h.replace(state{"u1": ann}) }, 1},
		"restored and gone on":  {func(h *hub) { h.replace(state{"u1": ann}, state{"u1": ann}, state{"u1": ann}) }, 3},
		"erased and made again": {func(h *hub) { h.replace() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHub()
			defer h.stop()
			h.change(bo)
			d := newDatabase()
			client := dial(t, h.config())
			stop := follow(t, client, d)
			d.at(t, 2)
			require.ErrorIs(t, stop(), context.Canceled)
			c.meanwhile(h)
			follow(t, client, d)
			same(t, h.revisions[c.head], d.at(t, c.head))
			require.True(t, d.begun[len(d.begun)-1].Whole)
			h.commit("next@example.org")
			same(t, h.revisions[c.head+1], d.at(t, c.head+1))
		})
	}
}

// A hub that is away, or has new keys, is waited for.
func TestFollowWaits(t *testing.T) {
	h := startHub()
	defer h.stop()
	d := newDatabase()
	follow(t, dial(t, h.config()), d)
	d.at(t, 1)
	h.mu.Lock()
	h.refuse = codes.Unavailable
	h.mu.Unlock()
	h.listener.cut()
	h.commit("a@example.org")
	require.Eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.seen[1] > 5
	}, patience, time.Millisecond, "it tries again and again")
	h.mu.Lock()
	h.refuse = codes.OK
	h.mu.Unlock()
	h.expire()
	same(t, h.revisions[2], d.at(t, 2))
}

func TestFollowGivesUp(t *testing.T) {
	h := startHub()
	defer h.stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	good := dial(t, h.config())

	err := good.Follow(ctx, "elsewhere", newDatabase())
	require.ErrorIs(t, err, rosterclient.ErrDistrictUnknown)
	require.Equal(t, codes.NotFound, status.Code(err))

	wrong := h.config()
	wrong.ClientSecret = "made-up as well"
	err = dial(t, wrong).Follow(ctx, district, newDatabase())
	require.Equal(t, codes.Unauthenticated, status.Code(err), err)
	require.ErrorContains(t, err, "invalid_client")
	require.NotContains(t, err.Error(), wrong.ClientSecret)

	d := newDatabase()
	d.open = true // by somebody else
	require.ErrorContains(t, good.Follow(ctx, district, d), "begin revision 1 in the copy of maple: a transaction is open already")

	h.refuse = codes.PermissionDenied
	require.Equal(t, codes.PermissionDenied, status.Code(good.Follow(ctx, district, newDatabase())))
}

// An export is of one revision and has each record once, whatever breaks and
// whatever is committed meanwhile.
func TestExport(t *testing.T) {
	for seed := range uint64(8) {
		h := startHubTLS(rand.New(rand.NewPCG(seed, 4)), nil)
		var records []*typev1.Record
		for i := range 100 {
			records = append(records, user(fmt.Sprintf("u%03d", i), "a@example.org", "active"))
		}
		h.change(records...)
		c := dial(t, h.config())
		var ids []string
		for r, err := range c.Export(t.Context(), district, 0) {
			require.NoError(t, err)
			if ids = append(ids, r.GetUser().GetSourcedId()); len(ids)%10 == 1 {
				h.change(user(fmt.Sprint("u", len(ids)), "new@example.org", "active"))
			}
		}
		var want []string
		for _, r := range sorted(h.revisions[2]) {
			want = append(want, r.GetUser().GetSourcedId())
		}
		require.Equal(t, want, ids)

		head, err := c.Head(t.Context(), district)
		require.NoError(t, err)
		require.EqualValues(t, len(h.revisions)-1, head)
		h.stop()
	}
}

func TestExportRefused(t *testing.T) {
	h := startHub()
	defer h.stop()
	h.commit("a@example.org")
	h.prune()
	c := dial(t, h.config())
	for revision, want := range map[int32]error{1: rosterclient.ErrRevisionGone, 9: rosterclient.ErrRevisionUnknown} {
		n := 0
		for _, err := range c.Export(t.Context(), district, revision) {
			require.ErrorIs(t, err, want)
			n++
		}
		require.Equal(t, 1, n)
	}
	for r, err := range c.Export(t.Context(), district, 2) {
		require.NoError(t, err)
		require.NotNil(t, r)
		break // leaves the stream
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no longer needed")
	cancel(why)
	for _, err := range c.Export(ctx, district, 2) {
		require.ErrorIs(t, err, why)
	}
}

func TestEncryptionIsTheDefault(t *testing.T) {
	borrowed := httptest.NewTLSServer(nil) // for its certificate
	defer borrowed.Close()
	h := startHubTLS(nil, &borrowed.TLS.Certificates[0])
	defer h.stop()
	trusted := x509.NewCertPool()
	trusted.AddCert(borrowed.Certificate())

	cfg := h.config()
	cfg.Plaintext = false
	cfg.TLS = &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}
	head, err := dial(t, cfg).Head(t.Context(), district)
	require.NoError(t, err)
	require.EqualValues(t, 1, head)

	for name, c := range map[string]struct {
		spoil func(*rosterclient.Config)
		want  string
	}{
		"plain token URL": {func(c *rosterclient.Config) { c.TokenURL = "http://hub.example/oauth2/token" }, "unencrypted"},
		"no token URL":    {func(c *rosterclient.Config) { c.TokenURL = "" }, "TokenURL"},
		"other scheme":    {func(c *rosterclient.Config) { c.TokenURL, c.Plaintext = "ftp://hub.example/", true }, "TokenURL"},
		"no address":      {func(c *rosterclient.Config) { c.Addr = "" }, "Addr"},
		"no secret":       {func(c *rosterclient.Config) { c.ClientSecret = "" }, "ClientSecret"},
	} {
		spoiled := cfg
		c.spoil(&spoiled)
		_, err := rosterclient.Dial(spoiled)
		require.ErrorContains(t, err, c.want, name)
	}
}
