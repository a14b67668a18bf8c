package standalone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	operatorv1 "github.com/securly/sync/proto/gen/securly/sync/operator/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
)

// A snapshot is everything as it is at one moment. Services go from one document to the next in such
// steps that a process may die between any two; so the documents are kept from changing while the
// rest is copied, and a hub that starts on the copy finds what it would find after its death at that
// moment. A commit that ends meanwhile is in the rosters and not yet in the documents: it is
// repeated, and answers with the same revision. Events are not copied: they only wake.

type operatorServer struct {
	operatorv1.UnimplementedOperatorServiceServer
	hub  *Hub
	busy sync.Mutex
}

var errSnapshotBusy = errs.New(codes.FailedPrecondition, "BACKUP_UNDER_WAY", "another backup is being made: wait for its end")

// Snapshot makes a snapshot that is there until the caller ends the requests, or dies.
func (s *operatorServer) Snapshot(stream grpc.BidiStreamingServer[operatorv1.SnapshotRequest, operatorv1.SnapshotResponse]) (err error) {
	if !s.busy.TryLock() {
		return errSnapshotBusy
	}
	defer s.busy.Unlock()
	dir, err := os.MkdirTemp(s.hub.DataDir(), snapshotPrefix)
	if err != nil {
		return fmt.Errorf("make a folder for a copy: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := s.hub.snapshot(stream.Context(), dir); err != nil {
		return err
	}
	if err := stream.Send(&operatorv1.SnapshotResponse{Folder: filepath.Base(dir)}); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

const (
	// freeze is how long documents may be kept from changing: runners renew
	// their leases in less than twice that.
	freeze        = 5 * time.Second
	snapshotTries = 8
)

// errSnapshotSlow mostly means that a first load is being committed, or a person erased.
var errSnapshotSlow = errs.New(codes.Unavailable, "BACKUP_BUSY",
	"the rosters are being written to, and documents must not wait for that: try again in a few minutes")

// snapshot copies everything to a folder. What never changes is linked. Documents wait only for a
// moment; if that is not enough, it begins again after a pause.
func (h *Hub) snapshot(ctx context.Context, dir string) error {
	for try := 1; ; try++ {
		brief, cancel := context.WithTimeoutCause(ctx, freeze, errSnapshotSlow)
		err := h.copyFrozen(brief, dir)
		cancel()
		if !errors.Is(err, errSnapshotSlow) || try == snapshotTries {
			return err
		}
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
			return fmt.Errorf("begin a copy again: %w", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(freeze):
		}
	}
}

func (h *Hub) copyFrozen(ctx context.Context, dir string) error {
	for service, docs := range h.docs {
		if err := os.MkdirAll(filepath.Join(dir, service), 0o700); err != nil {
			return fmt.Errorf("make a folder for a copy: %w", err)
		}
		release, err := docstore.Checkpoint(docs, filepath.Join(dir, service, documentsDir))
		if err != nil {
			return fmt.Errorf("%s: %w", service, err)
		}
		defer release()
	}
	if err := h.rosters.Backup(ctx, filepath.Join(dir, rostersDir)); err != nil {
		return err
	}
	return h.linkFiles(ctx, dir)
}

// linkFiles copies what is in no database: files that are written once, under another name until
// they are complete.
func (h *Hub) linkFiles(ctx context.Context, dir string) error {
	own := []string{rostersDir, eventsDir, runningFile, filepath.Join("ingest", temporaryDir)}
	for service := range h.docs {
		own = append(own, filepath.Join(service, documentsDir))
	}
	skip := map[string]bool{}
	for _, name := range own {
		skip[h.folder.path(name)] = true
	}
	return filepath.WalkDir(h.DataDir(), func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // deleted meanwhile
		case err != nil:
			return fmt.Errorf("copy files: %w", err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case skip[path] || strings.HasPrefix(e.Name(), snapshotPrefix):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case strings.HasSuffix(e.Name(), unfinishedBlob):
			return nil
		}
		rel, err := filepath.Rel(h.DataDir(), path)
		if err != nil {
			return fmt.Errorf("copy files: %w", err)
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(dir, rel), 0o700)
		}
		if err := vfs.LinkOrCopy(vfs.Default, path, filepath.Join(dir, rel)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("copy files: %w", err)
		}
		return nil
	})
}

// unfinishedBlob ends the names of files that are being written to a folder of files.
const unfinishedBlob = ".tmp"

// removeSnapshots removes what a hub has left that died while a backup was made.
func (f folder) removeSnapshots() error {
	left, err := filepath.Glob(f.path(snapshotPrefix + "*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}
