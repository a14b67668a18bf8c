package fileset_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/ingest/internal/connector/fileset"
)

func TestUndated(t *testing.T) {
	for name, want := range map[string]string{
		"students_2026-08-12.csv":          "students_*.csv",
		"students20260812.csv":             "students*.csv",
		"08-12-2026 students.csv":          "* students.csv",
		"students_20260812_013000.csv":     "students_*.csv",
		"students_2026-08-12T01.30.00.csv": "students_*.csv",
		"students.31.12.2026.csv":          "students.*.csv",
		"students_4711.csv":                "students_4711.csv",
		"students_0012345.csv":             "students_0012345.csv",
		"users.csv":                        "users.csv",
	} {
		require.Equal(t, want, fileset.Undated(name))
	}
}

// A folder that keeps the files of other days: the newest of each counts.
func TestDatedFiles(t *testing.T) {
	entry := func(name string, at int64) fileset.File {
		return fileset.File{Path: name, Name: name, Modified: at}
	}
	s := fileset.Choose("f", []fileset.File{
		entry("students_2026-08-12.csv", 12), entry("Students_2026-08-11.csv", 11), entry("students_2026-08-13.csv", 10), // which was written first
		entry("students_old_2026-08-09.csv", 9), entry("staff.csv", 1), entry("school1.csv", 3), entry("school2.csv", 4),
		entry("terms_2026-01-01.csv", 5), entry("terms_2026-01-02.csv", 5),
	}, "auto", "", func(string) bool { return true })
	names := func(files []fileset.File) (out []string) {
		for _, f := range files {
			out = append(out, f.Name)
		}
		return out
	}
	require.Equal(t, []string{
		"students_2026-08-12.csv", "students_old_2026-08-09.csv", "staff.csv", "school1.csv", "school2.csv", "terms_2026-01-01.csv", "terms_2026-01-02.csv",
	}, names(s.Files), "a person has to choose of what came at once")
	require.Len(t, s.Older, 2)
	require.Equal(t, []string{"Students_2026-08-11.csv"}, names(s.Older[0].Files))
}
