package rostergen

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Guardians is what a guardian file comes to beside the export of its day.
type Guardians struct {
	Rows    int `json:"rows"`
	Matched int `json:"matched"` // rows whose student is in the export
	// Relationships are those of matched rows; none is there twice.
	Relationships int `json:"relationships"`
	Students      int `json:"students"`
	Known         int `json:"known"`   // guardians whom the export has
	Created       int `json:"created"` // those whom it has not
}

var guardianColumns = strings.Fields("studentSourcedId guardianSourcedId guardian_givenName guardian_familyName guardian_email phone " +
	"address1 city state zipcode allowdataaccess hascustody relationship contactType priority")

// WriteGuardians writes a guardian file for the district's students: who their
// guardians are, with rights; now and then somebody of whom the export knows
// nothing, above all for students who have no guardian there; and some rows for
// students who are not there any more.
func (d *District) WriteGuardians(w io.Writer) (Guardians, error) {
	var n Guardians
	_, err := writeCSV("guardianData.csv", guardianColumns, func(yield func([]string) bool) {
		for i := range d.cfg.Students {
			if !d.guardianRows(i, &n, yield) {
				return
			}
		}
	}, func(string) (io.Writer, error) { return w, nil })
	for i := range d.guardians {
		if _, ok := d.guardian(i, d.cfg.Day); ok {
			n.Known++
		}
	}
	return n, err
}

// guardianRows yields the rows of one student.
func (d *District) guardianRows(i int, n *Guardians, yield func([]string) bool) bool {
	u, ok := d.student(i, d.cfg.Day)
	if !ok {
		return true
	}
	f := d.familyOfStudent(i)
	flaw, _ := d.flawOf(f)
	priority := 0
	row := func(student string, g user, relationship, contact string, rights bool) bool {
		n.Rows++
		priority++
		return yield([]string{
			student, g.id, g.given, g.family, g.email, g.phone, g.address, g.city, g.state, g.zip,
			strconv.FormatBool(rights), strconv.FormatBool(rights && priority == 1), relationship, contact, strconv.Itoa(priority),
		})
	}
	for j := range f.guardians {
		g, ok := d.guardian(f.firstGuardian+j, d.cfg.Day)
		if !ok {
			continue
		}
		if !row(u.id, g, [...]string{"mother", "father", "stepparent"}[j%3], "parent", true) {
			return false
		}
	}
	if f.single >= 0 && flaw == noGuardians || i%10 == 3 {
		var g user
		number := 5_000_000 + i // behind all guardians of the export
		d.fillGuardian(&g, number, 0, 0, d.hash(topicFamily, number, -1), f.index)
		g.id = "contact-" + u.id
		n.Created++
		if !row(u.id, g, "grandparent", "emergency", false) {
			return false
		}
	}
	if n.Matched += priority; priority > 0 {
		n.Students++
	}
	n.Relationships = n.Matched
	if i%50 == 7 {
		var g user
		d.fillGuardian(&g, 6_000_000+i, 0, 0, d.hash(topicFamily, i, -5), -1-i)
		g.id = "contact-" + fmt.Sprint(i)
		return row(d.id(idStudent, unknown, i), g, "mother", "parent", true)
	}
	return true
}
