package mapping_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/mapping"
)

// things have an id, a list and a name.
func things(entity string) []string {
	if entity != "things" {
		return nil
	}
	return []string{"sourcedId", "grades", "name", "day"}
}

func thing(field string, f *ingestv1.MappedField) *ingestv1.Mapping {
	return &ingestv1.Mapping{Records: []*ingestv1.MappedRecords{{Entity: "things", File: "a.csv", Fields: map[string]*ingestv1.MappedField{field: f}}}}
}

func TestValues(t *testing.T) {
	keep := "{A}"
	none := ""
	words := map[string]string{"T": "teacher", "old staff": "aide"}
	for name, c := range map[string]struct {
		field   string
		spec    *ingestv1.MappedField
		a, b    string
		want    string
		problem mapping.Problem
	}{
		"a column":                         {"name", &ingestv1.MappedField{Value: "{A}"}, " Ann ", "", "Ann", mapping.None},
		"NULL is blank":                    {"name", &ingestv1.MappedField{Value: "{A}"}, "NULL", "", "", mapping.None},
		"a text":                           {"name", &ingestv1.MappedField{Value: "student"}, "", "", "student", mapping.None},
		"braces that are meant":            {"name", &ingestv1.MappedField{Value: "{{x:{A}}}"}, "7", "", "{x:7}", mapping.None},
		"a name with a blank part":         {"name", &ingestv1.MappedField{Value: "{A} {B}"}, "Ann", "", "Ann", mapping.None},
		"a name with blank parts":          {"name", &ingestv1.MappedField{Value: "{A} of {B}"}, "", " ", "", mapping.None},
		"an id":                            {"sourcedId", &ingestv1.MappedField{Value: "{A}-{B}"}, "007", "x", "007-x", mapping.None},
		"an id with a blank part is none":  {"sourcedId", &ingestv1.MappedField{Value: "{A}-{B}"}, "007", "", "", mapping.None},
		"a list":                           {"grades", &ingestv1.MappedField{Value: "{A},{B}"}, "01", "02", "01,02", mapping.None},
		"a list with a blank item":         {"grades", &ingestv1.MappedField{Value: "{A},{B}"}, "", "02", "02", mapping.None},
		"a value":                          {"name", &ingestv1.MappedField{Value: "{A}", Values: words}, "t", "", "teacher", mapping.None},
		"a value of two words":             {"name", &ingestv1.MappedField{Value: "{A} {B}", Values: words}, "Old", "Staff", "aide", mapping.None},
		"an unknown value":                 {"name", &ingestv1.MappedField{Value: "{A}", Values: words}, "x", "", "", mapping.Uncovered},
		"a blank stays blank":              {"name", &ingestv1.MappedField{Value: "{A}", Values: words}, "", "", "", mapping.None},
		"unless it stands for something":   {"name", &ingestv1.MappedField{Value: "{A}", Values: map[string]string{"": "aide"}}, " ", "", "aide", mapping.None},
		"others are kept":                  {"name", &ingestv1.MappedField{Value: "{A}", Values: words, Otherwise: &keep}, "x", "", "x", mapping.None},
		"others are blank":                 {"name", &ingestv1.MappedField{Value: "{A}", Values: words, Otherwise: &none}, "x", "", "", mapping.None},
		"values of a list":                 {"grades", &ingestv1.MappedField{Value: "{A}", Values: map[string]string{"K": "KG", "1": ""}, Otherwise: &keep}, "k,1", "", "KG", mapping.None},
		"an unknown one in a list":         {"grades", &ingestv1.MappedField{Value: "{A}", Values: words}, "T,x", "", "", mapping.Uncovered},
		"a date":                           {"day", &ingestv1.MappedField{Value: "{A}", DateFormat: "dd.MM.yyyy"}, "04.03.2015", "", "2015-03-04", mapping.None},
		"a date in words":                  {"day", &ingestv1.MappedField{Value: "{A}", DateFormat: "d MMM yy"}, "4 Mar 15", "", "2015-03-04", mapping.None},
		"a date without anything between":  {"day", &ingestv1.MappedField{Value: "{A}", DateFormat: "yyyyMMdd"}, "20150304", "", "2015-03-04", mapping.None},
		"a date with a time":               {"day", &ingestv1.MappedField{Value: "{A}", DateFormat: "M/d/yyyy HH:mm"}, "3/4/2015 00:00", "", "2015-03-04", mapping.None},
		"a date that is written otherwise": {"day", &ingestv1.MappedField{Value: "{A}", DateFormat: "dd.MM.yyyy"}, "2015-03-04", "", "", mapping.BadDate},
		"a part":                           {"name", &ingestv1.MappedField{Value: "{A}", Split: &ingestv1.FieldSplit{At: ",", Part: 2}}, "Oak, Ann Marie ", "", "Ann Marie", mapping.None},
		"the last part":                    {"name", &ingestv1.MappedField{Value: "{A}", Split: &ingestv1.FieldSplit{At: ",", Part: -1}}, "Oak, Jr., Ann", "", "Ann", mapping.None},
		"a part that is not there":         {"name", &ingestv1.MappedField{Value: "{A}", Split: &ingestv1.FieldSplit{At: ",", Part: 2}}, "Oak", "", "", mapping.None},
		"nor from the end":                 {"name", &ingestv1.MappedField{Value: "{A}", Split: &ingestv1.FieldSplit{At: ",", Part: -3}}, "Oak, Ann", "", "", mapping.None},
		"a part of a blank":                {"name", &ingestv1.MappedField{Value: "{A}", Split: &ingestv1.FieldSplit{At: ",", Part: 1}}, "", "", "", mapping.None},
		"blanks between parts":             {"name", &ingestv1.MappedField{Value: "{A}", Split: &ingestv1.FieldSplit{At: " ", Part: 2}}, "Ann   Oak", "", "Oak", mapping.None},
		"a part of two columns":            {"sourcedId", &ingestv1.MappedField{Value: "{A}@{B}", Split: &ingestv1.FieldSplit{At: "@", Part: 1}}, "ann@x", "y", "ann", mapping.None},
		"the value of a part":              {"name", &ingestv1.MappedField{Value: "{A}", Values: words, Split: &ingestv1.FieldSplit{At: "-", Part: 1}}, "t - 7", "", "teacher", mapping.None},
		"a date in a part":                 {"day", &ingestv1.MappedField{Value: "{A}", DateFormat: "d.M.yyyy", Split: &ingestv1.FieldSplit{At: " to ", Part: -1}}, "1.2.2015 to 4.3.2015", "", "2015-03-04", mapping.None},
		"a blank date":                     {"day", &ingestv1.MappedField{Value: "{A}", DateFormat: "dd.MM.yyyy"}, "", "", "", mapping.None},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := mapping.Compile(thing(c.field, c.spec), things)
			require.NoError(t, err)
			rows, missing := m.Records[0].Bind("a.csv", []string{"A", "B"})
			require.Empty(t, missing)
			got, problem := rows.Value(0, []string{c.a, c.b})
			require.Equal(t, c.want, got)
			require.Equal(t, c.problem, problem)
		})
	}
}

func TestBind(t *testing.T) {
	spec := thing("name", &ingestv1.MappedField{Value: "{First Name} {last}"})
	spec.Records[0].KeepUnmapped, spec.Records[0].File = true, "a*.csv"
	spec.Records[0].Where = []*ingestv1.RowCondition{{Column: "State", Values: []string{"on", ""}}}
	spec.Records = append(spec.Records, &ingestv1.MappedRecords{Entity: "things", File: "A.CSV", Fields: map[string]*ingestv1.MappedField{"name": {Value: "{Other}"}}})
	m, err := mapping.Compile(spec, things)
	require.NoError(t, err)
	require.True(t, m.Reads("A.csv"))

	rows, missing := m.Records[0].Bind("a.csv", []string{"\uFEFFfirst_name", "LAST", "State", "Other", "Bus", "bus", "", "Room", " "})
	require.Empty(t, missing)
	require.Equal(t, []string{"name", "metadata.Bus", "metadata.Room"}, rows.Header(), "but what the mapping reads for other records")
	require.Equal(t, "first_name, LAST", rows.Column(0))
	require.Equal(t, 8, rows.Width())
	cells := []string{"Ann", "Oak", "ON", "", "12", "13", "", "7"}
	require.True(t, rows.Wants(cells))
	v, _ := rows.Value(2, cells)
	require.Equal(t, "7", v)
	cells[2] = "off"
	require.False(t, rows.Wants(cells))

	alone, _ := m.Records[0].Bind("a2.csv", []string{"First Name", "Last", "State", "Other"})
	require.Equal(t, []string{"name", "metadata.Other"}, alone.Header(), "what is read of another file is kept")
	_, missing = m.Records[0].Bind("a.csv", []string{"First Name", "first-name", "Last", "Last"})
	require.Len(t, missing, 2)
	require.Equal(t, "column-duplicate", missing[0].Code(), "there is one of just that name")
	require.Equal(t, mapping.HeaderError{Column: "State"}, *missing[1])
	_, missing = m.Records[0].Bind("a.csv", nil)
	require.Len(t, missing, 3)

	same, err := mapping.Compile(spec, things)
	require.NoError(t, err)
	require.Equal(t, m.Identity(), same.Identity())
	spec.Records[0].KeepUnmapped = false
	other, err := mapping.Compile(spec, things)
	require.NoError(t, err)
	require.NotEqual(t, m.Identity(), other.Identity())
}

func TestNamesOfFiles(t *testing.T) {
	for _, c := range []struct {
		file, name string
		want       bool
	}{
		{"Students.csv", "sTUDENTS.csv", true},
		{"students.csv", "students.csv2", false},
		{"students_*.csv", "Students_2026-08-12.CSV", true},
		{"students_*.csv", "students_.csv", true},
		{"students_*.csv", "students.csv", false},
		{"students_*.csv", "old_students_1.csv", false},
		{"*students*.csv", "x-students-2.csv", true},
		{"*a*a", "a", false},
		{"a*bc*c", "abc", false},
		{"a*b*c", "a-c-b-c", true},
		{"*", "x.csv", true},
		{"a[1]?.csv", "a1x.csv", false},
		{"a[1]?.csv", "a[1]?.csv", true},
	} {
		spec := thing("name", &ingestv1.MappedField{Value: "{A}"})
		spec.Records[0].File = c.file
		m, err := mapping.Compile(spec, things)
		require.NoError(t, err)
		require.Equal(t, c.want, m.Reads(c.name), "%s %s", c.file, c.name)
	}
}

func TestLimits(t *testing.T) {
	var fault *mapping.Error
	long := thing("name", &ingestv1.MappedField{Value: strings.Repeat("x", 2000)})
	_, err := mapping.Compile(long, things)
	require.ErrorAs(t, err, &fault)
	require.Equal(t, "records[0].fields.name.value", fault.Field)
	many := &ingestv1.Mapping{}
	for range 101 {
		many.Records = append(many.Records, thing("name", &ingestv1.MappedField{Value: "x"}).GetRecords()...)
	}
	_, err = mapping.Compile(many, things)
	require.ErrorAs(t, err, &fault)
	require.Equal(t, "records", fault.Field)
	large := thing("name", &ingestv1.MappedField{Value: "{A}", Values: map[string]string{}})
	for i := range 300 {
		large.Records[0].Fields["name"].Values[strings.Repeat("x", i)+"y"] = strings.Repeat("z", 1000)
	}
	_, err = mapping.Compile(large, things)
	require.ErrorAs(t, err, &fault)
}

// Whatever somebody writes, it is refused with its place or makes rows, and rows
// of the right width.
func FuzzMapping(f *testing.F) {
	f.Add("sourcedId", "{A}-{B}", "", "", "MM/dd/yyyy", "", int32(0), "A,B,C", "1,2,3", true, "a_*.csv", "A_1.csv")
	f.Add("grades", "{A},{B}, ,{{x}}", "K", "{C}", "", ",", int32(2), "a,B ,c_", "K,,\"", false, "*a*b*", "baab")
	f.Add("metadata.x", "}{", "", "}", "yyyyMMdd", " ", int32(-1), "", "", true, "a*a", "a")
	f.Fuzz(func(t *testing.T, field, value, from, otherwise, format, at string, part int32, header, row string, keep bool, pattern, file string) {
		spec := thing(field, &ingestv1.MappedField{Value: value, DateFormat: format})
		spec.Records[0].File = pattern
		if at != "" {
			spec.Records[0].Fields[field].Split = &ingestv1.FieldSplit{At: at, Part: part}
		}
		if from != "" {
			spec.Records[0].Fields[field].Values = map[string]string{from: row}
			spec.Records[0].Fields[field].Otherwise = &otherwise
			spec.Records[0].Where = []*ingestv1.RowCondition{{Column: from, Values: []string{row}, Not: keep}}
		}
		spec.Records[0].KeepUnmapped = keep
		m, err := mapping.Compile(spec, things)
		if err != nil {
			var fault *mapping.Error
			require.ErrorAs(t, err, &fault)
			require.NotEmpty(t, fault.Field)
			return
		}
		if like := strings.ReplaceAll(regexp.QuoteMeta(m.Records[0].File), `\*`, `.*`); utf8.ValidString(pattern + file) {
			require.Equal(t, regexp.MustCompile(`(?s)^`+like+`$`).MatchString(strings.ToLower(file)), m.Reads(file))
		}
		rows, missing := m.Records[0].Bind(file, strings.Split(header, ","))
		if len(missing) > 0 {
			require.Nil(t, rows)
			return
		}
		cells := strings.Split(row, ",")
		for len(cells) < rows.Width() {
			cells = append(cells, "")
		}
		rows.Wants(cells)
		for i := range rows.Header() {
			require.NotEmpty(t, rows.Column(i))
			v, problem := rows.Value(i, cells)
			require.True(t, problem == mapping.None || v == "")
			rows.Raw(i, cells)
		}
	})
}
