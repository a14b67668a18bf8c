package onerostercsv

import (
	"archive/zip"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/mapping"
	"github.com/securly/sync/services/ingest/internal/normalise"
)

// Setting says how a source's packages are to be taken.
type Setting string

// The settings. Auto follows the manifest.
const (
	Auto  Setting = "auto"
	Bulk  Setting = "bulk"
	Delta Setting = "delta"
)

// SettingOf reads it from the settings of a source.
func SettingOf(settings *structpb.Struct) Setting {
	return cmp.Or(Setting(settings.GetFields()["mode"].GetStringValue()), Auto)
}

// Faults are what is wrong with files as a whole: the package cannot be taken.
type Faults []*normalise.Fault

// Error says the first and how many there are.
func (f Faults) Error() string {
	if len(f) == 1 {
		return f[0].Error()
	}
	return fmt.Sprintf("%s (and %d more, see the findings)", f[0].Error(), len(f)-1)
}

// Findings are the faults as findings.
func (f Faults) Findings() []*ingestv1.SyncFinding {
	out := make([]*ingestv1.SyncFinding, len(f))
	for i, x := range f {
		out[i] = &ingestv1.SyncFinding{Level: finding.LevelFile, Code: x.Code, File: x.File, Column: x.Column, Message: x.Message}
	}
	return out
}

// File is one file of a package, ready to be read. A file that is mapped to
// several kinds, or several times to one, is there once for each.
type File struct {
	Kind   normalise.Kind
	Name   string
	Mode   layer.Mode
	Size   int64
	Table  *normalise.Table
	Report *finding.Report
	// Text is for what is wrong with the rows, whatever they are mapped to: only
	// that of the first File of a file is among the findings.
	Text  *finding.Report
	entry *zip.File
	limit int
}

// Plan is what a package holds and how to take it.
type Plan struct {
	// Files to read, in the order of normalise.Kind.
	Files []*File
	// Findings about the package that belong to no file that is read.
	Findings []*finding.Report
	// Partial tells that the package, or some file of it, says only what has
	// changed since the one before.
	Partial bool
	// Mapping recognises how the files are mapped; empty if they are not.
	Mapping string
}

// File returns the first file of a kind, or nil.
func (p *Plan) File(k normalise.Kind) *File {
	for _, f := range p.Files {
		if f.Kind == k {
			return f
		}
	}
	return nil
}

// Head has no more than some rows read of each file.
func (p *Plan) Head(rows int) {
	for _, f := range p.Files {
		f.limit = rows
	}
}

// Mode returns how the file of a kind is to be taken.
func (p *Plan) Mode(k normalise.Kind) layer.Mode {
	if f := p.File(k); f != nil {
		return f.Mode
	}
	return layer.Absent
}

// required are the files without which there is no roster.
var required = []normalise.Kind{normalise.Users, normalise.Classes, normalise.Enrollments}

// Plan works out what each file is. known tells which kinds the source has
// delivered before. It fails with Faults.
func (c *Contents) Plan(setting Setting, source string, known func(normalise.Kind) bool) (*Plan, error) {
	p := &Plan{Mapping: c.mapped.Identity()}
	var faults Faults
	fault := func(file, code, format string, args ...any) {
		f := &normalise.Fault{File: file, Code: code, Message: fmt.Sprintf(format, args...)}
		if !slices.ContainsFunc(faults, func(was *normalise.Fault) bool { return *was == *f }) {
			faults = append(faults, f)
		}
	}
	reports := map[string]*finding.Report{}
	report := func(file string) *finding.Report {
		if reports[file] == nil {
			reports[file] = finding.NewReport(file)
			p.Findings = append(p.Findings, reports[file])
		}
		return reports[file]
	}
	m, err := c.readManifest(report)
	if err != nil {
		return nil, err
	}
	for _, n := range c.notices {
		report(n.file).File(n.code, "", n.message)
	}

	var found []*part // that can be read, in order of their kinds
	modes := map[normalise.Kind]layer.Mode{}
	anyDelta := false
	for _, k := range normalise.Kinds() {
		parts := c.parts(k)
		mode, declared := m.mode(k)
		switch {
		case len(parts) == 0:
			if mode != layer.Absent {
				fault(k.File(), "manifest-file-missing", "manifest.csv says that file.%s is %s, but the package has no %s: add it, or mark it absent", k, m.files[strings.ToLower(k.String())], k.File())
			}
			continue
		case declared && mode == layer.Absent:
			fault(k.File(), "manifest-file-present", "manifest.csv says that file.%s is absent, but the package has it: remove it, or correct the manifest", k)
			continue
		case c.manifest != nil && !declared:
			report(manifestName).File("manifest-row-missing", "", fmt.Sprintf("the manifest does not say what %s is; it was read as a complete copy", k.File()))
		}
		if mode == layer.Absent {
			mode = layer.Bulk
		}
		mode = c.override(setting, mode, declared, k, report)
		p.Partial = p.Partial || mode == layer.Delta
		modes[k] = mode
		whole := true // all that makes the kind is there
		for _, part := range parts {
			var err error
			if part.entry != nil {
				part.head, err = readHead(part.entry)
			}
			switch {
			case err != nil:
				fault(part.name, "file-unreadable", "%v", err)
			case len(part.fit) > 1:
				fault(part.name, "file-ambiguous", "%s and %s both fit the name %s in the mapping: remove the one that is not meant, or have the mapping name the file more closely",
					part.fit[0], part.name, part.records.File)
			case part.head.some(), mode == layer.Delta: // no rows are no changes
				continue
			case slices.Contains(required, k) && part.head == nil:
				fault(part.name, "file-missing", "the mapping makes %s of the file, and it is missing from the package: add it", k)
			case slices.Contains(required, k):
				fault(part.name, "file-empty", "the required file has no rows: a roster without any is taken for a failed export; send the file as it should be")
			case part.head == nil:
				report(part.name).File("file-missing", "", fmt.Sprintf("the mapping makes %s of the file, and it is missing from the package; those from before stay", k))
			default:
				report(part.name).File("file-empty", "", "the file has no rows and was taken as absent; records from before stay")
			}
			whole = false
		}
		if !whole {
			continue
		}
		for _, part := range parts {
			if part.head.some() {
				found = append(found, part)
				anyDelta = anyDelta || mode == layer.Delta
			}
		}
	}
	manifestOnly := len(c.files) == 0 && c.manifest != nil
	p.Partial = p.Partial || manifestOnly
	for _, k := range required {
		if mode, _ := m.mode(k); mode != layer.Absent {
			continue // what is wrong with it is said already
		}
		partial := anyDelta || manifestOnly || setting == Delta
		switch {
		case len(c.parts(k)) > 0 || partial && known(k):
		case c.mapped != nil:
			fault(k.File(), "mapping-missing", "the mapping of the source makes no %s: say of which file they are made", k)
		default:
			fault(k.File(), "file-missing", "the required file is missing from the package: add it")
		}
	}

	for _, name := range slices.Sorted(maps.Keys(c.delivered)) {
		if !Reads(c.mapped)(name) {
			report(name).File("file-unused", "", "no part of the mapping reads the file")
		}
	}
	read := map[string]bool{}
	rolesFile := slices.ContainsFunc(found, func(part *part) bool { return part.kind == normalise.Roles })
	for _, part := range found {
		k, h, r := part.kind, part.head, report(part.name)
		text := r
		if read[part.name] {
			// It is the same text, and what is to be said of it is said.
			r, text = finding.NewReport(part.name), finding.NewReport(part.name)
			p.Findings = append(p.Findings, r)
		}
		read[part.name] = true
		if h.encoding == csvtext.UTF16LE || h.encoding == csvtext.UTF16BE {
			text.File("encoding-utf-16", "", "the file is written in "+string(h.encoding)+"; the standard wants UTF-8")
		}
		if h.comma != ',' {
			text.File("delimiter", "", fmt.Sprintf("the values are separated by %q; the standard wants commas", h.comma))
		}
		opts := normalise.Options{
			Source: source, Delta: modes[k] == layer.Delta, RolesFile: rolesFile, RolesKnown: known(normalise.Users), File: part.name,
		}
		header := h.header
		if part.records != nil {
			var missing []*mapping.HeaderError
			opts.Mapped, missing = part.records.Bind(part.name, h.header)
			for _, e := range missing {
				faults = append(faults, &normalise.Fault{File: part.name, Column: e.Column, Code: e.Code(), Message: e.Error()})
			}
			if len(missing) > 0 {
				continue
			}
			header = opts.Mapped.Header()
			opts.RolesKnown = opts.RolesKnown && len(c.parts(normalise.Roles)) > 0
		}
		table, err := normalise.Bind(k, header, opts, r)
		if found := normalise.Faults(err); len(found) > 0 {
			faults = append(faults, found...)
			continue
		}
		if err != nil {
			return nil, err
		}
		if part.records == nil && table.Statuses() && modes[k] == layer.Bulk && setting == Auto && h.status {
			r.File("bulk-with-status", "status", "the file is declared a complete copy, but its rows have a status as in a delta; it was read as a complete copy")
		}
		p.Files = append(p.Files, &File{
			Kind: k, Name: part.name, Mode: modes[k], Size: int64(part.entry.UncompressedSize64), Table: table, Report: r, Text: text, entry: part.entry,
		})
	}
	if c.manifest == nil && c.mapped == nil {
		version := "1.2"
		if f := p.File(normalise.Users); f != nil && f.Table.FlatRoles {
			version = "1.1"
		}
		report(manifestName).File("manifest-missing", "", "the package has no manifest.csv; by its headers it was read as OneRoster "+version)
	}
	if len(faults) > 0 {
		return p, faults
	}
	return p, nil
}

// override applies the source's setting to what the manifest says.
func (c *Contents) override(s Setting, mode layer.Mode, declared bool, k normalise.Kind, report func(string) *finding.Report) layer.Mode {
	want := mode
	switch s {
	case Bulk:
		want = layer.Bulk
	case Delta:
		want = layer.Delta
	}
	if declared && want != mode {
		report(k.File()).File("mode-overridden", "", "the manifest says otherwise, but the source is set to read every file as "+string(s))
	}
	return want
}

// Read opens the text of the file behind its header.
func (f *File) Read() (*csvtext.Reader, byte, io.Closer, error) {
	in, err := f.entry.Open()
	if err != nil {
		return nil, 0, nil, f.unreadable(err)
	}
	text, _, err := csvtext.Decode(in)
	if err == nil {
		r := csvtext.NewReader(text)
		var comma byte
		if _, comma, err = r.Header(); err == nil {
			r.Expect(f.Table.Width())
			r.Limit(f.limit)
			return r, comma, in, nil
		}
	}
	_ = in.Close()
	return nil, 0, nil, f.unreadable(err)
}

// unreadable is the fault of a file that breaks off while it is read.
func (f *File) unreadable(err error) error {
	return Faults{{File: f.Name, Code: "file-unreadable", Message: fmt.Sprintf("the file cannot be read to its end (%v): make the package anew", err)}}
}

// Unreadable is what an error of the reader that Read returned means.
func (f *File) Unreadable(err error) error { return f.unreadable(err) }

// head is what the beginning of a file tells.
type head struct {
	header   []string
	comma    byte
	encoding csvtext.Encoding
	rows     int  // 0 or 1
	status   bool // the first row has a status
}

// some tells whether there is a file and it has rows.
func (h *head) some() bool { return h != nil && h.rows > 0 }

func readHead(entry *zip.File) (*head, error) {
	in, err := entry.Open()
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read (%w): make the package anew", err)
	}
	defer func() { _ = in.Close() }()
	text, encoding, err := csvtext.Decode(in)
	if err != nil {
		return nil, err
	}
	h := &head{encoding: encoding}
	r := csvtext.NewReader(text)
	h.header, h.comma, err = r.Header()
	if errors.Is(err, io.EOF) {
		return h, nil
	}
	if err != nil {
		return nil, err
	}
	parser := csvtext.NewParser(h.comma)
	statusAt := slices.IndexFunc(h.header, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "status") })
	var batch csvtext.Batch
	for {
		if err := r.ReadBatch(&batch); errors.Is(err, io.EOF) {
			return h, nil
		} else if err != nil {
			return nil, fmt.Errorf("the file cannot be read (%w): make the package anew", err)
		}
		for i := range batch.Len() {
			row, text := batch.Row(i)
			fields, _, err := parser.Fields(row, text)
			if row.Fault == csvtext.FaultNone && err == nil && normalise.Blank(fields) {
				continue
			}
			h.rows = 1
			h.status = statusAt >= 0 && statusAt < len(fields) && strings.TrimSpace(fields[statusAt]) != ""
			return h, nil
		}
	}
}
