package layer

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
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
	// Previous is the previous layer file; nil when there is none, or nothing of
	// it is needed. Write closes it.
	Previous *Reader
	// Known are the rows that the previous layer file was made of and that the
	// package has again; they are not among Rows. Nil if all were read anew.
	Known *Known
	// Rejected is told of rows that do not become part of a record: those with
	// an id that an earlier row has, and roles and profiles of unknown users.
	Rejected func(it Item)
	// Repeated is told instead of rows that say just what an earlier row with
	// their id says. Nil if that is a fault like any other.
	Repeated func()
}

// again is told of a row that does not count because of another with its id.
func (b Build) again(it Item, same bool) {
	if same && b.Repeated != nil {
		b.Repeated()
		return
	}
	b.Rejected(it)
}

// Write appends the records to w.
func (b Build) Write(w *Writer) error {
	if b.Mode == Bulk && !b.Join && b.Previous == nil {
		return b.copyRows(w)
	}
	prev := b.previous(w)
	defer prev.close()
	if err := prev.next(nil, false); err != nil {
		return err
	}
	// before passes on the previous entries up to id, or all.
	before := func(id []byte, all bool) error {
		for prev.more && (all || bytes.Compare(prev.entry.ID, id) < 0) {
			if err := b.keep(w, prev); err != nil {
				return err
			}
			if err := prev.next(id, all); err != nil {
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
		if !prev.more || !bytes.Equal(prev.entry.ID, g.id) {
			return b.assemble(w, &g, nil)
		}
		if err := b.assemble(w, &g, prev); err != nil {
			return err
		}
		return prev.next(nil, false)
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
			b.again(it, bytes.Equal(it.Body, g.record.Body))
			continue
		}
		g.add(it)
	}
	if err := flush(); err != nil {
		return err
	}
	return before(nil, true)
}

// previous walks through the previous layer file.
type previous struct {
	from  *Reader // nil if there is none
	known *Known
	// keeps tells that entries that no row names stay as they are, if their own
	// rows are seen or need not be.
	keeps, unseen bool

	entry Entry
	row   int // of the record, if the package has the same row again
	more  bool
	at    int
	w     *Writer
	kept  bool // w has a record with the id of entry
}

func (b Build) previous(w *Writer) *previous {
	if b.Previous != nil {
		w.records.limit *= 2 // so that blocks that grow a little need not be split
	}
	return &previous{
		from: b.Previous, known: b.Known, at: -1, w: w,
		keeps: !b.rejoins(), unseen: b.Mode != Bulk,
	}
}

func (p *previous) close() {
	if p.from != nil {
		p.from.close()
	}
}

// next goes on to the next entry. Before that it passes on the blocks that end
// before id, or all, if all of their entries stay as they are.
func (p *previous) next(id []byte, all bool) error {
	if p.more && !p.kept {
		if err := p.w.change(Change{ID: p.entry.ID, Was: true, Before: p.entry}); err != nil {
			return err
		}
	}
	p.more = false
	if p.from == nil {
		return nil
	}
	p.at++
	if err := p.skip(id, all); err != nil {
		return err
	}
	var err error
	if p.entry, p.more, err = p.from.next(); err != nil || !p.more {
		return err
	}
	p.row, p.kept = 0, false
	if p.known != nil {
		if p.at >= len(p.known.rows) {
			return ErrDamaged
		}
		p.entry.mark, p.row = p.known.at(p.at)
	}
	return nil
}

// skip passes on whole blocks, and stands in front of an entry then, or the end.
func (p *previous) skip(id []byte, all bool) error {
	for p.from.entries == 0 {
		if _, err := p.w.records.align(); err != nil { // blocks end where they did
			return err
		}
		if more, err := p.from.nextBlock(); err != nil || !more {
			return err
		}
		if !p.stays(id, all) {
			return nil
		}
		n := p.from.entries
		if copied, err := p.w.copyBlock(p.from, p.known, p.at); err != nil || !copied {
			return err
		}
		p.at += n
		p.from.entries = 0
	}
	return nil
}

// stays tells whether all entries of a block stay as they are.
func (p *previous) stays(id []byte, all bool) bool {
	if !p.keeps || !all && bytes.Compare(p.from.last, id) >= 0 {
		return false
	}
	n := p.from.entries
	if p.known == nil || p.at+n > len(p.known.rows) {
		return p.known == nil && p.unseen
	}
	return p.unseen || p.known.all(p.at, n)
}

// copyRows is the plain case: the rows are the layer.
func (b Build) copyRows(w *Writer) error {
	var last []byte
	var hash record.Hash
	first := true
	for it, err := range b.Rows.Items() {
		if err != nil {
			return err
		}
		if !first && bytes.Equal(last, it.ID) {
			b.again(it, it.Hash == hash)
			continue
		}
		first, hash = false, it.Hash
		last = append(last[:0], it.ID...)
		if err := w.Add(it.entry()); err != nil {
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

// put adds an entry to w. prev stands at the previous record of its id, nil if
// there is none.
func put(w *Writer, e Entry, prev *previous) error {
	c := Change{ID: e.ID, Is: true, After: e}
	if prev != nil {
		c.Was, c.Before, prev.kept = true, prev.entry, true
	}
	if err := w.change(c); err != nil {
		return err
	}
	return w.Add(e)
}

// pass adds the previous entry to w as it is.
func pass(w *Writer, prev *previous) error {
	prev.kept = true
	return w.copy(prev.entry)
}

func (it *Item) entry() Entry {
	return Entry{ID: it.ID, Hash: it.Hash, Deleted: it.Deleted, Overlay: it.Overlay, Body: it.Body, mark: it.Mark}
}

// rejoins tells that users lose roles or profiles that no row names.
func (b Build) rejoins() bool { return b.Join && (b.Roles == Bulk || b.Profiles == Bulk) }

// keep passes on a previous record that no row on its way names.
func (b Build) keep(w *Writer, prev *previous) error {
	switch {
	case b.rejoins():
		return b.assemble(w, &group{id: prev.entry.ID}, prev)
	case b.Mode == Bulk && prev.row == 0:
		return nil // it is gone
	}
	return pass(w, prev)
}

// assemble makes the record of one id. prev stands at its previous record, nil
// if there is none.
func (b Build) assemble(w *Writer, g *group, prev *previous) error {
	if prev != nil && prev.row > 0 && g.record != nil {
		// Two rows with one id, of which one is known: the first of them counts.
		same := prev.entry.Hash == g.record.Hash
		if prev.row < g.record.Row {
			b.again(*g.record, same)
			g.record = nil
		} else {
			b.again(Item{ID: g.id, Row: prev.row}, same)
			prev.row = 0
		}
	}
	known := prev != nil && prev.row > 0
	fromRow := g.record != nil && (!g.record.Bare || prev == nil)
	switch {
	case !b.Join && fromRow:
		it := *g.record
		it.ID = g.id
		return put(w, it.entry(), prev)
	case !b.Join && known:
		return pass(w, prev)
	}
	fromPrevious := prev != nil && (known || g.record != nil || b.Mode != Bulk)
	if !fromRow && !fromPrevious {
		for _, it := range slices.Concat(g.roles, g.profiles) {
			b.Rejected(it)
		}
		return nil
	}
	joined := g.joined()
	if known && prev.entry.HasJoined && prev.entry.Joined == joined {
		return pass(w, prev) // neither the user nor its roles have changed
	}
	var was typev1.Record
	next := Entry{ID: g.id}
	if prev != nil {
		if err := decode(prev.entry.Body, &was); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		next.WorkedOutOrg, next.mark = prev.entry.WorkedOutOrg, prev.entry.mark
	}
	rec := &was
	if fromRow {
		rec = &typev1.Record{}
		if err := decode(g.record.Body, rec); err != nil {
			return err
		}
		next.WorkedOutOrg, next.mark = false, g.record.Mark
	}
	if g.record != nil && !fromRow { // delete what is there, and keep what it was
		var row typev1.Record
		if err := decode(g.record.Body, &row); err != nil {
			return err
		}
		_, base := record.Of(&row)
		record.SetStatus(rec, record.StatusToBeDeleted)
		record.SetDateLastModified(rec, base.GetDateLastModified())
		next.mark = Mark{}
	}
	if b.Join {
		var err error
		if next.WorkedOutOrg, err = b.join(rec.GetUser(), was.GetUser(), g, fromRow, next.WorkedOutOrg); err != nil {
			return err
		}
		next.Joined, next.HasJoined = joined, b.Roles != Delta && b.Profiles != Delta
	}
	var err error
	if next.Body, err = (proto.MarshalOptions{Deterministic: true}).Marshal(rec); err != nil {
		return fmt.Errorf("encode a record of the layer: %w", err)
	}
	_, base := record.Of(rec)
	next.Hash, next.Deleted = record.HashOf(rec), base.GetStatus() == record.StatusToBeDeleted
	return put(w, next, prev)
}

// joined recognises the rows of roles and profiles, in whatever order they came.
func (g *group) joined() uint64 {
	sum := uint64(0)
	for _, items := range [][]Item{g.roles, g.profiles} {
		for _, it := range items {
			h := xxhash.Sum64(it.Body)
			if it.Deleted {
				h = ^h
			}
			sum += h ^ uint64(it.Part)*0x9e3779b97f4a7c15
		}
	}
	return sum
}

// join gives a user its roles and profiles. was is the user in the previous
// layer, nil if it was not there. It tells whether the primary org is worked
// out from the roles, as it was before if worked says so.
func (b Build) join(u, was *typev1.User, g *group, fromRow, worked bool) (bool, error) {
	if own := b.OwnRoles && fromRow && len(g.roles) == 0; !own {
		roles, err := joined(b.Roles, g.roles, was.GetRoles(), func(x, y *typev1.Role) bool {
			return x.GetRole() == y.GetRole() && x.GetOrg().GetSourcedId() == y.GetOrg().GetSourcedId()
		})
		if err != nil {
			return false, err
		}
		// The order of the rows must not matter.
		slices.SortFunc(roles, func(x, y *typev1.Role) int {
			return cmp.Or(cmp.Compare(x.GetRoleType(), y.GetRoleType()), cmp.Compare(x.GetOrg().GetSourcedId(), y.GetOrg().GetSourcedId()),
				cmp.Compare(x.GetRole(), y.GetRole()), cmp.Compare(x.GetBeginDate(), y.GetBeginDate()), cmp.Compare(x.GetEndDate(), y.GetEndDate()),
				cmp.Compare(x.GetUserProfile().GetSourcedId(), y.GetUserProfile().GetSourcedId()))
		})
		u.Roles = slices.CompactFunc(roles, func(x, y *typev1.Role) bool { return proto.Equal(x, y) })
		if worked || u.PrimaryOrg == nil {
			u.PrimaryOrg, worked = onlyOrg(u.Roles), true
		}
	}
	profiles, err := joined(b.Profiles, g.profiles, was.GetUserProfiles(), func(x, y *typev1.UserProfile) bool {
		return x.GetProfileId() == y.GetProfileId()
	})
	if err != nil {
		return false, err
	}
	slices.SortFunc(profiles, func(x, y *typev1.UserProfile) int {
		return cmp.Or(cmp.Compare(x.GetProfileId(), y.GetProfileId()), cmp.Compare(x.GetProfileType(), y.GetProfileType()),
			cmp.Compare(x.GetVendorId(), y.GetVendorId()), cmp.Compare(x.GetApplicationId(), y.GetApplicationId()), cmp.Compare(x.GetUsername(), y.GetUsername()))
	})
	u.UserProfiles = slices.CompactFunc(profiles, func(x, y *typev1.UserProfile) bool { return proto.Equal(x, y) })
	return worked, nil
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
