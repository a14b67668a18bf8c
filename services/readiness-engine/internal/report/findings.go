package report

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/klauspost/compress/zstd"
	"gocloud.dev/blob"
	"google.golang.org/protobuf/encoding/protodelim"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/readiness-engine/internal/check"
)

// findings keeps the findings of each check and report in a blob that is named
// after its content, so that reports share what has not changed. A blob begins
// with the number of its frames and, for each, the number of its findings and
// its compressed size; so a page far back costs one frame to read.
type findings struct{ bucket *blob.Bucket }

const frameFindings = 1000

var (
	encoder = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
	})
	decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(256<<20))
	})
)

// write stores what a check found and returns where.
func (f findings) write(ctx context.Context, district string, v *check.View, res *check.Result) (*readinessv1.StoredFindings, error) {
	stored := &readinessv1.StoredFindings{CheckId: res.Check.ID, Count: int32(len(res.Findings))}
	if len(res.Findings) == 0 {
		return stored, nil
	}
	enc, err := encoder()
	if err != nil {
		return nil, fmt.Errorf("prepare compression: %w", err)
	}
	var header, frames, plain bytes.Buffer
	hash := sha256.New()
	count := (len(res.Findings) + frameFindings - 1) / frameFindings
	header.Write(binary.AppendUvarint(nil, uint64(count)))
	for from := 0; from < len(res.Findings); from += frameFindings {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		part := res.Findings[from:min(from+frameFindings, len(res.Findings))]
		plain.Reset()
		for _, found := range part {
			if _, err := protodelim.MarshalTo(&plain, v.Proto(res.Check, found)); err != nil {
				return nil, fmt.Errorf("encode a finding of %s: %w", res.Check.ID, err)
			}
		}
		hash.Write(plain.Bytes())
		frame := enc.EncodeAll(plain.Bytes(), nil)
		frames.Write(frame)
		header.Write(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(part))), uint64(len(frame))))
	}
	stored.Blob = district + "/" + res.Check.ID + "/" + hex.EncodeToString(hash.Sum(nil))
	switch exists, err := f.bucket.Exists(ctx, stored.Blob); {
	case err != nil:
		return nil, fmt.Errorf("look for findings %s: %w", stored.Blob, err)
	case exists:
		return stored, nil
	}
	header.Write(frames.Bytes())
	if err := f.bucket.WriteAll(ctx, stored.Blob, header.Bytes(), nil); err != nil {
		return nil, fmt.Errorf("write findings %s: %w", stored.Blob, err)
	}
	return stored, nil
}

var errDamaged = errors.New("the stored findings are damaged")

// read yields the findings of one check, without the first skip ones.
func (f findings) read(ctx context.Context, stored *readinessv1.StoredFindings, skip int) iter.Seq2[*readinessv1.ReadinessFinding, error] {
	return func(yield func(*readinessv1.ReadinessFinding, error) bool) {
		if skip >= int(stored.GetCount()) {
			return
		}
		err := f.scan(ctx, stored.GetBlob(), skip, func(found *readinessv1.ReadinessFinding) bool { return yield(found, nil) })
		if err != nil {
			yield(nil, fmt.Errorf("read findings %s: %w", stored.GetBlob(), err))
		}
	}
}

func (f findings) scan(ctx context.Context, key string, skip int, yield func(*readinessv1.ReadinessFinding) bool) (err error) {
	dec, err := decoder()
	if err != nil {
		return fmt.Errorf("prepare decompression: %w", err)
	}
	object, err := f.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	in := bufio.NewReaderSize(object, 64<<10)
	count, err := binary.ReadUvarint(in)
	if err != nil || count > uint64(object.Size()) {
		return errDamaged
	}
	type frame struct{ findings, size uint64 }
	index := make([]frame, count)
	for i := range index {
		var errs [2]error
		index[i].findings, errs[0] = binary.ReadUvarint(in)
		index[i].size, errs[1] = binary.ReadUvarint(in)
		if errors.Join(errs[:]...) != nil || index[i].size > uint64(object.Size()) {
			return errDamaged
		}
	}
	var packed, plain []byte
	for _, fr := range index {
		if skip >= int(fr.findings) {
			skip -= int(fr.findings)
			if _, err := in.Discard(int(fr.size)); err != nil {
				return err
			}
			continue
		}
		packed = append(packed[:0], make([]byte, fr.size)...)
		if _, err := io.ReadFull(in, packed); err != nil {
			return err
		}
		if plain, err = dec.DecodeAll(packed, plain[:0]); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		for r := bytes.NewReader(plain); r.Len() > 0; {
			found := &readinessv1.ReadinessFinding{}
			if err := protodelim.UnmarshalFrom(r, found); err != nil {
				return fmt.Errorf("%w: %w", errDamaged, err)
			}
			if skip > 0 {
				skip--
				continue
			}
			if !yield(found) {
				return nil
			}
		}
	}
	return nil
}

// erase removes all findings of a district.
func (f findings) erase(ctx context.Context, district string) error {
	for it := f.bucket.List(&blob.ListOptions{Prefix: district + "/"}); ; {
		object, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = f.bucket.Delete(ctx, object.Key)
		}
		if err != nil {
			return fmt.Errorf("erase findings of %s: %w", district, err)
		}
	}
}
