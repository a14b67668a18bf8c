package merge

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/platform/record"
)

// said is what one stream says of some ids.
type said map[string]entry

type entry struct {
	user    *typev1.User
	overlay bool
}

func (s said) entries(t testing.TB) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		for _, id := range slices.Sorted(maps.Keys(s)) {
			u := proto.CloneOf(s[id].user)
			u.SourcedId = id
			rec := &typev1.Record{Record: &typev1.Record_User{User: u}}
			body, err := proto.Marshal(rec)
			require.NoError(t, err)
			e := layer.Entry{ID: []byte(id), Hash: record.HashOf(rec), Deleted: u.GetStatus() == record.StatusToBeDeleted, Overlay: s[id].overlay, Body: body}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// contribution is what the sources say, by source and rank.
type contribution struct {
	source string
	rank   Rank
	said   said
}

func streams(t testing.TB, all []contribution) []Stream {
	var out []Stream
	for _, c := range all {
		out = append(out, Stream{Source: c.source, Rank: c.rank, Entries: c.said.entries(t)})
	}
	return out
}

// merged returns the candidate by id.
func merged(t testing.TB, all []contribution) map[string]*typev1.User {
	out, last := map[string]*typev1.User{}, ""
	for e, err := range Layers(streams(t, all)...) {
		require.NoError(t, err)
		require.Less(t, last, string(e.ID))
		last = string(e.ID)
		out[last] = user(t, e)
	}
	return out
}

func user(t testing.TB, e layer.Entry) *typev1.User {
	rec := &typev1.Record{}
	require.NoError(t, proto.Unmarshal(e.Body, rec))
	require.Equal(t, record.HashOf(rec), e.Hash)
	require.Equal(t, e.Deleted, rec.GetUser().GetStatus() == record.StatusToBeDeleted)
	require.False(t, e.Overlay)
	require.Equal(t, string(e.ID), rec.GetUser().GetSourcedId())
	return rec.GetUser()
}

func TestFieldsOfSeveralSources(t *testing.T) {
	yes, no := true, false
	sis := contribution{"sis", Base, said{"a": {user: &typev1.User{
		Status: "active", GivenName: "Ada", Email: "ada@made-up.example", Grades: []string{"05"}, Metadata: map[string]string{"bus": "7"},
		EnabledUser: &no, Agents: []*typev1.Relationship{{SourcedId: "g1", Priority: 1}},
	}}}}
	other := contribution{"other", Base, said{
		"a": {user: &typev1.User{Status: "tobedeleted", GivenName: "A.", Phone: "1", EnabledUser: &yes, Grades: []string{"06", "07"}, Metadata: map[string]string{"bus": "8", "lunch": "x"}}},
		"b": {user: &typev1.User{Status: "active", GivenName: "Ben"}},
	}}
	manual := contribution{"manual", Over, said{
		"a": {user: &typev1.User{Email: "a@made-up.example", Address: &typev1.Address{City: "Maple"}}, overlay: true},
		"c": {user: &typev1.User{Email: "nobody"}, overlay: true},
		"d": {user: &typev1.User{Status: "active", GivenName: "Dora"}},
	}}
	guardians := contribution{"guardians", Fill, said{
		"a": {user: &typev1.User{GivenName: "X", Sms: "2", Address: &typev1.Address{Zip: "1"}, Agents: []*typev1.Relationship{{SourcedId: "g2"}, {SourcedId: "g1", Priority: 2, Custody: &yes}}}, overlay: true},
		"g": {user: &typev1.User{Status: "active", GivenName: "Gil"}},
	}}
	all := []contribution{guardians, sis, other, manual}
	want := map[string]*typev1.User{
		"a": {
			SourcedId: "a", Status: "active", GivenName: "Ada", Email: "a@made-up.example", Phone: "1", Sms: "2", Grades: []string{"05"}, EnabledUser: &no,
			Metadata: map[string]string{"bus": "7", "lunch": "x"}, Address: &typev1.Address{City: "Maple"},
			Agents: []*typev1.Relationship{{SourcedId: "g1", Priority: 1, Custody: &yes}, {SourcedId: "g2"}},
		},
		"b": {SourcedId: "b", Status: "active", GivenName: "Ben"},
		"d": {SourcedId: "d", Status: "active", GivenName: "Dora"},
		"g": {SourcedId: "g", Status: "active", GivenName: "Gil"},
	}
	require.Empty(t, cmp.Diff(want, merged(t, all), protocmp.Transform()))

	rec, from, err := Provenance([]byte("a"), streams(t, all)...)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want["a"], rec.GetUser(), protocmp.Transform()))
	var got []string
	for _, o := range from {
		got = append(got, o.Field+"="+o.Source)
	}
	slices.Sort(got)
	require.Equal(t, "address=manual agents.g1.custody=guardians agents.g1=sis agents.g2=guardians email=manual enabledUser=sis givenName=sis grades=sis "+
		"metadata.bus=sis metadata.lunch=other phone=other sms=guardians sourcedId=manual status=sis", strings.Join(got, " "))
	rec, from, err = Provenance([]byte("c"), streams(t, all)...)
	require.NoError(t, err)
	require.Nil(t, rec)
	require.Empty(t, from)
}

// world makes up what sources say.
type world struct{ *rand.Rand }

func (r world) maybe(values ...string) string { return append(values, "")[r.IntN(len(values)+1)] }

func (r world) said(rank Rank) said {
	out := said{}
	for id := range 20 {
		if r.IntN(2) == 0 {
			continue
		}
		u := &typev1.User{Status: []string{"active", "active", "tobedeleted"}[r.IntN(3)], GivenName: r.maybe("Ada", "Ben"), Email: r.maybe("x", "y")}
		if v := r.maybe("1", "2"); v != "" {
			u.Grades = []string{v}
			u.Metadata = map[string]string{v: r.maybe("p", "q")}
			u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: v, Relationship: r.maybe("mother", "father"), ContactType: r.maybe("parent")})
		}
		out[fmt.Sprintf("%02d", id)] = entry{user: u, overlay: rank != Base && r.IntN(2) == 0}
	}
	return out
}

func (r world) contributions() []contribution {
	var out []contribution
	for i := range 1 + r.IntN(4) {
		rank := Rank(r.IntN(3))
		out = append(out, contribution{fmt.Sprintf("s%d", i), rank, r.said(rank)})
	}
	return out
}

// What the merge makes is what its rules say, of any layers.
func TestRandomLayersAreMergedByTheRules(t *testing.T) {
	r := world{rand.New(rand.NewPCG(1, 2))}
	for range 300 {
		all := r.contributions()
		got := merged(t, all)
		ordered := slices.Clone(all)
		slices.SortStableFunc(ordered, func(a, b contribution) int { return int(a.rank) - int(b.rank) })
		for id := range 20 {
			id := fmt.Sprintf("%02d", id)
			first := func(has func(contribution, entry) bool) *typev1.User {
				for _, c := range ordered {
					if e, ok := c.said[id]; ok && has(c, e) {
						return e.user
					}
				}
				return nil
			}
			record := first(func(_ contribution, e entry) bool { return !e.overlay })
			u, there := got[id]
			require.Equal(t, record != nil, there, "overlays alone make nothing, all else is there")
			if !there {
				continue
			}
			require.Equal(t, first(func(_ contribution, e entry) bool { return e.user.GivenName != "" }).GetGivenName(), u.GetGivenName())
			require.Equal(t, first(func(_ contribution, e entry) bool { return e.user.Grades != nil }).GetGrades(), u.GetGrades())
			status := first(func(c contribution, e entry) bool { return c.rank == Base && !e.overlay })
			if status == nil {
				status = record
			}
			require.Equal(t, status.GetStatus(), u.GetStatus())
			agents := map[string]bool{}
			for _, a := range u.GetAgents() {
				require.False(t, agents[a.GetSourcedId()], "each once")
				agents[a.GetSourcedId()] = true
				of := func(e entry) *typev1.Relationship {
					for _, b := range e.user.GetAgents() {
						if b.GetSourcedId() == a.GetSourcedId() {
							return b
						}
					}
					return nil
				}
				want := ""
				for _, c := range ordered {
					if e, ok := c.said[id]; ok && want == "" {
						want = of(e).GetRelationship()
					}
				}
				require.Equal(t, want, a.GetRelationship())
			}
		}
		// Sources of which nothing is left take nothing from others.
		without := slices.Delete(slices.Clone(all), 0, 1)
		for id, u := range merged(t, without) {
			require.NotNil(t, got[id], "what one source does not have is no removal from another")
			if _, has := all[0].said[id]; !has {
				require.Empty(t, cmp.Diff(u, got[id], protocmp.Transform()))
			}
		}
	}
}

// A change of some layers makes the candidate what merging all of it again makes.
func TestChangesAreThoseOfTheWholeMerge(t *testing.T) {
	r := world{rand.New(rand.NewPCG(3, 4))}
	for range 300 {
		before := r.contributions()
		after := slices.Clone(before)
		all := streams(t, after)
		for i := range after {
			if r.IntN(2) == 0 {
				continue
			}
			next := r.said(after[i].rank)
			for id := range next { // most stays
				if e, had := after[i].said[id]; had && r.IntN(3) > 0 {
					next[id] = e
				}
			}
			changes := layer.Differences(after[i].said.entries(t), next.entries(t))
			after[i].said = next
			all[i].Entries = next.entries(t)
			all[i].Changes = func(yield func(layer.Change, error) bool) {
				for c, err := range changes {
					c.Before.Body = nil // a layer's changes do not have it
					if !yield(c, err) {
						return
					}
				}
			}
		}
		got, last := merged(t, before), ""
		for c, err := range Changes(all...) {
			require.NoError(t, err)
			require.Less(t, last, string(c.ID))
			last = string(c.ID)
			was, had := got[last]
			require.Equal(t, had, c.Was)
			if c.Was && c.Before.Hash != (record.Hash{}) {
				require.Equal(t, record.HashOf(&typev1.Record{Record: &typev1.Record_User{User: was}}), c.Before.Hash)
			}
			if delete(got, last); c.Is {
				got[last] = user(t, c.After)
			}
		}
		require.Empty(t, cmp.Diff(merged(t, after), got, protocmp.Transform()))
	}
}

func TestDamagedRecordsAreNotMerged(t *testing.T) {
	whole := said{"a": {user: &typev1.User{GivenName: "Ada"}}}
	for name, body := range map[string][]byte{"nothing": {}, "garbage": {0xff}, "an org": func() []byte {
		b, err := proto.Marshal(&typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{SourcedId: "a"}}})
		require.NoError(t, err)
		return b
	}()} {
		broken := func(yield func(layer.Entry, error) bool) {
			yield(layer.Entry{ID: []byte("a"), Body: body}, nil)
		}
		var failed error
		for _, err := range Layers(Stream{Rank: Base, Entries: whole.entries(t)}, Stream{Rank: Fill, Entries: broken}) {
			failed = err
		}
		require.ErrorIs(t, failed, layer.ErrDamaged, name)
	}
}
