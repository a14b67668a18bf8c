// Package connectortest is what every connector passes: its description holds
// together, and whatever is delivered through it, recorded or hostile, ends as a
// package that can be read or as a refusal that says why.
package connectortest

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/upload"
	"github.com/securly/sync/services/platform/errs"
)

// Site is where a connector finds packages.
type Site interface {
	// Put makes files, all of them, the newest package, complete for hours.
	Put(t *testing.T, files []Input)
	// Request is one that may pull there, with a folder of its own.
	Request(t *testing.T) connector.Request
}

// Input is a file at the other side.
type Input struct {
	Name string
	Text []byte
}

// Run passes a connector through the suite. site is for one that pulls.
func Run(t *testing.T, c connector.Connector, site Site) {
	t.Run("Description", func(t *testing.T) { description(t, c) })
	deliver := func(t *testing.T, files []Input) ([]connector.File, error) { return local(t, files), nil }
	if puller, ok := c.(connector.Puller); ok {
		t.Run("Pull", func(t *testing.T) { pulls(t, puller, site) })
		deliver = func(t *testing.T, files []Input) ([]connector.File, error) {
			site.Put(t, files)
			p, err := puller.Pull(t.Context(), site.Request(t))
			if err != nil {
				return nil, err
			}
			return p.Files, nil
		}
	}
	for _, in := range inputs(t) {
		t.Run("Input/"+in.name, func(t *testing.T) {
			files, err := deliver(t, in.files)
			var names []string
			dir := t.TempDir()
			if err == nil {
				var p *upload.Package
				if p, err = upload.Pack(dir, 64<<20, nil, files); err == nil {
					for _, f := range p.Files {
						names = append(names, f.GetName())
					}
					require.NoError(t, p.Close())
				}
			}
			left, readErr := os.ReadDir(dir)
			require.NoError(t, readErr)
			require.Empty(t, left, "nothing is left behind")
			if in.refused == "" {
				require.NoError(t, err)
				require.Equal(t, in.holds, names)
				return
			}
			var known *errs.Error
			require.ErrorAs(t, err, &known, "a refusal that is meant for people")
			if in.refused != anyReason {
				require.Equal(t, in.refused, known.Reason, err)
			}
		})
	}
}

// local is how uploaded files come.
func local(t *testing.T, files []Input) []connector.File {
	dir := t.TempDir()
	var out []connector.File
	for i, f := range files {
		path := filepath.Join(dir, strconv.Itoa(i))
		require.NoError(t, os.WriteFile(path, f.Text, 0o600))
		out = append(out, connector.File{Name: f.Name, Path: path})
	}
	return out
}

func description(t *testing.T, c connector.Connector) {
	d := c.Describe()
	require.Same(t, d, c.Describe(), "made once")
	require.Regexp(t, `^[a-z0-9][a-z0-9-]{0,62}$`, d.GetConnectorId())
	require.NotEmpty(t, d.GetDisplayName())
	require.NotEmpty(t, d.GetDescription())
	require.NotEmpty(t, d.GetRequired(), "a connector says what it cannot do without")
	_, pulls := c.(connector.Puller)
	require.Equal(t, pulls, d.GetKind() != connector.Upload, "who pulls says so")

	schema := d.GetSettingsSchema().AsMap()
	require.Equal(t, false, schema["additionalProperties"], "misspelt settings are refused")
	properties := schema["properties"].(map[string]any)
	for name, v := range properties {
		p := v.(map[string]any)
		require.NotEmpty(t, p["title"], "the UI shows a title for %s", name)
		require.NotEmpty(t, p["type"], name)
	}
	for _, name := range d.Endpoint {
		require.Contains(t, properties, name)
	}
	for _, s := range d.GetSecrets() {
		require.NotContains(t, properties, s.GetName(), "a secret is no setting: settings are shown")
		require.NotEmpty(t, s.GetTitle())
	}
	field, err := d.CheckSettings(&structpb.Struct{Fields: map[string]*structpb.Value{"no such setting": structpb.NewNullValue()}})
	require.Error(t, err)
	require.NotEmpty(t, field)
	name, err := d.CheckSecrets(map[string]string{"no such secret": "hidden"})
	require.Equal(t, "no such secret", name)
	require.NotContains(t, err.Error(), "hidden")
}

func pulls(t *testing.T, c connector.Puller, site Site) {
	site.Put(t, loose(sound()))
	req := site.Request(t)
	var last, total int64
	req.Progress = func(d, t2 int64) {
		require.GreaterOrEqual(t, d, last, "what is there does not get less")
		last, total = d, t2
	}
	first, err := c.Pull(t.Context(), req)
	require.NoError(t, err)
	require.NotEmpty(t, first.Mark)
	require.False(t, first.Unchanged)
	require.Positive(t, last)
	require.Equal(t, total, last)
	for _, f := range first.Files {
		require.Equal(t, req.Dir, filepath.Dir(f.Path), "files lie in the folder of the pull")
	}

	t.Run("Unchanged", func(t *testing.T) {
		req := site.Request(t)
		req.Last = first.Mark
		same, err := c.Pull(t.Context(), req)
		require.NoError(t, err)
		require.True(t, same.Unchanged)
		require.Empty(t, same.Files)
		require.Equal(t, first.Mark, same.Mark)
	})
	t.Run("Again", func(t *testing.T) {
		again, err := c.Pull(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, first.Files, again.Files, "what is there already is taken")
	})
	t.Run("Cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Pull(ctx, site.Request(t))
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("TooLarge", func(t *testing.T) {
		req := site.Request(t)
		req.MaxBytes = 10
		_, err := c.Pull(t.Context(), req)
		var known *errs.Error
		require.ErrorAs(t, err, &known)
	})
}
