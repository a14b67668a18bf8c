package report

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"gocloud.dev/blob"
	"google.golang.org/protobuf/proto"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/durable"
	"github.com/securly/sync/services/readiness-engine/internal/check"
)

// findings keeps the findings of each check and report in a blob that is named
// after its content, so that reports share what has not changed. A blob is a run
// of compressed frames, so that neither writing nor reading needs more memory
// than a frame, and a page far back costs one frame to read.
type findings struct{ bucket *blob.Bucket }

const (
	frameFindings = 1000
	contentType   = "application/zstd"
)

var (
	encoder = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
	})
	decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(256<<20))
	})
)

// write stores what a check found for a report and returns where.
func (f findings) write(ctx context.Context, district, report string, v *check.View, res *check.Result) (*readinessv1.StoredFindings, error) {
	return f.store(ctx, district, report, res.Check.ID, func(yield func(*readinessv1.ReadinessFinding, error) bool) {
		for _, found := range res.Findings {
			if !yield(v.Proto(found), nil) {
				return
			}
		}
	})
}

// store keeps the findings of one check.
func (f findings) store(ctx context.Context, district, report, checkID string, found iter.Seq2[*readinessv1.ReadinessFinding, error]) (*readinessv1.StoredFindings, error) {
	stored := &readinessv1.StoredFindings{CheckId: checkID}
	// The name is known at the end only.
	unnamed := unnamed(district, report) + uuid.NewString()
	hash := sha256.New()
	err := f.writeFrames(ctx, unnamed, hash, found, stored)
	if err == nil && stored.Count > 0 {
		stored.Blob = district + "/" + checkID + "/" + hex.EncodeToString(hash.Sum(nil))
		err = f.rename(ctx, unnamed, stored.Blob)
	}
	if err != nil {
		return nil, fmt.Errorf("write findings of %s in %s: %w", checkID, district, err)
	}
	return stored, nil
}

// unnamed is where the blobs of a report are that have no name yet.
func unnamed(district, report string) string { return district + "/unnamed/" + report + "/" }

func (f findings) rename(ctx context.Context, from, to string) error {
	exists, err := f.bucket.Exists(ctx, to)
	if err == nil && !exists {
		err = f.copy(ctx, from, to)
	}
	return errors.Join(err, f.bucket.Delete(ctx, from))
}

// copy makes a blob that survives a power cut: a report that is completed names it.
func (f findings) copy(ctx context.Context, from, to string) (err error) {
	in, err := f.bucket.NewReader(ctx, from, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := durable.Create(ctx, f.bucket, to, contentType)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Abort()
		return err
	}
	return out.Close()
}

// writeFrames writes a blob; none if nothing was found.
func (f findings) writeFrames(ctx context.Context, key string, hash io.Writer, found iter.Seq2[*readinessv1.ReadinessFinding, error], stored *readinessv1.StoredFindings) (err error) {
	enc, err := encoder()
	if err != nil {
		return fmt.Errorf("prepare compression: %w", err)
	}
	ctx, abandon := context.WithCancel(ctx)
	defer abandon()
	var object *blob.Writer
	defer func() {
		if object == nil {
			return
		}
		if err != nil {
			abandon() // so that closing leaves no blob behind
		}
		err = errors.Join(err, object.Close())
	}()
	frame := &readinessv1.FindingsFrame{}
	var plain, packed []byte
	flush := func() (err error) {
		if len(frame.Findings) == 0 {
			return context.Cause(ctx)
		}
		if object == nil {
			if object, err = f.bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: contentType}); err != nil {
				return err
			}
		}
		if plain, err = (proto.MarshalOptions{}).MarshalAppend(plain[:0], frame); err != nil {
			return err
		}
		packed = enc.EncodeAll(plain, packed[:0])
		if _, err := io.MultiWriter(object, hash).Write(packed); err != nil {
			return err
		}
		stored.Frames = append(stored.Frames, uint32(len(packed)))
		stored.Count += int32(len(frame.Findings))
		frame.Findings = frame.Findings[:0]
		return context.Cause(ctx)
	}
	for found, err := range found {
		if err != nil {
			return err
		}
		frame.Findings = append(frame.Findings, found)
		if len(frame.Findings) == frameFindings {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

var errDamaged = errors.New("the stored findings are damaged")

// read yields the findings of one check, without the first skip ones.
func (f findings) read(ctx context.Context, stored *readinessv1.StoredFindings, skip int) iter.Seq2[*readinessv1.ReadinessFinding, error] {
	return func(yield func(*readinessv1.ReadinessFinding, error) bool) {
		if skip >= int(stored.GetCount()) {
			return
		}
		err := f.readFrames(ctx, stored, skip, func(found *readinessv1.ReadinessFinding) bool { return yield(found, nil) })
		if err != nil {
			yield(nil, fmt.Errorf("read findings %s: %w", stored.GetBlob(), err))
		}
	}
}

func (f findings) readFrames(ctx context.Context, stored *readinessv1.StoredFindings, skip int, yield func(*readinessv1.ReadinessFinding) bool) (err error) {
	dec, err := decoder()
	if err != nil {
		return fmt.Errorf("prepare decompression: %w", err)
	}
	frames, offset := stored.GetFrames(), int64(0)
	for ; skip >= frameFindings && len(frames) > 0; skip -= frameFindings {
		offset += int64(frames[0])
		frames = frames[1:]
	}
	object, err := f.bucket.NewRangeReader(ctx, stored.GetBlob(), offset, -1, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	var packed, plain []byte
	for _, size := range frames {
		packed = slices.Grow(packed[:0], int(size))[:size]
		if _, err := io.ReadFull(object, packed); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		if plain, err = dec.DecodeAll(packed, plain[:0]); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		frame := &readinessv1.FindingsFrame{}
		if err := proto.Unmarshal(plain, frame); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		for _, found := range frame.GetFindings()[min(skip, len(frame.GetFindings())):] {
			found.CheckId = stored.GetCheckId()
			if !yield(found) {
				return nil
			}
		}
		skip = 0
	}
	return nil
}

// erase removes what begins with a prefix.
func (f findings) erase(ctx context.Context, prefix string) error {
	for key, err := range f.keys(ctx, prefix) {
		if err == nil {
			err = f.bucket.Delete(ctx, key)
		}
		if err != nil {
			return fmt.Errorf("erase findings %s: %w", prefix, err)
		}
	}
	return nil
}
