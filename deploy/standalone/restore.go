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
)

// Restore fills an empty data directory, or one that is not there yet, with a backup.
func Restore(ctx context.Context, from, dataDir string) (_ *Manifest, err error) {
	f := folder(dataDir)
	in, err := os.Open(from)
	if err != nil {
		return nil, fmt.Errorf("open the backup: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return nil, fmt.Errorf("open the backup: %w", err)
	}
	switch there, err := os.ReadDir(dataDir); {
	case err == nil && len(there) > 0:
		return nil, fmt.Errorf("%s is not empty: a backup is restored to a folder of its own", dataDir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("look into the data directory: %w", err)
	}
	if err := f.create(); err != nil {
		return nil, err
	}
	if err := enoughRoom(dataDir, info.Size()); err != nil {
		return nil, err
	}
	if err := f.write(restoreFile, nil); err != nil {
		return nil, err
	}
	m, err := f.extract(ctx, tar.NewReader(in))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("restore %s: %w", from, err), f.clear())
	}
	if err := errors.Join(f.syncDirs(), os.Remove(f.path(restoreFile)), syncDir(dataDir)); err != nil {
		return nil, fmt.Errorf("restore %s: %w", from, err)
	}
	return m, nil
}

// clear empties the directory; what says that a restore was broken off goes last.
func (f folder) clear() error {
	there, err := os.ReadDir(string(f))
	for _, e := range there {
		if e.Name() != restoreFile {
			err = errors.Join(err, os.RemoveAll(f.path(e.Name())))
		}
	}
	if err == nil {
		err = os.Remove(f.path(restoreFile))
	}
	return err
}

// syncDirs makes the names of all files survive a power cut.
func (f folder) syncDirs() error {
	return filepath.WalkDir(string(f), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

var errIncomplete = errors.New("the file is no complete backup: it is cut off, or was made by something else")

func (f folder) extract(ctx context.Context, r *tar.Reader) (*Manifest, error) {
	var files []ManifestFile
	for {
		h, err := r.Next()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, tar.ErrHeader):
			return nil, errIncomplete
		case err != nil:
			return nil, err
		case h.Typeflag != tar.TypeReg || !filepath.IsLocal(filepath.FromSlash(h.Name)):
			return nil, fmt.Errorf("%w: it has an entry %q", errIncomplete, h.Name)
		case h.Name == manifestName:
			return checkManifest(r, files)
		}
		m, err := f.extractFile(r, h.Name)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errIncomplete
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		files = append(files, m)
	}
}

func (f folder) extractFile(r io.Reader, name string) (m ManifestFile, err error) {
	path := f.path(filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return m, err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return m, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), r)
	err = errors.Join(err, out.Sync(), out.Close())
	return ManifestFile{Name: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

func checkManifest(r io.Reader, files []ManifestFile) (*Manifest, error) {
	m := &Manifest{}
	if err := json.NewDecoder(r).Decode(m); err != nil {
		return nil, fmt.Errorf("%w: %w", errIncomplete, err)
	}
	if m.Format != backupFormat {
		return nil, fmt.Errorf("the backup has format %d, this program reads %d: use the program that made it, %s", m.Format, backupFormat, m.Version)
	}
	for i, want := range m.Files {
		if i >= len(files) || files[i] != want {
			return nil, fmt.Errorf("the backup is damaged: %s is not as it was written", want.Name)
		}
	}
	if len(files) != len(m.Files) {
		return nil, fmt.Errorf("%w: it has files that it does not name", errIncomplete)
	}
	return m, nil
}
