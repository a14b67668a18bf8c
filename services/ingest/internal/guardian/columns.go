// Package guardian reads guardian files: CSV with a row for each relationship
// between a student and a guardian, whatever its columns are called. It matches
// the students of the rows with those of a district's other sources, and makes
// of the rows what the source of the file says of the roster: guardians that
// nobody else has, what it adds to those that others have, and the links
// between students and guardians, on both sides.
//
// It is pure and streams: what it has to compare it sorts, with a bounded amount
// of memory, however large the file and the district are. The order of the rows
// does not matter.
package guardian

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/normalise"
)

// Version changes when rows become other records than before.
const Version = 1

// Field is what a column is read as.
type Field string

// The fields.
const (
	Student      Field = "student"
	Guardian     Field = "guardian"
	GivenName    Field = "givenName"
	FamilyName   Field = "familyName"
	Email        Field = "email"
	Phone        Field = "phone"
	MobilePhone  Field = "mobilePhone"
	Address1     Field = "address1"
	Address2     Field = "address2"
	City         Field = "city"
	State        Field = "state"
	Zip          Field = "zip"
	DataAccess   Field = "dataAccess"
	Custody      Field = "custody"
	Relationship Field = "relationship"
	ContactType  Field = "contactType"
	Priority     Field = "priority"
	Language     Field = "language"
)

// shape is a field with the names that its column has in the field, the most
// telling ones first.
type shape struct {
	field Field
	names []string
}

var shapes = []shape{
	{Student, []string{
		"studentSourcedId", "studentId", "studentNumber", "studentIdentifier", "studentUserId", "studentEmail", "studentLocalId", "studentSisId",
		"sisStudentId", "student",
	}},
	{Guardian, []string{"guardianSourcedId", "guardianId", "parentSourcedId", "parentId", "contactSourcedId", "contactId", "guardian"}},
	{GivenName, []string{
		"guardian_givenName", "guardianFirstName", "parentFirstName", "contactFirstName", "parentGivenName", "contactGivenName", "givenName", "firstName",
	}},
	{FamilyName, []string{
		"guardian_familyName", "guardianLastName", "parentLastName", "contactLastName", "parentFamilyName", "contactFamilyName", "familyName", "lastName",
		"surname",
	}},
	{Email, []string{"guardian_email", "parentEmail", "contactEmail", "guardianEmailAddress", "parentEmailAddress", "email", "emailAddress"}},
	{Phone, []string{"guardian_phone", "guardianHomePhone", "homePhone", "phone", "phoneNumber", "parentPhone", "contactPhone", "telephone"}},
	{MobilePhone, []string{"guardianMobilePhone", "guardianCellPhone", "mobilePhone", "cellPhone", "mobile", "cell", "sms"}},
	{Address1, []string{"address1", "addressLine1", "guardianAddress", "streetAddress", "address", "street"}},
	{Address2, []string{"address2", "addressLine2", "apartment", "unit"}},
	{City, []string{"city", "guardianCity", "town"}},
	{State, []string{"state", "guardianState", "province", "stateProvince"}},
	{Zip, []string{"zipcode", "zip", "guardianZip", "postalCode"}},
	{DataAccess, []string{"allowDataAccess", "dataAccess", "canAccessData", "hasDataAccess"}},
	{Custody, []string{"hasCustody", "custody", "custodial", "legalCustody", "isCustodial"}},
	{Relationship, []string{"relationship", "relationshipToStudent", "relation", "relationshipType"}},
	{ContactType, []string{"contactType"}},
	{Priority, []string{"priority", "contactPriority", "callOrder", "sequence"}},
	{Language, []string{"language", "preferredLanguage", "correspondenceLanguage", "homeLanguage"}},
}

// byOrder are the fields of a file without a header.
var byOrder = []Field{Student, Guardian, GivenName, FamilyName, Email, MobilePhone, Phone, Language}

// advice says what is lost without a column.
var advice = []struct {
	field  Field
	reason string
}{
	{Guardian, "without ids of their own, guardians become others when their email address changes"},
	{Email, "Home signs guardians in by email"},
	{Address1, "On-Call needs the addresses of guardians"},
	{DataAccess, "Home shows students only to guardians who may see their data"},
	{Custody, "On-Call asks who has custody"},
}

// CheckSettings tells which setting cannot be accepted, and why.
func CheckSettings(g *ingestv1.GuardianFile) (field string, err error) {
	for _, name := range slices.Sorted(maps.Keys(g.GetColumns())) {
		if !slices.ContainsFunc(shapes, func(s shape) bool { return string(s.field) == name }) {
			return "columns." + name, fmt.Errorf("there is no such field")
		}
		if len(g.GetColumns()[name]) > maxCell {
			return "columns." + name, fmt.Errorf("must not be longer than %d bytes", maxCell)
		}
	}
	if _, ok := ingestv1.GuardianKey_name[int32(g.GetStudentKey())]; !ok {
		return "studentKey", fmt.Errorf("there is no such key")
	}
	if _, ok := ingestv1.GuardianPolicy_name[int32(g.GetPolicy())]; !ok {
		return "policy", fmt.Errorf("there is no such policy")
	}
	for name, n := range map[string]int32{"minMatchPercent": g.GetMinMatchPercent(), "maxDropPercent": g.GetMaxDropPercent()} {
		if n < 0 || n > 100 {
			return name, fmt.Errorf("must be from 0 to 100")
		}
	}
	return "", nil
}

// maxColumns bounds what is said of the columns of a file.
const maxColumns = 500

// Columns says which column is where.
type Columns struct {
	// Header are the names of all columns.
	Header []string
	at     map[Field]int
	width  int // columns up to the last that has a name
	// odd tells that the first row looks like one with values, so that its
	// columns are named by their numbers: values are not told as names.
	odd bool
}

// Bind finds the columns. It returns them also with the faults of the file that
// keep it from being read, and reports what is not read.
func Bind(file string, header []string, g *ingestv1.GuardianFile, report *finding.Report) (*Columns, []*normalise.Fault) {
	c := &Columns{at: map[Field]int{}, odd: !g.GetNoHeader() && unknownHeader(header)}
	var faults []*normalise.Fault
	fault := func(code, column, format string, args ...any) {
		faults = append(faults, &normalise.Fault{File: file, Column: column, Code: code, Message: fmt.Sprintf(format, args...)})
	}
	if len(header) > maxColumns {
		fault("header-too-long", "", "the file has %d columns, more than the %d that any guardian file has: check its delimiter and quotes", len(header), maxColumns)
		return c, faults
	}
	places := map[string][]int{} // by folded name
	for i, name := range header {
		if g.GetNoHeader() || c.odd {
			name = strconv.Itoa(i + 1)
		}
		name = csvtext.Visible(name)
		c.Header = append(c.Header, name)
		if folded := csvtext.Fold(name); folded != "" {
			c.width = i + 1
			places[folded] = append(places[folded], i)
		}
	}
	taken := map[int]bool{}
	take := func(f Field, name string) bool {
		at := places[csvtext.Fold(name)]
		if len(at) == 0 || taken[at[0]] {
			return false
		}
		if len(at) > 1 {
			fault("column-duplicate", c.Header[at[0]], "the column %q is there %d times: remove all but one", c.Header[at[0]], len(at))
		}
		c.at[f], taken[at[0]] = at[0], true
		return true
	}
	for _, s := range shapes { // what was said comes before what is usual
		name, said := g.GetColumns()[string(s.field)]
		if said && name != "" && !take(s.field, name) {
			fault("column-missing", name, "the column %q, which the source's settings name for %s, is missing or named for another field too", name, s.field)
		}
	}
	for _, s := range shapes {
		if _, said := g.GetColumns()[string(s.field)]; said {
			continue
		}
		if g.GetNoHeader() {
			if i := slices.Index(byOrder, s.field); i >= 0 {
				take(s.field, strconv.Itoa(i+1))
			}
			continue
		}
		_ = slices.ContainsFunc(s.names, func(name string) bool { return take(s.field, name) })
	}
	_, named := g.GetColumns()[string(Student)]
	switch {
	case c.width == 0:
		fault("header-missing", "", "the file has no header: the first row must name the columns, or the source must be set to have none")
	case !c.has(Student) && !named:
		fault("column-missing", "studentSourcedId", "no column names the students: add studentSourcedId, or say in the source's settings which column it is")
	case !c.has(Guardian) && !c.has(Email) && !c.has(Phone) && !c.has(MobilePhone) && !c.has(GivenName) && !c.has(FamilyName):
		fault("column-missing", "guardianSourcedId", "no column tells who the guardians are: add guardianSourcedId, or say in the source's settings which column it is")
	}
	for i, name := range c.Header {
		if name != "" && !taken[i] {
			report.File("column-unread", name, fmt.Sprintf("the column %q is of no field of a guardian file and was not read", name))
		}
	}
	return c, faults
}

func (c *Columns) has(f Field) bool { _, ok := c.at[f]; return ok }

// name is that of the column of a field.
func (c *Columns) name(f Field) string {
	at, ok := c.at[f]
	if !ok {
		return ""
	}
	return c.Header[at]
}

// get returns the cleaned value of a field.
func (c *Columns) get(fields []string, f Field) string {
	at, ok := c.at[f]
	if !ok {
		return ""
	}
	return csvtext.Clean(fields[at])
}

// fieldAt returns the field that a column is read as; empty for none.
func (c *Columns) fieldAt(i int) Field {
	for f, at := range c.at {
		if at == i {
			return f
		}
	}
	return ""
}

// unknownHeader tells whether the first row looks like one with values.
func unknownHeader(header []string) bool {
	return slices.ContainsFunc(header, func(s string) bool { return strings.Contains(s, "@") })
}
