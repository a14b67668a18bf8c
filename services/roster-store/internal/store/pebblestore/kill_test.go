package pebblestore_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/storetest"
)

// killDir tells the test program that it is the process to be killed.
const killDir = "STORE_KILL_DIR"

const killRecords = 300

var kills = flag.Int("kills", 8, "how often TestKilled kills a process")

func TestKilled(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Fprintln(os.Stderr, storetest.Work(context.Background(), open(t, dir), killRecords, os.Stdout))
		os.Exit(1)
	}
	dir := t.TempDir()
	storetest.Crash(t, *kills, killRecords, func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		return cmd
	}, func() store.Store { return open(t, dir) })
}
