package guardian

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/normalise"
)

// Levels of the messages of a preview.
const (
	levelError   = "error"
	levelWarning = "warning"
)

// shownFindings is how many findings a preview has.
const shownFindings = 100

// Preview tells how a file would be read and what would come of it. last is what
// the roster is from, nil for nothing. Of in, Columns and Report are made here.
func Preview(ctx context.Context, in Input, last *ingestv1.GuardianReport) (*ingestv1.PreviewGuardiansResponse, error) {
	out := &ingestv1.PreviewGuardiansResponse{File: in.File.Name, Guardians: proto.CloneOf(in.Settings)}
	if out.Guardians == nil {
		out.Guardians = &ingestv1.GuardianFile{}
	}
	in.Report, in.Rows = finding.NewReport(in.File.Name), func(int) {}
	var faults []*normalise.Fault
	in.Columns, faults = Open(in.File, in.Settings, in.Report)
	out.Messages = Messages(faults)
	if in.Columns == nil {
		return out, nil
	}
	if err := columns(ctx, in, out); err != nil {
		return nil, err
	}
	if len(faults) > 0 {
		return out, nil
	}
	err := keyMatches(ctx, in, out)
	if err == nil {
		out.Report, err = Match(ctx, in, func(layer.Entry) error { return nil })
	}
	if err != nil {
		return nil, err
	}
	Compare(out.GetReport(), last)
	out.HoldReasons = Holds(out.GetReport(), in.Settings)
	found, total := in.Report.Result()
	out.Findings, out.FindingsCount = found[:min(len(found), shownFindings)], int32(total)
	return out, nil
}

// Messages say what is wrong with a file.
func Messages(faults []*normalise.Fault) (out []*ingestv1.TestMessage) {
	for _, f := range faults {
		out = append(out, &ingestv1.TestMessage{Level: levelError, Code: f.Code, File: f.File, Column: f.Column, Message: f.Message})
	}
	return out
}

func fault(file, code, format string, args ...any) []*normalise.Fault {
	return []*normalise.Fault{{File: file, Code: code, Message: fmt.Sprintf(format, args...)}}
}

// Open reads the header of a file. The columns are nil if there is none that
// could be read.
func Open(f File, g *ingestv1.GuardianFile, report *finding.Report) (*Columns, []*normalise.Fault) {
	header, rows, err := f.begin(g.GetNoHeader())
	if err != nil {
		return nil, fault(f.Name, "file-unreadable", "the file cannot be read (%v): make it anew", err)
	}
	c, faults := Bind(f.Name, header, g, report)
	if len(faults) == 0 && !rows {
		faults = fault(f.Name, "file-empty", "the file has no rows, which is taken for a failed export: send the file as it should be")
	}
	return c, faults
}

// Unreadable is the fault of a file that breaks off while it is read; none if an
// error of Match is another one.
func Unreadable(f File, err error) []*normalise.Fault {
	var broken *readError
	if !errors.As(err, &broken) {
		return nil
	}
	return fault(f.Name, "file-unreadable", "the file cannot be read to its end (%v): make it anew", broken.err)
}

// columns counts the rows that have a value in each column, and says which
// recommended ones are missing.
func columns(ctx context.Context, in Input, out *ingestv1.PreviewGuardiansResponse) error {
	c := in.Columns
	for i, name := range c.Header {
		f := c.fieldAt(i)
		out.Columns = append(out.Columns, &ingestv1.GuardianColumn{Name: name, Field: string(f)})
		if f != "" {
			if out.Guardians.Columns == nil {
				out.Guardians.Columns = map[string]string{}
			}
			out.Guardians.Columns[string(f)] = name
		}
	}
	err := in.File.each(ctx, c, in.Settings.GetNoHeader(), finding.NewReport(in.File.Name), func(_ int, fields []string) error {
		for i, value := range fields[:min(len(fields), len(out.Columns))] {
			if csvtext.Clean(value) != "" {
				out.Columns[i].Filled++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.odd {
		out.Messages = append(out.Messages, &ingestv1.TestMessage{
			Level: levelWarning, Code: "header-odd", File: in.File.Name,
			Message: "the first row looks like one with values: if the file has no header, set the source to that",
		})
	}
	for _, a := range advice {
		if at, ok := c.at[a.field]; ok && out.Columns[at].GetFilled() > 0 {
			continue
		}
		out.Messages = append(out.Messages, &ingestv1.TestMessage{
			Level: levelWarning, Code: "recommended-missing", File: in.File.Name, Column: c.name(a.field),
			Message: fmt.Sprintf("no column has a value for %s, which is recommended: %s", a.field, a.reason),
		})
	}
	return nil
}

// studentKeys are those that a student can be known by.
var studentKeys = []ingestv1.GuardianKey{
	ingestv1.GuardianKey_SOURCED_ID, ingestv1.GuardianKey_IDENTIFIER, ingestv1.GuardianKey_USER_ID, ingestv1.GuardianKey_EMAIL,
}

// keyMatches counts the rows that name a student by each key.
func keyMatches(ctx context.Context, in Input, out *ingestv1.PreviewGuardiansResponse) (err error) {
	sorter := layer.NewSorter(in.TempDir, sortMemory)
	defer func() { err = errors.Join(err, sorter.Close()) }()
	rows, buffer := int32(0), sorter.Buffer()
	ignore := in.Settings.GetIgnoreLeadingZeros()
	part := layer.Part(len(studentKeys))
	err = in.File.each(ctx, in.Columns, in.Settings.GetNoHeader(), finding.NewReport(in.File.Name), func(number int, fields []string) error {
		rows++
		if len(fields) < in.Columns.width {
			return nil
		}
		key := in.Columns.get(fields, Student)
		if key == "" || len(key) > maxCell {
			return nil
		}
		return buffer.Add(layer.Item{ID: []byte(canonical(key, ignore)), Part: part, Row: number})
	})
	if err != nil {
		return err
	}
	for e, err := range in.Users {
		if err != nil {
			return err
		}
		u, err := user(e)
		if err != nil {
			return err
		}
		if !isStudent(u) {
			continue
		}
		for i, by := range studentKeys {
			for _, key := range keys(u, by) {
				if err := buffer.Add(layer.Item{ID: []byte(canonical(key, ignore)), Part: layer.Part(i)}); err != nil {
					return err
				}
			}
		}
	}
	buffer.Close()
	matched := make([]int32, len(studentKeys))
	has := make([]bool, len(studentKeys))
	finish := func() error { clear(has); return nil }
	for it, err := range groups(sorter, finish) {
		switch {
		case err != nil:
			return err
		case it.Part < part:
			has[it.Part] = true
		default:
			for i := range matched {
				if has[i] {
					matched[i]++
				}
			}
		}
	}
	for i, by := range studentKeys {
		out.Keys = append(out.Keys, &ingestv1.GuardianKeyMatch{Key: by, MatchedRows: matched[i], MatchPercent: percent(matched[i], rows)})
	}
	slices.SortStableFunc(out.Keys, func(a, b *ingestv1.GuardianKeyMatch) int { return int(b.GetMatchedRows() - a.GetMatchedRows()) })
	return nil
}

// Find returns the file of a package: the one CSV file that it has, or of several
// the one whose name says that it is of guardians.
func Find(c *onerostercsv.Contents) (File, []*normalise.Fault) {
	files := c.CSV()
	if len(files) > 1 {
		named := slices.DeleteFunc(slices.Clone(files), func(f onerostercsv.CSVFile) bool {
			return !strings.Contains(strings.ToLower(f.Name), "guardian")
		})
		if len(named) == 1 {
			files = named
		}
	}
	switch {
	case len(files) == 0:
		return File{}, fault("", "file-missing", "the package has no guardian file: it needs one CSV file")
	case len(files) > 1:
		return File{}, fault(files[1].Name, "file-ambiguous", "the package has several CSV files: send the guardian file alone, or call it guardians.csv")
	}
	return File{Name: files[0].Name, Open: files[0].Open}, nil
}
