package connectortest

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/unicode"

	"github.com/securly/sync/services/platform/testkit"
)

// anyReason stands for any refusal: who finds nothing to fetch says it in its own way.
const anyReason = "*"

type input struct {
	name  string
	files []Input
	// holds are the files of the package; refused is the reason if there is none.
	holds   []string
	refused string
}

// sound is a small package without any fault.
func sound() map[string]string {
	return map[string]string{
		"manifest.csv":    "propertyName,value\nmanifest.version,1.0\noneroster.version,1.1\nfile.users,bulk\nfile.classes,bulk\nfile.enrollments,bulk\n",
		"classes.csv":     "sourcedId,title,courseSourcedId,classType,schoolSourcedId,termSourcedIds\ncl,Art A,co,scheduled,s,y\n",
		"users.csv":       "sourcedId,enabledUser,orgSourcedIds,role,username,givenName,familyName,email\nu1,true,s,student,zoe,Zoé,Müller,zoe@made-up.example\n",
		"enrollments.csv": "sourcedId,classSourcedId,schoolSourcedId,userSourcedId,role\ne1,cl,s,u1,student\n",
	}
}

var soundFiles = []string{"manifest.csv", "classes.csv", "users.csv", "enrollments.csv"}

func loose(files map[string]string) []Input {
	var out []Input
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, Input{name, []byte(files[name])})
	}
	return out
}

func with(name, text string) map[string]string {
	files := sound()
	files[name] = text
	return files
}

func inputs(t *testing.T) []input {
	zipped := func(files map[string]string) []Input { return []Input{{"roster.zip", testkit.Zip(t, files)}} }
	inFolder := map[string]string{}
	for name, text := range sound() {
		inFolder["export/"+name] = text
	}
	whole := testkit.Zip(t, sound())
	encrypted := bytes.Clone(whole)
	for sig, flags := range map[string]int{"PK\x03\x04": 6, "PK\x01\x02": 8} {
		for i := range encrypted {
			if bytes.HasPrefix(encrypted[i:], []byte(sig)) {
				encrypted[i+flags] |= 1
			}
		}
	}
	utf16, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(sound()["users.csv"])
	require.NoError(t, err)
	return []input{
		{name: "zip", files: zipped(sound()), holds: soundFiles},
		{name: "loose", files: loose(sound()), holds: soundFiles},
		{name: "zip with a folder", files: zipped(inFolder), holds: soundFiles},
		{name: "zip of a Mac", files: zipped(with("__MACOSX/._users.csv", "\x00\x05\x16\x07")), holds: soundFiles},
		{name: "names in other case", files: zipped(map[string]string{"Users.CSV": sound()["users.csv"]}), holds: []string{"users.csv"}},
		{name: "Excel's Unicode", files: zipped(with("users.csv", utf16)), holds: soundFiles},
		{name: "byte order mark", files: loose(with("users.csv", "\ufeff"+sound()["users.csv"])), holds: soundFiles},
		{name: "a required file without rows", files: loose(with("users.csv", "")), holds: soundFiles},
		{name: "files of other standards beside it", files: zipped(with("grades.xlsx", "PK\x03\x04")), holds: soundFiles},

		{name: "no zip", files: []Input{{"roster.zip", []byte("this is no zip")}}, refused: "UPLOAD_NOT_ZIP"},
		{name: "empty zip file", files: []Input{{"roster.zip", nil}}, refused: "UPLOAD_NOT_ZIP"},
		{name: "zip of nothing", files: zipped(nil), refused: "UPLOAD_NO_ROSTER"},
		{name: "zip cut off", files: []Input{{"roster.zip", whole[:len(whole)/2]}}, refused: "UPLOAD_DAMAGED"},
		{name: "encrypted zip", files: []Input{{"roster.zip", encrypted}}, refused: "UPLOAD_ENCRYPTED"},
		{name: "a way out of the zip", files: zipped(map[string]string{"../users.csv": "x"}), refused: "UPLOAD_TRAVERSAL"},
		{name: "an absolute name", files: zipped(map[string]string{`C:\users.csv`: "x"}), refused: "UPLOAD_TRAVERSAL"},
		{name: "bomb", files: zipped(with("demographics.csv", strings.Repeat("0", 64<<20))), refused: "UPLOAD_BOMB"},
		{name: "a file twice", files: zipped(with("USERS.csv", "x")), refused: "UPLOAD_AMBIGUOUS"},
		{name: "no text", files: zipped(with("users.csv", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00")), refused: "UPLOAD_ENCODING"},
		{name: "a login page", files: []Input{{"roster.zip", []byte("<!DOCTYPE html><html><body>Sign in</body></html>")}}, refused: "UPLOAD_NOT_ZIP"},
		{name: "nothing that is known", files: []Input{{"readme.txt", []byte("hello")}}, refused: anyReason},
	}
}
