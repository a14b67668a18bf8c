package guardian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/platform/record"
)

// sortMemory bounds what each of the six buffers of a match's sorts holds in
// memory; no more than four of them are full at the same time.
const sortMemory = 8 << 20

// maxLinks bounds the students of a guardian and the rows of a student: what has
// more is a value that stands for nobody, "none" for example.
const maxLinks = 100

// maxUsers bounds the users that one key may stand for.
const maxUsers = 16

// Input of Match.
type Input struct {
	File     File
	Columns  *Columns
	Settings *ingestv1.GuardianFile
	District string
	// Source is the id of the source, noted on relationships.
	Source string
	Report *finding.Report
	// Users are those of the district's other sources, in the order of their ids.
	// They are read twice.
	Users iter.Seq2[layer.Entry, error]
	// TempDir is for sorting.
	TempDir string
	// Rows is told how many rows were read.
	Rows func(n int)
}

// Match reads the file and gives out what it says of users, in the order of their
// ids: whole records of guardians whom nobody else has, and overlays.
func Match(ctx context.Context, in Input, give func(layer.Entry) error) (_ *ingestv1.GuardianReport, err error) {
	m := &matching{Input: in, report: &ingestv1.GuardianReport{}}
	for _, s := range []**layer.Sorter{&m.byKey, &m.byGuardian, &m.byEmail, &m.byUser} {
		*s = layer.NewSorter(in.TempDir, sortMemory)
		defer func() { err = errors.Join(err, (*s).Close()) }()
	}
	// What was gone through is given up before the next sort is full.
	done := func(s *layer.Sorter) func(context.Context) error {
		return func(context.Context) error { return s.Close() }
	}
	for _, step := range []func(context.Context) error{m.read, m.students, done(m.byKey), m.guardians, done(m.byGuardian), m.emails} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	if err := m.users(ctx, give); err != nil {
		return nil, err
	}
	r := m.report
	r.RejectedRows = int32(in.Report.Rejected()) - r.UnmatchedRows
	r.MatchPercent = percent(r.GetMatchedRows(), r.GetRows())
	return r, nil
}

func percent(part, of int32) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) * 100 / float64(of)
}

// matching is one call of Match. Its sorts bring together what belongs together:
// students and rows that have the same key, rows of the same guardian, users with
// the same email address, and what there is to say of the same user.
type matching struct {
	Input
	report                             *ingestv1.GuardianReport
	byKey, byGuardian, byEmail, byUser *layer.Sorter
}

// The parts of what is sorted, in their order.
const (
	partUser layer.Part = iota
	partRow
	partUnmatched
)

// read sorts the rows by the keys of their students.
func (m *matching) read(ctx context.Context) error {
	out := m.byKey.Buffer()
	defer out.Close()
	r := reader{c: m.Columns, report: m.Report, source: m.Source}
	return m.File.each(ctx, m.Columns, m.Settings.GetNoHeader(), m.Report, func(number int, fields []string) error {
		m.report.Rows++
		m.Rows(1)
		u, ok := r.read(number, fields)
		if !ok {
			return nil
		}
		return add(out, m.canonical(u.GetAgents()[0].GetSourcedId()), partRow, number, u)
	})
}

func add(to *layer.Buffer, id string, part layer.Part, row int, m proto.Message) error {
	body, err := encode(m)
	if err != nil {
		return err
	}
	return to.Add(layer.Item{ID: []byte(id), Part: part, Row: row, Body: body})
}

func encode(m proto.Message) ([]byte, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode what a guardian file says: %w", err)
	}
	return body, nil
}

func decode(body []byte, m proto.Message) error {
	if err := proto.Unmarshal(body, m); err != nil {
		return fmt.Errorf("decode what a guardian file says: %w", err)
	}
	return nil
}

// canonical is what keys are compared by.
func (m *matching) canonical(key string) string {
	return canonical(key, m.Settings.GetIgnoreLeadingZeros())
}

func canonical(key string, ignoreZeros bool) string {
	if !ignoreZeros || strings.Trim(key, "0123456789") != "" {
		return key
	}
	if short := strings.TrimLeft(key, "0"); short != "" {
		return short
	}
	return "0"
}

// keys returns what a student is known by.
func keys(u *typev1.User, by ingestv1.GuardianKey) []string {
	var out []string
	switch by {
	case ingestv1.GuardianKey_IDENTIFIER:
		out = []string{u.GetIdentifier()}
	case ingestv1.GuardianKey_EMAIL:
		out = []string{u.GetEmail()}
	case ingestv1.GuardianKey_USER_ID:
		for _, id := range u.GetUserIds() {
			out = append(out, id.GetIdentifier())
		}
		slices.Sort(out)
		out = slices.Compact(out)
	default:
		out = []string{u.GetSourcedId()}
	}
	return slices.DeleteFunc(out, func(key string) bool { return key == "" })
}

// user decodes a user that is not deleted; nil if it is.
func user(e layer.Entry) (*typev1.User, error) {
	if e.Deleted {
		return nil, nil
	}
	rec := &typev1.Record{}
	if err := proto.Unmarshal(e.Body, rec); err != nil {
		return nil, fmt.Errorf("%w: %w", layer.ErrDamaged, err)
	}
	return rec.GetUser(), nil
}

// students finds the students of the rows, and sorts the rows by guardians.
func (m *matching) students(ctx context.Context) error {
	if err := m.indexStudents(ctx); err != nil {
		return err
	}
	out := m.byGuardian.Buffer()
	defer out.Close()
	var students []*typev1.User
	var rows []*row
	total := 0
	finish := func() error {
		if total > maxLinks {
			for _, r := range rows {
				m.tooMany(r.number)
			}
			rows = nil
		}
		for _, r := range rows {
			if err := m.link(out, r, students); err != nil {
				return err
			}
		}
		students, rows, total = nil, rows[:0], 0
		return nil
	}
	for it, err := range groups(m.byKey, finish) {
		switch {
		case err != nil:
			return err
		case it.Part == partUser:
			if len(students) <= maxUsers {
				u := &typev1.User{}
				if err := decode(it.Body, u); err != nil {
					return err
				}
				students = append(students, u)
			}
			continue
		}
		if len(students) == 0 {
			if err := m.unmatched(out, it, "student-unknown", "no active student of the district's other sources has the value"); err != nil {
				return err
			}
			continue
		}
		if total++; total > maxLinks {
			m.tooMany(it.Row)
			continue
		}
		r := &row{number: it.Row, said: &typev1.User{}}
		if err := decode(it.Body, r.said); err != nil {
			return err
		}
		rows = append(rows, r)
	}
	return finish()
}

// row is one row of a group.
type row struct {
	number int
	said   *typev1.User
}

// groups yields the items of a sorter, and calls finish before each that has
// another id than the one before.
func groups(s *layer.Sorter, finish func() error) iter.Seq2[layer.Item, error] {
	return func(yield func(layer.Item, error) bool) {
		var last []byte
		first := true
		for it, err := range s.Items() {
			if err == nil && !first && !bytes.Equal(last, it.ID) {
				err = finish()
			}
			if !yield(it, err) || err != nil {
				return
			}
			last, first = append(last[:0], it.ID...), false
		}
	}
}

func (m *matching) tooMany(number int) {
	m.report.UnmatchedRows++
	m.Report.Reject("student-rows", number, m.Columns.name(Student), "",
		fmt.Sprintf("more than %d rows name the same student: the value stands for no single one", maxLinks))
}

// unmatched rejects a row for its student, and remembers its guardian.
func (m *matching) unmatched(out *layer.Buffer, it layer.Item, code, message string) error {
	said := &typev1.User{}
	if err := decode(it.Body, said); err != nil {
		return err
	}
	return m.noStudent(out, &row{number: it.Row, said: said}, code, message)
}

func (m *matching) noStudent(out *layer.Buffer, r *row, code, message string) error {
	m.report.UnmatchedRows++
	m.Report.Reject(code, r.number, m.Columns.name(Student), r.said.GetSourcedId(), message)
	if r.said.GetSourcedId() == "" {
		return nil
	}
	return out.Add(layer.Item{ID: []byte(r.said.GetSourcedId()), Part: partUnmatched, Row: r.number})
}

// indexStudents sorts active students by their keys, and the email addresses of
// staff.
func (m *matching) indexStudents(ctx context.Context) error {
	out, emails := m.byKey.Buffer(), m.byEmail.Buffer()
	defer out.Close()
	defer emails.Close()
	for e, err := range m.Users {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		u, err := user(e)
		if err != nil {
			return err
		}
		if isStaff(u) && u.GetEmail() != "" {
			if err := emails.Add(layer.Item{ID: []byte(strings.ToLower(u.GetEmail())), Part: partUser, Body: []byte(u.GetSourcedId())}); err != nil {
				return err
			}
		}
		if !isStudent(u) {
			continue
		}
		short := &typev1.User{SourcedId: u.GetSourcedId(), GivenName: u.GetGivenName(), FamilyName: u.GetFamilyName(), Roles: guardianRoles(u)}
		for _, key := range keys(u, m.Settings.GetStudentKey()) {
			short.Username = key
			if err := add(out, m.canonical(key), partUser, 0, short); err != nil {
				return err
			}
		}
	}
	return nil
}

func isStudent(u *typev1.User) bool { return record.HasFamily(u, record.FamilyStudent) }

func isStaff(u *typev1.User) bool {
	return record.HasFamily(u, record.FamilyTeacher) || record.HasFamily(u, record.FamilyAide) || record.HasFamily(u, record.FamilyAdministrator)
}

// guardianRoles are those that a student's guardian has: one at each of its
// schools.
func guardianRoles(student *typev1.User) []*typev1.Role {
	var out []*typev1.Role
	for _, r := range student.GetRoles() {
		if record.FamilyOf(r.GetRole()) == record.FamilyStudent && len(out) < maxUsers {
			out = append(out, &typev1.Role{RoleType: "primary", Role: "guardian", Org: r.GetOrg()})
		}
	}
	return out
}

// link passes a row on to its guardian, with the users that its student is.
func (m *matching) link(out *layer.Buffer, r *row, students []*typev1.User) error {
	said := r.said
	link := said.GetAgents()[0]
	// Where zeros do not count, the value as it is counts more.
	exact := slices.DeleteFunc(slices.Clone(students), func(u *typev1.User) bool { return u.GetUsername() != link.GetSourcedId() })
	if len(exact) > 0 {
		students = exact
	}
	for _, u := range students {
		// A person may be several users, one per school.
		if !samePerson(u, students[0]) || len(students) > maxUsers {
			return m.noStudent(out, r, "student-ambiguous", "several students have the value, and nobody can tell whose guardian this is")
		}
	}
	ids := make([]string, 0, len(students))
	said.Agents, said.Roles = nil, nil
	for _, u := range students {
		ids = append(ids, u.GetSourcedId())
		l := proto.CloneOf(link)
		l.SourcedId = u.GetSourcedId()
		said.Agents, said.Roles = append(said.Agents, l), append(said.Roles, u.GetRoles()...)
	}
	id := said.GetSourcedId()
	if id == "" {
		id = derivedID(m.District, slices.Min(ids), said)
		m.Report.Notice("guardian-id-derived", r.number, m.Columns.name(Guardian),
			"the row has no id for the guardian, who was given one by student, name and email or phone number: such a guardian is another one when these change")
	}
	if slices.Contains(ids, id) {
		m.Report.Reject("guardian-is-student", r.number, m.Columns.name(Guardian), id, "the row makes a student its own guardian")
		return nil
	}
	m.report.MatchedRows++
	return add(out, id, partRow, r.number, said)
}

func samePerson(a, b *typev1.User) bool {
	return strings.EqualFold(a.GetGivenName(), b.GetGivenName()) && strings.EqualFold(a.GetFamilyName(), b.GetFamilyName())
}

// emails looks for guardians who share an address, with each other or with staff.
func (m *matching) emails(context.Context) error {
	var staff, guardians []string // few of each are of interest
	second, first := 0, 0
	finish := func() error {
		if len(guardians) > 1 {
			m.report.SharedEmails++
			m.Report.Value("email-shared", second, m.Columns.name(Email), guardians[1], "another guardian id has the same email address: correct it, or use one id for one person")
		}
		if len(guardians) > 0 && slices.ContainsFunc(staff, func(id string) bool { return id != guardians[0] }) {
			m.report.StaffEmails++
			m.Report.Value("email-of-staff", first, m.Columns.name(Email), guardians[0], "a member of staff has the same email address: they are two users, and products that go by email may take one for the other")
		}
		staff, guardians, second, first = nil, nil, 0, 0
		return nil
	}
	for it, err := range groups(m.byEmail, finish) {
		if err != nil {
			return err
		}
		switch {
		case it.Part == partUser && len(staff) < 2:
			staff = append(staff, string(it.Body))
		case it.Part == partRow && len(guardians) < 2:
			if guardians = append(guardians, string(it.Body)); len(guardians) == 1 {
				first = it.Row
			} else {
				second = it.Row
			}
		}
	}
	return finish()
}

// users gives out what there is to say of each user.
func (m *matching) users(ctx context.Context, give func(layer.Entry) error) error {
	var u *typev1.User
	var id []byte
	overlay, linked := true, false
	finish := func() error {
		if u == nil {
			return nil
		}
		slices.SortFunc(u.Agents, compareLinks)
		rec := &typev1.Record{Record: &typev1.Record_User{User: u}}
		body, err := encode(rec)
		if err != nil {
			return err
		}
		e := layer.Entry{ID: id, Hash: record.HashOf(rec), Overlay: overlay, Body: body}
		u, overlay, linked = nil, true, false
		if err := ctx.Err(); err != nil {
			return err
		}
		return give(e)
	}
	for it, err := range groups(m.byUser, finish) {
		if err != nil {
			return err
		}
		if u == nil {
			id = append(id[:0], it.ID...)
			u = &typev1.User{SourcedId: string(it.ID), Status: record.StatusActive}
		}
		if it.Part == partUser {
			if err := decode(it.Body, u); err != nil {
				return err
			}
			overlay = it.Overlay
			continue
		}
		link := &typev1.Relationship{}
		if err := decode(it.Body, link); err != nil {
			return err
		}
		if !linked {
			m.report.Students++
			linked = true
		}
		if !slices.ContainsFunc(u.GetAgents(), func(a *typev1.Relationship) bool { return a.GetSourcedId() == link.GetSourcedId() }) {
			u.Agents = append(u.Agents, link)
		}
	}
	return finish()
}
