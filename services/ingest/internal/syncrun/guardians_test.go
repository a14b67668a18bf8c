package syncrun

import (
	"testing"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/guardian"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/testkit"
)

// A file that goes while it is read is no damaged one, also if what comes after
// it is the same.
func TestABaseThatIsReplacedMeanwhileIsNotDamaged(t *testing.T) {
	ctx := t.Context()
	r := New(Config{}, Deps{Store: state.New(testkit.Docs(t))})
	for _, id := range []string{"sis", "family"} {
		_, err := r.deps.Store.Sources.Create(ctx, state.Key("d", id), &ingestv1.SourceDocument{District: "d", Source: &ingestv1.Source{SourceId: id}})
		require.NoError(t, err)
	}
	committed := func(key string) {
		require.NoError(t, r.deps.Store.SetLayer(ctx, &ingestv1.LayerDocument{
			District: "d", Source: "sis", Files: map[string]*ingestv1.LayerFile{usersName: {Key: key, Records: 1, Checksum: 7}},
		}))
	}
	committed("first")
	s := &ingestv1.SyncDocument{District: "d", Sync: &ingestv1.Sync{Source: "family"}}
	settings := &ingestv1.GuardianFile{}
	base, err := r.GuardianBase(ctx, "d", "family", settings)
	require.NoError(t, err)
	again := func() error {
		return r.unmatched(ctx, s, settings, guardian.File{}, base, &layer.Damage{Source: "sis", Entity: usersName, Err: layer.ErrDamaged})
	}
	require.NotErrorIs(t, again(), errLater)
	committed("second")
	require.ErrorIs(t, again(), errLater)
}
