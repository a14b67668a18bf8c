package sftppull

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
)

const (
	maxFolders = 1000
	maxDepth   = 4
	maxEntries = 100_000
	// maxFiles of a package; the standard has 21.
	maxFiles = 100
)

// remote is a file at the other side.
type remote struct {
	Path, Name string
	Size       int64
	// Seconds since 1970, as the protocol has it.
	Modified int64
}

// found is a package at the other side.
type found struct {
	folder string
	// files make the package.
	files []remote
	// unfinished files are not read, but as long as they change there is more to come.
	unfinished []remote
	// sentinel tells that the file that says so is there, and no older.
	sentinel bool
}

// mark stands for the files of the package.
func (f *found) mark() string { return sum(f.files) }

// observed stands for everything that must not change.
func (f *found) observed() string { return sum(append(slices.Clone(f.files), f.unfinished...)) }

func sum(files []remote) string {
	h := sha256.New()
	for _, r := range files {
		_, _ = fmt.Fprintf(h, "%q %d %d\n", r.Path, r.Size, r.Modified) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))
}

// newest is when the package was last written to.
func (f *found) newest() time.Time {
	var last int64
	for _, r := range slices.Concat(f.files, f.unfinished) {
		last = max(last, r.Modified)
	}
	return time.Unix(last, 0)
}

func (f *found) bytes() (total int64) {
	for _, r := range f.files {
		total += r.Size
	}
	return total
}

// find looks for the newest package.
func (p *pull) find(ctx context.Context, s *session) (*found, error) {
	s.conn.allow(listBytes)
	var best *found
	var mixed string
	seen := 0
	folders := []string{p.Folder}
	for depth := 0; depth <= maxDepth && len(folders) > 0; depth++ {
		var below []string
		for _, folder := range folders {
			entries, subfolders, err := p.list(ctx, s, folder)
			if err != nil {
				return nil, err
			}
			if seen += len(entries) + len(subfolders); seen > maxEntries {
				return nil, refused("SFTP_TOO_MANY", "there are more than %d files in %s: give the hub a folder of its own", maxEntries, p.Folder)
			}
			f, both := p.choose(folder, entries)
			if f != nil && (best == nil || cmp.Or(f.newest().Compare(best.newest()), cmp.Compare(f.folder, best.folder)) > 0) {
				best, mixed = f, ""
				if both {
					mixed = folder
				}
			}
			below = append(below, subfolders...)
		}
		if folders = below; !p.Subfolders {
			break
		}
		if len(folders) > maxFolders {
			return nil, refused("SFTP_TOO_MANY", "there are more than %d folders in %s: give the hub a folder of its own", maxFolders, p.Folder)
		}
	}
	switch {
	case best == nil:
		return nil, refused("SFTP_NO_PACKAGE", "%s holds %s: check the folder, and that the export has run", p.Folder, p.nothing())
	case mixed != "":
		return nil, refused("SFTP_AMBIGUOUS", "%s holds a zip and CSV files as well: say in the source's settings which of them to fetch, or remove one", mixed)
	case len(best.files) > maxFiles:
		return nil, refused("SFTP_TOO_MANY", "there are more than %d files of OneRoster in %s: remove those of other days", maxFiles, best.folder)
	}
	for _, r := range best.files {
		if r.Size < 0 || r.Size > p.MaxBytes || best.bytes() > p.MaxBytes {
			return nil, refused("SFTP_TOO_LARGE", "the package in %s is larger than the %d bytes that are allowed", best.folder, p.MaxBytes)
		}
	}
	return best, nil
}

func (p *pull) nothing() string {
	switch p.Files {
	case "zip":
		return "no zip"
	case "loose":
		return "no CSV file of OneRoster"
	}
	return "neither a zip nor a CSV file of OneRoster"
}

// list returns the files and folders in a folder. Links are left out: what they
// point to may be anywhere.
func (p *pull) list(ctx context.Context, s *session, folder string) (files []remote, folders []string, err error) {
	entries, err := s.ReadDirContext(ctx, folder)
	if err != nil {
		return nil, nil, failure(err, "list", folder)
	}
	for _, e := range entries {
		name := e.Name()
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) || hidden(name) {
			continue
		}
		switch full := path.Join(folder, name); {
		case e.Mode().IsRegular():
			files = append(files, remote{Path: full, Name: name, Size: e.Size(), Modified: e.ModTime().Unix()})
		case e.IsDir():
			folders = append(folders, full)
		}
	}
	slices.SortFunc(files, func(a, b remote) int { return cmp.Compare(a.Path, b.Path) })
	return files, folders, nil
}

// choose picks the package in a folder; nil if there is none. both tells that
// there are two, and no setting to tell which.
func (p *pull) choose(folder string, entries []remote) (_ *found, both bool) {
	var zips, loose []remote
	f := &found{folder: folder}
	var sentinel int64 = -1
	for _, r := range entries {
		if r.Name == p.Sentinel { // which may be a file of the package, the manifest for example
			sentinel = r.Modified
		}
		whole, unfinished := finished(r.Name)
		zip := strings.EqualFold(path.Ext(whole), ".zip")
		switch {
		case !zip && !onerostercsv.Known(whole), zip && p.Files == "loose", !zip && p.Files == "zip":
		case unfinished:
			f.unfinished = append(f.unfinished, r)
		case zip:
			zips = append(zips, r)
		default:
			loose = append(loose, r)
		}
	}
	switch {
	case len(zips) > 0:
		f.files = []remote{slices.MaxFunc(zips, func(a, b remote) int {
			return cmp.Or(cmp.Compare(a.Modified, b.Modified), cmp.Compare(a.Name, b.Name))
		})}
	case len(loose) > 0:
		f.files = loose
	default:
		return nil, false
	}
	last := f.files[0].Modified
	for _, r := range f.files {
		last = max(last, r.Modified)
	}
	f.sentinel = sentinel >= last
	return f, len(zips) > 0 && len(loose) > 0
}

// hidden names are of no sender's making.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~") || name == "__MACOSX" || name == "Thumbs.db"
}

// finished returns the name that a file will have when its sender is done with it.
func finished(name string) (whole string, unfinished bool) {
	for _, suffix := range []string{".tmp", ".part", ".partial", ".filepart", ".incomplete", ".crdownload"} {
		if n := len(name) - len(suffix); n > 0 && strings.EqualFold(name[n:], suffix) {
			return name[:n], true
		}
	}
	return name, false
}
