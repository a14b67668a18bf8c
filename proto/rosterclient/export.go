package rosterclient

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// Export yields the records of a district at one revision, by entity in the
// order of type.v1.Entity, then by sourcedId; 0 means the newest revision when
// it starts. Entities are named as in the API ("users", "orgs"); none means all.
// Records with the status "tobedeleted" are among them.
//
// A stream that breaks is resumed after the last record, at the same revision,
// until ctx ends. The sequence ends with an error that wraps ErrRevisionGone,
// ErrRevisionUnknown or ErrDistrictUnknown, with another refusal of the hub, or
// with the cause that has ended ctx.
func (c *Client) Export(ctx context.Context, district string, revision int32, entities ...string) iter.Seq2[*typev1.Record, error] {
	return func(yield func(*typev1.Record, error) bool) {
		req := &rosterv1.ExportRequest{District: district, Revision: revision, Entities: entities}
		for batch, err := range c.batches(ctx, req, c.attempts("export", district)) {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, r := range batch.GetRecords() {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// batches yields the messages of an export, over any number of streams.
func (c *Client) batches(ctx context.Context, req *rosterv1.ExportRequest, tries *attempts) iter.Seq2[*rosterv1.ExportResponse, error] {
	return func(yield func(*rosterv1.ExportResponse, error) bool) {
		req := proto.CloneOf(req)
		open := func(ctx context.Context) (grpc.ServerStreamingClient[rosterv1.ExportResponse], error) {
			return c.roster.Export(ctx, req)
		}
		for {
			var broken error
			for m, err := range messages(ctx, open) {
				if errors.Is(err, io.EOF) {
					return
				}
				if err != nil {
					broken = err
					break
				}
				tries.progress()
				req.Revision, req.Resume = m.GetRevision(), m.GetResume()
				if !yield(m, nil) {
					return
				}
			}
			if err := tries.wait(ctx, broken); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}
