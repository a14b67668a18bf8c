package store

import (
	"fmt"

	"google.golang.org/grpc/codes"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/resourceid"
)

// Names and numbers that must not be mixed up.
type (
	// DistrictID names a tenant, see CheckDistrict.
	DistrictID string
	// Revision numbers the committed states of a district from 1.
	Revision int64
	// PlanID names a plan within its district.
	PlanID string
	// SyncID names the sync that a plan belongs to.
	SyncID string
	// Fence is the number of a lease on a district's commits; a newer lease
	// has a higher one.
	Fence int64
	// Entity names a kind of record.
	Entity = typev1.Entity
)

// What callers can act on. Engines wrap these with what, where and why.
var (
	ErrInvalid         = errs.New(codes.InvalidArgument, "INVALID_ARGUMENT", "invalid argument")
	ErrDistrictUnknown = errs.New(codes.NotFound, "DISTRICT_NOT_FOUND", "unknown district")
	ErrRecordUnknown   = errs.New(codes.NotFound, "RECORD_NOT_FOUND", "unknown record")
	ErrPlanUnknown     = errs.New(codes.NotFound, "PLAN_NOT_FOUND", "unknown plan")
	// ErrPlanBusy means that another call stages the same plan.
	ErrPlanBusy = errs.New(codes.Aborted, "PLAN_BUSY", "plan is being worked on")
	// ErrStale means that a record of the plan has changed since it was
	// compared: make the plan anew.
	ErrStale = errs.New(codes.Aborted, "PLAN_STALE", "plan is stale")
	// ErrCommitted means that what was to be dropped is committed.
	ErrCommitted = errs.New(codes.FailedPrecondition, "PLAN_COMMITTED", "plan is committed")
	// ErrFenced means that a newer lease holder has taken over: stop.
	ErrFenced = errs.New(codes.Aborted, "LEASE_LOST", "lease was taken over")
	// ErrRevisionUnknown is also what a copy meets that is ahead of a hub that
	// was restored from a backup.
	ErrRevisionUnknown = errs.New(codes.NotFound, "REVISION_NOT_FOUND",
		"it is not committed: if the hub was restored from a backup, load a copy that follows the changes anew")
	// ErrRevisionGone means that the revision was pruned: read a newer one
	// from its beginning.
	ErrRevisionGone = errs.New(codes.OutOfRange, "REVISION_GONE",
		"older ones are no longer kept: read that one or a newer one, and load a copy that follows the changes anew")
	ErrClosed = errs.New(codes.Unavailable, "STORE_CLOSED", "store is closed")
)

// CheckDistrict returns ErrInvalid for what is no name of a district. A valid
// one is safe as the name of a file.
func CheckDistrict(d DistrictID) error {
	if !resourceid.Valid(string(d)) {
		return fmt.Errorf("district %q: "+resourceid.Form+": %w", d, ErrInvalid)
	}
	return nil
}
