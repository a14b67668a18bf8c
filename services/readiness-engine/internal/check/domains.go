package check

import (
	"slices"
	"strings"

	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// A domain is the district's own when the district has declared it or one above
// it. If it has declared none, it is own when it is the most used one of the
// students or of the staff, or when at least one in domainShare of them uses it
// and they are no fewer than domainUsers.
const (
	domainShare = 20
	domainUsers = 3
)

// domains numbers the email domains of active students and staff. 0 is no email
// and 1 an email without a domain.
type domains struct {
	numbers map[string]uint32
	users   []domainUse
}

type domainUse struct {
	students, staff int32
	own             bool // the district's
}

func usesDomain(u *replica.User) bool {
	return u.State == replica.Active && u.Families.Has(replica.Student|replica.Staff) && u.EmailKey != 0
}

// countDomain counts the domain of an active user, or takes it back.
func (v *View) countDomain(row uint32, u *replica.User, n int32) {
	if !usesDomain(u) {
		return
	}
	number := v.domainOf[row]
	if n > 0 {
		number = v.domains.number(v.Text(u.EmailKey))
		v.domainOf[row] = number
	} else {
		v.domainOf[row] = 0
	}
	use := &v.domains.users[number]
	if u.Families.Has(replica.Student) {
		use.students += n
	}
	if u.Families.Has(replica.Staff) {
		use.staff += n
	}
}

func (d *domains) number(email string) uint32 {
	if d.numbers == nil {
		d.numbers, d.users = map[string]uint32{"": 1}, make([]domainUse, 2)
	}
	domain := ""
	if at := strings.LastIndexByte(email, '@'); at >= 0 {
		domain = email[at+1:]
	}
	n, ok := d.numbers[domain]
	if !ok {
		n = uint32(len(d.users))
		d.numbers[strings.Clone(domain)] = n
		d.users = append(d.users, domainUse{})
	}
	return n
}

// followDomains decides which domains are the district's. Where that changes for
// one, all who use it are looked at again.
func (v *View) followDomains(d *dirty) {
	own := v.domains.own(v.declared)
	changed := map[uint32]bool{}
	for n := range own {
		if v.domains.users[n].own != own[n] {
			v.domains.users[n].own = own[n]
			changed[uint32(n)] = true
		}
	}
	if len(changed) == 0 || d.all {
		return
	}
	for row, n := range v.domainOf {
		if changed[n] {
			d.people.add(uint32(row))
		}
	}
}

func (d *domains) own(declared []string) []bool {
	own := make([]bool, len(d.users))
	if len(declared) > 0 {
		for domain, n := range d.numbers {
			own[n] = slices.ContainsFunc(declared, func(of string) bool { return domain == of || strings.HasSuffix(domain, "."+of) })
		}
		return own
	}
	for _, count := range []func(domainUse) int32{
		func(u domainUse) int32 { return u.students }, func(u domainUse) int32 { return u.staff },
	} {
		var most, total int32
		for n := 2; n < len(d.users); n++ {
			most = max(most, count(d.users[n]))
			total += count(d.users[n])
		}
		for n := 2; n < len(d.users); n++ {
			// Where several are used most, all are the district's.
			if users := count(d.users[n]); users > 0 && users == most || users >= domainUsers && users*domainShare >= total {
				own[n] = true
			}
		}
	}
	return own
}

func domainUnexpected() rule {
	const families = replica.Student | replica.Staff
	return rule{
		counts: usesDomain,
		user: func(v *View, s *subject, report func(Finding)) {
			switch n := v.domainOf[s.row]; {
			case n == 1:
				report(v.userFinding(s.row, families, "The email has no domain."))
			case !v.domains.users[n].own && len(v.declared) > 0:
				report(v.userFinding(s.row, families, "The domain of the email is none of those that the district has declared."))
			case !v.domains.users[n].own:
				report(v.userFinding(s.row, families, "Hardly anybody else in the district has an email in this domain."))
			}
		},
	}
}
