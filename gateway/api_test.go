package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/proto/openapi"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
)

type httpBody = httpbody.HttpBody

func user(id string) *typev1.User {
	return &typev1.User{SourcedId: id, Status: "active", GivenName: "Ada", Roles: []*typev1.Role{{Role: "student", Org: &typev1.Ref{SourcedId: "s/1"}}}}
}

func userRecord(id string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_User{User: user(id)}}
}

var noon = timestamppb.New(time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC))

const userText = `{"sourcedId":"u:1/ü","status":"active","givenName":"Ada","roles":[{"role":"student","org":{"sourcedId":"s/1"}}]}`

// The exact form of answers, which clients rely on.
func TestShapes(t *testing.T) {
	e := start(t)
	e.rosters.get = &rosterv1.GetRecordResponse{Record: userRecord("u:1/ü"), Revision: 7, FromRevision: 3}
	e.rosters.history = &rosterv1.GetRecordHistoryResponse{Versions: []*rosterv1.RecordVersion{{
		FromRevision: 3, CommitTime: noon, Record: userRecord("u:1/ü"),
		Fields: []*rosterv1.FieldChange{{Field: "givenName", Before: `"A"`, After: `"Ada"`}},
	}}}
	e.rosters.list = func(req *rosterv1.ListRecordsRequest) (*rosterv1.ListRecordsResponse, error) {
		if req.GetSourcedId() == "none" {
			return &rosterv1.ListRecordsResponse{Revision: 7}, nil
		}
		return &rosterv1.ListRecordsResponse{
			Users: []*typev1.User{user("u:1/ü")}, NextPageToken: "more", TotalSize: 12, Revision: 7,
		}, nil
	}
	e.rosters.summary = &rosterv1.Summary{Revision: 7, Active: map[string]int32{"users": 1}}
	for _, c := range []struct{ name, path, want string }{
		{"list", "/v1/districts/d/users", `{"users":[` + userText + `],"nextPageToken":"more","totalSize":12,"revision":7}`},
		{"trailing slash", "/v1/districts/d/users/", `{"users":[` + userText + `],"nextPageToken":"more","totalSize":12,"revision":7}`},
		{"nothing found", "/v1/districts/d/academicSessions?sourcedId=none", `{"academicSessions":[],"nextPageToken":"","totalSize":0,"revision":7}`},
		{"record", "/v1/districts/d/users:get?sourcedId=u%3A1%2F%C3%BC", `{"record":` + userText + `,"entity":"users","revision":7,"fromRevision":3}`},
		{"history", "/v1/districts/d/users:history?sourcedId=u%3A1%2F%C3%BC", `{"versions":[{"fromRevision":3,"toRevision":0,"commitTime":"2026-09-01T12:00:00Z","record":` +
			userText + `,"fields":[{"field":"givenName","before":"\"A\"","after":"\"Ada\""}]}]}`},
		{"other lists have all fields", "/v1/districts", `{"districts":[],"nextPageToken":""}`},
		{"overview of a new district", "/v1/districts/d/overview", `{"roster":{"revision":7,"active":{"users":1},"total":{},"usersByRole":{}}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := e.call(t, "GET", c.path, "")
			require.Equal(t, 200, a.StatusCode, a.body)
			require.Equal(t, c.want, strings.TrimSpace(a.body))
			require.Equal(t, "application/json", a.Header.Get("Content-Type"))
			require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
		})
	}
}

func TestEntityAndFiltersReachTheStore(t *testing.T) {
	e := start(t)
	e.rosters.list = func(*rosterv1.ListRecordsRequest) (*rosterv1.ListRecordsResponse, error) {
		return &rosterv1.ListRecordsResponse{}, nil
	}
	for _, entity := range []string{"users", "enrollments", "classes", "courses", "academicSessions", "demographics", "orgs"} {
		a := e.call(t, "GET", "/v1/districts/d/"+entity+"?pageSize=5&asOf=3&role=student&q=ada&orgId=a%2Fb", "")
		require.Equal(t, 200, a.StatusCode, a.body)
		require.True(t, proto.Equal(&rosterv1.ListRecordsRequest{
			District: "d", Entity: entity, PageSize: 5, AsOf: "3", Role: "student", Q: "ada", OrgId: "a/b",
		}, e.rosters.listed), e.rosters.listed)
	}
}

// Every entity can be asked about, by any id.
func TestExplainPaths(t *testing.T) {
	e := start(t)
	for _, entity := range []string{"users", "enrollments", "classes", "courses", "academicSessions", "demographics", "orgs"} {
		a := e.call(t, "GET", "/v1/districts/d/"+entity+":explain?sourcedId=u%3A1%2F%C3%BC", "")
		require.Equal(t, 200, a.StatusCode, a.body)
		require.JSONEq(t, `{"entity":"`+entity+`","sourcedId":"u:1/ü","verdict":"never-delivered","message":"","nextStep":"","reasons":[],"sources":[]}`, a.body)
		require.True(t, proto.Equal(&ingestv1.ExplainRecordRequest{District: "d", Entity: entity, SourcedId: "u:1/ü"}, e.explains.asked), e.explains.asked)
	}
	a := e.call(t, "GET", "/v1/districts/d/sources/sis/packages", "")
	require.Equal(t, 200, a.StatusCode, a.body)
	require.JSONEq(t, `{"packages":[{"uploadId":"up","files":[],"size":12,"syncs":[],"current":false}]}`, a.body)
}

func TestProblems(t *testing.T) {
	e := start(t)
	e.rosters.list = func(req *rosterv1.ListRecordsRequest) (*rosterv1.ListRecordsResponse, error) {
		switch req.GetSourcedId() {
		case "foreign":
			return nil, authn.DistrictNotFound("d")
		case "token":
			return nil, errs.New(codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken: not ours").With("field", "pageToken")
		}
		return nil, http.ErrBodyNotAllowed // an error without a meaning for callers
	}
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		reason, says             string
	}{
		{"named error", "GET", "/v1/districts/d/users?sourcedId=token", "", 400, "PAGE_TOKEN_INVALID", `"field":"pageToken"`},
		{"not found", "GET", "/v1/districts/d/users?sourcedId=foreign", "", 404, "DISTRICT_NOT_FOUND", "no such district: d"},
		{"cause is hidden", "GET", "/v1/districts/d/users", "", 500, "INTERNAL", `"message":"internal error"`},
		{"bad district id", "GET", "/v1/districts/D_1/users", "", 400, "DISTRICT_INVALID", `"field":"district"`},
		{"unknown parameter", "GET", "/v1/districts/d/users?sourceId=1", "", 400, "PARAMETER_INVALID", `"field":"sourceId"`},
		{"parameter that is no number", "GET", "/v1/districts/d/users?pageSize=ten", "", 400, "PARAMETER_INVALID", `"field":"pageSize"`},
		{"parameter twice", "GET", "/v1/districts/d/users?role=a&role=b", "", 400, "PARAMETER_INVALID", `"field":"role"`},
		{"parameter of the body", "POST", "/v1/districts?districtId=x&district.displayName=x", "{}", 400, "PARAMETER_INVALID", `"field":"district.displayName"`},
		{"parameter of the path", "GET", "/v1/districts/d/users?district=e", "", 400, "PARAMETER_INVALID", `"field":"district"`},
		{"query that is not encoded", "GET", "/v1/districts/d/users?q=%zz", "", 400, "PARAMETER_INVALID", "encode"},
		{"no UTF-8 in the query", "GET", "/v1/districts/d/users?sourcedId=%ff", "", 400, "PARAMETER_INVALID", `"field":"sourcedId"`},
		{"no UTF-8 in a name", "GET", "/v1/districts/d/users?%ff=1", "", 400, "PARAMETER_INVALID", "no such parameter"},
		{"no UTF-8 in the query of an export", "GET", "/v1/districts/d:export?asOf=%ff", "", 400, "PARAMETER_INVALID", `"field":"asOf"`},
		{"no UTF-8 in the query of a download", "GET", "/v1/districts/d/users:export?q=%ff", "", 400, "PARAMETER_INVALID", `"field":"q"`},
		{"no UTF-8 in the path", "GET", "/v1/districts/%ff", "", 400, "PARAMETER_INVALID", `"field":"district"`},
		{"no UTF-8 later in the path", "GET", "/v1/districts/d/syncs/%ff", "", 400, "PARAMETER_INVALID", `"field":"sync"`},
		{"no UTF-8 in an unknown path", "GET", "/v1/%ff", "", 404, "PATH_NOT_FOUND", "/v1/"},
		{"unknown field", "POST", "/v1/districts?districtId=x", `{"displayname":"x"}`, 400, "INVALID_ARGUMENT", "displayname"},
		{"wrong type", "POST", "/v1/districts?districtId=x", `{"displayName":1}`, 400, "INVALID_ARGUMENT", "displayName"},
		{"not JSON", "POST", "/v1/districts?districtId=x", `{"displayName":`, 400, "INVALID_ARGUMENT", "unexpected"},
		{"two documents", "POST", "/v1/districts?districtId=x", `{} {}`, 400, "INVALID_ARGUMENT", "body"},
		{"too large", "POST", "/v1/districts?districtId=x", `{"displayName":"` + strings.Repeat("x", 2<<20) + `"}`, 400, "INVALID_ARGUMENT", "too large"},
		{"unknown path", "GET", "/v1/nothing/here", "", 404, "PATH_NOT_FOUND", "/v1/nothing/here"},
		{"root of the API", "GET", "/v1/", "", 404, "PATH_NOT_FOUND", "/v1"},
		{"wrong method", "PUT", "/v1/districts", "", 405, "METHOD_NOT_ALLOWED", "PUT"},
		{"method in disguise", "POST", "/v1/districts/d/readinessReports/r", "", 405, "METHOD_NOT_ALLOWED", "POST"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := e.call(t, c.method, c.path, c.body)
			require.Equal(t, c.status, a.StatusCode, a.body)
			require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"))
			p := a.json(t)
			require.InDelta(t, c.status, p["code"], 0)
			require.Equal(t, c.reason, p["reason"], a.body)
			require.Len(t, p["traceId"], 32)
			require.Contains(t, a.body, c.says)
		})
	}
	a := e.do(t, e.Client(), "GET", "/v1/districts", nil)
	require.Equal(t, 401, a.StatusCode)
	require.Contains(t, a.Header.Get("WWW-Authenticate"), "Bearer")
}

// Whatever a client sends as text is its mistake, not the hub's.
func TestTextThatIsNone(t *testing.T) {
	e := start(t)
	e.sources.keep()
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name   string
		answer answer
		status int
	}{
		{"token", e.do(t, e.Client(), "GET", "/v1/me", nil, "Authorization", "Bearer \xff"), 401},
		{"sign-in link", e.do(t, e.Client(), "GET", "/auth/link?code=%ff", nil), 401},
		{"client id", e.do(t, e.Client(), "POST", "/oauth2/token", strings.NewReader("grant_type=client_credentials&client_id=%ff&client_secret=x"), "Content-Type", form), 401},
		{"scope", e.do(t, e.Client(), "POST", "/oauth2/token", strings.NewReader("grant_type=client_credentials&client_id=a&client_secret=x&scope=%ff"), "Content-Type", form), 401},
		{"HTTP Basic", e.do(t, e.Client(), "POST", "/oauth2/token", strings.NewReader("grant_type=client_credentials"), "Content-Type", form, "Authorization", "Basic /zp4"), 401},
		{"body", e.call(t, "POST", "/v1/districts?districtId=x", "{\"displayName\":\"\xff\"}"), 400},
		{"name of a file", e.call(t, "POST", uploadPath, "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\xff\"\r\n\r\n1\r\n--x--\r\n",
			"Content-Type", "multipart/form-data; boundary=x"), 400},
	} {
		require.Equal(t, c.status, c.answer.StatusCode, "%s: %s", c.name, c.answer.body)
	}
}

// No operation that is documented takes a parameter that is not.
func TestUnknownParametersAreRefusedEverywhere(t *testing.T) {
	e := start(t)
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(openapi.JSON, &doc))
	values := strings.NewReplacer("{entity}", "users", "{", "", "}", "")
	for path, operations := range doc.Paths {
		if !strings.HasPrefix(path, "/v1/") {
			continue
		}
		for method := range operations {
			a := e.call(t, strings.ToUpper(method), values.Replace(path)+"?bogus=1", "{}")
			require.Equal(t, 400, a.StatusCode, "%s %s: %s", method, path, a.body)
			require.Contains(t, a.body, `"reason":"PARAMETER_INVALID"`, "%s %s", method, path)
			require.Contains(t, a.body, `"details":[{"field":"bogus"}]`, "%s %s", method, path)
		}
	}
}

func TestUpdateMaskIsWhatTheBodyHas(t *testing.T) {
	e := start(t)
	a := e.call(t, "PATCH", "/v1/districts/d", `{"displayName":"","timeZone":"America/Chicago"}`)
	require.Equal(t, 200, a.StatusCode, a.body)
	require.ElementsMatch(t, []string{"display_name", "time_zone"}, e.districts.updated.GetUpdateMask().GetPaths())
}

func TestOverviewJoinsServices(t *testing.T) {
	e := start(t)
	e.rosters.summary = &rosterv1.Summary{Revision: 2}
	e.syncs.list = []*ingestv1.Sync{{Name: "districts/d/syncs/1", State: ingestv1.SyncState_COMPLETED}}
	e.readiness.list = []*readinessv1.ReadinessReport{{Name: "districts/d/readinessReports/1"}}
	o := e.call(t, "GET", "/v1/districts/d/overview", "").json(t)
	require.Equal(t, "COMPLETED", o["lastSync"].(map[string]any)["state"])
	require.Equal(t, "districts/d/readinessReports/1", o["lastReport"].(map[string]any)["name"])
	require.NotContains(t, o, "nextSync")

	e.syncs.err = errs.New(codes.PermissionDenied, "SCHOOL_LIMITED", "not for you")
	o = e.call(t, "GET", "/v1/districts/d/overview", "").json(t)
	require.NotContains(t, o, "lastSync")
	require.Contains(t, o, "lastReport")

	e.syncs.err = errs.New(codes.Unavailable, "", "away")
	require.Equal(t, 503, e.call(t, "GET", "/v1/districts/d/overview", "").StatusCode)
}

func TestDownloads(t *testing.T) {
	e := start(t)
	e.rosters.csv = func(out grpc.ServerStreamingServer[httpBody]) error {
		for _, part := range []string{"sourcedId\r\n", "1\r\n", "2\r\n"} {
			if err := out.Send(&httpBody{ContentType: "text/csv; charset=utf-8", Data: []byte(part)}); err != nil {
				return err
			}
		}
		return nil
	}
	a := e.call(t, "GET", "/v1/districts/d/users:export?role=student&q=a", "")
	require.Equal(t, 200, a.StatusCode, a.body)
	require.Equal(t, "sourcedId\r\n1\r\n2\r\n", a.body)
	require.Equal(t, "text/csv; charset=utf-8", a.Header.Get("Content-Type"))
	require.Equal(t, `attachment; filename="d-users.csv"`, a.Header.Get("Content-Disposition"))
	require.Equal(t, "student", e.rosters.listed.GetRole())
	require.Equal(t, 400, e.call(t, "GET", "/v1/districts/d/users:export?rolle=student", "").StatusCode)

	// An error before the first byte is an answer; one after it must not look like the end.
	e.rosters.csv = func(grpc.ServerStreamingServer[httpBody]) error { return authn.DistrictNotFound("d") }
	a = e.call(t, "GET", "/v1/districts/d/users:export", "")
	require.Equal(t, 404, a.StatusCode, a.body)
	require.Empty(t, a.Header.Get("Content-Disposition"))
	e.rosters.csv = func(out grpc.ServerStreamingServer[httpBody]) error {
		if err := out.Send(&httpBody{Data: []byte("sourcedId\r\n")}); err != nil {
			return err
		}
		return errs.New(codes.Unavailable, "", "away")
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", e.URL+"/v1/districts/d/users:export", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+e.token(t))
	require.Error(t, readAll(e.Client(), req))
}

func TestPagesAndHeaders(t *testing.T) {
	e := start(t)
	for path, kind := range map[string]string{
		"/": "text/html", "/districts/d/readiness": "text/html", "/docs": "text/html", "/docs/": "text/html",
		"/openapi.json": "application/json", "/healthz": "text/plain", "/readyz": "text/plain", "/.well-known/jwks.json": "application/json",
	} {
		a := e.do(t, e.Client(), "GET", path, nil)
		require.Equal(t, 200, a.StatusCode, path)
		require.Contains(t, a.Header.Get("Content-Type"), kind, path)
		require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
		require.Equal(t, "DENY", a.Header.Get("X-Frame-Options"))
		require.Contains(t, a.Header.Get("Content-Security-Policy"), "default-src 'self'")
		require.NotContains(t, a.Header.Get("Content-Security-Policy"), "script-src 'unsafe")
	}
	docs := e.do(t, e.Client(), "GET", "/docs", nil)
	require.Contains(t, docs.body, "/v1/districts/{district}/sources/{source}:upload")
	require.Equal(t, 404, e.do(t, e.Client(), "GET", "/assets/of-another-build.js", nil).StatusCode)
	require.Equal(t, 404, e.do(t, e.Client(), "GET", "/.well-known/nothing", nil).StatusCode)
}
