package report

import (
	"bytes"
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
	"google.golang.org/protobuf/encoding/protowire"
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
	smallBlob     = 1 << 20 // what is larger goes to the bucket before its name is known
)

// frameField is the number of FindingsFrame.findings.
var frameField = (&readinessv1.FindingsFrame{}).ProtoReflect().Descriptor().Fields().ByName("findings").Number()

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
	return f.store(ctx, district, report, res.Check.ID, func(yield func([]byte, error) bool) {
		var encoded []byte
		for i := range res.Findings {
			encoded = v.AppendEncoded(encoded[:0], res.Findings[i])
			if !yield(encoded, nil) {
				return
			}
		}
	})
}

// store keeps the encoded findings of one check.
func (f findings) store(ctx context.Context, district, report, checkID string, found iter.Seq2[[]byte, error]) (*readinessv1.StoredFindings, error) {
	stored := &readinessv1.StoredFindings{CheckId: checkID}
	// The name is known at the end only.
	unnamed := unnamed(district, report) + uuid.NewString()
	hash := sha256.New()
	small, err := f.writeFrames(ctx, unnamed, hash, found, stored)
	if err == nil && stored.Count > 0 {
		stored.Blob = district + "/" + checkID + "/" + hex.EncodeToString(hash.Sum(nil))
		if small != nil {
			err = f.create(ctx, stored.Blob, bytes.NewReader(small))
		} else {
			err = f.rename(ctx, unnamed, stored.Blob)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write findings of %s in %s: %w", checkID, district, err)
	}
	return stored, nil
}

// unnamed is where the blobs of a report are that have no name yet.
func unnamed(district, report string) string { return district + "/unnamed/" + report + "/" }

func (f findings) rename(ctx context.Context, from, to string) (err error) {
	in, err := f.bucket.NewReader(ctx, from, nil)
	if err != nil {
		return err
	}
	err = f.create(ctx, to, in)
	return errors.Join(err, in.Close(), f.bucket.Delete(ctx, from))
}

// create makes a blob, unless it is there, that survives a power cut: a report
// that is completed names it.
func (f findings) create(ctx context.Context, name string, content io.Reader) error {
	if exists, err := f.bucket.Exists(ctx, name); err != nil || exists {
		return err
	}
	out, err := durable.Create(ctx, f.bucket, name, contentType)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, content); err != nil {
		out.Abort()
		return err
	}
	return out.Close()
}

// writeFrames compresses findings by frames. It returns them if they are few,
// and else writes them to an unnamed blob.
func (f findings) writeFrames(ctx context.Context, unnamed string, hash io.Writer, found iter.Seq2[[]byte, error], stored *readinessv1.StoredFindings) (small []byte, err error) {
	enc, err := encoder()
	if err != nil {
		return nil, fmt.Errorf("prepare compression: %w", err)
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
	var plain, packed []byte
	inFrame := int32(0)
	flush := func() error {
		if inFrame == 0 {
			return context.Cause(ctx)
		}
		packed = enc.EncodeAll(plain, packed[:0])
		_, _ = hash.Write(packed) // never fails
		stored.Frames = append(stored.Frames, uint32(len(packed)))
		stored.Count += inFrame
		plain, inFrame = plain[:0], 0
		if object == nil && len(small)+len(packed) <= smallBlob {
			small = append(small, packed...)
			return context.Cause(ctx)
		}
		if object == nil {
			var err error
			if object, err = f.bucket.NewWriter(ctx, unnamed, &blob.WriterOptions{ContentType: contentType}); err != nil {
				return err
			}
			if _, err := object.Write(small); err != nil {
				return err
			}
			small = nil
		}
		if _, err := object.Write(packed); err != nil {
			return err
		}
		return context.Cause(ctx)
	}
	for encoded, err := range found {
		if err != nil {
			return nil, err
		}
		plain = protowire.AppendBytes(protowire.AppendTag(plain, frameField, protowire.BytesType), encoded)
		if inFrame++; inFrame == frameFindings {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	err = flush()
	return small, err
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
