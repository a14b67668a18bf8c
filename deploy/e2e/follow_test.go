package e2e

import (
	"context"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/proto/rosterclient"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/rostergen"
)

// A product's copy follows a district from nothing over two syncs, the second
// of which the hub is killed in, and has exactly the hub's records.
func TestProductFollows(t *testing.T) {
	t.Parallel()
	cfg := rostergen.Config{Seed: 21, Students: 500}
	first, _ := generate(t, cfg)
	cfg.Day, cfg.ChangeShare = 2, 0.1
	second, want := generate(t, cfg)
	for name, start := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, err := startHub(within(t, time.Minute), start)
			require.NoError(t, err)
			defer func() {
				require.NoError(t, h.Stop())
				require.NoError(t, os.RemoveAll(h.DataDir))
			}()
			h.newDistrict(t, "followed")
			client := h.product(t, "followed")
			copied := &roster{records: map[recordKey]*typev1.Record{}, came: make(chan int32, 8)}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- client.Follow(ctx, "followed", copied) }()

			require.Zero(t, copied.next(t), "an empty district is followed too")
			h.sync(t, "followed", first)
			require.EqualValues(t, 1, copied.next(t))
			upload, err := h.Upload(t.Context(), "followed", "sis", second)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, upload.Status)
			require.NoError(t, h.Call(t.Context(), "POST", "/v1/districts/followed/sources/sis:sync", map[string]any{}, nil))
			require.NoError(t, h.Restart(within(t, time.Minute)))
			require.EqualValues(t, 2, copied.next(t))

			exported := map[recordKey]*typev1.Record{}
			active := map[string]int{}
			for r, err := range client.Export(t.Context(), "followed", 2) {
				require.NoError(t, err)
				entity, base := record.Of(r)
				exported[keyOf(r)] = r
				if base.GetStatus() == record.StatusActive {
					active[record.EntityName(entity)]++
				}
			}
			stop()
			require.ErrorIs(t, <-ended, context.Canceled)
			require.Empty(t, cmp.Diff(exported, copied.records, protocmp.Transform()))
			for entity, n := range want.Entities {
				if slices.Contains(entities, entity) {
					require.Equal(t, n, active[entity], entity)
				}
			}
		})
	}
}

// product is a client that may read one district and nothing else.
func (h hub) product(t *testing.T, district string) *rosterclient.Client {
	t.Helper()
	var made struct{ ClientID, ClientSecret string }
	require.NoError(t, h.Call(t.Context(), "POST", "/v1/clients", map[string]any{
		"displayName": "Product", "scopes": []string{"rosters.read"}, "districts": []string{district}, "product": "pass",
	}, &made))
	c, err := rosterclient.Dial(rosterclient.Config{
		Addr: h.GRPCAddr, TokenURL: h.HTTPURL + "/oauth2/token", Plaintext: true,
		ClientID: made.ClientID, ClientSecret: made.ClientSecret,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

type recordKey struct {
	entity typev1.Entity
	id     string
}

func keyOf(r *typev1.Record) recordKey {
	entity, base := record.Of(r)
	return recordKey{entity, base.GetSourcedId()}
}

// roster is a product's copy, tombstones included.
type roster struct {
	revision int32
	records  map[recordKey]*typev1.Record
	came     chan int32
}

// next waits for a revision.
func (r *roster) next(t *testing.T) int32 {
	t.Helper()
	select {
	case n := <-r.came:
		return n
	case <-within(t, time.Minute).Done():
		require.Fail(t, "no revision came")
		return 0
	}
}

func (r *roster) Revision(context.Context) (int32, error) { return r.revision, nil }

func (r *roster) Begin(_ context.Context, rev rosterclient.Revision) (rosterclient.Tx, error) {
	return &revision{roster: r, about: rev}, nil
}

type revision struct {
	roster *roster
	about  rosterclient.Revision
	put    []*typev1.Record
}

func (v *revision) Put(_ context.Context, r *typev1.Record) error {
	v.put = append(v.put, r)
	return nil
}

func (v *revision) Commit(context.Context) error {
	if v.about.Whole {
		clear(v.roster.records)
	}
	for _, r := range v.put {
		v.roster.records[keyOf(r)] = r
	}
	v.roster.revision = v.about.Number
	v.roster.came <- v.about.Number
	return nil
}

func (v *revision) Rollback(context.Context) error { return nil }
