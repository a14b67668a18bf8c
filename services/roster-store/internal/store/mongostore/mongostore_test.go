package mongostore_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/testkit/mongotest"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/mongostore"
	"github.com/securly/sync/services/roster-store/internal/store/storetest"
)

// database is a name for what a test keeps in a folder with other engines.
func database(t testing.TB, dir string) string {
	h := fnv.New64a()
	_, err := h.Write([]byte(dir))
	require.NoError(t, err)
	return fmt.Sprintf("rosters_%x", h.Sum64())
}

func open(t testing.TB, dir string) store.Store {
	t.Helper()
	cfg := mongostore.Config{URI: config.Secret(mongotest.Find(t).URI), Database: database(t, dir)}
	if _, known := opened.LoadOrStore(dir, true); !known {
		t.Cleanup(func() {
			check(t, cfg)
			mongotest.Drop(t, cfg.Database)
		})
	}
	s, err := mongostore.Open(t.Context(), cfg)
	require.NoError(t, err)
	return s
}

// opened are the folders whose databases are checked and dropped in the end.
var opened sync.Map

// check finds nothing wrong with what a test leaves behind.
func check(t testing.TB, cfg mongostore.Config) {
	ctx := context.WithoutCancel(t.Context())
	s, err := mongostore.Open(ctx, cfg)
	require.NoError(t, err)
	for d, err := range s.Districts(ctx) {
		require.NoError(t, err)
		for p, err := range s.Check(ctx, d, false) {
			require.NoError(t, err)
			require.Fail(t, "left behind", "%s: %+v", d, p)
		}
	}
	require.NoError(t, s.Close())
}

func TestConformance(t *testing.T) {
	if mongotest.Find(t).Real {
		storetest.Run(t, open)
	} else {
		storetest.RunSmall(t, open)
	}
}
