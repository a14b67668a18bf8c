package normalise

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/securly/sync/services/ingest/internal/finding"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden reads one package of each version and compares all records and
// findings with the golden file. Renew them with: go test ./ingest/internal/normalise -update
func TestGolden(t *testing.T) {
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		t.Run(version, func(t *testing.T) {
			var out bytes.Buffer
			dir := filepath.Join("testdata", version)
			for _, k := range Kinds() {
				text, err := os.ReadFile(filepath.Join(dir, k.File()))
				if os.IsNotExist(err) {
					continue
				}
				require.NoError(t, err)
				read(t, &out, k, text, Options{Source: "sis", RolesFile: version == "1.2"})
			}
			golden := filepath.Join(dir, "golden.txt")
			if *update {
				require.NoError(t, os.WriteFile(golden, out.Bytes(), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), out.String())
		})
	}
}

func read(t *testing.T, out *bytes.Buffer, k Kind, text []byte, opts Options) {
	t.Helper()
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	require.NoError(t, err)
	report := finding.NewReport(k.File())
	table, err := Bind(k, rows[0], opts, report)
	require.NoError(t, err)
	reader := table.NewReader(report, report)
	fmt.Fprintf(out, "# %s\n", k.File())
	for i, fields := range rows[1:] {
		row, ok := reader.Read(i+2, fields)
		if !ok {
			continue
		}
		raw, err := protojson.Marshal(row.Message)
		require.NoError(t, err)
		var tidy bytes.Buffer // protojson varies its spaces on purpose
		require.NoError(t, json.Compact(&tidy, raw))
		fmt.Fprintf(out, "%s deleted=%t bare=%t %s\n", row.ID, row.Deleted, row.Bare, tidy.Bytes())
	}
	found, _ := report.Result()
	for _, f := range found {
		fmt.Fprintf(out, "! %s %s row %d column %q id %q: %s\n", f.GetLevel(), f.GetCode(), f.GetRow(), f.GetColumn(), f.GetSourcedId(), f.GetMessage())
	}
}

func TestDates(t *testing.T) {
	for in, want := range map[string]string{
		"2026-08-12": "2026-08-12", "2026-02-29": "!", "2028-02-29": "2028-02-29", "2026-13-01": "!", "2026-00-10": "!",
		"8/12/2026": "2026-08-12", "1/05/2023": "2023-01-05", "2026/8/2": "2026-08-02", "20260812": "2026-08-12",
		"2026-08-12T10:30:00Z": "2026-08-12", "2026-08-12 10:30:00": "2026-08-12", "2026-08-12T23:30:00-05:00": "2026-08-12",
		"0000-00-00": "", "": "", "soon": "!", "31.12.2026": "!", "13/13/2026": "!", strings.Repeat("9", 100): "!",
	} {
		got, ok := date(in)
		if !ok {
			got = "!"
		}
		require.Equal(t, want, got, in)
	}
}

func TestModified(t *testing.T) {
	for in, want := range map[string]string{
		"2026-08-12T10:30:00.123Z": "2026-08-12T10:30:00.123Z", "2026-08-12T10:30:00Z": "2026-08-12T10:30:00.000Z",
		"2026-08-12T10:30:00-05:00": "2026-08-12T15:30:00.000Z", "2026-08-12": "2026-08-12T00:00:00.000Z",
		"2017-05-06 08:01:05": "2017-05-06T08:01:05.000Z", "2026-08-12T25:30:00.123Z": "!", "2026-02-30T10:30:00.123Z": "!", "": "", "noon": "!",
	} {
		got, ok := modified(in)
		if !ok {
			got = "!"
		}
		require.Equal(t, want, got, in)
	}
}

func TestGrades(t *testing.T) {
	for in, want := range map[string]string{
		"1": "01", "05": "05", "12": "12", "13": "13", "K": "KG", "0": "KG", "00": "KG", "KF": "KG", "Kindergarten": "KG", "-1": "PK", "-2": "PK",
		"P": "PK", "PK3": "PK", "PreK": "PK", "Grade 5": "05", "5th": "05", "2nd grade": "02", "kg": "KG", "ps": "PS", "other": "Other",
		"99": "!99", "freshman": "!freshman",
	} {
		got, ok := grade(in)
		if !ok {
			got = "!" + got
		}
		require.Equal(t, want, got, in)
	}
}

func TestYears(t *testing.T) {
	for in, want := range map[string]string{"2027": "2027", "2026-2027": "2027", "2026-27": "2027", "2026/27": "2027", "": "", "27": "!", "soon": "!", "2026-": "!"} {
		got, ok := year(in)
		if !ok {
			got = "!"
		}
		require.Equal(t, want, got, in)
	}
}

func TestHeadersThatCannotBeRead(t *testing.T) {
	for name, test := range map[string]struct {
		kind   Kind
		header string
		column string
		code   string
	}{
		"no id":                       {Orgs, "name,type", "sourcedId", "column-missing"},
		"no role and no roles.csv":    {Users, "sourcedId,username,givenName,familyName,orgSourcedIds", "role", "column-missing"},
		"a role without orgs":         {Users, "sourcedId,username,givenName,familyName,role", "orgSourcedIds", "column-missing"},
		"twice":                       {Orgs, "sourcedId,name,type,NAME", "NAME", "column-duplicate"},
		"an unknown one twice":        {Orgs, "sourcedId,name,type,x,X", "X", "column-duplicate"},
		"nothing":                     {Orgs, ",,", "", "header-missing"},
		"deletes only, but no status": {Orgs, "sourcedId,dateLastModified", "name", "column-missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Bind(test.kind, strings.Split(test.header, ","), Options{Delta: true}, finding.NewReport(test.kind.File()))
			var f *Fault
			require.ErrorAs(t, err, &f)
			require.Equal(t, test.kind.File(), f.File)
			require.Equal(t, test.column, f.Column)
			require.Equal(t, test.code, f.Code)
		})
	}
}

// What a row becomes depends on the row alone, not on those read before it.
func TestReaderKeepsNothingOfTheRowBefore(t *testing.T) {
	header := strings.Split("sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,metadata.city,shoe", ",")
	full := strings.Split("a,tobedeleted,2026-08-12,true,s1;s2,student,u,{x:1},G,F,M,1,a@b.example,1,2,p,5,Town,44", ",")
	bare := append(strings.Split("b,,,,,teacher,u,,,,", ","), make([]string, 8)...)
	report := finding.NewReport("users.csv")
	table, err := Bind(Users, header, Options{Source: "sis"}, report)
	require.NoError(t, err)
	fresh, ok := table.NewReader(report, report).Read(2, bare)
	require.True(t, ok)
	used := table.NewReader(report, report)
	_, ok = used.Read(2, full)
	require.True(t, ok)
	again, ok := used.Read(3, bare)
	require.True(t, ok)
	require.True(t, proto.Equal(fresh.Message, again.Message))
}

// Every row becomes a record or a finding, whatever is in it, and never a panic.
func FuzzRead(f *testing.F) {
	f.Add(uint8(Users), "sourcedId,role,orgSourcedIds,username,givenName,familyName,metadata.city", "u1,student,s,zoe,Zoe,M,Town")
	f.Add(uint8(Enrollments), "sourcedId,classSourcedId,schoolSourcedId,userSourcedId,role,beginDate", "e,c,s,u,student,2026-08-12")
	f.Add(uint8(AcademicSessions), "sourcedId,title,type,startDate,endDate,schoolYear,status", "y,T,term,1/2/2026,0000-00-00,2026-27,inactive")
	f.Add(uint8(Demographics), "userSourcedId,birthdate,sex,asian", "u,2010-01-01,Male,Y")
	f.Add(uint8(Roles), "userSourcedId,roleType,role,orgSourcedId", "u,primary,teacher,s")
	f.Fuzz(func(t *testing.T, kind uint8, header, text string) {
		k := Kind(kind % uint8(kinds))
		report := finding.NewReport(k.File())
		table, err := Bind(k, strings.Split(header, ","), Options{Delta: kind > 127, RolesKnown: true}, report)
		if err != nil {
			return
		}
		row, ok := table.NewReader(report, report).Read(2, strings.Split(strings.ToValidUTF8(text, "?"), ","))
		if !ok {
			require.Equal(t, 1, report.Rejected())
			return
		}
		require.Zero(t, report.Rejected())
		require.NotEmpty(t, row.ID)
		_, err = proto.Marshal(row.Message)
		require.NoError(t, err)
	})
}
