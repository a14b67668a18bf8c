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

// leasePoll is how often a lease is tried that somebody else holds.
const leasePoll = 50 * time.Millisecond

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
	done, err := r.erasePerson(ctx, district, user, r.cfg.Patience)
	if errors.Is(err, state.ErrBusy) {
		return nil, errErasureWaits.Because(err)
	}
	return done, err
}

// Erasures goes on with what was broken off, until ctx ends. What fails is tried
// again later and later: each try may write all files of a district anew.
func (r *Runner) Erasures(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Sweep)
	defer tick.Stop()
	waits := waits{}
	for {
		for doc, err := range r.deps.Store.Erasures.All(ctx, state.Within(state.ErasurePending)) {
			key := state.Key(doc.Value.GetDistrict(), doc.Value.GetUser())
			if err == nil && !waits.over(key, r.deps.Now()) {
				continue
			}
			if err == nil {
				_, err = r.erasePerson(ctx, doc.Value.GetDistrict(), doc.Value.GetUser(), r.cfg.Sweep)
			}
			switch {
			case err == nil, errors.Is(err, errRecordUnknown):
				delete(waits, key)
			case ctx.Err() == nil && !errors.Is(err, state.ErrBusy):
				r.deps.Log.WarnContext(ctx, "erase person", "district", doc.Value.GetDistrict(), "error", err)
				waits.longer(key, r.deps.Now(), r.cfg.Sweep)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// waits are erasures that have failed, and when to try them again.
type waits map[string]struct {
	until time.Time
	wait  time.Duration
}

// longestWait is how long a failed erasure waits at most.
const longestWait = 10 * time.Minute

func (w waits) over(key string, now time.Time) bool { return !now.Before(w[key].until) }

// longer waits twice as long as before, and at first as long as it is told.
func (w waits) longer(key string, now time.Time, first time.Duration) {
	next := w[key]
	next.wait = min(max(2*next.wait, first), longestWait)
	next.until = now.Add(next.wait)
	w[key] = next
}

// erasePerson holds all leases of a district while it erases, so that no sync
// reads, plans or commits what is being erased. For these it waits as long as
// patience says.
func (r *Runner) erasePerson(ctx context.Context, district, user string, patience time.Duration) (_ *ingestv1.ErasePersonResponse, err error) {
	sources, leases, err := r.holdAll(ctx, district, patience)
	if err != nil {
		return nil, err
	}
	released := context.WithoutCancel(ctx)
	for _, lease := range leases {
		var stop func()
		ctx, stop = lease.Keep(ctx)
		defer func() {
			stop()
			err = errors.Join(err, lease.Release(released))
		}()
	}
	fence := leases[len(leases)-1].Fence
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
	for _, source := range sources {
		if err := r.eraseFromSource(ctx, district, source, user); err != nil {
			return nil, err
		}
	}
	_, err = r.deps.RosterUpkeep.ErasePersonRecords(ctx, &rosterv1.ErasePersonRecordsRequest{District: district, SourcedId: user})
	unknown := errors.Is(err, errRecordUnknown)
	if err != nil && !unknown {
		return nil, fmt.Errorf("erase from the roster: %w", err)
	}
	revision, err := r.tell(ctx, district, user, fence, doc.Value.GetDone().GetRevision())
	if err == nil && revision > 0 {
		_, err = r.done(ctx, key, func(d *ingestv1.ErasePersonResponse) { d.Revision = revision }, false)
	}
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
	if done := doc.Value.GetDone(); unknown && done.GetLayerFiles()+done.GetPackages()+done.GetEntries()+findings.GetFindingsFiles() == 0 && len(doc.Value.GetRecords()) == 0 {
		if err := r.deps.Store.Erasures.DeleteVersion(ctx, doc); err != nil {
			return nil, err
		}
		return nil, neverHad(district)
	}
	doc, err = r.done(ctx, key, func(d *ingestv1.ErasePersonResponse) { d.FindingsFiles += findings.GetFindingsFiles() }, true)
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

// holdAll acquires the leases of all sources of a district, and that of its
// commits as the last. A runner may hold one for hours: nothing is held while one
// is waited for. It fails with state.ErrBusy when patience is at an end.
func (r *Runner) holdAll(ctx context.Context, district string, patience time.Duration) (sources []string, leases []*state.Lease, err error) {
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(leasePoll)
	defer tick.Stop()
	for busy := ""; ; {
		sources, leases, busy, err = r.tryAll(ctx, district, busy)
		if !errors.Is(err, state.ErrBusy) {
			return sources, leases, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-end.C:
			return nil, nil, err
		case <-tick.C:
		}
	}
}

// tryAll acquires all leases of a district or none, and says which was busy. That
// one is looked at first the next time, so that the others are left alone.
func (r *Runner) tryAll(ctx context.Context, district, busy string) (sources []string, leases []*state.Lease, at string, err error) {
	if busy != "" {
		lease, err := r.deps.Leases.Acquire(ctx, busy)
		if err == nil {
			err = lease.Release(context.WithoutCancel(ctx))
		}
		if err != nil {
			return nil, nil, busy, err
		}
	}
	var names []string
	for doc, err := range r.deps.Store.Sources.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, nil, "", err
		}
		sources = append(sources, doc.Value.GetSource().GetSourceId())
		names = append(names, state.SourceLease(district, doc.Value.GetSource().GetSourceId()))
	}
	for _, name := range append(names, state.CommitLease(district)) {
		lease, err := r.deps.Leases.Acquire(ctx, name)
		if err != nil {
			for _, l := range leases {
				err = errors.Join(err, l.Release(context.WithoutCancel(ctx)))
			}
			return nil, nil, name, err
		}
		leases = append(leases, lease)
	}
	return sources, leases, "", nil
}

// eraseFromSource erases what a source has delivered. The caller holds the source.
func (r *Runner) eraseFromSource(ctx context.Context, district, source, user string) error {
	if err := r.blankLayers(ctx, district, source, user); err != nil {
		return fmt.Errorf("erase from the layer of source %s: %w", source, err)
	}
	if err := r.eraseEntries(ctx, district, source, user); err != nil {
		return fmt.Errorf("erase what was entered by hand in source %s: %w", source, err)
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
// replace. told is the one that an earlier try has made. The caller holds the
// district's commits.
func (r *Runner) tell(ctx context.Context, district, user string, fence int64, told int32) (revision int32, err error) {
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
		if base.GetStatus() == record.StatusToBeDeleted || got.GetFromRevision() <= told {
			continue // products know
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
