package guardian

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/rostergen"
)

// generated are the users of a made-up district, and its guardian file.
func generated(t testing.TB, students int) (users []*typev1.User, text []byte, want rostergen.Guardians) {
	d, err := rostergen.New(rostergen.Config{Students: students, Version: rostergen.V1p1, Flaws: rostergen.Realistic(students)})
	require.NoError(t, err)
	at := map[string]int{}
	for i, name := range d.Columns("users") {
		at[name] = i
	}
	for row := range d.Rows("users") {
		u := &typev1.User{
			SourcedId: row[at["sourcedId"]], Status: record.StatusActive, GivenName: row[at["givenName"]], FamilyName: row[at["familyName"]],
			Identifier: row[at["identifier"]], Email: row[at["email"]],
		}
		if row[at["status"]] != "" {
			u.Status = row[at["status"]]
		}
		for _, org := range strings.Split(row[at["orgSourcedIds"]], ",") {
			u.Roles = append(u.Roles, role(row[at["role"]], org))
		}
		users = append(users, u)
	}
	var out bytes.Buffer
	want, err = d.WriteGuardians(&out)
	require.NoError(t, err)
	return users, out.Bytes(), want
}

func TestAMadeUpDistrict(t *testing.T) {
	users, text, want := generated(t, 400)
	out := match(t, string(text), &ingestv1.GuardianFile{}, users...)
	r := out.report
	require.Equal(t, want, rostergen.Guardians{
		Rows: int(r.GetRows()), Matched: int(r.GetMatchedRows()), Relationships: int(r.GetRelationships()), Students: int(r.GetStudents()),
		Known: int(r.GetGuardiansKnown()), Created: int(r.GetGuardiansCreated()),
	})
	require.Zero(t, r.GetDuplicates()+r.GetRejectedRows()+r.GetNameConflicts())
}

// The memory of a match does not grow with the district.
func BenchmarkMatch(b *testing.B) {
	var entries []layer.Entry
	text := func() []byte { // nothing else is left of it
		users, text, _ := generated(b, 100_000)
		for e, err := range stream(users...) {
			require.NoError(b, err)
			entries = append(entries, e)
		}
		return text
	}()
	all := func(yield func(layer.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
	f := File{Name: "x", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }}
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapInuse)
			}
		}
	}()
	rows := int32(0)
	for b.Loop() {
		report := finding.NewReport("x")
		c, faults := Open(f, &ingestv1.GuardianFile{}, report)
		require.Empty(b, faults)
		out, err := Match(b.Context(), Input{
			File: f, Columns: c, Settings: &ingestv1.GuardianFile{}, District: "d", Source: "s", Report: report, Users: all, TempDir: b.TempDir(), Rows: func(int) {},
		}, func(layer.Entry) error { return nil })
		require.NoError(b, err)
		rows = out.GetRows()
	}
	close(done)
	<-stopped
	b.ReportMetric(float64(rows), "rows")
	b.ReportMetric(float64(peak-min(peak, before.HeapInuse))/(1<<20), "MB-peak")
}
