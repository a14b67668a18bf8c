// Package notify tells people by e-mail what becomes of the syncs of a district:
// that one waits for a person, that a source fails, has stopped to deliver or
// shows another host key, and that it works again.
//
// A document per source says what was told last. It is compared with how things
// are, when a sync has ended and again and again, so that a lost event is made
// up for, and what has not changed is not told twice. The mails that follow
// are written with it in one write and sent from there: a process that dies
// loses none, and may send one again, with the same Message-ID.
package notify

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
)

const (
	// keepTrying is how long a mail is tried that the server does not take now.
	keepTrying = 3 * 24 * time.Hour
	// againMax is the longest time between two tries.
	againMax = time.Hour
)

// Notifier tells of the syncs of all districts, together with other replicas.
type Notifier struct {
	Store  *state.Store
	Leases *state.Leases
	Server *Server
	// PublicURL is where people open the hub; empty for no links.
	PublicURL string
	Log       *slog.Logger
	Now       func() time.Time
}

// Sweep tells what there is to tell of all sources.
func (n *Notifier) Sweep(ctx context.Context) {
	for doc, err := range n.Store.Notifications.All(ctx, "") {
		if err == nil {
			err = n.District(ctx, doc.Value.GetDistrict(), "")
		}
		if err != nil && ctx.Err() == nil {
			n.Log.WarnContext(ctx, "tell what became of syncs", "district", doc.ID, "error", err)
		}
	}
}

// District tells what there is to tell of the sources of a district. sync, if
// there is one, has ended or is on hold.
func (n *Notifier) District(ctx context.Context, district, sync string) error {
	settings, err := n.Store.Notifications.Get(ctx, district)
	if errors.Is(err, docstore.ErrNotFound) || err == nil && len(settings.Value.GetSettings().GetRecipients()) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	owner, err := n.Store.District(ctx, district)
	if errors.Is(err, authn.ErrDistrictNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	held, err := n.held(ctx, district)
	if err != nil {
		return err
	}
	var failed []error
	for doc, err := range n.Store.Sources.All(ctx, state.Within(district)) {
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		t := &telling{
			district: owner.Value.GetDistrict(), id: district, source: doc.Value.GetSource(), recipients: settings.Value.GetSettings().GetRecipients(),
			now: n.Now(), url: n.PublicURL,
		}
		schedule.Tell(doc.Value, schedule.Zone(t.district), t.now)
		t.hold = held[t.source.GetSourceId()]
		if t.ended, err = n.ended(ctx, district, t.source, sync); err == nil {
			err = n.tell(ctx, t)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// held returns the syncs of a district that wait for a person, by source.
func (n *Notifier) held(ctx context.Context, district string) (map[string]*ingestv1.Sync, error) {
	out := map[string]*ingestv1.Sync{}
	for doc, err := range n.Store.Open.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, err
		}
		sync, err := n.Store.Sync(ctx, district, doc.Value.GetSync())
		switch {
		case errors.Is(err, state.ErrSyncNotFound):
		case err != nil:
			return nil, err
		case sync.Value.GetSync().GetState() == ingestv1.SyncState_ON_HOLD:
			out[doc.Value.GetSource()] = sync.Value.GetSync()
		}
	}
	return out, nil
}

// ended returns a sync of the source that has succeeded or failed, the one that
// is named or else the last one; nil if it has not.
func (n *Notifier) ended(ctx context.Context, district string, source *ingestv1.Source, sync string) (*ingestv1.Sync, error) {
	for _, id := range []string{sync, source.GetLastSync()} {
		if id == "" {
			continue
		}
		doc, err := n.Store.Sync(ctx, district, id)
		if errors.Is(err, state.ErrSyncNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s := doc.Value.GetSync()
		told := s.GetState() == ingestv1.SyncState_COMPLETED || s.GetState() == ingestv1.SyncState_FAILED
		if told && !s.GetDryRun() && s.GetSource() == source.GetSourceId() {
			return s, nil
		}
	}
	return nil, nil
}

// tell writes what is to be told of a source and sends what is to be sent.
func (n *Notifier) tell(ctx context.Context, t *telling) error {
	key := state.Key(t.id, t.source.GetSourceId())
	doc, err := n.Store.Notices.Get(ctx, key)
	if errors.Is(err, docstore.ErrNotFound) {
		doc.Value = &ingestv1.NoticeDocument{District: t.id, Source: t.source.GetSourceId()}
	} else if err != nil {
		return err
	}
	next := proto.CloneOf(doc.Value)
	t.update(next)
	if !proto.Equal(next, doc.Value) {
		if doc.ID == "" {
			doc, err = n.Store.Notices.Create(ctx, key, next)
		} else {
			doc.Value = next
			doc, err = n.Store.Notices.Update(ctx, doc)
		}
		if errors.Is(err, docstore.ErrExists) || errors.Is(err, docstore.ErrConflict) {
			return nil // another replica tells it
		}
		if err != nil {
			return err
		}
	}
	return n.send(ctx, key, doc.Value)
}

// send sends what is pending and due.
func (n *Notifier) send(ctx context.Context, key string, d *ingestv1.NoticeDocument) error {
	due := false
	for _, p := range d.GetPending() {
		due = due || !p.GetNextTime().AsTime().After(n.Now())
	}
	if !due {
		return nil
	}
	lease, err := n.Leases.Acquire(ctx, state.NoticeLease(d.GetDistrict(), d.GetSource()))
	if errors.Is(err, state.ErrBusy) {
		return nil // another replica sends it
	}
	if err != nil {
		return err
	}
	ctx, stop := lease.Keep(ctx)
	defer func() {
		stop()
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			n.Log.WarnContext(ctx, "release the lease on mails", "district", d.GetDistrict(), "error", err)
		}
	}()
	doc, err := n.Store.Notices.Get(ctx, key)
	if err != nil {
		return err
	}
	for _, p := range doc.Value.GetPending() {
		if p.GetNextTime().AsTime().After(n.Now()) {
			continue
		}
		err := n.Server.Send(ctx, Mail{ID: p.GetId(), To: p.GetRecipient(), Subject: p.GetSubject(), Text: p.GetText(), Time: p.GetCreateTime().AsTime()})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			n.Log.WarnContext(ctx, "mail not sent", "district", d.GetDistrict(), "source", d.GetSource(), "mail", p.GetId(), "error", err)
		}
		if err := n.sent(ctx, key, p, err); err != nil {
			return err
		}
	}
	return nil
}

// sent takes a mail off the list, or has it tried again later.
func (n *Notifier) sent(ctx context.Context, key string, p *ingestv1.Notice, failed error) error {
	now := n.Now()
	done := failed == nil || errors.Is(failed, errRefused) || now.Sub(p.GetCreateTime().AsTime()) > keepTrying
	_, err := n.Store.Notices.Modify(ctx, key, func(d *ingestv1.NoticeDocument) error {
		kept := d.GetPending()[:0]
		for _, q := range d.GetPending() {
			if q.GetId() == p.GetId() {
				if done {
					continue
				}
				q.Tries++
				q.NextTime = timestamppb.New(now.Add(min(againMax, time.Minute<<min(q.GetTries()-1, 10))))
			}
			kept = append(kept, q)
		}
		d.Pending = kept
		return nil
	})
	if errors.Is(err, docstore.ErrNotFound) {
		return nil // the source is gone
	}
	return err
}
