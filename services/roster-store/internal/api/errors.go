package api

import (
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// errBaseMoved refuses a difference from a revision that is not the head.
var errBaseMoved = errs.New(codes.FailedPrecondition, "BASE_MOVED", "the candidate is given as a difference from a revision that is not the head: send all of it")

// outward makes an unknown district read as a foreign one does. The other
// errors of the store already say what callers may know.
func outward(district string, err error) error {
	if errors.Is(err, store.ErrDistrictUnknown) {
		return authn.DistrictNotFound(district)
	}
	return err
}

// invalid says what is wrong with one field of a request.
func invalid(field, format string, args ...any) error {
	return errs.Errorf(codes.InvalidArgument, "INVALID_ARGUMENT", field+": "+format, args...).With("field", field)
}
