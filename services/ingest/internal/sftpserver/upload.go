package sftpserver

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/securly/sync/services/ingest/internal/connector/fileset"
	"github.com/securly/sync/services/ingest/internal/dropbox"
)

// alive is how often it is noted that a file is still being written.
const alive = 20 * time.Second

func halfName(name string) string { return name + fileset.Half }

// upload is a file that is being written, on the local disk until it is closed.
type upload struct {
	*tree
	name string
	file *os.File

	mu sync.Mutex
	// written counts all bytes, and size is where the last one is.
	written, size int64
	noted         time.Time
	cut           error
}

func (t *tree) begin(name string) (*upload, error) {
	if err := t.box().Begin(t.ctx, name, 0); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(t.server.TempDir, "drop-*")
	if err != nil {
		return nil, err
	}
	return &upload{tree: t, name: name, file: f, noted: t.server.Now()}, nil
}

// WriteAt is called by several at the same time, and in any order.
func (u *upload) WriteAt(p []byte, at int64) (int, error) {
	if err := u.grow(int64(len(p)), at); err != nil {
		return 0, u.answer(err, "write file", u.name)
	}
	n, err := u.file.WriteAt(p, at)
	if err != nil {
		u.TransferError(err)
	}
	return n, u.answer(err, "write file", u.name)
}

// grow makes room for a part of the file.
func (u *upload) grow(n, at int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	end := at + n
	if at < 0 || end < at || end > u.server.MaxBytes {
		u.cut = dropbox.ErrFull
		return u.cut
	}
	if more := end - u.size; more > 0 {
		if !u.server.receive(u.account.user, more) {
			u.cut = dropbox.ErrFull
			return u.cut
		}
		u.size = end
	}
	u.written += n
	if now := u.server.Now(); now.Sub(u.noted) >= alive {
		u.noted = now
		return u.box().Begin(u.ctx, u.name, u.size)
	}
	return nil
}

// receive counts what an account is sending, all of its sessions together.
func (s *Server) receive(user string, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.receiving[user]+n > s.MaxBytes {
		return false
	}
	if s.receiving[user] += n; s.receiving[user] == 0 {
		delete(s.receiving, user)
	}
	return true
}

// TransferError is told when the session ends before the file is closed.
func (u *upload) TransferError(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cut == nil {
		u.cut = err
	}
}

// Close keeps a file that is whole. Of one that was cut off stays a note that
// there is more to come.
func (u *upload) Close() (err error) {
	defer func() {
		u.server.receive(u.account.user, -u.size)
		err = u.answer(errors.Join(err, u.file.Close(), os.Remove(u.file.Name())), "keep file", u.name)
	}()
	// The session may be over, and the hub about to stop.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), time.Minute)
	defer cancel()
	if u.cut == nil && u.written < u.size {
		u.cut = errors.New("it has holes")
	}
	if u.cut != nil {
		u.audit("file cut off", u.name, "bytes", u.size)
		return errors.Join(u.cut, gone(u.box().Begin(ctx, u.name, 0)))
	}
	if _, err := u.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := u.box().Put(ctx, u.name, u.file); err != nil {
		return err
	}
	u.audit("file received", u.name, "bytes", u.size)
	return nil
}
