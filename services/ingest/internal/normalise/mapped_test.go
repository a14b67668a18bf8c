package normalise

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/mapping"
)

// Whatever a mapping makes of a row, it is a record with an id or a finding, and
// the same each time.
func FuzzMappedRow(f *testing.F) {
	f.Add(uint8(4), "{A}", "{B}", "{C},{D}", "{A} {B}", "1,x,02,student", "student", true)
	f.Add(uint8(7), "{A}-{B}", "{C}", "{D}", "text", "1,,2026-08-01,NULL", "", false)
	f.Add(uint8(5), "{A}", "{A}", "{{{A}}}", "{D}", "a,b,c,d,e", "x", true)
	f.Fuzz(func(t *testing.T, kind uint8, first, second, third, fourth, row, value string, keep bool) {
		kinds := Kinds()
		k := kinds[int(kind)%len(kinds)]
		columns := k.Columns()
		spec := &ingestv1.MappedRecords{Entity: k.String(), File: "a.csv", Fields: map[string]*ingestv1.MappedField{}, KeepUnmapped: keep}
		texts := []string{first, second, third, fourth}
		for i, c := range columns {
			if text := texts[i%len(texts)]; text != "" {
				spec.Fields[c] = &ingestv1.MappedField{Value: text}
			}
		}
		if value != "" && spec.Fields[columns[3]] != nil {
			spec.Fields[columns[3]].Values = map[string]string{value: second}
			if keep {
				spec.Fields[columns[3]].Split = &ingestv1.FieldSplit{At: first, Part: int32(kind)}
			}
			spec.Where = []*ingestv1.RowCondition{{Column: "A", Values: []string{value}, Not: keep}}
		}
		m, err := mapping.Compile(&ingestv1.Mapping{Records: []*ingestv1.MappedRecords{spec}}, func(string) []string { return columns })
		if err != nil {
			return
		}
		rows, missing := m.Records[0].Bind("a.csv", []string{"A", "B", "C", "D", "E"})
		if len(missing) > 0 {
			return
		}
		report := finding.NewReport("a.csv")
		table, err := Bind(k, rows.Header(), Options{Mapped: rows, File: "a.csv", RolesFile: true}, report)
		if err != nil {
			require.NotEmpty(t, Faults(err))
			return
		}
		cells := strings.Split(row, ",")
		if table.Passes(cells) {
			return
		}
		_, before := report.Result()
		got, ok := table.NewReader(report, report).Read(2, cells)
		_, after := report.Result()
		require.True(t, ok || after > before, "what is rejected is a finding")
		if !ok {
			return
		}
		require.NotEmpty(t, got.ID)
		again, ok := table.NewReader(report, report).Read(2, cells)
		require.True(t, ok)
		require.Equal(t, got.ID, again.ID)
	})
}
