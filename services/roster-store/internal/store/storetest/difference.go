package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// differences makes the same plans twice: of all records, and of those alone
// that are not as they were in the candidate that the head was made of.
func differences(t *testing.T, s suite) {
	require.NoError(t, s.OpenDistrict(t.Context(), district))
	w := world{rand.New(rand.NewPCG(5, 6)), 150}
	records := w.records()
	complete(t, s, "first", records...)
	commit(t, s, "first")
	for round := range s.size(12, 4) {
		next := w.next(records, true)
		want := complete(t, s, store.PlanID(fmt.Sprint("complete ", round)), next...)
		id := store.PlanID(fmt.Sprint("difference ", round))
		got := difference(t, s, id, records, next)
		require.Equal(t, want.Counts, got.Counts, "round %d", round)
		require.Equal(t, want.Schools, got.Schools, "round %d", round)
		if diff := cmp.Diff(changesOf(t, s, want.ID), changesOf(t, s, id), protocmp.Transform()); diff != "" {
			t.Fatalf("changes of round %d (-complete +difference):\n%s", round, diff)
		}
		commit(t, s, id)
		records = next
		require.Zero(t, complete(t, s, store.PlanID(fmt.Sprint("nothing after ", round)), records...).Changes())
	}
	again := difference(t, s, "nothing", records, records)
	require.Zero(t, again.Changes())
	require.Equal(t, complete(t, s, "all of nothing", records...).Counts, again.Counts)
}

// difference imports what differs between two complete candidates, of which the
// first is the head.
func difference(t *testing.T, s suite, id store.PlanID, before, after []*typev1.Record) store.Plan {
	was := state{}
	was.become(before, false)
	h := header(id)
	h.Unsent = map[store.Entity]int{}
	for _, e := range record.Entities() {
		h.Unsent[e] = 0
	}
	var sent []store.ImportRecord
	for r, err := range candidate(after...) {
		require.NoError(t, err)
		at := store.Position{Entity: r.Entity, ID: r.ID}
		if old := was[at]; old != nil && record.HashOf(old) == r.Hash {
			h.Unsent[r.Entity]++
		} else {
			r.Body = slices.Clone(r.Body)
			sent = append(sent, r)
		}
		delete(was, at)
	}
	for at := range was {
		sent = append(sent, store.ImportRecord{Entity: at.Entity, ID: at.ID})
	}
	slices.SortFunc(sent, func(a, b store.ImportRecord) int {
		return comparePositions(store.Position{Entity: a.Entity, ID: a.ID}, store.Position{Entity: b.Entity, ID: b.ID})
	})
	plan, err := s.Import(t.Context(), h, func(yield func(store.ImportRecord, error) bool) {
		for _, r := range sent {
			if !yield(r, nil) {
				return
			}
		}
	})
	require.NoError(t, err)
	return plan
}

// changesOf reads all changes of a plan.
func changesOf(t *testing.T, s suite, id store.PlanID) map[store.Position][]any {
	out := map[store.Position][]any{}
	q := store.ChangeQuery{Limit: 1000}
	for {
		page, err := s.PlanChanges(t.Context(), district, id, q)
		require.NoError(t, err)
		for _, c := range page.Changes {
			at := store.Position{Entity: c.Entity, ID: c.ID}
			out[at] = []any{c.Kind, undated(t, c.Before), undated(t, c.After)}
			q.After = at
		}
		if !page.More {
			return out
		}
	}
}
