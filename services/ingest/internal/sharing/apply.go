package sharing

import (
	"fmt"
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/platform/record"
)

// Apply yields what is shared of the records of an entity and counts it. What
// does not change stays as it is, byte for byte.
func (f *Filter) Apply(entries iter.Seq2[layer.Entry, error], counts *ingestv1.SharingCounts) iter.Seq2[layer.Entry, error] {
	return func(yield func(layer.Entry, error) bool) {
		proto.Reset(counts)
		counts.Rules = map[string]int32{}
		for e, err := range entries {
			var verdict Verdict
			if err == nil {
				verdict, err = f.apply(&e, counts)
			}
			if err == nil && verdict.Rule != "" {
				continue
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (f *Filter) apply(e *layer.Entry, counts *ingestv1.SharingCounts) (Verdict, error) {
	rec, err := decode(*e)
	if err != nil {
		return Verdict{}, err
	}
	verdict := f.Judge(rec)
	if verdict.Rule != "" {
		counts.Dropped++
		counts.Rules[string(verdict.Rule)]++
		return verdict, nil
	}
	counts.Kept++
	if !f.change(rec) {
		return verdict, nil
	}
	counts.Changed++
	next := layer.Entry{ID: e.ID, Hash: record.HashOf(rec), Deleted: e.Deleted}
	if next.Body, err = (proto.MarshalOptions{Deterministic: true}).Marshal(rec); err != nil {
		return verdict, fmt.Errorf("encode a shared record: %w", err)
	}
	*e = next
	return verdict, nil
}

// change takes out of a record what refers to something that is left out, and
// tells whether there was such a thing.
func (f *Filter) change(rec *typev1.Record) bool {
	switch v := rec.GetRecord().(type) {
	case *typev1.Record_Org:
		into := f.merged[v.Org.GetParent().GetSourcedId()]
		switch into {
		case "":
			return false
		case v.Org.GetSourcedId(): // it was below the school that it takes in
			v.Org.Parent = nil
		default:
			v.Org.Parent = &typev1.Ref{SourcedId: into}
		}
		return true
	case *typev1.Record_Course:
		return f.move(&v.Course.Org)
	case *typev1.Record_Class:
		return f.move(&v.Class.School)
	case *typev1.Record_Enrollment:
		return f.move(&v.Enrollment.School)
	case *typev1.Record_User:
		return f.changeUser(v.User)
	}
	return false
}

// move follows a merge of schools, and drops a reference to an org that is left
// out.
func (f *Filter) move(r **typev1.Ref) bool {
	if *r == nil {
		return false
	}
	id := f.at(*r)
	switch {
	case !f.shares(id):
		*r = nil
	case id != (*r).GetSourcedId():
		*r = &typev1.Ref{SourcedId: id}
	default:
		return false
	}
	return true
}

func (f *Filter) changeUser(u *typev1.User) bool {
	id := u.GetSourcedId()
	changed := false
	mine, limited := f.primary[id]
	roles := slices.DeleteFunc(f.roles(u), func(r *typev1.Role) bool {
		school := f.school(f.at(r.GetOrg()))
		return limited && school != "" && !slices.Contains(mine, school)
	})
	for _, r := range roles {
		changed = f.move(&r.Org) || changed
	}
	if changed { // two schools may be one now
		roles = slices.DeleteFunc(slices.Clone(roles), func(r *typev1.Role) bool {
			return slices.IndexFunc(roles, func(other *typev1.Role) bool { return proto.Equal(r, other) }) != slices.Index(roles, r)
		})
	}
	changed = changed || len(roles) < len(u.GetRoles())
	u.Roles = roles
	if f.move(&u.PrimaryOrg) {
		if changed = true; u.PrimaryOrg == nil {
			u.PrimaryOrg = onlyOrg(roles)
		}
	}
	agents := slices.DeleteFunc(slices.Clone(u.GetAgents()), func(a *typev1.Relationship) bool {
		return f.users[a.GetSourcedId()].Rule != "" || f.cut[pairOf(id, a.GetSourcedId())]
	})
	changed = changed || len(agents) < len(u.GetAgents())
	u.Agents = agents
	return changed
}

// onlyOrg returns the org of all roles when there is just one.
func onlyOrg(roles []*typev1.Role) *typev1.Ref {
	if len(roles) == 0 || slices.ContainsFunc(roles, func(r *typev1.Role) bool { return r.GetOrg().GetSourcedId() != roles[0].GetOrg().GetSourcedId() }) {
		return nil
	}
	return proto.CloneOf(roles[0].GetOrg())
}

// Why says by which rule a record of a source is left out; found tells that the
// source has it. It takes as long as sharing the source's records.
func Why(s *ingestv1.Sharing, records Records, e typev1.Entity, id string) (v Verdict, found bool, err error) {
	f, err := New(s, records)
	if err != nil {
		return Verdict{}, false, err
	}
	for entry, err := range records(e) {
		if err != nil {
			return Verdict{}, false, err
		}
		if string(entry.ID) != id {
			continue
		}
		rec, err := decode(entry)
		if err != nil {
			return Verdict{}, false, err
		}
		return f.Judge(rec), true, nil
	}
	return Verdict{}, false, nil
}
