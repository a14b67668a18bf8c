package mongostore_test

import (
	"fmt"
	"hash/fnv"
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
	t.Cleanup(func() { mongotest.Drop(t, cfg.Database) })
	s, err := mongostore.Open(t.Context(), cfg)
	require.NoError(t, err)
	return s
}

func TestConformance(t *testing.T) {
	if mongotest.Find(t).Real {
		storetest.Run(t, open)
	} else {
		storetest.RunSmall(t, open)
	}
}
