package onerostercsv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/platform/record"
)

// Levels of the messages of a test.
const (
	LevelError   = "error"
	LevelWarning = "warning"
	LevelNotice  = "notice"
)

// Examine tells what a package has and lacks of what a connector wants to find:
// it makes no records, but reads every row. The other parameters are those of
// Plan.
func (c *Contents) Examine(ctx context.Context, d *connector.Description, setting Setting, source string, known func(normalise.Kind) bool) (*ingestv1.TestSourceResponse, error) {
	out := &ingestv1.TestSourceResponse{Counts: map[string]int32{}}
	p, err := c.Plan(setting, source, known)
	var faults Faults
	if err != nil && !errors.As(err, &faults) {
		return nil, err
	}
	for _, f := range faults {
		out.Messages = append(out.Messages, &ingestv1.TestMessage{Level: LevelError, Code: f.Code, File: f.File, Column: f.Column, Message: f.Message})
		switch f.Code {
		case "file-missing", "file-empty", "column-missing", "mapping-missing":
			out.Required = append(out.Required, &ingestv1.DataRequirement{File: f.File, Column: f.Column, Reason: reason(d, f.File)})
		}
	}
	if p != nil { // else the manifest cannot be read
		if err := c.examine(ctx, d, p, out); err != nil {
			return nil, err
		}
	}
	for _, r := range out.GetRecommended() {
		what := r.GetFile() + " is missing"
		switch kind := strings.TrimSuffix(r.GetFile(), ".csv"); {
		case c.mapped != nil && r.GetColumn() != "":
			what = fmt.Sprintf("the mapping gives none of the %s a value in %s", kind, r.GetColumn())
		case c.mapped != nil:
			what = "the mapping makes no " + kind
		case r.GetColumn() != "":
			what = fmt.Sprintf("%s has no value in the column %q", r.GetFile(), r.GetColumn())
		}
		out.Messages = append(out.Messages, &ingestv1.TestMessage{
			Level: LevelWarning, Code: "recommended-missing", File: r.GetFile(), Column: r.GetColumn(),
			Message: what + ", which is recommended: " + r.GetReason(),
		})
	}
	out.Ok = !slices.ContainsFunc(out.GetMessages(), func(m *ingestv1.TestMessage) bool { return m.GetLevel() == LevelError })
	return out, nil
}

// reason says what a required file is for.
func reason(d *connector.Description, file string) string {
	for _, r := range d.GetRequired() {
		if r.GetFile() == file {
			return r.GetReason()
		}
	}
	return ""
}

func (c *Contents) examine(ctx context.Context, d *connector.Description, p *Plan, out *ingestv1.TestSourceResponse) error {
	filled := map[string]bool{}                  // file and column
	seen := map[normalise.Kind]map[uint64]bool{} // hashes of ids
	for _, f := range p.Files {
		if seen[f.Kind] == nil {
			seen[f.Kind] = map[uint64]bool{}
		}
		var want []string
		for _, r := range d.GetRecommended() {
			if r.GetFile() == f.Kind.File() && r.GetColumn() != "" {
				want = append(want, r.GetColumn())
			}
		}
		rows, err := f.survey(ctx, want, seen[f.Kind], func(column string) { filled[f.Kind.File()+column] = true })
		var faults Faults
		switch {
		case errors.As(err, &faults):
			out.Messages = append(out.Messages, &ingestv1.TestMessage{Level: LevelError, Code: faults[0].Code, File: faults[0].File, Message: faults[0].Message})
		case err != nil:
			return err
		}
		if _, err := record.ParseEntity(f.Kind.String()); err == nil {
			out.Counts[f.Kind.String()] += int32(rows)
		}
	}
	for _, r := range d.GetRecommended() {
		has := r.GetFile() == manifestName && (c.manifest != nil || c.mapped != nil)
		for _, f := range p.Files {
			has = has || f.Kind.File() == r.GetFile()
		}
		wrong := slices.ContainsFunc(out.GetMessages(), func(m *ingestv1.TestMessage) bool { return m.GetFile() == r.GetFile() })
		if r.GetColumn() == "" && !has || r.GetColumn() != "" && has && !wrong && !filled[r.GetFile()+r.GetColumn()] {
			out.Recommended = append(out.Recommended, r)
		}
	}
	for _, r := range p.Findings {
		found, _ := r.Result()
		for _, f := range found {
			if f.GetLevel() != finding.LevelNotice || f.GetCode() == "manifest-missing" && slices.ContainsFunc(out.GetRecommended(), func(r *ingestv1.DataRequirement) bool { return r.GetFile() == manifestName }) {
				continue
			}
			out.Messages = append(out.Messages, &ingestv1.TestMessage{Level: LevelNotice, Code: f.GetCode(), File: f.GetFile(), Column: f.GetColumn(), Message: f.GetMessage()})
		}
	}
	return nil
}

// survey counts the rows of a file and tells which columns have a value in any.
// Of a file that is mapped it counts the records: each id that is not in seen.
func (f *File) survey(ctx context.Context, columns []string, seen map[uint64]bool, has func(column string)) (rows int, err error) {
	r, comma, in, err := f.Read()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	parser := csvtext.NewParser(comma)
	blank := string(comma) + "\" \t\r\n"
	var batch csvtext.Batch
	for {
		if err := ctx.Err(); err != nil {
			return rows, err
		}
		if err := r.ReadBatch(&batch); errors.Is(err, io.EOF) {
			return rows, nil
		} else if err != nil {
			return rows, f.unreadable(err)
		}
		for i := range batch.Len() {
			row, text := batch.Row(i)
			if row.Fault == csvtext.FaultNone && len(bytes.Trim(text, blank)) == 0 {
				continue
			}
			if !f.Table.Mapped() {
				rows++
			}
			if !f.Table.Mapped() && len(columns) == 0 || row.Fault != csvtext.FaultNone {
				continue
			}
			fields, _, err := parser.Fields(row, text)
			if err != nil || f.Table.Passes(fields) {
				continue
			}
			if id := f.Table.Value("sourcedId", fields); f.Table.Mapped() && id != "" && !seen[xxhash.Sum64String(id)] {
				seen[xxhash.Sum64String(id)] = true
				rows++
			}
			columns = slices.DeleteFunc(columns, func(column string) bool {
				if f.Table.Value(column, fields) == "" {
					return false
				}
				has(column)
				return true
			})
		}
	}
}
