package api

import (
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// kinds says how each error of the store reads outside. The first that matches counts.
var kinds = []struct {
	is     error
	code   codes.Code
	reason string
}{
	{store.ErrRecordUnknown, codes.NotFound, "RECORD_NOT_FOUND"},
	{store.ErrPlanUnknown, codes.NotFound, "PLAN_NOT_FOUND"},
	{store.ErrRevisionUnknown, codes.NotFound, "REVISION_NOT_FOUND"},
	{store.ErrRevisionGone, codes.OutOfRange, "REVISION_GONE"},
	{store.ErrInvalid, codes.InvalidArgument, "INVALID_ARGUMENT"},
	{store.ErrStale, codes.Aborted, "PLAN_STALE"},
	{store.ErrPlanBusy, codes.Aborted, "PLAN_BUSY"},
	{store.ErrFenced, codes.Aborted, "LEASE_LOST"},
	{store.ErrCommitted, codes.FailedPrecondition, "PLAN_COMMITTED"},
	{store.ErrClosed, codes.Unavailable, "STORE_CLOSED"},
}

// outward gives an error of the store its code and reason. An unknown district
// reads as a foreign one does.
func outward(district string, err error) error {
	if errors.Is(err, store.ErrDistrictUnknown) {
		return authn.DistrictNotFound(district)
	}
	for _, k := range kinds {
		if errors.Is(err, k.is) {
			return errs.Errorf(k.code, k.reason, "%w", err)
		}
	}
	return err
}

// invalid says what is wrong with one field of a request.
func invalid(field, format string, args ...any) error {
	return errs.Errorf(codes.InvalidArgument, "INVALID_ARGUMENT", field+": "+format, args...).With("field", field)
}
