package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/rostergen"
)

func TestCommandWritesPackageAndExpectedCounts(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"--students", "200", "--flaws", "realistic", "--out", filepath.Join(dir, "district.zip"), "--guardians-out", filepath.Join(dir, "guardianData.csv")},
		{"--students", "200", "--flaws", "each=2", "--day", "2", "--change", "0.1", "--delta", "--oneroster", "1.1", "--out", filepath.Join(dir, "day2")},
	} {
		cmd := command()
		cmd.SetArgs(args)
		require.NoError(t, cmd.Execute())
		text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
		require.NoError(t, err)
		var e rostergen.Expected
		require.NoError(t, json.Unmarshal(text, &e))
		require.Positive(t, e.Checks[rostergen.StudentEmailMissing])
		if strings.Contains(args[len(args)-1], "guardianData") {
			require.Positive(t, e.Guardians.Known)
			require.FileExists(t, args[len(args)-1])
		}
	}
	require.FileExists(t, filepath.Join(dir, "district.zip"))
	require.FileExists(t, filepath.Join(dir, "day2", "users.csv"))
}

func TestCommandRefuses(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.zip")
	for want, args := range map[string][]string{
		"out":     {"--students", "100"},
		"--flaws": {"--flaws", "many", "--out", out},
		"--today": {"--today", "tomorrow", "--out", out},
		"day -3":  {"--day", "-3", "--out", out},
	} {
		cmd := command()
		cmd.SetArgs(args)
		require.ErrorContains(t, cmd.Execute(), want)
		require.NoFileExists(t, out)
	}
}
