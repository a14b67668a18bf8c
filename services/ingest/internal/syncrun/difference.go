package syncrun

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"

	"gocloud.dev/blob"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/merge"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

// Most nights change little. If the head holds just what the current layers of
// the district's sources make, then a plan needs only what becomes different by
// the layer of one of them. Each layer keeps what was committed with it, and the
// store refuses a base that is not its head; wherever a piece is missing, the
// complete candidate is sent, which needs nothing but the layers.

// errBaseMoved: the head is not the revision that was committed last from here.
var errBaseMoved = errs.New(codes.FailedPrecondition, "BASE_MOVED", "")

// errNoDifference: it is not known what differs.
var errNoDifference = errors.New("the difference is not known")

// stage sends the district's candidate to the roster store and returns the plan
// with what it was made of.
func (r *Runner) stage(ctx context.Context, s *ingestv1.SyncDocument, fence int64) (*rosterv1.Plan, *ingestv1.Candidate, error) {
	current, err := r.layers(ctx, s.GetDistrict())
	if err != nil {
		return nil, nil, err
	}
	m := &merging{r: r, sync: s, current: current, fence: fence}
	p, err := m.difference(ctx)
	if errors.Is(err, errNoDifference) || errors.Is(err, errBaseMoved) || errors.Is(err, layer.ErrDamaged) {
		p, err = m.complete(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	out := &ingestv1.Candidate{Layers: m.fingerprint(true), Syncs: m.others(), Records: map[string]int32{}, Revision: p.GetBaseRevision()}
	for name, c := range p.GetCounts() {
		out.Records[name] = c.GetReceived()
	}
	return p, out, nil
}

// committed is what a plan was made of if its commit has made the head just
// that, else nil: where something came between, or a part was left out.
func (r *Runner) committed(ctx context.Context, s *ingestv1.SyncDocument, answer *rosterv1.CommitPlanResponse) *ingestv1.Candidate {
	c := proto.CloneOf(s.GetCandidate())
	switch {
	case c == nil, s.GetSelection() != nil, answer.GetCommitted() && answer.GetRevision() != c.GetRevision()+1:
		return nil
	case answer.GetCommitted():
		c.Revision = answer.GetRevision()
	}
	head, err := r.deps.Roster.ListRevisions(ctx, &rosterv1.ListRevisionsRequest{District: s.GetDistrict(), PageSize: 1})
	if err != nil {
		r.deps.Log.WarnContext(ctx, "the next sync will compare everything", "district", s.GetDistrict(), "error", err)
		return nil
	}
	if len(head.GetRevisions()) == 0 || head.GetRevisions()[0].GetRevision() != c.GetRevision() {
		return nil
	}
	c.CommitTime = head.GetRevisions()[0].GetCommitTime()
	return c
}

// merging makes the candidate of a district for one sync.
type merging struct {
	r       *Runner
	sync    *ingestv1.SyncDocument
	current []*ingestv1.LayerDocument
	fence   int64
}

// files returns those of one layer: the current ones, or for the source of the
// sync those that it has made.
func (m *merging) files(l *ingestv1.LayerDocument, next bool) state.Files {
	if next && m.own(l) {
		return state.Made(m.sync)
	}
	return state.Current(l)
}

// of returns the file that a layer has of an entity for one rank; nil if none.
func of(files state.Files, rank merge.Rank, entity string) *ingestv1.LayerFile {
	switch rank {
	case merge.Over:
		return files.Over[entity]
	case merge.Fill:
		return files.Fill[entity]
	}
	return files.In(entity)
}

var ranks = []merge.Rank{merge.Over, merge.Base, merge.Fill}

func (m *merging) own(l *ingestv1.LayerDocument) bool {
	return l.GetSource() == m.sync.GetSync().GetSource()
}

// fingerprint recognises all that decides about the candidate.
func (m *merging) fingerprint(next bool) string {
	h := sha256.New()
	for _, l := range m.current {
		for _, e := range record.Entities() {
			for _, rank := range ranks {
				if f := of(m.files(l, next), rank, record.EntityName(e)); f != nil {
					_, _ = fmt.Fprintf(h, "%s %d %d %q %x\n", l.GetSource(), rank, e, f.GetKey(), f.GetChecksum()) // never fails
				}
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// others are the syncs that the layers of the other sources came from.
func (m *merging) others() map[string]string {
	out := map[string]string{}
	for _, l := range m.current {
		if !m.own(l) && l.GetSync() != "" {
			out[l.GetSource()] = baseOf(l)
		}
	}
	return out
}

// base returns what the current layers make, if it was committed.
func (m *merging) base() *ingestv1.Candidate {
	var base *ingestv1.Candidate
	current := m.fingerprint(false)
	for _, l := range m.current {
		if c := l.GetCandidate(); c.GetLayers() == current && c.GetRevision() > base.GetRevision() {
			base = c
		}
	}
	return base
}

// difference makes a plan of what the candidate differs in from the head.
func (m *merging) difference(ctx context.Context) (*rosterv1.Plan, error) {
	base := m.base()
	if base == nil {
		return nil, errNoDifference
	}
	h := m.header()
	h.BaseRevision, h.BaseCommitTime, h.Unsent = base.GetRevision(), base.GetCommitTime(), map[string]int32{}
	for _, e := range record.Entities() {
		n := base.GetRecords()[record.EntityName(e)]
		for c, err := range m.changes(ctx, e) {
			switch {
			case err != nil:
				return nil, err
			case !c.Is, c.Was: // it is gone, or it is sent
				n--
			}
		}
		h.Unsent[record.EntityName(e)] = n
	}
	return m.send(ctx, h, func(e typev1.Entity) iter.Seq2[layer.Entry, error] {
		return func(yield func(layer.Entry, error) bool) {
			for c, err := range m.changes(ctx, e) {
				if !c.Is {
					c.After = layer.Entry{ID: c.ID}
				}
				if !yield(c.After, err) {
					return
				}
			}
		}
	})
}

// changes yields what the sync makes different in the candidate.
func (m *merging) changes(ctx context.Context, e typev1.Entity) iter.Seq2[layer.Change, error] {
	var streams []merge.Stream
	name, found := record.EntityName(e), false
	for _, l := range m.current {
		found = found || m.own(l)
		for _, rank := range ranks {
			was, is := of(m.files(l, false), rank, name), of(m.files(l, true), rank, name)
			s := merge.Stream{Source: l.GetSource(), Rank: rank, Entries: m.read(ctx, l, is, e)}
			switch {
			case was.GetKey() == is.GetKey():
				if is == nil {
					continue
				}
			case is != nil && is.GetSince() == was.GetKey() && was != nil:
				s.Changes = layer.ReadChanges(ctx, m.r.deps.Blobs, is.GetKey(), is.GetChanges())
			default:
				s.Changes = layer.Differences(m.read(ctx, l, was, e), s.Entries)
			}
			streams = append(streams, s)
		}
	}
	if !found { // the source is gone
		return unknown
	}
	return merge.Changes(streams...)
}

func unknown(yield func(layer.Change, error) bool) { yield(layer.Change{}, errNoDifference) }

// complete makes a plan of the whole candidate.
func (m *merging) complete(ctx context.Context) (*rosterv1.Plan, error) {
	h := m.header()
	h.Complete = record.Entities()
	return m.send(ctx, h, func(e typev1.Entity) iter.Seq2[layer.Entry, error] {
		var streams []merge.Stream
		for _, l := range m.current {
			for _, rank := range ranks {
				if f := of(m.files(l, true), rank, record.EntityName(e)); f != nil {
					streams = append(streams, merge.Stream{Source: l.GetSource(), Rank: rank, Entries: m.read(ctx, l, f, e)})
				}
			}
		}
		return merge.Layers(streams...)
	})
}

func (m *merging) read(ctx context.Context, l *ingestv1.LayerDocument, f *ingestv1.LayerFile, e typev1.Entity) iter.Seq2[layer.Entry, error] {
	return readLayer(ctx, m.r.deps.Blobs, l.GetSource(), f, e)
}

// readLayer yields a layer file; nothing if there is none. If it is damaged, the
// error says whose it is.
func readLayer(ctx context.Context, bucket *blob.Bucket, source string, f *ingestv1.LayerFile, e typev1.Entity) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		if f == nil {
			return
		}
		for entry, err := range layer.Read(ctx, bucket, f.GetKey(), f.GetRecords()) {
			if errors.Is(err, layer.ErrDamaged) {
				err = &layer.Damage{Source: source, Entity: record.EntityName(e), Err: err}
			}
			if !yield(entry, err) {
				return
			}
		}
	}
}

func (m *merging) header() *rosterv1.PlanHeader {
	return &rosterv1.PlanHeader{District: m.sync.GetDistrict(), Plan: m.sync.GetPlan(), Sync: m.sync.GetSync().GetSyncId(), Fence: m.fence}
}

// send streams records of all entities to the roster store.
func (m *merging) send(ctx context.Context, h *rosterv1.PlanHeader, entries func(typev1.Entity) iter.Seq2[layer.Entry, error]) (*rosterv1.Plan, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends a stream that is given up half way
	stream, err := m.r.deps.Roster.Import(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	send := func(r *rosterv1.ImportRequest) error {
		err := stream.Send(r)
		if errors.Is(err, io.EOF) { // the store has given up; its reason comes with the response
			_, err = stream.CloseAndRecv()
		}
		if err != nil {
			return fmt.Errorf("plan: %w", err)
		}
		return nil
	}
	if err := send(&rosterv1.ImportRequest{Message: &rosterv1.ImportRequest_Header{Header: h}}); err != nil {
		return nil, err
	}
	for _, e := range record.Entities() {
		if err := sendEntity(e, entries(e), send); err != nil {
			return nil, err
		}
	}
	p, err := stream.CloseAndRecv()
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return p, nil
}

// sendEntity sends records in batches. An entry without a body is one that is
// gone.
func sendEntity(e typev1.Entity, entries iter.Seq2[layer.Entry, error], send func(*rosterv1.ImportRequest) error) error {
	var batch []*rosterv1.ImportRecord
	var arena []byte
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := send(&rosterv1.ImportRequest{Message: &rosterv1.ImportRequest_Batch{Batch: &rosterv1.ImportBatch{Entity: e, Records: batch}}})
		// gRPC may read a message after Send has returned: nothing is used twice.
		batch, arena = make([]*rosterv1.ImportRecord, 0, cap(batch)), nil
		return err
	}
	for entry, err := range entries {
		if err != nil {
			return err
		}
		rec := &rosterv1.ImportRecord{SourcedId: string(entry.ID)}
		if entry.Body != nil {
			if arena == nil {
				arena = make([]byte, 0, batchBytes+batchBytes/8)
			}
			start := len(arena)
			arena = append(append(arena, entry.Hash[:]...), entry.Body...)
			text := arena[start:len(arena):len(arena)]
			rec.Hash, rec.Body = text[:record.HashSize:record.HashSize], text[record.HashSize:]
		}
		batch = append(batch, rec)
		if len(arena) >= batchBytes || len(batch) == batchRecords {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
