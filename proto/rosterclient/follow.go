package rosterclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// Store is where a product keeps its copy of one district. Follow calls it, and
// what it returns, from one goroutine.
type Store interface {
	// Revision returns the Number and CommitTime that the last Commit has
	// stored, zero if there was none.
	Revision(ctx context.Context) (Revision, error)
	// Begin opens a transaction that will bring the copy to a revision.
	Begin(ctx context.Context, r Revision) (Tx, error)
}

// Tx takes one revision. After Put has been called any number of times comes
// either Commit or Rollback, once.
type Tx interface {
	// Put stores a record in place of the one with the same entity and
	// sourcedId, or removes that if the status is "tobedeleted". The record is
	// the store's to keep.
	Put(ctx context.Context, r *typev1.Record) error
	// Commit makes all of it visible together with the Number and CommitTime
	// of the revision.
	Commit(ctx context.Context) error
	// Rollback forgets all of it: the revision has not arrived completely and
	// will begin again, or another in its place.
	Rollback(ctx context.Context) error
}

// Revision says what a transaction is about.
type Revision struct {
	// Number counts up by one. It is 0 only for a district that has no roster
	// yet, and Whole then.
	Number int32
	// Whole means that the records are all there are: whatever else the copy
	// holds of the district has to go, in the same transaction.
	Whole bool
	// CommitTime is when the hub has committed it, in milliseconds; zero for
	// Number 0. By it the hub knows a copy from before it was restored from a
	// backup, although the number may be there again.
	CommitTime time.Time
}

// Follow keeps a copy of a district in step with the hub until ctx ends, whose
// cause it returns. A copy without a revision, or with one that the hub cannot
// go on from, begins with a Whole revision; after it comes each later one, in
// order, none left out, none twice.
//
// What breaks in between is tried again for as long as it takes, with pauses.
// Follow gives up, and says why, when the Store fails, and when the hub refuses:
// ErrDistrictUnknown, or a client that is unknown or lacks the scope
// rosters.read. It may be called again then and goes on from the Store's
// revision.
func (c *Client) Follow(ctx context.Context, district string, store Store) error {
	at, err := store.Revision(ctx)
	if err != nil {
		return fmt.Errorf("read the revision of the copy of %s: %w", district, err)
	}
	f := &follower{client: c, tries: c.attempts("roster", district), store: store, district: district, at: at}
	for {
		err := explained(f.run(ctx))
		if errors.Is(err, ErrRevisionGone) || errors.Is(err, ErrRevisionUnknown) {
			f.at = Revision{}
			err = status.Error(codes.Aborted, err.Error())
		}
		if err := f.tries.wait(ctx, err); err != nil {
			return err
		}
	}
}

// follower is one call of Follow.
type follower struct {
	client   *Client
	tries    *attempts
	store    Store
	district string
	at       Revision // what the store has
	tx       Tx       // nil between revisions
	next     Revision // what tx is about
}

// run goes on until something breaks; then no transaction is open.
func (f *follower) run(ctx context.Context) (err error) {
	defer func() {
		if f.tx != nil {
			err = errors.Join(err, f.own("roll back", f.tx.Rollback(context.WithoutCancel(ctx))))
			f.tx = nil
		}
	}()
	if f.at.Number == 0 {
		if err := f.load(ctx); err != nil {
			return err
		}
	}
	return f.watch(ctx)
}

// load takes the newest revision as a whole.
func (f *follower) load(ctx context.Context) error {
	for batch, err := range f.client.batches(ctx, &rosterv1.ExportRequest{District: f.district}, f.tries) {
		if err != nil {
			return err
		}
		if f.tx == nil {
			if err := f.begin(ctx, Revision{Number: batch.GetRevision(), Whole: true, CommitTime: timeOf(batch.GetCommitTime())}); err != nil {
				return err
			}
		}
		if err := f.put(ctx, batch.GetRecords()); err != nil {
			return err
		}
	}
	if f.tx == nil {
		return errEnded
	}
	return f.commit(ctx)
}

// watch takes what each revision after that changes.
func (f *follower) watch(ctx context.Context) error {
	open := func(ctx context.Context) (grpc.ServerStreamingClient[rosterv1.WatchResponse], error) {
		req := &rosterv1.WatchRequest{District: f.district, After: f.at.Number}
		if !f.at.CommitTime.IsZero() {
			req.AfterCommitTime = timestamppb.New(f.at.CommitTime)
		}
		return f.client.roster.Watch(ctx, req)
	}
	for m, err := range messages(ctx, open) {
		if errors.Is(err, io.EOF) {
			return errEnded
		}
		if err != nil {
			return err
		}
		if err := f.take(ctx, m); err != nil {
			return err
		}
		f.tries.progress()
	}
	return errEnded
}

// take acts on one message, which must be the one that is next.
func (f *follower) take(ctx context.Context, m *rosterv1.WatchResponse) error {
	switch e := m.GetEvent().(type) {
	case *rosterv1.WatchResponse_Begin:
		if f.tx == nil && e.Begin.GetRevision() == f.at.Number+1 {
			return f.begin(ctx, Revision{Number: f.at.Number + 1, CommitTime: timeOf(e.Begin.GetCommitTime())})
		}
	case *rosterv1.WatchResponse_Changes:
		if f.tx != nil {
			return f.put(ctx, e.Changes.GetRecords())
		}
	case *rosterv1.WatchResponse_End:
		if f.tx != nil && e.End.GetRevision() == f.next.Number {
			return f.commit(ctx)
		}
	case *rosterv1.WatchResponse_Bookmark:
		if f.tx == nil && e.Bookmark.GetRevision() == f.at.Number {
			return nil
		}
	default: // of a newer hub
		return nil
	}
	return status.Errorf(codes.Aborted, "the stream does not go on after revision %d", f.at.Number)
}

func (f *follower) begin(ctx context.Context, r Revision) error {
	tx, err := f.store.Begin(ctx, r)
	if err != nil {
		return f.own(fmt.Sprintf("begin revision %d", r.Number), err)
	}
	f.tx, f.next = tx, r
	return nil
}

func (f *follower) put(ctx context.Context, records []*typev1.Record) error {
	for _, r := range records {
		if err := f.tx.Put(ctx, r); err != nil {
			return f.own("put a record", err)
		}
	}
	return nil
}

func (f *follower) commit(ctx context.Context) error {
	tx := f.tx
	f.tx = nil
	if err := tx.Commit(ctx); err != nil {
		return f.own(fmt.Sprintf("commit revision %d", f.next.Number), err)
	}
	f.at = f.next
	return nil
}

// timeOf is zero for no time.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// own marks an error of the product's store, which is for the product to mend.
func (f *follower) own(what string, err error) error {
	if err == nil {
		return nil
	}
	return final{fmt.Errorf("%s in the copy of %s: %w", what, f.district, err)}
}
