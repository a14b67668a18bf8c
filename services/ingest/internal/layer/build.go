package layer

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// Mode says what a file holds.
type Mode uint8

// The modes.
const (
	// Absent files leave what was there before.
	Absent Mode = iota
	// Bulk files are complete: what is not in them is gone.
	Bulk
	// Delta files hold changes.
	Delta
)

// Build makes the layer file of one entity from the rows of a package and the
// previous layer file.
type Build struct {
	Rows *Sorter
	Mode Mode
	// Join tells that users get their roles and profiles from rows of their own.
	Join            bool
	Roles, Profiles Mode
	// OwnRoles tells that user rows bring roles themselves (OneRoster 1.1).
	OwnRoles bool
	// Previous yields the previous layer file; nil when there is none, or
	// nothing of it is needed.
	Previous iter.Seq2[Entry, error]
	// Rejected is told of rows that do not become part of a record: those with
	// an id that an earlier row has, and roles and profiles of unknown users.
	Rejected func(it Item)
}

// Write appends the records to w.
func (b Build) Write(w *Writer) error {
	if b.Mode == Bulk && !b.Join && b.Previous == nil {
		return b.copyRows(w)
	}
	previous := b.Previous
	if previous == nil {
		previous = func(func(Entry, error) bool) {}
	}
	next, stop := iter.Pull2(previous)
	defer stop()
	prev, err, more := next()
	if err != nil {
		return err
	}
	// before passes on the previous entries up to id, or all.
	before := func(id []byte, all bool) error {
		for more && (all || bytes.Compare(prev.ID, id) < 0) {
			if b.Mode != Bulk {
				if err := b.keep(w, prev); err != nil {
					return err
				}
			}
			if prev, err, more = next(); err != nil {
				return err
			}
		}
		return nil
	}
	var g group
	flush := func() error {
		if !g.open {
			return nil
		}
		if err := before(g.id, false); err != nil {
			return err
		}
		var old *Entry
		if more && bytes.Equal(prev.ID, g.id) {
			old = &prev
		}
		if err := b.assemble(w, &g, old); err != nil {
			return err
		}
		if old != nil {
			if prev, err, more = next(); err != nil {
				return err
			}
		}
		return nil
	}
	for it, err := range b.Rows.Items() {
		if err != nil {
			return err
		}
		if !g.open || !bytes.Equal(g.id, it.ID) {
			if err := flush(); err != nil {
				return err
			}
			g.begin(it.ID)
		}
		if it.Part == PartRecord && g.record != nil {
			b.Rejected(it)
			continue
		}
		g.add(it)
	}
	if err := flush(); err != nil {
		return err
	}
	return before(nil, true)
}

// copyRows is the plain case: the rows are the layer.
func (b Build) copyRows(w *Writer) error {
	var last []byte
	first := true
	for it, err := range b.Rows.Items() {
		if err != nil {
			return err
		}
		if !first && bytes.Equal(last, it.ID) {
			b.Rejected(it)
			continue
		}
		first = false
		last = append(last[:0], it.ID...)
		if err := w.Add(Entry{ID: it.ID, Hash: it.Hash, Deleted: it.Deleted, Body: it.Body}); err != nil {
			return err
		}
	}
	return nil
}

// group holds the rows of one id.
type group struct {
	open     bool
	id       []byte
	record   *Item
	roles    []Item
	profiles []Item
}

func (g *group) begin(id []byte) {
	*g = group{open: true, id: append(g.id[:0], id...), roles: g.roles[:0], profiles: g.profiles[:0]}
}

func (g *group) add(it Item) {
	it.ID = g.id
	it.Body = bytes.Clone(it.Body)
	switch it.Part {
	case PartRole:
		g.roles = append(g.roles, it)
	case PartProfile:
		g.profiles = append(g.profiles, it)
	default:
		g.record = &it
	}
}

// keep passes on a previous record that no row names.
func (b Build) keep(w *Writer, prev Entry) error {
	if b.Join && (b.Roles == Bulk || b.Profiles == Bulk) {
		return b.assemble(w, &group{id: prev.ID}, &prev)
	}
	return w.Add(prev)
}

// assemble makes the record of one id. old is valid until it returns.
func (b Build) assemble(w *Writer, g *group, old *Entry) error {
	fromRow := g.record != nil && !(g.record.Bare && old != nil)
	if fromRow && !b.Join {
		return w.Add(Entry{ID: g.id, Hash: g.record.Hash, Deleted: g.record.Deleted, Body: g.record.Body})
	}
	fromOld := old != nil && (g.record != nil || b.Mode != Bulk)
	if !fromRow && !fromOld {
		for _, it := range slices.Concat(g.roles, g.profiles) {
			b.Rejected(it)
		}
		return nil
	}
	var was typev1.Record
	if old != nil {
		if err := decode(old.Body, &was); err != nil {
			return err
		}
	}
	rec := &was
	if fromRow {
		rec = &typev1.Record{}
		if err := decode(g.record.Body, rec); err != nil {
			return err
		}
	}
	if g.record != nil && !fromRow { // delete what is there, and keep what it was
		var row typev1.Record
		if err := decode(g.record.Body, &row); err != nil {
			return err
		}
		_, base := record.Of(&row)
		record.SetStatus(rec, record.StatusToBeDeleted)
		record.SetDateLastModified(rec, base.GetDateLastModified())
	}
	if b.Join {
		if err := b.join(rec.GetUser(), was.GetUser(), g, fromRow); err != nil {
			return err
		}
	}
	_, base := record.Of(rec)
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode a record of the layer: %w", err)
	}
	return w.Add(Entry{ID: g.id, Hash: record.HashOf(rec), Deleted: base.GetStatus() == record.StatusToBeDeleted, Body: body})
}

// join gives a user its roles and profiles. was is the user in the previous
// layer, nil if it was not there.
func (b Build) join(u, was *typev1.User, g *group, fromRow bool) error {
	if !(b.OwnRoles && fromRow && len(g.roles) == 0) {
		roles, err := joined(b.Roles, g.roles, was.GetRoles(), func(x, y *typev1.Role) bool {
			return x.GetRole() == y.GetRole() && x.GetOrg().GetSourcedId() == y.GetOrg().GetSourcedId()
		})
		if err != nil {
			return err
		}
		// The order of the rows must not matter.
		slices.SortFunc(roles, func(x, y *typev1.Role) int {
			return cmp.Or(cmp.Compare(x.GetRoleType(), y.GetRoleType()), cmp.Compare(x.GetOrg().GetSourcedId(), y.GetOrg().GetSourcedId()),
				cmp.Compare(x.GetRole(), y.GetRole()), cmp.Compare(x.GetBeginDate(), y.GetBeginDate()), cmp.Compare(x.GetEndDate(), y.GetEndDate()),
				cmp.Compare(x.GetUserProfile().GetSourcedId(), y.GetUserProfile().GetSourcedId()))
		})
		if only := onlyOrg(was.GetRoles()); !fromRow && only.GetSourcedId() == u.GetPrimaryOrg().GetSourcedId() {
			u.PrimaryOrg = nil // it was worked out from the roles of before
		}
		u.Roles = slices.CompactFunc(roles, func(x, y *typev1.Role) bool { return proto.Equal(x, y) })
		if u.PrimaryOrg == nil {
			u.PrimaryOrg = onlyOrg(u.Roles)
		}
	}
	profiles, err := joined(b.Profiles, g.profiles, was.GetUserProfiles(), func(x, y *typev1.UserProfile) bool {
		return x.GetProfileId() == y.GetProfileId()
	})
	if err != nil {
		return err
	}
	slices.SortFunc(profiles, func(x, y *typev1.UserProfile) int {
		return cmp.Or(cmp.Compare(x.GetProfileId(), y.GetProfileId()), cmp.Compare(x.GetProfileType(), y.GetProfileType()),
			cmp.Compare(x.GetVendorId(), y.GetVendorId()), cmp.Compare(x.GetApplicationId(), y.GetApplicationId()), cmp.Compare(x.GetUsername(), y.GetUsername()))
	})
	u.UserProfiles = slices.CompactFunc(profiles, func(x, y *typev1.UserProfile) bool { return proto.Equal(x, y) })
	return nil
}

// joined applies rows to a list as the mode of their file says.
func joined[T any, P interface {
	*T
	proto.Message
}](mode Mode, rows []Item, was []P, same func(x, y P) bool) ([]P, error) {
	var out []P
	if mode != Bulk {
		out = slices.Clone(was)
	}
	for _, it := range rows {
		m := P(new(T))
		if err := decode(it.Body, m); err != nil {
			return nil, err
		}
		if mode == Delta {
			out = slices.DeleteFunc(out, func(x P) bool { return same(x, m) })
		}
		if !it.Deleted {
			out = append(out, m)
		}
	}
	return out, nil
}

// onlyOrg returns the org of all roles when there is just one.
func onlyOrg(roles []*typev1.Role) *typev1.Ref {
	var org *typev1.Ref
	for _, r := range roles {
		switch {
		case r.GetOrg() == nil:
		case org == nil:
			org = r.GetOrg()
		case org.GetSourcedId() != r.GetOrg().GetSourcedId():
			return nil
		}
	}
	return org
}

func decode(body []byte, m proto.Message) error {
	if err := proto.Unmarshal(body, m); err != nil {
		return fmt.Errorf("decode a record of the layer: %w", err)
	}
	return nil
}
