package syncrun

import (
	"context"

	"gocloud.dev/blob"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/layer"
)

// writeLayer writes a layer file with what fill adds, made by the rules of mapping.
// If a file before it is given, it has the differences from that one too; if there
// are none, it is that one.
func writeLayer(ctx context.Context, bucket *blob.Bucket, key, mapping string, previous *ingestv1.LayerFile, fill func(*layer.Writer) error) (*ingestv1.LayerFile, error) {
	w, err := layer.Create(ctx, bucket, key, previous != nil)
	if err != nil {
		return nil, err
	}
	if err := fill(w); err != nil {
		w.Abort()
		return nil, err
	}
	if previous != nil && w.Changes() == 0 && previous.GetMapping() == mapping {
		w.Abort()
		return previous, nil
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	f := &ingestv1.LayerFile{Key: key, Records: w.Records(), Checksum: w.Checksum(), Mapping: mapping}
	if previous != nil {
		f.Since, f.Changes = previous.GetKey(), w.Changes()
	}
	return f, nil
}

// deleteLayerFile deletes a layer file with what is beside it.
func deleteLayerFile(ctx context.Context, bucket *blob.Bucket, key string) error {
	for _, key := range []string{key, layer.MarksKey(key), layer.ChangesKey(key)} {
		if err := DeleteBlob(ctx, bucket, key); err != nil {
			return err
		}
	}
	return nil
}
