package explain

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/record"
)

// older looks for what nothing else has told of in the other packages that are
// kept, the newest first, up to one of each source that has it.
func (q *question) older(ctx context.Context) error {
	if q.out.GetStored().GetStatus() == record.StatusActive || len(q.out.GetReasons()) > 0 || q.streams.makes() {
		return nil
	}
	for _, a := range q.asked {
		for _, id := range slices.Backward(slices.Sorted(maps.Keys(a.uploads))) {
			s := a.last(id)
			p, err := q.read(ctx, a, id, s, false)
			if err != nil {
				return err
			}
			if len(p.GetRows()) == 0 {
				continue
			}
			switch s.GetSync().GetState() {
			case ingestv1.SyncState_FAILED, ingestv1.SyncState_DISCARDED, ingestv1.SyncState_CANCELLED:
				q.pending(a, s, p, nil)
			default:
				q.lastIn(a, s, p)
			}
			break
		}
	}
	return nil
}

// lastIn tells of the newest package that has the id, if that is not the newest.
func (q *question) lastIn(a *asked, s *ingestv1.SyncDocument, p *ingestv1.PackageEvidence) {
	row := p.GetRows()[0]
	q.reason(&ingestv1.ExplainReason{
		Type: noLongerDelivered, Source: a.GetSource(), Sync: s.GetSync().GetSyncId(), UploadId: p.GetUploadId(), Time: p.GetCreateTime(),
		File: row.GetFile(), Row: row.GetRow(),
		Message: fmt.Sprintf("it is not in the newest package of source %s; last in the one of %s, in %s, row %d",
			a.GetSource(), q.on(p.GetCreateTime().AsTime()), row.GetFile(), row.GetRow()),
		NextStep: "look whether the source still has it, and whether its export leaves it out",
	})
}

// last is the newest sync of a package that was no trial; nil for none.
func (a *asked) last(upload string) *ingestv1.SyncDocument {
	for _, s := range slices.Backward(a.syncs) {
		if s.GetSync().GetUploadId() == upload && !s.GetSync().GetDryRun() {
			return a.reader(s)
		}
	}
	return nil
}

// corrections tells of what was entered by hand, and of which there is no record.
func (q *question) corrections() {
	for _, a := range q.asked {
		if a.manual && a.had.live() && !q.streams.makes() {
			q.reason(&ingestv1.ExplainReason{
				Type: onlyCorrected, Source: a.GetSource(), Sync: a.GetSync(), Time: a.GetSyncTime(),
				Message:  fmt.Sprintf("source %s has a correction of it that was entered by hand, and waits until another source delivers the record", a.GetSource()),
				NextStep: "look whether the id of the entry agrees in every character with that in the source, or enter it as a whole record",
			})
		}
	}
}

// again tells which sources deliver an erased person again.
func (q *question) again() {
	var sources []string
	for _, s := range q.streams {
		if !s.entry.Deleted && !s.blank() && !slices.Contains(sources, s.source) {
			sources = append(sources, s.source)
		}
	}
	if q.erased.GetEndTime() == nil || len(sources) == 0 {
		return
	}
	for _, r := range q.out.GetReasons() {
		if r.GetType() == erased {
			names := strings.Join(sources, ", ")
			r.Message = fmt.Sprintf("the person was erased from the hub, %s, and is delivered again, by source %s", q.on(q.erased.GetCreateTime().AsTime()), names)
			r.NextStep = fmt.Sprintf("have the person removed from source %s, sync it, and erase the person once more", names)
		}
	}
}

// keptBack tells of a record that is there only because whoever approved a part
// of the newest sync has left its removal out. p is the package of that.
func (q *question) keptBack(a *asked, made *ingestv1.SyncDocument, p *ingestv1.PackageEvidence) {
	waits := slices.ContainsFunc(q.out.GetReasons(), func(r *ingestv1.ExplainReason) bool { return r.GetSource() == a.GetSource() })
	if !a.layer.GetInPart() || made.GetPartial() || waits || p.GetUnread() != "" || len(p.GetRows()) > 0 {
		return
	}
	q.reason(&ingestv1.ExplainReason{
		Type: leftOut, Source: a.GetSource(), Sync: a.GetSync(), UploadId: p.GetUploadId(), Time: cmp.Or(a.GetSyncTime(), p.GetCreateTime()),
		Message: fmt.Sprintf("it is not in the package that source %s was last synced from, and stays only because whoever approved a part of that sync has left its removal out",
			a.GetSource()),
		NextStep: "sync the source again, and approve what is left, if it is to go",
	})
}
