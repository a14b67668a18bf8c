package mongostore

import (
	"context"
	"errors"
	"iter"

	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// baseOf answers what the signals of a plan need to know of its base, by counting
// in the database: there is no place to keep counts of schools that several
// processes could bring forward at once.
type baseOf struct {
	c   *call
	rev store.Revision
}

func (b baseOf) reader() store.Reader { return b.c.s.Snapshot(b.c.id, b.rev, store.Scope{All: true}) }

// active counts what is no tombstone.
func (b baseOf) active(ctx context.Context, q store.Query) (int, error) {
	all, err := b.reader().Page(ctx, q, "", 0)
	if err != nil {
		return 0, err
	}
	q.Status = record.StatusToBeDeleted
	dead, err := b.reader().Page(ctx, q, "", 0)
	return all.Total - dead.Total, err
}

// Active implements signals.Base.
func (b baseOf) Active(ctx context.Context, school string, entities []store.Entity) (map[store.Entity]int, error) {
	out := make(map[store.Entity]int, len(entities))
	if school == "" {
		info, err := b.c.revision(b.rev)
		for _, e := range entities {
			out[e] = info.Active[e]
		}
		return out, err
	}
	for _, e := range entities {
		n, err := b.active(ctx, store.Query{Entity: e, SchoolID: school})
		if err != nil {
			return nil, err
		}
		out[e] = n
	}
	return out, nil
}

// Students implements signals.Base.
func (b baseOf) Students(ctx context.Context, school string) (int, error) {
	return b.family(ctx, school, record.FamilyStudent)
}

// Teachers implements signals.Base.
func (b baseOf) Teachers(ctx context.Context, school string) (int, error) {
	return b.family(ctx, school, record.FamilyTeacher)
}

func (b baseOf) family(ctx context.Context, school string, f record.Family) (int, error) {
	if school == "" {
		info, err := b.c.revision(b.rev)
		return info.Families[f], err
	}
	return b.active(ctx, store.Query{Entity: users, SchoolID: school, Role: string(f)})
}

// Class implements signals.Base.
func (b baseOf) Class(ctx context.Context, id string) (students int, schools []string, ok bool, err error) {
	class, err := b.reader().Get(ctx, classes, id)
	if errors.Is(err, store.ErrRecordUnknown) {
		return 0, nil, false, nil
	}
	if err != nil {
		return 0, nil, false, err
	}
	f, err := search.Read(classes, id, class.Body)
	if err != nil || f.Tombstone {
		return 0, nil, false, err
	}
	students, err = b.active(ctx, store.Query{Entity: enrollments, ClassID: id, Role: string(record.FamilyStudent)})
	return students, f.Schools, true, err
}

// Emails implements signals.Base.
func (b baseOf) Emails(ctx context.Context) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		for batch, err := range b.c.s.batches(ctx, users, at(b.c.key, b.rev), "", "b", "h") {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, v := range batch {
				if v.Tombstone || len(v.values(fieldPrefix(search.FieldEmail))) == 0 {
					continue
				}
				if !yield(v.values(fieldPrefix(search.FieldSchool)), nil) {
					return
				}
			}
		}
	}
}
