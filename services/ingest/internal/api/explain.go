package api

import (
	"context"
	"slices"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/explain"
	"github.com/securly/sync/services/ingest/internal/state"
)

type explaining struct {
	ingestv1.UnimplementedExplainServiceServer
	Deps
	explainer *explain.Explainer
}

// explained is how many records are explained at the same time: each copies
// packages to the local disk.
const explained = 2

func newExplaining(d Deps) *explaining {
	return &explaining{Deps: d, explainer: &explain.Explainer{
		Store: d.Store, Blobs: d.Blobs, Roster: d.Roster, TempDir: d.TempDir, Turns: make(chan struct{}, explained),
	}}
}

func (e *explaining) ExplainRecord(ctx context.Context, req *ingestv1.ExplainRecordRequest) (*ingestv1.ExplainRecordResponse, error) {
	return e.explainer.Explain(ctx, req.GetDistrict(), req.GetEntity(), req.GetSourcedId())
}

func (e *explaining) ListPackages(ctx context.Context, req *ingestv1.ListPackagesRequest) (*ingestv1.ListPackagesResponse, error) {
	district, source := req.GetDistrict(), req.GetSource()
	if _, err := e.source(ctx, district, source); err != nil {
		return nil, err
	}
	layer, err := e.Store.Layer(ctx, district, source)
	if err != nil {
		return nil, err
	}
	out := &ingestv1.ListPackagesResponse{}
	of := map[string]*ingestv1.Package{}
	for doc, err := range e.Store.Uploads.All(ctx, state.Within(district, source)) {
		if err != nil {
			return nil, err
		}
		u := doc.Value
		p := &ingestv1.Package{UploadId: u.GetUploadId(), CreateTime: u.GetCreateTime(), Files: u.GetFiles(), Size: float64(u.GetSize())}
		out.Packages, of[u.GetUploadId()] = append(out.Packages, p), p
	}
	for doc, err := range e.Store.Syncs.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, err
		}
		sync := doc.Value.GetSync()
		if p := of[sync.GetUploadId()]; p != nil && sync.GetSource() == source {
			p.Syncs = append(p.Syncs, sync.GetSyncId())
			p.Current = p.Current || sync.GetSyncId() == layer.GetSync()
		}
	}
	slices.Reverse(out.Packages)
	for _, p := range out.Packages {
		slices.Reverse(p.Syncs)
	}
	return out, nil
}
