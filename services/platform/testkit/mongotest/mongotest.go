// Package mongotest finds the MongoDB server that tests run on: the one that the
// environment variable MONGODB_URI names, else a FerretDB that is started for
// the test binary and ends with it.
package mongotest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/mongodb"
)

// Server is where tests connect to.
type Server struct {
	URI string
	// Real tells that it is a MongoDB: it has a query planner, and conditional
	// updates are atomic.
	Real bool
}

// Find returns the server.
func Find(t testing.TB) Server {
	t.Helper()
	if uri := os.Getenv("MONGODB_URI"); uri != "" {
		return Server{URI: uri, Real: true}
	}
	uri, err := start()
	require.NoError(t, err)
	return Server{URI: uri}
}

// Database returns a name that no other test uses; the database is dropped when
// the test ends.
func Database(t testing.TB) string {
	name := fmt.Sprintf("test_%016x", rand.Uint64())
	t.Cleanup(func() { Drop(t, name) })
	return name
}

// Drop removes a database.
func Drop(t testing.TB, name string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	client, err := mongodb.Connect(config.Secret(Find(t).URI))
	require.NoError(t, err)
	require.NoError(t, client.Database(name).Drop(ctx))
	require.NoError(t, client.Disconnect(ctx))
}

// running keeps the pipe to the server open: it ends when that is closed, which
// the end of this process does.
var running *exec.Cmd //nolint:unused // Only held, never read.

var start = sync.OnceValues(func() (string, error) {
	program, err := find()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(program)
	cmd.Stderr = os.Stderr
	if _, err = cmd.StdinPipe(); err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start FerretDB: %w", err)
	}
	running = cmd
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", errors.Join(fmt.Errorf("FerretDB did not say that it is ready: %w", err), cmd.Wait())
	}
	uri, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ok {
		return "", fmt.Errorf("FerretDB says %q instead of that it is ready", line)
	}
	return uri, nil
})

// find walks up to the folder that holds all modules.
func find() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.work above the test: set MONGODB_URI to a MongoDB server for tests")
		}
		dir = up
	}
	program := filepath.Join(dir, ".cache", "tools", "ferretdb")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("no server for tests: run `make tools-ferretdb`, or set MONGODB_URI to a MongoDB server for tests: %w", err)
	}
	return program, nil
}
