// Package finding gathers what is wrong with a source's data. A finding names
// file, row, column and kind of value, never the value of a person's field.
package finding

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
)

// Levels say what was lost.
const (
	LevelFile   = "file"
	LevelRow    = "row"
	LevelValue  = "value"
	LevelNotice = "notice"
)

// KeptPerCode is how many findings of one code are kept in full per file; all are counted.
const KeptPerCode = 2000

// Report gathers the findings of one file. Workers share it.
type Report struct {
	file string

	mu       sync.Mutex
	total    int
	rejected int
	perCode  map[string]int
	kept     []*ingestv1.SyncFinding
	notices  map[noticeKey]*notice
}

type noticeKey struct{ code, column string }

type notice struct {
	count, row int
	message    string
}

// NewReport starts the report of a file, "users.csv" for example.
func NewReport(file string) *Report {
	return &Report{file: file, perCode: map[string]int{}, notices: map[noticeKey]*notice{}}
}

// File records something about the whole file of which nothing was lost.
func (r *Report) File(code, column, message string) {
	r.add(LevelNotice, code, 0, column, "", message)
}

// Reject records a row that was not read into a record.
func (r *Report) Reject(code string, row int, column, id, message string) {
	r.mu.Lock()
	r.rejected++
	r.mu.Unlock()
	r.add(LevelRow, code, row, column, id, message)
}

// Value records a value that was dropped or altered while its row was kept.
func (r *Report) Value(code string, row int, column, id, message string) {
	r.add(LevelValue, code, row, column, id, message)
}

// Notice records a habit of the file of which nothing was lost. It becomes one
// finding for the file, however often it is seen.
func (r *Report) Notice(code string, row int, column, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := noticeKey{code, column}
	n := r.notices[key]
	if n == nil {
		r.notices[key] = &notice{count: 1, row: row, message: message}
		return
	}
	n.count++
	n.row = min(n.row, row)
}

func (r *Report) add(level, code string, row int, column, id, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	r.perCode[code]++
	if r.perCode[code] > KeptPerCode {
		return
	}
	r.kept = append(r.kept, &ingestv1.SyncFinding{
		Level: level, Code: code, File: r.file, Row: int32(row), Column: column, SourcedId: id, Message: message,
	})
}

// Rejected counts the rows that were not read into a record.
func (r *Report) Rejected() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rejected
}

// Result returns the kept findings in the order of their rows, and how many there were.
func (r *Report) Result() ([]*ingestv1.SyncFinding, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.kept)
	for _, key := range slices.SortedFunc(maps.Keys(r.notices), func(a, b noticeKey) int {
		return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(a.column, b.column))
	}) {
		n := r.notices[key]
		message := n.message
		if n.count > 1 {
			message = fmt.Sprintf("%s (%d rows; the first is named)", message, n.count)
		}
		out = append(out, &ingestv1.SyncFinding{
			Level: LevelNotice, Code: key.code, File: r.file, Row: int32(n.row), Column: key.column, Message: message,
		})
	}
	slices.SortStableFunc(out, func(a, b *ingestv1.SyncFinding) int {
		return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Code, b.Code))
	})
	return out, r.total + len(r.notices)
}
