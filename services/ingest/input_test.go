package ingest_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

// encrypted sets the flag that says so on every entry of a zip.
func encrypted(b []byte) []byte {
	b = bytes.Clone(b)
	for sig, flags := range map[string]int{"PK\x03\x04": 6, "PK\x01\x02": 8} {
		for at := 0; ; {
			i := bytes.Index(b[at:], []byte(sig))
			if i < 0 {
				break
			}
			b[at+i+flags] |= 1
			at += i + 4
		}
	}
	return b
}

// with returns the sound package with other files in it; an empty text takes
// a file away.
func with(changes map[string]string) map[string]string {
	files := sound()
	for name, text := range changes {
		files[name] = text
		if text == "" {
			delete(files, name)
		}
	}
	return files
}

func TestUploadsThatAreRefused(t *testing.T) {
	h := newHub(t)
	whole := testkit.Zip(t, sound())
	damaged := bytes.Clone(testkit.Zip(t, map[string]string{"users.csv": strings.Repeat("a,b,c\n", 20000)}))
	for i := 60; i < 110; i++ {
		damaged[i] ^= 0x5a
	}
	for _, test := range []struct {
		name   string
		files  map[string][]byte
		reason string
		says   string
	}{
		{"not a zip", map[string][]byte{"roster.zip": []byte("this is no zip")}, "UPLOAD_NOT_ZIP", "not a zip"},
		{"no file", nil, "UPLOAD_EMPTY", "no file"},
		{"empty file", map[string][]byte{"roster.zip": nil}, "UPLOAD_NOT_ZIP", "not a zip"},
		{"encrypted zip", map[string][]byte{"roster.zip": encrypted(whole)}, "UPLOAD_ENCRYPTED", "encrypted"},
		{"zip cut in the middle", map[string][]byte{"roster.zip": whole[:len(whole)/2]}, "UPLOAD_DAMAGED", "cut off"},
		{"zip without its last byte", map[string][]byte{"roster.zip": whole[:len(whole)-1]}, "UPLOAD_DAMAGED", "cut off"},
		{"damaged entry", map[string][]byte{"roster.zip": damaged}, "UPLOAD_DAMAGED", "users.csv"},
		{"traversal", map[string][]byte{"roster.zip": testkit.Zip(t, map[string]string{"../users.csv": "x"})}, "UPLOAD_TRAVERSAL", "../users.csv"},
		{"traversal in the Windows way", map[string][]byte{"roster.zip": testkit.Zip(t, map[string]string{`a\..\..\users.csv`: "x"})}, "UPLOAD_TRAVERSAL", ".."},
		{"absolute name", map[string][]byte{"roster.zip": testkit.Zip(t, map[string]string{"/etc/users.csv": "x"})}, "UPLOAD_TRAVERSAL", "/etc/users.csv"},
		{"absolute name in the Windows way", map[string][]byte{"roster.zip": testkit.Zip(t, map[string]string{`C:\users.csv`: "x"})}, "UPLOAD_TRAVERSAL", "users.csv"},
		{"traversal of a loose file", map[string][]byte{"../users.csv": []byte("x")}, "UPLOAD_TRAVERSAL", "../users.csv"},
		{"bomb", map[string][]byte{"roster.zip": testkit.Zip(t, with(map[string]string{"demographics.csv": strings.Repeat("0", 40<<20)}))}, "UPLOAD_BOMB", "demographics.csv"},
		{"too large", map[string][]byte{"roster.zip": append([]byte("PK"), make([]byte, 65<<20)...)}, "UPLOAD_TOO_LARGE", "larger than"},
		{"nothing of a roster", map[string][]byte{"roster.zip": testkit.Zip(t, map[string]string{"readme.txt": "hello"})}, "UPLOAD_NO_ROSTER", "users.csv"},
		{"nothing of a roster, loose", map[string][]byte{"pupils.csv": []byte("a,b\n")}, "UPLOAD_NO_ROSTER", "users.csv"},
		{"one file twice", map[string][]byte{"roster.zip": testkit.Zip(t, with(map[string]string{"sub/users.csv": "x"}))}, "UPLOAD_AMBIGUOUS", "users.csv"},
		{"one file in two spellings", map[string][]byte{"roster.zip": testkit.Zip(t, with(map[string]string{"USERS.CSV": "x"}))}, "UPLOAD_AMBIGUOUS", "users.csv"},
		{"a zip and a file", map[string][]byte{"a.zip": whole, "users.csv": []byte("x")}, "UPLOAD_MIXED", "zip"},
		{"UTF-32", map[string][]byte{"users.csv": []byte("\xff\xfe\x00\x00s\x00\x00\x00")}, "UPLOAD_ENCODING", "users.csv"},
		{"a picture", map[string][]byte{"users.csv": []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02")}, "UPLOAD_ENCODING", "users.csv"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := h.send("sis", test.files)
			require.ErrorIs(t, err, errs.New(codes.InvalidArgument, test.reason, ""))
			require.Contains(t, strings.ToLower(err.Error()), test.says)
		})
	}
	t.Run("cut off half way", func(t *testing.T) {
		stream, err := h.sources.Upload(h.ctx)
		require.NoError(t, err)
		for _, m := range []*ingestv1.UploadRequest{
			{Message: &ingestv1.UploadRequest_Header{Header: &ingestv1.UploadHeader{District: "d", Source: "sis"}}},
			{Message: &ingestv1.UploadRequest_File{File: &ingestv1.UploadFile{Filename: "roster.zip"}}},
			{Message: &ingestv1.UploadRequest_Chunk{Chunk: whole}},
		} {
			require.NoError(t, stream.Send(m))
		}
		_, err = stream.CloseAndRecv()
		require.ErrorIs(t, err, errs.New(codes.InvalidArgument, "UPLOAD_CUT_OFF", ""))
	})
	t.Run("unknown source", func(t *testing.T) {
		_, err := h.send("nobody", map[string][]byte{"roster.zip": whole})
		require.ErrorIs(t, err, errs.New(codes.NotFound, "SOURCE_NOT_FOUND", ""))
	})
	require.Empty(t, h.stored("uploads"), "nothing is kept of what is refused")
	_, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: "sis"})
	require.ErrorIs(t, err, errs.New(codes.FailedPrecondition, "UPLOAD_NEEDED", ""))
}

func TestLooseFiles(t *testing.T) {
	h := newHub(t)
	files := map[string][]byte{}
	for name, text := range sound() {
		files[name] = []byte(text)
	}
	up, err := h.send("sis", files)
	require.NoError(t, err)
	require.Len(t, up.GetFiles(), 7)
	require.Equal(t, "manifest.csv", up.GetFiles()[0].GetName())
	require.InDelta(t, len(files["manifest.csv"]), up.GetFiles()[0].GetSize(), 0)
	s := h.wait(h.startSync("sis").GetSyncId())
	require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
	require.Equal(t, up.GetUploadId(), s.GetUploadId())
}

// Faults of a whole file: the sync fails, says where and why, and changes nothing.
func TestFileFaults(t *testing.T) {
	h := newHub(t)
	require.EqualValues(t, 1, h.sync("sis", sound()).GetRevision())
	header := func(file string) string { h, _, _ := strings.Cut(sound()[file], "\n"); return h }
	replaced := func(file, old, text string) map[string]string {
		require.Contains(t, sound()[file], old)
		return with(map[string]string{file: strings.Replace(sound()[file], old, text, 1)})
	}
	noManifest := func(changes map[string]string) map[string]string {
		changes["manifest.csv"] = ""
		return with(changes)
	}
	for _, test := range []struct {
		name     string
		files    map[string]string
		findings []string // those of level file
	}{
		{"users.csv is missing", noManifest(map[string]string{"users.csv": ""}), []string{"file file-missing users.csv:0:"}},
		{"users.csv is missing though the manifest has it", with(map[string]string{"users.csv": ""}), []string{"file manifest-file-missing users.csv:0:"}},
		{"an optional file is missing though the manifest has it", with(map[string]string{"courses.csv": ""}), []string{"file manifest-file-missing courses.csv:0:"}},
		{"the manifest says a file is absent that is there", replaced("manifest.csv", "file.classes,bulk", "file.classes,absent"), []string{"file manifest-file-present classes.csv:0:"}},
		{"users.csv has only a header", with(map[string]string{"users.csv": header("users.csv") + "\n"}), []string{"file file-empty users.csv:0:"}},
		{"users.csv has a header and blank rows", with(map[string]string{"users.csv": header("users.csv") + "\n\n,,,\n"}), []string{"file file-empty users.csv:0:"}},
		{"users.csv has no byte", with(map[string]string{"users.csv": "\n"}), []string{"file file-empty users.csv:0:"}},
		{"classes and enrollments are missing", noManifest(map[string]string{"classes.csv": "", "enrollments.csv": ""}), []string{"file file-missing classes.csv:0:", "file file-missing enrollments.csv:0:"}},
		{"no id column", replaced("users.csv", "sourcedId", "id"), []string{"file column-missing users.csv:0:sourcedId"}},
		{"no role column", replaced("users.csv", "role", "job"), []string{"file column-missing users.csv:0:role"}},
		{"no name column", replaced("users.csv", "familyName", "surname"), []string{"file column-missing users.csv:0:familyName"}},
		{"no class column", replaced("enrollments.csv", "classSourcedId", "class"), []string{"file column-missing enrollments.csv:0:classSourcedId"}},
		{"a column twice", replaced("enrollments.csv", "primary", "role"), []string{"file column-duplicate enrollments.csv:0:role"}},
		{"a column twice in two spellings", replaced("users.csv", "middleName", "EMAIL\u200b"), []string{"file column-duplicate users.csv:0:email"}},
		{"a header with an open quote", with(map[string]string{"users.csv": "\"sourcedId,role\nu1,student\n"}), []string{"file file-unreadable users.csv:0:"}},
		{"a manifest with an open quote", with(map[string]string{"manifest.csv": "propertyName,value\n\"file.users,bulk\n"}), []string{"file file-unreadable manifest.csv:0:"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := h.sync("sis", test.files)
			require.Equal(t, ingestv1.SyncState_FAILED, s.GetState())
			var faults []string
			for _, f := range h.findings(s.GetSyncId()) {
				if strings.HasPrefix(f, "file ") {
					faults = append(faults, f)
				}
			}
			require.Equal(t, test.findings, faults)
			place := strings.Split(strings.Fields(test.findings[0])[2], ":")
			require.Contains(t, s.GetError(), place[0])
			require.Contains(t, s.GetError(), place[2])
			require.EqualValues(t, 1, h.roster.Revision("d"))
			require.Zero(t, s.GetRevision())
		})
	}
	require.Len(t, h.roster.Active("d", typev1.Entity_ENTITY_USERS), 2)
	s := h.wait(h.startSyncOf("sis", h.upload("sis", sound())))
	require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState())
	require.Zero(t, s.GetRevision(), "the layer of before is still the last good one")
}

func (h *hub) startSyncOf(source, upload string) string {
	h.t.Helper()
	s, err := h.syncs.StartSync(h.ctx, &ingestv1.StartSyncRequest{District: "d", Source: source, UploadId: upload})
	require.NoError(h.t, err)
	return s.GetSyncId()
}

// Oddities that are read all the same: the roster is that of the sound package.
func TestOdditiesThatAreRead(t *testing.T) {
	users := sound()["users.csv"]
	utf16le, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(users)
	require.NoError(t, err)
	utf16be, err := unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewEncoder().String(users)
	require.NoError(t, err)
	windows, err := charmap.Windows1252.NewEncoder().String(users)
	require.NoError(t, err)
	spell := func(old, text string) string {
		require.Contains(t, users, old)
		return strings.Replace(users, old, text, 1)
	}
	in := func(name, text string) map[string]string { return with(map[string]string{name: text}) }
	folder, junk := map[string]string{}, sound()
	for name, text := range sound() {
		folder["export/"+name] = text
	}
	junk["__MACOSX/._users.csv"], junk[".DS_Store"], junk["readme.txt"], junk["results.csv"] = "\x00\x05", "\x00", "hello", "x"
	for _, test := range []struct {
		name     string
		files    map[string]string
		findings []string
	}{
		{"byte order mark", in("users.csv", "\ufeff"+users), nil},
		{"header in capitals", in("users.csv", spell("sourcedId,status", "SOURCEDID,Status")), []string{
			"notice header-spelling users.csv:0:sourcedId", "notice header-spelling users.csv:0:status",
		}},
		{"non-breaking and zero-width characters in the header", in("users.csv", spell("givenName", "\u00a0givenName\u200b")), []string{"notice header-spelling users.csv:0:givenName"}},
		{"spaces and underscores in the header", in("users.csv", spell("givenName", "Given_Name ")), []string{"notice header-spelling users.csv:0:givenName"}},
		{"UTF-16 LE", in("users.csv", utf16le), []string{"notice encoding-utf-16 users.csv:0:"}},
		{"UTF-16 BE without mark", in("users.csv", utf16be), []string{"notice encoding-utf-16 users.csv:0:"}},
		{"Windows-1252", in("users.csv", windows), []string{"notice encoding-windows-1252 users.csv:2:"}},
		{"carriage returns", in("users.csv", strings.ReplaceAll(users, "\n", "\r")), nil},
		{"carriage returns and line feeds with blank lines", in("users.csv", strings.ReplaceAll(users, "\n", "\r\n\r\n")), nil},
		{"tabs", in("users.csv", strings.ReplaceAll(users, ",", "\t")), []string{"notice delimiter users.csv:0:"}},
		{"a comma behind each row", in("users.csv", strings.ReplaceAll(users, "\n", ",\n")), nil},
		{"NULL", in("users.csv", strings.Replace(users, "zoe,,Zoé,Müller,,", "zoe,NULL,Zoé,Müller,NULL,", 1)), nil},
		{"no password column", in("users.csv", strings.ReplaceAll(strings.Replace(users, ",password", "", 1), ",\n", "\n")), nil},
		{"a folder in the zip", folder, []string{"notice file-in-folder manifest.csv:0:", "notice file-in-folder users.csv:0:"}},
		{"files of a Mac and others", junk, []string{"notice file-unknown readme.txt:0:", "notice file-ignored results.csv:0:"}},
		{"a name in capitals", with(map[string]string{"users.csv": "", "Users.CSV": users}), []string{"notice file-name-case users.csv:0:"}},
		{"no manifest", with(map[string]string{"manifest.csv": ""}), []string{"notice manifest-missing manifest.csv:0:"}},
		{"asterisks in the manifest", in("manifest.csv", strings.Replace(sound()["manifest.csv"], "file.users,", "file.users*,", 1)), nil},
		{"a row missing in the manifest", in("manifest.csv", strings.Replace(sound()["manifest.csv"], "file.courses,bulk\n", "", 1)), []string{"notice manifest-row-missing manifest.csv:0:"}},
		{"odd rows in the manifest", in("manifest.csv", sound()["manifest.csv"]+"file.pets,bulk\nfile.demographics,perhaps\n"), []string{
			"notice manifest-file-unknown manifest.csv:10:propertyName", "notice manifest-mode-unknown manifest.csv:11:value",
		}},
		{"status in a complete copy", in("courses.csv", strings.Replace(sound()["courses.csv"], "co,,,", "co,active,2026-08-01,", 1)), []string{"notice bulk-with-status courses.csv:0:status"}},
		{"an optional file with only a header", with(map[string]string{
			"demographics.csv": "sourcedId,birthDate\n", "manifest.csv": sound()["manifest.csv"] + "file.demographics,bulk\n",
		}), []string{"notice file-empty demographics.csv:0:"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHub(t)
			s := h.sync("sis", test.files)
			require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
			found := h.findings(s.GetSyncId())
			if len(test.findings) == 0 {
				require.Empty(t, found)
			}
			for _, f := range test.findings {
				require.Contains(t, found, f)
			}
			u := h.roster.Active("d", typev1.Entity_ENTITY_USERS)["u1"].GetUser()
			require.Equal(t, "Zoé", u.GetGivenName())
			require.Equal(t, "Müller", u.GetFamilyName())
			require.Equal(t, "zoe@made-up.example", u.GetEmail())
			require.Empty(t, u.GetMetadata())
			require.Len(t, h.roster.Active("d", typev1.Entity_ENTITY_USERS), 2)
		})
	}
}

// Rows and values that cannot be read are findings with their place; the rest goes on.
func TestRowsAndValuesThatAreLost(t *testing.T) {
	h := newHub(t)
	files := sound()
	files["users.csv"] += ",,,true,s,student,no,,No,Id,,,,,,,,\n" + // 4: no id
		"u1,,,true,s,student,dup,,Same,Id,,,,,,,,\n" + // 5: the id of row 2
		"u3,,,true\n" + // 6: ragged
		"u4,,,true,s,wizard,wiz,,Unknown,Role,,,,,,,,\n" + // 7: unknown role
		"u5,,,true,s,student,big,," + strings.Repeat("x", 10<<20) + ",Cell,,,,,,,,\n" + // 8: a cell of 10 MB
		"u6,,,perhaps,s,student,val,,Bad,Value,,,no-at-sign,,,,,\n" + // 9: bad flag and email
		"u7,,,true,s,student,q,,Open,\"Quote,,,,,,,,\n" + // 10: a quote that is never closed
		"u8,,,true,s,student,q,,\"Stray\" Quote,Q,,,,,,,,\n" + // 11: kept as it stands
		"u9,,,true,s,student,l,,\"Two\nLines\",L,,,,,,,,\n" + // 12: joined
		"u10,gone,,true,s,pupil,s,,Odd,Status,,,,,,,99,\n" + // 13: status, a synonym, a grade
		"u11,,,true,s,student,x,,\x81\x8d,X,,,,,,,,\n" // 14: no text
	files["enrollments.csv"] += "e3,,,nowhere,s,nobody,student,maybe,31.12.2026,2027-06-15\n" // 4
	files["academicSessions.csv"] += "z,yesterday,noon,Term,trimester,2026-13-01,2026-02-30,,soon\n"
	s := h.sync("sis", files)
	require.Equal(t, ingestv1.SyncState_COMPLETED, s.GetState(), s.GetError())
	require.ElementsMatch(t, []string{
		"row id-missing users.csv:4:sourcedId",
		"row id-duplicate users.csv:5:sourcedId",
		"row row-ragged users.csv:6:",
		"row role-unknown users.csv:7:role",
		"row row-too-long users.csv:8:",
		"value boolean-invalid users.csv:9:enabledUser",
		"value email-invalid users.csv:9:email",
		"row row-quotes users.csv:10:",
		"value quotes-stray users.csv:11:",
		"value value-lines users.csv:12:",
		"value status-unknown users.csv:13:status",
		"notice role-mapped users.csv:13:role",
		"notice grade-unknown users.csv:13:grades",
		"row row-unreadable users.csv:14:",
		"value boolean-invalid enrollments.csv:4:primary",
		"value date-invalid enrollments.csv:4:beginDate",
		"value status-unknown academicSessions.csv:3:status",
		"value date-invalid academicSessions.csv:3:dateLastModified",
		"notice token-unknown academicSessions.csv:3:type",
		"value date-invalid academicSessions.csv:3:startDate",
		"value date-invalid academicSessions.csv:3:endDate",
		"value number-invalid academicSessions.csv:3:schoolYear",
	}, h.findings(s.GetSyncId()))
	require.EqualValues(t, 13, s.GetCounts()["users"].GetReceived())
	require.EqualValues(t, 7, s.GetCounts()["users"].GetRejected())
	require.EqualValues(t, 6, s.GetCounts()["users"].GetCreated())
	users := h.roster.Active("d", typev1.Entity_ENTITY_USERS)
	require.Equal(t, "Zoé", users["u1"].GetUser().GetGivenName(), "of two rows with one id the first is read")
	require.Equal(t, `"Stray" Quote`, users["u8"].GetUser().GetGivenName())
	require.Equal(t, "Two Lines", users["u9"].GetUser().GetGivenName())
	require.Equal(t, "student", users["u10"].GetUser().GetRoles()[0].GetRole())
	require.Equal(t, []string{"99"}, users["u10"].GetUser().GetGrades())
	e := h.roster.Active("d", typev1.Entity_ENTITY_ENROLLMENTS)["e3"].GetEnrollment()
	require.Equal(t, "nowhere", e.GetClass().GetSourcedId(), "unknown references are kept and left to readiness")

	page, err := h.syncs.ListSyncFindings(h.ctx, &ingestv1.ListSyncFindingsRequest{District: "d", Sync: s.GetSyncId()})
	require.NoError(t, err)
	for _, f := range page.GetFindings() {
		for _, value := range []string{"no-at-sign", "wizard", "perhaps", "maybe", "trimester", "31.12.2026", "noon"} {
			require.NotContains(t, f.GetMessage(), value, "values of people are not repeated")
		}
	}
}

func TestFindingsAreCountedBeyondWhatIsKept(t *testing.T) {
	h := newHub(t)
	files := sound()
	files["users.csv"] += strings.Repeat("x\n", 2500)
	h.upload("sis", files)
	s := h.wait(h.startSync("sis").GetSyncId())
	require.EqualValues(t, 2500, s.GetFindingsCount())
	n := 0
	for token := ""; ; {
		page, err := h.syncs.ListSyncFindings(h.ctx, &ingestv1.ListSyncFindingsRequest{District: "d", Sync: s.GetSyncId(), PageSize: 1000, PageToken: token})
		require.NoError(t, err)
		require.EqualValues(t, 2500, page.GetTotalSize())
		n += len(page.GetFindings())
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	require.Equal(t, 2000, n)
}
