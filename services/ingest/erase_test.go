package ingest_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

// interrupted calls do once, before a certain access to documents.
type interrupted struct {
	docstore.Store
	mu             sync.Mutex
	op, collection string
	do             func()
}

func (s *interrupted) on(op, collection string, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.op, s.collection, s.do = op, collection, do
}

func (s *interrupted) access(op, collection string) {
	s.mu.Lock()
	do := s.do
	if s.op == op && s.collection == collection {
		s.do = nil
	} else {
		do = nil
	}
	s.mu.Unlock()
	if do != nil {
		do()
	}
}

func (s *interrupted) Get(ctx context.Context, collection, id string) (docstore.Row, error) {
	s.access("get", collection)
	return s.Store.Get(ctx, collection, id)
}

func (s *interrupted) Put(ctx context.Context, collection string, row docstore.Row) (int64, error) {
	s.access("put", collection)
	return s.Store.Put(ctx, collection, row)
}

func (s *interrupted) List(ctx context.Context, collection string, q docstore.Query) ([]docstore.Row, string, error) {
	s.access("list", collection)
	return s.Store.List(ctx, collection, q)
}

func (s *interrupted) Delete(ctx context.Context, collection, id string, version int64) error {
	s.access("delete", collection)
	return s.Store.Delete(ctx, collection, id, version)
}

func (h *hub) interruptable() *interrupted {
	h.stop()
	docs := &interrupted{Store: h.docs}
	h.docs = docs
	h.start()
	return docs
}

func (h *hub) deleteDistrict() {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		_, err := h.districts.DeleteDistrict(h.ctx, &ingestv1.DeleteDistrictRequest{District: "d"})
		return err == nil || errors.Is(err, authn.ErrDistrictNotFound)
	}, testkit.Wait, 5*time.Millisecond)
}

func (h *hub) recreate() {
	h.t.Helper()
	h.deleteDistrict()
	_, err := h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "d"})
	require.NoError(h.t, err)
	h.newSource("sis", nil)
}

func TestAnUploadThatOutlivesItsDistrict(t *testing.T) {
	for _, then := range []string{"gone", "there again"} {
		t.Run(then, func(t *testing.T) {
			h := newHub(t)
			stream, err := h.sources.Upload(h.ctx)
			require.NoError(t, err)
			for _, m := range []*ingestv1.UploadRequest{
				{Message: &ingestv1.UploadRequest_Header{Header: &ingestv1.UploadHeader{District: "d", Source: "sis"}}},
				{Message: &ingestv1.UploadRequest_File{File: &ingestv1.UploadFile{Filename: "roster.zip"}}},
				{Message: &ingestv1.UploadRequest_Chunk{Chunk: testkit.Zip(t, sound())}},
			} {
				require.NoError(t, stream.Send(m))
			}
			require.Eventually(t, func() bool { // it is being received
				found, err := filepath.Glob(filepath.Join(h.temp, "upload-*"))
				return err == nil && len(found) == 1
			}, testkit.Wait, 5*time.Millisecond)
			want := errs.New(codes.NotFound, "SOURCE_NOT_FOUND", "")
			if then == "gone" {
				h.deleteDistrict()
				want = errs.New(codes.NotFound, "DISTRICT_NOT_FOUND", "")
			} else {
				h.recreate()
			}
			require.NoError(t, stream.Send(&ingestv1.UploadRequest{Message: &ingestv1.UploadRequest_End{End: &ingestv1.UploadEnd{}}}))
			_, err = stream.CloseAndRecv()
			require.ErrorIs(t, err, want)
			require.Empty(t, h.stored("uploads"))
			if then != "gone" {
				_, err = h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "sis"})
				require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "UPLOAD_NEEDED", ""))
			}
		})
	}
}

func TestASyncThatOutlivesItsDistrict(t *testing.T) {
	t.Run("while it reads", func(t *testing.T) {
		h := newHub(t)
		docs := h.interruptable()
		h.upload("sis", sound())
		started, done := make(chan struct{}), make(chan struct{})
		docs.on("get", "layers", func() {
			defer close(done)
			<-started // the worker may have found the mark before the sync was written
			h.recreate()
		})
		id := h.startSync("sis").GetSyncId()
		close(started)
		<-done
		docs.on("", "", nil)
		// One worker looks after a source: the next sync begins when it has let go.
		next := h.completed(h.sync("sis", sound())).GetSyncId()
		for _, name := range append(h.stored("layers"), h.stored("findings")...) {
			require.Contains(t, name, next)
			require.NotContains(t, name, id)
		}
	})
	t.Run("while it is started", func(t *testing.T) {
		h := newHub(t)
		docs := h.interruptable()
		h.upload("sis", sound())
		docs.on("put", "syncs", h.recreate)
		_, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "sis"})
		require.ErrorIs(t, err, errs.New(codes.NotFound, "SOURCE_NOT_FOUND", ""))
		list, err := h.syncs.ListSyncs(h.ctx, &ingestv1.ListSyncsRequest{District: "d"})
		require.NoError(t, err)
		require.Empty(t, list.GetSyncs())
		open, _, err := state.New(h.docs).Open.List(t.Context(), docstore.Query{})
		require.NoError(t, err)
		require.Empty(t, open, "no mark is left over")
	})
}

// The service goes on with deletions by itself: it must not delete the district
// that was created after the one it has seen.
func TestADeletionThatComesLate(t *testing.T) {
	h := newHub(t)
	docs := h.interruptable()
	done := make(chan struct{})
	docs.on("list", "leases", func() { defer close(done); h.recreate() })
	_, _ = h.districts.DeleteDistrict(h.ctx, &ingestv1.DeleteDistrictRequest{District: "d"}) // may be busy
	<-done
	require.EqualValues(t, 1, h.completed(h.sync("sis", sound())).GetRevision())
	_, err := h.districts.GetDistrict(h.ctx, &ingestv1.GetDistrictRequest{District: "d"})
	require.NoError(t, err)
}

func TestASourceThatOutlivesItsDistrict(t *testing.T) {
	h := newHub(t)
	docs := h.interruptable()
	docs.on("put", "sources", func() {
		h.deleteDistrict()
		_, err := h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "d"})
		require.NoError(t, err)
	})
	_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: "late", Source: &ingestv1.Source{Connector: "oneroster-csv"}})
	require.ErrorIs(t, err, authn.ErrDistrictNotFound)
	list, err := h.sources.ListSources(h.ctx, &ingestv1.ListSourcesRequest{District: "d"})
	require.NoError(t, err)
	require.Empty(t, list.GetSources())
}

// The district is hidden at once, and goes without being asked again.
func TestDeletingADistrictThatIsWorkedOn(t *testing.T) {
	for _, at := range []string{"Import", "CommitPlan"} {
		t.Run(at, func(t *testing.T) {
			h := newHub(t)
			reached, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			h.roster.FailWith(func(method string) error {
				if method == at {
					once.Do(func() { close(reached); <-release })
				}
				return nil
			})
			h.upload("sis", sound())
			h.startSync("sis")
			h.startSync("sis")
			<-reached
			_, err := h.districts.DeleteDistrict(h.ctx, &ingestv1.DeleteDistrictRequest{District: "d"})
			require.ErrorIs(t, err, errs.New(codes.Unavailable, "DISTRICT_BUSY", ""))
			require.Contains(t, err.Error(), "plans or commits")
			_, err = h.districts.GetDistrict(h.ctx, &ingestv1.GetDistrictRequest{District: "d"})
			require.ErrorIs(t, err, authn.ErrDistrictNotFound)
			close(release)
			require.Eventually(t, func() bool {
				_, err := state.New(h.docs).Districts.Get(t.Context(), "d")
				return errors.Is(err, docstore.ErrNotFound)
			}, testkit.Wait, 5*time.Millisecond)
			require.EqualValues(t, -1, h.roster.Revision("d"))
		})
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	h := newHub(t)
	first := ""
	for range 15 {
		if id := h.upload("sis", sound()); first == "" {
			first = id
		}
	}
	require.Len(t, h.stored("uploads"), 10, "without any sync")
	require.NotContains(t, strings.Join(h.stored("uploads"), " "), first)

	dryRun := func() string {
		s, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "sis", DryRun: true})
		require.NoError(t, err)
		return h.completed(h.wait(s.GetSyncId())).GetSyncId()
	}
	changes := func(sync string) int {
		list, err := h.syncs.ListSyncChanges(h.ctx, &ingestv1.ListSyncChangesRequest{District: "d", Sync: sync, Entity: "users"})
		require.NoError(t, err)
		return len(list.GetChanges())
	}
	older, newer := dryRun(), dryRun()
	require.Eventually(t, func() bool { return h.roster.Plans("d") == 1 && changes(older) == 0 }, testkit.Wait, 5*time.Millisecond)
	require.Equal(t, 2, changes(newer))
	done := h.completed(h.wait(h.startSync("sis").GetSyncId()))
	require.Eventually(t, func() bool { return h.roster.Plans("d") == 0 && changes(newer) == 0 }, testkit.Wait, 5*time.Millisecond)
	require.Equal(t, 2, changes(done.GetSyncId()))
}
