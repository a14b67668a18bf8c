package standalone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/events"
	readiness "github.com/securly/sync/services/readiness-engine"
	rosterstore "github.com/securly/sync/services/roster-store"
)

func (h *Hub) rosterStore(bus *events.Bus) error {
	s, err := rosterstore.New(
		rosterstore.Config{DataDir: h.folder.path(rostersDir), TokenKey: []byte(h.secret.Reveal())},
		rosterstore.Deps{Bus: bus, Log: h.log.With("part", "roster-store")})
	if err != nil {
		return err
	}
	h.opened.Push("roster-store", s.Close)
	h.rosters = s
	h.add("roster-store", s)
	return nil
}

func (h *Hub) readinessEngine(bus *events.Bus) error {
	docs, err := h.documents("readiness-engine")
	if err != nil {
		return err
	}
	findings, err := h.files("readiness-engine", "findings")
	if err != nil {
		return err
	}
	conn, err := h.dialAs("readiness-engine")
	if err != nil {
		return err
	}
	s, err := readiness.New(
		readiness.Config{TokenKey: []byte(h.secret.Reveal())},
		readiness.Deps{
			Docs: docs, Blobs: findings, Bus: bus, Roster: rosterv1.NewRosterServiceClient(conn),
			Districts: ingestv1.NewDistrictServiceClient(conn), Sources: ingestv1.NewSourceServiceClient(conn), Syncs: ingestv1.NewSyncServiceClient(conn),
			Log: h.log.With("part", "readiness-engine"),
		})
	if err != nil {
		return err
	}
	h.add("readiness-engine", s)
	return nil
}

func (h *Hub) ingest(ctx context.Context, bus *events.Bus) error {
	docs, err := h.documents("ingest")
	if err != nil {
		return err
	}
	packages, err := h.files("ingest", "files")
	if err != nil {
		return err
	}
	conn, err := h.dialAs("ingest")
	if err != nil {
		return err
	}
	keeper, err := ingest.OpenKeeper(ctx, h.cfg.SecretsKey, h.folder.path("ingest", "secrets.key"))
	if err != nil {
		return err
	}
	h.opened.Push("ingest secrets", keeper.Close)
	mail := h.cfg.Mail
	mail.PublicURL = cmp.Or(mail.PublicURL, h.URL())
	s, err := ingest.New(
		ingest.Config{Mail: mail, Alone: true, TempDir: h.folder.path("ingest", temporaryDir), MaxUpload: h.cfg.MaxUpload, TokenKey: []byte(h.secret.Reveal()), SFTPKey: h.folder.path("ingest", "sftp_host_key")},
		ingest.Deps{
			SFTP: h.sftpDoor,
			Docs: docs, Blobs: packages, Bus: bus, Secrets: keeper,
			Roster: rosterv1.NewRosterServiceClient(conn), Readiness: readinessv1.NewReadinessServiceClient(conn),
			RosterUpkeep: rosterv1.NewUpkeepServiceClient(conn), ReadinessUpkeep: readinessv1.NewUpkeepServiceClient(conn),
			Log: h.log.With("part", "ingest"),
		})
	if err != nil {
		return err
	}
	h.opened.Push("ingest", s.Close)
	h.add("ingest", s)
	return nil
}

// documents opens the state of a service.
func (h *Hub) documents(service string) (docstore.Store, error) {
	dir := h.folder.path(service)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", service, err)
	}
	store, err := docstore.OpenPebble(h.folder.path(service, documentsDir))
	if err != nil {
		return nil, inUse(err)
	}
	h.docs[service] = store
	h.opened.Push(service+" documents", func() error {
		if err := store.Close(); !errors.Is(err, docstore.ErrClosed) {
			return err
		}
		return nil
	})
	return store, nil
}

// files opens a service's folder of files.
func (h *Hub) files(service, name string) (*blob.Bucket, error) {
	bucket, err := fileblob.OpenBucket(h.folder.path(service, name), &fileblob.Options{
		CreateDir: true, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
	})
	if err != nil {
		return nil, fmt.Errorf("open the %s of %s: %w", name, service, err)
	}
	h.opened.Push(service+" "+name, bucket.Close)
	return bucket, nil
}
