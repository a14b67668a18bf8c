package layer

import (
	"bytes"
	"context"
	"fmt"

	"gocloud.dev/blob"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// Pick selects records.
type Pick func(id []byte, hash record.Hash) bool

// blankBody returns what is kept of a record whose person was erased, and
// whether that is less than there is.
func blankBody(body []byte) ([]byte, bool, error) {
	var rec typev1.Record
	if err := decode(body, &rec); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	blank, err := proto.MarshalOptions{Deterministic: true}.Marshal(record.Blank(&rec))
	if err != nil {
		return nil, false, fmt.Errorf("encode a record of the layer: %w", err)
	}
	return blank, !bytes.Equal(body, blank), nil
}

// Unblanked returns the hashes of the picked records of a layer file that hold
// more than what is kept of an erased person.
func Unblanked(ctx context.Context, bucket *blob.Bucket, key string, records int64, pick Pick) ([]record.Hash, error) {
	var out []record.Hash
	for e, err := range Read(ctx, bucket, key, records) {
		if err != nil {
			return nil, err
		}
		if !pick(e.ID, e.Hash) {
			continue
		}
		_, more, err := blankBody(e.Body)
		if err != nil {
			return nil, err
		}
		if more {
			out = append(out, e.Hash)
		}
	}
	return out, nil
}

// Blank copies a layer file and leaves of the picked records what is kept of an
// erased person, with the hash that they had. Their rows are not recognised any
// more, so that a row is compared as a whole when it comes again. It returns the
// checksum of the copy.
func Blank(ctx context.Context, bucket *blob.Bucket, key, to string, records int64, pick Pick) (uint64, error) {
	marks, err := bucket.ReadAll(ctx, MarksKey(key))
	if err != nil || int64(len(marks)) != records*markSize {
		marks = make([]byte, records*markSize) // they only save time
	}
	w, err := Create(ctx, bucket, to, false)
	if err != nil {
		return 0, err
	}
	for e, err := range Read(ctx, bucket, key, records) {
		if err == nil {
			e.mark, marks = readMark(marks), marks[markSize:]
			if pick(e.ID, e.Hash) {
				e.mark = Mark{}
				e.Body, _, err = blankBody(e.Body)
			}
		}
		if err == nil {
			err = w.Add(e)
		}
		if err != nil {
			w.Abort()
			return 0, err
		}
	}
	err = w.Close()
	return w.Checksum(), err
}
