package mongodocs_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/docstore/docstoretest"
	"github.com/securly/sync/services/platform/docstore/mongodocs"
	"github.com/securly/sync/services/platform/testkit/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server keeps what it has acknowledged, whatever becomes of its clients.
type server struct {
	cfg   mongodocs.Config
	store docstore.Store
}

func (s *server) Open(t testing.TB) docstore.Store {
	var err error
	s.store, err = mongodocs.Open(t.Context(), s.cfg)
	require.NoError(t, err)
	return s.store
}

func (s *server) Crash(t testing.TB) { require.NoError(t, s.store.Close()) }

func newServer(t testing.TB) docstoretest.Disk {
	return &server{cfg: mongodocs.Config{URI: config.Secret(mongotest.Find(t).URI), Database: mongotest.Database(t)}}
}

func TestConformance(t *testing.T) {
	// FerretDB lets several conditional updates of one version succeed.
	docstoretest.RunExcept(t, newServer, docstoretest.Except{RacingUpdates: !mongotest.Find(t).Real})
}

func TestBadAddressIsNotRepeated(t *testing.T) {
	_, err := mongodocs.Open(t.Context(), mongodocs.Config{URI: "mongodb://user:hush@host:port/?x", Database: "d"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hush")
}
