package rostergen

import "math/bits"

// mix is the finaliser of SplitMix64: cheap, well spread, and the same on
// every machine, unlike the generators of math/rand across versions.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// topic separates the decisions taken about one index from each other.
type topic uint64

const (
	topicGiven topic = iota + 1
	topicFamily
	topicMiddle
	topicAddress
	topicPhone
	topicLink
	topicBirth
	topicRace
	topicPlan
	topicSecondOrg
	topicEvent
	topicPerm
	topicID
)

// hash is the only source of chance: a pure function of the seed, the topic
// and up to two numbers.
func (d *District) hash(t topic, a, b int) uint64 {
	return mix(mix(mix(d.cfg.Seed^uint64(t)*0x9e3779b97f4a7c15)+uint64(a)*0xd1342543de82ef95) + uint64(b)*0xaf251af3b0f025b5)
}

// perm is a keyed bijection on [0,n) that needs no table: three rounds of an
// invertible mix on the next power of two, repeated until the value lies
// inside ("cycle walking", fewer than two tries on average).
type perm struct {
	n, mask       uint64
	shift         uint
	mul, inv, add [3]uint64
}

func newPerm(n int, key uint64) perm {
	width := uint(bits.Len64(uint64(max(n, 1) - 1)))
	p := perm{n: uint64(n), mask: 1<<width - 1, shift: (width + 1) / 2}
	for r := range p.mul {
		key = mix(key + 0x9e3779b97f4a7c15)
		p.mul[r] = key | 1
		p.add[r] = mix(key)
		inv := p.mul[r] // Newton's iteration doubles the correct low bits.
		for range 5 {
			inv *= 2 - p.mul[r]*inv
		}
		p.inv[r] = inv
	}
	return p
}

func (p *perm) at(i int) int {
	x := uint64(i)
	for {
		for r := range p.mul {
			x = (x*p.mul[r] + p.add[r]) & p.mask
			x ^= x >> p.shift
		}
		if x < p.n {
			return int(x)
		}
		if p.mask == 0 {
			return 0
		}
	}
}

// rank is the inverse of at.
func (p *perm) rank(i int) int {
	x := uint64(i)
	for {
		for r := len(p.mul) - 1; r >= 0; r-- {
			x ^= x >> p.shift // its own inverse, because 2*shift >= width
			x = ((x - p.add[r]) * p.inv[r]) & p.mask
		}
		if x < p.n {
			return int(x)
		}
		if p.mask == 0 {
			return 0
		}
	}
}

// idKind is an id space; ids of different spaces differ by prefix.
type idKind int

const (
	idStudent idKind = iota
	idStaff
	idGuardian
	idClass
	idCourse
	idEnrollment
	idRole
	idSession
	idOrg
	idKinds
)

var idPrefix = [idKinds]string{"stu-", "stf-", "gua-", "cls-", "crs-", "enr-", "rol-", "ses-", "org-"}

// unknown is the incarnation of ids that no record ever has.
const unknown = 255

const idBits = 40

// id returns a sourcedId: unique, opaque, and not in the order of the rows.
// The incarnation tells successive occupants of one place apart.
func (d *District) id(k idKind, incarnation, i int) string {
	const digits = "0123456789abcdef"
	x := uint64(d.ids[k].at((incarnation<<32 | i) & (1<<idBits - 1)))
	var b [4 + idBits/4]byte
	copy(b[:], idPrefix[k])
	for p := len(b) - 1; p >= 4; p-- {
		b[p] = digits[x&15]
		x >>= 4
	}
	return string(b[:])
}

// find returns the last i with starts[i] <= x. starts ascends and begins at 0.
func find(starts []int, x int) int {
	lo, hi := 0, len(starts)
	for hi-lo > 1 {
		m := int(uint(lo+hi) >> 1)
		if starts[m] <= x {
			lo = m
		} else {
			hi = m
		}
	}
	return lo
}
