package merge

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/platform/record"
)

// stream yields the words of s as ids, with their layer as body; "!" is an error.
func stream(name, s string) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		for id := range strings.FieldsSeq(s) {
			if id == "!" {
				yield(layer.Entry{}, errors.New("broken"))
				return
			}
			if !yield(layer.Entry{ID: []byte(id), Body: []byte(name)}, nil) {
				return
			}
		}
	}
}

func TestLayers(t *testing.T) {
	for _, test := range []struct {
		name   string
		layers []string
		want   string
	}{
		{"none", nil, ""},
		{"one", []string{"a b"}, "a0 b0"},
		{"the first wins", []string{"b c", "a b c d"}, "a1 b0 c0 d1"},
		{"three", []string{"c", "b", "a c"}, "a2 b1 c0"},
		{"empty ones", []string{"", "a", ""}, "a1"},
		{"by bytes", []string{"B b", "a é"}, "B0 a1 b0 é1"},
		{"an error ends it", []string{"a b", "b !"}, "a0 b0 broken"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var layers []iter.Seq2[layer.Entry, error]
			for i, l := range test.layers {
				layers = append(layers, stream(string(rune('0'+i)), l))
			}
			var got []string
			for e, err := range Layers(layers...) {
				if err != nil {
					got = append(got, err.Error())
					break
				}
				got = append(got, string(e.ID)+string(e.Body))
			}
			require.Equal(t, test.want, strings.Join(got, " "))
		})
	}
}

func TestLayersCanBeLeftEarly(t *testing.T) {
	for e, err := range Layers(stream("x", "a b c"), stream("y", "a b c")) {
		require.NoError(t, err)
		require.Equal(t, "a", string(e.ID))
		break
	}
}

// A change of one layer makes the candidate what merging all of it again makes.
func TestChangesAreThoseOfTheWholeMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() map[string]byte {
		out := map[string]byte{}
		for id := range 30 {
			if r.IntN(2) == 0 {
				out[fmt.Sprintf("%02d", id)] = byte(r.IntN(3)) // layers agree now and then
			}
		}
		return out
	}
	entries := func(l map[string]byte) iter.Seq2[layer.Entry, error] {
		return func(yield func(layer.Entry, error) bool) {
			for _, id := range slices.Sorted(maps.Keys(l)) {
				if !yield(layer.Entry{ID: []byte(id), Hash: record.Hash{l[id]}}, nil) {
					return
				}
			}
		}
	}
	merged := func(layers []map[string]byte) map[string]byte {
		out := map[string]byte{}
		for _, l := range slices.Backward(layers) {
			maps.Copy(out, l)
		}
		return out
	}
	for range 300 {
		before := []map[string]byte{random(), random(), random()}[:1+r.IntN(3)]
		which := r.IntN(len(before))
		after := slices.Clone(before)
		after[which] = random()
		changes := func(yield func(layer.Change, error) bool) {
			for id := range 30 {
				id := fmt.Sprintf("%02d", id)
				was, had := before[which][id]
				is, has := after[which][id]
				c := layer.Change{ID: []byte(id), Was: had, Is: has, Before: layer.Entry{Hash: record.Hash{was}}, After: layer.Entry{ID: []byte(id), Hash: record.Hash{is}}}
				if (had || has) && (!had || !has || was != is) && !yield(c, nil) {
					return
				}
			}
		}
		var above, below []iter.Seq2[layer.Entry, error]
		for i, l := range before {
			switch {
			case i < which:
				above = append(above, entries(l))
			case i > which:
				below = append(below, entries(l))
			}
		}
		got, last := merged(before), ""
		for c, err := range Changes(above, changes, below) {
			require.NoError(t, err)
			require.Less(t, last, string(c.ID))
			last = string(c.ID)
			was, had := got[last]
			require.Equal(t, had, c.Was)
			require.False(t, c.Was && c.Before.Hash != record.Hash{was})
			require.False(t, c.Was && c.Is && c.Before.Hash == c.After.Hash, "nothing changes")
			if delete(got, last); c.Is {
				got[last] = c.After.Hash[0]
			}
		}
		require.Equal(t, merged(after), got)
	}
}

func TestChangesEndWithAnError(t *testing.T) {
	changes := layer.Added(stream("x", "a b c"))
	for _, others := range [][2]string{{"!", ""}, {"", "a !"}} {
		var failed error
		for _, err := range Changes([]iter.Seq2[layer.Entry, error]{stream("y", others[0])}, changes, []iter.Seq2[layer.Entry, error]{stream("z", others[1])}) {
			failed = err
		}
		require.ErrorContains(t, failed, "broken")
	}
}
