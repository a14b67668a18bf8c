package guardian

import (
	"slices"

	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/layer"
)

// Identify returns what tells whether a row is of the guardian with an id: one
// that the row has, or that was derived for it with one of the students.
func (c *Columns) Identify(district, id string, students []string) func(fields []string) bool {
	r := &reader{c: c, report: finding.NewReport("")}
	return func(fields []string) bool {
		if len(fields) < c.width {
			return false
		}
		if own := c.get(fields, Guardian); own != "" || len(students) == 0 {
			return own == id
		}
		u, ok := r.read(0, fields)
		return ok && slices.ContainsFunc(students, func(student string) bool { return derivedID(district, student, u) == id })
	}
}

// Relatives are the ids of those whom an entry of a user is linked with.
func Relatives(e layer.Entry) ([]string, error) {
	u, err := user(e)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, a := range u.GetAgents() {
		ids = append(ids, a.GetSourcedId())
	}
	return ids, nil
}
