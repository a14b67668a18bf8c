package sftpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pkg/sftp"

	"github.com/securly/sync/services/ingest/internal/dropbox"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
)

// The two folders, and the file in each folder of processed.
const (
	incoming   = "incoming"
	processed  = "processed"
	keptFile   = "package.zip"
	timeFormat = "2006-01-02T15-04-05.000Z"
)

// tree is what a session sees. Its paths come cleaned and absolute, so that none
// leads out; and there is nothing outside.
type tree struct {
	server  *Server
	session *session
	account *account
	ctx     context.Context
}

func (t *tree) box() *dropbox.Box {
	s, of := t.server, t.account.source
	return &dropbox.Box{
		Store: s.Store, Blobs: s.Blobs, Now: s.Now, District: of.GetDistrict(), ID: of.GetSource().GetSourceId(), MaxBytes: s.MaxBytes, Of: of,
	}
}

// changeable returns the name of a file in incoming.
func changeable(p string) (string, error) {
	dir, name := path.Split(p)
	if dir != "/"+incoming+"/" || name == "" {
		return "", os.ErrPermission
	}
	if len(name) > 200 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }) {
		return "", errors.New("such a name cannot be kept")
	}
	return name, nil
}

// answer makes of an error what a client is told.
func (t *tree) answer(err error, what, name string) error {
	var known *errs.Error
	switch {
	case err == nil, errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, sftp.ErrSSHFxOpUnsupported):
		return err
	case errors.Is(err, os.ErrExist):
		return errors.New("there is a file of this name already")
	case errors.Is(err, dropbox.ErrFull):
		t.audit("no room", name)
		return errors.New(dropbox.ErrFull.Error())
	case errors.As(err, &known) && gone(err) == nil:
		return os.ErrPermission // the account is being closed
	}
	t.session.log.WarnContext(t.ctx, "sftp: a request failed", "request", what, "file", name, "error", err)
	return errors.New("the hub could not do that: try again")
}

// audit says who did what to which file.
func (t *tree) audit(what, name string, more ...any) {
	t.session.log.InfoContext(t.ctx, "sftp: request", append([]any{"did", what, "file", name}, more...)...)
}

// Filewrite begins a file.
func (t *tree) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	name, err := changeable(r.Filepath)
	if err != nil {
		return nil, err
	}
	files, err := t.box().List(t.ctx)
	if err != nil {
		return nil, t.answer(err, "list files", name)
	}
	flags, there := r.Pflags(), false
	for _, f := range files {
		there = there || f.Name == name && f.Key != ""
	}
	switch {
	case flags.Excl && there:
		return nil, t.answer(os.ErrExist, "", name)
	case flags.Append, there && !flags.Trunc:
		return nil, errors.New("a file cannot be gone on with: send all of it again")
	}
	u, err := t.begin(name)
	if err != nil {
		return nil, t.answer(err, "begin file", name)
	}
	return u, nil
}

// Filecmd does everything but reading, writing and listing.
func (t *tree) Filecmd(r *sftp.Request) error {
	switch r.Method {
	case "Rename":
		return t.rename(r, false)
	case "Remove":
		name, err := changeable(r.Filepath)
		if err != nil {
			return err
		}
		if err := t.box().Remove(t.ctx, name); err != nil {
			return t.answer(err, "remove file", name)
		}
		t.audit("file removed", name)
		return nil
	case "Setstat":
		if r.AttrFlags().Size {
			return sftp.ErrSSHFxOpUnsupported
		}
		// Times and permissions are the hub's; many clients set them and would take
		// a refusal for a failure of the upload.
		_, err := changeable(r.Filepath)
		return err
	}
	return os.ErrPermission // no folders, no links
}

// PosixRename renames over what is there.
func (t *tree) PosixRename(r *sftp.Request) error { return t.rename(r, true) }

func (t *tree) rename(r *sftp.Request, replace bool) error {
	from, err := changeable(r.Filepath)
	if err != nil {
		return err
	}
	to, err := changeable(r.Target)
	if err != nil {
		return err
	}
	if err := t.box().Rename(t.ctx, from, to, replace); err != nil {
		return t.answer(err, "rename file", from)
	}
	t.audit("file renamed", from, "to", to)
	return nil
}

// entry is a file or a folder.
type entry struct {
	name   string
	folder bool
	size   int64
	time   time.Time
	blob   string
}

func (e entry) Name() string       { return e.name }
func (e entry) Size() int64        { return e.size }
func (e entry) ModTime() time.Time { return e.time }
func (e entry) IsDir() bool        { return e.folder }
func (e entry) Sys() any           { return nil }
func (e entry) Mode() os.FileMode {
	if e.folder {
		return fs.ModeDir | 0o500
	}
	return 0o400
}

// list returns what is in a folder.
func (t *tree) list(dir string) ([]entry, error) {
	switch above, name := path.Split(dir); {
	case dir == "/":
		now := t.server.Now()
		return []entry{{name: incoming, folder: true, time: now}, {name: processed, folder: true, time: now}}, nil
	case dir == "/"+incoming:
		files, err := t.box().List(t.ctx)
		if err != nil {
			return nil, err
		}
		out := make([]entry, 0, len(files))
		for _, f := range files {
			out = append(out, entry{name: f.Name, size: f.Size, time: f.Time, blob: f.Key})
		}
		return out, nil
	case dir == "/"+processed:
		return t.kept("")
	case above == "/"+processed+"/":
		return t.kept(name)
	}
	return nil, os.ErrNotExist
}

// kept lists the packages that are kept, or what is in the folder of one.
func (t *tree) kept(folder string) (out []entry, err error) {
	of := t.account.source
	for doc, err := range t.server.Store.Uploads.All(t.ctx, state.Within(of.GetDistrict(), of.GetSource().GetSourceId())) {
		if err != nil {
			return nil, err
		}
		at := doc.Value.GetCreateTime().AsTime()
		switch name := at.UTC().Format(timeFormat); folder {
		case "":
			out = append(out, entry{name: name, folder: true, time: at})
		case name:
			return []entry{{name: keptFile, size: doc.Value.GetSize(), time: at, blob: doc.Value.GetKey()}}, nil
		}
	}
	if folder != "" {
		return nil, os.ErrNotExist
	}
	return out, nil
}

func (t *tree) stat(p string) (entry, error) {
	if p == "/" {
		return entry{name: "/", folder: true, time: t.server.Now()}, nil
	}
	dir, name := path.Split(p)
	entries, err := t.list(path.Clean(dir))
	if err != nil {
		return entry{}, err
	}
	for _, want := range []string{name, halfName(name)} { // one that is being written has its name already
		if i := slices.IndexFunc(entries, func(e entry) bool { return e.name == want }); i >= 0 {
			return entries[i], nil
		}
	}
	return entry{}, os.ErrNotExist
}

// Filelist lists a folder or looks at a file.
func (t *tree) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	switch r.Method {
	case "List":
		entries, err := t.list(r.Filepath)
		return listing(entries), t.answer(err, "list files", r.Filepath)
	case "Stat":
		e, err := t.stat(r.Filepath)
		return listing{e}, t.answer(err, "look at file", r.Filepath)
	}
	return nil, sftp.ErrSSHFxOpUnsupported
}

type listing []entry

func (l listing) ListAt(out []os.FileInfo, at int64) (n int, err error) {
	for n < len(out) && at+int64(n) < int64(len(l)) {
		out[n] = l[at+int64(n)]
		n++
	}
	if n < len(out) {
		return n, io.EOF
	}
	return n, nil
}

// Fileread opens a file that is complete.
func (t *tree) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	e, err := t.stat(r.Filepath)
	if err != nil {
		return nil, t.answer(err, "look at file", r.Filepath)
	}
	if e.blob == "" {
		return nil, os.ErrPermission
	}
	t.audit("file read", r.Filepath)
	return &reader{tree: t, entry: e}, nil
}

// reader reads parts of a blob.
type reader struct {
	*tree
	entry
}

func (r *reader) ReadAt(p []byte, at int64) (int, error) {
	if at >= r.size {
		return 0, io.EOF
	}
	in, err := r.server.Blobs.NewRangeReader(r.ctx, r.blob, at, int64(len(p)), nil)
	if err != nil {
		return 0, r.answer(fmt.Errorf("open: %w", err), "read file", r.name)
	}
	n, err := io.ReadFull(in, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	if closing := in.Close(); err == nil {
		err = closing
	}
	return n, err // io.EOF as it is, which is compared
}
