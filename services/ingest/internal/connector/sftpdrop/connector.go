// Package sftpdrop takes OneRoster CSV packages that a district has dropped into
// the hub's own SFTP server.
//
// That a file was closed does not prove that it is whole: some senders close
// what they break off. So files count when a file that says so was dropped
// behind them, or when nothing has changed for a while, and no upload is under
// way or was cut off meanwhile.
package sftpdrop

import (
	"context"
	_ "embed" // the description
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/fileset"
	"github.com/securly/sync/services/platform/errs"
)

//go:embed connector.json
var description []byte

var described = connector.Describe(description)

// Connector is the connector.
type Connector struct{}

// Describe returns its description.
func (Connector) Describe() *connector.Description { return described }

type settings struct {
	Files          string `json:"files"`
	Sentinel       string `json:"sentinel"`
	QuietMinutes   int    `json:"quietMinutes"`
	AuthorizedKeys string `json:"authorizedKeys"`
}

func read(from connector.Settings) (settings, error) {
	s := settings{Files: "auto", QuietMinutes: 5}
	if from.Struct == nil {
		return s, nil
	}
	return s, from.Decode(&s)
}

// AuthorizedKeys returns the public keys in a source's settings, in the form of
// OpenSSH's file of that name.
func AuthorizedKeys(from connector.Settings) (string, error) {
	s, err := read(from)
	return s.AuthorizedKeys, err
}

// choose picks the package; nil if there is none.
func (s settings) choose(files []connector.Dropped, known func(string) bool) *fileset.Set {
	var entries []fileset.File
	for _, f := range files {
		if !fileset.Hidden(f.Name) {
			entries = append(entries, fileset.File{Path: f.Key, Name: f.Name, Size: f.Size, Modified: f.Time.UnixNano()})
		}
	}
	return fileset.Choose("incoming", entries, s.Files, s.Sentinel, known)
}

// ready fails with NotReady as long as the package may be incomplete.
func (s settings) ready(set *fileset.Set, now time.Time) error {
	if s.Sentinel != "" {
		if set.Sentinel {
			return nil
		}
		return &connector.NotReady{Until: now.Add(time.Minute), Reason: fmt.Sprintf("the file %s, which says that all is there, is missing or older than the other files", s.Sentinel)}
	}
	if until := set.Since(time.Nanosecond).UTC().Add(time.Duration(s.QuietMinutes) * time.Minute); until.After(now) {
		return &connector.NotReady{Until: until, Reason: fmt.Sprintf("files were dropped lately, and count as complete when they have not changed for %d minutes", s.QuietMinutes)}
	}
	return nil
}

// Ready returns the mark of the package in files, of those that are known, if it
// is complete, and the
// files that are done with once it is kept; otherwise nothing.
func Ready(from connector.Settings, known func(name string) bool, files []connector.Dropped, now time.Time) (mark string, used []connector.Dropped, err error) {
	s, err := read(from)
	if err != nil {
		return "", nil, err
	}
	if set := s.choose(files, known); set != nil && s.ready(set, now) == nil {
		return set.Mark(), s.used(files, set), nil
	}
	return "", nil, nil
}

func refused(reason, format string, args ...any) error {
	return errs.Errorf(codes.FailedPrecondition, reason, format, args...)
}

// Pull copies the package that was dropped.
func (Connector) Pull(ctx context.Context, req connector.Request) (*connector.Package, error) {
	s, err := read(req.Settings)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	files, err := req.Inbox.List(ctx)
	if err != nil {
		return nil, err
	}
	set := s.choose(files, req.Known)
	switch {
	case set == nil && req.Last != "":
		return &connector.Package{Mark: req.Last, Unchanged: true}, nil
	case set == nil:
		return nil, refused("DROP_EMPTY", "incoming holds %s: have the export drop its files there", fileset.Nothing(s.Files))
	}
	out := &connector.Package{Mark: set.Mark(), Skipped: len(set.Older), Kept: func(ctx context.Context) error { return req.Inbox.Take(ctx, s.used(files, set)) }}
	if out.Mark == req.Last && !req.Trial {
		out.Unchanged = true
		return out, nil
	}
	if err := s.ready(set, req.Now()); err != nil {
		if !req.Trial {
			return nil, err
		}
		out.Notes = append(out.Notes, err.Error()+"; a sync waits for that")
	}
	switch {
	case set.Mixed:
		return nil, refused("SFTP_AMBIGUOUS", "incoming holds a zip and CSV files as well: say in the source's settings which of them to take, or remove one")
	case set.Bytes() > req.MaxBytes:
		return nil, refused("SFTP_TOO_LARGE", "the package in incoming is larger than the %d bytes that are allowed", req.MaxBytes)
	}
	var done int64
	for _, f := range set.Files {
		to := filepath.Join(req.Dir, path.Base(f.Path)) // never under a name that somebody else has chosen
		done += f.Size
		out.Files = append(out.Files, connector.File{Name: f.Name, Path: to})
		if info, err := os.Stat(to); err == nil && info.Size() == f.Size {
			continue // from an earlier try
		}
		err := fetch(ctx, req.Inbox, connector.Dropped{Name: f.Name, Key: f.Path}, to)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &connector.NotReady{Until: req.Now().Add(time.Minute), Reason: "files in incoming changed while they were read"}
		}
		if err != nil {
			return nil, err
		}
		req.Progress(done, set.Bytes())
	}
	req.Progress(done, done)
	if files, err = req.Inbox.List(ctx); err != nil {
		return nil, err
	}
	if again := s.choose(files, req.Known); !req.Trial && (again == nil || again.Observed() != set.Observed()) {
		return nil, &connector.NotReady{Until: req.Now().Add(time.Minute), Reason: "files in incoming changed while they were read"}
	}
	return out, nil
}

// used are the files that are done with once a package is kept: its own, those
// that were older, zips, what is left of uploads that were cut off, and the file
// that said that all is there. What nobody knows stays.
func (s settings) used(files []connector.Dropped, set *fileset.Set) (out []connector.Dropped) {
	taken := map[string]bool{}
	for _, done := range append(set.Older, set) {
		for _, f := range done.Files {
			taken[f.Path] = true
		}
	}
	for _, f := range files {
		if taken[f.Key] || f.Key == "" || f.Name == s.Sentinel || s.Files != "loose" && strings.EqualFold(path.Ext(f.Name), ".zip") {
			out = append(out, f)
		}
	}
	return out
}

func fetch(ctx context.Context, inbox connector.Inbox, f connector.Dropped, to string) (err error) {
	in, err := inbox.Open(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("copy what was dropped: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy what was dropped: %w", err)
	}
	return nil
}
