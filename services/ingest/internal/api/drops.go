package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/connector/sftpdrop"
	"github.com/securly/sync/services/ingest/internal/dropbox"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/sftpserver"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
)

// drop tells how files are dropped for a source; nil if they are not.
func (d *Deps) drop(source *ingestv1.SourceDocument) *ingestv1.Drop {
	c := catalogue.Get(source.GetSource().GetConnector())
	if c == nil || c.Describe().GetKind() != connector.Drop {
		return nil
	}
	return &ingestv1.Drop{
		User: sftpserver.User(source.GetDistrict(), source.GetSource().GetSourceId()), HostKey: d.HostKey, Port: d.SFTPPort, PasswordSet: len(source.GetDropPassword()) > 0,
	}
}

// incoming adds what was dropped and waits.
func (d *Deps) incoming(ctx context.Context, district string, source *ingestv1.Source) error {
	if source.GetDrop() == nil {
		return nil
	}
	files, err := d.inbox(district, source.GetSourceId()).List(ctx)
	for _, f := range files {
		source.Drop.Incoming = append(source.Drop.Incoming, &ingestv1.IncomingFile{Name: f.Name, Size: float64(f.Size), ModifyTime: timestamppb.New(f.Time)})
	}
	return err
}

func (d *Deps) inbox(district, source string) *dropbox.Box {
	return &dropbox.Box{Store: d.Store, Blobs: d.Blobs, Now: d.Now, District: district, ID: source, MaxBytes: d.MaxUpload}
}

func (s *sources) ResetDropPassword(ctx context.Context, req *ingestv1.ResetDropPasswordRequest) (*ingestv1.ResetDropPasswordResponse, error) {
	doc, err := s.source(ctx, req.GetDistrict(), req.GetSource())
	if err != nil {
		return nil, err
	}
	if s.drop(doc.Value) == nil {
		return nil, errs.Errorf(codes.FailedPrecondition, "SOURCE_NOT_DROPPED", "files are not dropped for source %s, which gets its packages otherwise: its connector says how", req.GetSource()).With("source", req.GetSource())
	}
	if err := schedule.RefuseStopped(doc.Value.GetSource()); err != nil {
		return nil, err
	}
	password := rand.Text()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return nil, fmt.Errorf("hash password: %w", err)
	}
	doc, err = s.Store.Sources.Modify(ctx, doc.ID, func(d *ingestv1.SourceDocument) error {
		d.DropPassword = hash
		return nil
	})
	if isNotFound(err) {
		return nil, state.ErrSourceNotFound
	}
	if err != nil {
		return nil, err
	}
	return &ingestv1.ResetDropPasswordResponse{Drop: s.drop(doc.Value), Password: password}, nil
}

// SyncDropped starts a sync for each package that was dropped and is complete,
// one for all replicas: the list of files says which. A package whose sync has
// failed is not tried again by itself; it stays until it is replaced or removed.
func SyncDropped(ctx context.Context, d Deps) {
	for doc, err := range d.Store.Drops.All(ctx, "") {
		if err == nil {
			err = d.syncDropped(ctx, doc)
		}
		if err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "sync what was dropped", "district", doc.Value.GetDistrict(), "source", doc.Value.GetSource(), "error", err)
		}
	}
}

func (d *Deps) syncDropped(ctx context.Context, doc docstore.Doc[*ingestv1.DropDocument]) error {
	district := doc.Value.GetDistrict()
	owner, err := d.source(ctx, district, doc.Value.GetSource())
	var gone *errs.Error
	if errors.As(err, &gone) && gone.Code == codes.NotFound {
		return nil // it is being deleted
	}
	if err != nil {
		return err
	}
	if schedule.Refuse(owner.Value.GetSource(), d.Now()) != nil {
		return nil //nolint:nilerr // what comes meanwhile waits
	}
	mapped, err := onerostercsv.MappingOf(owner.Value.GetSource())
	if err != nil {
		return err
	}
	mark, used, err := sftpdrop.Ready(connector.Settings{Struct: owner.Value.GetSource().GetSettings()}, onerostercsv.Reads(mapped), dropbox.Files(doc.Value), d.Now())
	if err != nil || mark == "" {
		return err
	}
	if doc.Value.GetMark() != mark {
		doc.Value.Mark, doc.Value.Sync = mark, state.NewID()
		if doc, err = d.Store.Drops.Update(ctx, doc); err != nil {
			if errors.Is(err, docstore.ErrConflict) || isNotFound(err) {
				return nil // it has changed, or another replica does it
			}
			return err
		}
	}
	started, err := d.Store.Sync(ctx, district, doc.Value.GetSync())
	switch {
	case errors.Is(err, state.ErrSyncNotFound): // who noted it may have died before it was there
		_, err = d.start(ctx, owner.Value, "", &ingestv1.Sync{SyncId: doc.Value.GetSync(), Reason: "files were dropped"})
		return err
	case err == nil && started.Value.GetUploadKey() != "": // and so may who has kept the package
		return d.inbox(district, doc.Value.GetSource()).Take(ctx, used)
	}
	return err
}
