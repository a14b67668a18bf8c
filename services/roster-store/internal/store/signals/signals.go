// Package signals works out what the changes of a plan mean: how many people lose
// their email, change their id, or fall out of their classes. It is the one place
// where this is done, whatever the engine.
//
// It is told each change once, while the plan is made. Its memory follows the
// people and classes that the plan changes, not the district.
package signals

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"time"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// Change is one change of a plan.
type Change struct {
	Entity store.Entity
	ID     string
	Kind   store.Kind
	// Was are the facts of the live record, empty if there is none.
	Was, Is search.Facts
	// WasHash is zero if there is no live record.
	WasHash, IsHash record.Hash
	// Schools that the plan counts the change under, in ascending order.
	Schools []string
}

// wasActive and isActive tell whether the record counts before and after.
func (c Change) wasActive() bool { return c.Kind != store.Created && !c.Was.Tombstone }
func (c Change) isActive() bool  { return !c.Is.Tombstone }

// Base answers, of the revision that a plan is compared with, what changes alone
// do not tell. No school means the whole district.
type Base interface {
	// Active counts the active records of entities.
	Active(ctx context.Context, school string, entities []store.Entity) (map[store.Entity]int, error)
	// Students counts the active students.
	Students(ctx context.Context, school string) (int, error)
	// Teachers counts the active teachers.
	Teachers(ctx context.Context, school string) (int, error)
	// Class returns how many students an active class has, and its schools; false
	// if there is no such class.
	Class(ctx context.Context, id string) (students int, schools []string, ok bool, err error)
	// Emails yields the schools of each active user with an email.
	Emails(ctx context.Context) iter.Seq2[[]string, error]
}

// Bounds of what is looked at.
const (
	// manyGuardians are more than parents and step-parents can be.
	manyGuardians = 6
	// smallClass and above is looked at.
	smallClass = 5
	// fewEmails and less are not worth counting all.
	fewEmails = 9
	// manyPeople is how many removed, and how many created, users are remembered
	// to find who has another id. Beyond that many something is wrong anyway.
	manyPeople = 100_000
)

// Counter counts the changes of one plan.
type Counter struct {
	today   string
	seed    maphash.Seed
	digests map[store.Entity]hash.Hash
	total   store.Signals
	schools map[string]store.Signals
	numbers map[string]int32 // of schools
	names   []string

	classes map[string]int32 // students that a class gets or loses
	gone    map[string]bool  // classes that are removed

	// Enrollments that people get or lose: in all, and by the number of the school.
	people   map[enrolled]int32
	bySchool map[enrolledAt]int32

	removed, created []person
}

// enrolled is someone, by a hash of the id, as a student or as anything else.
type enrolled struct {
	user    uint64
	student bool
}

type enrolledAt struct {
	enrolled
	school int32
}

// person is recognised by hashes of identifier, email and username; 0 for none.
type person struct {
	keys    [3]uint64
	schools []int32
}

// New returns a counter for a plan that is made at a time.
func New(at time.Time) *Counter {
	return &Counter{
		today: at.UTC().Format(time.DateOnly), seed: maphash.MakeSeed(), digests: map[store.Entity]hash.Hash{},
		schools: map[string]store.Signals{}, numbers: map[string]int32{},
		classes: map[string]int32{}, gone: map[string]bool{}, people: map[enrolled]int32{}, bySchool: map[enrolledAt]int32{},
	}
}

// Add is told a change. Those of an entity come in ascending order of their ids.
func (c *Counter) Add(ch Change) {
	c.Digest(ch.Entity, ch.ID, ch.Kind, ch.WasHash, ch.IsHash, ch.Schools...)
	c.Count(ch)
}

// Digest takes down what a change does.
func (c *Counter) Digest(e store.Entity, id string, kind store.Kind, was, is record.Hash, schools ...string) {
	d := c.digests[e]
	if d == nil {
		d = sha256.New()
		c.digests[e] = d
	}
	var head [9 + 2*record.HashSize]byte
	head[0] = byte(kind)
	binary.BigEndian.PutUint32(head[1:], uint32(len(id)))
	binary.BigEndian.PutUint32(head[5:], uint32(len(schools)))
	copy(head[9:], was[:])
	copy(head[9+record.HashSize:], is[:])
	_, _ = d.Write(head[:])
	_, _ = d.Write([]byte(id)) // never fails
	for _, school := range schools {
		_, _ = d.Write(binary.BigEndian.AppendUint32(nil, uint32(len(school))))
		_, _ = d.Write([]byte(school))
	}
}

// Crowded tells whether a record is a student with too many guardians.
func Crowded(f search.Facts) bool {
	return !f.Tombstone && f.IsStudent() && len(f.Guardians) >= manyGuardians
}

// Crowded counts a new student with too many guardians. All other signals need
// something that was there before, so for the first plan of a district Digest
// and this are enough.
func (c *Counter) Crowded(schools []string) {
	c.add(store.Signals{ManyGuardians: 1}, schools...)
}

// Count counts what a change means.
func (c *Counter) Count(ch Change) {
	switch ch.Entity {
	case typev1.Entity_ENTITY_USERS:
		c.user(ch)
	case typev1.Entity_ENTITY_ENROLLMENTS:
		if ch.wasActive() {
			c.enrollment(ch.Was, -1)
		}
		c.enrollment(ch.Is, 1)
	case typev1.Entity_ENTITY_CLASSES:
		if !ch.isActive() {
			c.gone[ch.ID] = true
		}
	case typev1.Entity_ENTITY_ACADEMIC_SESSIONS:
		if ch.wasActive() && ch.isActive() && ch.Was.End >= c.today && ch.Is.End != "" && ch.Is.End < c.today {
			c.total.SessionsEnded++
		}
	}
}

func (c *Counter) user(ch Change) {
	var s store.Signals
	was, is := ch.wasActive(), ch.isActive()
	if Crowded(ch.Is) && (!was || !Crowded(ch.Was)) {
		s.ManyGuardians = 1
	}
	switch {
	case was && is:
		if ch.Was.Value(search.FieldEmail) != "" && ch.Is.Value(search.FieldEmail) == "" {
			s.EmailsBlanked = 1
		}
		if len(ch.Was.Families) > 0 && !common(ch.Was.Families, ch.Is.Families) {
			s.RolesFlipped = 1
		}
		if ch.Was.IsStudent() && ch.Is.IsStudent() && slices.ContainsFunc(ch.Was.Emergency, func(id string) bool {
			return !slices.Contains(ch.Is.Emergency, id) && slices.Contains(ch.Is.Guardians, id)
		}) {
			s.EmergencyTurned = 1
		}
	case was && len(c.removed) < manyPeople:
		c.removed = append(c.removed, c.person(ch.Was, ch.Schools))
	case is && len(c.created) < manyPeople:
		c.created = append(c.created, c.person(ch.Is, nil))
	}
	c.add(s, ch.Schools...)
}

func common[T comparable](a, b []T) bool {
	return slices.ContainsFunc(a, func(x T) bool { return slices.Contains(b, x) })
}

// add counts for the district and for schools.
func (c *Counter) add(s store.Signals, schools ...string) {
	if s == (store.Signals{}) {
		return
	}
	c.total = c.total.Add(s)
	for _, school := range schools {
		c.schools[school] = c.schools[school].Add(s)
	}
}

func (c *Counter) person(f search.Facts, schools []string) person {
	p := person{}
	for i, text := range []string{f.Identifier, f.Value(search.FieldEmail), strings.ToLower(f.Username)} {
		if text != "" {
			p.keys[i] = maphash.String(c.seed, text)
		}
	}
	for _, s := range schools {
		p.schools = append(p.schools, c.number(s))
	}
	return p
}

func (c *Counter) number(school string) int32 {
	n, ok := c.numbers[school]
	if !ok {
		n = int32(len(c.names))
		c.numbers[school], c.names = n, append(c.names, school)
	}
	return n
}

// enrollment counts one side of a change of an enrollment.
func (c *Counter) enrollment(f search.Facts, by int32) {
	if f.Tombstone {
		return
	}
	student := f.EnrolsStudent()
	if class := f.Value(search.FieldClass); class != "" && student {
		c.classes[class] += by
	}
	if f.LinkUser == "" {
		return
	}
	who := enrolled{maphash.String(c.seed, f.LinkUser), student}
	c.people[who] += by
	for _, s := range f.Schools {
		c.bySchool[enrolledAt{who, c.number(s)}] += by
	}
}

// Finish completes a plan, whose counts are known. There is no base for the
// first plan of a district.
func (c *Counter) Finish(ctx context.Context, base Base, plan *store.Plan) error {
	if plan.Base > 0 {
		if err := c.halved(ctx, base); err != nil {
			return err
		}
	}
	c.losing()
	c.rekeyed()
	plan.Effect, plan.SchoolEffects = store.Effect{Signals: c.total}, map[string]store.Effect{}
	for school := range plan.Schools {
		plan.SchoolEffects[school] = store.Effect{Signals: c.schools[school]}
	}
	plan.Digest = c.digest()
	if plan.Base == 0 {
		return nil
	}
	return c.populations(ctx, base, plan)
}

// halved looks at the classes that lose many students.
func (c *Counter) halved(ctx context.Context, base Base) error {
	for id, by := range c.classes {
		if c.gone[id] || -2*by <= smallClass-1 {
			continue // of five, three must go
		}
		had, schools, ok, err := base.Class(ctx, id)
		if err != nil {
			return err
		}
		if ok && had >= smallClass && 2*(had+int(by)) < had {
			c.add(store.Signals{ClassesHalved: 1}, schools...)
		}
	}
	return nil
}

func (c *Counter) losing() {
	for who, by := range c.people {
		if by < 0 {
			c.add(who.losing())
		}
	}
	for at, by := range c.bySchool {
		if by < 0 && c.people[at.enrolled] < 0 {
			school := c.names[at.school]
			c.schools[school] = c.schools[school].Add(at.losing())
		}
	}
}

func (e enrolled) losing() store.Signals {
	if e.student {
		return store.Signals{LosingEnrollments: 1}
	}
	return store.Signals{TeachersLosing: 1}
}

// rekeyed finds the removed ones among the created ones: by identifier, those
// who are left by email, and those by username.
func (c *Counter) rekeyed() {
	removed, created := c.removed, c.created
	for key := range len(person{}.keys) {
		by := map[uint64][]int{}
		for i, p := range created {
			if p.keys[key] != 0 {
				by[p.keys[key]] = append(by[p.keys[key]], i)
			}
		}
		taken := map[int]bool{}
		removed = slices.DeleteFunc(removed, func(p person) bool {
			found := by[p.keys[key]]
			if p.keys[key] == 0 || len(found) == 0 {
				return false
			}
			taken[found[0]], by[p.keys[key]] = true, found[1:]
			schools := make([]string, 0, len(p.schools))
			for _, n := range p.schools {
				schools = append(schools, c.names[n])
			}
			c.add(store.Signals{UsersRekeyed: 1}, schools...)
			return true
		})
		left := created[:0:0]
		for i, p := range created {
			if !taken[i] {
				left = append(left, p)
			}
		}
		created = left
	}
}

func (c *Counter) digest() []byte {
	all := sha256.New()
	for _, e := range record.Entities() {
		if d := c.digests[e]; d != nil {
			_, _ = all.Write([]byte{byte(e)})
			_, _ = all.Write(d.Sum(nil)) // never fails
		}
	}
	return all.Sum(nil)
}

// populations fills in what was there before.
func (c *Counter) populations(ctx context.Context, base Base, plan *store.Plan) (err error) {
	fill := func(e *store.Effect, school string, entities []store.Entity) error {
		if e.Active, err = base.Active(ctx, school, entities); err != nil {
			return err
		}
		if e.Students, err = base.Students(ctx, school); err != nil {
			return err
		}
		if school == "" || e.TeachersLosing > 0 {
			e.Teachers, err = base.Teachers(ctx, school)
		}
		return err
	}
	if err := fill(&plan.Effect, "", record.Entities()); err != nil {
		return err
	}
	for school, counts := range plan.Schools {
		var entities []store.Entity
		for e := range counts {
			entities = append(entities, e)
		}
		effect := plan.SchoolEffects[school]
		if err := fill(&effect, school, entities); err != nil {
			return err
		}
		plan.SchoolEffects[school] = effect
	}
	if c.total.EmailsBlanked <= fewEmails {
		return nil
	}
	for schools, err := range base.Emails(ctx) {
		if err != nil {
			return err
		}
		plan.Effect.Emails++
		for _, school := range schools {
			if effect, ok := plan.SchoolEffects[school]; ok {
				effect.Emails++
				plan.SchoolEffects[school] = effect
			}
		}
	}
	return nil
}
