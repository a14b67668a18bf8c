package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/mapping"
	"github.com/securly/sync/services/ingest/internal/mapping/suggest"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/ingest/internal/pipeline"
	"github.com/securly/sync/services/platform/record"
)

// checkMapping refuses what is no mapping; field is where it stands.
func checkMapping(field string, m *ingestv1.Mapping) (*mapping.Mapping, error) {
	out, err := onerostercsv.Mapping(m)
	var fault *mapping.Error
	if errors.As(err, &fault) {
		return nil, invalid(field+"."+fault.Field, "%s", fault.Message)
	}
	return out, err
}

type mappings struct {
	ingestv1.UnimplementedMappingServiceServer
	sources *sources
}

// previewRows is how many rows of each file a preview reads.
const previewRows = 100

// maxPreview bounds the records of one entity in a preview, in bytes of JSON.
const maxPreview = 1 << 20

func (m *mappings) PreviewMapping(ctx context.Context, req *ingestv1.PreviewMappingRequest) (*ingestv1.PreviewMappingResponse, error) {
	doc, err := m.sources.source(ctx, req.GetDistrict(), req.GetSource())
	if err != nil {
		return nil, err
	}
	spec := cmp.Or(req.GetMapping(), doc.Value.GetSource().GetMapping(), &ingestv1.Mapping{})
	mapped, err := checkMapping("mapping", spec)
	if err != nil {
		return nil, err
	}
	var out *ingestv1.PreviewMappingResponse
	// Files that the mapping does not read yet are shown as well.
	err = m.sources.try(ctx, doc.Value, req.GetUploadId(), trialOf{mapped, onerostercsv.Known(mapped)}, func(ctx context.Context, p *trialPackage) error {
		out = &ingestv1.PreviewMappingResponse{Files: p.contents.Sample(previewRows)}
		out.Suggestion = suggest.Mapping(out.GetFiles())
		known, err := m.sources.delivered(ctx, doc.Value)
		if err != nil {
			return err
		}
		plan, err := p.contents.Plan(onerostercsv.SettingOf(doc.Value.GetSource().GetSettings()), req.GetSource(), known)
		var faults onerostercsv.Faults
		if err != nil && !errors.As(err, &faults) {
			return err
		}
		out.Findings = faults.Findings()
		return m.preview(ctx, plan, out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// preview takes the beginning of a package the way of every package, and shows
// what comes of it.
func (m *mappings) preview(ctx context.Context, plan *onerostercsv.Plan, out *ingestv1.PreviewMappingResponse) (err error) {
	dir, err := os.MkdirTemp(m.sources.TempDir, "preview-*")
	if err != nil {
		return fmt.Errorf("make a folder for the preview: %w", err)
	}
	bucket := memblob.OpenBucket(nil)
	defer func() { err = errors.Join(err, bucket.Close(), os.RemoveAll(dir)) }()
	plan.Head(previewRows)
	var met unknownValues
	made, err := pipeline.Run(ctx, pipeline.Input{Plan: plan, Bucket: bucket, TempDir: dir, Rows: func(int) {}, Unknown: met.add})
	var faults onerostercsv.Faults
	if err != nil && !errors.As(err, &faults) {
		return err
	}
	out.Findings = append(out.Findings, faults.Findings()...)
	entities := map[typev1.Entity]*ingestv1.PreviewedEntity{}
	for _, e := range record.Entities() {
		if !slices.ContainsFunc(plan.Files, func(f *onerostercsv.File) bool { return pipeline.EntityOf(f.Kind) == e }) {
			continue
		}
		p := &ingestv1.PreviewedEntity{Entity: record.EntityName(e), Uncovered: met.of(e)}
		if made != nil {
			if p.Records, err = previewed(ctx, bucket, made.Layer[p.GetEntity()]); err != nil {
				return err
			}
		}
		entities[e] = p
		out.Entities = append(out.Entities, p)
	}
	for _, report := range plan.Findings {
		found, _ := report.Result()
		i := slices.IndexFunc(plan.Files, func(f *onerostercsv.File) bool { return f.Report == report })
		if i < 0 || entities[pipeline.EntityOf(plan.Files[i].Kind)] == nil {
			out.Findings = append(out.Findings, found...)
			continue
		}
		p := entities[pipeline.EntityOf(plan.Files[i].Kind)]
		p.Findings = append(p.Findings, slices.DeleteFunc(found, func(f *ingestv1.SyncFinding) bool {
			return f.GetCode() == "user-unknown" // it may be behind the rows that were read
		})...)
	}
	return nil
}

func previewed(ctx context.Context, bucket *blob.Bucket, f *ingestv1.LayerFile) ([]*structpb.Struct, error) {
	if f == nil {
		return nil, nil
	}
	var out []*structpb.Struct
	size := 0
	for entry, err := range layer.Read(ctx, bucket, f.GetKey(), f.GetRecords()) {
		if err != nil {
			return nil, err
		}
		var rec typev1.Record
		if err := proto.Unmarshal(entry.Body, &rec); err != nil {
			return nil, fmt.Errorf("read a record of the preview: %w", err)
		}
		text, err := record.JSON(&rec)
		if err != nil {
			return nil, err
		}
		if size += len(text); size > maxPreview {
			break
		}
		shown := &structpb.Struct{}
		if err := protojson.Unmarshal(text, shown); err != nil {
			return nil, fmt.Errorf("show a record of the preview: %w", err)
		}
		out = append(out, shown)
	}
	return out, nil
}

// unknownValues gathers what should be mapped to something else.
type unknownValues struct {
	mu   sync.Mutex
	rows map[unknownValue]int32
}

type unknownValue struct {
	kind                       normalise.Kind
	file, column, field, value string
}

func (u *unknownValues) add(f *onerostercsv.File, field, column, value string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rows == nil {
		u.rows = map[unknownValue]int32{}
	}
	u.rows[unknownValue{f.Kind, f.Name, column, field, value}]++
}

func (u *unknownValues) of(e typev1.Entity) []*ingestv1.UncoveredValue {
	var out []*ingestv1.UncoveredValue
	for v, rows := range u.rows {
		if pipeline.EntityOf(v.kind) == e {
			out = append(out, &ingestv1.UncoveredValue{File: v.file, Column: v.column, Field: v.field, Value: v.value, Rows: rows})
		}
	}
	slices.SortFunc(out, func(a, b *ingestv1.UncoveredValue) int {
		return cmp.Or(cmp.Compare(a.GetFile(), b.GetFile()), cmp.Compare(a.GetField(), b.GetField()), cmp.Compare(b.GetRows(), a.GetRows()), cmp.Compare(a.GetValue(), b.GetValue()))
	})
	return out
}
