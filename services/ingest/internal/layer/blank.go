package layer

import (
	"context"
	"fmt"

	"gocloud.dev/blob"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// Pick selects records of erased persons: by their ids first, so that no others
// need to be decoded.
type Pick struct {
	ID     func(id []byte) bool
	Record func(*typev1.Record) bool
}

// of decodes the record of an entry; nil if it is not picked.
func (p Pick) of(e Entry) (*typev1.Record, error) {
	if !p.ID(e.ID) {
		return nil, nil
	}
	rec := &typev1.Record{}
	if err := decode(e.Body, rec); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if !p.Record(rec) {
		return nil, nil
	}
	return rec, nil
}

// Unblanked returns the picked records of a layer file that hold more than what
// is kept of an erased person.
func Unblanked(ctx context.Context, bucket *blob.Bucket, key string, records int64, pick Pick) ([]*typev1.Record, error) {
	var out []*typev1.Record
	for e, err := range Read(ctx, bucket, key, records) {
		if err != nil {
			return nil, err
		}
		rec, err := pick.of(e)
		if err != nil {
			return nil, err
		}
		if rec != nil && !proto.Equal(rec, record.Blank(rec)) {
			out = append(out, rec)
		}
	}
	return out, nil
}

// Blank copies a layer file and leaves of the picked records what is kept of an
// erased person. Their rows are not recognised any more, so that a row is
// compared as a whole when it comes again. It returns the checksum of the copy.
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
			err = e.blank(pick)
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

// blank leaves of an entry that is picked what is kept of an erased person.
func (e *Entry) blank(pick Pick) error {
	rec, err := pick.of(*e)
	if err != nil || rec == nil {
		return err
	}
	rec = record.Blank(rec)
	if e.Body, err = (proto.MarshalOptions{Deterministic: true}).Marshal(rec); err != nil {
		return fmt.Errorf("encode a record of the layer: %w", err)
	}
	e.Hash, e.mark = record.HashOf(rec), Mark{}
	return nil
}
