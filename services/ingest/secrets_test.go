package ingest_test

import (
	"maps"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest"
	"github.com/securly/sync/services/ingest/internal/sealed"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
)

// Secrets that were entered for one server are never kept for another one.
func TestSecretsStayWithTheirServer(t *testing.T) {
	h := newHub(t)
	keeper, err := ingest.OpenKeeper(h.ctx, "", filepath.Join(h.files, "..", "secrets.key"))
	require.NoError(t, err)
	defer func() { require.NoError(t, keeper.Close()) }()
	settings := func(change map[string]any) *structpb.Struct {
		set := map[string]any{"host": "sis.made-up.example", "port": 22, "user": "hub"}
		maps.Copy(set, change)
		out, err := structpb.NewStruct(set)
		require.NoError(t, err)
		return out
	}
	kept := map[string]string{"password": "first", "privateKey": "key"}
	elsewhere := map[string]any{"host": "elsewhere.made-up.example"}
	for name, c := range map[string]struct {
		change  map[string]any
		secrets map[string]string
		mask    []string
		want    map[string]string // nil: refused
	}{
		"another host":               {change: elsewhere},
		"another port":               {change: map[string]any{"port": 2222}},
		"another user":               {change: map[string]any{"user": "other"}},
		"a secret beside those kept": {change: elsewhere, secrets: map[string]string{"passphrase": "x"}, want: map[string]string{"passphrase": "x"}},
		"one of those kept":          {change: elsewhere, secrets: map[string]string{"password": "second"}, want: map[string]string{"password": "second"}},
		"one, and one removed":       {change: elsewhere, secrets: map[string]string{"password": "second", "passphrase": ""}, want: map[string]string{"password": "second"}},
		"an empty one":               {change: elsewhere, secrets: map[string]string{"passphrase": ""}},
		"all removed":                {change: elsewhere, secrets: map[string]string{"password": "", "privateKey": ""}},
		"a mask without secrets":     {change: elsewhere, secrets: map[string]string{"password": "second"}, mask: []string{"settings"}},
		"a mask of one setting":      {change: elsewhere, secrets: map[string]string{"password": "second"}, mask: []string{"settings.host"}},
		"a mask, and no secrets":     {change: elsewhere, mask: []string{"settings", "secrets"}},
		"a mask of both":             {change: elsewhere, secrets: map[string]string{"password": "second"}, mask: []string{"settings", "secrets"}, want: map[string]string{"password": "second"}},
		"a mask without settings":    {change: elsewhere, secrets: map[string]string{"passphrase": "x"}, mask: []string{"secrets"}, want: map[string]string{"password": "first", "privateKey": "key", "passphrase": "x"}},
		"another folder":             {change: map[string]any{"folder": "out"}, want: kept},
		"a secret, not moved":        {secrets: map[string]string{"password": "second"}, want: map[string]string{"password": "second", "privateKey": "key"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "files", Source: &ingestv1.Source{
				Connector: "sftp-pull", Settings: settings(nil), Secrets: kept,
			}})
			require.NoError(t, err)
			defer func() {
				_, err := h.sources.DeleteSource(h.ctx, &ingestv1.DeleteSourceRequest{District: "d", Source: "files"})
				require.NoError(t, err)
			}()
			req := &ingestv1.UpdateSourceRequest{District: "d", Source: "files", Settings: &ingestv1.Source{Settings: settings(c.change), Secrets: c.secrets}}
			if c.mask != nil {
				req.UpdateMask = &fieldmaskpb.FieldMask{Paths: c.mask}
			}
			_, err = h.sources.UpdateSource(h.ctx, req)
			after := c.want
			if c.want == nil {
				require.ErrorIs(t, err, errs.New(codes.InvalidArgument, "INVALID_ARGUMENT", ""))
				require.ErrorContains(t, err, "secrets: enter them again")
				after = kept
			} else {
				require.NoError(t, err)
			}
			doc, err := state.New(h.docs).Sources.Get(h.ctx, "d/files")
			require.NoError(t, err)
			values, err := sealed.New(keeper).Open(h.ctx, "d/files", doc.Value.GetSecrets())
			require.NoError(t, err)
			require.Equal(t, after, values)
			if c.want == nil {
				require.True(t, proto.Equal(settings(nil), doc.Value.GetSource().GetSettings()), "nothing of a refused update is written")
			}
		})
	}
}
