// Package sharing says which records of a source become part of the roster, and
// leaves the others out. It is pure: a first pass over the records finds out what
// is left out, and what refers to it; then each record is looked at alone.
package sharing

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/normalise"
)

// Rule is why a record is left out: the name of a field of Sharing.
type Rule string

// The rules.
const (
	Schools           Rule = "schools"
	Grades            Rule = "grades"
	Classes           Rule = "classes"
	ClassTypes        Rule = "classTypes"
	ContactTypes      Rule = "contactTypes"
	PrimarySchoolOnly Rule = "primarySchoolOnly"
	MergeSchools      Rule = "mergeSchools"
)

const (
	maxValues = 10_000
	maxValue  = 255
)

// Normal returns settings as they are kept, nil if they leave nothing out, and
// the field that cannot be accepted with an error.
func Normal(s *ingestv1.Sharing) (_ *ingestv1.Sharing, field string, err error) {
	out := proto.CloneOf(s)
	for i, g := range out.GetGrades() {
		out.Grades[i], _ = normalise.Grade(strings.TrimSpace(g))
	}
	for _, l := range []struct {
		field  string
		values []string
		known  func(string) bool
		want   string
	}{
		{"schools", out.GetSchools(), nil, ""},
		{"grades", out.GetGrades(), nil, ""},
		{"classes", out.GetClasses(), nil, ""},
		{"classTypes", out.GetClassTypes(), func(v string) bool {
			return v == "homeroom" || v == "scheduled" || strings.HasPrefix(v, "ext:")
		}, "use homeroom, scheduled or a type of the source's own, which begins with ext:"},
		{"contactTypes", out.GetContactTypes(), func(v string) bool { return slices.Contains(contactTypes, v) }, "use parent, guardian or emergency"},
	} {
		if len(l.values) > maxValues {
			return nil, l.field, fmt.Errorf("must not have more than %d values", maxValues)
		}
		for i, v := range l.values {
			field := fmt.Sprintf("%s[%d]", l.field, i)
			switch {
			case v == "", len(v) > maxValue:
				return nil, field, fmt.Errorf("must have 1 to %d bytes", maxValue)
			case slices.Contains(l.values[:i], v):
				return nil, field, fmt.Errorf("%q is there twice", v)
			case l.known != nil && !l.known(v):
				return nil, field, fmt.Errorf("%.80q is not known: %s", v, l.want)
			}
		}
	}
	if field, err := checkMerges(out); err != nil {
		return nil, field, err
	}
	if proto.Size(out) == 0 {
		return nil, "", nil
	}
	return out, "", nil
}

var contactTypes = []string{"parent", "guardian", "emergency"}

func checkMerges(s *ingestv1.Sharing) (field string, err error) {
	into := map[string]string{}
	if len(s.GetMergeSchools()) > maxValues {
		return "mergeSchools", fmt.Errorf("must not have more than %d values", maxValues)
	}
	for i, m := range s.GetMergeSchools() {
		field := fmt.Sprintf("mergeSchools[%d]", i)
		switch {
		case m.GetFrom() == "", m.GetInto() == "":
			return field, fmt.Errorf("needs from and into, the ids of two schools")
		case m.GetFrom() == m.GetInto():
			return field, fmt.Errorf("a school cannot be merged into itself")
		case into[m.GetFrom()] != "":
			return field + ".from", fmt.Errorf("%q is merged twice", m.GetFrom())
		}
		into[m.GetFrom()] = m.GetInto()
	}
	for i, m := range s.GetMergeSchools() {
		if next := into[m.GetInto()]; next != "" {
			return fmt.Sprintf("mergeSchools[%d].into", i), fmt.Errorf("%q is merged into %q itself: name that", m.GetInto(), next)
		}
	}
	for i, id := range s.GetSchools() {
		if next := into[id]; next != "" {
			return fmt.Sprintf("schools[%d]", i), fmt.Errorf("%q is merged into %q: name that", id, next)
		}
	}
	return "", nil
}

// Fingerprint recognises settings; empty if they leave nothing out.
func Fingerprint(s *ingestv1.Sharing) (string, error) {
	if proto.Size(s) == 0 {
		return "", nil
	}
	text, err := (proto.MarshalOptions{Deterministic: true}).Marshal(s)
	if err != nil {
		return "", fmt.Errorf("encode sharing settings: %w", err)
	}
	sum := sha256.Sum256(append([]byte{version}, text...))
	return hex.EncodeToString(sum[:]), nil
}

// version changes when the rules do: what was shared by them is shared anew.
const version = 1
