package e2e

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/securly/sync/services/platform/testkit"
)

// A small sound package, OneRoster 1.1. Cases change one thing in it.
func soundFiles() map[string]string {
	return map[string]string{
		"manifest.csv": "propertyName,value\nmanifest.version,1.0\noneroster.version,1.1\nfile.orgs,bulk\nfile.users,bulk\n" +
			"file.classes,bulk\nfile.enrollments,bulk\nfile.academicSessions,bulk\nfile.courses,bulk\n",
		"orgs.csv": "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\n" +
			"d,,,Made-up District,district,,\ns,,,Made-up School,school,,d\n",
		"academicSessions.csv": "sourcedId,status,dateLastModified,title,type,startDate,endDate,parentSourcedId,schoolYear\n" +
			"y,,,2026/27,schoolYear,2026-08-01,2027-06-30,,2027\n",
		"courses.csv": "sourcedId,status,dateLastModified,schoolYearSourcedId,title,courseCode,grades,orgSourcedId,subjects,subjectCodes\n" +
			"co,,,y,Art,ART1,05,s,,\n",
		"classes.csv": "sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,schoolSourcedId,termSourcedIds,subjects,subjectCodes,periods\n" +
			"cl,,,Art A,05,co,A,scheduled,,s,y,,,\n",
		"users.csv": "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,password\n" +
			"u1,,,true,s,student,zoe,,Zoé,Müller,,100,zoe@made-up.example,,,,05,\n" +
			"u2,,,true,s,teacher,tom,,Tom,Tree,,200,tom@made-up.example,,,,,\n",
		"enrollments.csv": "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,primary,beginDate,endDate\n" +
			"e1,,,cl,s,u1,student,,2026-08-15,2027-06-15\ne2,,,cl,s,u2,teacher,true,2026-08-15,2027-06-15\n",
	}
}

// zipped writes files as a zip and returns its path.
func zipped(t *testing.T, files map[string]string) string {
	t.Helper()
	return saved(t, "roster.zip", string(testkit.Zip(t, files)))
}

func saved(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// encrypted sets the flag that says so on every entry of a zip.
func encrypted(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
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
	return saved(t, "encrypted.zip", string(b))
}

// What no upload accepts: a clear answer, and nothing is stored.
func TestUploadRefused(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "refused")
		sound := zipped(t, soundFiles())
		b, err := os.ReadFile(sound)
		require.NoError(t, err)
		bomb := soundFiles()
		bomb["demographics.csv"] = strings.Repeat("0", 300<<20)
		for name, c := range map[string]struct{ file, says string }{
			"not a zip":      {saved(t, "roster.zip", "this is no zip"), "zip"},
			"encrypted zip":  {encrypted(t, sound), "encrypted"},
			"truncated zip":  {saved(t, "cut.zip", string(b[:len(b)/2])), "zip"},
			"traversal name": {zipped(t, map[string]string{"../users.csv": "x"}), "../users.csv"},
			"bomb":           {zipped(t, bomb), "demographics.csv"},
			"no known file":  {zipped(t, map[string]string{"readme.txt": "hello"}), "users.csv"},
		} {
			t.Run(name, func(t *testing.T) {
				a, err := h.Upload(t.Context(), "refused", "sis", c.file)
				require.NoError(t, err)
				require.Equal(t, http.StatusBadRequest, a.Status, string(a.Body))
				require.Contains(t, strings.ToLower(string(a.Body)), c.says)
				a, err = h.Do(t.Context(), "POST", "/v1/districts/refused/sources/sis:sync", map[string]any{})
				require.NoError(t, err)
				require.GreaterOrEqual(t, a.Status, 400, "no upload was kept")
			})
		}
		t.Run("cut off half way", func(t *testing.T) {
			r, w := io.Pipe()
			form := multipart.NewWriter(w)
			go func() {
				part, _ := form.CreateFormFile("file", "roster.zip")
				_, _ = part.Write(b[:len(b)/2])
				w.CloseWithError(io.ErrUnexpectedEOF)
			}()
			_, err := h.Do(t.Context(), "POST", "/v1/districts/refused/sources/sis:upload", r, "Content-Type", form.FormDataContentType())
			require.Error(t, err)
			a, err := h.Do(t.Context(), "POST", "/v1/districts/refused/sources/sis:sync", map[string]any{})
			require.NoError(t, err)
			require.GreaterOrEqual(t, a.Status, 400, "no upload was kept")
		})
	})
}

// Faults of a whole file: the sync fails, names the place, and changes nothing.
func TestFileFaults(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "faults")
		h.sync(t, "faults", zipped(t, soundFiles()))
		for name, c := range map[string]struct {
			change func(map[string]string)
			says   []string
		}{
			"users.csv is missing": {func(f map[string]string) { delete(f, "users.csv") }, []string{"users.csv"}},
			"users.csv has a header only": {func(f map[string]string) {
				f["users.csv"], _, _ = strings.Cut(f["users.csv"], "\n")
			}, []string{"users.csv"}},
			"a required column is missing": {func(f map[string]string) {
				f["users.csv"] = strings.Replace(f["users.csv"], "sourcedId", "id", 1)
			}, []string{"users.csv", "sourcedId"}},
			"a column comes twice": {func(f map[string]string) {
				f["enrollments.csv"] = strings.Replace(f["enrollments.csv"], "primary", "role", 1)
			}, []string{"enrollments.csv", "role"}},
			"the manifest promises a file": {func(f map[string]string) {
				delete(f, "enrollments.csv")
			}, []string{"enrollments.csv"}},
		} {
			t.Run(name, func(t *testing.T) {
				files := soundFiles()
				c.change(files)
				s, err := h.UploadAndSync(within(t, time.Minute), "faults", zipped(t, files))
				require.NoError(t, err)
				require.Equal(t, "FAILED", s.State)
				for _, word := range c.says {
					require.Contains(t, s.Error, word)
				}
				var page struct {
					TotalSize, Revision int
				}
				h.get(t, "/v1/districts/faults/users?status=active", &page)
				require.Equal(t, 2, page.TotalSize)
				require.Equal(t, 1, page.Revision)
			})
		}
	})
}

// Oddities that are read all the same: the roster is the one of the sound package.
func TestReadAllTheSame(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		utf16, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(soundFiles()["users.csv"])
		require.NoError(t, err)
		windows, err := charmap.Windows1252.NewEncoder().String(soundFiles()["users.csv"])
		require.NoError(t, err)
		for i, c := range []struct {
			name, users string
		}{
			{"byte order mark", "\ufeff" + soundFiles()["users.csv"]},
			{"header in capitals", strings.Replace(soundFiles()["users.csv"], "sourcedId,status", "SOURCEDID,Status", 1)},
			{"non-breaking and zero-width characters in the header", strings.Replace(soundFiles()["users.csv"], "givenName", "\u00a0givenName\u200b", 1)},
			{"UTF-16", utf16},
			{"Windows-1252", windows},
			{"carriage returns as line ends", strings.ReplaceAll(soundFiles()["users.csv"], "\n", "\r")},
			{"CRLF and blank lines", strings.ReplaceAll(soundFiles()["users.csv"], "\n", "\r\n\r\n")},
		} {
			t.Run(c.name, func(t *testing.T) {
				district := fmt.Sprintf("odd-%d", i)
				h.newDistrict(t, district)
				files := soundFiles()
				files["users.csv"] = c.users
				h.sync(t, district, zipped(t, files))
				var got struct {
					Record struct{ GivenName, FamilyName, Email string }
				}
				h.get(t, "/v1/districts/"+district+"/users:get?sourcedId=u1", &got)
				require.Equal(t, "Zoé", got.Record.GivenName)
				require.Equal(t, "Müller", got.Record.FamilyName)
				require.Equal(t, "zoe@made-up.example", got.Record.Email)
			})
		}
	})
}

// Rows that cannot be read are findings with their place; the rest goes on.
func TestRejectedRows(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "rows")
		files := soundFiles()
		files["users.csv"] += ",,,true,s,student,no,,No,Id,,,,,,,,\n" + // row 4
			"u1,,,true,s,student,dup,,Same,Id,,,,,,,,\n" + // row 5
			"u3,,,true\n" + // row 6
			"u4,,,true,s,wizard,wiz,,Unknown,Role,,,,,,,,\n" + // row 7
			"u5,,,true,s,student,big,," + strings.Repeat("x", 10<<20) + ",Cell,,,,,,,,\n" + // row 8
			"u6,,,perhaps,s,student,val,,Bad,Value,,,no-at-sign,,,,,\n" // row 9
		files["enrollments.csv"] += "e3,,,nowhere,s,u1,student,,31.12.2026,2027-06-15\n" // row 4: kept, unknown class, bad date
		s := h.sync(t, "rows", zipped(t, files))
		require.Equal(t, 5, s.Counts["users"]["rejected"])
		require.Equal(t, 3, s.Counts["users"]["created"])

		var list struct {
			Findings []struct {
				Level, Code, File, Column, Message string
				Row                                int
			}
		}
		h.get(t, "/v1/districts/rows/syncs/"+s.SyncID+"/findings?pageSize=1000", &list)
		at := map[string]string{}
		for _, f := range list.Findings {
			at[fmt.Sprintf("%s:%d:%s", f.File, f.Row, f.Level)] += f.Column + " "
			require.NotContains(t, f.Message, "no-at-sign", "a person's values are not repeated")
		}
		for _, place := range []string{
			"users.csv:4:row", "users.csv:5:row", "users.csv:6:row", "users.csv:7:row", "users.csv:8:row",
			"users.csv:9:value", "enrollments.csv:4:value",
		} {
			require.Contains(t, at, place)
		}
		require.Contains(t, at["users.csv:9:value"], "email")
		require.Contains(t, at["enrollments.csv:4:value"], "beginDate")
		var e struct {
			Record struct {
				Class struct{ SourcedID string }
			}
		}
		h.get(t, "/v1/districts/rows/enrollments:get?sourcedId=e3", &e)
		require.Equal(t, "nowhere", e.Record.Class.SourcedID, "unknown references are stored and left to readiness")
	})
}
