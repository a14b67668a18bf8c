package api

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
)

const (
	// restoreWait is how long a restore waits for syncs to plan or commit.
	restoreWait = 30 * time.Second
	// restorePoll is how often it looks whether they have.
	restorePoll = 100 * time.Millisecond
)

var (
	errRestoreBusy = errs.New(codes.Unavailable, "DISTRICT_BUSY",
		"a sync is planning or committing changes: try again when it has ended")
	// An answer of the roster store: the commit has come through after all.
	errPlanCommitted = errs.New(codes.FailedPrecondition, "PLAN_COMMITTED", "")
	errHeadMoved     = errs.New(codes.Aborted, "REVISION_MOVED",
		"head: the roster has changed since it was looked at: look at the changes again and repeat the restore").With("field", "head")
)

// RestoreRevision implements SyncService. It is done under the lease of the
// district's commits, so that nothing comes between what is compared and what
// is committed.
func (s *syncs) RestoreRevision(ctx context.Context, req *ingestv1.RestoreRevisionRequest) (*ingestv1.RestoreRevisionResponse, error) {
	if req.GetRevision() < 0 {
		return nil, invalid("revision", "a revision is not negative")
	}
	if req.GetRevision() == 0 && req.GetHead() == 0 && !req.GetDryRun() {
		return nil, invalid("head", "revision 0 removes everything: name the newest revision to say that this is meant")
	}
	if _, err := s.Store.District(ctx, req.GetDistrict()); err != nil {
		return nil, err
	}
	if req.GetDryRun() {
		return s.previewRestore(ctx, req)
	}
	lease, err := s.commits(ctx, req.GetDistrict())
	if err != nil {
		return nil, err
	}
	kept, stop := lease.Keep(ctx)
	defer func() {
		stop()
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			s.Log.WarnContext(ctx, "release commit lease", "district", req.GetDistrict(), "error", err)
		}
	}()
	return s.restore(kept, req, lease.Fence)
}

// commits waits for the lease under which a district's roster is written, until
// no sync is in the middle of its commit.
func (s *syncs) commits(ctx context.Context, district string) (*state.Lease, error) {
	patience := time.NewTimer(restoreWait)
	defer patience.Stop()
	for {
		lease, err := s.Leases.Acquire(ctx, state.CommitLease(district))
		if err == nil {
			busy, err := s.committing(ctx, district)
			if err == nil && !busy {
				return lease, nil
			}
			if err := errors.Join(err, lease.Release(context.WithoutCancel(ctx))); err != nil {
				return nil, err
			}
			s.Wake() // the sync may have waited for the lease
		} else if !errors.Is(err, state.ErrBusy) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience.C:
			return nil, errRestoreBusy
		case <-time.After(restorePoll):
		}
	}
}

// committing tells whether a sync was left in the middle of its commit: it goes
// first, since what it commits may be visible already.
func (s *syncs) committing(ctx context.Context, district string) (bool, error) {
	for open, err := range s.Store.Open.All(ctx, state.Within(district)) {
		if err != nil {
			return false, err
		}
		doc, err := s.Store.Sync(ctx, district, open.Value.GetSync())
		if err != nil && !errors.Is(err, state.ErrSyncNotFound) {
			return false, err
		}
		if err == nil && doc.Value.GetSync().GetState() == ingestv1.SyncState_COMMITTING {
			return true, nil
		}
	}
	return false, nil
}

// head returns the newest revision, which must be the one the caller has seen.
func (s *syncs) head(ctx context.Context, req *ingestv1.RestoreRevisionRequest) (int32, error) {
	list, err := s.Roster.ListRevisions(ctx, &rosterv1.ListRevisionsRequest{District: req.GetDistrict(), PageSize: 1})
	if err != nil {
		return 0, err
	}
	head := int32(0)
	if len(list.GetRevisions()) > 0 {
		head = list.GetRevisions()[0].GetRevision()
	}
	if req.GetHead() != 0 && req.GetHead() != head {
		return 0, errHeadMoved
	}
	return head, nil
}

func (s *syncs) previewRestore(ctx context.Context, req *ingestv1.RestoreRevisionRequest) (*ingestv1.RestoreRevisionResponse, error) {
	head, err := s.head(ctx, req)
	if err != nil {
		return nil, err
	}
	diff, err := s.Roster.DiffRevisions(ctx, &rosterv1.DiffRevisionsRequest{
		District: req.GetDistrict(), From: strconv.Itoa(int(head)), To: strconv.Itoa(int(req.GetRevision())), PageSize: 1,
	})
	if err != nil {
		return nil, err
	}
	return &ingestv1.RestoreRevisionResponse{Revision: head, Counts: changed(diff.GetCounts())}, nil
}

func (s *syncs) restore(ctx context.Context, req *ingestv1.RestoreRevisionRequest, fence int64) (*ingestv1.RestoreRevisionResponse, error) {
	head, err := s.head(ctx, req)
	if err != nil {
		return nil, err
	}
	// The same name for the same restore: what a crash has left is used again.
	name := fmt.Sprintf("restore-%d-at-%d", req.GetRevision(), head)
	committed := false
	defer func() {
		if committed {
			return
		}
		// Also when the caller has left.
		_, err := s.Roster.DiscardPlan(context.WithoutCancel(ctx), &rosterv1.DiscardPlanRequest{District: req.GetDistrict(), Plan: name})
		if err != nil && !errors.Is(err, errPlanCommitted) {
			s.Log.WarnContext(ctx, "the plan of a restore is left over", "district", req.GetDistrict(), "plan", name, "error", err)
		}
	}()
	plan, err := s.Roster.StageRestore(ctx, &rosterv1.StageRestoreRequest{
		District: req.GetDistrict(), Revision: req.GetRevision(), Plan: name, Fence: fence,
	})
	if err != nil {
		return nil, err
	}
	out := &ingestv1.RestoreRevisionResponse{Revision: head, Counts: changed(plan.GetCounts())}
	if len(out.GetCounts()) == 0 {
		return out, nil
	}
	done, err := s.Roster.CommitPlan(ctx, &rosterv1.CommitPlanRequest{District: req.GetDistrict(), Plan: name, Fence: fence})
	if err != nil {
		return nil, err
	}
	committed = done.GetCommitted()
	s.Log.InfoContext(ctx, "revision restored", "district", req.GetDistrict(), "restored", req.GetRevision(),
		"revision", done.GetRevision(), "by", authn.FromContext(ctx).Subject)
	out.Revision, out.Committed = done.GetRevision(), done.GetCommitted()
	return out, nil
}

// changed leaves out the entities that nothing changes of.
func changed(counts map[string]*rosterv1.ChangeCounts) map[string]*ingestv1.EntityCounts {
	out := map[string]*ingestv1.EntityCounts{}
	for name, c := range counts {
		if c.GetCreated()+c.GetUpdated()+c.GetRemoved() > 0 {
			out[name] = &ingestv1.EntityCounts{Created: c.GetCreated(), Updated: c.GetUpdated(), Removed: c.GetRemoved()}
		}
	}
	return out
}
