package standalone_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/securly/sync/deploy/standalone"
	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

// holding lists the files of a folder that hold any of some words, whatever way
// they are packed.
func holding(t *testing.T, dir string, words ...string) (found []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && e.IsDir() {
			return nil
		}
		require.NoError(t, err)
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // replaced meanwhile
		}
		require.NoError(t, err)
		for _, text := range append(unpacked(t, path, raw), raw) {
			text = bytes.ToLower(text)
			for _, w := range words {
				if bytes.Contains(text, []byte(strings.ToLower(w))) {
					rel, err := filepath.Rel(dir, path)
					require.NoError(t, err)
					found = append(found, rel)
					return nil
				}
			}
		}
		return nil
	}))
	return found
}

// unpacked returns what a file holds in every packing that it can be read in.
func unpacked(t *testing.T, path string, raw []byte) (texts [][]byte) {
	t.Helper()
	if plain, ok := testkit.LayerText(t, raw); ok {
		texts = append(texts, plain)
	}
	if plain, err := io.ReadAll(s2.NewReader(bytes.NewReader(raw))); err == nil {
		texts = append(texts, plain)
	}
	unzstd, err := zstd.NewReader(bytes.NewReader(raw))
	require.NoError(t, err)
	defer unzstd.Close()
	if plain, err := io.ReadAll(unzstd); err == nil {
		texts = append(texts, plain)
	}
	if z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw))); err == nil {
		for _, f := range z.File {
			in, err := f.Open()
			require.NoError(t, err)
			plain, err := io.ReadAll(in)
			require.NoError(t, err)
			texts = append(texts, plain)
		}
	}
	if filepath.Ext(path) == ".sst" {
		texts = append(texts, table(t, path))
	}
	return texts
}

// table returns the keys and values of a table of a database, those that are deleted included.
func table(t *testing.T, path string) (text []byte) {
	t.Helper()
	f, err := vfs.Default.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // compacted meanwhile
	}
	require.NoError(t, err)
	file, err := sstable.NewSimpleReadable(f)
	require.NoError(t, err)
	r, err := sstable.NewReader(t.Context(), file, sstable.ReaderOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	it, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	require.NoError(t, err)
	defer func() { require.NoError(t, it.Close()) }()
	for kv := it.First(); kv != nil; kv = it.Next() {
		text = append(text, kv.K.UserKey...)
		v, _, err := kv.Value(nil)
		require.NoError(t, err)
		text = append(append(text, v...), '\n')
	}
	return text
}

// faulty is a package with a student whose every value is a word of its own.
func faulty(t *testing.T, last string) []byte {
	return testkit.Zip(t, map[string]string{
		"manifest.csv": "propertyName,value\nmanifest.version,1.0\noneroster.version,1.1\nfile.orgs,bulk\nfile.users,bulk\nfile.classes,bulk\n" +
			"file.enrollments,bulk\nfile.academicSessions,bulk\nfile.courses,bulk\nfile.demographics,bulk\n",
		"orgs.csv":             "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\nd,,,Made-up District,district,,\ns,,,Made-up School,school,,d\n",
		"academicSessions.csv": "sourcedId,status,dateLastModified,title,type,startDate,endDate,parentSourcedId,schoolYear\ny,,,Year,schoolYear,2020-08-01,2099-06-30,,2099\n",
		"courses.csv":          "sourcedId,status,dateLastModified,schoolYearSourcedId,title,courseCode,grades,orgSourcedId,subjects,subjectCodes\nco,,,y,Art,ART1,05,s,,\n",
		"classes.csv": "sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,schoolSourcedId,termSourcedIds,subjects,subjectCodes,periods\n" +
			"cl,,,Art A,05,co,A,scheduled,,s,y,,,\n",
		// Two students share an email, so that each is a finding with the other's name; the guardian has none.
		"users.csv": "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,password\n" +
			"u1,,,true,s,student,quokkaname,{Fed:wombatid},Numbatte," + last + ",Bilbyette,ident77310,potoroo@made-up.example,5550117731,5550117732,u3,05,\n" +
			"u2,,,true,s,student,tim,,Tim,Treesome,,200,potoroo@made-up.example,,,,05,\n" +
			"u3,,,true,s,guardian,gus,,Gus,Guardian,,300,,,,u1,,\n" +
			"u4,,,true,s,teacher,tom,,Tom,Teacherly,,400,tom@made-up.example,,,,,\n",
		"demographics.csv": "sourcedId,status,dateLastModified,birthDate,sex,cityOfBirth\nu1,,,2014-03-07,female,Kookaburraville\n",
		"enrollments.csv": "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,primary,beginDate,endDate\n" +
			"e1,,,cl,s,u1,student,,2026-08-15,2099-06-15\ne2,,,cl,s,u4,teacher,true,2026-08-15,2099-06-15\ne3,,,cl,s,u3,student,,,\n",
	})
}

var secretWords = []string{
	"Numbatte", "Bettongsson", "Pademelonsen", "Bilbyette", "quokkaname", "wombatid", "ident77310",
	"5550117731", "5550117732", "2014-03-07", "Kookaburraville",
}

func TestAnErasedPersonIsNowhere(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir)
	c := h.caller(t)
	c.newDistrict("d")
	c.sync("d", faulty(t, "Bettongsson"))
	_, findings := c.report("d", "rev-1")
	named := false
	for _, f := range findings {
		named = named || f.GetSourcedId() == "u1" && strings.Contains(f.GetDisplayName(), "Numbatte")
	}
	require.True(t, named, "the reports name the person")
	c.sync("d", faulty(t, "Pademelonsen")) // an older version
	before, _ := c.report("d", "rev-2")
	for _, part := range []string{"roster-store", "ingest/files/uploads", "ingest/files/layers", "readiness-engine/findings"} {
		require.NotEmpty(t, holding(t, filepath.Join(dir, part), secretWords...), "the search finds it in %s", part)
	}
	o, err := standalone.Connect(t.Context(), dir, testkit.Log(t))
	require.NoError(t, err)
	_, err = o.ErasePerson(t.Context(), "d", "nobody")
	require.Equal(t, codes.NotFound, errs.Status(err).Code())
	done, err := o.ErasePerson(t.Context(), "d", "u1")
	require.NoError(t, err)
	require.NoError(t, o.Close())
	require.EqualValues(t, 2, done.GetLayerFiles(), "users and demographics")
	require.EqualValues(t, 2, done.GetPackages())
	require.Positive(t, done.GetFindingsFiles())
	require.Empty(t, holding(t, dir, secretWords...))

	history, err := rosterv1.NewRosterServiceClient(h.conn).GetRecordHistory(c.ctx, &rosterv1.GetRecordHistoryRequest{District: "d", Entity: "users", SourcedId: "u1"})
	require.NoError(t, err)
	require.Len(t, history.GetVersions(), 3, "what happened stays, and products are told")
	require.EqualValues(t, 3, done.GetRevision())
	after, findings := c.report("d", "rev-2")
	require.Len(t, after.GetChecks(), len(before.GetChecks()))
	for i := range before.GetChecks() {
		require.Equal(t, before.GetChecks()[i].GetCount(), after.GetChecks()[i].GetCount())
	}
	for _, f := range findings {
		if f.GetSourcedId() == "u2" {
			require.Equal(t, "Tim Treesome", f.GetDisplayName(), "others stay")
		}
	}
	require.Empty(t, doctor(t, dir, false))
	h.stop()
	require.Empty(t, holding(t, dir, secretWords...))

	// Who still delivers the same changes nothing; what was uploaded has the person, of course.
	h = start(t, dir)
	c = h.caller(t)
	require.Zero(t, c.sync("d", faulty(t, "Pademelonsen")).GetRevision())
	for _, part := range []string{"roster-store", "ingest/files/layers", "readiness-engine/findings", "ingest/documents"} {
		require.Empty(t, holding(t, filepath.Join(dir, part), secretWords...), part)
	}
	require.Empty(t, doctor(t, dir, false))

	// Over HTTP, as a district's own client.
	issued, err := authv1.NewAuthServiceClient(h.conn).IssueToken(t.Context(), &authv1.IssueTokenRequest{ClientId: clientID, ClientSecret: clientSecret})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL()+"/v1/districts/d/users:erase", strings.NewReader(`{"sourcedId":"u2"}`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+issued.GetAccessToken())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testkit.Wait}
	res, err := client.Do(req)
	require.NoError(t, err)
	answer, err := io.ReadAll(res.Body)
	require.NoError(t, errors.Join(err, res.Body.Close()))
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Contains(t, string(answer), `"layerFiles":1`)
	require.Empty(t, holding(t, dir, append(secretWords, "potoroo", "Treesome")...))

	// While no hub runs.
	h.stop()
	o, err = standalone.Connect(t.Context(), dir, testkit.Log(t))
	require.NoError(t, err)
	_, err = o.ErasePerson(t.Context(), "d", "u4")
	require.NoError(t, err)
	require.NoError(t, o.Close())
	require.Empty(t, holding(t, dir, "tom@made-up", "Teacherly"))
	require.Empty(t, doctor(t, dir, false))
}

func TestAnErasedDistrictIsNowhere(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir)
	c := h.caller(t)
	for _, d := range []string{"goes", "stays"} {
		c.newDistrict(d)
	}
	c.sync("stays", generated(t, 1))
	c.sync("goes", faulty(t, "Bettongsson"))
	c.report("goes", "rev-1")
	c.sync("goes", faulty(t, "Pademelonsen"))
	c.report("goes", "rev-2")
	require.NotEmpty(t, holding(t, dir, secretWords...))
	require.Eventually(t, func() bool { // a sync may be settling
		_, err := ingestv1.NewDistrictServiceClient(h.conn).DeleteDistrict(c.ctx, &ingestv1.DeleteDistrictRequest{District: "goes"})
		return err == nil || errs.Status(err).Code() == codes.NotFound
	}, testkit.Wait, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		_, err := rosterv1.NewRosterServiceClient(h.conn).GetSummary(c.ctx, &rosterv1.GetSummaryRequest{District: "goes"})
		return errs.Status(err).Code() == codes.NotFound && strings.Contains(err.Error(), authn.DistrictNotFound("goes").Error())
	}, testkit.Wait, 10*time.Millisecond)
	require.Empty(t, holding(t, dir, append(secretWords, "potoroo", "tom@made-up")...))
	require.Empty(t, doctor(t, dir, false))
	_, head := c.export("stays", 0)
	require.EqualValues(t, 1, head)
}
