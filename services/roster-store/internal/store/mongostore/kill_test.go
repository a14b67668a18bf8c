package mongostore_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/testkit/mongotest"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/mongostore"
	"github.com/securly/sync/services/roster-store/internal/store/storetest"
)

// What tells the test program that it is the process to be killed.
const (
	killURI      = "STORE_KILL_URI"
	killDatabase = "STORE_KILL_DATABASE"
)

const killRecords = 20

var kills = flag.Int("kills", 3, "how often TestKilled kills a process")

func TestKilled(t *testing.T) {
	if uri := os.Getenv(killURI); uri != "" {
		s, err := mongostore.Open(t.Context(), mongostore.Config{URI: config.Secret(uri), Database: os.Getenv(killDatabase)})
		require.NoError(t, err)
		fmt.Fprintln(os.Stderr, storetest.Work(context.Background(), s, killRecords, os.Stdout))
		os.Exit(1)
	}
	cfg := mongostore.Config{URI: config.Secret(mongotest.Find(t).URI), Database: mongotest.Database(t)}
	storetest.Crash(t, *kills, killRecords, func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
		cmd.Env = append(os.Environ(), killURI+"="+cfg.URI.Reveal(), killDatabase+"="+cfg.Database)
		return cmd
	}, func() store.Store {
		s, err := mongostore.Open(t.Context(), cfg)
		require.NoError(t, err)
		return s
	})
}
