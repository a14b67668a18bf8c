package api

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/roster-store/internal/store/pebblestore"
)

// Whatever a caller searches by is answered: with records, or with the field
// that is wrong.
func FuzzListRecords(f *testing.F) {
	engine, err := pebblestore.Open(pebblestore.Config{Dir: f.TempDir()})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, engine.Close()) })
	require.NoError(f, engine.OpenDistrict(f.Context(), "d"))
	server := New(engine, nil, nil, nil)

	f.Add("users", "id/1 :%2F", "administrator", "A@B.example", "2026-02-30", "an", "active", int32(10))
	f.Add("enrollments", "", "student", "", "1", "", "", int32(0))
	f.Add("demographics", "", "ext:x", "", "2026-11-21T00:00:00Z", "\xff\x00", "gone", int32(-1))
	f.Fuzz(func(t *testing.T, entity, id, role, email, asOf, q, status string, size int32) {
		_, err := server.ListRecords(t.Context(), &rosterv1.ListRecordsRequest{
			District: "d", Entity: entity, SourcedId: id, Role: role, Email: email, AsOf: asOf, Q: q, Status: status,
			OrgId: id, SchoolId: id, PageSize: size,
		})
		var e *errs.Error
		if err != nil && (!errors.As(err, &e) || (e.Code != codes.InvalidArgument && e.Code != codes.NotFound)) {
			t.Fatalf("not a caller's mistake: %v", err)
		}
	})
}

// The order of the fields in which a page token is bound must not matter to
// texts that hold separators.
func TestBindingIsUnambiguous(t *testing.T) {
	require.NotEqual(t, binding("a", "bc"), binding("ab", "c"))
	require.NotEqual(t, binding("", "1:a"), binding("1:a", ""))
}
