package sftpdrop_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/ingest/internal/connector/sftpdrop"
)

// Zips that a newer one hides are counted: the hub refuses to leave them out if
// the newest has only changes.
func TestSkippedPackages(t *testing.T) {
	s := newSite(t)
	s.drop(t, "1.zip", "one")
	s.now = s.now.Add(time.Second)
	s.drop(t, "2.zip", "two")
	s.now = s.now.Add(time.Hour)
	p, err := sftpdrop.Connector{}.Pull(t.Context(), s.Request(t))
	require.NoError(t, err)
	require.Equal(t, "2.zip", p.Files[0].Name)
	require.Equal(t, 1, p.Skipped)
}
