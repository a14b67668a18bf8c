package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/api"
	"github.com/securly/sync/services/ingest/internal/syncrun"
	"github.com/securly/sync/services/platform/docstore"
)

const (
	// retainEvery is how often the history of a district is cut short.
	retainEvery = 24 * time.Hour
	// retainAgain is when that is tried again if it has failed.
	retainAgain = time.Hour
)

// errNotDue: another replica is at it, or it was done not long ago.
var errNotDue = errors.New("not due")

// retain forgets what is older than the districts keep, here and in the roster. A
// mark per district says when it is due, so that any number of replicas do it
// once and a restart neither skips nor repeats it.
func (s *Service) retain(ctx context.Context) {
	for doc, err := range s.api.Store.Districts.All(ctx, "") {
		if err == nil && doc.Value.GetDeleting() {
			continue
		}
		if err == nil {
			err = s.retainDistrict(ctx, doc.ID, doc.Value.GetDistrict())
		}
		if err != nil && ctx.Err() == nil {
			s.api.Log.WarnContext(ctx, "cut history short", "district", doc.ID, "error", err)
		}
	}
}

func (s *Service) retainDistrict(ctx context.Context, id string, d *ingestv1.District) error {
	now := s.api.Now()
	err := s.claimRetention(ctx, id, now)
	if errors.Is(err, errNotDue) {
		return nil
	}
	if err != nil {
		return err
	}
	before := now.AddDate(0, 0, -api.HistoryDays(d))
	if _, err := s.api.Roster.PruneHistory(ctx, &rosterv1.PruneHistoryRequest{District: id, Before: timestamppb.New(before)}); err != nil {
		return fmt.Errorf("forget what is older than %s: %w", before.Format(time.DateOnly), err)
	}
	if err := syncrun.Retain(ctx, s.api.Store, s.api.Roster, s.api.Blobs, id, now.AddDate(0, 0, -api.PackageDays(d)), before); err != nil {
		return err
	}
	_, err = s.api.Store.Retention.Modify(ctx, id, func(m *ingestv1.RetentionDocument) error {
		m.NextTime = timestamppb.New(now.Add(retainEvery))
		return nil
	})
	return err
}

// claimRetention moves the mark of a district that is due to the next try.
func (s *Service) claimRetention(ctx context.Context, id string, now time.Time) error {
	next := timestamppb.New(now.Add(retainAgain))
	_, err := s.api.Store.Retention.Modify(ctx, id, func(m *ingestv1.RetentionDocument) error {
		if m.GetNextTime().AsTime().After(now) {
			return errNotDue
		}
		m.NextTime = next
		return nil
	})
	if errors.Is(err, docstore.ErrNotFound) {
		_, err = s.api.Store.Retention.Create(ctx, id, &ingestv1.RetentionDocument{District: id, NextTime: next})
		if errors.Is(err, docstore.ErrExists) {
			return errNotDue
		}
	}
	return err
}
