package ingest_test

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/rostergen"
)

// disguised gives the files of a OneRoster package other names and columns:
// each is named x-NAME.csv, with semicolons, its columns in the other order and
// called "My NAME". Users are in two files, and extension columns have lost
// their prefix. The mapping leads back.
func disguised(t *testing.T, d *rostergen.District) (map[string]string, *ingestv1.Mapping) {
	t.Helper()
	files, mapping := map[string]string{}, &ingestv1.Mapping{}
	for _, name := range d.Files() {
		entity := strings.TrimSuffix(name, ".csv")
		if entity == "manifest" {
			continue
		}
		columns := d.Columns(name)
		header, fields := make([]string, len(columns)), map[string]*ingestv1.MappedField{}
		for i, c := range columns {
			extension, is := strings.CutPrefix(c, "metadata.")
			if header[i] = extension; !is && c != "password" {
				header[i] = "My " + c
				fields[c] = &ingestv1.MappedField{Value: "{" + header[i] + "}"}
			}
		}
		slices.Reverse(header)
		parts := 1
		if entity == "users" {
			parts = 2
		}
		texts := make([]bytes.Buffer, parts)
		for part := range parts {
			file := "x-" + entity + strings.Repeat("2", part) + ".csv"
			w := csv.NewWriter(&texts[part])
			w.Comma = ';'
			require.NoError(t, w.Write(header))
			n := 0
			for row := range d.Rows(name) {
				if n++; n%parts == part {
					row = slices.Clone(row)
					slices.Reverse(row)
					require.NoError(t, w.Write(row))
				}
			}
			w.Flush()
			files[file] = texts[part].String()
			mapping.Records = append(mapping.Records, &ingestv1.MappedRecords{Entity: entity, File: file, Fields: fields, KeepUnmapped: true})
		}
	}
	return files, mapping
}

// A district whose files have other names and columns has the same records.
func TestDisguisedDistrictHasTheSameRecords(t *testing.T) {
	for _, version := range []string{rostergen.V1p1, rostergen.V1p2} {
		t.Run(version, func(t *testing.T) {
			d, err := rostergen.New(rostergen.Config{Seed: 7, Students: 1000, Version: version})
			require.NoError(t, err)
			var packed bytes.Buffer
			require.NoError(t, d.WriteZip(&packed))
			plain, mapped := newHub(t), newHub(t)
			_, err = plain.send("sis", map[string][]byte{"roster.zip": packed.Bytes()})
			require.NoError(t, err)
			plain.completed(plain.wait(plain.startSync("sis").GetSyncId()))

			files, mapping := disguised(t, d)
			_, err = mapped.sources.UpdateSource(mapped.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "sis", Settings: &ingestv1.Source{Mapping: mapping}})
			require.NoError(t, err)
			_, err = mapped.send("sis", map[string][]byte{"export.zip": testkit.Zip(t, files)})
			require.NoError(t, err)
			mapped.completed(mapped.wait(mapped.startSync("sis").GetSyncId()))

			for _, e := range record.Entities() {
				want, got := plain.roster.Active("d", e), mapped.roster.Active("d", e)
				require.Len(t, got, len(want), e)
				require.NotEmpty(t, want, e)
				for id, rec := range want {
					require.True(t, proto.Equal(rec, got[id]), "%v %s:\n%v\n%v", e, id, rec, got[id])
				}
			}
			revision := mapped.roster.Revision("d")
			mapped.completed(mapped.sync("sis", files))
			require.Equal(t, revision, mapped.roster.Revision("d"), "the same files change nothing")
		})
	}
}
