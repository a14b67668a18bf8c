package rostergen

import "maps"

// Changes counts what happened to an entity since the day before.
type Changes struct {
	Created int `json:"created"`
	Updated int `json:"updated"`
	Removed int `json:"removed"`
}

// Expected is what an importer has to come to.
type Expected struct {
	District  string   `json:"district"`
	Domains   []string `json:"domains"` // of students and staff
	Seed      uint64   `json:"seed"`
	OneRoster string   `json:"oneroster"`
	Day       int      `json:"day"`
	Delta     bool     `json:"delta"`
	Today     string   `json:"today"`

	// Rows in each file of the package.
	Rows map[string]int `json:"rows"`
	// Entities are the active records after the import, and Roles the active
	// users by their 1.2 role.
	Entities map[string]int `json:"entities"`
	Roles    map[string]int `json:"roles"`
	// Changes against the day before, per file; nil on day one.
	Changes map[string]Changes `json:"changes,omitempty"`

	// Checks are the findings a person has to act on; Informational those that
	// are known noise and come on top.
	Checks        map[Check]int `json:"checks"`
	Informational map[Check]int `json:"informational"`

	// Guardians is what the guardian file leads to, where one was written.
	Guardians *Guardians `json:"guardians,omitempty"`
}

// Name returns the name of the district.
func (d *District) Name() string { return d.name + " Unified School District" }

// Domains returns the email domains of the district's staff and students.
func (d *District) Domains() []string { return []string{d.domain, "students." + d.domain} }

// Expected works out what the export should lead to. It goes through the
// district once, which takes about as long as writing it.
func (d *District) Expected() Expected {
	e := Expected{
		District: d.Name(), Domains: d.Domains(),
		Seed: d.cfg.Seed, OneRoster: d.cfg.Version, Day: d.cfg.Day, Delta: d.cfg.Delta,
		Today: d.cfg.ReferenceDate.Format(dateLayout),
		Rows:  map[string]int{}, Entities: map[string]int{}, Roles: map[string]int{},
	}
	e.Checks, e.Informational = d.findings()
	if d.cfg.Day > 1 {
		e.Changes = map[string]Changes{}
	}
	full := *d
	full.cfg.Delta, full.cfg.Shuffle = false, false
	for _, f := range full.files() {
		if f.name == "users" {
			for i := range full.users() {
				u, ok := full.user(i, d.cfg.Day)
				if !ok {
					continue
				}
				e.Rows[f.name]++
				if u.status != toBeDeleted {
					e.Entities[f.name]++
					e.Roles[u.role]++
				}
			}
		} else {
			for row := range full.rows(f) {
				e.Rows[f.name]++
				if row[1] != toBeDeleted {
					e.Entities[f.name]++
				}
			}
		}
		if d.cfg.Day == 1 {
			continue
		}
		c := full.countChanges(f)
		e.Changes[f.name] = c
		if d.cfg.Delta {
			e.Rows[f.name] = c.Created + c.Updated + c.Removed
		}
	}
	maps.DeleteFunc(e.Rows, func(_ string, n int) bool { return n == 0 })
	return e
}

func (d *District) countChanges(f file) (c Changes) {
	for ch := range d.changes(f) {
		if ch.updated() {
			c.Updated++
			continue
		}
		if ch.before != nil {
			c.Removed++
		}
		if ch.after != nil {
			c.Created++
		}
	}
	return c
}
