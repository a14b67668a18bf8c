package onerostercsv

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/normalise"
)

// manifest is what manifest.csv says: by file name in lower case, without
// extension, one of absent, bulk and delta.
type manifest struct {
	files map[string]string
}

// maxManifest bounds the rows of a manifest; the standard has some thirty.
const maxManifest = 1000

// mode returns how the file of a kind is declared.
func (m *manifest) mode(k normalise.Kind) (mode layer.Mode, declared bool) {
	switch m.files[strings.ToLower(k.String())] {
	case "bulk":
		return layer.Bulk, true
	case "delta":
		return layer.Delta, true
	case "absent":
		return layer.Absent, true
	}
	return layer.Absent, false
}

func (c *Contents) readManifest(report func(string) *finding.Report) (*manifest, error) {
	m := &manifest{files: map[string]string{}}
	if c.manifest == nil {
		return m, nil
	}
	fault := func(code, format string, args ...any) (*manifest, error) {
		return nil, Faults{{File: manifestName, Code: code, Message: fmt.Sprintf(format, args...)}}
	}
	in, err := c.manifest.Open()
	if err != nil {
		return fault("file-unreadable", "the file cannot be read (%v): make the package anew", err)
	}
	defer func() { _ = in.Close() }()
	text, _, err := csvtext.Decode(in)
	if err != nil {
		return fault("file-unreadable", "%v", err)
	}
	r := csvtext.NewReader(text)
	header, comma, err := r.Header()
	if errors.Is(err, io.EOF) {
		report(manifestName).File("file-empty", "", "the manifest is empty; the files were read as complete copies")
		return m, nil
	}
	if err != nil {
		return fault("file-unreadable", "%v", err)
	}
	r.Expect(2)
	if len(header) < 2 || !strings.EqualFold(strings.TrimSpace(header[0]), "propertyName") {
		report(manifestName).File("manifest-header", "", "the manifest does not begin with the header propertyName,value")
		m.set(header, 1, report)
	}
	parser := csvtext.NewParser(comma)
	var batch csvtext.Batch
	for rows := 0; ; rows += batch.Len() {
		if err := r.ReadBatch(&batch); errors.Is(err, io.EOF) {
			return m, nil
		} else if err != nil {
			return fault("file-unreadable", "the file cannot be read to its end (%v): make the package anew", err)
		}
		if rows > maxManifest {
			return fault("file-unreadable", "the manifest has more than %d rows", maxManifest)
		}
		for i := range batch.Len() {
			row, text := batch.Row(i)
			if row.Fault != csvtext.FaultNone {
				return fault("file-unreadable", "row %d cannot be read: check its quotes", row.Number)
			}
			fields, _, err := parser.Fields(row, text)
			if err != nil {
				return fault("file-unreadable", "row %d: %v", row.Number, err)
			}
			m.set(fields, row.Number, report)
		}
	}
}

// set takes one row of the manifest.
func (m *manifest) set(fields []string, row int, report func(string) *finding.Report) {
	if len(fields) < 2 {
		return
	}
	property, value := strings.TrimSpace(fields[0]), strings.ToLower(strings.TrimSpace(fields[1]))
	if strings.EqualFold(property, "oneroster.version") && value != "1.0" && value != "1.1" && value != "1.2" && !strings.HasPrefix(value, "1.2.") {
		report(manifestName).Notice("manifest-version", row, "value", "the version is not one that is known; the headers decide")
	}
	if len(property) < 5 || !strings.EqualFold(property[:5], "file.") {
		return
	}
	// Some writers take over the asterisk that marks new rows in the standard's table.
	name := strings.ToLower(strings.TrimSuffix(property[5:], "*"))
	if _, roster := rosterFiles[name+".csv"]; !roster {
		if !otherFiles[name+".csv"] {
			report(manifestName).Notice("manifest-file-unknown", row, "propertyName", "the manifest names a file that OneRoster does not have")
		}
		return
	}
	switch value {
	case "bulk", "delta", "absent":
		m.files[name] = value
	default:
		report(manifestName).Notice("manifest-mode-unknown", row, "value", "a file is neither bulk, delta nor absent; it was taken as if the row were missing")
	}
}
