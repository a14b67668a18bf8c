package finding

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
	"gocloud.dev/blob"
	"google.golang.org/protobuf/encoding/protodelim"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/durable"
)

// Save keeps findings as one compressed blob.
func Save(ctx context.Context, bucket *blob.Bucket, key string, findings []*ingestv1.SyncFinding) error {
	b, err := durable.Create(ctx, bucket, key, "application/octet-stream")
	if err != nil {
		return fmt.Errorf("save findings: %w", err)
	}
	w := s2.NewWriter(b, s2.WriterConcurrency(1))
	for _, f := range findings {
		if _, err := protodelim.MarshalTo(w, f); err != nil {
			b.Abort()
			return fmt.Errorf("save findings: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		b.Abort()
		return fmt.Errorf("save findings: %w", err)
	}
	if err := b.Close(); err != nil {
		return fmt.Errorf("save findings: %w", err)
	}
	return nil
}

// Load reads up to limit findings behind the first offset ones.
func Load(ctx context.Context, bucket *blob.Bucket, key string, offset, limit int) ([]*ingestv1.SyncFinding, error) {
	r, err := bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, fmt.Errorf("read findings: %w", err)
	}
	defer func() { _ = r.Close() }()
	in := bufio.NewReader(s2.NewReader(r))
	var out []*ingestv1.SyncFinding
	for i := 0; i < offset+limit; i++ {
		f := &ingestv1.SyncFinding{}
		err := protodelim.UnmarshalFrom(in, f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read findings: %w", err)
		}
		if i >= offset {
			out = append(out, f)
		}
	}
	return out, nil
}
