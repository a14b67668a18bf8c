// Package state keeps the documents of the ingest service: districts, sources,
// their layers, uploads and syncs, and the leases under which work is done.
package state

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

// What callers can act on.
var (
	ErrSourceNotFound = errs.New(codes.NotFound, "SOURCE_NOT_FOUND", "no such source")
	ErrSyncNotFound   = errs.New(codes.NotFound, "SYNC_NOT_FOUND", "no such sync")
	ErrUploadNotFound = errs.New(codes.NotFound, "UPLOAD_NOT_FOUND", "no such upload")
)

// Store holds all documents. Ids of documents are made of the ids of what they
// belong to, joined by slashes; districts and sources have none in theirs.
type Store struct {
	Districts *docstore.Collection[*ingestv1.DistrictDocument]
	Sources   *docstore.Collection[*ingestv1.SourceDocument]
	Layers    *docstore.Collection[*ingestv1.LayerDocument]
	Uploads   *docstore.Collection[*ingestv1.UploadDocument]
	Syncs     *docstore.Collection[*ingestv1.SyncDocument]
	// Open lists the syncs that a runner still has to do something for. A sync
	// is written here before it is written to Syncs.
	Open   *docstore.Collection[*ingestv1.OpenSyncDocument]
	Leases *docstore.Collection[*ingestv1.LeaseDocument]
	// Drops lists files that were dropped for a source; those without any have none.
	Drops *docstore.Collection[*ingestv1.DropDocument]
	// Retention marks when the history of a district was last cut short.
	Retention *docstore.Collection[*ingestv1.RetentionDocument]
	// Slots are the times of schedules that were claimed.
	Slots *docstore.Collection[*ingestv1.SlotDocument]
	// Erasures lists persons that were erased, those that still have to be first.
	Erasures *docstore.Collection[*ingestv1.ErasureDocument]
	// Entries are what was entered by hand.
	Entries *docstore.Collection[*ingestv1.ManualEntryDocument]
	// Notifications says whom districts want to be told, Notices what they were.
	Notifications *docstore.Collection[*ingestv1.NotificationDocument]
	Notices       *docstore.Collection[*ingestv1.NoticeDocument]
}

// New returns the documents in s.
func New(s docstore.Store) *Store {
	return &Store{
		Districts: docstore.NewCollection[*ingestv1.DistrictDocument](s, "districts", nil),
		Sources: docstore.NewCollection(s, "sources", func(d *ingestv1.SourceDocument) string {
			return Key(d.GetDistrict(), d.GetSource().GetSourceId())
		}),
		Layers: docstore.NewCollection(s, "layers", func(d *ingestv1.LayerDocument) string {
			return Key(d.GetDistrict(), d.GetSource())
		}),
		Uploads: docstore.NewCollection(s, "uploads", func(d *ingestv1.UploadDocument) string {
			return Key(d.GetDistrict(), d.GetSource(), d.GetUploadId())
		}),
		Syncs: docstore.NewCollection(s, "syncs", func(d *ingestv1.SyncDocument) string {
			return Key(d.GetDistrict(), d.GetSync().GetSyncId())
		}),
		Open: docstore.NewCollection(s, "open-syncs", func(d *ingestv1.OpenSyncDocument) string {
			return Key(d.GetDistrict(), d.GetSync())
		}),
		Leases: docstore.NewCollection(s, "leases", func(d *ingestv1.LeaseDocument) string {
			return leaseKey(d.GetLease(), d.GetFence())
		}),
		Drops: docstore.NewCollection(s, "drops", func(d *ingestv1.DropDocument) string {
			return Key(d.GetDistrict(), d.GetSource())
		}),
		Retention: docstore.NewCollection[*ingestv1.RetentionDocument](s, "retention", nil),
		Slots: docstore.NewCollection(s, "slots", func(d *ingestv1.SlotDocument) string {
			return Key(d.GetDistrict(), d.GetSource(), d.GetRun().GetSlot())
		}),
		Erasures: docstore.NewCollection(s, "erasures", func(d *ingestv1.ErasureDocument) string {
			if d.GetEndTime() == nil {
				return Key(ErasurePending, d.GetDistrict(), d.GetUser())
			}
			return Key(ErasureDone, d.GetDistrict(), d.GetUser())
		}),
		Entries:       docstore.NewCollection(s, "entries", EntryKey),
		Notifications: docstore.NewCollection[*ingestv1.NotificationDocument](s, "notifications", nil),
		Notices: docstore.NewCollection(s, "notices", func(d *ingestv1.NoticeDocument) string {
			return Key(d.GetDistrict(), d.GetSource())
		}),
	}
}

// The two parts of Erasures.
const (
	ErasurePending = "pending"
	ErasureDone    = "done"
)

// Key joins ids.
func Key(parts ...string) string { return strings.Join(parts, "/") }

// EntryKey is the id of an entry, and its place among the others: those of one
// entity are in ascending order of their ids.
func EntryKey(d *ingestv1.ManualEntryDocument) string {
	_, base := record.Of(d.GetEntry().GetRecord())
	return Key(d.GetDistrict(), d.GetSource(), d.GetEntity(), base.GetSourcedId())
}

// Within is the beginning of the keys of all that belongs to parts.
func Within(parts ...string) string { return Key(parts...) + "/" }

// NewID returns an id that is unique and ordered by time.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// District returns a district that exists and is not being deleted.
func (s *Store) District(ctx context.Context, district string) (docstore.Doc[*ingestv1.DistrictDocument], error) {
	doc, err := s.Districts.Get(ctx, district)
	if errors.Is(err, docstore.ErrNotFound) || err == nil && doc.Value.GetDeleting() {
		return doc, authn.DistrictNotFound(district)
	}
	return doc, err
}

// Source returns a source.
func (s *Store) Source(ctx context.Context, district, source string) (docstore.Doc[*ingestv1.SourceDocument], error) {
	doc, err := s.Sources.Get(ctx, Key(district, source))
	if errors.Is(err, docstore.ErrNotFound) {
		return doc, missing(ErrSourceNotFound, "no source %q in district %s", source, district).With("source", source)
	}
	return doc, err
}

// Layer returns the layer of a source; one without files if there is none yet.
func (s *Store) Layer(ctx context.Context, district, source string) (*ingestv1.LayerDocument, error) {
	doc, err := s.Layers.Get(ctx, Key(district, source))
	if errors.Is(err, docstore.ErrNotFound) {
		return &ingestv1.LayerDocument{District: district, Source: source}, nil
	}
	return doc.Value, err
}

// SetLayer makes a layer current.
func (s *Store) SetLayer(ctx context.Context, next *ingestv1.LayerDocument) error {
	key := Key(next.GetDistrict(), next.GetSource())
	_, err := s.Layers.Create(ctx, key, next)
	if errors.Is(err, docstore.ErrExists) {
		_, err = s.Layers.Modify(ctx, key, func(d *ingestv1.LayerDocument) error {
			proto.Reset(d)
			proto.Merge(d, next)
			return nil
		})
	}
	return err
}

// Sync returns a sync.
func (s *Store) Sync(ctx context.Context, district, sync string) (docstore.Doc[*ingestv1.SyncDocument], error) {
	doc, err := s.Syncs.Get(ctx, Key(district, sync))
	if errors.Is(err, docstore.ErrNotFound) {
		return doc, missing(ErrSyncNotFound, "no sync %q in district %s", sync, district).With("sync", sync)
	}
	return doc, err
}

// Upload returns an upload of a source, the newest one if id is empty.
func (s *Store) Upload(ctx context.Context, district, source, id string) (*ingestv1.UploadDocument, error) {
	if id == "" {
		docs, _, err := s.Uploads.List(ctx, docstore.Query{Prefix: Within(district, source), Limit: 1, Descending: true})
		if err != nil {
			return nil, err
		}
		if len(docs) == 0 {
			return nil, errs.Errorf(codes.FailedPrecondition, "UPLOAD_NEEDED", "source %s has no upload to sync: upload a package first", source).With("source", source)
		}
		return docs[0].Value, nil
	}
	doc, err := s.Uploads.Get(ctx, Key(district, source, id))
	if errors.Is(err, docstore.ErrNotFound) {
		return nil, missing(ErrUploadNotFound, "no upload %q of source %s", id, source).With("field", "uploadId")
	}
	return doc.Value, err
}

func missing(kind *errs.Error, format string, args ...any) *errs.Error {
	return errs.Errorf(kind.Code, kind.Reason, format, args...)
}

// Final tells whether a sync in this state will never change again.
func Final(s ingestv1.SyncState) bool {
	switch s {
	case ingestv1.SyncState_COMPLETED, ingestv1.SyncState_FAILED, ingestv1.SyncState_CANCELLED,
		ingestv1.SyncState_DISCARDED, ingestv1.SyncState_SUPERSEDED:
		return true
	}
	return false
}

// Erase removes all documents of a district but the district's own and the
// lease under which it is called.
func (s *Store) Erase(ctx context.Context, district string) error {
	within := Within(district)
	return errors.Join(
		erase(ctx, s.Open, within),
		erase(ctx, s.Syncs, within),
		erase(ctx, s.Uploads, within),
		erase(ctx, s.Drops, within),
		erase(ctx, s.Layers, within),
		erase(ctx, s.Sources, within),
		erase(ctx, s.Slots, within),
		erase(ctx, s.Erasures, Within(ErasurePending, district)),
		erase(ctx, s.Erasures, Within(ErasureDone, district)),
		erase(ctx, s.Leases, Within(district, "source")),
		erase(ctx, s.Entries, within),
		erase(ctx, s.Notices, within),
		erase(ctx, s.Leases, Within(district, "notices")),
		eraseOne(ctx, s.Notifications, district),
		eraseOne(ctx, s.Retention, district),
	)
}

// EraseBeside removes what is kept beside a source: its slots, what was entered
// by hand, and what was told of it.
func (s *Store) EraseBeside(ctx context.Context, district, source string) error {
	within := Within(district, source)
	return errors.Join(erase(ctx, s.Slots, within), erase(ctx, s.Entries, within), eraseOne(ctx, s.Notices, Key(district, source)))
}

func erase[T proto.Message](ctx context.Context, c *docstore.Collection[T], prefix string) error {
	for doc, err := range c.All(ctx, prefix) {
		if err != nil {
			return err
		}
		if err := eraseOne(ctx, c, doc.ID); err != nil {
			return err
		}
	}
	return nil
}

func eraseOne[T proto.Message](ctx context.Context, c *docstore.Collection[T], id string) error {
	if err := c.Delete(ctx, id); err != nil && !errors.Is(err, docstore.ErrNotFound) {
		return fmt.Errorf("erase: %w", err)
	}
	return nil
}
