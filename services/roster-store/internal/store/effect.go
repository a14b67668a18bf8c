package store

// Effect says what the changes of a plan mean for a district or a school. People
// and classes are counted, not records. Before is Base, after what the commit
// would make; only active records count.
type Effect struct {
	// Active records before, by entity. For a school only of entities that the
	// plan changes something of for it.
	Active map[Entity]int
	// Students before. Emails are the users with one before, 0 if they were not
	// counted because few lose theirs.
	Students, Emails int
	// Teachers before; for a school 0 if none of its own loses enrollments.
	Teachers int
	Signals
}

// Signals are what looks like an accident of a source.
type Signals struct {
	// EmailsBlanked are users who had an email and have none.
	EmailsBlanked int
	// UsersRekeyed are users who are removed while the same person is created
	// under another id.
	UsersRekeyed int
	// RolesFlipped are users who have kept none of their role families.
	RolesFlipped int
	// ManyGuardians are students who come to have six or more agents that are no
	// emergency contacts.
	ManyGuardians int
	// EmergencyTurned are students with an agent who was an emergency contact and
	// now is something else.
	EmergencyTurned int
	// SessionsEnded are academic sessions whose end moves into the past.
	SessionsEnded int
	// ClassesHalved are classes that keep less than half of five or more students.
	ClassesHalved int
	// LosingEnrollments are students who lose more enrollments than they get.
	LosingEnrollments int
	// TeachersLosing are people who lose more enrollments as anything but a
	// student than they get.
	TeachersLosing int
}

// Add returns the sum.
func (s Signals) Add(o Signals) Signals {
	return Signals{
		EmailsBlanked:     s.EmailsBlanked + o.EmailsBlanked,
		UsersRekeyed:      s.UsersRekeyed + o.UsersRekeyed,
		RolesFlipped:      s.RolesFlipped + o.RolesFlipped,
		ManyGuardians:     s.ManyGuardians + o.ManyGuardians,
		EmergencyTurned:   s.EmergencyTurned + o.EmergencyTurned,
		SessionsEnded:     s.SessionsEnded + o.SessionsEnded,
		ClassesHalved:     s.ClassesHalved + o.ClassesHalved,
		LosingEnrollments: s.LosingEnrollments + o.LosingEnrollments,
		TeachersLosing:    s.TeachersLosing + o.TeachersLosing,
	}
}
