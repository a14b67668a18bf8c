package rosterstore_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
)

// key names a record.
type key struct {
	entity typev1.Entity
	id     string
}

func keyOf(r *typev1.Record) key {
	e, base := record.Of(r)
	return key{e, base.GetSourcedId()}
}

func compareKeys(a, b key) int {
	return cmp.Or(cmp.Compare(a.entity, b.entity), cmp.Compare(a.id, b.id))
}

func isActive(r *typev1.Record) bool {
	_, base := record.Of(r)
	return base.GetStatus() == record.StatusActive
}

// limited calls as somebody who may see these schools of district "d".
func limited(t *testing.T, schools ...string) context.Context {
	p := testkit.Operator()
	p.Districts, p.Schools = []string{"d"}, schools
	return testkit.As(t, t.Context(), p)
}

// exported reads what a caller sees at a revision.
func exported(ctx context.Context, t *testing.T, c rosterv1.RosterServiceClient, revision int32) map[key]*typev1.Record {
	t.Helper()
	stream, err := c.Export(ctx, &rosterv1.ExportRequest{District: "d", Revision: revision})
	require.NoError(t, err)
	out := map[key]*typev1.Record{}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		for _, r := range m.GetRecords() {
			out[keyOf(r)] = r
		}
	}
}

// watcher keeps a copy by Watch alone.
type watcher struct {
	stream   rosterv1.RosterService_WatchClient
	copy     map[key]*typev1.Record
	revision int32
}

func watch(ctx context.Context, t *testing.T, c rosterv1.RosterServiceClient, after int32) *watcher {
	t.Helper()
	stream, err := c.Watch(ctx, &rosterv1.WatchRequest{District: "d", After: after})
	require.NoError(t, err)
	return &watcher{stream: stream, copy: map[key]*typev1.Record{}, revision: after}
}

// next takes one revision and returns the keys of what it brought.
func (w *watcher) next(t *testing.T) []key {
	t.Helper()
	var got []key
	begun := false
	for {
		m, err := w.stream.Recv()
		require.NoError(t, err)
		switch e := m.GetEvent().(type) {
		case *rosterv1.WatchResponse_Begin:
			require.False(t, begun)
			require.Equal(t, w.revision+1, e.Begin.GetRevision())
			begun = true
		case *rosterv1.WatchResponse_Changes:
			require.True(t, begun)
			for _, r := range e.Changes.GetRecords() {
				got = append(got, keyOf(r))
				w.copy[keyOf(r)] = r
			}
		case *rosterv1.WatchResponse_End:
			require.Equal(t, w.revision+1, e.End.GetRevision())
			w.revision++
			require.True(t, slices.IsSortedFunc(got, compareKeys), "a revision comes in order")
			require.Len(t, slices.Compact(slices.Clone(got)), len(got), "a record comes once")
			return got
		}
	}
}

// wantSame compares a copy with an export. A record that left the scope is a
// tombstone in one and absent from the other.
func (w *watcher) wantSame(t *testing.T, want map[key]*typev1.Record) {
	t.Helper()
	for at, r := range w.copy {
		if want[at] == nil {
			require.False(t, isActive(r), "%v has left the scope", at)
		}
	}
	for at, r := range want {
		require.Empty(t, gocmp.Diff(r, w.copy[at], protocmp.Transform()), "%v", at)
	}
}

// A move shows what comes and goes with it: nobody else's record tells.
func TestScopedWatchFollowsOtherRecords(t *testing.T) {
	c := start(t)
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
	require.NoError(t, err)
	guardian := student("G", "")
	guardian.GetUser().Roles[0].Role, guardian.GetUser().Roles[0].Org = "guardian", nil
	pupil := student("A", "s1")
	pupil.GetUser().Agents = []*typev1.Relationship{{SourcedId: "G", Relationship: "parent"}}
	birth := &typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{SourcedId: "A", Status: "active"}}}
	enrolled := &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
		SourcedId: "e", Status: "active", User: &typev1.Ref{SourcedId: "A"}, School: &typev1.Ref{SourcedId: "s2"}, Role: "student",
	}}}
	w := watch(limited(t, "s2"), t, c, 0)

	base := []*typev1.Record{school("s1"), school("s2"), pupil, guardian}
	commit(ctx, t, c, "d", "p1", append(base, birth)...)
	require.Equal(t, []key{{1, "s1"}, {1, "s2"}}, w.next(t))
	commit(ctx, t, c, "d", "p2", append(base, enrolled, birth)...)
	came := []key{{5, "A"}, {5, "G"}, {6, "e"}, {7, "A"}}
	require.Equal(t, came, w.next(t), "the enrollment brings its user, and what belongs to that")
	commit(ctx, t, c, "d", "p3", append(base, birth)...)
	require.Equal(t, came, w.next(t))
	for _, at := range came {
		require.False(t, isActive(w.copy[at]), "%v has left", at)
	}

	_, err = watch(limited(t, "s2"), t, c, 9).stream.Recv()
	wantCode(t, err, codes.NotFound, "REVISION_NOT_FOUND")
}

// After any history, who watches some schools has what an export of them has.
func TestScopedWatchIsTheScopedExport(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			c := start(t)
			ctx := testkit.As(t, t.Context(), testkit.Service())
			_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
			require.NoError(t, err)
			scopes := [][]string{{"s0"}, {"s1", "s2"}, {"none"}}
			watchers := make([]*watcher, len(scopes))
			for i, schools := range scopes {
				watchers[i] = watch(limited(t, schools...), t, c, 0)
			}
			head := int32(0)
			for round := range 12 {
				made := commit(ctx, t, c, "d", fmt.Sprint("p", round), randomDistrict(r)...)
				if made == head {
					continue
				}
				head = made
				for i, schools := range scopes {
					watchers[i].next(t)
					watchers[i].wantSame(t, exported(limited(t, schools...), t, c, head))
				}
			}
			// Who comes late and reads all at once ends with the same.
			for i, schools := range scopes {
				late := watch(limited(t, schools...), t, c, 0)
				for late.revision < head {
					late.next(t)
				}
				require.Empty(t, gocmp.Diff(watchers[i].copy, late.copy, protocmp.Transform()))
			}
		})
	}
}

// randomDistrict is a complete candidate in which everything refers to
// everything, so that any change moves others in and out of a school.
func randomDistrict(r *rand.Rand) []*typev1.Record {
	ref := func(kind string, n int) *typev1.Ref {
		if i := r.IntN(n + 1); i < n {
			return &typev1.Ref{SourcedId: fmt.Sprint(kind, i)}
		}
		return nil
	}
	var out []*typev1.Record
	for i := range 3 {
		out = append(out, school(fmt.Sprint("s", i)))
	}
	add := func(n int, make func(id string) *typev1.Record) {
		for i := range n {
			if r.IntN(8) > 0 {
				out = append(out, make(fmt.Sprint(i)))
			}
		}
	}
	add(3, func(i string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{SourcedId: "c" + i, Status: "active", Org: ref("s", 3)}}}
	})
	add(5, func(i string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Class{Class: &typev1.Class{
			SourcedId: "k" + i, Status: "active", School: ref("s", 3), Course: ref("c", 3),
		}}}
	})
	add(9, func(i string) *typev1.Record {
		u := student("u"+i, "")
		u.GetUser().Roles[0].Role = []string{"student", "guardian", "teacher"}[r.IntN(3)]
		u.GetUser().Roles[0].Org = ref("s", 12) // mostly one that is not watched
		if agent := ref("u", 9); agent != nil {
			u.GetUser().Agents = []*typev1.Relationship{{SourcedId: agent.GetSourcedId(), Relationship: "parent"}}
		}
		return u
	})
	add(6, func(i string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
			SourcedId: "e" + i, Status: "active", User: ref("u", 9), Class: ref("k", 5), School: ref("s", 3), Role: "student",
		}}}
	})
	add(9, func(i string) *typev1.Record {
		return &typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{SourcedId: "u" + i, Status: "active"}}}
	})
	return out
}
