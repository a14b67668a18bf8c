package rostertest

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// Signals has f write into each plan what the real store would find out.
func (s *Store) Signals(f func(*rosterv1.Plan)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signals = f
}

// schools are those that a record says it is of. Whom it belongs to through
// others is a matter of the real store.
func schools(r *typev1.Record) map[string]bool {
	out := map[string]bool{}
	for _, role := range r.GetUser().GetRoles() {
		out[role.GetOrg().GetSourcedId()] = true
	}
	if r.GetOrg().GetType() == "school" {
		out[r.GetOrg().GetSourcedId()] = true
	}
	out[r.GetClass().GetSchool().GetSourcedId()] = true
	out[r.GetEnrollment().GetSchool().GetSourcedId()] = true
	delete(out, "")
	return out
}

// touches are the schools of a record before and after a change.
func (c change) touches() []string {
	out := schools(decode(c.body))
	if c.was != nil {
		maps.Copy(out, schools(decode(c.was.body)))
	}
	return slices.Sorted(maps.Keys(out))
}

// within tells whether a change is one of chosen schools; none means all.
func (c change) within(chosen []string) bool {
	touched := c.touches()
	if len(chosen) == 0 || len(touched) == 0 {
		return len(chosen) == 0 || c.kind != "removed"
	}
	return !slices.ContainsFunc(touched, func(id string) bool { return !slices.Contains(chosen, id) })
}

// name is that of a school at the head.
func (d *district) name(school string) string {
	if v := d.live[typev1.Entity_ENTITY_ORGS][school]; v != nil {
		return decode(v.body).GetOrg().GetName()
	}
	return ""
}

// enrollments that students get, or lose if negative, by school and student; no
// school is all of them.
type enrollments map[[2]string]int

func (n enrollments) add(body []byte, by int) {
	e := decode(body).GetEnrollment()
	if e.GetStatus() != record.StatusActive || e.GetRole() != "student" {
		return
	}
	n[[2]string{"", e.GetUser().GetSourcedId()}] += by
	n[[2]string{e.GetSchool().GetSourcedId(), e.GetUser().GetSourcedId()}] += by
}

func (n enrollments) signals(school string) *rosterv1.PlanSignals {
	out := &rosterv1.PlanSignals{}
	for at, by := range n {
		if at[0] == school && by < 0 {
			out.StudentsLosingEnrollments++
		}
	}
	return out
}

// describe writes down what a plan changes of what, in all and of each school.
func (s *Store) describe(d *district, p *staged) {
	slices.SortFunc(p.changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.entity, b.entity), cmp.Compare(a.id, b.id)) })
	p.plan.Populations, p.plan.Schools = map[string]int32{}, nil
	populations, changed := map[string]map[string]int32{}, map[string]*staged{}
	for e, records := range d.live {
		name := record.EntityName(e)
		for _, v := range records {
			r := decode(v.body)
			if _, base := record.Of(r); base.GetStatus() != record.StatusActive {
				continue
			}
			p.plan.Populations[name]++
			for id := range schools(r) {
				if populations[id] == nil {
					populations[id] = map[string]int32{}
				}
				populations[id][name]++
			}
		}
	}
	digest := sha256.New()
	enrolled := enrollments{}
	for _, c := range p.changes {
		var was []byte
		if c.was != nil {
			was = c.was.hash
		}
		_, _ = fmt.Fprintf(digest, "%d %q %s %x %x %q\n", c.entity, c.id, c.kind, was, c.hash, c.touches()) // never fails
		if c.was != nil {
			enrolled.add(c.was.body, -1)
		}
		enrolled.add(c.body, 1)
		for _, id := range c.touches() {
			if changed[id] == nil {
				changed[id] = &staged{plan: &rosterv1.Plan{Counts: map[string]*rosterv1.ChangeCounts{}}}
			}
			changed[id].add(c)
		}
	}
	p.plan.Digest = digest.Sum(nil)
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		p.plan.Schools = append(p.plan.Schools, &rosterv1.SchoolPlan{SchoolId: id, Name: d.name(id), Counts: changed[id].plan.GetCounts(), Populations: populations[id], Signals: enrolled.signals(id)})
	}
	p.plan.Signals = enrolled.signals("")
	if s.signals != nil {
		s.signals(p.plan)
	}
}

// Changed lists what a revision changed as "entity id kind", in order.
func (s *Store) Changed(name string, revision int32) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.districts[name]
	var out []string
	for e, records := range d.past[revision] {
		for id, now := range records {
			was := d.past[revision-1][e][id]
			if was == now {
				continue
			}
			kind := "updated"
			_, base := record.Of(decode(now.body))
			switch {
			case was == nil:
				kind = "created"
			case base.GetStatus() == record.StatusToBeDeleted:
				kind = "removed"
			}
			out = append(out, record.EntityName(e)+" "+id+" "+kind)
		}
	}
	slices.Sort(out)
	return out
}
