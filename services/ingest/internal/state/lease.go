package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/docstore"
)

// ErrBusy means that somebody else holds the lease.
var ErrBusy = errors.New("the lease is held by another runner")

// ErrLeaseLost means that a lease has run out and was taken over.
var ErrLeaseLost = errors.New("the lease was taken over by another runner")

// SourceLease names the lease under which a source is synced.
func SourceLease(district, source string) string { return district + "/source/" + source }

// CommitLease names the lease under which a district's roster is written.
func CommitLease(district string) string { return district + "/commit" }

// NoticeLease names the lease under which the mails about a source are sent.
func NoticeLease(district, source string) string { return district + "/notices/" + source }

func leaseKey(lease string, fence int64) string { return fmt.Sprintf("%s/%019d", lease, fence) }

// Leases hands out leases. A claim is the unique insert of a document with the
// next fencing number, so that of any number of claimants one wins on every
// engine; the document with the highest number is the holder's, and nobody
// else writes it.
type Leases struct {
	Store *Store
	// Holder tells the processes apart.
	Holder string
	// Life is how long a lease lasts without being renewed.
	Life time.Duration
	// Alone tells that no other process uses the documents: a lease of another
	// holder is then one of a process that has ended.
	Alone bool
	Now   func() time.Time
}

// Lease is held until Release, as long as it is renewed.
type Lease struct {
	l     *Leases
	name  string
	Fence int64
}

// Acquire claims a lease, or fails with ErrBusy.
func (l *Leases) Acquire(ctx context.Context, name string) (*Lease, error) {
	last, err := l.last(ctx, name)
	if err != nil {
		return nil, err
	}
	next := int64(1)
	if last != nil {
		left := l.Alone && last.GetHolder() != l.Holder
		if !left && last.GetExpireTime().AsTime().After(l.Now()) {
			return nil, ErrBusy
		}
		next = last.GetFence() + 1
	}
	_, err = l.Store.Leases.Create(ctx, leaseKey(name, next), &ingestv1.LeaseDocument{
		Lease: name, Fence: next, Holder: l.Holder, ExpireTime: timestamppb.New(l.Now().Add(l.Life)),
	})
	if errors.Is(err, docstore.ErrExists) {
		return nil, ErrBusy
	}
	if err != nil {
		return nil, fmt.Errorf("claim lease %s: %w", name, err)
	}
	// Another claimant may have come, gone and been tidied up after since the
	// list was read: then the number is an old one.
	if last, err := l.last(ctx, name); err != nil || last.GetFence() != next {
		return nil, errors.Join(err, ErrBusy)
	}
	// The last document stays for ever, so that numbers never come again; those
	// before it have served.
	if last != nil {
		if err := l.Store.Leases.Delete(ctx, leaseKey(name, last.GetFence())); err != nil && !errors.Is(err, docstore.ErrNotFound) {
			return nil, fmt.Errorf("claim lease %s: %w", name, err)
		}
	}
	return &Lease{l: l, name: name, Fence: next}, nil
}

func (l *Leases) last(ctx context.Context, name string) (*ingestv1.LeaseDocument, error) {
	docs, _, err := l.Store.Leases.List(ctx, docstore.Query{Prefix: name + "/", Limit: 1, Descending: true})
	if err != nil {
		return nil, fmt.Errorf("read lease %s: %w", name, err)
	}
	if len(docs) == 0 {
		return nil, nil
	}
	return docs[0].Value, nil
}

// Renew makes the lease last on, or fails with ErrLeaseLost.
func (l *Lease) Renew(ctx context.Context) error {
	last, err := l.l.last(ctx, l.name)
	if err != nil {
		return err
	}
	if last.GetFence() != l.Fence {
		return ErrLeaseLost
	}
	return l.expire(ctx, l.l.Now().Add(l.l.Life))
}

// Release gives the lease back at once.
func (l *Lease) Release(ctx context.Context) error {
	err := l.expire(ctx, time.Unix(0, 0))
	if errors.Is(err, ErrLeaseLost) {
		return nil
	}
	return err
}

func (l *Lease) expire(ctx context.Context, at time.Time) error {
	_, err := l.l.Store.Leases.Modify(ctx, leaseKey(l.name, l.Fence), func(d *ingestv1.LeaseDocument) error {
		d.ExpireTime = timestamppb.New(at)
		return nil
	})
	if errors.Is(err, docstore.ErrNotFound) {
		return ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("renew lease %s: %w", l.name, err)
	}
	return nil
}

// Keep renews the lease until stop is called; the context it returns ends with
// ErrLeaseLost when that fails for good.
func (l *Lease) Keep(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(l.l.Life / 3)
		defer tick.Stop()
		until := l.l.Now().Add(l.l.Life)
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := l.Renew(ctx)
			switch {
			case err == nil:
				until = l.l.Now().Add(l.l.Life)
			case errors.Is(err, ErrLeaseLost) || l.l.Now().After(until):
				cancel(fmt.Errorf("%w: %w", ErrLeaseLost, err))
				return
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}
