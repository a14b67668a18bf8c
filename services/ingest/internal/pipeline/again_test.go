package pipeline

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// table is a file as rows of fields; the first is the header.
type table [][]string

func (t table) text() string {
	var b strings.Builder
	for _, row := range t {
		b.WriteString(strings.Join(row, ",") + "\n")
	}
	return b.String()
}

func district(version string) map[string]table {
	split := func(s string) []string { return strings.Split(s, ",") }
	files := map[string]table{
		"orgs.csv":        {split("sourcedId,name,type")},
		"classes.csv":     {split("sourcedId,title,courseSourcedId,classType,schoolSourcedId,termSourcedIds"), split("cl,Art,co,scheduled,s0,t")},
		"enrollments.csv": {split("sourcedId,classSourcedId,schoolSourcedId,userSourcedId,role,endDate")},
	}
	for i := range 3 {
		files["orgs.csv"] = append(files["orgs.csv"], split(fmt.Sprintf("s%d,School %d,school", i, i)))
	}
	users := table{split("sourcedId,enabledUser,username,givenName,familyName,email,primaryOrgSourcedId")}
	roles := table{split("userSourcedId,roleType,role,orgSourcedId")}
	if version == "1.1" {
		users = table{split("sourcedId,enabledUser,username,givenName,familyName,email,orgSourcedIds,role")}
	}
	for i := range 40 {
		user := split(fmt.Sprintf("u%02d,true,user%d,Given%d,Family,u%d@made-up.example", i, i, i, i))
		if version == "1.1" {
			users = append(users, append(user, fmt.Sprintf("s%d", i%3), "student"))
		} else {
			users = append(users, append(user, []string{"", "s1"}[i%2]))
			for j := range 1 + i%2 {
				roles = append(roles, split(fmt.Sprintf("u%02d,primary,student,s%d", i, (i+j)%3)))
			}
		}
		files["enrollments.csv"] = append(files["enrollments.csv"], split(fmt.Sprintf("e%02d,cl,s0,u%02d,student,2027-06-15", i, i)))
	}
	files["users.csv"] = users
	if version != "1.1" {
		files["roles.csv"] = roles
	}
	return files
}

// change does one thing to a file that a day may bring.
func change(r *rand.Rand, files map[string]table) {
	name := slices.Sorted(maps.Keys(files))[r.IntN(len(files))]
	t := files[name]
	at := 1 + r.IntN(len(t)-1)
	switch r.IntN(7) {
	case 0, 1: // an edit
		row := slices.Clone(t[at])
		column := 1 + r.IntN(len(row)-1)
		if !strings.Contains(t[0][column], "role") {
			row[column] += "9"
		}
		t[at] = row
	case 2: // a row goes
		if len(t) > 3 {
			files[name] = slices.Delete(slices.Clone(t), at, at+1)
		}
	case 3: // a row comes twice
		files[name] = append(slices.Clone(t), t[at])
	case 4: // another row with the same id
		row := slices.Clone(t[at])
		row[len(row)-1] += "x"
		files[name] = slices.Insert(slices.Clone(t), 1+r.IntN(len(t)), row)
	case 5: // a new row
		row := slices.Clone(t[at])
		row[0] += "n"
		files[name] = append(slices.Clone(t), row)
	case 6: // another order
		t = slices.Clone(t)
		r.Shuffle(len(t)-1, func(i, j int) { t[i+1], t[j+1] = t[j+1], t[i+1] })
		files[name] = t
	}
}

type result struct {
	layer    map[string]*ingestv1.LayerFile
	entries  []string
	findings []string
	counts   map[string]Counts
}

func run(t *testing.T, bucket *blob.Bucket, prefix string, files map[string]table, previous map[string]*ingestv1.LayerFile) result {
	t.Helper()
	texts := map[string]string{}
	for name, rows := range files {
		texts[name] = rows.text()
	}
	pack := testkit.Zip(t, texts)
	contents, err := onerostercsv.Inspect(bytes.NewReader(pack), int64(len(pack)), onerostercsv.DefaultLimits(), nil)
	require.NoError(t, err)
	plan, err := contents.Plan(onerostercsv.Auto, "sis", func(k normalise.Kind) bool { return previous[record.EntityName(EntityOf(k))] != nil })
	require.NoError(t, err)
	out, err := Run(t.Context(), Input{Plan: plan, Bucket: bucket, Prefix: prefix, Previous: previous, TempDir: t.TempDir(), Rows: func(int) {}})
	require.NoError(t, err)
	res := result{layer: out.Layer, counts: out.Counts}
	for _, name := range slices.Sorted(maps.Keys(out.Layer)) {
		for e, err := range layer.Read(t.Context(), bucket, out.Layer[name].GetKey(), out.Layer[name].GetRecords()) {
			require.NoError(t, err)
			res.entries = append(res.entries, fmt.Sprintf("%s %s %x %x", name, e.ID, e.Hash, e.Body))
		}
	}
	found, _ := Findings(plan)
	for _, f := range found {
		res.findings = append(res.findings, f.String())
	}
	return res
}

// A sync that passes over the rows it knows gives what one gives that reads
// everything, whatever has changed since.
func TestKnownRowsMakeNoDifference(t *testing.T) {
	for _, version := range []string{"1.1", "1.2"} {
		t.Run(version, func(t *testing.T) {
			bucket := memblob.OpenBucket(nil)
			defer func() { require.NoError(t, bucket.Close()) }()
			r := rand.New(rand.NewPCG(3, 4))
			files := district(version)
			known := run(t, bucket, "day0/", files, nil)
			for day := range 150 {
				for range r.IntN(4) {
					change(r, files)
				}
				fresh := run(t, bucket, fmt.Sprintf("fresh%d/", day), files, nil)
				before := known
				known = run(t, bucket, fmt.Sprintf("day%d/", day+1), files, known.layer)
				requireChanges(t, bucket, before, known)
				require.Equal(t, fresh.entries, known.entries, "day %d", day)
				require.Equal(t, fresh.findings, known.findings, "day %d", day)
				require.Equal(t, fresh.counts, known.counts, "day %d", day)
			}
		})
	}
}

// requireChanges checks that the layer files of a day tell what they differ in
// from those of the day before.
func requireChanges(t *testing.T, bucket *blob.Bucket, before, after result) {
	t.Helper()
	for name, f := range after.layer {
		was := before.layer[name]
		if f.GetKey() == was.GetKey() {
			continue
		}
		require.Equal(t, was.GetKey(), f.GetSince())
		got := hashes(t, bucket, was)
		for c, err := range layer.ReadChanges(t.Context(), bucket, f.GetKey(), f.GetChanges()) {
			require.NoError(t, err)
			id := string(c.ID)
			hash, there := got[id]
			require.Equal(t, there, c.Was)
			require.Equal(t, hash, c.Before.Hash)
			require.NotEqual(t, hash, c.After.Hash)
			if delete(got, id); c.Is {
				got[id] = c.After.Hash
			}
		}
		require.Equal(t, hashes(t, bucket, f), got)
	}
}

func hashes(t *testing.T, bucket *blob.Bucket, f *ingestv1.LayerFile) map[string]record.Hash {
	t.Helper()
	out := map[string]record.Hash{}
	for e, err := range layer.Read(t.Context(), bucket, f.GetKey(), f.GetRecords()) {
		require.NoError(t, err)
		out[string(e.ID)] = e.Hash
	}
	return out
}

func TestOnlyAnotherOrderWritesNothing(t *testing.T) {
	bucket := memblob.OpenBucket(nil)
	defer func() { require.NoError(t, bucket.Close()) }()
	files := district("1.1")
	first := run(t, bucket, "a/", files, nil)
	slices.Reverse(files["users.csv"][1:])
	second := run(t, bucket, "b/", files, first.layer)
	require.Equal(t, first.layer["users"].GetKey(), second.layer["users"].GetKey())
	require.Equal(t, 40, second.counts["users"].Received)
}
