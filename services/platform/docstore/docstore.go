// Package docstore is the persistence of service state: sources, syncs,
// reports, clients and the like. It holds typed protobuf documents with
// versions and lists them by one index. It is small on purpose: there are no
// queries beyond that, and nothing is atomic beyond one document. A second
// index is a second small collection; a claim or a lease is a unique insert.
//
// Services use Collection. Store is what an engine implements; package
// docstoretest checks that an engine keeps the contract.
package docstore

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/securly/sync/services/platform/errs"
)

// The errors of every engine.
var (
	ErrNotFound  = errs.New(codes.NotFound, "DOCUMENT_NOT_FOUND", "not found")
	ErrExists    = errs.New(codes.AlreadyExists, "DOCUMENT_EXISTS", "already exists")
	ErrConflict  = errs.New(codes.Aborted, "DOCUMENT_CONFLICT", "was changed by someone else at the same time: read it again and retry")
	ErrBadCursor = errs.New(codes.InvalidArgument, "CURSOR_INVALID", "the cursor does not belong to this list")
	ErrClosed    = errs.New(codes.Unavailable, "STORE_CLOSED", "the store is closed")
)

// Store is an engine. Collection names, ids and index values are arbitrary UTF-8
// text, compared byte for byte; only index values may be empty. An acknowledged
// write survives a crash and is seen by every later read. All methods may be
// called at the same time. After Close they fail with ErrClosed.
type Store interface {
	// Get returns the document, or ErrNotFound.
	Get(ctx context.Context, collection, id string) (Row, error)
	// Put writes row.Value and row.Index if the stored version is still
	// row.Version, and returns the new version. Version 0 means that the
	// document must not exist: of any number of racing writers one wins, the
	// others get ErrExists. Otherwise a version that has moved is ErrConflict
	// and a document that is gone is ErrNotFound. A version is never used twice
	// for an id, not even after a delete.
	Put(ctx context.Context, collection string, row Row) (version int64, err error)
	// Delete removes the document if it has this version (0: any version).
	Delete(ctx context.Context, collection, id string, version int64) error
	// List returns at most q.Limit documents ordered by (index, id), bytewise,
	// and the cursor of the next page, empty after the last one. Pages are no
	// snapshot: a document that is moved between two pages may appear in both
	// or in neither; one that is left alone appears once.
	List(ctx context.Context, collection string, q Query) (rows []Row, next string, err error)
	// Close waits for the calls that are under way.
	Close() error
}

// Row is a document as an engine sees it.
type Row struct {
	ID, Index string
	Version   int64
	Value     []byte
}

// Query selects documents by the beginning of their index value.
type Query struct {
	// Prefix of the index value; empty selects everything.
	Prefix string
	// After is the cursor from the last page. It is not secret and not sealed:
	// seal it with package pagetoken before it leaves the service.
	After string
	// Limit of the page; 0 means 100.
	Limit int
	// Descending turns the order around.
	Descending bool
}

// DefaultLimit is the size of a page when the query names none.
const DefaultLimit = 100

// IgnoreNotFound takes a document that is not there for one that was deleted.
func IgnoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
