package syncrun

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

var (
	errRecordUnknown = errs.New(codes.NotFound, "RECORD_NOT_FOUND", "")
	errErasureWaits  = errs.New(codes.Unavailable, "ERASURE_WAITS", "a sync of the district is under way: the person is erased as soon as that has ended, and there is nothing more to do")
)

const (
	// leasePoll is how often a lease is tried that somebody else holds.
	leasePoll = 50 * time.Millisecond
	// eraseTime is how long one person may take: all files of the largest
	// district are written anew.
	eraseTime = time.Hour
)

// ErasePerson erases a person wherever it is, or fails with RECORD_NOT_FOUND if
// it is nowhere. It waits for syncs that are under way. What is broken off is
// gone on with by Erasures.
func (r *Runner) ErasePerson(ctx context.Context, district, user string) (*ingestv1.ErasePersonResponse, error) {
	if _, err := r.deps.Store.District(ctx, district); err != nil {
		return nil, err
	}
	begin := &ingestv1.ErasureDocument{District: district, User: user, CreateTime: timestamppb.New(r.deps.Now())}
	_, err := r.deps.Store.Erasures.Create(ctx, state.Key(district, user), begin)
	if errors.Is(err, docstore.ErrExists) {
		_, err = r.deps.Store.Erasures.Modify(ctx, state.Key(district, user), func(d *ingestv1.ErasureDocument) error {
			d.CreateTime, d.EndTime, d.Done = begin.GetCreateTime(), nil, nil
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	done, err := r.erasePerson(ctx, district, user)
	if errors.Is(err, state.ErrBusy) {
		return nil, errErasureWaits.Because(err)
	}
	return done, err
}

// Erasures goes on with what was broken off, until ctx ends.
func (r *Runner) Erasures(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Sweep)
	defer tick.Stop()
	for {
		for doc, err := range r.deps.Store.Erasures.All(ctx, state.Within(state.ErasurePending)) {
			if err == nil {
				_, err = r.erasePerson(ctx, doc.Value.GetDistrict(), doc.Value.GetUser())
			}
			if err != nil && ctx.Err() == nil && !errors.Is(err, state.ErrBusy) && !errors.Is(err, errRecordUnknown) {
				r.deps.Log.WarnContext(ctx, "erase person", "district", doc.Value.GetDistrict(), "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// erasePerson holds all leases of a district while it erases, so that no sync
// reads, plans or commits what is being erased.
func (r *Runner) erasePerson(ctx context.Context, district, user string) (_ *ingestv1.ErasePersonResponse, err error) {
	lease, err := r.hold(ctx, state.CommitLease(district))
	if err != nil {
		return nil, err
	}
	ctx, stop := lease.Keep(ctx)
	defer func() {
		stop()
		err = errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
	}()
	ctx, cancel := context.WithTimeout(ctx, eraseTime)
	defer cancel()
	key := state.Key(district, user)
	doc, err := r.deps.Store.Erasures.Get(ctx, key)
	switch {
	case errors.Is(err, docstore.ErrNotFound):
		return nil, neverHad(district)
	case err != nil:
		return nil, err
	case doc.Value.GetEndTime() != nil:
		return doc.Value.GetDone(), nil // somebody else has done it
	}
	for source, err := range r.deps.Store.Sources.All(ctx, state.Within(district)) {
		if err == nil {
			err = r.eraseFromSource(ctx, district, source.Value.GetSource().GetSourceId(), user)
		}
		if err != nil {
			return nil, err
		}
	}
	_, err = r.deps.RosterUpkeep.ErasePersonRecords(ctx, &rosterv1.ErasePersonRecordsRequest{District: district, SourcedId: user})
	unknown := errors.Is(err, errRecordUnknown)
	if err != nil && !unknown {
		return nil, fmt.Errorf("erase from the roster: %w", err)
	}
	revision, err := r.tell(ctx, district, user, lease.Fence)
	if err != nil {
		return nil, fmt.Errorf("tell products of the erasure: %w", err)
	}
	findings, err := r.deps.ReadinessUpkeep.ErasePersonFindings(ctx, &readinessv1.ErasePersonFindingsRequest{District: district, SourcedId: user})
	if err != nil {
		return nil, fmt.Errorf("erase from readiness reports: %w", err)
	}
	if doc, err = r.deps.Store.Erasures.Get(ctx, key); err != nil {
		return nil, err
	}
	if done := doc.Value.GetDone(); unknown && done.GetLayerFiles()+done.GetPackages()+findings.GetFindingsFiles() == 0 && len(doc.Value.GetRecords()) == 0 {
		if err := r.deps.Store.Erasures.DeleteVersion(ctx, doc); err != nil {
			return nil, err
		}
		return nil, neverHad(district)
	}
	doc, err = r.done(ctx, key, func(d *ingestv1.ErasePersonResponse) {
		d.FindingsFiles += findings.GetFindingsFiles()
		d.Revision = max(d.GetRevision(), revision)
	}, true)
	return doc.Value.GetDone(), err
}

func neverHad(district string) error {
	return errs.Errorf(codes.NotFound, errRecordUnknown.Reason, "sourcedId: district %s has never had this user", district).With("field", "sourcedId")
}

// done takes down what was done, and the end.
func (r *Runner) done(ctx context.Context, key string, change func(*ingestv1.ErasePersonResponse), end bool) (docstore.Doc[*ingestv1.ErasureDocument], error) {
	return r.deps.Store.Erasures.Modify(ctx, key, func(d *ingestv1.ErasureDocument) error {
		if d.Done == nil {
			d.Done = &ingestv1.ErasePersonResponse{}
		}
		change(d.Done)
		if end {
			d.EndTime = timestamppb.New(r.deps.Now())
		}
		return nil
	})
}

// hold acquires a lease as soon as it is free. It fails with state.ErrBusy when
// that takes longer than a caller waits.
func (r *Runner) hold(ctx context.Context, name string) (*state.Lease, error) {
	patience := time.NewTimer(r.cfg.Patience)
	defer patience.Stop()
	tick := time.NewTicker(leasePoll)
	defer tick.Stop()
	for {
		lease, err := r.deps.Leases.Acquire(ctx, name)
		if !errors.Is(err, state.ErrBusy) {
			return lease, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-patience.C:
			return nil, err
		case <-tick.C:
		}
	}
}

func (r *Runner) eraseFromSource(ctx context.Context, district, source, user string) (err error) {
	lease, err := r.hold(ctx, state.SourceLease(district, source))
	if err != nil {
		return err
	}
	ctx, stop := lease.Keep(ctx)
	defer func() {
		stop()
		err = errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
	}()
	if err := r.blankLayers(ctx, district, source, user); err != nil {
		return fmt.Errorf("erase from the layer of source %s: %w", source, err)
	}
	if err := r.dropPackages(ctx, district, source, user); err != nil {
		return fmt.Errorf("erase from the packages of source %s: %w", source, err)
	}
	// What was dropped and not read yet may be of any form: all of it goes, and
	// comes again with the next export.
	dropped, err := r.inbox(district, source).Clear(ctx)
	if err != nil {
		return fmt.Errorf("erase what was dropped for source %s: %w", source, err)
	}
	if dropped == 0 {
		return nil
	}
	_, err = r.done(ctx, state.Key(district, user), func(d *ingestv1.ErasePersonResponse) { d.Packages++ }, false)
	return err
}

// tell makes a revision in which an erased person is updated to what is kept of
// it, so that products replace it in their copies; 0 if there is nothing to
// replace. The caller holds the district's commits.
func (r *Runner) tell(ctx context.Context, district, user string, fence int64) (revision int32, err error) {
	kept := map[typev1.Entity][]layer.Entry{}
	for _, name := range personal {
		got, err := r.deps.Roster.GetRecord(ctx, &rosterv1.GetRecordRequest{District: district, Entity: name, SourcedId: user})
		if errors.Is(err, errRecordUnknown) {
			continue
		}
		if err != nil {
			return 0, err
		}
		rec := got.GetRecord()
		e, base := record.Of(rec)
		if base.GetStatus() == record.StatusToBeDeleted {
			continue // products were told that it is gone
		}
		body, err := proto.Marshal(rec)
		if err != nil {
			return 0, err
		}
		kept[e] = []layer.Entry{{ID: []byte(user), Hash: record.HashOf(rec), Body: body}}
	}
	if len(kept) == 0 {
		return 0, nil
	}
	h := &rosterv1.PlanHeader{District: district, Plan: "erasure-" + state.NewID(), Fence: fence}
	_, err = (&merging{r: r}).send(ctx, h, func(e typev1.Entity) iter.Seq2[layer.Entry, error] {
		return func(yield func(layer.Entry, error) bool) {
			for _, entry := range kept[e] {
				if !yield(entry, nil) {
					return
				}
			}
		}
	})
	if err != nil {
		return 0, err
	}
	answer, err := r.deps.Roster.CommitPlan(ctx, &rosterv1.CommitPlanRequest{District: district, Plan: h.GetPlan(), Fence: fence})
	if err != nil || !answer.GetCommitted() {
		return 0, err
	}
	return answer.GetRevision(), nil
}
