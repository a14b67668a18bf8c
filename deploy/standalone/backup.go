package standalone

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"

	operatorv1 "github.com/securly/sync/proto/gen/securly/sync/operator/v1"
	"github.com/securly/sync/services/platform/resourceid"
	"github.com/securly/sync/services/platform/version"
)

// A backup is one tar file. It is not compressed: nearly all that is in it is already. The manifest
// comes last, so that a file without one is incomplete.
const (
	manifestName = "manifest.json"
	backupFormat = 1
)

// Manifest says what a backup holds.
type Manifest struct {
	Format     int            `json:"format"`
	Version    string         `json:"version"` // of the program that made it
	CreateTime time.Time      `json:"createTime"`
	Districts  []string       `json:"districts"`
	Files      []ManifestFile `json:"files"`
}

// ManifestFile is one file of a backup.
type ManifestFile struct {
	Name   string `json:"name"` // in the data directory, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Bytes of all files together.
func (m *Manifest) Bytes() (sum int64) {
	for _, f := range m.Files {
		sum += f.Size
	}
	return sum
}

// Backup writes a backup to out, or into out if that is a folder, and returns its name. It never
// replaces a file, and a file of that name is a complete backup.
func (o *Operator) Backup(ctx context.Context, out string) (file string, _ *Manifest, err error) {
	now := time.Now().UTC()
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		out = filepath.Join(out, "securly-sync-"+now.Format("20060102T150405Z")+".tar")
	}
	if _, err := os.Lstat(out); err == nil {
		return "", nil, fmt.Errorf("%s is there already: choose another name", out)
	}
	if err := o.folder.excludes(filepath.Dir(out)); err != nil {
		return "", nil, err
	}
	// The snapshot is there until the requests end.
	call, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stream, err := o.operator.Snapshot(call)
	if err != nil {
		return "", nil, fmt.Errorf("copy the data: %w", err)
	}
	ready, err := stream.Recv()
	if err != nil {
		return "", nil, fmt.Errorf("copy the data: %w", err)
	}
	defer func() {
		if removed := errors.Join(stream.CloseSend(), ended(stream)); removed != nil {
			err = errors.Join(err, fmt.Errorf("remove the copy of the data: %w", removed))
		}
	}()
	b := &backup{dir: o.folder.path(ready.GetFolder()), manifest: &Manifest{Format: backupFormat, Version: version.String(), CreateTime: now}}
	if err := b.list(); err != nil {
		return "", nil, fmt.Errorf("make a backup: %w", err)
	}
	if err := enoughRoom(filepath.Dir(out), b.manifest.Bytes()); err != nil {
		return "", nil, err
	}
	if err := b.save(ctx, out); err != nil {
		return "", nil, fmt.Errorf("make a backup: %w", err)
	}
	return out, b.manifest, nil
}

func ended(stream grpc.BidiStreamingClient[operatorv1.SnapshotRequest, operatorv1.SnapshotResponse]) error {
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// enoughRoom refuses early what would fail late.
func enoughRoom(dir string, bytes int64) error {
	usage, err := vfs.Default.GetDiskUsage(dir)
	if err != nil {
		return fmt.Errorf("look at the room on the disk of %s: %w", dir, err)
	}
	need := uint64(bytes) + uint64(bytes)/50 // and what a tar adds
	if usage.AvailBytes < need {
		return fmt.Errorf("not enough room: this takes %d MB, and the disk of %s has %d MB left", need>>20+1, dir, usage.AvailBytes>>20)
	}
	return nil
}

// backup writes what is in a folder to a tar file.
type backup struct {
	dir      string
	manifest *Manifest
}

func (b *backup) list() error {
	return filepath.WalkDir(b.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(b.dir, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			if filepath.Dir(rel) == rostersDir && resourceid.Valid(e.Name()) {
				b.manifest.Districts = append(b.manifest.Districts, e.Name())
			}
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		b.manifest.Files = append(b.manifest.Files, ManifestFile{Name: filepath.ToSlash(rel), Size: info.Size()})
		return nil
	})
}

// save gives the file its name when all of it is on the disk.
func (b *backup) save(ctx context.Context, out string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(out), ".securly-sync-backup-*") // for its owner alone
	if err != nil {
		return err
	}
	defer func() {
		if gone := os.Remove(f.Name()); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	err = b.write(ctx, f)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	err = os.Link(f.Name(), out)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: choose another name", out)
	}
	if err != nil { // not every disk can
		err = os.Rename(f.Name(), out)
	}
	return errors.Join(err, syncDir(filepath.Dir(out)))
}

func (b *backup) write(ctx context.Context, to io.Writer) error {
	w := tar.NewWriter(to)
	for i := range b.manifest.Files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := b.file(w, &b.manifest.Files[i]); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(b.manifest, "", "  ")
	if err != nil {
		return err
	}
	if err := w.WriteHeader(b.header(manifestName, int64(len(text)))); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	return w.Close()
}

func (b *backup) header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: b.manifest.CreateTime, Format: tar.FormatPAX}
}

func (b *backup) file(w *tar.Writer, m *ManifestFile) (err error) {
	f, err := os.Open(filepath.Join(b.dir, filepath.FromSlash(m.Name)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := w.WriteHeader(b.header(m.Name, m.Size)); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), f); err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	m.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
