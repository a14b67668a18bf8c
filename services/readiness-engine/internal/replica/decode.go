package replica

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// A replica reads records from their encoding: making a million messages only to
// copy six numbers out of each would take most of the time of a report. The
// field numbers below are those of type/v1/record.proto; a test compares what is
// read here with the generated code.
const (
	fieldID     = 1
	fieldStatus = 2
)

// errEncoding is a record that is no encoded type.v1.Record.
var errEncoding = errors.New("malformed record")

// decoder holds the lists of the record that is being read.
type decoder struct {
	terms   []SessionRow
	grades  []Text
	roles   []Role
	agents  []Agent
	persons []Text
	key     []byte
	merged  []byte
}

// fields calls f with each field of b that holds text or a message.
func fields(b []byte, f func(field protowire.Number, value []byte) error) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errEncoding
		}
		b = b[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
				return errEncoding
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return errEncoding
		}
		b = b[n:]
		if err := f(field, value); err != nil {
			return err
		}
	}
	return nil
}

// refID returns the id in an encoded Ref.
func refID(b []byte) (id []byte, err error) {
	err = fields(b, func(field protowire.Number, value []byte) error {
		if field == 1 {
			id = value
		}
		return nil
	})
	return id, err
}

func stateOf(status []byte) State {
	if string(status) == record.StatusToBeDeleted {
		return Removed
	}
	return Active
}

func (r *Replica) text(b []byte) Text {
	n, _ := r.texts.number(b)
	return Text(n)
}

// Apply takes over an encoded type.v1.Record: new, changed or removed.
func (r *Replica) Apply(encoded []byte) error {
	entity, body, err := r.inner(encoded)
	if err == nil {
		err = r.apply(entity, body)
	}
	if err != nil {
		return fmt.Errorf("read record: %w", err)
	}
	return nil
}

// inner returns the one field of a Record. It may occur more than once and is then merged, as every
// protobuf reader does: the store adds a date to a record without decoding it.
func (r *Replica) inner(encoded []byte) (entity typev1.Entity, body []byte, err error) {
	err = fields(encoded, func(field protowire.Number, value []byte) error {
		switch {
		case entity == 0:
			entity, body = typev1.Entity(field), value
		case entity != typev1.Entity(field):
			return errEncoding
		default:
			r.scratch.merged = append(append(r.scratch.merged[:0], body...), value...)
			body = r.scratch.merged
		}
		return nil
	})
	if err == nil && entity == 0 {
		err = errEncoding
	}
	return entity, body, err
}

func (r *Replica) apply(entity typev1.Entity, body []byte) error {
	id, status, err := identity(body)
	if err != nil {
		return err
	}
	if len(id) == 0 {
		return errEncoding
	}
	r.loaded++
	switch entity {
	case typev1.Entity_ENTITY_ORGS:
		return r.applyOrg(id, stateOf(status), body)
	case typev1.Entity_ENTITY_ACADEMIC_SESSIONS:
		return r.applySession(id, stateOf(status), body)
	case typev1.Entity_ENTITY_COURSES:
		return r.applyCourse(id, stateOf(status), body)
	case typev1.Entity_ENTITY_CLASSES:
		return r.applyClass(id, stateOf(status), body)
	case typev1.Entity_ENTITY_USERS:
		return r.applyUser(id, stateOf(status), body)
	case typev1.Entity_ENTITY_ENROLLMENTS:
		return r.applyEnrollment(id, stateOf(status), body)
	case typev1.Entity_ENTITY_DEMOGRAPHICS:
		row := r.Users.row(id)
		u := r.Users.Rows[row]
		u.Flags &^= HasDemographics
		if stateOf(status) == Active {
			u.Flags |= HasDemographics
		}
		r.Users.set(row, u)
		return nil
	}
	return fmt.Errorf("%w: unknown entity %d", errEncoding, entity)
}

// identity finds id and status.
func identity(body []byte) (id, status []byte, err error) {
	err = fields(body, func(field protowire.Number, v []byte) error {
		switch field {
		case fieldID:
			id = v
		case fieldStatus:
			status = v
		}
		return nil
	})
	return id, status, err
}

// replacing counts a row that is written over.
func (r *Replica) replacing(s State) {
	if s != Unknown {
		r.replaced++
	}
}

func (r *Replica) applyOrg(id []byte, state State, body []byte) error {
	row := r.Orgs.row(id)
	r.replacing(r.Orgs.Rows[row].State)
	o := Org{State: state}
	err := fields(body, func(field protowire.Number, v []byte) error {
		switch field {
		case 5:
			o.Name = r.text(v)
		case 6:
			o.Type = r.text(bytes.ToLower(v))
		}
		return nil
	})
	r.Orgs.set(row, o)
	return err
}

func (r *Replica) applySession(id []byte, state State, body []byte) error {
	row := r.Sessions.row(id)
	r.replacing(r.Sessions.Rows[row].State)
	s := Session{State: state}
	err := fields(body, func(field protowire.Number, v []byte) error {
		switch field {
		case 5:
			s.Title = r.text(v)
		case 6:
			s.Type = r.text(v)
		case 7:
			s.Start = r.text(v)
		case 8:
			s.End = r.text(v)
		case 9:
			ref, err := refID(v)
			s.Parent = SessionRow(r.Sessions.row(ref))
			return err
		}
		return nil
	})
	r.Sessions.set(row, s)
	return err
}

func (r *Replica) applyCourse(id []byte, state State, body []byte) error {
	row := r.Courses.row(id)
	r.replacing(r.Courses.Rows[row].State)
	c := Course{State: state}
	err := fields(body, func(field protowire.Number, v []byte) error {
		if field == 5 {
			c.Title = r.text(v)
		}
		return nil
	})
	r.Courses.set(row, c)
	return err
}

func (r *Replica) applyClass(id []byte, state State, body []byte) error {
	row := r.Classes.row(id)
	old := r.Classes.Rows[row]
	r.replacing(old.State)
	c := Class{State: state}
	d := &r.scratch
	d.terms, d.grades = d.terms[:0], d.grades[:0]
	err := fields(body, func(field protowire.Number, v []byte) error {
		switch field {
		case 5:
			c.Title = r.text(v)
		case 9:
			d.grades = append(d.grades, r.text(v))
		case 11:
			ref, err := refID(v)
			c.Course = CourseRow(r.Courses.row(ref))
			return err
		case 12:
			ref, err := refID(v)
			c.School = OrgRow(r.Orgs.row(ref))
			return err
		case 13:
			ref, err := refID(v)
			if term := SessionRow(r.Sessions.row(ref)); term != 0 {
				d.terms = append(d.terms, term)
			}
			return err
		}
		return nil
	})
	c.terms, c.grades = r.terms.put(old.terms, d.terms), r.grades.put(old.grades, d.grades)
	r.Classes.set(row, c)
	return err
}

func (r *Replica) applyEnrollment(id []byte, state State, body []byte) error {
	row := r.Enrollments.row(id)
	r.replacing(r.Enrollments.Rows[row].State)
	e := Enrollment{State: state}
	err := fields(body, func(field protowire.Number, v []byte) error {
		switch field {
		case 5:
			ref, err := refID(v)
			e.User = UserRow(r.Users.row(ref))
			return err
		case 6:
			ref, err := refID(v)
			e.Class = ClassRow(r.Classes.row(ref))
			return err
		case 7:
			ref, err := refID(v)
			e.School = OrgRow(r.Orgs.row(ref))
			return err
		case 8:
			e.Family = r.family(r.text(v))
		case 11:
			e.HasEndDate = !blank(v)
		}
		return nil
	})
	r.Enrollments.set(row, e)
	return err
}

func (r *Replica) applyUser(id []byte, state State, body []byte) error {
	row := r.Users.row(id)
	old := r.Users.Rows[row]
	r.replacing(old.State)
	u := User{State: state, Flags: old.Flags & HasDemographics}
	d := &r.scratch
	d.roles, d.agents, d.grades, d.persons = d.roles[:0], d.agents[:0], d.grades[:0], d.persons[:0]
	err := fields(body, func(field protowire.Number, v []byte) error {
		switch field {
		case 6:
			u.set(HasUsername, v)
		case 7:
			return r.readUserID(v)
		case 9:
			u.Given = r.text(v)
			u.set(HasGivenName, v)
		case 10:
			u.Family = r.text(v)
			u.set(HasFamilyName, v)
		case 16:
			return r.readRole(v)
		case 18:
			ref, err := refID(v)
			u.PrimaryOrg = OrgRow(r.Orgs.row(ref))
			return err
		case 19:
			if v = bytes.TrimSpace(v); len(v) > 0 {
				d.key = append(append(d.key[:0], 'i', 0), v...)
				d.persons = append(d.persons, r.text(d.key))
			}
		case 20:
			u.Email = r.text(v)
			u.EmailKey = r.text(emailKey(v))
		case 21, 22:
			u.set(HasPhone, v)
		case 23:
			return r.readAgent(v)
		case 24:
			d.grades = append(d.grades, r.text(v))
		case 25:
			return fields(v, func(_ protowire.Number, part []byte) error {
				u.set(HasAddress, part)
				return nil
			})
		}
		return nil
	})
	for _, role := range d.roles {
		u.Families |= role.Family
	}
	u.roles, u.agents = r.roles.put(old.roles, d.roles), r.agents.put(old.agents, d.agents)
	u.grades, u.person = r.grades.put(old.grades, d.grades), r.persons.put(old.person, d.persons)
	// Only now: reading the agents may have added rows and moved the table.
	r.Users.set(row, u)
	return err
}

// set sets a flag that says that there is a value, which may be one of several.
func (u *User) set(flag Flags, value []byte) {
	if !blank(value) {
		u.Flags |= flag
	}
}

func (r *Replica) readUserID(b []byte) error {
	var kind, id []byte
	err := fields(b, func(field protowire.Number, v []byte) error {
		switch field {
		case 1:
			kind = v
		case 2:
			id = bytes.TrimSpace(v)
		}
		return nil
	})
	if len(id) > 0 {
		d := &r.scratch
		d.key = append(append(append(append(d.key[:0], 'u', 0), kind...), 0), id...)
		d.persons = append(d.persons, r.text(d.key))
	}
	return err
}

func (r *Replica) readRole(b []byte) error {
	var role Role
	err := fields(b, func(field protowire.Number, v []byte) error {
		switch field {
		case 2:
			role.Token = r.text(v)
		case 3:
			ref, err := refID(v)
			role.Org = OrgRow(r.Orgs.row(ref))
			return err
		}
		return nil
	})
	role.Family = r.family(role.Token)
	r.scratch.roles = append(r.scratch.roles, role)
	return err
}

func (r *Replica) readAgent(b []byte) error {
	var a Agent
	err := fields(b, func(field protowire.Number, v []byte) error {
		switch field {
		case 1:
			a.User = UserRow(r.Users.row(v))
		case 3:
			a.Emergency = strings.EqualFold(string(v), "emergency")
		}
		return nil
	})
	if a.User != 0 {
		r.scratch.agents = append(r.scratch.agents, a)
	}
	return err
}

// family remembers the family of each role token.
func (r *Replica) family(token Text) Families {
	f, ok := r.families[token]
	if !ok {
		f = familyOf(r.Text(token))
		r.families[token] = f
	}
	return f
}

func blank(b []byte) bool { return len(bytes.TrimSpace(b)) == 0 }

// emailKey is what two spellings of one email have in common.
func emailKey(email []byte) []byte {
	email = bytes.TrimSpace(email)
	for _, c := range email {
		if c >= 0x80 || 'A' <= c && c <= 'Z' {
			return bytes.ToLower(email)
		}
	}
	return email
}
