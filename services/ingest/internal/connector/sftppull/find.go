package sftppull

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"

	"github.com/securly/sync/services/ingest/internal/connector/fileset"
)

const (
	maxFolders = 1000
	maxDepth   = 4
	maxEntries = 100_000
)

// find looks for the newest package, or the next one that is to be taken.
func (p *pull) find(ctx context.Context, s *session) (*fileset.Set, error) {
	s.conn.allow(listBytes)
	var best *fileset.Set
	var older []*fileset.Set
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
			f := fileset.Choose(folder, entries, p.Files, p.Sentinel, p.Known)
			if f != nil {
				older = append(older, f.Older...)
			}
			if f != nil && (best == nil || cmp.Or(cmp.Compare(f.Modified(), best.Modified()), cmp.Compare(f.Folder, best.Folder)) > 0) {
				f, best = best, f
			}
			if f != nil {
				older = append(older, f)
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
	p.skipped = 0
	if best != nil {
		unseen := best.Unseen(p.Synced, older)
		if p.skipped = len(unseen); p.skipped > 0 && p.InOrder {
			best, p.skipped = unseen[0], 0
		}
	}
	switch {
	case best == nil:
		return nil, refused("SFTP_NO_PACKAGE", "%s holds %s: check the folder, and that the export has run", p.Folder, fileset.Nothing(p.Files))
	case best.Mixed:
		return nil, refused("SFTP_AMBIGUOUS", "%s holds a zip and CSV files as well: say in the source's settings which of them to fetch, or remove one", best.Folder)
	case len(best.Files) > fileset.MaxFiles:
		return nil, refused("SFTP_TOO_MANY", "there are more than %d files of a roster in %s: remove those of other days", fileset.MaxFiles, best.Folder)
	}
	for _, r := range best.Files {
		if r.Size < 0 || r.Size > p.MaxBytes || best.Bytes() > p.MaxBytes {
			return nil, refused("SFTP_TOO_LARGE", "the package in %s is larger than the %d bytes that are allowed", best.Folder, p.MaxBytes)
		}
	}
	return best, nil
}

// list returns the files and folders in a folder. Links are left out: what they
// point to may be anywhere.
func (p *pull) list(ctx context.Context, s *session, folder string) (files []fileset.File, folders []string, err error) {
	entries, err := s.ReadDirContext(ctx, folder)
	if err != nil {
		return nil, nil, failure(err, "list", folder)
	}
	for _, e := range entries {
		name := e.Name()
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) || fileset.Hidden(name) {
			continue
		}
		switch full := path.Join(folder, name); {
		case e.Mode().IsRegular():
			files = append(files, fileset.File{Path: full, Name: name, Size: e.Size(), Modified: e.ModTime().Unix()})
		case e.IsDir():
			folders = append(folders, full)
		}
	}
	slices.SortFunc(files, func(a, b fileset.File) int { return cmp.Compare(a.Path, b.Path) })
	return files, folders, nil
}
