package report

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"iter"
	"strings"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/sheet"
	"github.com/securly/sync/services/readiness-engine/internal/check"
)

// ContentType of CSV.
const ContentType = "text/csv; charset=utf-8"

// chunkBytes is about how large the parts of a CSV are.
const chunkBytes = 256 << 10

var csvHeader = []string{
	"Check", "Check ID", "Severity", "Actionable", "Reason",
	"School", "School ID", "Grade", "Name", "Role", "Email",
	"Entity", "Securly Internal ID", "User Securly Internal ID", "Related Name", "Related Securly Internal ID", "How To Fix",
}

// CSV yields the findings as parts of a CSV file: the header, and a row for
// each. A part is valid until the next one.
func (r *Reports) CSV(ctx context.Context, stored *readinessv1.StoredReport, lens Lens) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var buf bytes.Buffer
		w := csv.NewWriter(&buf)
		flush := func() bool {
			w.Flush()
			if err := w.Error(); err != nil {
				yield(nil, fmt.Errorf("write CSV: %w", err))
				return false
			}
			ok := yield(buf.Bytes(), nil)
			buf.Reset()
			return ok
		}
		write := func(row []string) {
			_ = w.Write(sheet.Guard(row)) // An error stays with the writer until flush.
		}
		write(append([]string(nil), csvHeader...))
		for found, err := range r.Findings(ctx, stored, lens, 0) {
			if err != nil {
				yield(nil, err)
				return
			}
			write(csvRow(found.ReadinessFinding))
			if buf.Len() >= chunkBytes && !flush() {
				return
			}
		}
		flush()
	}
}

func csvRow(f *readinessv1.ReadinessFinding) []string {
	title, severity, howToFix := f.GetCheckId(), "", ""
	if c := check.Find(f.GetCheckId()); c != nil {
		title, severity, howToFix = c.Title, strings.ToLower(c.Severity.String()), c.HowToFix
	}
	actionable := "no"
	if f.GetActionable() {
		actionable = "yes"
	}
	user := f.GetUserSourcedId()
	if f.GetEntity() == record.EntityName(typev1.Entity_ENTITY_USERS) {
		user = f.GetSourcedId()
	}
	return []string{
		title, f.GetCheckId(), severity, actionable, f.GetReason(),
		f.GetSchoolName(), f.GetSchoolId(), strings.Join(f.GetGrades(), " "), f.GetDisplayName(), f.GetRole(), f.GetEmail(),
		f.GetEntity(), f.GetSourcedId(), user, f.GetRelatedName(), f.GetRelatedSourcedId(), howToFix,
	}
}
