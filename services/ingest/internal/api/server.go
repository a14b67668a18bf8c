// Package api answers the calls of the ingest service.
package api

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"gocloud.dev/blob"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/notify"
	"github.com/securly/sync/services/ingest/internal/sealed"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/syncrun"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/events"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/platform/resourceid"
)

// Deps of the handlers.
type Deps struct {
	Store     *state.Store
	Leases    *state.Leases
	Roster    rosterv1.RosterServiceClient
	Readiness readinessv1.ReadinessServiceClient
	Bus       *events.Bus
	Blobs     *blob.Bucket
	Tokens    *pagetoken.Sealer
	Secrets   *sealed.Sealer
	Log       *slog.Logger
	Now       func() time.Time
	// Wake has a runner of this process look for work.
	Wake func()
	// ErasePerson erases a person wherever it is.
	ErasePerson func(ctx context.Context, district, user string) (*ingestv1.ErasePersonResponse, error)
	// GuardianBase is what a source's guardian file is matched with now.
	GuardianBase func(ctx context.Context, district, source string, g *ingestv1.GuardianFile) (*syncrun.Base, error)
	// TempDir is where uploads are received.
	TempDir string
	// MaxUpload bounds an upload in bytes.
	MaxUpload int64
	// HostKey is the fingerprint of the SFTP server's key, SFTPPort where it
	// listens; empty if there is none.
	HostKey  string
	SFTPPort int32
	// Mail is where notifications go through; nil if there is no mail server.
	Mail *notify.Server
}

// Register adds the handlers to a server.
func Register(r grpc.ServiceRegistrar, d Deps) {
	ingestv1.RegisterDistrictServiceServer(r, &districts{Deps: d})
	s := &sources{Deps: d}
	ingestv1.RegisterSourceServiceServer(r, s)
	ingestv1.RegisterMappingServiceServer(r, &mappings{sources: s})
	ingestv1.RegisterGuardianServiceServer(r, &guardians{sources: s})
	ingestv1.RegisterSyncServiceServer(r, &syncs{Deps: d})
	ingestv1.RegisterSharingServiceServer(r, &sharings{sources: s})
	ingestv1.RegisterUpkeepServiceServer(r, &upkeep{Deps: d})
	ingestv1.RegisterExplainServiceServer(r, newExplaining(d))
	ingestv1.RegisterManualEntryServiceServer(r, &entries{Deps: d})
	ingestv1.RegisterNotificationServiceServer(r, &notifications{Deps: d})
}

// invalid is the answer to a field that cannot be accepted.
func invalid(field, format string, args ...any) error {
	return errs.Errorf(codes.InvalidArgument, "INVALID_ARGUMENT", field+": "+format, args...).With("field", field)
}

func checkID(field, id string) error {
	if !resourceid.Valid(id) {
		return invalid(field, resourceid.Form)
	}
	return nil
}

const maxName = 200

func checkName(field, name string) error {
	if len(name) > maxName {
		return invalid(field, "must not be longer than %d bytes", maxName)
	}
	return nil
}

func etag(version int64) string { return strconv.FormatInt(version, 10) }

// checkEtag refuses a write on top of one that the caller has not seen.
func checkEtag(sent, now string) error {
	if sent != "" && sent != now {
		return errs.Errorf(codes.Aborted, "ETAG_MISMATCH", "etag: it was changed by someone else in the meantime: read it again and repeat the change").With("field", "etag")
	}
	return nil
}

// open returns the position in a page token of the list that binding names.
func (d *Deps) open(token string, binding string) (string, error) {
	if token == "" {
		return "", nil
	}
	position, err := d.Tokens.Open(token, []byte(binding))
	return string(position), err
}

func (d *Deps) seal(binding, position string) string {
	if position == "" {
		return ""
	}
	return d.Tokens.Seal([]byte(binding), []byte(position))
}

// page lists one page of documents and the token of the next one.
func page[T proto.Message](ctx context.Context, d *Deps, c *docstore.Collection[T], binding, prefix, token string, size int) ([]docstore.Doc[T], string, error) {
	after, err := d.open(token, binding)
	if err != nil {
		return nil, "", err
	}
	docs, next, err := c.List(ctx, docstore.Query{Prefix: prefix, After: after, Limit: size})
	if err != nil {
		return nil, "", err
	}
	return docs, d.seal(binding, next), nil
}

// updated tells which of the fields that can be changed a request changes: those
// of the mask, or those that the body has if there is no mask. The mask may have
// any field of the body, by either of its names, display_name or displayName;
// those that only the service writes are passed over.
func updated(mask []string, body proto.Message) (func(field string, has bool) bool, error) {
	fields := body.ProtoReflect().Descriptor().Fields()
	for i, path := range mask {
		f := cmp.Or(fields.ByTextName(path), fields.ByJSONName(path))
		if f == nil {
			return nil, invalid("updateMask", "there is no field %q that could be changed", path)
		}
		mask[i] = f.TextName()
	}
	return func(field string, has bool) bool {
		if len(mask) == 0 {
			return has
		}
		return slices.Contains(mask, field)
	}, nil
}

func isNotFound(err error) bool { return errors.Is(err, docstore.ErrNotFound) }
