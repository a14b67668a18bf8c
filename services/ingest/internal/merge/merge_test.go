package merge

import (
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/ingest/internal/layer"
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
			var layers []Stream
			for i, l := range test.layers {
				layers = append(layers, Stream{Rank: Base, Entries: stream(string(rune('0'+i)), l)})
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
	for e, err := range Layers(Stream{Rank: Base, Entries: stream("x", "a b c")}, Stream{Rank: Fill, Entries: stream("y", "a b c")}) {
		require.NoError(t, err)
		require.Equal(t, "a", string(e.ID))
		break
	}
}

func TestChangesEndWithAnError(t *testing.T) {
	none := func(func(layer.Entry, error) bool) {}
	changed := func(after string) Stream {
		return Stream{Rank: Base, Entries: stream("x", after), Changes: layer.Differences(none, stream("x", after))}
	}
	for _, streams := range [][]Stream{
		{{Rank: Over, Entries: stream("y", "!")}, changed("a b c")},
		{changed("a b c"), {Rank: Fill, Entries: stream("z", "a !")}},
		{changed("a !"), {Rank: Fill, Entries: stream("z", "")}},
		{changed("!"), {Rank: Fill, Entries: stream("z", "")}},
	} {
		var failed error
		for _, err := range Changes(streams...) {
			failed = err
		}
		require.ErrorContains(t, failed, "broken")
	}
}
