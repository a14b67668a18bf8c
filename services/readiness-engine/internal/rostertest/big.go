package rostertest

import (
	"context"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// Big serves one district for benchmarks, under every name; what is committed
// later is each name's own. Its first records are outside of the heap, so that
// what is measured there is the engine's own.
type Big struct {
	rosterv1.UnimplementedRosterServiceServer

	total  map[string]int32
	bodies []byte
	ends   []uint32 // of each body

	mu        sync.Mutex
	changes   map[string][][][]byte // of the second revision and those after, by district
	committed chan struct{}         // closed by the next commit
}

// NewBig returns a store whose revision 1 holds the records.
func NewBig(records iter.Seq[*typev1.Record]) (*Big, error) {
	type body struct {
		entity   typev1.Entity
		id       string
		from, to uint32
	}
	b := &Big{total: map[string]int32{}, changes: map[string][][][]byte{}, committed: make(chan struct{})}
	var all []byte
	var order []body
	for r := range records {
		entity, base := record.Of(r)
		from := uint32(len(all))
		var err error
		if all, err = (proto.MarshalOptions{}).MarshalAppend(all, r); err != nil {
			return nil, err
		}
		order = append(order, body{entity, base.GetSourcedId(), from, uint32(len(all))})
		b.total[record.EntityName(entity)]++
	}
	slices.SortFunc(order, func(x, y body) int {
		if x.entity != y.entity {
			return int(x.entity) - int(y.entity)
		}
		return strings.Compare(x.id, y.id)
	})
	memory, err := syscall.Mmap(-1, 0, len(all), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	b.bodies = memory[:0]
	for _, o := range order {
		b.bodies = append(b.bodies, all[o.from:o.to]...)
		b.ends = append(b.ends, uint32(len(b.bodies)))
	}
	return b, nil
}

// Register serves the district.
func (b *Big) Register(r grpc.ServiceRegistrar) { rosterv1.RegisterRosterServiceServer(r, b) }

// Len is the number of records.
func (b *Big) Len() int { return len(b.ends) }

// Body returns the i-th record of revision 1.
func (b *Big) Body(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = b.ends[i-1]
	}
	return b.bodies[from:b.ends[i]]
}

// Commit makes the next revision of a district.
func (b *Big) Commit(district string, changes [][]byte) int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes[district] = append(b.changes[district], changes)
	close(b.committed)
	b.committed = make(chan struct{})
	return int32(len(b.changes[district])) + 1
}

// GetSummary answers with the head and the number of records.
func (b *Big) GetSummary(_ context.Context, req *rosterv1.GetSummaryRequest) (*rosterv1.Summary, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &rosterv1.Summary{Revision: int32(len(b.changes[req.GetDistrict()])) + 1, Total: b.total}, nil
}

// after returns the changes of the revisions after one, up to another.
func (b *Big) after(district string, revision, last int32) [][][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.changes[district]
	return of[revision-1 : min(int(last)-1, len(of))]
}

// Export sends a revision: the first one, and what has changed since.
func (b *Big) Export(req *rosterv1.ExportRequest, stream grpc.ServerStreamingServer[rosterv1.ExportResponse]) error {
	send := func(n int, body func(i int) []byte) error {
		var part [][]byte
		for i := range n {
			part = append(part, body(i))
			if len(part) == batch || i == n-1 {
				if err := stream.Send(exportResponse(req.Revision, part)); err != nil {
					return err
				}
				part = part[:0]
			}
		}
		return nil
	}
	if err := send(b.Len(), b.Body); err != nil {
		return err
	}
	for _, changes := range b.after(req.District, 1, req.Revision) {
		if err := send(len(changes), func(i int) []byte { return changes[i] }); err != nil {
			return err
		}
	}
	return nil
}

// Watch sends the revisions that are there and those that come.
func (b *Big) Watch(req *rosterv1.WatchRequest, stream grpc.ServerStreamingServer[rosterv1.WatchResponse]) error {
	for after := req.After; ; {
		b.mu.Lock()
		committed := b.committed
		b.mu.Unlock()
		for _, changes := range b.after(req.District, after, math.MaxInt32) {
			after++
			for _, m := range revision(after, changes) {
				if err := stream.Send(m); err != nil {
					return err
				}
			}
		}
		select {
		case <-committed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
