// Package fileset picks the newest package out of a folder that somebody else
// writes to, and tells from names and times what of it is not complete yet.
package fileset

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// MaxFiles of a package; the standard has 21.
const MaxFiles = 100

// File is a file in the folder.
type File struct {
	Path, Name string
	Size       int64
	// Modified grows with every change; its unit is the caller's.
	Modified int64
}

// Set is a package.
type Set struct {
	Folder string
	// Files make the package.
	Files []File
	// Unfinished files are not read, but as long as they change there is more to come.
	Unfinished []File
	// Sentinel tells that the file that says so is there, and no older.
	Sentinel bool
	// Mixed tells that there are two packages, and no setting to tell which.
	Mixed bool
	// Older are zips, and files but for whose date there are newer ones, that were
	// in the folder before: each a package too.
	Older []*Set
}

// Mark stands for the files of the package. It tells their time too, for Unseen.
func (s *Set) Mark() string {
	last := s.newest()
	return fmt.Sprintf("%s %d %q", sum(s.Files), last.Modified, last.Path)
}

// Unseen returns those of some packages that are newer than the one with a mark
// and older than s, the oldest first; none if the mark is of no package.
func (s *Set) Unseen(mark string, others []*Set) (out []*Set) {
	var hash string
	var seen File
	if _, err := fmt.Sscanf(mark, "%s %d %q", &hash, &seen.Modified, &seen.Path); err != nil {
		return nil
	}
	for _, o := range others {
		if order(seen, o.newest()) < 0 && order(o.newest(), s.newest()) < 0 {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *Set) int { return order(a.newest(), b.newest()) })
	return out
}

func (s *Set) newest() File { return slices.MaxFunc(s.Files, order) }

func order(a, b File) int {
	return cmp.Or(cmp.Compare(a.Modified, b.Modified), cmp.Compare(a.Path, b.Path))
}

// Observed stands for everything that must not change.
func (s *Set) Observed() string { return sum(s.all()) }

func (s *Set) all() []File { return slices.Concat(s.Files, s.Unfinished) }

func sum(files []File) string {
	h := sha256.New()
	for _, f := range files {
		_, _ = fmt.Fprintf(h, "%q %d %d\n", f.Path, f.Size, f.Modified) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Modified is when the package was last written to.
func (s *Set) Modified() (last int64) {
	for _, f := range s.all() {
		last = max(last, f.Modified)
	}
	return last
}

// Bytes of the package.
func (s *Set) Bytes() (total int64) {
	for _, f := range s.Files {
		total += f.Size
	}
	return total
}

// Choose picks the package in a folder; nil if there is none. which is "zip",
// "loose" or "auto", and sentinel the name of the file that says that all is
// there, or empty; known tells which files may make a package.
func Choose(folder string, entries []File, which, sentinel string, known func(name string) bool) *Set {
	var zips, loose, older []File
	s := &Set{Folder: folder}
	var said int64 = -1
	for _, f := range entries {
		if f.Name == sentinel { // which may be a file of the package, the manifest for example
			said = f.Modified
		}
		whole, unfinished := finished(f.Name)
		zip := strings.EqualFold(path.Ext(whole), ".zip")
		switch {
		case !zip && !known(whole), zip && which == "loose", !zip && which == "zip":
		case unfinished:
			s.Unfinished = append(s.Unfinished, f)
		case zip:
			zips = append(zips, f)
		default:
			loose = append(loose, f)
		}
	}
	switch {
	case len(zips) > 0:
		slices.SortFunc(zips, func(a, b File) int {
			return cmp.Or(cmp.Compare(a.Modified, b.Modified), cmp.Compare(a.Name, b.Name))
		})
		n := len(zips) - 1
		s.Files, older = zips[n:], zips[:n]
	case len(loose) > 0:
		s.Files, older = versions(loose)
	default:
		return nil
	}
	for i, f := range older {
		s.Older = append(s.Older, &Set{Folder: folder, Files: older[i : i+1], Sentinel: said >= f.Modified})
	}
	last := s.Files[0].Modified
	for _, f := range s.Files {
		last = max(last, f.Modified)
	}
	s.Sentinel, s.Mixed = said >= last, len(zips) > 0 && len(loose) > 0
	return s
}

var date = regexp.MustCompile(`(?:(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d|[0-3]\d[-_.]?[0-3]\d[-_.]?(?:19|20)\d\d)(?:[-_.T ]?\d\d){0,3}`)

// Undated returns a name with a * for the date, and the time, in it.
func Undated(name string) string { return date.ReplaceAllLiteralString(name, "*") }

// versions takes out what is older of files whose names differ only in a date.
// Two that were written at the same time both stay: a person has to choose.
func versions(files []File) (newest, older []File) {
	last := map[string]int64{}
	for _, f := range files {
		name := strings.ToLower(Undated(f.Name))
		if at, ok := last[name]; !ok || at < f.Modified {
			last[name] = f.Modified
		}
	}
	for _, f := range files {
		if Undated(f.Name) != f.Name && f.Modified < last[strings.ToLower(Undated(f.Name))] {
			older = append(older, f)
		} else {
			newest = append(newest, f)
		}
	}
	return newest, older
}

// Hidden names are of no sender's making.
func Hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~") || name == "__MACOSX" || name == "Thumbs.db"
}

// Nothing says what is missing where Choose finds nothing.
func Nothing(which string) string {
	switch which {
	case "zip":
		return "no zip"
	case "loose":
		return "no CSV file of a roster"
	}
	return "neither a zip nor a CSV file of a roster"
}

// Half is what the names of files end in that are being written.
const Half = ".filepart"

// finished returns the name that a file will have when its sender is done with it.
func finished(name string) (whole string, unfinished bool) {
	for _, suffix := range []string{".tmp", ".part", ".partial", Half, ".incomplete", ".crdownload"} {
		if n := len(name) - len(suffix); n > 0 && strings.EqualFold(name[n:], suffix) {
			whole, _ = finished(name[:n])
			return whole, true
		}
	}
	return name, false
}

// Since is when the package was last written to, with the unit of Modified.
func (s *Set) Since(unit time.Duration) time.Time {
	return time.Unix(0, 0).Add(time.Duration(s.Modified()) * unit)
}
