package rostergen

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPermIsABijection(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 4, 5, 17, 64, 65, 1000, 4096, 10_007} {
		for key := range uint64(4) {
			p := newPerm(n, mix(key+99))
			seen := make([]bool, n)
			for i := range n {
				x := p.at(i)
				require.False(t, seen[x])
				seen[x] = true
				require.Equal(t, i, p.rank(x))
			}
		}
	}
}

func TestFamiliesPartitionStudentsAndGuardians(t *testing.T) {
	t.Parallel()
	d, err := New(Config{Students: 2009})
	require.NoError(t, err)
	children, guardians := map[int]bool{}, 0
	for i := range 100*blockFamilies + 9 {
		f := d.family(i)
		require.Equal(t, guardians, f.firstGuardian)
		for g := range f.guardians {
			require.Equal(t, f, d.familyOfGuardian(f.firstGuardian+g))
		}
		guardians += f.guardians
		if f.single >= 0 {
			require.Equal(t, f, d.familyOfSingle(f.single))
			require.GreaterOrEqual(t, f.guardians, 2)
		}
		for k := range f.size {
			student := d.childAt(f.child + k)
			require.False(t, children[student])
			children[student] = true
			require.Equal(t, f, d.familyOfStudent(student))
		}
	}
	require.Len(t, children, 2009)
	require.Equal(t, d.guardians, guardians)
}

// TestTimetable proves that nobody has to be in two classes at once.
func TestTimetable(t *testing.T) {
	t.Parallel()
	d, err := New(Config{Students: 5000})
	require.NoError(t, err)
	for at := range d.schools {
		s := &d.schools[at]
		if s.level == elementary {
			continue
		}
		type hour struct{ who, term, period int }
		taught, attended := map[hour]bool{}, map[hour]bool{}
		for cohort := range s.cohorts {
			for slot := range s.slots() {
				require.Less(t, s.teacherOf(cohort, slot), s.teachers)
				if staff, _, ok := s.secondOf(cohort, slot); ok {
					require.Less(t, staff, s.teachers+s.aides)
					require.NotEqual(t, s.teacherOf(cohort, slot), staff)
				}
				row, ok := d.classRow(1, d.classStart[at]+cohort*s.slots()+slot, nil)
				require.True(t, ok)
				if period := row[len(row)-1]; period != "" {
					h := hour{s.teacherOf(cohort, slot), termOf(s.level, slot), int(period[0])}
					require.False(t, taught[h], "teacher %v", h)
					taught[h] = true
					h.who = cohort
					require.False(t, attended[h], "cohort %v", h)
					attended[h] = true
				}
			}
		}
	}
}
