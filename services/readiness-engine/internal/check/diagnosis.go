package check

import (
	"fmt"
	"strconv"
	"strings"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// Before is what the report before this one said about a check.
type Before struct {
	Known    bool // there was such a report and it had the check
	Revision int32
	Count    int // actionable findings
}

// facts are what a diagnosis rests on.
type facts struct {
	check             *Check
	count, population int
	before            Before
	schools           int // active schools of the district
	// How many findings are at the one school, in the one grade or for the one
	// reason that has the most.
	school, grade, reason tally
}

type tally struct {
	name string
	n    int
}

func ratio(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// cause makes a sentence when all of its conditions hold. The count itself is
// in no sentence: it stands beside it.
type cause struct {
	minCount int     // at least so many actionable findings
	minShare float64 // they are at least this part of the population

	minSchool  float64 // at least this part of them is at one school
	minSchools int     // of a district with so many schools
	minGrade   float64 // at least this part is in one grade; only where others exist
	minReason  float64 // at least this part has one reason, of a check whose reasons are columns

	one        bool    // there is only one thing to look at
	rise, fall float64 // so many times as many, or as few, as in the report before

	sentence string
}

// causes are tried in order; the first that holds speaks. The words in braces
// come from the facts and from the check.
var causes = []cause{
	{minCount: 1, one: true, sentence: "{Few}."},
	{minCount: 3, minShare: 0.9, sentence: "{extent} {counts} are affected: {all}."},
	{minCount: 5, minSchool: 0.8, minSchools: 3, sentence: "{at school} are at {school}: look at the data of that school first."},
	{minCount: 10, minShare: 0.05, rise: 3, sentence: "New since revision {revision}, which had {before}: look at what changed in the export since, {many}."},
	{minCount: 5, minGrade: 0.8, sentence: "{in grade} are in grade {grade}: look at how that grade is entered or exported first."},
	{minCount: 5, minReason: 0.8, sentence: "{for reason} have one reason, which points to one column of the source: {reason}"},
	{minCount: 10, minShare: 0.2, sentence: "{percent} of the {counts} are affected: {many}."},
	{minCount: 3, minShare: 0.5, sentence: "{percent} of the {counts} are affected: {many}."},
	{minCount: 1, fall: 2, sentence: "Down from {before} at revision {revision}: {few}."},
	{minCount: 1, sentence: "{percent} of the {counts} are affected: {few}."},
	{sentence: "Everything listed is informational: nothing needs to be fixed."},
}

// minBefore keeps ratios of very small numbers from meaning anything.
const minBefore = 5

func (c *cause) holds(f *facts) bool {
	switch {
	case c.one && f.population != 1:
		return false
	case f.count < c.minCount, ratio(f.count, f.population) < c.minShare,
		ratio(f.school.n, f.count) < c.minSchool, f.schools < c.minSchools,
		ratio(f.grade.n, f.count) < c.minGrade, ratio(f.reason.n, f.count) < c.minReason:
		return false
	case c.rise > 0:
		return f.before.Known && float64(f.count) >= c.rise*float64(f.before.Count)
	case c.fall > 0:
		return f.before.Known && f.before.Count >= minBefore && float64(f.count)*c.fall <= float64(f.before.Count)
	}
	return true
}

// Diagnose says in one sentence what is probably behind the findings; it is
// empty when there are none.
func (v *View) Diagnose(res *Result, before Before) string {
	if len(res.Findings) == 0 {
		return ""
	}
	f := &facts{check: res.Check, count: res.Actionable, population: res.Population, before: before, schools: v.schoolCount}
	v.concentrate(res.Findings, f)
	for i := range causes {
		if causes[i].holds(f) {
			return f.speak(causes[i].sentence)
		}
	}
	return ""
}

// concentrate finds the school, the grade and the reason with the most
// actionable findings, the first by id or name where several have as many.
func (v *View) concentrate(findings []Finding, f *facts) {
	schools := make([]int, len(v.Orgs.Rows))
	grades := map[replica.Text]int{}
	reasons := make([]int, len(v.reasons))
	for i := range findings {
		found := &findings[i]
		if found.Informational {
			continue
		}
		schools[found.School]++
		reasons[found.Reason]++
		for _, g := range v.gradesOf(found) {
			grades[g]++
		}
	}
	top := uint32(0)
	for i, n := range schools {
		row := uint32(i)
		if row == 0 || n == 0 || !v.schools[row] {
			continue
		}
		if n > f.school.n || n == f.school.n && v.Orgs.ID(row) < v.Orgs.ID(top) {
			f.school.n, top = n, row
		}
	}
	if f.school.name = v.Text(v.Orgs.Rows[top].Name); f.school.name == "" {
		f.school.name = "the school " + v.Orgs.ID(top)
	}
	for grade, n := range grades {
		if name := v.Text(grade); n > f.grade.n || n == f.grade.n && name < f.grade.name {
			f.grade = tally{name, n}
		}
	}
	if f.grade.n > 0 && !v.hasGradeBeside(f.grade.name) {
		f.grade = tally{}
	}
	if f.check.ReasonsAreColumns {
		for i, n := range reasons {
			if n > f.reason.n || n > 0 && n == f.reason.n && v.reasons[i] < f.reason.name {
				f.reason = tally{v.reasons[i], n}
			}
		}
	}
}

// gradesOf returns the grades that a finding is about.
func (v *View) gradesOf(f *Finding) []replica.Text {
	switch f.Entity {
	case typev1.Entity_ENTITY_USERS:
		if f.Role.Has(replica.Student) || f.RelatedEntity == 0 {
			return v.GradeTexts(v.user(replica.UserRow(f.Row)))
		}
		return v.GradeTexts(v.user(replica.UserRow(f.Related)))
	case typev1.Entity_ENTITY_ENROLLMENTS:
		return v.GradeTexts(v.user(v.Enrollments.Rows[f.Row].User))
	}
	return nil
}

// hasGradeBeside tells whether the district has students of another grade.
func (v *View) hasGradeBeside(grade string) bool {
	for i := range v.Users.Rows {
		u := &v.Users.Rows[i]
		if u.State != replica.Active || !u.Families.Has(replica.Student) {
			continue
		}
		for _, g := range v.GradeTexts(u) {
			if v.Text(g) != grade {
				return true
			}
		}
	}
	return false
}

func (f *facts) speak(sentence string) string {
	all, extent := f.check.All, "Nearly all"
	if all == "" {
		all = f.check.Many
	}
	if f.count == f.population {
		extent = "All"
	}
	return strings.NewReplacer(
		"{extent}", extent, "{all}", all, "{many}", f.check.Many, "{few}", f.check.Few,
		"{Few}", strings.ToUpper(f.check.Few[:1])+f.check.Few[1:],
		"{counts}", f.check.Counts, "{percent}", percent(ratio(f.count, f.population)),
		"{before}", strconv.Itoa(f.before.Count), "{revision}", strconv.Itoa(int(f.before.Revision)),
		"{at school}", most(f.school.n, f.count), "{school}", f.school.name,
		"{in grade}", most(f.grade.n, f.count), "{grade}", f.grade.name,
		"{for reason}", most(f.reason.n, f.count), "{reason}", lowerFirst(f.reason.name),
	).Replace(sentence)
}

func most(n, of int) string {
	if n == of {
		return "All"
	}
	return percent(ratio(n, of))
}

func lowerFirst(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToLower(s[:1]) + s[1:]
}

func percent(share float64) string {
	switch p := share * 100; {
	case p > 0 && p < 0.1:
		return "Under 0.1 %"
	case p < 10:
		return fmt.Sprintf("%.1f %%", p)
	case share < 1 && p > 99:
		return "Over 99 %"
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}
