package explain

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/guardian"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/merge"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/record"
)

// said is what sources say of the id, one entry of a rank.
type said []stream

// of is what one source says.
func (s said) of(source string) said {
	var out said
	for _, one := range s {
		if one.source == source {
			out = append(out, one)
		}
	}
	return out
}

// said looks for the id in files of a source.
func (q *question) said(ctx context.Context, a *asked, files state.Files) (said, error) {
	var out said
	for _, s := range []stream{{rank: merge.Over, file: files.Over[q.name]}, {rank: merge.Base, file: files.In(q.name)}, {rank: merge.Fill, file: files.Fill[q.name]}} {
		var err error
		if s.entry, err = q.find(ctx, s.file); err != nil {
			return nil, err
		}
		if s.entry == nil {
			continue
		}
		s.source = a.GetSource()
		out = append(out, s)
		if a.guardians == nil {
			continue
		}
		relatives, err := guardian.Relatives(*s.entry)
		if err != nil && !errors.Is(err, layer.ErrDamaged) {
			return nil, err
		}
		a.relatives = append(a.relatives, relatives...)
	}
	return out, nil
}

// live tells whether it says anything but that the record is deleted.
func (s said) live() bool {
	return slices.ContainsFunc(s, func(s stream) bool { return !s.entry.Deleted })
}

// makes tells whether there is a record of it without other sources.
func (s said) makes() bool {
	return slices.ContainsFunc(s, func(s stream) bool { return !s.entry.Deleted && !s.entry.Overlay })
}

// change is what happens to the record if next is said in its place; empty for
// nothing.
func (s said) change(next said) string {
	same := func(a, b stream) bool {
		return a.rank == b.rank && a.entry.Deleted == b.entry.Deleted && a.entry.Overlay == b.entry.Overlay && a.entry.Hash == b.entry.Hash
	}
	switch {
	case !s.live() && next.makes():
		return "created"
	case s.makes() && !next.live():
		return "removed"
	case (s.live() || next.live()) && !slices.EqualFunc(s, next, same):
		return "updated"
	}
	return ""
}

// blank tells whether it is only what is kept of an erased person.
func (s stream) blank() bool {
	rec := &typev1.Record{}
	return proto.Unmarshal(s.entry.Body, rec) == nil && proto.Equal(rec, record.Blank(rec))
}

// guardian returns what tells the rows of a guardian file that are of the id.
func (q *question) guardian(a *asked) func(name string, header []string) match {
	return func(name string, header []string) match {
		c, faults := guardian.Bind(name, header, a.guardians, finding.NewReport(name))
		if q.entity != typev1.Entity_ENTITY_USERS || len(faults) > 0 {
			return func([]string) bool { return false }
		}
		return c.Identify(q.district, q.id, a.relatives)
	}
}
