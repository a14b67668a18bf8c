package api

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/api/httpbody"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/sheet"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// csvPage is how many records are read at once for a CSV.
const csvPage = 1000

// ExportRecordsCsv implements RosterService.
func (s *Server) ExportRecordsCsv(req *rosterv1.ListRecordsRequest, stream rosterv1.RosterService_ExportRecordsCsvServer) error {
	ctx := stream.Context()
	q, err := queryOf(req)
	if err != nil {
		return err
	}
	rev, err := s.revisionOf(ctx, req.GetDistrict(), req.GetAsOf())
	if err != nil {
		return err
	}
	reader := s.store.Snapshot(store.DistrictID(req.GetDistrict()), rev, scopeOf(ctx))
	var buf bytes.Buffer
	w := csv.NewWriter(&buf)
	if err := w.Write(header(q.Entity)); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	for after, more := "", true; more; {
		page, err := reader.Page(ctx, q, after, csvPage)
		if err != nil {
			return outward(req.GetDistrict(), err)
		}
		for _, r := range page.Records {
			rec, err := decode(r)
			if err != nil {
				return err
			}
			if err := w.Write(sheet.Guard(row(rec))); err != nil {
				return fmt.Errorf("write CSV: %w", err)
			}
			after = r.ID
		}
		more = page.More
		w.Flush()
		if err := stream.Send(&httpbody.HttpBody{ContentType: "text/csv; charset=utf-8", Data: bytes.Clone(buf.Bytes())}); err != nil {
			return err
		}
		buf.Reset()
	}
	return nil
}

var columns = map[typev1.Entity][]string{
	typev1.Entity_ENTITY_ORGS:              {"name", "type", "identifier", "parentSourcedId"},
	typev1.Entity_ENTITY_ACADEMIC_SESSIONS: {"title", "type", "startDate", "endDate", "parentSourcedId", "schoolYear"},
	typev1.Entity_ENTITY_COURSES:           {"schoolYearSourcedId", "title", "courseCode", "grades", "orgSourcedId", "subjects", "subjectCodes"},
	typev1.Entity_ENTITY_CLASSES: {
		"title", "grades", "courseSourcedId", "classCode", "classType", "location", "schoolSourcedId", "termSourcedIds",
		"subjects", "subjectCodes", "periods",
	},
	typev1.Entity_ENTITY_USERS: {
		"enabledUser", "username", "givenName", "familyName", "middleName", "roles", "orgSourcedIds", "identifier",
		"email", "sms", "phone", "agentSourcedIds", "grades", "street", "city", "state", "zip",
	},
	typev1.Entity_ENTITY_ENROLLMENTS: {
		"classSourcedId", "schoolSourcedId", "userSourcedId", "role", "primary", "beginDate", "endDate",
	},
	typev1.Entity_ENTITY_DEMOGRAPHICS: {
		"birthDate", "sex", "americanIndianOrAlaskaNative", "asian", "blackOrAfricanAmerican",
		"nativeHawaiianOrOtherPacificIslander", "white", "demographicRaceTwoOrMoreRaces", "hispanicOrLatinoEthnicity",
		"countryOfBirthCode", "stateOfBirthAbbreviation", "cityOfBirth", "publicSchoolResidenceStatus",
	},
}

func header(e typev1.Entity) []string {
	return slices.Concat([]string{"sourcedId", "status", "dateLastModified"}, columns[e], []string{"metadata"})
}

// row writes a record in the order of header; lists are joined by commas as in
// OneRoster CSV, extension columns as name=value.
func row(r *typev1.Record) []string {
	_, base := record.Of(r)
	out := []string{base.GetSourcedId(), base.GetStatus(), base.GetDateLastModified()}
	switch v := base.(type) {
	case *typev1.Org:
		out = append(out, v.GetName(), v.GetType(), v.GetIdentifier(), v.GetParent().GetSourcedId())
	case *typev1.AcademicSession:
		out = append(out, v.GetTitle(), v.GetType(), v.GetStartDate(), v.GetEndDate(), v.GetParent().GetSourcedId(), v.GetSchoolYear())
	case *typev1.Course:
		out = append(out, v.GetSchoolYear().GetSourcedId(), v.GetTitle(), v.GetCourseCode(), join(v.GetGrades()),
			v.GetOrg().GetSourcedId(), join(v.GetSubjects()), join(v.GetSubjectCodes()))
	case *typev1.Class:
		out = append(out, v.GetTitle(), join(v.GetGrades()), v.GetCourse().GetSourcedId(), v.GetClassCode(), v.GetClassType(),
			v.GetLocation(), v.GetSchool().GetSourcedId(), joinIDs(v.GetTerms()), join(v.GetSubjects()), join(v.GetSubjectCodes()), join(v.GetPeriods()))
	case *typev1.User:
		out = append(out, userRow(v)...)
	case *typev1.Enrollment:
		out = append(out, v.GetClass().GetSourcedId(), v.GetSchool().GetSourcedId(), v.GetUser().GetSourcedId(), v.GetRole(),
			boolText(v.Primary), v.GetBeginDate(), v.GetEndDate())
	case *typev1.Demographics:
		out = append(out, v.GetBirthDate(), v.GetSex(), boolText(v.AmericanIndianOrAlaskaNative), boolText(v.Asian),
			boolText(v.BlackOrAfricanAmerican), boolText(v.NativeHawaiianOrOtherPacificIslander), boolText(v.White),
			boolText(v.DemographicRaceTwoOrMoreRaces), boolText(v.HispanicOrLatinoEthnicity),
			v.GetCountryOfBirthCode(), v.GetStateOfBirthAbbreviation(), v.GetCityOfBirth(), v.GetPublicSchoolResidenceStatus())
	}
	m := base.GetMetadata()
	pairs := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, k+"="+m[k])
	}
	return append(out, strings.Join(pairs, "; "))
}

func userRow(v *typev1.User) []string {
	var roles, orgs []string
	for _, r := range v.GetRoles() {
		roles = append(roles, r.GetRole())
		orgs = append(orgs, r.GetOrg().GetSourcedId())
	}
	a := v.GetAddress()
	return []string{
		boolText(v.EnabledUser), v.GetUsername(), v.GetGivenName(), v.GetFamilyName(), v.GetMiddleName(), join(roles), join(orgs),
		v.GetIdentifier(), v.GetEmail(), v.GetSms(), v.GetPhone(), joinIDs(v.GetAgents()), join(v.GetGrades()),
		a.GetStreet(), a.GetCity(), a.GetState(), a.GetZip(),
	}
}

func join(list []string) string { return strings.Join(list, ",") }

func joinIDs[T interface{ GetSourcedId() string }](refs []T) string {
	ids := make([]string, len(refs))
	for i, r := range refs {
		ids[i] = r.GetSourcedId()
	}
	return join(ids)
}

func boolText(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}
