package ingest_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

// One source is tested once at a time, and only a few are at once: each test
// may fill the disk with a package.
func TestFewTestsAtOnce(t *testing.T) {
	h := newHub(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	reached := make(chan struct{}, 10)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			reached <- struct{}{}
		}
	})
	ctx, cancel := context.WithCancel(h.ctx)
	defer all.Wait()
	defer func() { _ = silent.Close() }()
	defer cancel()

	set, err := structpb.NewStruct(map[string]any{"host": "127.0.0.1", "port": silent.Addr().(*net.TCPAddr).Port, "user": "hub"})
	require.NoError(t, err)
	busy := errs.New(codes.ResourceExhausted, "TEST_BUSY", "")
	test := func(ctx context.Context, source string) error {
		_, err := h.sources.TestSource(ctx, &ingestv1.TestSourceRequest{District: "d", Source: source})
		return err
	}
	for _, id := range []string{"one", "two", "three"} {
		_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: id, Source: &ingestv1.Source{Connector: "sftp-pull", Settings: set}})
		require.NoError(t, err)
		all.Go(func() { _ = test(ctx, id) }) // hears nothing until it is cancelled
		<-reached
		err = test(h.ctx, id)
		require.ErrorIs(t, err, busy)
		require.ErrorContains(t, err, "already")
	}
	err = test(h.ctx, "sis")
	require.ErrorIs(t, err, busy)
	require.ErrorContains(t, err, "try again")
	cancel()
	require.Eventually(t, func() bool { return test(h.ctx, "sis") == nil }, testkit.Wait, 5*time.Millisecond, "one that has ended makes room")
}
