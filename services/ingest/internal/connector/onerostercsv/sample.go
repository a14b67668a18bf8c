package onerostercsv

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
)

const (
	maxSamples = 5
	maxSample  = 100 // bytes
)

// Sample shows the files of a package that is mapped: their columns, with values
// of some rows.
func (c *Contents) Sample(rows int) []*ingestv1.DeliveredFile {
	var out []*ingestv1.DeliveredFile
	for _, name := range slices.Sorted(maps.Keys(c.delivered)) {
		f := &ingestv1.DeliveredFile{}
		f.Name, _, _ = BaseName(c.delivered[name].Name)
		var err error
		if f.Columns, err = sample(c.delivered[name], rows); err != nil {
			f.Error = err.Error()
		}
		out = append(out, f)
	}
	return out
}

func sample(entry *zip.File, rows int) ([]*ingestv1.DeliveredColumn, error) {
	in, err := entry.Open()
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read (%w): make the package anew", err)
	}
	defer func() { _ = in.Close() }()
	text, _, err := csvtext.Decode(in)
	if err != nil {
		return nil, err
	}
	r := csvtext.NewReader(text)
	header, comma, err := r.Header()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: its first row must name the columns")
	}
	if err != nil {
		return nil, err
	}
	r.Limit(rows)
	columns := make([]*ingestv1.DeliveredColumn, len(header))
	for i, name := range header {
		columns[i] = &ingestv1.DeliveredColumn{Name: csvtext.Visible(name)}
	}
	parser := csvtext.NewParser(comma)
	var batch csvtext.Batch
	for {
		if err := r.ReadBatch(&batch); errors.Is(err, io.EOF) {
			return slices.DeleteFunc(columns, func(c *ingestv1.DeliveredColumn) bool { return c.GetName() == "" }), nil
		} else if err != nil {
			return nil, fmt.Errorf("the file cannot be read (%w): make the package anew", err)
		}
		for i := range batch.Len() {
			row, text := batch.Row(i)
			if row.Fault != csvtext.FaultNone {
				continue
			}
			if cells, _, err := parser.Fields(row, text); err == nil {
				addSamples(columns, cells)
			}
		}
	}
}

// addSamples takes values that are not there yet. Passwords are shown to nobody.
func addSamples(columns []*ingestv1.DeliveredColumn, cells []string) {
	for i, cell := range cells[:min(len(cells), len(columns))] {
		c, v := columns[i], csvtext.Clean(cell)
		if len(v) > maxSample {
			v = strings.ToValidUTF8(v[:maxSample], "") + "…"
		}
		if v != "" && len(c.GetSamples()) < maxSamples && !slices.Contains(c.GetSamples(), v) && !csvtext.Secret(c.GetName()) {
			c.Samples = append(c.Samples, v)
		}
	}
}
