package rostertest

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
)

// Ingest says of districts what a test has set.
type Ingest struct {
	ingestv1.UnimplementedDistrictServiceServer
	ingestv1.UnimplementedSourceServiceServer
	ingestv1.UnimplementedSyncServiceServer

	mu        sync.Mutex
	away      bool
	districts map[string]*ingestv1.District
	sources   map[string][]*ingestv1.Source
	syncs     map[string][]*ingestv1.Sync // newest first
}

// NewIngest knows no district.
func NewIngest() *Ingest {
	return &Ingest{districts: map[string]*ingestv1.District{}, sources: map[string][]*ingestv1.Source{}, syncs: map[string][]*ingestv1.Sync{}}
}

// Register serves what there is.
func (i *Ingest) Register(r grpc.ServiceRegistrar) {
	ingestv1.RegisterDistrictServiceServer(r, i)
	ingestv1.RegisterSourceServiceServer(r, i)
	ingestv1.RegisterSyncServiceServer(r, i)
}

// Set sets what is said of a district from now on.
func (i *Ingest) Set(district string, d *ingestv1.District) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.districts[district] = d
}

// Sync sets the sources of a district and its syncs, newest first.
func (i *Ingest) Sync(district string, sources []*ingestv1.Source, syncs []*ingestv1.Sync) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sources[district], i.syncs[district] = sources, syncs
}

// Away lets all calls fail, or answer again.
func (i *Ingest) Away(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

// asked locks, and fails while the service is away.
func (i *Ingest) asked() (unlock func(), err error) {
	i.mu.Lock()
	if i.away {
		err = errs.New(codes.Unavailable, "AWAY", "the service is away")
	}
	return i.mu.Unlock, err
}

// GetDistrict answers with what was set.
func (i *Ingest) GetDistrict(_ context.Context, req *ingestv1.GetDistrictRequest) (*ingestv1.District, error) {
	unlock, err := i.asked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	if d := i.districts[req.GetDistrict()]; d != nil {
		return proto.CloneOf(d), nil
	}
	return nil, authn.DistrictNotFound(req.GetDistrict())
}

// ListSources answers with all sources.
func (i *Ingest) ListSources(_ context.Context, req *ingestv1.ListSourcesRequest) (*ingestv1.ListSourcesResponse, error) {
	unlock, err := i.asked()
	defer unlock()
	return &ingestv1.ListSourcesResponse{Sources: i.sources[req.GetDistrict()]}, err
}

// ListSyncs answers with the newest syncs.
func (i *Ingest) ListSyncs(_ context.Context, req *ingestv1.ListSyncsRequest) (*ingestv1.ListSyncsResponse, error) {
	unlock, err := i.asked()
	defer unlock()
	syncs := i.syncs[req.GetDistrict()]
	return &ingestv1.ListSyncsResponse{Syncs: syncs[:min(len(syncs), int(req.GetPageSize()))]}, err
}

// GetSync answers with one sync.
func (i *Ingest) GetSync(_ context.Context, req *ingestv1.GetSyncRequest) (*ingestv1.Sync, error) {
	unlock, err := i.asked()
	defer unlock()
	syncs := i.syncs[req.GetDistrict()]
	at := slices.IndexFunc(syncs, func(s *ingestv1.Sync) bool { return s.GetSyncId() == req.GetSync() })
	if err != nil || at < 0 {
		return nil, errs.New(codes.NotFound, "SYNC_NOT_FOUND", "there is no such sync")
	}
	return syncs[at], nil
}
