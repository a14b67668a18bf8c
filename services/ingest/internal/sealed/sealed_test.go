package sealed_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/ingest/internal/sealed"
)

func open(t *testing.T, file string) *sealed.Sealer {
	t.Helper()
	k, err := sealed.OpenKeeper(t.Context(), "", file)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return sealed.New(k)
}

func TestSealer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "made", "secrets.key")
	values := map[string]string{"password": "made up", "privateKey": "also made up"}
	s := open(t, file)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, left, 1)

	box, err := s.Seal(t.Context(), "d/s", values)
	require.NoError(t, err)
	require.Equal(t, []string{"password", "privateKey"}, box.GetNames())
	again, err := s.Seal(t.Context(), "d/s", values)
	require.NoError(t, err)
	require.NotEqual(t, box.GetValues(), again.GetValues(), "a key for each")

	got, err := open(t, file).Open(t.Context(), "d/s", box)
	require.NoError(t, err)
	require.Equal(t, values, got, "the file outlives the process")

	_, err = s.Open(t.Context(), "d/other", box)
	require.ErrorIs(t, err, sealed.ErrUnreadable)
	_, err = open(t, filepath.Join(t.TempDir(), "secrets.key")).Open(t.Context(), "d/s", box)
	require.ErrorIs(t, err, sealed.ErrUnreadable)
	box.Values[len(box.Values)-1] ^= 1
	_, err = s.Open(t.Context(), "d/s", box)
	require.ErrorIs(t, err, sealed.ErrUnreadable)

	none, err := s.Seal(t.Context(), "d/s", nil)
	require.NoError(t, err)
	require.Nil(t, none)
	got, err = s.Open(t.Context(), "d/s", nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestKeyFileIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets.key")
	require.NoError(t, os.WriteFile(file, []byte("short"), 0o600))
	_, err := sealed.OpenKeeper(t.Context(), "", file)
	require.ErrorContains(t, err, "holds no key")
	require.NoError(t, os.Chmod(file, 0o644))
	_, err = sealed.OpenKeeper(t.Context(), "", file)
	require.ErrorContains(t, err, "chmod 600")
}
