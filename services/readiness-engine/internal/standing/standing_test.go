package standing_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/readiness-engine/internal/standing"
)

func sync(id string, state ingestv1.SyncState, schools ...string) *ingestv1.Sync {
	s := &ingestv1.Sync{SyncId: id, State: state}
	for _, school := range schools {
		s.Schools = append(s.Schools, &ingestv1.SchoolChanges{SchoolId: school})
	}
	return s
}

func TestStanding(t *testing.T) {
	const (
		completed, failed, held, planning = ingestv1.SyncState_COMPLETED, ingestv1.SyncState_FAILED, ingestv1.SyncState_ON_HOLD, ingestv1.SyncState_PLANNING
		cancelled, superseded             = ingestv1.SyncState_CANCELLED, ingestv1.SyncState_SUPERSEDED
	)
	dry := sync("2", failed)
	dry.DryRun = true
	broken := sync("2", failed)
	broken.Error = "users.csv is missing: export it too"
	now := timestamppb.Now()
	paused, stopped, stale, synced := &ingestv1.Pause{Message: "Winter break"}, &ingestv1.Stop{}, now, now
	// A source, what is said of it, and of the schools a and b.
	for name, c := range map[string]struct {
		source  *ingestv1.Source
		syncs   []*ingestv1.Sync
		itself  string
		a, b    string
		sharing []string
	}{
		"connected":               {&ingestv1.Source{}, []*ingestv1.Sync{sync("1", completed)}, "CONNECTED", "CONNECTED", "CONNECTED", nil},
		"long ago":                {&ingestv1.Source{LastInputTime: synced}, nil, "CONNECTED", "CONNECTED", "CONNECTED", nil},
		"never synced":            {&ingestv1.Source{}, nil, "SETUP", "SETUP", "SETUP", nil},
		"never to its end":        {&ingestv1.Source{}, []*ingestv1.Sync{sync("1", cancelled)}, "SETUP", "SETUP", "SETUP", nil},
		"failed":                  {&ingestv1.Source{}, []*ingestv1.Sync{broken, sync("1", completed)}, "FAILING 2", "FAILING 2", "FAILING 2", nil},
		"failed, then cancelled":  {&ingestv1.Source{}, []*ingestv1.Sync{sync("3", cancelled), broken}, "FAILING 2", "FAILING 2", "FAILING 2", nil},
		"recovered":               {&ingestv1.Source{}, []*ingestv1.Sync{sync("3", completed), broken}, "CONNECTED", "CONNECTED", "CONNECTED", nil},
		"a failed dry run":        {&ingestv1.Source{}, []*ingestv1.Sync{dry, sync("1", completed)}, "CONNECTED", "CONNECTED", "CONNECTED", nil},
		"tries again":             {&ingestv1.Source{}, []*ingestv1.Sync{sync("3", planning), broken}, "PROCESSING 3", "PROCESSING 3", "PROCESSING 3", nil},
		"stale":                   {&ingestv1.Source{LastInputTime: synced, StaleSince: stale}, nil, "FAILING", "FAILING", "FAILING", nil},
		"paused":                  {&ingestv1.Source{Pause: paused}, []*ingestv1.Sync{broken}, "PAUSED", "PAUSED", "PAUSED", nil},
		"stopped":                 {&ingestv1.Source{Stopped: stopped}, []*ingestv1.Sync{sync("1", completed)}, "PAUSED", "PAUSED", "PAUSED", nil},
		"on hold":                 {&ingestv1.Source{}, []*ingestv1.Sync{sync("2", held, "a"), sync("1", completed)}, "ON_HOLD 2", "ON_HOLD 2", "CONNECTED", nil},
		"on hold for all":         {&ingestv1.Source{}, []*ingestv1.Sync{sync("2", held), sync("1", completed)}, "ON_HOLD 2", "ON_HOLD 2", "ON_HOLD 2", nil},
		"on hold, then paused":    {&ingestv1.Source{Pause: paused}, []*ingestv1.Sync{sync("2", held, "a")}, "ON_HOLD 2", "ON_HOLD 2", "PAUSED", nil},
		"on hold, then failed":    {&ingestv1.Source{}, []*ingestv1.Sync{sync("4", failed), sync("3", held, "a"), sync("1", completed)}, "FAILING 4", "FAILING 4", "FAILING 4", nil},
		"superseded":              {&ingestv1.Source{}, []*ingestv1.Sync{sync("3", planning), sync("2", superseded, "a")}, "PROCESSING 3", "PROCESSING 3", "PROCESSING 3", nil},
		"failing for its own":     {&ingestv1.Source{}, []*ingestv1.Sync{broken}, "FAILING 2", "SETUP", "FAILING 2", []string{"b"}},
		"on hold, of its own too": {&ingestv1.Source{}, []*ingestv1.Sync{sync("2", held)}, "ON_HOLD 2", "ON_HOLD 2", "SETUP", []string{"a", "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.source.SourceId = "sis"
			c.source.Sharing = &ingestv1.Sharing{Schools: c.sharing}
			all := []standing.Standing{standing.Of(c.source, c.syncs)}
			short := func(state fmt.Stringer, sync string) string {
				if sync != "" {
					return state.String() + " " + sync
				}
				return state.String()
			}
			itself, a, b := standing.Sources(all)[0].GetStatus(), standing.At(all, "a"), standing.At(all, "b")
			require.Equal(t, c.itself, short(itself.GetState(), itself.GetSyncId()))
			require.Equal(t, "sis", itself.GetSourceId())
			require.Equal(t, c.a, short(a.GetState(), a.GetSyncId()))
			require.Equal(t, c.b, short(b.GetState(), b.GetSyncId()))
			require.Equal(t, itself.GetReason() == "", c.itself == "CONNECTED", "whatever is not connected has a reason")
		})
	}
	require.Equal(t, "users.csv is missing: export it too", standing.At([]standing.Standing{standing.Of(&ingestv1.Source{}, []*ingestv1.Sync{broken})}, "a").GetReason())
}

// A school hears of the source that needs action most; one that is only being
// set up has no school yet.
func TestSeveralSources(t *testing.T) {
	of := func(id string, syncs ...*ingestv1.Sync) standing.Standing {
		return standing.Of(&ingestv1.Source{SourceId: id}, syncs)
	}
	all := []standing.Standing{
		of("fine", sync("1", ingestv1.SyncState_COMPLETED)), of("new"), of("held", sync("2", ingestv1.SyncState_ON_HOLD, "a")),
	}
	require.Equal(t, "held", standing.At(all, "a").GetSourceId())
	require.Equal(t, "CONNECTED", standing.At(all, "b").GetState().String())
	require.Equal(t, "SETUP", standing.At(all[1:2], "b").GetState().String())
	require.Equal(t, "SETUP", standing.At(nil, "b").GetState().String())
	var order []string
	for _, s := range standing.Sources(all) {
		order = append(order, s.GetSourceId())
	}
	require.Equal(t, []string{"held", "new", "fine"}, order)
}
