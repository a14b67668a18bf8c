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

func TestConformance(t *testing.T) { storetest.Run(t, open) }
