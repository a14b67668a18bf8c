// Package docstoretest checks that an engine keeps the contract of docstore.
// Every engine runs all of it.
package docstoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/docstore"
)

// Disk is what an engine keeps its documents on.
type Disk interface {
	// Open opens the engine with everything acknowledged so far. The suite closes
	// it before the next Open, except after Crash.
	Open(t testing.TB) docstore.Store
	// Crash is a power loss: only what is durable is there at the next Open. The
	// store that is open is not used any more.
	Crash(t testing.TB)
}

// Except lists what an engine is excused from; the zero value excuses nothing.
type Except struct {
	// RacingUpdates: of several that replace the same version at the same time,
	// more than one may succeed.
	RacingUpdates bool
}

// Run runs the suite; newDisk returns an empty disk.
func Run(t *testing.T, newDisk func(testing.TB) Disk) { RunExcept(t, newDisk, Except{}) }

// RunExcept runs the suite without what the engine is excused from.
func RunExcept(t *testing.T, newDisk func(testing.TB) Disk, except Except) {
	open := func(t *testing.T) docstore.Store {
		s := newDisk(t).Open(t)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	t.Run("ReadsWhatWasWritten", func(t *testing.T) { readsWhatWasWritten(t, open(t)) })
	t.Run("IdsAreArbitraryText", func(t *testing.T) { idsAreArbitraryText(t, open(t)) })
	t.Run("CreateIsUnique", func(t *testing.T) { createIsUnique(t, open(t)) })
	t.Run("UpdateNeedsTheVersion", func(t *testing.T) { updateNeedsTheVersion(t, open(t)) })
	t.Run("VersionsAreNeverUsedAgain", func(t *testing.T) { versionsAreNeverUsedAgain(t, open(t)) })
	t.Run("DeleteNeedsTheVersion", func(t *testing.T) { deleteNeedsTheVersion(t, open(t)) })
	if !except.RacingUpdates {
		t.Run("ModifyLosesNothing", func(t *testing.T) { modifyLosesNothing(t, open(t)) })
	}
	t.Run("ModifyEnds", func(t *testing.T) { modifyEnds(t, open(t)) })
	t.Run("ListIsOrderedBothWays", func(t *testing.T) { listIsOrderedBothWays(t, open(t)) })
	t.Run("ListSelectsByPrefix", func(t *testing.T) { listSelectsByPrefix(t, open(t)) })
	t.Run("ListFollowsTheIndex", func(t *testing.T) { listFollowsTheIndex(t, open(t)) })
	t.Run("ListWhileWriting", func(t *testing.T) { listWhileWriting(t, open(t)) })
	t.Run("ListRefusesForeignCursors", func(t *testing.T) { listRefusesForeignCursors(t, open(t)) })
	t.Run("CollectionsAreApart", func(t *testing.T) { collectionsAreApart(t, open(t)) })
	t.Run("ContextEnds", func(t *testing.T) { contextEnds(t, open(t)) })
	t.Run("SurvivesReopenAndCrash", func(t *testing.T) { survivesReopenAndCrash(t, newDisk(t)) })
	t.Run("FailsAfterClose", func(t *testing.T) { failsAfterClose(t, newDisk(t).Open(t)) })
	t.Run("CloseWaitsForCalls", func(t *testing.T) { closeWaitsForCalls(t, newDisk(t).Open(t)) })
}

type (
	clients = docstore.Collection[*authv1.Client]
	doc     = docstore.Doc[*authv1.Client]
)

// collection is indexed by the display name.
func collection(s docstore.Store, name string) *clients {
	return docstore.NewCollection(s, name, (*authv1.Client).GetDisplayName)
}

func client(name string) *authv1.Client { return &authv1.Client{DisplayName: name} }

func create(t *testing.T, c *clients, id, name string) doc {
	t.Helper()
	d, err := c.Create(t.Context(), id, client(name))
	require.NoError(t, err)
	return d
}

func same(t *testing.T, want, got any) {
	t.Helper()
	require.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
}

// list returns "name/id" of all documents, read in pages.
func list(t *testing.T, c *clients, q docstore.Query) []string {
	t.Helper()
	var all []string
	for {
		docs, next, err := c.List(t.Context(), q)
		require.NoError(t, err)
		if q.Limit > 0 {
			require.LessOrEqual(t, len(docs), q.Limit)
		}
		for _, d := range docs {
			all = append(all, d.Value.GetDisplayName()+"/"+d.ID)
		}
		if next == "" {
			return all
		}
		require.NotEmpty(t, docs, "an empty page in the middle")
		q.After = next
	}
}

func readsWhatWasWritten(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	_, err := c.Get(t.Context(), "1")
	require.ErrorIs(t, err, docstore.ErrNotFound)

	created := create(t, c, "1", "Ann")
	got, err := c.Get(t.Context(), "1")
	require.NoError(t, err)
	same(t, created, got)

	got.Value.Product = "filter"
	updated, err := c.Update(t.Context(), got)
	require.NoError(t, err)
	require.Greater(t, updated.Version, created.Version)
	got, err = c.Get(t.Context(), "1")
	require.NoError(t, err)
	same(t, updated, got)
	require.Equal(t, "filter", got.Value.GetProduct())

	require.NoError(t, c.Delete(t.Context(), "1"))
	_, err = c.Get(t.Context(), "1")
	require.ErrorIs(t, err, docstore.ErrNotFound)
	require.ErrorIs(t, c.Delete(t.Context(), "1"), docstore.ErrNotFound)
	require.Empty(t, list(t, c, docstore.Query{}))
}

func idsAreArbitraryText(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	ids := []string{
		"a", "A", "a ", " a", "a/b", "a%2Fb", "ä", "a\u0308", "\x00", "\x00\x00", "\x00\x01", "\x01", "a\x00", "a\x00\x01b",
		"\u00ff", "\U0010ffff", "\U0010ffff\U0010ffff", "*", ".", "..", "$set", strings.Repeat("x", 1000),
	}
	// The names are as odd as the ids, so that index values are tried as well.
	for i, id := range ids {
		create(t, c, id, ids[len(ids)-1-i])
	}
	for i, id := range ids {
		got, err := c.Get(t.Context(), id)
		require.NoError(t, err, "%q", id)
		require.Equal(t, ids[len(ids)-1-i], got.Value.GetDisplayName())
	}
	for _, size := range []int{1, 3, 100} {
		got := list(t, c, docstore.Query{Limit: size})
		require.Len(t, got, len(ids))
	}
	var names []string
	for d, err := range c.All(t.Context(), "") {
		require.NoError(t, err)
		names = append(names, d.Value.GetDisplayName())
	}
	require.Equal(t, slices.Sorted(slices.Values(ids)), names)
	for _, prefix := range ids {
		want := 0
		for _, id := range ids {
			if strings.HasPrefix(id, prefix) {
				want++
			}
		}
		require.Len(t, list(t, c, docstore.Query{Prefix: prefix}), want, "prefix %q", prefix)
	}
	_, err := c.Create(t.Context(), "", client("nameless"))
	require.Error(t, err)
}

func createIsUnique(t *testing.T, s docstore.Store) {
	c := collection(s, "claims")
	for round := range 20 {
		var won, lost atomic.Int32
		var racers sync.WaitGroup
		id, start := fmt.Sprint("slot-", round), make(chan struct{})
		for i := range 8 {
			racers.Go(func() {
				<-start
				switch _, err := c.Create(t.Context(), id, client(fmt.Sprint("racer ", i))); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, docstore.ErrExists):
					lost.Add(1)
				}
			})
		}
		close(start)
		racers.Wait()
		require.EqualValues(t, 1, won.Load())
		require.EqualValues(t, 7, lost.Load())
	}
}

func updateNeedsTheVersion(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	first := create(t, c, "1", "Ann")
	mine := doc{ID: "1", Version: first.Version, Value: client("mine")}
	_, err := c.Update(t.Context(), mine)
	require.NoError(t, err)

	theirs := doc{ID: "1", Version: first.Version, Value: client("theirs")}
	_, err = c.Update(t.Context(), theirs)
	require.ErrorIs(t, err, docstore.ErrConflict)
	_, err = c.Update(t.Context(), doc{ID: "1", Value: client("never read")})
	require.Error(t, err)
	_, err = c.Update(t.Context(), doc{ID: "2", Version: first.Version, Value: client("never there")})
	require.ErrorIs(t, err, docstore.ErrNotFound)
	require.Equal(t, []string{"mine/1"}, list(t, c, docstore.Query{}))
}

func versionsAreNeverUsedAgain(t *testing.T, s docstore.Store) {
	c := collection(s, "leases")
	seen := map[int64]bool{}
	for range 50 {
		d := create(t, c, "1", "holder")
		require.False(t, seen[d.Version], "a holder of the deleted lease would own the new one")
		seen[d.Version] = true
		require.NoError(t, c.Delete(t.Context(), "1"))
		_, err := c.Update(t.Context(), d)
		require.ErrorIs(t, err, docstore.ErrNotFound)
	}
}

func deleteNeedsTheVersion(t *testing.T, s docstore.Store) {
	c := collection(s, "leases")
	old := create(t, c, "1", "first")
	current, err := c.Update(t.Context(), doc{ID: "1", Version: old.Version, Value: client("second")})
	require.NoError(t, err)
	require.ErrorIs(t, c.DeleteVersion(t.Context(), old), docstore.ErrConflict)
	require.NoError(t, c.DeleteVersion(t.Context(), current))
	require.ErrorIs(t, c.DeleteVersion(t.Context(), current), docstore.ErrNotFound)
}

func modifyLosesNothing(t *testing.T, s docstore.Store) {
	c := collection(s, "counters")
	create(t, c, "1", "counter")
	const writers, each = 8, 25
	failures := make(chan error, writers)
	for i := range writers {
		go func() {
			for j := range each {
				if _, err := c.Modify(t.Context(), "1", func(v *authv1.Client) error {
					v.Scopes = append(v.Scopes, fmt.Sprintf("%d-%d", i, j))
					return nil
				}); err != nil {
					failures <- err
					return
				}
			}
			failures <- nil
		}()
	}
	for range writers {
		require.NoError(t, <-failures)
	}
	got, err := c.Get(t.Context(), "1")
	require.NoError(t, err)
	require.Len(t, got.Value.GetScopes(), writers*each)
}

func modifyEnds(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	before := create(t, c, "1", "Ann")
	refused := errors.New("refused")
	_, err := c.Modify(t.Context(), "1", func(v *authv1.Client) error {
		v.DisplayName = "half done"
		return refused
	})
	require.ErrorIs(t, err, refused)
	after, err := c.Modify(t.Context(), "1", func(*authv1.Client) error { return nil })
	require.NoError(t, err)
	same(t, before, after)

	_, err = c.Modify(t.Context(), "2", func(*authv1.Client) error { return nil })
	require.ErrorIs(t, err, docstore.ErrNotFound)

	// Someone else is always faster, until ctx ends.
	ctx, cancel := context.WithCancel(t.Context())
	attempts := 0
	_, err = c.Modify(ctx, "1", func(v *authv1.Client) error {
		if attempts++; attempts == 3 {
			cancel()
		}
		v.DisplayName = "slow"
		other, err := c.Get(t.Context(), "1")
		if err != nil {
			return err
		}
		other.Value.Scopes = append(other.Value.Scopes, "x")
		_, err = c.Update(t.Context(), other)
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 3, attempts)
}

func listIsOrderedBothWays(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	// Ids and names sort differently, and names repeat.
	for i, name := range []string{"b", "a", "c", "", "b", "a", "ab", "b", "B"} {
		create(t, c, fmt.Sprint(9-i), name)
	}
	want := []string{"/6", "B/1", "a/4", "a/8", "ab/3", "b/2", "b/5", "b/9", "c/7"}
	backwards := slices.Clone(want)
	slices.Reverse(backwards)
	for _, limit := range []int{0, 1, 2, 3, 9, 10} {
		require.Equal(t, want, list(t, c, docstore.Query{Limit: limit}), "limit %d", limit)
		require.Equal(t, backwards, list(t, c, docstore.Query{Limit: limit, Descending: true}), "limit %d", limit)
	}
	_, next, err := c.List(t.Context(), docstore.Query{Limit: len(want)})
	require.NoError(t, err)
	require.Empty(t, next, "a last page that is full has no next")

	unordered := docstore.NewCollection[*authv1.Client](s, "by id", nil)
	for _, id := range []string{"b", "c", "a"} {
		_, err := unordered.Create(t.Context(), id, client("same"))
		require.NoError(t, err)
	}
	require.Equal(t, []string{"same/a", "same/b", "same/c"}, list(t, unordered, docstore.Query{}))
}

func listSelectsByPrefix(t *testing.T, s docstore.Store) {
	c := collection(s, "syncs")
	for i, name := range []string{"lake", "lake/1", "lake/2", "lake0", "lakeside/1", "la", "\U0010ffff", "\U0010ffff\U0010ffff", "\U0010fffe"} {
		create(t, c, fmt.Sprint(i), name)
	}
	for prefix, want := range map[string][]string{
		"lake/": {"lake/1/1", "lake/2/2"},
		"lake":  {"lake/0", "lake/1/1", "lake/2/2", "lake0/3", "lakeside/1/4"},
		"z":     nil,

		"\U0010ffff": {"\U0010ffff/6", "\U0010ffff\U0010ffff/7"},
		"lakeside":   {"lakeside/1/4"},
	} {
		for _, limit := range []int{1, 2, 100} {
			require.Equal(t, want, list(t, c, docstore.Query{Prefix: prefix, Limit: limit}), "prefix %q", prefix)
			slices.Reverse(want)
			require.Equal(t, want, list(t, c, docstore.Query{Prefix: prefix, Limit: limit, Descending: true}), "prefix %q", prefix)
			slices.Reverse(want)
		}
	}
}

func listFollowsTheIndex(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	create(t, c, "1", "queued")
	create(t, c, "2", "queued")
	_, err := c.Modify(t.Context(), "1", func(v *authv1.Client) error {
		v.DisplayName = "done"
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{"queued/2"}, list(t, c, docstore.Query{Prefix: "queued"}))
	require.Equal(t, []string{"done/1"}, list(t, c, docstore.Query{Prefix: "done"}))
	require.NoError(t, c.Delete(t.Context(), "1"))
	require.Empty(t, list(t, c, docstore.Query{Prefix: "done"}))
}

// listWhileWriting checks that documents nobody touches appear exactly once.
func listWhileWriting(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	var want []string
	for i := range 30 {
		id := fmt.Sprintf("%02d", i)
		create(t, c, id, "still")
		want = append(want, "still/"+id)
	}
	create(t, c, "moving", "a")
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := c.Modify(t.Context(), "moving", func(v *authv1.Client) error {
				v.DisplayName = []string{"a", "z"}[i%2]
				return nil
			}); err != nil {
				stopped <- err
				return
			}
		}
		stopped <- nil
	}()
	for range 20 {
		got := slices.DeleteFunc(list(t, c, docstore.Query{Limit: 4}), func(s string) bool { return strings.HasSuffix(s, "moving") })
		require.Equal(t, want, got)
	}
	cancel()
	require.NoError(t, <-stopped)
}

func listRefusesForeignCursors(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	for i := range 4 {
		create(t, c, fmt.Sprint(i), fmt.Sprintf("%c", 'a'+i/2))
	}
	_, next, err := c.List(t.Context(), docstore.Query{Prefix: "a", Limit: 1})
	require.NoError(t, err)
	require.NotEmpty(t, next)
	for _, q := range []docstore.Query{{After: "%"}, {After: "x"}, {Prefix: "b", After: next}} {
		_, _, err := c.List(t.Context(), q)
		require.ErrorIs(t, err, docstore.ErrBadCursor, "%+v", q)
	}
}

func collectionsAreApart(t *testing.T, s docstore.Store) {
	a, ab := collection(s, "a"), collection(s, "ab")
	create(t, a, "bc", "in a")
	create(t, ab, "c", "in ab")
	require.Equal(t, []string{"in a/bc"}, list(t, a, docstore.Query{}))
	require.Equal(t, []string{"in ab/c"}, list(t, ab, docstore.Query{}))
	require.NoError(t, a.Delete(t.Context(), "bc"))
	require.Equal(t, []string{"in ab/c"}, list(t, ab, docstore.Query{}))
}

func contextEnds(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the lease was lost")
	cancel(reason)
	_, err := c.Create(ctx, "1", client("Ann"))
	require.ErrorIs(t, err, reason)
	_, err = c.Get(t.Context(), "1")
	require.ErrorIs(t, err, docstore.ErrNotFound)
}

func survivesReopenAndCrash(t *testing.T, disk Disk) {
	s := disk.Open(t)
	c := collection(s, "clients")
	for i := range 100 {
		create(t, c, fmt.Sprintf("%02d", i), "before")
	}
	require.NoError(t, s.Close())

	s = disk.Open(t)
	c = collection(s, "clients")
	require.Len(t, list(t, c, docstore.Query{Prefix: "before"}), 100)
	for i := range 50 {
		_, err := c.Modify(t.Context(), fmt.Sprintf("%02d", i), func(v *authv1.Client) error {
			v.DisplayName = "after"
			return nil
		})
		require.NoError(t, err)
	}
	require.NoError(t, c.Delete(t.Context(), "99"))
	lease := create(t, c, "lease", "lease")
	disk.Crash(t)

	s = disk.Open(t)
	c = collection(s, "clients")
	require.Len(t, list(t, c, docstore.Query{Prefix: "after"}), 50)
	require.Len(t, list(t, c, docstore.Query{Prefix: "before"}), 49)
	got, err := c.Get(t.Context(), "lease")
	require.NoError(t, err)
	same(t, lease, got)
	require.NoError(t, s.Close())
}

func failsAfterClose(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	d := create(t, c, "1", "Ann")
	require.NoError(t, s.Close())
	_, getErr := c.Get(t.Context(), "1")
	_, createErr := c.Create(t.Context(), "2", client("Bob"))
	_, updateErr := c.Update(t.Context(), d)
	_, _, listErr := c.List(t.Context(), docstore.Query{})
	for _, err := range []error{getErr, createErr, updateErr, listErr, c.Delete(t.Context(), "1"), s.Close()} {
		require.ErrorIs(t, err, docstore.ErrClosed)
	}
}

func closeWaitsForCalls(t *testing.T, s docstore.Store) {
	c := collection(s, "clients")
	create(t, c, "1", "Ann")
	started, ended := make(chan struct{}, 4), make(chan error, 4)
	for range 4 {
		go func() {
			for i := 0; ; i++ {
				_, _, err := c.List(context.Background(), docstore.Query{})
				if i == 0 {
					started <- struct{}{}
				}
				if err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	for range 4 {
		<-started
	}
	require.NoError(t, s.Close())
	for range 4 {
		require.ErrorIs(t, <-ended, docstore.ErrClosed)
	}
}
