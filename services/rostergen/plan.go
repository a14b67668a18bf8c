package rostergen

import "strconv"

type level int

const (
	elementary level = iota
	middle
	high
)

const cohortSize = 25 // students who share their classes

// The shape of a school of each level. Every student of a cohort is in one
// class per slot; slot 0 is the homeroom, the advisory or first-semester
// English, and carries no class flaw, so that each school keeps a sound class.
var levels = [...]struct {
	name                 string
	firstGrade, grades   int
	slots                int
	schoolSize, perAdmin int
}{
	elementary: {"Elementary School", 0, 6, 5, 525, 500},
	middle:     {"Middle School", 6, 3, 13, 1050, 400},
	high:       {"High School", 9, 4, 14, 1600, 400},
}

// school is what has to be kept per school: a few hundred bytes, so that
// everything else can be worked out from an index.
type school struct {
	level    level
	feeder   int
	name     string
	students int
	// gradeStart and cohortStart are local: grade g holds the students
	// [gradeStart[g], gradeStart[g+1]) in the cohorts [cohortStart[g], …).
	gradeStart, cohortStart [7]int
	cohorts                 int
	teachers, aides, admins int
}

func (s *school) staff() int       { return s.teachers + s.aides + s.admins }
func (s *school) slots() int       { return levels[s.level].slots }
func (s *school) classes() int     { return s.cohorts * s.slots() }
func (s *school) enrollments() int { return s.slots() * (s.students + 2*s.cohorts) }

// departments returns how many teachers a subject has.
func (s *school) departments() int {
	if s.level == elementary {
		return (s.cohorts + 23) / 24
	}
	return (s.cohorts + 5) / 6
}

// gradeOf returns the local grade of a local student.
func (s *school) gradeOf(student int) int {
	return find(s.gradeStart[:levels[s.level].grades], student)
}

// cohortOf returns the local cohort of a local student, and whether the
// student is the cohort's first, who never leaves, so that no class runs empty.
func (s *school) cohortOf(student int) (cohort int, lead bool) {
	g := s.gradeOf(student)
	i, n, c := student-s.gradeStart[g], s.gradeStart[g+1]-s.gradeStart[g], s.cohortStart[g+1]-s.cohortStart[g]
	k := i * c / n
	return s.cohortStart[g] + k, i == 0 || (i-1)*c/n != k
}

func (s *school) gradeOfCohort(cohort int) int {
	return find(s.cohortStart[:levels[s.level].grades], cohort)
}

// teacherOf returns the local teacher of a class. No teacher has two classes
// in one period.
func (s *school) teacherOf(cohort, slot int) int {
	q := s.departments()
	switch {
	case s.level == elementary && slot == 0:
		return cohort
	case s.level == elementary:
		return s.cohorts + (slot-1)*q + cohort/24
	case s.level == middle && slot == 0:
		return cohort%6*q + cohort/6
	case s.level == middle:
		return (slot-1)/2*q + cohort/6
	default:
		return slot/2*q + cohort/6
	}
}

// secondOf returns who else is in a class: an aide in every third homeroom, a
// second teacher in some classes. ok is false for most classes.
func (s *school) secondOf(cohort, slot int) (staff int, aide, ok bool) {
	if s.level == elementary {
		return s.teachers + cohort/3, true, slot == 0 && cohort%3 == 0
	}
	q, subject := s.departments(), slot/2
	if s.level == middle {
		subject = (slot - 1) / 2
	}
	ok = slot > 0 && subject < 2 && cohort%5 == 2 && q > 1
	return subject*q + (cohort/6+1)%q, false, ok
}

// boundary returns where part i of n ends, moved by up to a fifth of a part, so
// that no two schools are of equal size. a and b name the division.
func (d *District) boundary(total, i, n, a, b int) int {
	if i <= 0 {
		return 0
	}
	if i >= n {
		return total
	}
	shift := int(d.hash(topicPlan, a, b*64+i)%401) - 200
	return total * (1000*i + shift) / (1000 * n)
}

// planSchools lays out feeder areas (a high school and the schools below it)
// one after the other; students are numbered in that order.
func (d *District) planSchools() {
	students := d.cfg.Students
	feeders := max(1, (students+2275)/4550)
	start := 0
	for f := range feeders {
		d.feederStart = append(d.feederStart, start)
		end := d.boundary(students, f+1, feeders, -1, 0)
		d.planFeeder(f, end-start)
		d.feederPerm = append(d.feederPerm, newPerm(end-start, d.hash(topicPerm, 1, f)))
		start = end
	}
	d.studentStart = make([]int, 0, len(d.schools))
	var t totals
	for i := range d.schools {
		s := &d.schools[i]
		d.studentStart = append(d.studentStart, t.students)
		d.staffStart = append(d.staffStart, t.staff)
		d.classStart = append(d.classStart, t.classes)
		d.enrollmentStart = append(d.enrollmentStart, t.enrollments)
		d.teacherStart = append(d.teacherStart, t.teachers)
		t.students += s.students
		t.staff += s.staff()
		t.teachers += s.teachers
		t.classes += s.classes()
		t.enrollments += s.enrollments()
	}
	d.total = t
}

func (d *District) planFeeder(f, students int) {
	var perGrade [13]int
	for g := range perGrade {
		perGrade[g] = d.boundary(students, g+1, 13, f, 0) - d.boundary(students, g, 13, f, 0)
	}
	for lv, shape := range levels {
		n := 0
		for g := range shape.grades {
			n += perGrade[shape.firstGrade+g]
		}
		count := max(1, (n+shape.schoolSize/2)/shape.schoolSize)
		for k := range count {
			s := school{level: level(lv), feeder: f}
			for g := range shape.grades {
				all := perGrade[shape.firstGrade+g]
				n := d.boundary(all, k+1, count, f, lv+1) - d.boundary(all, k, count, f, lv+1)
				s.gradeStart[g+1] = s.gradeStart[g] + n
				s.cohortStart[g+1] = s.cohortStart[g] + (n+cohortSize-1)/cohortSize
			}
			s.students, s.cohorts = s.gradeStart[shape.grades], s.cohortStart[shape.grades]
			if s.students == 0 {
				continue
			}
			switch s.level {
			case elementary:
				s.teachers, s.aides = s.cohorts+4*s.departments(), (s.cohorts+2)/3
			case middle:
				s.teachers, s.aides = 6*s.departments(), (s.cohorts+5)/6
			case high:
				s.teachers, s.aides = 7*s.departments(), (s.cohorts+5)/6
			}
			s.admins = 1 + (s.students+shape.perAdmin-1)/shape.perAdmin
			s.name = d.schoolName(len(d.schools), shape.name)
			d.schools = append(d.schools, s)
		}
	}
}

func (d *District) schoolName(i int, suffix string) string {
	name := schoolNames[(i+int(d.cfg.Seed%uint64(len(schoolNames))))%len(schoolNames)]
	if round := i / len(schoolNames); round > 0 {
		name += " " + strconv.Itoa(round+1)
	}
	return name + " " + suffix
}

// A block of families, repeated over the district: 14 families with 20
// children and 27 guardians. Only children can leave the district or carry a
// student's flaw, and have at least two guardians.
var (
	familySizes     = [...]int{1, 2, 1, 1, 2, 1, 3, 1, 1, 2, 1, 1, 2, 1}
	familyGuardians = [...]int{2, 1, 2, 2, 2, 3, 1, 2, 2, 2, 2, 2, 2, 2}
)

const (
	blockChildren  = 20
	blockFamilies  = len(familySizes)
	blockGuardians = 27
	blockSingles   = 9
	blockDoubles   = 4
	restGuardians  = 2 // of a family outside of the last full block
)

// block holds the running sums over one block.
var block = func() (b struct {
	child, guardian, single, double [blockFamilies]int
	childFamily                     [blockChildren]int
	guardianFamily                  [blockGuardians]int
},
) {
	var c, g, s, p int
	for f := range familySizes {
		b.child[f], b.guardian[f], b.single[f], b.double[f] = c, g, s, p
		for range familySizes[f] {
			b.childFamily[c] = f
			c++
		}
		for range familyGuardians[f] {
			b.guardianFamily[g] = f
			g++
		}
		switch familySizes[f] {
		case 1:
			s++
		case 2:
			p++
		}
	}
	return b
}()

// family is a set of siblings and their guardians.
type family struct {
	index         int
	child, size   int // its children stand at these places of the family order
	firstGuardian int
	guardians     int
	single        int // index among the families with one child, or -1
	double        int // index among the families with two children, or -1
}

func (d *District) family(i int) family {
	blocks := d.cfg.Students / blockChildren
	b, j := i/blockFamilies, i%blockFamilies
	if b >= blocks {
		k := i - blocks*blockFamilies
		return family{
			index: i, child: blocks*blockChildren + k, size: 1,
			firstGuardian: blocks*blockGuardians + restGuardians*k, guardians: restGuardians,
			single: blocks*blockSingles + k, double: -1,
		}
	}
	f := family{
		index: i, child: b*blockChildren + block.child[j], size: familySizes[j],
		firstGuardian: b*blockGuardians + block.guardian[j], guardians: familyGuardians[j],
		single: -1, double: -1,
	}
	switch f.size {
	case 1:
		f.single = b*blockSingles + block.single[j]
	case 2:
		f.double = b*blockDoubles + block.double[j]
	}
	return f
}

func (d *District) familyOfChild(place int) family {
	blocks := d.cfg.Students / blockChildren
	if b := place / blockChildren; b < blocks {
		return d.family(b*blockFamilies + block.childFamily[place%blockChildren])
	}
	return d.family(blocks*blockFamilies + place - blocks*blockChildren)
}

func (d *District) familyOfGuardian(g int) family {
	blocks := d.cfg.Students / blockChildren
	if b := g / blockGuardians; b < blocks {
		return d.family(b*blockFamilies + block.guardianFamily[g%blockGuardians])
	}
	return d.family(blocks*blockFamilies + (g-blocks*blockGuardians)/restGuardians)
}

// familyOfSingle is the inverse of family.single.
func (d *District) familyOfSingle(i int) family {
	blocks := d.cfg.Students / blockChildren
	if b := i / blockSingles; b < blocks {
		for j := range familySizes {
			if familySizes[j] == 1 && block.single[j] == i%blockSingles {
				return d.family(b*blockFamilies + j)
			}
		}
	}
	return d.family(blocks*blockFamilies + i - blocks*blockSingles)
}

// childAt returns the student who stands at a place of the family order.
// Siblings go to school in one feeder area.
func (d *District) childAt(place int) int {
	f := find(d.feederStart, place)
	return d.feederStart[f] + d.feederPerm[f].at(place-d.feederStart[f])
}

func (d *District) familyOfStudent(student int) family {
	f := d.schools[find(d.studentStart, student)].feeder
	return d.familyOfChild(d.feederStart[f] + d.feederPerm[f].rank(student-d.feederStart[f]))
}
