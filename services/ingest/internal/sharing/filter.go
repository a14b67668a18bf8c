package sharing

import (
	"fmt"
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/platform/record"
)

// Records yields the records of an entity, in ascending order of ids.
type Records func(typev1.Entity) iter.Seq2[layer.Entry, error]

// Filter knows what is left out of the records of one source. Its memory grows
// with the numbers of users and classes, not with that of enrollments.
type Filter struct {
	merged                                       map[string]string
	schools, grades, classes, classTypes, people map[string]bool // nil: all
	primaryOnly                                  bool

	places   map[string]*place
	above    map[string]bool // orgs above a school that was chosen
	sections map[string]*section
	subjects map[string]*subject
	users    map[string]Verdict  // those that are left out
	primary  map[string][]string // the schools with which a student is shared
	cut      map[pair]bool       // links that are left out
}

// Verdict says why a record is left out: the rule, and the record that it drops,
// if that is another. No rule means that the record is shared.
type Verdict struct {
	Rule   Rule
	Entity typev1.Entity
	ID     string
}

// place is an org.
type place struct {
	parent string
	school bool
}

// section is a class.
type section struct {
	school, course string
	verdict        Verdict
	// Whether it has students, and one that is shared.
	students, shared bool
}

// subject is a course.
type subject struct {
	shared  bool    // by a class that is
	verdict Verdict // of a class that is not
}

// pair is two users, the smaller id first.
type pair [2]string

func pairOf(a, b string) pair {
	if a > b {
		a, b = b, a
	}
	return pair{a, b}
}

// New makes the filter of some settings for the records of a source.
func New(s *ingestv1.Sharing, records Records) (*Filter, error) {
	f := &Filter{
		merged: map[string]string{}, schools: set(s.GetSchools()), grades: set(s.GetGrades()), classes: set(s.GetClasses()),
		classTypes: set(s.GetClassTypes()), people: set(s.GetContactTypes()), primaryOnly: s.GetPrimarySchoolOnly(),
		places: map[string]*place{}, above: map[string]bool{}, sections: map[string]*section{}, subjects: map[string]*subject{},
		users: map[string]Verdict{}, primary: map[string][]string{}, cut: map[pair]bool{},
	}
	for _, m := range s.GetMergeSchools() {
		f.merged[m.GetFrom()] = m.GetInto()
	}
	for _, learn := range []func(Records) error{f.learnOrgs, f.learnUsers, f.learnClasses, f.learnStudents} {
		if err := learn(records); err != nil {
			return nil, err
		}
	}
	f.learnCourses()
	return f, nil
}

func set(values []string) map[string]bool {
	if len(values) == 0 {
		return nil
	}
	out := map[string]bool{}
	for _, v := range values {
		out[v] = true
	}
	return out
}

// Touches tells whether the filter can leave out or change records of an entity.
func (f *Filter) Touches(e typev1.Entity) bool {
	orgs := f.schools != nil || len(f.merged) > 0
	classes := orgs || f.classes != nil || f.classTypes != nil || f.grades != nil
	people := f.schools != nil || f.grades != nil || f.people != nil || f.primaryOnly
	switch e {
	case typev1.Entity_ENTITY_ORGS:
		return orgs
	case typev1.Entity_ENTITY_COURSES, typev1.Entity_ENTITY_CLASSES:
		return classes
	case typev1.Entity_ENTITY_USERS:
		return people || orgs
	case typev1.Entity_ENTITY_ENROLLMENTS:
		return people || classes
	case typev1.Entity_ENTITY_DEMOGRAPHICS:
		return people
	}
	return false
}

// each decodes the records of an entity.
func each(records Records, e typev1.Entity, do func(*typev1.Record)) error {
	for entry, err := range records(e) {
		if err != nil {
			return err
		}
		rec, err := decode(entry)
		if err != nil {
			return err
		}
		do(rec)
	}
	return nil
}

func decode(e layer.Entry) (*typev1.Record, error) {
	rec := &typev1.Record{}
	if err := proto.Unmarshal(e.Body, rec); err != nil {
		return nil, fmt.Errorf("%w: %w", layer.ErrDamaged, err)
	}
	return rec, nil
}

// at is where something is that the source has at an org.
func (f *Filter) at(r *typev1.Ref) string {
	if into := f.merged[r.GetSourcedId()]; into != "" {
		return into
	}
	return r.GetSourcedId()
}

func (f *Filter) learnOrgs(records Records) error {
	if !f.Touches(typev1.Entity_ENTITY_ORGS) && !f.primaryOnly {
		return nil
	}
	err := each(records, typev1.Entity_ENTITY_ORGS, func(rec *typev1.Record) {
		o := rec.GetOrg()
		if f.merged[o.GetSourcedId()] == "" {
			f.places[o.GetSourcedId()] = &place{parent: f.at(o.GetParent()), school: o.GetType() == "school"}
		}
	})
	for id := range f.schools {
		for o := f.places[id]; o != nil && o.parent != "" && !f.above[o.parent]; o = f.places[o.parent] {
			f.above[o.parent] = true
		}
	}
	return err
}

// school returns the school that an org is or is a part of; empty if it is of
// none, like a district. An org that was not delivered is taken for a school.
func (f *Filter) school(id string) string {
	for range len(f.places) + 1 { // parents may go round in a circle
		if id == "" {
			return ""
		}
		o := f.places[id]
		if o == nil || o.school || f.schools[id] {
			return id
		}
		id = o.parent
	}
	return ""
}

// shares tells whether what is of an org is shared.
func (f *Filter) shares(id string) bool {
	if f.schools == nil {
		return true
	}
	school := f.school(id)
	return school == "" || f.schools[school]
}

func (f *Filter) learnClasses(records Records) error {
	if !f.Touches(typev1.Entity_ENTITY_CLASSES) && !f.primaryOnly {
		return nil
	}
	return each(records, typev1.Entity_ENTITY_CLASSES, func(rec *typev1.Record) {
		c := rec.GetClass()
		known := &section{school: f.at(c.GetSchool()), course: c.GetCourse().GetSourcedId()}
		switch {
		case f.schools != nil && (known.school == "" || !f.shares(known.school)):
			known.verdict = Verdict{Rule: Schools}
		case (f.classes != nil || f.classTypes != nil) && !f.classes[c.GetSourcedId()] && !f.classTypes[c.GetClassType()]:
			known.verdict = Verdict{Rule: f.classRule()}
		}
		f.sections[c.GetSourcedId()] = known
	})
}

func (f *Filter) classRule() Rule {
	if f.classes != nil {
		return Classes
	}
	return ClassTypes
}

// learnStudents finds the classes that have lost all their students to the grades.
func (f *Filter) learnStudents(records Records) error {
	if f.grades == nil {
		return nil
	}
	err := each(records, typev1.Entity_ENTITY_ENROLLMENTS, func(rec *typev1.Record) {
		e := rec.GetEnrollment()
		if c := f.sections[e.GetClass().GetSourcedId()]; c != nil && record.FamilyOf(e.GetRole()) == record.FamilyStudent {
			c.students = true
			c.shared = c.shared || f.users[e.GetUser().GetSourcedId()].Rule == ""
		}
	})
	for _, c := range f.sections {
		if c.verdict.Rule == "" && c.students && !c.shared {
			c.verdict = Verdict{Rule: Grades}
		}
	}
	return err
}

func (f *Filter) learnCourses() {
	for id, c := range f.sections {
		known := f.subjects[c.course]
		if known == nil {
			known = &subject{}
			f.subjects[c.course] = known
		}
		if c.verdict.Rule == "" {
			known.shared = true
		} else if known.verdict.ID == "" || id < known.verdict.ID { // always the same
			known.verdict = Verdict{Rule: c.verdict.Rule, Entity: typev1.Entity_ENTITY_CLASSES, ID: id}
		}
	}
}

// Judge says whether a record is shared.
func (f *Filter) Judge(rec *typev1.Record) Verdict {
	switch v := rec.GetRecord().(type) {
	case *typev1.Record_Org:
		id := v.Org.GetSourcedId()
		if f.merged[id] != "" {
			return Verdict{Rule: MergeSchools}
		}
		if !f.shares(id) && !f.above[id] {
			return Verdict{Rule: Schools}
		}
	case *typev1.Record_Course:
		known := f.subjects[v.Course.GetSourcedId()]
		switch {
		case known != nil && known.shared:
		case !f.shares(f.at(v.Course.GetOrg())):
			return Verdict{Rule: Schools}
		case known != nil:
			return known.verdict
		}
	case *typev1.Record_Class:
		if c := f.sections[v.Class.GetSourcedId()]; c != nil {
			return c.verdict
		}
	case *typev1.Record_User:
		return f.users[v.User.GetSourcedId()]
	case *typev1.Record_Demographics:
		return of(f.users[v.Demographics.GetSourcedId()], typev1.Entity_ENTITY_USERS, v.Demographics.GetSourcedId())
	case *typev1.Record_Enrollment:
		return f.enrollment(v.Enrollment)
	}
	return Verdict{}
}

// of is the verdict on what refers to a record.
func of(v Verdict, e typev1.Entity, id string) Verdict {
	if v.Rule != "" && v.ID == "" {
		v.Entity, v.ID = e, id
	}
	return v
}

func (f *Filter) enrollment(e *typev1.Enrollment) Verdict {
	classID, user, school := e.GetClass().GetSourcedId(), e.GetUser().GetSourcedId(), f.at(e.GetSchool())
	c := f.sections[classID]
	switch {
	case c != nil && c.verdict.Rule != "":
		return of(c.verdict, typev1.Entity_ENTITY_CLASSES, classID)
	case f.users[user].Rule != "":
		return of(f.users[user], typev1.Entity_ENTITY_USERS, user)
	case c != nil && c.school != "":
		school = c.school
	case c == nil && school != "" && !f.shares(school):
		return Verdict{Rule: Schools, Entity: typev1.Entity_ENTITY_ORGS, ID: school}
	case c == nil && (f.classes != nil || f.classTypes != nil) && !f.classes[classID]:
		return Verdict{Rule: f.classRule(), Entity: typev1.Entity_ENTITY_CLASSES, ID: classID}
	}
	mine, limited := f.primary[user]
	if limited && school != "" && record.FamilyOf(e.GetRole()) == record.FamilyStudent && !slices.Contains(mine, f.school(school)) {
		return Verdict{Rule: PrimarySchoolOnly}
	}
	return Verdict{}
}
