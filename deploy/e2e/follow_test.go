package e2e

import (
	"context"
	"maps"
	"net/http"
	"os"
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

// Copies of products follow a district from nothing over two syncs, the second
// of which the hub is killed in, and have exactly the hub's records: all of
// them, or those of one school.
func TestProductsFollow(t *testing.T) {
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
			whole := h.product(t, "followed")
			all, stopAll := follow(t, whole)
			require.Zero(t, all.next(t), "an empty district is followed too")
			h.sync(t, "followed", first)
			require.EqualValues(t, 1, all.next(t))

			limited := h.product(t, "followed", h.school(t, "followed"))
			some, stopSome := follow(t, limited)
			require.EqualValues(t, 1, some.next(t))
			upload, err := h.Upload(t.Context(), "followed", "sis", second)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, upload.Status)
			require.NoError(t, h.Call(t.Context(), "POST", "/v1/districts/followed/sources/sis:sync", map[string]any{}, nil))
			require.NoError(t, h.Restart(within(t, time.Minute)))
			require.EqualValues(t, 2, all.next(t))
			require.EqualValues(t, 2, some.next(t))
			stopAll()
			stopSome()

			exported := export(t, whole)
			require.Empty(t, cmp.Diff(exported, all.records, protocmp.Transform()))
			active := map[string]int{}
			for at := range onlyActive(exported) {
				active[record.EntityName(at.entity)]++
			}
			for _, entity := range entities {
				require.Equal(t, want.Entities[entity], active[entity], entity)
			}
			// What has left the school is a tombstone in the copy, and not in
			// the export.
			ofSchool := onlyActive(export(t, limited))
			require.Empty(t, cmp.Diff(ofSchool, onlyActive(some.records), protocmp.Transform()))
			require.NotEmpty(t, ofSchool)
			require.Less(t, len(ofSchool), len(exported))
		})
	}
}

// follow keeps a copy until stop is called.
func follow(t *testing.T, client *rosterclient.Client) (copied *roster, stop func()) {
	t.Helper()
	copied = &roster{records: map[recordKey]*typev1.Record{}, came: make(chan int32, 8)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Follow(ctx, "followed", copied) }()
	return copied, func() {
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	}
}

func export(t *testing.T, client *rosterclient.Client) map[recordKey]*typev1.Record {
	t.Helper()
	out := map[recordKey]*typev1.Record{}
	for r, err := range client.Export(t.Context(), "followed", 2) {
		require.NoError(t, err)
		out[keyOf(r)] = r
	}
	return out
}

func onlyActive(records map[recordKey]*typev1.Record) map[recordKey]*typev1.Record {
	out := maps.Clone(records)
	maps.DeleteFunc(out, func(_ recordKey, r *typev1.Record) bool {
		_, base := record.Of(r)
		return base.GetStatus() != record.StatusActive
	})
	return out
}

// school returns one of a district's schools.
func (h hub) school(t *testing.T, district string) string {
	t.Helper()
	var page struct {
		Orgs []struct{ SourcedID, Type string }
	}
	h.get(t, "/v1/districts/"+district+"/orgs", &page)
	for _, o := range page.Orgs {
		if o.Type == "school" {
			return o.SourcedID
		}
	}
	require.Fail(t, "no school in the district")
	return ""
}

// product is a client that may read one district, or schools of it, and nothing
// else.
func (h hub) product(t *testing.T, district string, schools ...string) *rosterclient.Client {
	t.Helper()
	var made struct{ ClientID, ClientSecret string }
	require.NoError(t, h.Call(t.Context(), "POST", "/v1/clients", map[string]any{
		"displayName": "Product", "scopes": []string{"rosters.read"}, "districts": []string{district}, "product": "pass",
		"schools": schools,
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
	revision rosterclient.Revision
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

func (r *roster) Revision(context.Context) (rosterclient.Revision, error) { return r.revision, nil }

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
	v.roster.revision = v.about
	v.roster.came <- v.about.Number
	return nil
}

func (v *revision) Rollback(context.Context) error { return nil }
