// Package connector is the contract between the hub and the ways to get at
// rosters.
//
// A connector is a folder below this one: connector.json describes it, its
// settings and its secrets, and a type with Describe stands for it. That is all
// of one whose packages are brought to the hub. One that fetches them itself
// also has Pull. A line in package catalogue makes it known; nothing else has to
// change. Package connectortest is what each of them passes.
//
// Pull delivers files into a folder. The hub packs, inspects and keeps them, so
// that what is read cannot change any more and can be read again. The folder is
// the checkpoint too: a pull that broke off is called again with all that it
// left there.
//
// Today the files are CSV, and package onerostercsv reads them. A connector that
// gets records by entity, from a REST API, writes one file of records per entity
// with its pages in their order, and brings a reader of that format; what it
// needs of the rest is here: the folder for pages fetched so far, the mark for
// "nothing has changed", NotReady for "ask again later", progress, and the
// three kinds of errors.
package connector

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/securly/sync/services/platform/errs"
)

// Kinds of connectors.
const (
	Upload = "upload"
	Pull   = "pull"
	Drop   = "drop"
	Manual = "manual"
)

// Connector is one way to get at rosters.
type Connector interface {
	Describe() *Description
}

// Puller is a connector that fetches packages itself.
type Puller interface {
	Connector
	// Pull puts the newest complete package into req.Dir. It changes nothing
	// where that is, and it ends soon after ctx. Its errors are
	//
	//   - *NotReady: the package is not complete yet;
	//   - *errs.Error with code FailedPrecondition or InvalidArgument: a person has
	//     to act, and the message says how;
	//   - any other, Unreachable above all: the next try may succeed.
	Pull(ctx context.Context, req Request) (*Package, error)
}

// Request says what to pull.
type Request struct {
	// Settings that CheckSettings has accepted; Decode reads them.
	Settings Settings
	Secrets  map[string]string
	// Dir is for this pull. What an earlier try of it has written is there,
	// unless the process has died since.
	Dir string
	// Known tells whether a package of the source may have a file of some name.
	Known func(name string) bool
	// Inbox is what was dropped for the source.
	Inbox Inbox
	// Last is the mark of the package that was pulled last; empty for none.
	Last string
	// Synced is the mark of the package that the roster is from; empty if it was
	// not pulled.
	Synced string
	// InOrder asks for the package behind Synced instead of the newest one.
	InOrder bool
	// Trial is for a connection test: take what is there, even if it may still be
	// incomplete, and say so in Package.Notes.
	Trial bool
	// MaxBytes bounds the package.
	MaxBytes int64
	// Progress is told how many bytes are there, and how many there will be.
	Progress func(done, total int64)
	Now      func() time.Time
}

// Package is what was pulled.
type Package struct {
	// Mark stands for what was found at the other side. The same mark means the
	// same package.
	Mark string
	// Unchanged tells that Mark is Request.Last; there are no Files then.
	Unchanged bool
	// Skipped is how many packages there are between Request.Synced and this one,
	// as far as the connector can tell. There are Files then.
	Skipped int
	Files   []File
	// Notes are what a person should know about it.
	Notes []string
	// Kept, if there is one, is called once the hub keeps the package.
	Kept func(context.Context) error
}

// Inbox is where a district drops files for a source.
type Inbox interface {
	// List returns the files, by name.
	List(ctx context.Context) ([]Dropped, error)
	Open(ctx context.Context, f Dropped) (io.ReadCloser, error)
	// Take removes files, but not those that have come under their names since.
	Take(ctx context.Context, files []Dropped) error
}

// Dropped is a file in an inbox.
type Dropped struct {
	Name string
	// Key tells it from others of its name; empty as long as it is being written.
	Key  string
	Size int64
	// Time of the last change.
	Time time.Time
}

// File is one file of a package.
type File struct {
	// Name as it is at the other side, without folders. It is not to be trusted.
	Name string
	// Path on the local disk.
	Path string
}

// NotReady says that there is a package, but not all of it yet.
type NotReady struct {
	// Until is when to call again, not before.
	Until time.Time
	// Reason is for the person who waits.
	Reason string
}

// Error returns the reason.
func (e *NotReady) Error() string { return e.Reason }

// Unreachable is the error of a pull that may succeed the next time.
func Unreachable(format string, args ...any) *errs.Error {
	return errs.Errorf(codes.Unavailable, "SOURCE_UNREACHABLE", format, args...)
}

// ErrUnreachable is what errors.Is finds in the errors of Unreachable.
var ErrUnreachable = errs.New(codes.Unavailable, "SOURCE_UNREACHABLE", "the source cannot be reached")

// ToConfirm adds to an error a setting that the other side gave, and that a
// person has to confirm before it counts.
func ToConfirm(err *errs.Error, setting, value string) *errs.Error {
	return err.With("setting", setting).With("value", value)
}
