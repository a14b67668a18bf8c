// Package normalise turns rows of OneRoster CSV files, 1.0 to 1.2, into
// canonical records. It is pure: the same row gives the same record or the same
// finding, and what is around the row does not matter.
package normalise

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/mapping"
)

// Kind is a file that records are read from.
type Kind uint8

// The kinds, in the order in which they may refer to each other.
const (
	Orgs Kind = iota
	AcademicSessions
	Courses
	Classes
	Users
	Roles
	UserProfiles
	Enrollments
	Demographics
	kinds
)

// Kinds lists all kinds.
func Kinds() []Kind {
	out := make([]Kind, kinds)
	for i := range out {
		out[i] = Kind(i)
	}
	return out
}

// String returns the name of the file without its extension.
func (k Kind) String() string { return specs[k].name }

// File returns the name of the file.
func (k Kind) File() string { return specs[k].name + ".csv" }

// Every file begins with these columns.
const (
	colID = iota
	colStatus
	colModified
	colFirst
)

// need says what a missing column means.
type need uint8

const (
	optional need = iota
	// expected columns are required by the standard, but their absence leaves
	// records that work.
	expected
	// customary columns are required of a file of OneRoster, which has them even
	// where they are blank, and expected of others.
	customary
	required
)

type column struct {
	name    string
	need    need
	aliases []string
}

type spec struct {
	name    string
	columns []column // after the first three; the constants in rows.go follow their order
	id      column
}

var specs = [kinds]spec{
	Orgs: {name: "orgs", columns: []column{
		{name: "name", need: required}, {name: "type", need: required}, {name: "identifier"}, {name: "parentSourcedId"},
	}},
	AcademicSessions: {name: "academicSessions", columns: []column{
		{name: "title", need: required},
		{name: "type", need: required},
		{name: "startDate", need: required},
		{name: "endDate", need: required},
		{name: "parentSourcedId"},
		{name: "schoolYear", need: expected},
	}},
	Courses: {name: "courses", columns: []column{
		{name: "schoolYearSourcedId", aliases: []string{"schoolYearId"}},
		{name: "title", need: required},
		{name: "courseCode"},
		{name: "grades", aliases: []string{"grade"}},
		{name: "orgSourcedId", need: expected},
		{name: "subjects"},
		{name: "subjectCodes"},
	}},
	Classes: {name: "classes", columns: []column{
		{name: "title", need: required},
		{name: "grades", aliases: []string{"grade"}},
		{name: "courseSourcedId", need: customary},
		{name: "classCode"},
		{name: "classType", need: expected},
		{name: "location"},
		{name: "schoolSourcedId", need: required},
		{name: "termSourcedIds", need: customary, aliases: []string{"termSourcedId"}},
		{name: "subjects"},
		{name: "subjectCodes"},
		{name: "periods"},
	}},
	// orgSourcedIds and role are required in 1.1; Bind sees to it.
	Users: {name: "users", columns: []column{
		{name: "enabledUser", need: expected},
		{name: "orgSourcedIds", aliases: []string{"orgSourcedId"}},
		{name: "role"},
		{name: "username", need: customary},
		{name: "userIds", aliases: []string{"userId"}},
		{name: "givenName", need: required},
		{name: "familyName", need: required},
		{name: "middleName"},
		{name: "identifier"},
		{name: "email"},
		{name: "sms"},
		{name: "phone"},
		{name: "agentSourcedIds", aliases: []string{"agents"}},
		{name: "grades", aliases: []string{"grade"}},
		{name: "userMasterIdentifier"},
		{name: "preferredGivenName", aliases: []string{"preferredFirstName"}},
		{name: "preferredMiddleName"},
		{name: "preferredFamilyName", aliases: []string{"preferredLastName"}},
		{name: "primaryOrgSourcedId"},
		{name: "pronouns"},
	}},
	Roles: {name: "roles", id: column{name: "sourcedId"}, columns: []column{
		{name: "userSourcedId", need: required},
		{name: "roleType", need: expected},
		{name: "role", need: required},
		{name: "beginDate"},
		{name: "endDate"},
		{name: "orgSourcedId", need: required},
		{name: "userProfileSourcedId"},
	}},
	UserProfiles: {name: "userProfiles", columns: []column{
		{name: "userSourcedId", need: required},
		{name: "profileType", need: expected},
		{name: "vendorId", need: expected},
		{name: "applicationId"},
		{name: "description"},
		{name: "credentialType"},
		{name: "username"},
	}},
	Enrollments: {name: "enrollments", columns: []column{
		{name: "classSourcedId", need: required},
		{name: "schoolSourcedId", need: customary},
		{name: "userSourcedId", need: required},
		{name: "role", need: required},
		{name: "primary"},
		{name: "beginDate"},
		{name: "endDate"},
	}},
	Demographics: {name: "demographics", id: column{name: "sourcedId", need: required, aliases: []string{"userSourcedId"}}, columns: []column{
		{name: "birthDate"},
		{name: "sex"},
		{name: "americanIndianOrAlaskaNative"},
		{name: "asian"},
		{name: "blackOrAfricanAmerican"},
		{name: "nativeHawaiianOrOtherPacificIslander"},
		{name: "white"},
		{name: "demographicRaceTwoOrMoreRaces"},
		{name: "hispanicOrLatinoEthnicity"},
		{name: "countryOfBirthCode"},
		{name: "stateOfBirthAbbreviation"},
		{name: "cityOfBirth"},
		{name: "publicSchoolResidenceStatus"},
	}},
}

// allColumns returns the columns of a kind with the three common ones first.
func allColumns(k Kind) []column {
	id := specs[k].id
	if id.name == "" {
		id = column{name: "sourcedId", need: required}
	}
	return append([]column{id, {name: "status"}, {name: "dateLastModified"}}, specs[k].columns...)
}

// Columns returns the names of the columns of a file, as the standard has them.
func (k Kind) Columns() []string {
	columns := allColumns(k)
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.name
	}
	return out
}

// Fault is a fault of a whole file: nothing of the package is taken over.
type Fault struct {
	File, Column, Code, Message string
}

// Error names the file and what to do.
func (f *Fault) Error() string { return f.File + ": " + f.Message }

// Table is the header of a file, resolved: which column is where.
type Table struct {
	kind  Kind
	width int      // columns with a name at their end
	at    []int    // position of each standard column, -1 if absent
	names []string // what findings call them
	meta  []extension
	// FlatRoles tells that users carry role and orgs themselves (1.1).
	FlatRoles bool
	// deletesOnly: a delta file that has only ids and status.
	deletesOnly bool
	source      string
	mapped      *mapping.Rows // what rows are made by before they are read; nil for OneRoster's
}

// extension is a column outside of the standard; its values go into metadata.
type extension struct {
	at      int
	name    string
	address addressPart
}

type addressPart uint8

const (
	noAddress addressPart = iota
	addressStreet
	addressCity
	addressState
	addressZip
)

var addressColumns = map[string]addressPart{
	"address": addressStreet, "address1": addressStreet, "street": addressStreet,
	"city": addressCity, "state": addressState, "zip": addressZip, "zipcode": addressZip,
}

// Options of Bind.
type Options struct {
	// Source is the id of the source, noted on relationships.
	Source string
	// Delta tells that the file holds changes only.
	Delta bool
	// RolesFile tells that the package brings roles.csv; RolesKnown that the
	// source has brought users before.
	RolesFile, RolesKnown bool
	// Mapped makes the rows of another file, with that name.
	Mapped *mapping.Rows
	File   string
}

// Faults returns the faults in an error of Bind; none if it is of another kind.
func Faults(err error) []*Fault {
	var f *Fault
	switch joined := err.(type) { //nolint:errorlint // what Bind returns is not wrapped
	case *Fault:
		return []*Fault{joined}
	case interface{ Unwrap() []error }:
		var out []*Fault
		for _, e := range joined.Unwrap() {
			if errors.As(e, &f) {
				out = append(out, f)
			}
		}
		return out
	}
	return nil
}

// Bind resolves a header; of a file that is mapped, that of the rows that are
// made of it. It reports what is odd about it and fails with Faults
// where records could not be read: with all columns that are missing.
func Bind(k Kind, header []string, opts Options, report *finding.Report) (*Table, error) {
	fault := func(code, column, format string, args ...any) error {
		return &Fault{File: cmp.Or(opts.File, k.File()), Column: column, Code: code, Message: fmt.Sprintf(format, args...)}
	}
	columns := allColumns(k)
	t := &Table{kind: k, at: make([]int, len(columns)), names: make([]string, len(columns)), source: opts.Source, mapped: opts.Mapped}
	byName := map[string]int{}  // folded name to column
	byAlias := map[string]int{} // the same for names of other versions
	for i, c := range columns {
		t.at[i], t.names[i] = -1, c.name
		byName[csvtext.Fold(c.name)] = i
		for _, a := range c.aliases {
			byAlias[csvtext.Fold(a)] = i
		}
	}
	seen := map[string]string{} // folded name to what the header says
	var rest []int
	for i, name := range header {
		folded := csvtext.Fold(name)
		if folded == "" {
			continue
		}
		t.width = i + 1
		shown := csvtext.Visible(name)
		if first, dup := seen[folded]; dup {
			return nil, fault("column-duplicate", shown, "the column %q is there twice (first as %q): remove one", shown, first)
		}
		seen[folded] = shown
		c, ok := byName[folded]
		if !ok {
			rest = append(rest, i)
			continue
		}
		t.at[c] = i
		if name != columns[c].name {
			report.File("header-spelling", columns[c].name, fmt.Sprintf("the column %q is written %q; it was read as if it were right", columns[c].name, shown))
		}
	}
	for _, i := range rest {
		name := csvtext.Visible(header[i])
		folded := csvtext.Fold(header[i])
		if c, ok := byAlias[folded]; ok && t.at[c] < 0 {
			t.at[c] = i
			report.File("header-alias", columns[c].name, fmt.Sprintf("the column %q was read as %q", name, columns[c].name))
			continue
		}
		if csvtext.Secret(name) {
			if t.mapped != nil {
				name = t.mapped.Column(i)
			}
			if folded != "password" { // a standard column; everybody sends it
				report.File("password-dropped", name, fmt.Sprintf("the column %q was not read: passwords are never stored", name))
			}
			continue
		}
		if len(name) > 9 && strings.EqualFold(name[:9], "metadata.") {
			name = csvtext.Visible(name[9:])
		}
		e := extension{at: i, name: name}
		if k == Users {
			e.address = addressColumns[strings.TrimPrefix(folded, "metadata.")]
		}
		t.meta = append(t.meta, e)
	}
	if t.width == 0 {
		return nil, fault("header-missing", "", "the file has no header: the first row must name the columns")
	}
	t.deletesOnly = opts.Delta && t.at[colID] >= 0 && t.at[colStatus] >= 0 && !t.hasAny(colFirst)
	t.FlatRoles = k == Users && t.at[userRole] >= 0
	var missing []error
	for i, c := range columns {
		if t.at[i] >= 0 {
			continue
		}
		need := c.need
		if need == customary {
			need = required
			if t.mapped != nil {
				need = expected
			}
		}
		// Users of 1.1 have a role and orgs; those of 1.2 get them from a file
		// that may have come before.
		if k == Users && !opts.RolesFile && (i == userRole && (!opts.RolesKnown || t.at[userOrgs] >= 0) || i == userOrgs && t.FlatRoles) {
			need = required
		}
		switch {
		case need == optional, t.deletesOnly && i != colID:
		case need == expected && t.mapped != nil:
			report.File("mapping-missing", c.name, fmt.Sprintf("the mapping gives %s no %s; it was read as blank", k, c.name))
		case need == expected:
			report.File("column-missing", c.name, fmt.Sprintf("the column %q is missing; it was read as blank", c.name))
		case t.mapped != nil:
			missing = append(missing, fault("mapping-missing", c.name, "the mapping gives %s no %s, which they cannot be without: name a column of the file or a text for it", k, c.name))
		case k == Users && i == userRole:
			missing = append(missing, fault("column-missing", c.name, "the required column %q is missing, and the package has no roles.csv instead: add one of them", c.name))
		default:
			missing = append(missing, fault("column-missing", c.name, "the required column %q is missing: add it to the header", c.name))
		}
	}
	if len(missing) > 0 {
		return nil, errors.Join(missing...)
	}
	for i, at := range t.at {
		if at >= 0 && t.mapped != nil {
			t.names[i] = t.mapped.Column(at)
		}
	}
	return t, nil
}

func (t *Table) hasAny(from int) bool {
	for _, at := range t.at[from:] {
		if at >= 0 {
			return true
		}
	}
	return false
}

// Version changes when rows become other records than before, so that rows that
// were read in the old way are read again.
const Version = 1

// Identity is the same for tables that make the same records of equal rows.
func (t *Table) Identity() string {
	identity := fmt.Sprint(Version, t.kind, t.width, t.at, t.meta, t.FlatRoles, t.source)
	if t.mapped != nil {
		identity += t.mapped.Identity()
	}
	return identity
}

// Value returns what a row has in a column of the standard; blank if the row, or
// the file, does not have it.
func (t *Table) Value(column string, fields []string) string {
	i := slices.Index(t.kind.Columns(), column)
	if i < 0 || t.at[i] < 0 || len(fields) < t.Width() {
		return ""
	}
	if t.mapped == nil {
		return csvtext.Clean(fields[t.at[i]])
	}
	v, _ := t.mapped.Value(t.at[i], fields)
	return v
}

// Column returns what findings call a column of the standard.
func (t *Table) Column(column string) string {
	if i := slices.Index(t.kind.Columns(), column); i >= 0 {
		return t.names[i]
	}
	return column
}

// Width is the least number of fields a row must have.
func (t *Table) Width() int {
	if t.mapped != nil {
		return t.mapped.Width()
	}
	return t.width
}

// Mapped tells that the file is not OneRoster's. Its rows may say the same again.
func (t *Table) Mapped() bool { return t.mapped != nil }

// Passes tells whether a row is one that is not to be read.
func (t *Table) Passes(fields []string) bool {
	return Blank(fields) || t.mapped != nil && len(fields) >= t.Width() && !t.mapped.Wants(fields)
}

// Statuses tells whether rows have a status.
func (t *Table) Statuses() bool { return t.at[colStatus] >= 0 }
