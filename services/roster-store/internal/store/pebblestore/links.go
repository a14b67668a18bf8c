package pebblestore

import (
	"cmp"
	"slices"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// links keeps what the records of a bulk load say about each other, as numbers.
type links struct {
	users, courses, schools names

	enrollments, classes, own, relations []pair // collected
	enrolled, taught, direct, related    adjacency

	students map[uint32]bool
	// roles of each user, as a number of roleSets, because most users share a few.
	roles    map[uint32]int
	roleSets [][]search.Term
}

func (l *links) init() {
	l.users.init()
	l.courses.init()
	l.schools.init()
	l.students = map[uint32]bool{}
	l.roles = map[uint32]int{}
}

func (l *links) add(e store.Entity, id string, f search.Facts) {
	switch e {
	case typev1.Entity_ENTITY_CLASSES:
		if f.LinkCourse != "" && !f.Tombstone {
			l.classes = l.link(l.classes, l.courses.number(f.LinkCourse), f.Schools)
		}
	case typev1.Entity_ENTITY_ENROLLMENTS:
		if f.LinkUser != "" && !f.Tombstone {
			l.enrollments = l.link(l.enrollments, l.users.number(f.LinkUser), f.Schools)
		}
	case typev1.Entity_ENTITY_USERS:
		n := l.users.number(id)
		l.own = l.link(l.own, n, f.Schools)
		if f.IsStudent() {
			l.students[n] = true
		}
		if terms := search.RoleTerms(f); len(terms) > 0 {
			set := slices.IndexFunc(l.roleSets, func(have []search.Term) bool { return slices.Equal(have, terms) })
			if set < 0 {
				set = len(l.roleSets)
				l.roleSets = append(l.roleSets, terms)
			}
			l.roles[n] = set
		}
		for _, a := range f.Agents {
			other := l.users.number(a)
			l.relations = append(l.relations, pair{n, other}, pair{other, n})
		}
	}
}

func (l *links) link(pairs []pair, n uint32, schools []string) []pair {
	for _, s := range schools {
		pairs = append(pairs, pair{n, l.schools.number(s)})
	}
	return pairs
}

// join is called when all records are known.
func (l *links) join() {
	l.taught = group(l.classes, l.courses.len())
	l.enrolled = group(l.enrollments, l.users.len())
	l.direct = group(l.own, l.users.len())
	l.related = group(l.relations, l.users.len())
	l.classes, l.enrollments, l.own, l.relations = nil, nil, nil, nil
}

// derived returns the terms of a record that follow from other records.
func (l *links) derived(e store.Entity, id string) []search.Term {
	switch e {
	case typev1.Entity_ENTITY_COURSES:
		if n, ok := l.courses.find(id); ok {
			return schoolTerms(l.names(l.taught.of(n)))
		}
	case typev1.Entity_ENTITY_USERS:
		if n, ok := l.users.find(id); ok {
			return l.userTerms(n)
		}
	case typev1.Entity_ENTITY_DEMOGRAPHICS:
		if n, ok := l.users.find(id); ok {
			terms := l.userTerms(n)
			if set, ok := l.roles[n]; ok {
				terms = append(terms, l.roleSets[set]...)
			}
			return terms
		}
	}
	return nil
}

func (l *links) userTerms(n uint32) []search.Term {
	var related []search.Person
	for _, r := range l.related.of(n) {
		related = append(related, l.person(r))
	}
	return schoolTerms(search.UserSchools(l.person(n), related))
}

func (l *links) person(n uint32) search.Person {
	return search.Person{
		Schools: append(l.names(l.direct.of(n)), l.names(l.enrolled.of(n))...),
		Student: l.students[n],
	}
}

func (l *links) names(schools []uint32) []string {
	out := make([]string, 0, len(schools))
	for _, s := range schools {
		out = append(out, l.schools.list[s])
	}
	return out
}

// schoolTerms sorts the schools and drops repetitions.
func schoolTerms(schools []string) []search.Term {
	slices.Sort(schools)
	var out []search.Term
	for _, s := range slices.Compact(schools) {
		out = append(out, search.Term{Field: search.FieldSchool, Value: s})
	}
	return out
}

// names gives texts numbers.
type names struct {
	numbers map[string]uint32
	list    []string
}

func (n *names) init() { n.numbers = map[string]uint32{} }

func (n *names) len() int { return len(n.list) }

func (n *names) number(s string) uint32 {
	if k, ok := n.numbers[s]; ok {
		return k
	}
	k := uint32(len(n.list))
	n.numbers[s] = k
	n.list = append(n.list, s)
	return k
}

func (n *names) find(s string) (uint32, bool) {
	k, ok := n.numbers[s]
	return k, ok
}

// sorted returns the numbers in the order of their texts.
func (n *names) sorted() []uint32 {
	out := make([]uint32, len(n.list))
	for i := range out {
		out[i] = uint32(i)
	}
	slices.SortFunc(out, func(a, b uint32) int { return cmp.Compare(n.list[a], n.list[b]) })
	return out
}

type pair struct{ from, to uint32 }

// adjacency lists for each number the numbers it is paired with.
type adjacency struct{ starts, to []uint32 }

func group(pairs []pair, n int) adjacency {
	a := adjacency{starts: make([]uint32, n+1), to: make([]uint32, len(pairs))}
	for _, p := range pairs {
		a.starts[p.from+1]++
	}
	for i := range n {
		a.starts[i+1] += a.starts[i]
	}
	fill := slices.Clone(a.starts[:n])
	for _, p := range pairs {
		a.to[fill[p.from]] = p.to
		fill[p.from]++
	}
	return a
}

func (a adjacency) of(n uint32) []uint32 { return a.to[a.starts[n]:a.starts[n+1]] }
