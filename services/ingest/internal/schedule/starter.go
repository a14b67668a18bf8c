package schedule

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
)

const (
	// keptSlots is how many slots of a source are kept.
	keptSlots = 60
	// patience is when a slot is taken over that another replica has claimed.
	patience = 30 * time.Second
)

// Starter starts the syncs of schedules, together with other replicas.
type Starter struct {
	Store *state.Store
	// Start starts a sync under an id, unless there is one under it already.
	Start func(ctx context.Context, source *ingestv1.SourceDocument, sync, reason string) error
	Log   *slog.Logger
	Now   func() time.Time
}

// Sweep starts what is due. A slot that is due is claimed by a document of its
// own, with the id of the sync that is to be started; whoever finds one that was
// not finished, because a process died, goes on with it under the same id.
func (s *Starter) Sweep(ctx context.Context) {
	for doc, err := range s.Store.Sources.All(ctx, "") {
		if source := doc.Value.GetSource(); err == nil && (source.GetSchedule() == nil || source.GetStopped() != nil) {
			continue
		}
		if err == nil {
			err = s.run(ctx, doc.Value)
		}
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "start what is scheduled", "source", doc.ID, "error", err)
		}
	}
}

func (s *Starter) run(ctx context.Context, d *ingestv1.SourceDocument) error {
	district, source, now := d.GetDistrict(), d.GetSource(), s.Now()
	owner, err := s.Store.District(ctx, district)
	if errors.Is(err, authn.ErrDistrictNotFound) {
		return nil // it is being deleted, and the source with it
	}
	if err != nil {
		return err
	}
	plan := planOf(source, Zone(owner.Value.GetDistrict()))
	if plan == nil {
		return nil
	}
	due, ok := plan.Last(d.GetScheduledFrom().AsTime(), now)
	if !ok {
		return nil
	}
	slot, own, err := s.claim(ctx, d, due, now)
	if err != nil || slot.Value.GetDone() {
		return err
	}
	run := slot.Value.GetRun()
	if !own && now.Before(run.GetTime().AsTime().Add(patience)) {
		return nil // another replica is at it
	}
	if run.GetSkipped() == "" {
		err = s.Start(ctx, d, run.GetSync(), "scheduled for "+run.GetSlot())
	}
	if err == nil {
		err = s.note(ctx, d, run)
	}
	if errors.Is(err, state.ErrSourceNotFound) || errors.Is(err, authn.ErrDistrictNotFound) {
		return docstore.IgnoreNotFound(s.Store.Slots.Delete(ctx, slot.ID))
	}
	if err != nil {
		return err
	}
	slot.Value.Done = true
	if _, err := s.Store.Slots.Update(ctx, slot); err != nil && !errors.Is(err, docstore.ErrConflict) { // another replica has
		return docstore.IgnoreNotFound(err)
	}
	return s.tidy(ctx, district, source.GetSourceId())
}

// claim returns the document of a slot, which is made if there is none, and
// whether it was.
func (s *Starter) claim(ctx context.Context, d *ingestv1.SourceDocument, due Slot, now time.Time) (docstore.Doc[*ingestv1.SlotDocument], bool, error) {
	district, source := d.GetDistrict(), d.GetSource()
	id := state.Key(district, source.GetSourceId(), due.Name)
	slot, err := s.Store.Slots.Get(ctx, id)
	if !errors.Is(err, docstore.ErrNotFound) {
		return slot, false, err
	}
	run := &ingestv1.ScheduledRun{Slot: due.Name, Time: timestamppb.New(now)}
	switch pause := source.GetPause(); {
	case covers(pause, now), covers(pause, due.At):
		run.Skipped = describe(pause)
	default:
		run.Sync = state.NewID()
	}
	slot, err = s.Store.Slots.Create(ctx, id, &ingestv1.SlotDocument{District: district, Source: source.GetSourceId(), Run: run})
	if errors.Is(err, docstore.ErrExists) {
		slot, err = s.Store.Slots.Get(ctx, id)
		return slot, false, err
	}
	return slot, true, err
}

// note shows the run on its source.
func (s *Starter) note(ctx context.Context, d *ingestv1.SourceDocument, run *ingestv1.ScheduledRun) error {
	_, err := s.Store.Sources.Modify(ctx, state.Key(d.GetDistrict(), d.GetSource().GetSourceId()), func(d *ingestv1.SourceDocument) error {
		if last := d.GetSource().GetLastScheduledRun(); last.GetTime().AsTime().Before(run.GetTime().AsTime()) || last == nil {
			d.Source.LastScheduledRun = run
		}
		d.Source.LastSync = max(d.GetSource().GetLastSync(), run.GetSync())
		return nil
	})
	if errors.Is(err, docstore.ErrNotFound) {
		return state.ErrSourceNotFound
	}
	return err
}

// tidy deletes old slots. The newest are kept: they are what makes sure that
// none is started twice.
func (s *Starter) tidy(ctx context.Context, district, source string) error {
	slots, _, err := s.Store.Slots.List(ctx, docstore.Query{Prefix: state.Within(district, source), Descending: true, Limit: 2 * keptSlots})
	if err != nil {
		return err
	}
	for i := keptSlots; i < len(slots); i++ {
		if err := docstore.IgnoreNotFound(s.Store.Slots.Delete(ctx, slots[i].ID)); err != nil {
			return err
		}
	}
	return nil
}
