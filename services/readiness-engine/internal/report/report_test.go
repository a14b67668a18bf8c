package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob/memblob"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/readiness-engine/internal/check"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// noEmails returns a view of so many students without email.
func noEmails(t *testing.T, students int) *check.View {
	t.Helper()
	r := replica.New(nil)
	for i := range students {
		body, err := proto.Marshal(&typev1.Record{Record: &typev1.Record_User{User: &typev1.User{
			SourcedId: fmt.Sprintf("%05d", i), Status: "active", Roles: []*typev1.Role{{Role: "student"}},
		}}})
		require.NoError(t, err)
		require.NoError(t, r.Apply(body))
	}
	return check.NewView(r, check.Given{Now: time.Unix(0, 0)})
}

func TestFindingsAreReadFromAnywhere(t *testing.T) {
	f := findings{memblob.OpenBucket(nil)}
	defer func() { require.NoError(t, f.bucket.Close()) }()
	const students = 2*frameFindings + 345
	v := noEmails(t, students)
	res := v.Result(check.Find("student-email-missing"))
	stored, err := f.write(t.Context(), "d1", "r1", v, &res)
	require.NoError(t, err)
	require.EqualValues(t, students, stored.Count)
	for _, skip := range []int{0, 1, frameFindings - 1, frameFindings, frameFindings + 1, 2 * frameFindings, students - 1, students, students + 1} {
		next := skip
		for found, err := range f.read(t.Context(), stored, skip) {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%05d", next), found.SourcedId)
			next++
		}
		require.Equal(t, max(skip, students), next)
	}
	again, err := f.write(t.Context(), "d1", "r1", v, &res)
	require.NoError(t, err)
	require.Equal(t, stored.Blob, again.Blob, "what has not changed is stored once")
	other, err := f.write(t.Context(), "d2", "r1", v, &res)
	require.NoError(t, err)
	require.NotEqual(t, stored.Blob, other.Blob, "districts share nothing")
	var keys []string
	for it := f.bucket.List(nil); ; {
		object, err := it.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		keys = append(keys, object.Key)
	}
	require.ElementsMatch(t, []string{stored.Blob, other.Blob}, keys)
}

func TestDamagedFindingsAreAnError(t *testing.T) {
	f := findings{memblob.OpenBucket(nil)}
	defer func() { require.NoError(t, f.bucket.Close()) }()
	v := noEmails(t, 10)
	res := v.Result(check.Find("student-email-missing"))
	stored, err := f.write(t.Context(), "d1", "r1", v, &res)
	require.NoError(t, err)
	good, err := f.bucket.ReadAll(t.Context(), stored.Blob)
	require.NoError(t, err)
	for name, bad := range map[string][]byte{
		"empty":       {},
		"cut off":     good[:len(good)/2],
		"other bytes": bytes.Repeat([]byte("junk"), len(good)),
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, f.bucket.WriteAll(t.Context(), stored.Blob, bad, nil))
			var failed error
			for _, err := range f.read(t.Context(), stored, 0) {
				failed = err
			}
			require.ErrorIs(t, failed, errDamaged)
		})
	}
}

func TestFilter(t *testing.T) {
	require.NoError(t, Filter{}.Validate())
	require.NoError(t, Filter{CheckID: "class-terms-missing", Product: "home"}.Validate())
	require.Error(t, Filter{CheckID: "none"}.Validate())
	require.Error(t, Filter{Product: "none"}.Validate())
	for filter, want := range map[Filter][]bool{
		{}:                                  {true, true, true},
		{Product: "filter"}:                 {true, false, false},
		{Product: "home"}:                   {true, true, false},
		{CheckID: "guardian-email-missing"}: {false, true, false},
		{CheckID: "guardian-email-missing", Product: "filter"}: {false, false, false},
	} {
		for i, id := range []string{"student-email-missing", "guardian-email-missing", "of an older version"} {
			require.Equal(t, want[i], filter.Selects(id), "%+v %s", filter, id)
		}
	}
}
