package pebblestore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/pebblestore"
	"github.com/securly/sync/services/roster-store/internal/store/storetest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func open(t testing.TB, dir string) store.Store {
	t.Helper()
	s, err := pebblestore.Open(pebblestore.Config{Dir: dir})
	require.NoError(t, err)
	return s
}

func TestModelQuick(t *testing.T) {
	for seed := range uint64(6) {
		s := open(t, t.TempDir())
		storetest.RunModel(t, s, seed, 6)
		require.NoError(t, s.Close())
	}
}
