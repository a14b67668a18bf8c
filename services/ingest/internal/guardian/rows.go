package guardian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/normalise"
)

// maxCell bounds a value in bytes, so that what is kept of a row is bounded too.
const maxCell = 1024

// File is a guardian file.
type File struct {
	Name string
	Open func() (io.ReadCloser, error)
}

// readError is that of a file whose text cannot be read.
type readError struct{ err error }

func (e *readError) Error() string { return "read a guardian file: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

func broken(err error) error {
	if err == nil {
		return nil
	}
	return &readError{err}
}

// begin reads the first row, and tells whether there are any with values.
func (f File) begin(noHeader bool) (header []string, rows bool, err error) {
	r, _, in, err := f.text()
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	header, comma, err := r.Header()
	if errors.Is(err, io.EOF) {
		return nil, false, nil
	}
	if err != nil || noHeader {
		return header, true, err
	}
	parser := csvtext.NewParser(comma)
	var batch csvtext.Batch
	for {
		if err := r.ReadBatch(&batch); errors.Is(err, io.EOF) {
			return header, false, nil
		} else if err != nil {
			return header, false, err
		}
		for i := range batch.Len() {
			row, text := batch.Row(i)
			fields, _, err := parser.Fields(row, text)
			if row.Fault != csvtext.FaultNone || err != nil || !normalise.Blank(fields) {
				return header, true, nil
			}
		}
	}
}

func (f File) text() (*csvtext.Reader, csvtext.Encoding, io.Closer, error) {
	in, err := f.Open()
	if err != nil {
		return nil, "", nil, err
	}
	text, encoding, err := csvtext.Decode(in)
	if err != nil {
		return nil, "", nil, errors.Join(err, in.Close())
	}
	return csvtext.NewReader(text), encoding, in, nil
}

// each calls do for all rows that have a value and can be split, with their
// numbers.
func (f File) each(ctx context.Context, c *Columns, noHeader bool, report *finding.Report, do func(number int, fields []string) error) (err error) {
	r, encoding, in, err := f.text()
	if err != nil {
		return broken(err)
	}
	defer func() { err = errors.Join(err, broken(in.Close())) }()
	header, comma, err := r.Header()
	if err != nil {
		return broken(err)
	}
	if encoding == csvtext.UTF16LE || encoding == csvtext.UTF16BE {
		report.File("encoding-utf-16", "", "the file is written in "+string(encoding)+"; UTF-8 is the usual encoding")
	}
	if noHeader {
		if err := do(1, header); err != nil {
			return err
		}
	}
	r.Expect(c.width)
	parser := csvtext.NewParser(comma)
	var batch csvtext.Batch
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.ReadBatch(&batch); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return broken(err)
		}
		for i := range batch.Len() {
			row, text := batch.Row(i)
			recoded := parser.Recoded
			fields, lazy, err := parser.Fields(row, text)
			switch {
			case row.Fault != csvtext.FaultNone:
				report.Reject("row-quotes", row.Number, "", "", "the row has a quote that is never closed, or is far too long")
				fields = nil
			case err != nil:
				report.Reject("row-unreadable", row.Number, "", "", "the row is not text in UTF-8 or Windows-1252")
				fields = nil
			case normalise.Blank(fields):
				continue
			case lazy:
				report.Value("quotes-stray", row.Number, "", "", "quotes in the row break the rules and were taken as they stand: double a quote that belongs to a value")
			}
			if parser.Recoded > recoded {
				report.Notice("encoding-windows-1252", row.Number, "", "the row is not UTF-8 and was read as Windows-1252: save the file as CSV UTF-8")
			}
			if err := do(row.Number, fields); err != nil {
				return err
			}
		}
	}
}

// reader makes of rows what they say. A row is a guardian with one agent: the
// relationship, with the student's key for its id.
type reader struct {
	c      *Columns
	report *finding.Report
	source string

	number int
	fields []string
}

// read reads a row. False means that it was rejected, with a finding.
func (r *reader) read(number int, fields []string) (*typev1.User, bool) {
	r.number, r.fields = number, fields
	if fields == nil { // that is said already
		return nil, false
	}
	c := r.c
	if len(fields) < c.width || len(fields) > c.width && !normalise.Blank(fields[c.width:]) {
		r.report.Reject("row-ragged", number, "", "", "the row has another number of values than the header: check commas and quotes")
		return nil, false
	}
	key, id := c.get(fields, Student), c.get(fields, Guardian)
	switch {
	case key == "":
		r.report.Reject("student-missing", number, c.name(Student), "", "the row names no student")
		return nil, false
	case len(key) > maxCell:
		r.report.Reject("id-too-long", number, c.name(Student), "", fmt.Sprintf("the value is longer than %d bytes", maxCell))
		return nil, false
	case len(id) > maxCell:
		r.report.Reject("id-too-long", number, c.name(Guardian), "", fmt.Sprintf("the id is longer than %d bytes", maxCell))
		return nil, false
	}
	u := &typev1.User{
		SourcedId: id, GivenName: r.get(GivenName), FamilyName: r.get(FamilyName),
		Email: r.get(Email), Phone: r.get(Phone), Sms: r.get(MobilePhone), Address: r.address(),
	}
	if u.Email != "" && !normalise.Email(u.Email) {
		r.dropped("email-invalid", Email, "the value is no email address and was left out")
		u.Email = ""
	}
	if u.Phone == "" {
		u.Phone = u.Sms
	}
	if language := r.get(Language); language != "" {
		u.Metadata = map[string]string{"language": language}
	}
	link := &typev1.Relationship{
		SourcedId: key, Source: r.source, Relationship: r.get(Relationship),
		Custody: r.boolean(Custody), DataAccess: r.boolean(DataAccess), Priority: r.priority(),
	}
	link.ContactType = r.contactType(link.GetRelationship())
	u.Agents = []*typev1.Relationship{link}
	if id == "" && u.GetEmail() == "" && u.GetPhone() == "" && u.GetGivenName() == "" && u.GetFamilyName() == "" {
		r.report.Reject("guardian-missing", number, c.name(Guardian), "", "the row tells neither the guardian's id nor name, email or phone number")
		return nil, false
	}
	return u, true
}

func (r *reader) dropped(code string, f Field, message string) {
	r.report.Value(code, r.number, r.c.name(f), "", message)
}

func (r *reader) get(f Field) string {
	s := r.c.get(r.fields, f)
	if len(s) > maxCell {
		r.dropped("value-too-long", f, fmt.Sprintf("the value is longer than %d bytes and was left out", maxCell))
		return ""
	}
	return s
}

func (r *reader) boolean(f Field) *bool {
	b, ok := normalise.Boolean(r.get(f))
	if !ok {
		r.dropped("boolean-invalid", f, "the value is neither true nor false and was left out")
	}
	return b
}

func (r *reader) priority() int32 {
	s := r.get(Priority)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		r.dropped("number-invalid", Priority, "the value is no number from 0 on and was left out")
		return 0
	}
	return int32(n)
}

func (r *reader) address() *typev1.Address {
	street := r.get(Address1)
	if second := r.get(Address2); second != "" {
		street = strings.TrimPrefix(street+", "+second, ", ")
	}
	a := &typev1.Address{Street: street, City: r.get(City), State: r.get(State), Zip: r.get(Zip)}
	if a.GetStreet() == "" && a.GetCity() == "" && a.GetState() == "" && a.GetZip() == "" {
		return nil
	}
	return a
}

// The types of contacts that there are, with words for them.
var contactTypes = []struct {
	is    string
	words []string
}{
	{"emergency", []string{"emergency", "emergencycontact"}},
	{"parent", []string{"parent", "mother", "father", "mom", "dad", "stepmother", "stepfather", "stepparent", "biologicalparent"}},
	{"guardian", []string{"guardian", "legalguardian", "fosterparent"}},
}

// contactType reads what a contact is, from the word for the relationship if the
// file does not say it.
func (r *reader) contactType(relationship string) string {
	said := r.get(ContactType)
	word := said
	if word == "" {
		word = relationship
	}
	folded := csvtext.Fold(word)
	for _, t := range contactTypes {
		if slices.Contains(t.words, folded) {
			return t.is
		}
	}
	if said != "" {
		r.report.Notice("contact-type-unknown", r.number, r.c.name(ContactType), "the value is neither parent, guardian nor emergency, and was left out")
	}
	return ""
}
