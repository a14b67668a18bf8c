package search

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Condition is met by a record that has a term of one of the fields with one of
// the values, or beginning with it.
type Condition struct {
	Fields []Field
	Values []string
	Prefix bool
}

// Conditions turns a query within a scope into conditions that must all be met.
// The id of the query is not among them.
func Conditions(q store.Query, scope store.Scope) ([]Condition, error) {
	if record.EntityName(q.Entity) == "" {
		return nil, fmt.Errorf("query of entity %d: no such entity: %w", q.Entity, store.ErrInvalid)
	}
	var out []Condition
	exact := func(f Field, v string) {
		if v != "" {
			out = append(out, Condition{Fields: []Field{f}, Values: []string{v}})
		}
	}
	exact(FieldEmail, strings.ToLower(q.Email))
	exact(FieldUser, q.UserID)
	exact(FieldClass, q.ClassID)
	exact(FieldOrg, q.OrgID)
	exact(FieldRole, q.Role)
	exact(FieldStatus, q.Status)
	words := strings.Fields(strings.ToLower(q.Text))
	slices.Sort(words)
	for _, w := range slices.Compact(words) {
		switch {
		case strings.ContainsFunc(w, isEmailMark):
			out = append(out, Condition{Fields: []Field{FieldEmail, FieldText}, Values: []string{w}, Prefix: true})
		case utf8.RuneCountInString(w) <= 2:
			exact(FieldInitials, w)
		default:
			out = append(out, Condition{Fields: []Field{FieldText}, Values: []string{w}, Prefix: true})
		}
	}
	if !ForAll(q.Entity) {
		exact(FieldSchool, q.SchoolID)
		if !scope.All {
			schools := slices.Clone(scope.Schools)
			slices.Sort(schools)
			out = append(out, Condition{Fields: []Field{FieldSchool}, Values: slices.Compact(schools)})
		}
	}
	return out, nil
}

// isEmailMark finds words that may be more of an email than one of its parts.
func isEmailMark(r rune) bool {
	return strings.ContainsRune("@.-_+'", r)
}

// Met tells whether a record with these terms meets the condition.
func (c Condition) Met(terms []Term) bool {
	return slices.ContainsFunc(terms, func(t Term) bool {
		return slices.Contains(c.Fields, t.Field) && slices.ContainsFunc(c.Values, func(v string) bool {
			return t.Value == v || c.Prefix && strings.HasPrefix(t.Value, v)
		})
	})
}

// AllMet tells whether the terms meet all conditions.
func AllMet(conditions []Condition, terms []Term) bool {
	for _, c := range conditions {
		if !c.Met(terms) {
			return false
		}
	}
	return true
}
