package selection

import (
	"fmt"
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// set names changes by their records.
type set map[store.Position]bool

func position(c store.Change) store.Position { return store.Position{Entity: c.Entity, ID: c.ID} }

// leftOut finds what is not applied: what the choice does not want, and what
// cannot be without it. A record whose version refers to one that is not
// created waits with it; a record stays as long as one that stays as it is
// refers to it; and a person who stays keeps what is said of it, enrollments,
// demographics and the links of relatives. The changes are read again until nothing is added, and what is
// kept of them grows with what is left out only.
func leftOut(changes iter.Seq2[store.Change, error], choice Choice, schools map[string]bool) (set, error) {
	out, uncreated, needed, staying := set{}, set{}, set{}, set{}
	for first, again := true, true; again; first = false {
		again = false
		for c, err := range changes {
			if err != nil {
				return nil, err
			}
			at := position(c)
			if out[at] {
				continue
			}
			leave := first && choice.leaves(c, schools) || c.Kind == store.Removed && needed[at]
			if !leave && len(uncreated) > 0 {
				if leave, err = refersTo(c.After, uncreated); err != nil {
					return nil, err
				}
			}
			if !leave && len(staying) > 0 {
				if leave, err = letsGo(c, staying); err != nil {
					return nil, err
				}
			}
			if !leave {
				continue
			}
			out[at] = true
			if c.Kind == store.Created {
				uncreated[at], again = true, true
				continue
			}
			if c.Kind == store.Removed && c.Entity == typev1.Entity_ENTITY_USERS {
				staying[at], again = true, true
			}
			err = references(c.Before, func(to store.Position) bool {
				again = again || !needed[to]
				needed[to] = true
				return true
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// leaves tells whether a change is not wanted for its own sake.
func (choice Choice) leaves(c store.Change, schools map[string]bool) bool {
	if len(choice.Schools) == 0 {
		return choice.WithoutRemovals && c.Kind == store.Removed
	}
	touched := slices.DeleteFunc(slices.Clone(c.Schools), func(id string) bool { return !schools[id] })
	if c.Entity == typev1.Entity_ENTITY_ORGS && schools[c.ID] {
		touched = append(touched, c.ID)
	}
	if c.Kind == store.Removed && (choice.WithoutRemovals || len(touched) == 0) {
		return true
	}
	return slices.ContainsFunc(touched, func(id string) bool { return !slices.Contains(choice.Schools, id) })
}

// letsGo tells whether a change takes away what is said of one of some persons.
func letsGo(c store.Change, persons set) (bool, error) {
	kept := set{}
	if c.Kind == store.Updated {
		err := references(c.After, func(to store.Position) bool {
			kept[to] = true
			return true
		})
		if err != nil {
			return false, err
		}
	}
	found := false
	err := references(c.Before, func(to store.Position) bool {
		found = persons[to] && !kept[to]
		return !found
	})
	return found, err
}

func refersTo(body []byte, targets set) (bool, error) {
	found := false
	err := references(body, func(to store.Position) bool {
		found = targets[to]
		return !found
	})
	return found, err
}

// references yields what a version refers to; a removed record refers to nothing.
func references(body []byte, yield func(store.Position) bool) error {
	r, err := decode(body)
	if err != nil {
		return err
	}
	if _, base := record.Of(r); base == nil || base.GetStatus() == record.StatusToBeDeleted {
		return nil
	}
	for e, id := range record.References(r) {
		if !yield(store.Position{Entity: e, ID: id}) {
			return nil
		}
	}
	return nil
}

func decode(body []byte) (*typev1.Record, error) {
	r := &typev1.Record{}
	if err := proto.Unmarshal(body, r); err != nil {
		return nil, fmt.Errorf("decode a record: %w", err)
	}
	return r, nil
}

// without yields the changes that are not left out.
func without(changes iter.Seq2[store.Change, error], out set) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		for c, err := range changes {
			if err == nil && out[position(c)] {
				continue
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}
