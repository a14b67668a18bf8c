package sftppull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/securly/sync/services/ingest/internal/connector/fileset"
)

// fetch copies the files that were found, as far as they are not there yet.
func (p *pull) fetch(ctx context.Context, s *session, found *fileset.Set) error {
	total := found.Bytes()
	s.conn.allow(2*total + listBytes)
	var done int64
	for i, r := range found.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := p.copy(s, r, p.local(i), func(n int64) { p.Progress(done+n, total) })
		if errors.Is(err, errGrown) {
			return p.changed(found)
		}
		if err != nil {
			return err
		}
		done += n
		p.whole = max(p.whole, i+1)
	}
	p.Progress(done, total)
	return nil
}

const bufferSize = 1 << 20

// errGrown means that a file is not as long as it was said to be.
var errGrown = errors.New("the file changes")

// copy fetches a file from where the local part of it ends.
func (p *pull) copy(s *session, r fileset.File, to string, progress func(int64)) (_ int64, err error) {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("write what is fetched: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("write what is fetched: %w", err)
	}
	have := info.Size()
	if have == r.Size {
		return have, nil
	}
	in, err := s.Open(r.Path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, errGrown
		}
		return 0, failure(err, "open", r.Path)
	}
	defer func() { _ = in.Close() }() // only read
	if _, err := in.Seek(have, io.SeekStart); err != nil {
		return 0, failure(err, "read", r.Path)
	}
	out := &counted{to: f, have: have, size: r.Size, progress: progress}
	// Read asks for the parts of the buffer at the same time, and bears with servers
	// that send less than they were asked for, which WriteTo does not.
	_, err = io.CopyBuffer(out, struct{ io.Reader }{in}, make([]byte, bufferSize))
	p.received += out.have - have
	switch {
	case out.err != nil:
		return 0, out.err
	case err != nil:
		return 0, failure(err, "read", r.Path)
	case out.have != r.Size:
		return 0, errGrown
	}
	return out.have, nil
}

// counted writes no more than a file is long. It keeps its own error apart from
// those of the other side.
type counted struct {
	to         io.Writer
	have, size int64
	progress   func(int64)
	err        error
}

func (c *counted) Write(p []byte) (int, error) {
	if c.have+int64(len(p)) > c.size {
		c.err = errGrown
		return 0, c.err
	}
	n, err := c.to.Write(p)
	if c.have += int64(n); err != nil {
		c.err = fmt.Errorf("write what is fetched: %w", err)
		return n, c.err
	}
	c.progress(c.have)
	return n, nil
}
