package search

import (
	"google.golang.org/protobuf/encoding/protowire"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Read returns the facts of an encoded record, and checks that it is what it is
// said to be. Enrollments, three quarters of a roster, are read without being
// decoded; a test holds both ways to the same answer.
func Read(e store.Entity, id string, body []byte) (Facts, error) {
	if e == typev1.Entity_ENTITY_ENROLLMENTS {
		if f, ok := scanEnrollment(id, body); ok {
			return f, nil
		}
	}
	rec, err := Decode(e, id, body)
	if err != nil {
		return Facts{}, err
	}
	return FactsOf(rec), nil
}

// The fields of an enrollment that facts are made of.
const (
	fieldEnrollment = 6 // in Record
	fieldSourcedID  = 1
	fieldStatus     = 2
	fieldDate       = 3
	fieldUserRef    = 5
	fieldClassRef   = 6
	fieldSchoolRef  = 7
	fieldRole       = 8
)

// scanEnrollment gives up on anything unusual.
func scanEnrollment(id string, body []byte) (Facts, bool) {
	var f Facts
	num, typ, n := protowire.ConsumeTag(body)
	if n < 0 || num != fieldEnrollment || typ != protowire.BytesType {
		return f, false
	}
	msg, m := protowire.ConsumeBytes(body[n:])
	if m < 0 || n+m != len(body) {
		return f, false
	}
	var seen uint
	var text [fieldRole + 1][]byte
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return f, false
		}
		if typ != protowire.BytesType || num > fieldRole {
			m := protowire.ConsumeFieldValue(num, typ, msg[n:])
			if m < 0 {
				return f, false
			}
			msg = msg[n+m:]
			continue
		}
		v, m := protowire.ConsumeBytes(msg[n:])
		if m < 0 || seen&(1<<num) != 0 && num != 4 { // metadata repeats
			return f, false
		}
		seen |= 1 << num
		text[num] = v
		msg = msg[n+m:]
	}
	for _, num := range []int{fieldUserRef, fieldClassRef, fieldSchoolRef} {
		var ok bool
		if text[num], ok = scanRef(text[num]); !ok {
			return f, false
		}
	}
	if string(text[fieldSourcedID]) != id {
		return f, false
	}
	f.Terms = make([]Term, 0, 6)
	status := string(text[fieldStatus])
	f.Tombstone = status == record.StatusToBeDeleted
	f.Stamped = len(text[fieldDate]) > 0
	f.add(FieldStatus, status)
	f.school(string(text[fieldSchoolRef]))
	f.role(string(text[fieldRole]))
	f.add(FieldClass, string(text[fieldClassRef]))
	f.LinkUser = string(text[fieldUserRef])
	f.add(FieldUser, f.LinkUser)
	return f, true
}

// scanRef returns the id of an encoded Ref.
func scanRef(b []byte) ([]byte, bool) {
	if len(b) == 0 {
		return nil, true
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num != fieldSourcedID || typ != protowire.BytesType {
		return nil, false
	}
	v, m := protowire.ConsumeBytes(b[n:])
	return v, m >= 0 && n+m == len(b)
}
