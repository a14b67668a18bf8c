package sftpdrop_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob/memblob"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/connectortest"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/connector/sftpdrop"
	"github.com/securly/sync/services/ingest/internal/dropbox"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// site is an inbox with a clock.
type site struct {
	*dropbox.Box
	now time.Time
}

func newSite(t *testing.T) *site {
	s := &site{now: time.Date(2026, 8, 20, 22, 0, 0, 0, time.UTC)}
	bucket := memblob.OpenBucket(nil)
	t.Cleanup(func() { require.NoError(t, bucket.Close()) })
	source := &ingestv1.SourceDocument{District: "d", Source: &ingestv1.Source{SourceId: "sis", CreateTime: timestamppb.New(s.now)}}
	s.Box = &dropbox.Box{
		Store: state.New(testkit.Docs(t)), Blobs: bucket, Now: func() time.Time { return s.now }, District: "d", ID: "sis", MaxBytes: 128 << 20, Of: source,
	}
	_, err := s.Store.Districts.Create(t.Context(), "d", &ingestv1.DistrictDocument{District: &ingestv1.District{}})
	require.NoError(t, err)
	_, err = s.Store.Sources.Create(t.Context(), "d/sis", source)
	require.NoError(t, err)
	return s
}

func (s *site) drop(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, s.Box.Put(t.Context(), name, bytes.NewReader([]byte(text))))
}

func (s *site) Put(t *testing.T, files []connectortest.Input) {
	_, err := s.Clear(t.Context())
	require.NoError(t, err)
	for _, f := range files {
		s.drop(t, f.Name, string(f.Text))
	}
	s.now = s.now.Add(3 * time.Hour)
}

func (s *site) Request(t *testing.T) connector.Request {
	return connector.Request{Known: onerostercsv.Known(nil), Inbox: s.Box, Dir: t.TempDir(), MaxBytes: 128 << 20, Progress: func(int64, int64) {}, Now: s.Now}
}

func (s *site) with(t *testing.T, settings map[string]any) connector.Request {
	t.Helper()
	set, err := structpb.NewStruct(settings)
	require.NoError(t, err)
	field, err := sftpdrop.Connector{}.Describe().CheckSettings(set)
	require.NoError(t, err, field)
	req := s.Request(t)
	req.Settings = connector.Settings{Struct: set}
	return req
}

func TestConnector(t *testing.T) { connectortest.Run(t, sftpdrop.Connector{}, newSite(t)) }

func (s *site) names(t *testing.T) (out []string) {
	files, err := s.List(t.Context())
	require.NoError(t, err)
	for _, f := range files {
		out = append(out, f.Name)
	}
	return out
}

func TestWhenAPackageIsComplete(t *testing.T) {
	pull := func(req connector.Request) (*connector.Package, error) {
		return sftpdrop.Connector{}.Pull(t.Context(), req)
	}
	waits := func(t *testing.T, req connector.Request, until time.Time) {
		t.Helper()
		_, err := pull(req)
		var wait *connector.NotReady
		require.ErrorAs(t, err, &wait)
		require.Equal(t, until, wait.Until)
	}
	t.Run("quiet", func(t *testing.T) {
		s := newSite(t)
		s.drop(t, "users.csv", "one")
		s.now = s.now.Add(4 * time.Minute)
		s.drop(t, "classes.csv", "two")
		waits(t, s.Request(t), s.now.Add(5*time.Minute))
		require.NoError(t, s.Begin(t.Context(), "enrollments.csv", 100))
		begun := s.now
		s.now = s.now.Add(4 * time.Minute)
		waits(t, s.Request(t), begun.Add(5*time.Minute))
		require.NoError(t, s.Begin(t.Context(), "enrollments.csv", 200))
		s.now = s.now.Add(4 * time.Minute)
		waits(t, s.Request(t), s.now.Add(time.Minute))
		s.drop(t, "enrollments.csv", "three")
		s.drop(t, "notes.txt", "what nobody knows stays")
		s.now = s.now.Add(5 * time.Minute)
		p, err := pull(s.Request(t))
		require.NoError(t, err)
		require.Len(t, p.Files, 3)
		s.drop(t, "classes.csv", "newer") // and so does what has come since
		require.NoError(t, p.Kept(t.Context()))
		require.Equal(t, []string{"classes.csv", "notes.txt"}, s.names(t))
	})
	t.Run("sentinel", func(t *testing.T) {
		s := newSite(t)
		s.drop(t, "users.csv", "one")
		s.now = s.now.Add(time.Hour)
		req := s.with(t, map[string]any{"sentinel": "done.txt"})
		waits(t, req, s.now.Add(time.Minute))
		s.drop(t, "done.txt", "")
		p, err := pull(req)
		require.NoError(t, err)
		require.Len(t, p.Files, 1)
		s.now = s.now.Add(time.Second)
		s.drop(t, "users.csv", "more")
		waits(t, req, s.now.Add(time.Minute))
	})
	t.Run("the newest of several zips", func(t *testing.T) {
		s := newSite(t)
		s.drop(t, "monday.zip", "one")
		s.now = s.now.Add(time.Minute)
		s.drop(t, "tuesday.zip", "two")
		s.now = s.now.Add(time.Hour)
		p, err := pull(s.Request(t))
		require.NoError(t, err)
		require.Equal(t, "tuesday.zip", p.Files[0].Name)
		require.NoError(t, p.Kept(t.Context()))
		require.Empty(t, s.names(t), "an older one does not come after it")
	})
	t.Run("a zip and loose files", func(t *testing.T) {
		s := newSite(t)
		s.drop(t, "roster.zip", "one")
		s.drop(t, "users.csv", "two")
		s.now = s.now.Add(time.Hour)
		_, err := pull(s.Request(t))
		var known *errs.Error
		require.ErrorAs(t, err, &known)
		require.Equal(t, "SFTP_AMBIGUOUS", known.Reason)
		p, err := pull(s.with(t, map[string]any{"files": "loose"}))
		require.NoError(t, err)
		require.NoError(t, p.Kept(t.Context()))
		require.Equal(t, []string{"roster.zip"}, s.names(t))
	})
}

func TestPublicKeysAreChecked(t *testing.T) {
	for text, sound := range map[string]bool{
		"": true, "ssh-ed25519 AAAAC3Nz key of the export\n": true, "ssh-rsa AAAA\r\n\r\necdsa-sha2-nistp256 BBBB x": true,
		"-----BEGIN OPENSSH PRIVATE KEY-----": false, "ssh-ed25519": false, "command=\"x\" ssh-ed25519 AAAA": false,
	} {
		set, err := structpb.NewStruct(map[string]any{"authorizedKeys": text})
		require.NoError(t, err)
		_, err = sftpdrop.Connector{}.Describe().CheckSettings(set)
		require.Equal(t, sound, err == nil, text)
	}
}
