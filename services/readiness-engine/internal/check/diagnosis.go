package check

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// facts are what a diagnosis rests on.
type facts struct {
	count, informational, population int
	topSchool                        string
	topCount                         int // findings at the school that has the most
	check                            *Check
}

func (f *facts) share() float64 { return ratio(f.count, f.population) }

func ratio(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// cause makes a sentence when all of its conditions hold.
type cause struct {
	minCount    int     // at least so many actionable findings
	minShare    float64 // they are at least this part of the population
	minTop      float64 // and at least this part of them is at one school
	minDistrict int     // of a district whose findings could be at so many schools
	sentence    string
}

// causes are tried in order; the first that holds speaks. The words in braces
// come from the facts and from the check.
var causes = []cause{
	{minCount: 3, minShare: 0.9, sentence: "{count} of {population} {counts} ({percent}): {all}."},
	{minCount: 5, minTop: 0.8, minDistrict: 3, sentence: "{top} of {count} are at {school}: look at the data of that school first."},
	{minCount: 10, minShare: 0.2, sentence: "{count} of {population} {counts} ({percent}): {many}."},
	{minCount: 3, minShare: 0.5, sentence: "{count} of {population} {counts} ({percent}): {many}."},
	{minCount: 1, sentence: "{count} of {population} {counts} ({percent}): {few}."},
	{sentence: "All {informational} entries are informational: nothing needs to be fixed."},
}

// diagnose says in one sentence what is probably behind the findings; it is
// empty when there are none.
func diagnose(v *View, res *Result) string {
	if len(res.Findings) == 0 {
		return ""
	}
	f := facts{
		count: res.Actionable, informational: len(res.Findings) - res.Actionable,
		population: res.Population, check: res.Check,
	}
	v.concentrate(res.Findings, &f)
	for _, r := range causes {
		if f.count >= r.minCount && f.share() >= r.minShare &&
			ratio(f.topCount, f.count) >= r.minTop && v.schoolCount >= r.minDistrict {
			return f.speak(r.sentence)
		}
	}
	return ""
}

// concentrate finds the school with the most actionable findings, the first by
// id where several have as many.
func (v *View) concentrate(findings []Finding, f *facts) {
	perSchool := make([]int, len(v.Orgs.Rows))
	for i := range findings {
		if !findings[i].Informational {
			perSchool[findings[i].School]++
		}
	}
	top := replica.OrgRow(0)
	for i, n := range perSchool {
		row := replica.OrgRow(i)
		if row == 0 || n == 0 || !v.schools[row] {
			continue
		}
		if n > f.topCount || n == f.topCount && v.Orgs.ID(uint32(row)) < v.Orgs.ID(uint32(top)) {
			f.topCount, top = n, row
		}
	}
	f.topSchool = v.Text(v.Orgs.Rows[top].Name)
	if f.topSchool == "" {
		f.topSchool = "the school " + v.Orgs.ID(uint32(top))
	}
}

func (f *facts) speak(sentence string) string {
	all := f.check.All
	if all == "" {
		all = f.check.Many
	}
	return strings.NewReplacer(
		"{count}", strconv.Itoa(f.count), "{informational}", strconv.Itoa(f.informational),
		"{population}", strconv.Itoa(f.population), "{percent}", percent(f.share()),
		"{counts}", f.check.Counts, "{top}", strconv.Itoa(f.topCount), "{school}", f.topSchool,
		"{all}", all, "{many}", f.check.Many, "{few}", f.check.Few,
	).Replace(sentence)
}

func percent(share float64) string {
	switch p := share * 100; {
	case p > 0 && p < 0.1:
		return "under 0.1 %"
	case p < 10:
		return fmt.Sprintf("%.1f %%", p)
	case share < 1 && p > 99:
		return "over 99 %"
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}
