package rostertest

import (
	"iter"
	"strings"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/rostergen"
)

// Generated yields the records of a generated OneRoster 1.2 district, read in
// the plainest way.
func Generated(d *rostergen.District) iter.Seq[*typev1.Record] {
	return func(yield func(*typev1.Record) bool) {
		roles := map[string][]*typev1.Role{}
		for r := range rows(d, "roles") {
			user := r("userSourcedId")
			roles[user] = append(roles[user], &typev1.Role{RoleType: r("roleType"), Role: r("role"), Org: ref(r("orgSourcedId"))})
		}
		for _, file := range d.Files() {
			if file == "roles" {
				continue
			}
			for r := range rows(d, file) {
				rec := read(file, r)
				if u := rec.GetUser(); u != nil {
					u.Roles = roles[u.SourcedId]
				}
				if !yield(rec) {
					return
				}
			}
		}
	}
}

// rows yields the rows of a file as functions from column to value.
func rows(d *rostergen.District, file string) iter.Seq[func(column string) string] {
	return func(yield func(func(string) string) bool) {
		index := map[string]int{}
		for i, c := range d.Columns(file) {
			index[c] = i
		}
		for row := range d.Rows(file) {
			if !yield(func(column string) string { return row[index[column]] }) {
				return
			}
		}
	}
}

func ref(id string) *typev1.Ref {
	if id == "" {
		return nil
	}
	return &typev1.Ref{SourcedId: id}
}

func items(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func read(file string, r func(string) string) *typev1.Record {
	status := r("status")
	if status == "" {
		status = record.StatusActive
	}
	id := r("sourcedId")
	switch file {
	case "orgs":
		return &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{
			SourcedId: id, Status: status, Name: r("name"), Type: r("type"),
		}}}
	case "academicSessions":
		return &typev1.Record{Record: &typev1.Record_AcademicSession{AcademicSession: &typev1.AcademicSession{
			SourcedId: id, Status: status, Title: r("title"), Type: r("type"),
			StartDate: r("startDate"), EndDate: r("endDate"), Parent: ref(r("parentSourcedId")),
		}}}
	case "courses":
		return &typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{SourcedId: id, Status: status, Title: r("title")}}}
	case "classes":
		c := &typev1.Class{
			SourcedId: id, Status: status, Title: r("title"), Grades: items(r("grades")),
			Course: ref(r("courseSourcedId")), School: ref(r("schoolSourcedId")),
		}
		for _, t := range items(r("termSourcedIds")) {
			c.Terms = append(c.Terms, ref(t))
		}
		return &typev1.Record{Record: &typev1.Record_Class{Class: c}}
	case "users":
		return &typev1.Record{Record: &typev1.Record_User{User: readUser(id, status, r)}}
	case "enrollments":
		return &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: &typev1.Enrollment{
			SourcedId: id, Status: status, User: ref(r("userSourcedId")), Class: ref(r("classSourcedId")),
			School: ref(r("schoolSourcedId")), Role: r("role"), BeginDate: r("beginDate"), EndDate: r("endDate"),
		}}}
	}
	return &typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{
		SourcedId: id, Status: status, BirthDate: r("birthDate"),
	}}}
}

func readUser(id, status string, r func(string) string) *typev1.User {
	u := &typev1.User{
		SourcedId: id, Status: status, Username: r("username"),
		GivenName: r("givenName"), FamilyName: r("familyName"), MiddleName: r("middleName"),
		Identifier: r("identifier"), Email: r("email"), Sms: r("sms"), Phone: r("phone"),
		Grades: items(r("grades")), PrimaryOrg: ref(r("primaryOrgSourcedId")),
		Address: &typev1.Address{
			Street: r("metadata.address"), City: r("metadata.city"), State: r("metadata.state"), Zip: r("metadata.zip"),
		},
	}
	for _, item := range items(r("userIds")) {
		kind, value, _ := strings.Cut(strings.Trim(item, "{}"), ":")
		u.UserIds = append(u.UserIds, &typev1.UserId{Type: kind, Identifier: value})
	}
	for _, agent := range items(r("agentSourcedIds")) {
		u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: agent})
	}
	return u
}
