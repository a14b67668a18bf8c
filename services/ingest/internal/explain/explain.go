// Package explain follows a record from the roster back to the rows that sources
// have delivered it in, and finds out where an id was lost that is not there.
package explain

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"gocloud.dev/blob"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

// Explainer answers questions about records. Each reads layers and packages as a
// stream, and no more than a few at the same time are answered.
type Explainer struct {
	Store   *state.Store
	Blobs   *blob.Bucket
	Roster  rosterv1.RosterServiceClient
	TempDir string
	// Turns has as much room as questions are answered at a time.
	Turns chan struct{}
}

// question is one id that somebody asks about.
type question struct {
	*Explainer
	district, id string
	entity       typev1.Entity
	name         string // of the entity
	zone         *time.Location
	syncs        []*ingestv1.SyncDocument // of the district, oldest first
	erased       *ingestv1.ErasureDocument
	gone         map[string]bool // all persons of the district that were erased
	streams      said            // that have the id, in the order of their sources
	asked        []*asked        // the sources, in their order
	out          *ingestv1.ExplainRecordResponse
}

var errRecordUnknown = errs.New(codes.NotFound, "RECORD_NOT_FOUND", "")

// Explain tells what is known of an id.
func (e *Explainer) Explain(ctx context.Context, district, entity, id string) (*ingestv1.ExplainRecordResponse, error) {
	owner, err := e.Store.District(ctx, district)
	if err != nil {
		return nil, err
	}
	kind, err := record.ParseEntity(entity)
	if err != nil {
		return nil, errs.Errorf(codes.InvalidArgument, "INVALID_ARGUMENT", "entity: %w", err).With("field", "entity")
	}
	if id == "" {
		return nil, errs.New(codes.InvalidArgument, "INVALID_ARGUMENT", "sourcedId: is required").With("field", "sourcedId")
	}
	select {
	case e.Turns <- struct{}{}:
		defer func() { <-e.Turns }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	q := &question{
		Explainer: e, district: district, id: id, entity: kind, name: record.EntityName(kind), zone: schedule.Zone(owner.Value.GetDistrict()),
		out: &ingestv1.ExplainRecordResponse{Entity: record.EntityName(kind), SourcedId: id},
	}
	for doc, err := range e.Store.Syncs.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, err
		}
		q.syncs = append(q.syncs, doc.Value)
	}
	for _, part := range []func(context.Context) error{q.erasure, q.sources, q.stored, q.older} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	q.conclude()
	return q.out, nil
}

// erasure finds out who was erased, and whether the person was.
func (q *question) erasure(ctx context.Context) error {
	q.gone = map[string]bool{}
	for _, part := range []string{state.ErasurePending, state.ErasureDone} {
		for doc, err := range q.Store.Erasures.All(ctx, state.Within(part, q.district)) {
			if err != nil {
				return err
			}
			q.gone[csvtext.Clean(doc.Value.GetUser())] = true
		}
	}
	if q.entity != typev1.Entity_ENTITY_USERS && q.entity != typev1.Entity_ENTITY_DEMOGRAPHICS {
		return nil
	}
	doc, err := q.Store.Erasures.Get(ctx, state.Key(q.district, q.id))
	if errors.Is(err, docstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	q.erased = doc.Value
	q.reason(&ingestv1.ExplainReason{
		Type: erased, Time: cmp.Or(doc.Value.GetEndTime(), doc.Value.GetCreateTime()),
		Message:  fmt.Sprintf("the person was erased from the hub, %s; what a source delivers unchanged since then stays erased", q.on(doc.Value.GetCreateTime().AsTime())),
		NextStep: "nothing is to be done: a source that delivers other data of the person brings these",
	})
	return nil
}

// sources asks each source, in the order in which they count.
func (q *question) sources(ctx context.Context) error {
	var all []*ingestv1.SourceDocument
	for doc, err := range q.Store.Sources.All(ctx, state.Within(q.district)) {
		if err != nil {
			return err
		}
		all = append(all, doc.Value)
	}
	slices.SortStableFunc(all, func(a, b *ingestv1.SourceDocument) int {
		return a.GetSource().GetCreateTime().AsTime().Compare(b.GetSource().GetCreateTime().AsTime())
	})
	for _, doc := range all {
		if err := q.source(ctx, doc.GetSource()); err != nil {
			return err
		}
	}
	return nil
}

// entries yields a layer file of the question's entity.
func (q *question) entries(ctx context.Context, f *ingestv1.LayerFile) iter.Seq2[layer.Entry, error] {
	if f == nil {
		return func(func(layer.Entry, error) bool) {}
	}
	return layer.Read(ctx, q.Blobs, f.GetKey(), f.GetRecords())
}

// find returns the entry of the id in a layer file; nil if there is none. A file
// that is damaged has nothing: the next sync says so.
func (q *question) find(ctx context.Context, f *ingestv1.LayerFile) (*layer.Entry, error) {
	id := []byte(q.id)
	for entry, err := range q.entries(ctx, f) {
		if errors.Is(err, layer.ErrDamaged) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		switch bytes.Compare(entry.ID, id) {
		case 0:
			entry.ID, entry.Body = id, bytes.Clone(entry.Body)
			return &entry, nil
		case 1:
			return nil, nil
		}
	}
	return nil, nil
}

func (q *question) on(at time.Time) string { return at.In(q.zone).Format("2006-01-02 15:04 MST") }

// reason adds one, unless there is one of its type from the same source.
func (q *question) reason(r *ingestv1.ExplainReason) {
	for _, other := range q.out.GetReasons() {
		if other.GetType() == r.GetType() && other.GetSource() == r.GetSource() {
			return
		}
	}
	q.out.Reasons = append(q.out.Reasons, r)
}
