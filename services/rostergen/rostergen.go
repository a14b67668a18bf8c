// Package rostergen makes up school districts of any size, up to a million
// students, as OneRoster CSV 1.1 or 1.2, for demos, tests and benchmarks.
//
// Everything is a pure function of the Config: the record at any place of any
// file, on any day, is worked out from its number alone, so that memory does
// not grow with the district, a file can be written in any order, and two
// machines write the same bytes. Only a few hundred bytes per school are kept.
//
// Flaws are put in by count, each at places that no other flaw uses, so that
// the findings of every readiness check are known beforehand: see Expected.
// All names are invented and all domains end in ".example".
package rostergen

import (
	"fmt"
	"strings"
	"time"
)

// Versions of OneRoster that can be written.
const (
	V1p1 = "1.1"
	V1p2 = "1.2"
)

const (
	minStudents = 50
	maxStudents = 1_000_000
	maxDay      = 100 // keeps incarnations far below the reserved one
)

// Config describes a district. The zero value of each field but Students
// stands for the default named there.
type Config struct {
	Seed     uint64
	Students int    // on day one, 50 to 1,000,000
	Version  string // V1p2 by default

	// Day 1 (the default) is the beginning. On each later day about
	// ChangeShare (0 to 1) of the records change: most are edited, some
	// students leave with their families, and others come in their place.
	Day         int
	ChangeShare float64
	// Delta writes only what changed since the day before, with status and
	// dateLastModified; otherwise an export is complete and leaves them blank.
	Delta bool

	Shuffle bool // write the rows of each file in an order of no meaning
	Flaws   Flaws

	// ReferenceDate is "today": it lies in the current school year.
	// By default 14 October 2026.
	ReferenceDate time.Time
}

// totals counts places, taken or not.
type totals struct{ students, staff, teachers, classes, enrollments int }

// District is a made-up district, ready to be written. It is immutable and
// safe for concurrent use.
type District struct {
	cfg          Config
	name, domain string

	schools         []school
	studentStart    []int
	staffStart      []int
	teacherStart    []int
	classStart      []int
	enrollmentStart []int
	poolStart       []int // of the classes that may carry a flaw
	feederStart     []int
	feederPerm      []perm
	total           totals
	guardians       int
	programs        int // schools that lack teacher or student enrollments

	ids                                                [idKinds]perm
	singles, doubles, teacherPool, classPool, endDates pool
	extras                                             pool

	courses  []course
	sessions []session
	modified string // dateLastModified of what changes on the day
}

// New plans a district. It fails on a Config that contradicts itself or asks
// for more flaws than a district of that size has room for.
func New(cfg Config) (*District, error) {
	if cfg.Version == "" {
		cfg.Version = V1p2
	}
	if cfg.Day == 0 {
		cfg.Day = 1
	}
	if cfg.ReferenceDate.IsZero() {
		cfg.ReferenceDate = time.Date(2026, time.October, 14, 0, 0, 0, 0, time.UTC)
	}
	switch {
	case cfg.Students < minStudents || cfg.Students > maxStudents:
		return nil, fmt.Errorf("rostergen: %d students: choose %d to %d", cfg.Students, minStudents, maxStudents)
	case cfg.Version != V1p1 && cfg.Version != V1p2:
		return nil, fmt.Errorf("rostergen: OneRoster version %q: choose %s or %s", cfg.Version, V1p1, V1p2)
	case cfg.Day < 1 || cfg.Day > maxDay:
		return nil, fmt.Errorf("rostergen: day %d: choose 1 to %d", cfg.Day, maxDay)
	case !(cfg.ChangeShare >= 0 && cfg.ChangeShare <= 1):
		return nil, fmt.Errorf("rostergen: change share %v: choose 0 to 1", cfg.ChangeShare)
	case cfg.Delta && cfg.Day == 1:
		return nil, fmt.Errorf("rostergen: there is nothing before day 1 that a delta could change: choose a later day")
	}
	d := &District{cfg: cfg}
	d.name = districtNames[cfg.Seed%uint64(len(districtNames))]
	d.domain = strings.ToLower(strings.ReplaceAll(d.name, " ", "")) + ".example"
	d.modified = cfg.ReferenceDate.UTC().AddDate(0, 0, cfg.Day-1).Format("2006-01-02") + "T03:00:00.000Z"
	for k := range d.ids {
		d.ids[k] = newPerm(1<<idBits, d.hash(topicID, k, 0))
	}
	d.planSchools()
	blocks, rest := cfg.Students/blockChildren, cfg.Students%blockChildren
	d.guardians = blocks*blockGuardians + rest*restGuardians
	d.planCourses()
	d.planSessions()
	if err := d.assignFlaws(); err != nil {
		return nil, fmt.Errorf("rostergen: %w", err)
	}
	return d, nil
}
