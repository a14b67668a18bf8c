package replica

// Changed is a row that differs from what it was.
type Changed[R any] struct {
	Row uint32
	Old R
}

// Changes are the rows that were written since Track or the last Changes, once
// each, as they were before.
type Changes struct {
	Orgs        []Changed[Org]
	Sessions    []Changed[Session]
	Courses     []Changed[Course]
	Classes     []Changed[Class]
	Users       []Changed[User]
	Enrollments []Changed[Enrollment]
}

// tracker notes the rows of a table that change.
type tracker[R any] struct {
	on    bool
	list  []Changed[R]
	noted []uint64 // a bit for each row in list
}

func (t *tracker[R]) note(row uint32, old R) {
	if !t.on {
		return
	}
	word, bit := int(row/64), uint64(1)<<(row%64)
	for len(t.noted) <= word {
		t.noted = append(t.noted, make([]uint64, word+1-len(t.noted))...)
	}
	if t.noted[word]&bit == 0 {
		t.noted[word] |= bit
		t.list = append(t.list, Changed[R]{row, old})
	}
}

// take returns what was noted and forgets it.
func (t *tracker[R]) take() []Changed[R] {
	list := t.list
	*t = tracker[R]{on: true}
	return list
}

// Track begins to note changes.
func (r *Replica) Track() { r.Changes() }

// Changes returns what was noted since the last call and forgets it.
func (r *Replica) Changes() Changes {
	return Changes{
		Orgs: r.Orgs.changes.take(), Sessions: r.Sessions.changes.take(), Courses: r.Courses.changes.take(),
		Classes: r.Classes.changes.take(), Users: r.Users.changes.take(), Enrollments: r.Enrollments.changes.take(),
	}
}
