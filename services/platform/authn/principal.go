// Package authn answers who calls and whether the caller may: tokens, the
// permission that each RPC declares in its proto, and the district of the
// request. Its interceptors are the only place that decides this; what a
// school-limited caller sees of a district is decided where the data is read.
package authn

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/securly/sync/services/platform/errs"
)

// AllDistricts in Principal.Districts stands for every district.
const AllDistricts = "*"

// Principal is who a call is made for. The zero Principal may do nothing.
type Principal struct {
	// Subject identifies a person or a client, without a personal name.
	Subject     string
	DisplayName string
	Scopes      []string
	// Districts that the principal sees; AllDistricts means all.
	Districts []string
	// Schools (sourcedIds) that the principal is limited to; empty means all.
	Schools []string
	// Product that the principal reads for, if it is a product's client.
	Product string
	// Service is true for the hub's own services.
	Service bool
}

// HasScope reports whether the token carries the scope.
func (p Principal) HasScope(scope string) bool { return slices.Contains(p.Scopes, scope) }

// SeesDistrict reports whether the district is one of the principal's.
func (p Principal) SeesDistrict(district string) bool {
	return slices.Contains(p.Districts, district) || p.SeesAllDistricts()
}

// SeesAllDistricts reports whether the principal is not limited to districts.
func (p Principal) SeesAllDistricts() bool { return slices.Contains(p.Districts, AllDistricts) }

type principalKey struct{}

// NewContext returns a context that carries p.
func NewContext(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns the caller of an RPC; outside of one, the zero Principal.
func FromContext(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// ErrDistrictNotFound is the answer both for a district that does not exist
// and for one that the caller may not see.
var ErrDistrictNotFound = errs.New(codes.NotFound, "DISTRICT_NOT_FOUND", "no such district")

// DistrictNotFound is ErrDistrictNotFound with the id. Services use it for
// unknown districts, so that the text does not tell which of the two it is.
func DistrictNotFound(district string) error {
	return errs.Errorf(ErrDistrictNotFound.Code, ErrDistrictNotFound.Reason, "no such district: %s", district).
		With("district", district)
}
