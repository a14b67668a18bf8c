package mapping_test

import (
	"strings"
	"testing"

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
		"a blank date":                     {"day", &ingestv1.MappedField{Value: "{A}", DateFormat: "dd.MM.yyyy"}, "", "", "", mapping.None},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := mapping.Compile(thing(c.field, c.spec), things)
			require.NoError(t, err)
			rows, missing := m.Records[0].Bind([]string{"A", "B"})
			require.Empty(t, missing)
			got, problem := rows.Value(0, []string{c.a, c.b})
			require.Equal(t, c.want, got)
			require.Equal(t, c.problem, problem)
		})
	}
}

func TestBind(t *testing.T) {
	spec := thing("name", &ingestv1.MappedField{Value: "{First Name} {last}"})
	spec.Records[0].KeepUnmapped = true
	spec.Records[0].Where = []*ingestv1.RowCondition{{Column: "State", Values: []string{"on", ""}}}
	spec.Records = append(spec.Records, &ingestv1.MappedRecords{Entity: "things", File: "A.CSV", Fields: map[string]*ingestv1.MappedField{"name": {Value: "{Other}"}}})
	m, err := mapping.Compile(spec, things)
	require.NoError(t, err)
	require.Equal(t, []string{"a.csv"}, m.Files())

	rows, missing := m.Records[0].Bind([]string{"\uFEFFfirst_name", "LAST", "State", "Other", "Bus", "bus", "", "Room", " "})
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

	_, missing = m.Records[0].Bind([]string{"First Name", "first-name", "Last", "Last"})
	require.Len(t, missing, 2)
	require.Equal(t, "column-duplicate", missing[0].Code(), "there is one of just that name")
	require.Equal(t, mapping.HeaderError{Column: "State"}, *missing[1])
	_, missing = m.Records[0].Bind(nil)
	require.Len(t, missing, 3)

	same, err := mapping.Compile(spec, things)
	require.NoError(t, err)
	require.Equal(t, m.Identity(), same.Identity())
	spec.Records[0].KeepUnmapped = false
	other, err := mapping.Compile(spec, things)
	require.NoError(t, err)
	require.NotEqual(t, m.Identity(), other.Identity())
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
	f.Add("sourcedId", "{A}-{B}", "", "", "MM/dd/yyyy", "A,B,C", "1,2,3", true)
	f.Add("grades", "{A},{B}, ,{{x}}", "K", "{C}", "", "a,B ,c_", "K,,\"", false)
	f.Add("metadata.x", "}{", "", "}", "yyyyMMdd", "", "", true)
	f.Fuzz(func(t *testing.T, field, value, from, otherwise, format, header, row string, keep bool) {
		spec := thing(field, &ingestv1.MappedField{Value: value, DateFormat: format})
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
		rows, missing := m.Records[0].Bind(strings.Split(header, ","))
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
