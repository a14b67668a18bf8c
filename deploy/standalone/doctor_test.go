package standalone_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/deploy/standalone"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/testkit"
)

// onDocuments changes what a service keeps, as no program would.
func onDocuments(t *testing.T, dataDir, service string, change func(docstore.Store)) {
	t.Helper()
	s, err := docstore.OpenPebble(filepath.Join(dataDir, service, "documents"))
	require.NoError(t, err)
	change(s)
	require.NoError(t, s.Close())
}

// files lists the files under a part of the data directory.
func files(t *testing.T, dataDir, part string) (out []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(filepath.Join(dataDir, part), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, path)
		}
		return err
	}))
	require.NotEmpty(t, out, part)
	return out
}

// old makes a file look as if it had been there for a while.
func old(t *testing.T, path string, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	then := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, then, then))
}

func TestDoctor(t *testing.T) {
	healthy := t.TempDir()
	h := start(t, healthy)
	c := h.caller(t)
	c.newDistrict("d")
	c.sync("d", faulty(t, "First"))
	c.report("d", "rev-1")
	h.stop()
	require.Empty(t, doctor(t, healthy, false))
	before := filepath.Join(t.TempDir(), "roster")
	require.NoError(t, os.CopyFS(before, os.DirFS(filepath.Join(healthy, "roster-store", "d"))))
	h = start(t, healthy)
	c = h.caller(t)
	second := c.sync("d", faulty(t, "Second"))
	c.report("d", "rev-2")
	require.Empty(t, doctor(t, healthy, false), "while the hub runs")
	h.stop()
	backup, _ := backUp(t, healthy, t.TempDir())

	for name, tt := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   []string
		// left says that it needs a person.
		left bool
	}{
		"a package is missing": {
			damage: func(t *testing.T, dir string) {
				require.NoError(t, os.Remove(files(t, dir, "ingest/files/uploads")[0]))
			},
			want: []string{"a kept package is missing"},
		},
		"a layer is damaged": {
			damage: func(t *testing.T, dir string) {
				at := slices.IndexFunc(files(t, dir, "ingest/files/layers"), func(f string) bool { return filepath.Base(f) == "users" })
				require.NoError(t, os.WriteFile(files(t, dir, "ingest/files/layers")[at], []byte("other bytes"), 0o600))
			},
			want: []string{"what is stored of the source is missing or damaged"}, left: true,
		},
		"findings of a sync are missing": {
			damage: func(t *testing.T, dir string) {
				require.NoError(t, os.Remove(files(t, dir, "ingest/files/findings")[0]))
			},
			want: []string{"its findings are missing"},
		},
		"a file too many": {
			damage: func(t *testing.T, dir string) {
				old(t, filepath.Join(dir, "ingest/files/uploads/d/sis/left-over"), "x")
				old(t, filepath.Join(dir, "ingest/files/layers/gone/sis/1/users"), "x")
			},
			want: []string{"a file that nothing names", "a file that nothing names"},
		},
		"a sync that nobody goes on with": {
			damage: func(t *testing.T, dir string) {
				onDocuments(t, dir, "ingest", func(s docstore.Store) {
					syncs := docstore.NewCollection(s, "syncs", func(d *ingestv1.SyncDocument) string {
						return d.GetDistrict() + "/" + d.GetSync().GetSyncId()
					})
					_, err := syncs.Modify(t.Context(), "d/"+second.GetSyncId(), func(d *ingestv1.SyncDocument) error {
						d.Sync.State, d.Sync.EndTime = ingestv1.SyncState_COMMITTING, nil
						return nil
					})
					require.NoError(t, err)
				})
			},
			want: []string{"a sync that nobody goes on with"},
		},
		"the roster is an older one": {
			damage: func(t *testing.T, dir string) {
				require.NoError(t, os.RemoveAll(filepath.Join(dir, "roster-store/d")))
				require.NoError(t, os.CopyFS(filepath.Join(dir, "roster-store/d"), os.DirFS(before)))
			},
			want: []string{"a report of revision 2, but the newest revision is 1", "a sync that made revision 2, but the newest revision is 1"},
			left: true,
		},
		"the roster is gone": {
			damage: func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(filepath.Join(dir, "roster-store/d"))) },
			want:   []string{"a district without a roster", "reports or findings of a district that is not there"},
			left:   true,
		},
		"findings of a report are missing": {
			damage: func(t *testing.T, dir string) {
				// Findings that stayed the same are shared: as many reports have lost theirs.
				require.NoError(t, os.RemoveAll(filepath.Join(dir, "readiness-engine/findings")))
			},
			want: []string{"the findings of a report are missing or damaged", "the findings of a report are missing or damaged"},
		},
		"findings of a report are damaged": {
			damage: func(t *testing.T, dir string) {
				for _, f := range files(t, dir, "readiness-engine/findings") {
					require.NoError(t, os.Truncate(f, 3))
				}
			},
			want: []string{"the findings of a report are missing or damaged", "the findings of a report are missing or damaged"},
		},
		"findings too many": {
			damage: func(t *testing.T, dir string) {
				old(t, filepath.Join(dir, "readiness-engine/findings/d/some-check/0123"), "x")
			},
			want: []string{"findings that no report names"},
		},
		"a report that is in no queue": {
			damage: func(t *testing.T, dir string) {
				onDocuments(t, dir, "readiness-engine", func(s docstore.Store) {
					reports := docstore.NewCollection(s, "readiness-reports", func(r *readinessv1.StoredReport) string {
						return r.GetDistrict() + "/" + r.GetReport().GetCreateTime().AsTime().UTC().Format("20060102T150405.000000000")
					})
					_, err := reports.Modify(t.Context(), "d/rev-2", func(r *readinessv1.StoredReport) error {
						r.Report.State = readinessv1.ReportState_QUEUED
						return nil
					})
					require.NoError(t, err)
				})
			},
			want: []string{"a report waits although it is in no queue"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hub")
			_, err := standalone.Restore(t.Context(), backup, dir)
			require.NoError(t, err)
			tt.damage(t, dir)
			what := func(repair bool) (words []string) {
				for _, p := range doctor(t, dir, repair) {
					require.Equal(t, repair && !tt.left, p.GetRepaired(), p)
					require.NotEmpty(t, p.GetWhere())
					words = append(words, strings.SplitN(p.GetWhat(), ":", 2)[0])
				}
				slices.Sort(words)
				return words
			}
			require.Equal(t, tt.want, what(false), "it is found")
			require.Equal(t, tt.want, what(true), "and was not touched before")
			if tt.left {
				require.Equal(t, tt.want, what(false))
				return
			}
			require.Empty(t, what(false), "it is right now")
			h := start(t, dir)
			c := h.caller(t)
			c.ended("d", second.GetSyncId())
			_, findings := c.report("d", "rev-2")
			require.NotEmpty(t, findings)
			require.EqualValues(t, 3, c.sync("d", faulty(t, "Third")).GetRevision())
			require.Eventually(t, func() bool { return len(doctor(t, dir, false)) == 0 }, testkit.Wait, 50*time.Millisecond)
		})
	}
}
