package rostergen

import (
	"iter"
	"slices"
	"strings"
)

const toBeDeleted = "tobedeleted"

// file describes one CSV file: how many places it has, and what row stands at
// a place on a day. A place may be empty.
type file struct {
	name    string
	columns []string
	places  func(*District) int
	row     func(d *District, day, place int, r []string) ([]string, bool)
}

func columns(s string) []string { return strings.Fields("sourcedId status dateLastModified " + s) }

const userExtension = " metadata.address metadata.city metadata.state metadata.zip"

// maxRoles is how many roles a user can have: guardians have one per school of
// their children.
const maxRoles = 3

var (
	orgsFile = file{"orgs", columns("name type identifier parentSourcedId"), (*District).orgs, (*District).orgRow}

	sessionsFile = file{
		"academicSessions", columns("title type startDate endDate parentSourcedId schoolYear"),
		func(d *District) int { return len(d.sessions) }, (*District).sessionRow,
	}
	coursesFile = file{
		"courses", columns("schoolYearSourcedId title courseCode grades orgSourcedId subjects subjectCodes"),
		func(d *District) int { return len(d.courses) }, (*District).courseRow,
	}
	classesFile = file{
		"classes", columns("title grades courseSourcedId classCode classType location schoolSourcedId termSourcedIds subjects subjectCodes periods"),
		func(d *District) int { return d.total.classes + d.programs }, (*District).classRow,
	}
	users1p1File = file{
		"users", columns("enabledUser orgSourcedIds role username userIds givenName familyName middleName identifier email sms phone " +
			"agentSourcedIds grades password" + userExtension), (*District).users, (*District).userRow1p1,
	}
	users1p2File = file{
		"users", columns("enabledUser username userIds givenName familyName middleName identifier email sms phone agentSourcedIds grades " +
			"password userMasterIdentifier preferredGivenName preferredMiddleName preferredFamilyName primaryOrgSourcedId pronouns" + userExtension),
		(*District).users, (*District).userRow1p2,
	}
	rolesFile = file{
		"roles", columns("userSourcedId roleType role beginDate endDate orgSourcedId userProfileSourcedId"),
		func(d *District) int { return maxRoles * d.users() }, (*District).roleRow,
	}
	enrollmentsFile = file{
		"enrollments", columns("classSourcedId schoolSourcedId userSourcedId role primary beginDate endDate"),
		(*District).enrollments, (*District).enrollmentRow,
	}
	demographicsFile = file{
		"demographics", columns("birthDate sex americanIndianOrAlaskaNative asian blackOrAfricanAmerican nativeHawaiianOrOtherPacificIslander " +
			"white demographicRaceTwoOrMoreRaces hispanicOrLatinoEthnicity countryOfBirthCode stateOfBirthAbbreviation cityOfBirth publicSchoolResidenceStatus"),
		func(d *District) int { return d.cfg.Students + d.cfg.Flaws.Counts[DemographicsUserMissing] }, (*District).demographicsRow,
	}

	files1p1 = []file{orgsFile, sessionsFile, coursesFile, classesFile, users1p1File, enrollmentsFile, demographicsFile}
	files1p2 = []file{orgsFile, sessionsFile, coursesFile, classesFile, users1p2File, rolesFile, enrollmentsFile, demographicsFile}
)

func (d *District) files() []file {
	if d.cfg.Version == V1p1 {
		return files1p1
	}
	return files1p2
}

// Files returns the names of the files the district can fill, without ".csv".
func (d *District) Files() []string {
	var names []string
	for _, f := range d.files() {
		names = append(names, f.name)
	}
	return names
}

// Columns returns the header of a file, nil for one that Files does not name.
func (d *District) Columns(name string) []string {
	for _, f := range d.files() {
		if f.name == name {
			return slices.Clone(f.columns)
		}
	}
	return nil
}

// Rows yields the rows of a file without its header; none for a file that
// Files does not name. The slice is reused, its strings are not.
func (d *District) Rows(name string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for _, f := range d.files() {
			if f.name == name {
				d.rows(f)(yield)
			}
		}
	}
}

func (d *District) rows(f file) iter.Seq[[]string] {
	if d.cfg.Delta {
		return d.deltaRows(f)
	}
	return func(yield func([]string) bool) {
		buf := make([]string, 0, len(f.columns))
		for place := range d.order(f) {
			row, ok := f.row(d, d.cfg.Day, place, buf)
			if ok && !yield(row) {
				return
			}
		}
	}
}

// order yields the places of a file.
func (d *District) order(f file) iter.Seq[int] {
	n := f.places(d)
	if !d.cfg.Shuffle {
		return func(yield func(int) bool) {
			for i := range n {
				if !yield(i) {
					return
				}
			}
		}
	}
	p := newPerm(n, d.hash(topicPerm, 7, d.cfg.Day))
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(p.at(i)) {
				return
			}
		}
	}
}

// change is what happened at one place since the day before. A row that is nil
// is not there; if both ids are the same, it is one record.
type change struct{ before, after []string }

// changes yields the places of a file whose rows differ from the day before.
func (d *District) changes(f file) iter.Seq[change] {
	return func(yield func(change) bool) {
		before, after := make([]string, 0, len(f.columns)), make([]string, 0, len(f.columns))
		for place := range d.order(f) {
			var c change
			if row, ok := f.row(d, d.cfg.Day-1, place, before); ok {
				c.before = row
			}
			if row, ok := f.row(d, d.cfg.Day, place, after); ok {
				c.after = row
			}
			if !slices.Equal(c.before, c.after) && !yield(c) {
				return
			}
		}
	}
}

func (c change) updated() bool {
	return c.before != nil && c.after != nil && c.before[0] == c.after[0]
}

func (d *District) deltaRows(f file) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for c := range d.changes(f) {
			if c.before != nil && !c.updated() {
				c.before[1], c.before[2] = toBeDeleted, d.modified
				if !yield(c.before) {
					return
				}
			}
			if c.after != nil {
				if c.after[1] == "" {
					c.after[1] = "active"
				}
				c.after[2] = d.modified
				if !yield(c.after) {
					return
				}
			}
		}
	}
}

// stamp returns dateLastModified, which goes with a status.
func (d *District) stamp(status string) string {
	if status == "" {
		return ""
	}
	return d.cfg.ReferenceDate.UTC().Format(dateLayout) + "T03:00:00.000Z"
}

// role1p1 returns the role that 1.1 has for a role of 1.2.
func role1p1(role string) string {
	switch role {
	case "principal", "siteAdministrator", "districtAdministrator", "systemAdministrator":
		return "administrator"
	}
	return role
}

func (d *District) userRow1p1(day, i int, r []string) ([]string, bool) {
	u, ok := d.user(i, day)
	if !ok {
		return r, false
	}
	return append(r, u.id, u.status, d.stamp(u.status), "true", strings.Join(u.orgs, ","), role1p1(u.role), u.username, u.userIDs,
		u.given, u.family, u.middle, u.identifier, u.email, u.sms, u.phone, u.agents, u.grades, "",
		u.address, u.city, u.state, u.zip), true
}

func (d *District) userRow1p2(day, i int, r []string) ([]string, bool) {
	u, ok := d.user(i, day)
	if !ok {
		return r, false
	}
	return append(r, u.id, u.status, d.stamp(u.status), "true", u.username, u.userIDs, u.given, u.family, u.middle,
		u.identifier, u.email, u.sms, u.phone, u.agents, u.grades, "", "", "", "", "", u.orgs[0], "",
		u.address, u.city, u.state, u.zip), true
}

func (d *District) roleRow(day, i int, r []string) ([]string, bool) {
	place, k := i/maxRoles, i%maxRoles
	if k > 0 && place < d.cfg.Students && d.programs == 0 {
		return r, false // saves making up most students three times
	}
	u, ok := d.user(place, day)
	if !ok || k >= len(u.orgs) {
		return r, false
	}
	kind := "primary"
	if k > 0 {
		kind = "secondary"
	}
	// A successor in the same place has another id, and so have its roles.
	incarnation := 0
	switch {
	case place < d.cfg.Students:
		incarnation = d.seat(place, day).incarnation
	case u.role == "guardian" || u.role == "parent":
		if g := place - (d.users() - d.extras.used - d.guardians); g < d.guardians {
			incarnation = d.familySeat(d.familyOfGuardian(g), day).incarnation
		}
	}
	return append(r, d.id(idRole, incarnation, i), u.status, d.stamp(u.status), u.id, kind, u.role, "", "", u.orgs[k], ""), true
}
