package ingest_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

func structOf(t testing.TB, m map[string]string) *structpb.Struct {
	t.Helper()
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range m {
		out.Fields[k] = structpb.NewStringValue(v)
	}
	return out
}

func TestSyncFromUploadToCommit(t *testing.T) {
	h := newHub(t)
	s := h.sync("sis", sound())
	require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
	require.EqualValues(t, 1, s.GetRevision())
	require.EqualValues(t, 2, s.GetCounts()["users"].GetReceived())
	require.EqualValues(t, 2, s.GetCounts()["users"].GetCreated())
	require.Empty(t, h.findings(s.GetSyncId()))
	require.Len(t, h.roster.Active("d", typev1.Entity_ENTITY_USERS), 2)
	require.Len(t, h.roster.Active("d", typev1.Entity_ENTITY_ENROLLMENTS), 2)

	again := h.wait(h.startSync("sis").GetSyncId())
	require.Equal(t, ingestv1.SyncState_COMPLETED, again.GetState())
	require.Zero(t, again.GetRevision(), "nothing has changed")
	require.EqualValues(t, 2, again.GetCounts()["users"].GetUnchanged())
}
