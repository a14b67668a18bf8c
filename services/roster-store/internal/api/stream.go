package api

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/roster-store/internal/store"
)

const (
	// batchBytes is about how large a streamed message is.
	batchBytes = 512 << 10
	// sendIdle is how long a caller may leave a message untaken.
	sendIdle = 30 * time.Second
	// headPoll bounds how late a watcher learns of a commit whose event was lost.
	headPoll = time.Second
	// bookmarkEvery is how often an idle watcher hears that nothing came.
	bookmarkEvery = 15 * time.Second
)

var errSlow = errs.New(codes.ResourceExhausted, "READER_TOO_SLOW",
	"nothing was taken from the stream for a while: call again and resume after what has arrived")

// batch collects stored bodies as the encoded field `records` of a message. The
// message takes them as they are (as unknown fields), so that an export copies
// bytes and decodes nothing.
type batch struct {
	field protowire.Number
	buf   []byte
}

func newBatch(m proto.Message) *batch {
	return &batch{field: m.ProtoReflect().Descriptor().Fields().ByName("records").Number()}
}

func (b *batch) add(body []byte) {
	b.buf = protowire.AppendTag(b.buf, b.field, protowire.BytesType)
	b.buf = protowire.AppendBytes(b.buf, body)
}

func (b *batch) full() bool  { return len(b.buf) >= batchBytes }
func (b *batch) empty() bool { return len(b.buf) == 0 }

// moveTo hands the bodies over; the message owns them from then on.
func (b *batch) moveTo(m proto.Message) {
	m.ProtoReflect().SetUnknown(b.buf)
	b.buf = nil
}

// Export implements RosterService.
func (s *Server) Export(req *rosterv1.ExportRequest, stream rosterv1.RosterService_ExportServer) error {
	ctx := stream.Context()
	var entities []typev1.Entity
	for _, name := range req.GetEntities() {
		e, err := entityOf(name)
		if err != nil {
			return err
		}
		entities = append(entities, e)
	}
	after, err := positionOf(req)
	if err != nil {
		return err
	}
	d, rev := store.DistrictID(req.GetDistrict()), store.Revision(req.GetRevision())
	if rev == 0 {
		head, err := s.store.Head(ctx, d)
		if err != nil {
			return outward(req.GetDistrict(), err)
		}
		rev = head.Revision
	}
	committed, err := s.commitTime(ctx, d, rev)
	if err != nil {
		return outward(req.GetDistrict(), err)
	}
	records := newBatch(&rosterv1.ExportResponse{})
	snapshot := s.store.Snapshot(d, rev, scopeOf(ctx))
	for last := after; ; {
		// The scan ends before the batch is sent: a caller that takes its time
		// must not keep the store busy.
		for r, err := range snapshot.Scan(ctx, last, entities...) {
			if err != nil {
				return outward(req.GetDistrict(), err)
			}
			records.add(r.Body)
			last = store.Position{Entity: r.Entity, ID: r.ID}
			if records.full() {
				break
			}
		}
		more := records.full()
		m := &rosterv1.ExportResponse{
			Revision: count(rev),
			Resume:   append(binary.AppendUvarint(nil, uint64(last.Entity)), last.ID...),
		}
		if !committed.IsZero() {
			m.CommitTime = timestamppb.New(committed)
		}
		records.moveTo(m)
		// The last one is also sent when it is empty, so that the caller learns
		// the revision.
		if err := s.send(stream, m); err != nil || !more {
			return err
		}
	}
}

// send gives up on a caller that takes nothing for a while, which frees what the
// stream holds.
func (s *Server) send(stream grpc.ServerStream, m proto.Message) error {
	sent := make(chan error, 1)
	go func() { sent <- stream.SendMsg(m) }() // ends at the latest when the handler returns
	idle := time.NewTimer(s.sendIdle)
	defer idle.Stop()
	select {
	case err := <-sent:
		return err
	case <-idle.C:
		return errSlow
	}
}

// positionOf returns the record to go on after.
func positionOf(req *rosterv1.ExportRequest) (store.Position, error) {
	after, resume := req.GetAfter(), req.GetResume()
	switch {
	case after == nil && len(resume) == 0:
		return store.Position{}, nil
	case req.GetRevision() == 0:
		return store.Position{}, invalid("revision", "is required to go on: take it from what has arrived")
	case after != nil && len(resume) > 0:
		return store.Position{}, invalid("after", "and resume exclude each other")
	case after != nil:
		e, err := entityOf(after.GetEntity())
		return store.Position{Entity: e, ID: after.GetSourcedId()}, err
	}
	e, n := binary.Uvarint(resume)
	if n <= 0 || e > uint64(typev1.Entity_ENTITY_DEMOGRAPHICS) {
		return store.Position{}, invalid("resume", "is not what an export sent")
	}
	return store.Position{Entity: typev1.Entity(e), ID: string(resume[n:])}, nil // checked above
}

// Watch implements RosterService. A slow caller holds up only itself: what it
// has not taken stays in the store.
func (s *Server) Watch(req *rosterv1.WatchRequest, stream rosterv1.RosterService_WatchServer) error {
	if req.GetAfter() < 0 {
		return invalid("after", "a revision is not negative")
	}
	ctx, district := stream.Context(), req.GetDistrict()
	sent := store.Revision(req.GetAfter())
	if err := s.checkSame(ctx, store.DistrictID(district), sent, req.GetAfterCommitTime()); err != nil {
		return outward(district, err)
	}
	var bookmarked time.Time
	for {
		// Asked for before reading, so that no commit falls between.
		committed := s.commits.Wait(district)
		before := sent
		if err := s.sendChanges(ctx, stream, store.DistrictID(district), &sent); err != nil {
			return err
		}
		if sent != before || time.Since(bookmarked) >= bookmarkEvery {
			bookmarked = time.Now()
			m := &rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Bookmark{Bookmark: &rosterv1.Bookmark{Revision: count(sent)}}}
			if err := s.send(stream, m); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-committed:
		case <-time.After(headPoll):
		}
	}
}

// checkSame fails if the revision that a caller has was committed at another
// time than ours of that number: the hub was restored from a backup, and has
// come to the number again in another way.
func (s *Server) checkSame(ctx context.Context, d store.DistrictID, rev store.Revision, at *timestamppb.Timestamp) error {
	if at == nil {
		return nil
	}
	ours, err := s.commitTime(ctx, d, rev)
	if err == nil && !ours.IsZero() && !ours.Equal(at.AsTime()) {
		err = fmt.Errorf("revision %d was committed at another time than the caller's: %w", rev, store.ErrRevisionUnknown)
	}
	return err
}

// commitTime returns when a revision was committed; zero if it is not, or not
// any more, among those that are kept.
func (s *Server) commitTime(ctx context.Context, d store.DistrictID, rev store.Revision) (time.Time, error) {
	if rev == 0 {
		return time.Time{}, nil
	}
	found, err := s.store.Revisions(ctx, d, rev+1, 1)
	if err != nil || len(found) == 0 || found[0].Revision != rev {
		return time.Time{}, err
	}
	return found[0].CommitTime, nil
}

// sendChanges sends everything after *sent and moves it on.
func (s *Server) sendChanges(ctx context.Context, stream rosterv1.RosterService_WatchServer, d store.DistrictID, sent *store.Revision) error {
	records := newBatch(&rosterv1.Changes{})
	flush := func() error {
		if records.empty() {
			return nil
		}
		m := &rosterv1.Changes{}
		records.moveTo(m)
		return s.send(stream, &rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Changes{Changes: m}})
	}
	for e, err := range s.changes(ctx, d, *sent, scopeOf(ctx)) {
		if err != nil {
			return outward(string(d), err)
		}
		switch e.Phase {
		case store.Begin:
			err = s.send(stream, &rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Begin{Begin: &rosterv1.RevisionBegin{
				Revision: count(e.Revision.Revision), CommitTime: timestamppb.New(e.Revision.CommitTime),
			}}})
		case store.Data:
			records.add(e.Record.Body)
			if records.full() {
				err = flush()
			}
		case store.End:
			if err = flush(); err == nil {
				*sent = e.Revision.Revision
				err = s.send(stream, &rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_End{End: &rosterv1.RevisionEnd{Revision: count(*sent)}}})
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
