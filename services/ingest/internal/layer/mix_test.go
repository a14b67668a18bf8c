package layer

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func entriesOf(of map[string]string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var id []byte
		for _, next := range slices.Sorted(maps.Keys(of)) {
			id = append(id[:0], next...) // valid until the next one
			if !yield(Entry{ID: id, Body: []byte(of[next])}, nil) {
				return
			}
		}
	}
}

func idsOf(ids map[string]string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			if !yield(id, nil) {
				return
			}
		}
	}
}

func TestMix(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	some := func(value string) map[string]string {
		out := map[string]string{}
		for range r.IntN(12) {
			out[fmt.Sprintf("%02d", r.IntN(20))] = value
		}
		return out
	}
	for range 2000 {
		next, was, back := some("next"), some("was"), some("")
		want := maps.Clone(next)
		for id := range back {
			delete(want, id)
			if was[id] != "" {
				want[id] = "was"
			}
		}
		got, last := map[string]string{}, ""
		for e, err := range Mix(entriesOf(next), entriesOf(was), idsOf(back)) {
			require.NoError(t, err)
			require.Less(t, last, string(e.ID))
			last = string(e.ID)
			got[last] = string(e.Body)
		}
		require.Equal(t, want, got)
	}
}

func TestMixFails(t *testing.T) {
	broken := errors.New("broken")
	fails := func(yield func(Entry, error) bool) { yield(Entry{}, broken) }
	all := map[string]string{"a": "x", "b": "x"}
	for name, mixed := range map[string]iter.Seq2[Entry, error]{
		"next": Mix(fails, entriesOf(all), idsOf(all)),
		"was":  Mix(entriesOf(all), fails, idsOf(all)),
		"back": Mix(entriesOf(all), entriesOf(all), func(yield func(string, error) bool) { yield("", broken) }),
	} {
		var last error
		for _, err := range mixed {
			last = err
		}
		require.ErrorIs(t, last, broken, name)
	}
}
