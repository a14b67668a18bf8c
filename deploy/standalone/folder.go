package standalone

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/securly/sync/services/platform/config"
)

// folder is the data directory. Nobody but its owner may look into it: it holds rosters, and the
// secret with which an operator's commands sign in.
type folder string

const (
	secretFile  = "service-secret"
	runningFile = "running.json"
	// restoreFile is there while a restore is under way, and after one that was broken off.
	restoreFile = "restoring"
	// What services keep: events and rosters have a folder of their own, each service has one with
	// a folder of documents.
	eventsDir, rostersDir, documentsDir, temporaryDir = "events", "roster-store", "documents", "temporary"
	// Folders with copies for backups begin with this.
	snapshotPrefix = ".snapshot-"
)

// create makes the directory if it is not there.
func (f folder) create() error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if _, err := os.Stat(f.path(restoreFile)); err == nil {
		return fmt.Errorf("a restore into %s is under way or was broken off: wait for it, or delete the folder and restore again", f)
	}
	return nil
}

func (f folder) path(elements ...string) string {
	return filepath.Join(append([]string{string(f)}, elements...)...)
}

// secret returns what the hub's parts sign in with, made at the first start.
func (f folder) secret() (config.Secret, error) {
	secret, err := f.existingSecret()
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	text := rand.Text() + rand.Text()
	if err := f.write(secretFile, []byte(text+"\n")); err != nil {
		return "", err
	}
	return config.Secret(text), nil
}

func (f folder) existingSecret() (config.Secret, error) {
	text, err := os.ReadFile(f.path(secretFile))
	if err != nil {
		return "", fmt.Errorf("read the hub's secret: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("%s is empty: restore it, or delete it to get a new one", f.path(secretFile))
	}
	return config.Secret(secret), nil
}

// running is where a hub that uses the directory listens.
type running struct {
	PID      int    `json:"pid"`
	GRPCAddr string `json:"grpcAddr"`
	HTTPURL  string `json:"httpUrl"`
}

func (f folder) setRunning(r running) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write %s: %w", runningFile, err)
	}
	return f.write(runningFile, append(text, '\n'))
}

func (f folder) unsetRunning() error {
	if err := os.Remove(f.path(runningFile)); err != nil {
		return fmt.Errorf("remove %s: %w", runningFile, err)
	}
	return nil
}

// running returns where a hub listened last; it may be gone.
func (f folder) running() (running, error) {
	var r running
	text, err := os.ReadFile(f.path(runningFile))
	if err != nil {
		return r, fmt.Errorf("read %s: %w", runningFile, err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", f.path(runningFile), err)
	}
	return r, nil
}

// write replaces a file so that a crash leaves the old one or the new one.
func (f folder) write(name string, content []byte) error {
	temporary, err := os.CreateTemp(string(f), name+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), f.path(name))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}

// excludes fails for a directory within the data directory: what is put there goes into each later
// backup, and outlives the erasure of those who are in it.
func (f folder) excludes(dir string) error {
	own, err := filepath.EvalSymlinks(string(f))
	if err != nil {
		return fmt.Errorf("find the data directory: %w", err)
	}
	other, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	if own, err = filepath.Abs(own); err != nil {
		return fmt.Errorf("find the data directory: %w", err)
	}
	if other, err = filepath.Abs(other); err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	if rel, err := filepath.Rel(own, other); err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("%s is in the data directory: choose a place outside of it", dir)
	}
	return nil
}
