// Package check holds the catalogue of readiness checks and runs it over a
// replica. A check is a value: texts for people and a function that looks at a
// View and reports findings.
//
// What all checks agree on:
//
//   - Only active records are looked at. A removed record is no finding of its
//     own; it matters where an active record still refers to it.
//   - A finding is informational, and not in the headline count, when nothing
//     has to be done about it: a record whose id begins with "securlyinternal:",
//     or a link to a record that was removed or never delivered. Everything
//     else is actionable.
//   - A user with several roles is looked at in each of them. Users that share
//     an identifier or an entry of userIds, directly or over a third user, are
//     one person; a person shares no email with itself.
//   - Emails are compared trimmed and without regard to case.
//   - A student–guardian relationship is a pair of users, once, whichever side
//     names the other, as long as the one that does is active. A guardian of two
//     children is in two. Emergency contacts are no guardians, and a student is
//     no guardian of another. Pairs whose student is removed count only where an
//     active guardian still names it, and are then informational.
//   - A blank value (white space only) is a missing one.
package check

import (
	"slices"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// Check is one validation rule.
type Check struct {
	ID          string
	Title       string
	Description string
	Products    []string // ids; nil means all
	Severity    readinessv1.Severity
	NeedsFix    bool
	HowToFix    string
	KnownIssues string
	Counts      string // what is counted, in the plural

	// Rollover says that the change of the school year causes such findings.
	Rollover bool
	// ReasonsAreColumns says that different reasons point to different columns.
	ReasonsAreColumns bool

	// Many and Few are the likely causes of a large and of a small number, as
	// parts of a sentence. All is that of (nearly) everything, when it differs.
	Many, Few, All string

	find rule
}

// Concerns tells whether the check matters to a product; "" stands for any.
func (c *Check) Concerns(product string) bool {
	return product == "" || c.Products == nil || slices.Contains(c.Products, product)
}

// Proto returns the check as the API shows it.
func (c *Check) Proto() *readinessv1.ReadinessCheck {
	products := c.Products
	if products == nil {
		products = productIDs()
	}
	return &readinessv1.ReadinessCheck{
		CheckId: c.ID, Title: c.Title, Description: c.Description, Products: products,
		NeedsFix: c.NeedsFix, HowToFix: c.HowToFix, Severity: c.Severity,
		KnownIssues: c.KnownIssues, Counts: c.Counts,
	}
}

// Finding is one thing that a check found.
type Finding struct {
	Entity typev1.Entity
	Row    uint32 // of the record at fault, in the table of Entity

	RelatedEntity typev1.Entity // users or classes; 0 when nothing is related
	Related       uint32

	School        replica.OrgRow // where it is counted
	Role          replica.Families
	Informational bool
	Reason        Reason
}

// Reason is the number of a text in a View: a check may find a million things,
// so a Finding is small and holds no pointers.
type Reason uint16

// Result is what one check found.
type Result struct {
	Check      *Check
	Population int
	Findings   []Finding // by id, then related id
	Actionable int
	// Version is equal for two results of one View that read the same.
	Version int
}

// Result returns what a check has found. The order of the findings does not
// depend on the way in which the replica came to its revision.
func (v *View) Result(c *Check) Result {
	found := &v.found[slices.Index(catalogue, c)]
	res := Result{Check: c, Population: found.population, Findings: found.findings, Version: found.version}
	for i := range found.findings {
		if !found.findings[i].Informational {
			res.Actionable++
		}
	}
	return res
}

// Proto returns the counts as a report shows them.
func (r *Result) Proto(diagnosis string) *readinessv1.CheckResult {
	return &readinessv1.CheckResult{
		CheckId:            r.Check.ID,
		Count:              int32(r.Actionable),
		InformationalCount: int32(len(r.Findings) - r.Actionable),
		Population:         int32(r.Population),
		Diagnosis:          diagnosis,
	}
}

// Catalogue returns all checks in the order to show them.
func Catalogue() []*Check { return catalogue }

// Find returns the check of an id, nil when there is none.
func Find(id string) *Check {
	for _, c := range catalogue {
		if c.ID == id {
			return c
		}
	}
	return nil
}

var catalogue []*Check

func init() { // The checks refer to the View, which refers to the catalogue.
	catalogue = slices.Concat(studentChecks, staffChecks, guardianChecks, userChecks, classChecks, enrollmentChecks, districtChecks)
}
