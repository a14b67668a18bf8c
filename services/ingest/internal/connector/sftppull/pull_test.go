package sftppull_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/connectortest"
	"github.com/securly/sync/services/ingest/internal/connector/sftppull"
)

func TestConnector(t *testing.T) { connectortest.Run(t, sftppull.Connector{}, newSite(t)) }

const quiet = 5 * time.Minute

func TestFiles(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct {
		files map[string]time.Duration // name to age; each holds its own name
		set   map[string]any
		want  []string
		no    string
	}{
		"loose": {
			files: map[string]time.Duration{"users.csv": 2 * time.Hour, "orgs.csv": 3 * time.Hour, "notes.txt": 3 * time.Hour, ".users.csv": 2 * time.Hour, "~orgs.csv": 2 * time.Hour},
			want:  []string{"orgs.csv", "users.csv"},
		},
		"newest zip": {
			files: map[string]time.Duration{"a.zip": 5 * time.Hour, "b.zip": 3 * time.Hour, "c.ZIP": 4 * time.Hour},
			want:  []string{"b.zip"},
		},
		"both":                       {files: map[string]time.Duration{"a.zip": 5 * time.Hour, "users.csv": 5 * time.Hour}, no: "SFTP_AMBIGUOUS"},
		"both, zip":                  {files: map[string]time.Duration{"a.zip": 5 * time.Hour, "users.csv": 5 * time.Hour}, set: map[string]any{"files": "zip"}, want: []string{"a.zip"}},
		"both, loose":                {files: map[string]time.Duration{"a.zip": 5 * time.Hour, "users.csv": 5 * time.Hour}, set: map[string]any{"files": "loose"}, want: []string{"users.csv"}},
		"no zip":                     {files: map[string]time.Duration{"users.csv": 5 * time.Hour}, set: map[string]any{"files": "zip"}, no: "SFTP_NO_PACKAGE"},
		"nothing":                    {files: map[string]time.Duration{"readme.txt": 5 * time.Hour}, no: "SFTP_NO_PACKAGE"},
		"sub-folders are left alone": {files: map[string]time.Duration{"2026-08-20/users.csv": 5 * time.Hour}, no: "SFTP_NO_PACKAGE"},
		"newest sub-folder": {
			files: map[string]time.Duration{"2026-08-18/users.csv": 50 * time.Hour, "2026-08-19/orgs.csv": 30 * time.Hour, "2026-08-19/users.csv": 25 * time.Hour, "logs/a.log": 2 * time.Hour},
			set:   map[string]any{"subfolders": true}, want: []string{"orgs.csv", "users.csv"},
		},
		"zip two folders down": {
			files: map[string]time.Duration{"out/today/roster.zip": 2 * time.Hour, "users.csv": 9 * time.Hour},
			set:   map[string]any{"subfolders": true}, want: []string{"roster.zip"},
		},
		"unfinished for ever": {files: map[string]time.Duration{"users.csv": 5 * time.Hour, "orgs.csv.filepart": 4 * time.Hour}, want: []string{"users.csv"}},
		"only unfinished":     {files: map[string]time.Duration{"roster.zip.part": 5 * time.Hour}, no: "SFTP_NO_PACKAGE"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.RemoveAll(s.dir))
			for file, age := range c.files {
				s.write(t, file, file, age)
			}
			before := tree(t, s.dir)
			req := s.request(t, c.set)
			if c.no != "" {
				refused(t, c.no, req)
			} else {
				got := pull(t, req)
				require.Len(t, got, len(c.want))
				for _, name := range c.want {
					require.Equal(t, name, filepath.Base(got[name]))
				}
			}
			require.Equal(t, before, tree(t, s.dir), "nothing is changed at the other side")
		})
	}
	t.Run("no such folder", func(t *testing.T) {
		refused(t, "SFTP_NOT_FOUND", s.request(t, map[string]any{"folder": s.dir + "/elsewhere"}))
	})
}

// Packages between the one that the roster is from and the newest one are
// counted, and pulled in their order if that is asked for.
func TestSkippedPackages(t *testing.T) {
	for name, c := range map[string]struct {
		set  map[string]any
		file func(day string) string
	}{
		"zips":               {nil, func(day string) string { return day + ".zip" }},
		"zips in folders":    {map[string]any{"subfolders": true}, func(day string) string { return day + "/roster.zip" }},
		"files in folders":   {map[string]any{"subfolders": true}, func(day string) string { return day + "/users.csv" }},
		"an odd file name":   {nil, func(day string) string { return "a \"b\" \xff" + day + ".zip" }},
		"dates in names":     {nil, func(day string) string { return "users_2026-08-0" + day + ".csv" }},
		"names not in order": {nil, func(day string) string { return string('z'-day[0]+'0') + ".zip" }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			ask := func(synced string, inOrder bool) (*connector.Package, string) {
				t.Helper()
				req := s.request(t, c.set)
				req.Last, req.Synced, req.InOrder = synced, synced, inOrder
				req.Known = func(name string) bool { return filepath.Ext(name) == ".csv" }
				p, err := hurried.Pull(t.Context(), req)
				require.NoError(t, err)
				if p.Unchanged {
					return p, ""
				}
				text, err := os.ReadFile(p.Files[0].Path)
				require.NoError(t, err)
				return p, string(text)
			}
			for i, day := range []string{"1", "2"} {
				s.write(t, c.file(day), day, time.Duration(20-i)*time.Hour)
			}
			first, text := ask("", false)
			require.Equal(t, "2", text, "what was there before the first is not missed")
			require.Zero(t, first.Skipped)
			require.True(t, utf8.ValidString(first.Mark))
			for i, day := range []string{"3", "4", "5"} {
				s.write(t, c.file(day), day, time.Duration(10-i)*time.Hour)
			}
			newest, text := ask(first.Mark, false)
			require.Equal(t, "5", text)
			require.Equal(t, 2, newest.Skipped)
			mark := first.Mark
			for _, day := range []string{"3", "4", "5"} {
				next, text := ask(mark, true)
				require.Equal(t, day, text)
				require.Zero(t, next.Skipped)
				mark = next.Mark
			}
			require.Equal(t, newest.Mark, mark)
			last, _ := ask(mark, false)
			require.True(t, last.Unchanged)
		})
	}
}

// tree describes all files below a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		out[path] = info.Mode().String() + " " + info.ModTime().String()
		return err
	}))
	return out
}

func TestLinksAreNotFollowed(t *testing.T) {
	s := newSite(t)
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "users.csv"), []byte("of others"), 0o600))
	require.NoError(t, os.Symlink(filepath.Join(outside, "users.csv"), filepath.Join(s.dir, "users.csv")))
	require.NoError(t, os.Symlink(outside, filepath.Join(s.dir, "sub")))
	refused(t, "SFTP_NO_PACKAGE", s.request(t, map[string]any{"subfolders": true}))
	s.write(t, "orgs.csv", "own", 2*time.Hour)
	require.Equal(t, map[string]string{"orgs.csv": "own"}, pull(t, s.request(t, map[string]any{"subfolders": true})))
}

// Files that were written lately count once they have stayed the same.
func TestWaitsUntilNothingChanges(t *testing.T) {
	s := newSite(t)
	s.write(t, "users.csv", "one", time.Minute)
	req := s.Request(t)
	require.Equal(t, s.now.Add(quiet), notReady(t, req))

	s.now = s.now.Add(quiet)
	s.write(t, "users.csv", "one two", 0)
	require.Equal(t, s.now.Add(quiet), notReady(t, req), "it grew: the wait begins anew")

	s.now = s.now.Add(quiet)
	s.write(t, "classes.csv.filepart", "being ", 0)
	require.Equal(t, s.now.Add(quiet), notReady(t, req), "another is on its way")

	s.now = s.now.Add(quiet - time.Second)
	require.Equal(t, s.now.Add(time.Second), notReady(t, req))
	s.now = s.now.Add(time.Second)
	require.Equal(t, map[string]string{"users.csv": "one two"}, pull(t, req))

	t.Run("not for ever", func(t *testing.T) {
		req := s.Request(t)
		for began := s.now; s.now.Sub(began) <= 2*time.Hour; s.now = s.now.Add(quiet) {
			s.write(t, "users.csv", s.now.String(), 0)
			notReady(t, req)
		}
		s.write(t, "users.csv", "and on", 0)
		refused(t, "SFTP_NOT_COMPLETE", req)
	})
	t.Run("a test takes what is there", func(t *testing.T) {
		req := s.Request(t)
		req.Trial = true
		p, err := hurried.Pull(t.Context(), req)
		require.NoError(t, err)
		require.Len(t, p.Files, 1)
		require.Len(t, p.Notes, 1)
	})
}

// With a sentinel, files count when it is there and as new as they are.
func TestSentinel(t *testing.T) {
	s := newSite(t)
	s.write(t, "users.csv", "one", time.Minute)
	req := s.request(t, map[string]any{"sentinel": "done"})
	notReady(t, req)
	s.write(t, "done", "", 2*time.Minute)
	notReady(t, req)
	s.write(t, "done", "", time.Minute)
	require.Equal(t, map[string]string{"users.csv": "one"}, pull(t, req))

	req = s.request(t, map[string]any{"sentinel": "manifest.csv"})
	notReady(t, req)
	s.write(t, "manifest.csv", "two", time.Minute)
	require.Equal(t, map[string]string{"users.csv": "one", "manifest.csv": "two"}, pull(t, req))
}

// What changes while it is copied is not taken.
func TestChangesWhileFetched(t *testing.T) {
	s := newSite(t)
	s.write(t, "users.csv", random(4<<20), 2*time.Hour)
	var once sync.Once
	p := newProxy(t, s.Port, func(_, n int) bool {
		if n > 1<<20 {
			once.Do(func() { s.write(t, "users.csv", random(4<<20), time.Hour) })
		}
		return true
	})
	req := s.request(t, map[string]any{"port": p.port})
	require.Equal(t, s.now.Add(quiet), notReady(t, req))
	entries, err := os.ReadDir(req.Dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "the checkpoint, and no mixture of two files")
	s.now = s.now.Add(quiet)
	text, err := os.ReadFile(filepath.Join(s.dir, "users.csv"))
	require.NoError(t, err)
	require.Equal(t, string(text), pull(t, req)["users.csv"])
}

const size = 8 << 20

// A broken connection costs what was on its way.
func TestResumes(t *testing.T) {
	s := newSite(t)
	text := random(size)
	s.write(t, "users.csv", text, 2*time.Hour)
	s.write(t, "orgs.csv", "small", 2*time.Hour)

	t.Run("within one call", func(t *testing.T) {
		p := newProxy(t, s.Port, func(connection, n int) bool { return connection > 2 || n < 3<<20 })
		got := pull(t, s.request(t, map[string]any{"port": p.port}))
		require.Equal(t, map[string]string{"users.csv": text, "orgs.csv": "small"}, got)
		sent := p.sent()
		require.Len(t, sent, 3)
		require.Less(t, sent[0]+sent[1]+sent[2], size+3<<20, "what was there is not fetched again")
	})
	t.Run("in a later call", func(t *testing.T) {
		var mended atomic.Bool
		p := newProxy(t, s.Port, func(connection, n int) bool { return mended.Load() || connection == 1 && n < 3<<20 })
		req := s.request(t, map[string]any{"port": p.port})
		_, err := hurried.Pull(t.Context(), req)
		require.ErrorIs(t, err, connector.ErrUnreachable)
		mended.Store(true)
		require.Equal(t, text, pull(t, req)["users.csv"])
		sent := p.sent()
		require.Less(t, sent[len(sent)-1], size-1<<20)
	})
	t.Run("not with another file", func(t *testing.T) {
		var mended atomic.Bool
		p := newProxy(t, s.Port, func(connection, n int) bool { return mended.Load() || connection == 1 && n < 3<<20 })
		req := s.request(t, map[string]any{"port": p.port})
		_, err := hurried.Pull(t.Context(), req)
		require.ErrorIs(t, err, connector.ErrUnreachable)
		mended.Store(true)
		other := random(size)
		s.write(t, "users.csv", other, 90*time.Minute)
		require.Equal(t, other, pull(t, req)["users.csv"])
	})
}

// A server that breaks off again and again is not dialled without rest, nor for
// hours.
func TestBreaksOffAgainAndAgain(t *testing.T) {
	s := newSite(t)
	var pauses []time.Duration
	c := sftppull.Connector{Wait: func(ctx context.Context, pause time.Duration) error {
		pauses = append(pauses, pause)
		return ctx.Err()
	}}
	s.write(t, "users.csv", random(2*size), 2*time.Hour)
	p := newProxy(t, s.Port, func(_, n int) bool { return n < 1<<20 })
	_, err := c.Pull(t.Context(), s.request(t, map[string]any{"port": p.port}))
	require.ErrorIs(t, err, connector.ErrUnreachable)
	require.Equal(t, []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 64e9}, pauses)

	t.Run("after a whole file", func(t *testing.T) {
		names := []string{"academicSessions.csv", "classes.csv", "courses.csv", "demographics.csv", "enrollments.csv", "orgs.csv", "users.csv"}
		for _, name := range names {
			s.write(t, name, random(1<<20), 2*time.Hour)
			s.write(t, strings.ToUpper(name), random(1<<20), 2*time.Hour)
		}
		p := newProxy(t, s.Port, func(_, n int) bool { return n < 5<<18 })
		pauses = nil
		got, err := c.Pull(t.Context(), s.request(t, map[string]any{"port": p.port}))
		require.NoError(t, err)
		require.Len(t, got.Files, 2*len(names))
		require.Greater(t, len(pauses), 8)
		require.Equal(t, time.Second, slices.Max(pauses))
	})
	t.Run("until somebody ends it", func(t *testing.T) {
		ended := errors.New("ended")
		ctx, cancel := context.WithCancelCause(t.Context())
		c := sftppull.Connector{Wait: func(ctx context.Context, _ time.Duration) error {
			cancel(ended)
			return ctx.Err()
		}}
		_, err := c.Pull(ctx, s.request(t, map[string]any{"port": p.port}))
		require.ErrorIs(t, err, ended)
	})
}

// random is text that tells its parts apart.
func random(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(rand.IntN(26))
	}
	return string(b)
}

func TestUnreachable(t *testing.T) {
	s := newSite(t)
	p := newProxy(t, s.Port, func(int, int) bool { return false })
	_, err := hurried.Pull(t.Context(), s.request(t, map[string]any{"port": p.port}))
	require.ErrorIs(t, err, connector.ErrUnreachable)
}
