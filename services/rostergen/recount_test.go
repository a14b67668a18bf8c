package rostergen_test

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/rostergen"
)

// record is one CSV row by column name.
type record map[string]string

// export writes a district to a zip and reads it back with the standard
// library alone: file name without .csv → rows.
func export(t testing.TB, cfg rostergen.Config) (map[string][]record, rostergen.Expected) {
	t.Helper()
	d, err := rostergen.New(cfg)
	require.NoError(t, err)
	var buf bytes.Buffer
	require.NoError(t, d.WriteZip(&buf))
	return readZip(t, buf.Bytes()), d.Expected()
}

func readZip(t testing.TB, data []byte) map[string][]record {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	tables := map[string][]record{}
	for _, f := range z.File {
		r, err := f.Open()
		require.NoError(t, err)
		rows, err := csv.NewReader(r).ReadAll() // fails on ragged rows
		require.NoError(t, err, f.Name)
		require.NoError(t, r.Close())
		require.Greater(t, len(rows), 1, "%s has no rows", f.Name)
		var list []record
		for _, row := range rows[1:] {
			rec := record{}
			for i, column := range rows[0] {
				rec[column] = row[i]
			}
			list = append(list, rec)
		}
		tables[strings.TrimSuffix(f.Name, ".csv")] = list
	}
	return tables
}

func items(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// person is a user with its orgs and role, whichever version it came in.
type person struct {
	record
	role, family string
	orgs         []string
}

// people returns the active users by id.
func people(tables map[string][]record) map[string]*person {
	users := map[string]*person{}
	for _, u := range tables["users"] {
		if u["status"] == "tobedeleted" {
			continue
		}
		users[u["sourcedId"]] = &person{record: u, role: u["role"], orgs: items(u["orgSourcedIds"])}
	}
	for _, r := range tables["roles"] {
		if u := users[r["userSourcedId"]]; u != nil {
			u.role = r["role"]
			if r["roleType"] == "primary" {
				u.orgs = append([]string{r["orgSourcedId"]}, u.orgs...)
			} else {
				u.orgs = append(u.orgs, r["orgSourcedId"])
			}
		}
	}
	families := map[string]string{
		"student": "student", "teacher": "teacher", "aide": "aide",
		"administrator": "administrator", "principal": "administrator", "siteAdministrator": "administrator",
		"districtAdministrator": "administrator", "systemAdministrator": "administrator",
		"guardian": "guardian", "parent": "guardian",
	}
	for _, u := range users {
		u.family = families[u.role]
	}
	return users
}

// samePerson tells whether two users share an identifier.
func samePerson(a, b *person) bool {
	return a == b || a.record["identifier"] != "" && a.record["identifier"] == b.record["identifier"]
}

// recount finds what every check has to find, by going through the parsed
// files in the plainest way. It knows nothing of how the flaws were put in.
func recount(tables map[string][]record, domains []string, today string) (checks, informational map[rostergen.Check]int) {
	n, info := map[rostergen.Check]int{}, map[rostergen.Check]int{}
	users := people(tables)
	recountPeople(n, users, domains)
	recountGuardians(n, info, users)
	recountClasses(n, tables, users)
	recountSchools(n, tables, users)
	for _, d := range tables["demographics"] {
		if users[d["sourcedId"]] == nil {
			n[rostergen.DemographicsUserMissing]++
		}
	}
	current := 0
	for _, s := range tables["academicSessions"] {
		if s["endDate"] < s["startDate"] {
			n[rostergen.SessionDatesInvalid]++
		}
		if s["startDate"] <= today && today <= s["endDate"] {
			current++
		}
	}
	if current == 0 {
		n[rostergen.SessionNoneCurrent] = 1
	}
	return n, info
}

func recountPeople(n map[rostergen.Check]int, users map[string]*person, domains []string) {
	byEmail := map[string][]*person{}
	for _, u := range users {
		email := strings.ToLower(u.record["email"])
		if email != "" {
			byEmail[email] = append(byEmail[email], u)
		}
		staff := u.family == "teacher" || u.family == "aide" || u.family == "administrator"
		if email == "" && u.family == "student" {
			n[rostergen.StudentEmailMissing]++
		}
		if email == "" && staff {
			n[rostergen.UserEmailMissing]++
		}
		if email != "" && (staff || u.family == "student") {
			_, domain, _ := strings.Cut(email, "@")
			known := false
			for _, d := range domains {
				known = known || d == domain
			}
			if !known {
				n[rostergen.EmailDomainUnexpected]++
			}
		}
		for _, column := range []string{"sourcedId", "enabledUser", "username", "givenName", "familyName"} {
			if u.record[column] == "" {
				n[rostergen.UserRequiredMissing]++
				break
			}
		}
	}
	duplicate := map[string]rostergen.Check{
		"student":       rostergen.StudentEmailDuplicate,
		"teacher":       rostergen.TeacherEmailDuplicate,
		"administrator": rostergen.AdminEmailDuplicate,
	}
	for _, sharers := range byEmail {
		for _, u := range sharers {
			sameFamily, otherFamily := false, false
			for _, other := range sharers {
				if !samePerson(u, other) {
					sameFamily = sameFamily || other.family == u.family
					otherFamily = otherFamily || other.family != u.family
				}
			}
			if check := duplicate[u.family]; sameFamily && check != "" {
				n[check]++
			}
			if otherFamily {
				n[rostergen.EmailSharedAcrossRoles]++
			}
		}
	}
}

func recountGuardians(n, info map[rostergen.Check]int, users map[string]*person) {
	type link struct{ student, guardian string }
	links := map[link]bool{}
	for id, u := range users {
		for _, agent := range items(u.record["agentSourcedIds"]) {
			switch {
			case users[agent] == nil && u.family == "student":
				info[rostergen.GuardianEmailMissing]++
				info[rostergen.GuardianAddressMissing]++
				info[rostergen.GuardianPhoneMissing]++
			case users[agent] == nil:
			case u.family == "student" && users[agent].family == "guardian":
				links[link{id, agent}] = true
			case u.family == "guardian" && users[agent].family == "student":
				links[link{agent, id}] = true
			}
		}
	}
	guardiansOf, childrenOf := map[string]int{}, map[string]int{}
	for l := range links {
		guardiansOf[l.student]++
		childrenOf[l.guardian]++
		g := users[l.guardian].record
		into := n
		if strings.HasPrefix(l.guardian, "securlyinternal:") {
			into = info
		}
		if g["email"] == "" {
			into[rostergen.GuardianEmailMissing]++
		}
		if g["phone"] == "" && g["sms"] == "" {
			into[rostergen.GuardianPhoneMissing]++
		}
		if g["metadata.address"] == "" && g["metadata.city"] == "" && g["metadata.state"] == "" && g["metadata.zip"] == "" {
			into[rostergen.GuardianAddressMissing]++
		}
	}
	for id, u := range users {
		switch u.family {
		case "student":
			if guardiansOf[id] == 0 {
				n[rostergen.StudentGuardiansMissing]++
			}
			if guardiansOf[id] >= 6 {
				n[rostergen.GuardiansTooMany]++
			}
		case "guardian":
			if childrenOf[id] == 0 {
				n[rostergen.GuardianUnlinked]++
			}
		}
	}
}

func recountClasses(n map[rostergen.Check]int, tables map[string][]record, users map[string]*person) {
	sessions, courses, classes := ids(tables["academicSessions"]), ids(tables["courses"]), ids(tables["classes"])
	teachers, students := map[string]int{}, map[string]int{}
	for _, e := range tables["enrollments"] {
		if e["endDate"] == "" {
			n[rostergen.EnrollmentEndDateMissing]++
		}
		if users[e["userSourcedId"]] == nil {
			n[rostergen.EnrollmentUserMissing]++
		}
		if !classes[e["classSourcedId"]] {
			n[rostergen.EnrollmentClassMissing]++
		}
		switch e["role"] {
		case "teacher":
			teachers[e["classSourcedId"]]++
		case "student":
			students[e["classSourcedId"]]++
		}
	}
	for _, c := range tables["classes"] {
		id := c["sourcedId"]
		if c["termSourcedIds"] == "" {
			n[rostergen.ClassTermsMissing]++
		}
		for _, term := range items(c["termSourcedIds"]) {
			if !sessions[term] {
				n[rostergen.ClassTermUnknown]++
			}
		}
		if c["courseSourcedId"] == "" {
			n[rostergen.ClassCourseMissing]++
		} else if !courses[c["courseSourcedId"]] {
			n[rostergen.ClassCourseUnknown]++
		}
		if c["schoolSourcedId"] == "" {
			n[rostergen.ClassSchoolMissing]++
		}
		if teachers[id] == 0 {
			n[rostergen.ClassTeacherMissing]++
		}
		if students[id] == 0 {
			n[rostergen.ClassStudentsMissing]++
		}
	}
}

func recountSchools(n map[rostergen.Check]int, tables map[string][]record, users map[string]*person) {
	members, classes, enrollments := map[string]int{}, map[string]int{}, map[string]int{}
	teachers, students := map[string]int{}, map[string]int{}
	for _, c := range tables["classes"] {
		classes[c["schoolSourcedId"]]++
	}
	for _, e := range tables["enrollments"] {
		school := e["schoolSourcedId"]
		enrollments[school]++
		switch e["role"] {
		case "teacher":
			teachers[school]++
		case "student":
			students[school]++
		}
	}
	schools := map[string]bool{}
	for _, o := range tables["orgs"] {
		if o["type"] == "school" {
			schools[o["sourcedId"]] = true
		}
	}
	for _, u := range users {
		inSchool := false
		for _, org := range u.orgs {
			members[org]++
			inSchool = inSchool || schools[org]
		}
		if u.family == "guardian" && !inSchool {
			n[rostergen.GuardianDistrictOnly]++
		}
	}
	for school := range schools {
		if classes[school] > 0 && teachers[school] == 0 {
			n[rostergen.TeacherEnrollmentsMissing]++
		}
		if classes[school] > 0 && students[school] == 0 {
			n[rostergen.StudentEnrollmentsMissing]++
		}
		if members[school]+classes[school]+enrollments[school] == 0 {
			n[rostergen.SchoolEmpty]++
		}
	}
}

func ids(rows []record) map[string]bool {
	set := map[string]bool{}
	for _, r := range rows {
		set[r["sourcedId"]] = true
	}
	return set
}
