package suggest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/mapping/suggest"
)

func delivered(files map[string]string) (out []*ingestv1.DeliveredFile) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := &ingestv1.DeliveredFile{Name: name}
		for c := range strings.SplitSeq(files[name], ",") {
			c, sample, _ := strings.Cut(c, "=")
			f.Columns = append(f.Columns, &ingestv1.DeliveredColumn{Name: c, Samples: strings.Split(strings.ReplaceAll(sample, ";", ","), "|")})
		}
		out = append(out, f)
	}
	return out
}

// shown is the suggestion as "entity file field=value …", without what is the
// same for all.
func shown(m *ingestv1.Mapping) (out []string) {
	for _, r := range m.GetRecords() {
		line := r.GetEntity() + " " + r.GetFile()
		for _, name := range slices.Sorted(maps.Keys(r.GetFields())) {
			line += fmt.Sprintf(" %s=%s", name, r.GetFields()[name].GetValue())
			if s := r.GetFields()[name].GetSplit(); s != nil {
				line += fmt.Sprintf("/%s/%d", s.GetAt(), s.GetPart())
			}
		}
		out = append(out, line)
	}
	return out
}

func TestSuggestions(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"three files": {
			map[string]string{
				"Students.csv": "Student ID,First,Last,Grade,School_ID,Email,Password,DOB,Gender",
				"teachers.csv": "Teacher_Number,First Name,Last Name,Email Address,School ID",
				"schedule.csv": "SchoolID,SectionID,Course Title,StudentID,TeacherNumber,Period",
			},
			[]string{
				"orgs Students.csv name={School_ID} sourcedId={School_ID} type=school",
				"classes schedule.csv classType=scheduled periods={Period} schoolSourcedId={SchoolID} sourcedId={SectionID} title={Course Title}",
				"users Students.csv email={Email} enabledUser=true familyName={Last} givenName={First} grades={Grade} orgSourcedIds={School_ID} role=student sourcedId={Student ID}",
				"users teachers.csv email={Email Address} enabledUser=true familyName={Last Name} givenName={First Name} orgSourcedIds={School ID} role=teacher sourcedId={Teacher_Number}",
				"enrollments schedule.csv classSourcedId={SectionID} role=student schoolSourcedId={SchoolID} sourcedId={SectionID}-{StudentID} userSourcedId={StudentID}",
				"enrollments schedule.csv classSourcedId={SectionID} primary=true role=teacher schoolSourcedId={SchoolID} sourcedId={SectionID}-{TeacherNumber} userSourcedId={TeacherNumber}",
				"demographics Students.csv birthDate={DOB} sex={Gender} sourcedId={Student ID}",
			},
		},
		"names of a database": {
			map[string]string{
				"staff.csv":  "TEACHERS.ID,TEACHERS.First_Name,TEACHERS.Last_Name,TEACHERS.SchoolID,TEACHERS.Title",
				"school.csv": "Schools.School_Number,Schools.Name",
			},
			[]string{
				"orgs school.csv name={Schools.Name} sourcedId={Schools.School_Number} type=school",
				"users staff.csv enabledUser=true familyName={TEACHERS.Last_Name} givenName={TEACHERS.First_Name} orgSourcedIds={TEACHERS.SchoolID} role={TEACHERS.Title} sourcedId={TEACHERS.ID}",
			},
		},
		"one flat file": {
			map[string]string{"export.txt": "StudentID,FirstName,LastName,School,ClassID,ClassName"},
			[]string{
				"orgs export.txt name={School} sourcedId={School} type=school",
				"classes export.txt classType=scheduled schoolSourcedId={School} sourcedId={ClassID} title={ClassName}",
				"users export.txt enabledUser=true familyName={LastName} givenName={FirstName} orgSourcedIds={School} role=student sourcedId={StudentID}",
				"enrollments export.txt classSourcedId={ClassID} role=student schoolSourcedId={School} sourcedId={ClassID}-{StudentID} userSourcedId={StudentID}",
			},
		},
		"dates in names, and names in one column": {
			map[string]string{"students_2026-08-12.csv": "ID,Name=Oak; Ann|Elm; Bo", "Staff 08122026 0130.csv": "ID,Teacher Name=Tree; Tom"},
			[]string{
				"users students_*.csv enabledUser=true familyName={Name}/,/1 givenName={Name}/,/2 role=student sourcedId={ID}",
				"users Staff *.csv enabledUser=true familyName={Teacher Name}/,/1 givenName={Teacher Name}/,/2 role=teacher sourcedId={ID}",
			},
		},
		"names that are not taken apart": {map[string]string{"students.csv": "ID,Name=Oak; Ann|Bo Elm"}, nil},
		"nothing that is known":          {map[string]string{"menu.csv": "Day,Meal"}, nil},
		"odd names":                      {map[string]string{"students.csv": "Student{ID},,First,Last,."}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := suggest.Mapping(delivered(c.files))
			require.Equal(t, c.want, shown(got))
			_, err := onerostercsv.Mapping(got)
			require.NoError(t, err, "what is suggested can be saved")
		})
	}
}
