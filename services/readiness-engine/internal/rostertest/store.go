// Package rostertest is a roster store in memory, for tests and benchmarks of
// the readiness engine.
package rostertest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/record"
)

// batch is how many records a message carries.
const batch = 2000

// Store keeps every committed change of every district.
type Store struct {
	rosterv1.UnimplementedRosterServiceServer

	mu        sync.Mutex
	districts map[string]*district
	exports   int
	failing   int            // exports still to fail
	watches   map[string]int // open ones, by district
	broken    chan struct{}  // closed by BreakWatches
}

type district struct {
	revisions []map[key][]byte // what each revision changed
	live      map[key][]byte
	total     map[string]int32
	bodies    [][]byte      // of live, sorted, or nil
	committed chan struct{} // closed by the next commit
}

type key struct {
	entity typev1.Entity
	id     string
}

// New returns a store without districts.
func New() *Store {
	return &Store{districts: map[string]*district{}, watches: map[string]int{}, broken: make(chan struct{})}
}

// Register serves the store.
func (s *Store) Register(r grpc.ServiceRegistrar) { rosterv1.RegisterRosterServiceServer(r, s) }

// Open makes an empty district at revision 0.
func (s *Store) Open(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open(name)
}

func (s *Store) open(name string) *district {
	d := s.districts[name]
	if d == nil {
		d = &district{live: map[key][]byte{}, total: map[string]int32{}, committed: make(chan struct{})}
		s.districts[name] = d
	}
	return d
}

// Commit makes a revision of the records and returns its number.
func (s *Store) Commit(name string, records ...*typev1.Record) int32 {
	changes := map[key][]byte{}
	for _, r := range records {
		entity, base := record.Of(r)
		body, err := proto.Marshal(r)
		if err != nil {
			panic(err)
		}
		changes[key{entity, base.GetSourcedId()}] = body
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.open(name)
	d.revisions = append(d.revisions, changes)
	for k := range changes {
		if d.live[k] == nil {
			d.total[record.EntityName(k.entity)]++
		}
	}
	maps.Copy(d.live, changes)
	d.bodies = nil
	close(d.committed)
	d.committed = make(chan struct{})
	return int32(len(d.revisions))
}

// Erase forgets a district.
func (s *Store) Erase(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.districts, name)
}

// Exports returns how many exports were served.
func (s *Store) Exports() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exports
}

// FailExports lets the next n exports fail.
func (s *Store) FailExports(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = n
}

// Watches returns how many watches of a district are open.
func (s *Store) Watches(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches[name]
}

// BreakWatches lets all open watches fail.
func (s *Store) BreakWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.broken)
	s.broken = make(chan struct{})
}

func (s *Store) find(name string) (*district, error) {
	if d := s.districts[name]; d != nil {
		return d, nil
	}
	return nil, authn.DistrictNotFound(name)
}

// GetSummary answers with the head and the number of records.
func (s *Store) GetSummary(_ context.Context, req *rosterv1.GetSummaryRequest) (*rosterv1.Summary, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.find(req.District)
	if err != nil {
		return nil, err
	}
	return &rosterv1.Summary{Revision: int32(len(d.revisions)), Total: maps.Clone(d.total)}, nil
}

// Export sends a revision. It hands out stored bytes, as the real store does.
func (s *Store) Export(req *rosterv1.ExportRequest, stream grpc.ServerStreamingServer[rosterv1.ExportResponse]) error {
	s.mu.Lock()
	s.exports++
	if s.failing > 0 {
		s.failing--
		s.mu.Unlock()
		return errors.New("the disk is on fire")
	}
	d, err := s.find(req.District)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	at := cmp.Or(req.Revision, int32(len(d.revisions)))
	bodies := d.sorted()
	if int(at) < len(d.revisions) {
		state := map[key][]byte{}
		for _, changes := range d.revisions[:at] {
			maps.Copy(state, changes)
		}
		bodies = sorted(state)
	}
	s.mu.Unlock()
	for chunk := range slices.Chunk(bodies, batch) {
		if err := stream.Send(exportResponse(at, chunk)); err != nil {
			return err
		}
	}
	return nil
}

func (d *district) sorted() [][]byte {
	if d.bodies == nil {
		d.bodies = sorted(d.live)
	}
	return d.bodies
}

func sorted(state map[key][]byte) [][]byte {
	keys := slices.SortedFunc(maps.Keys(state), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.entity, b.entity), bytes.Compare([]byte(a.id), []byte(b.id)))
	})
	bodies := make([][]byte, len(keys))
	for i, k := range keys {
		bodies[i] = state[k]
	}
	return bodies
}

// Watch sends one frame of changes per revision and a bookmark whenever it has
// sent all.
func (s *Store) Watch(req *rosterv1.WatchRequest, stream grpc.ServerStreamingServer[rosterv1.WatchResponse]) error {
	s.mu.Lock()
	s.watches[req.District]++
	broken := s.broken
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watches[req.District]--
	}()
	for after := req.After; ; {
		s.mu.Lock()
		d, err := s.find(req.District)
		if err != nil {
			s.mu.Unlock()
			return err
		}
		todo, committed := d.revisions[after:], d.committed
		s.mu.Unlock()
		for _, changes := range todo {
			after++
			for _, m := range revision(after, sorted(changes)) {
				if err := stream.Send(m); err != nil {
					return err
				}
			}
		}
		if err := stream.Send(&rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Bookmark{
			Bookmark: &rosterv1.Bookmark{Revision: after},
		}}); err != nil {
			return err
		}
		select {
		case <-committed:
		case <-broken:
			return errors.New("the wire was cut")
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// encoded sets the field `records` of a message to stored bodies, as the real
// store does, without decoding them.
func encoded[M proto.Message](m M, bodies [][]byte) M {
	field := m.ProtoReflect().Descriptor().Fields().ByName("records").Number()
	var buf []byte
	for _, body := range bodies {
		buf = protowire.AppendBytes(protowire.AppendTag(buf, field, protowire.BytesType), body)
	}
	m.ProtoReflect().SetUnknown(buf)
	return m
}

func exportResponse(revision int32, bodies [][]byte) *rosterv1.ExportResponse {
	return encoded(&rosterv1.ExportResponse{Revision: revision}, bodies)
}

// revision frames the changes of one revision.
func revision(number int32, changes [][]byte) (out []*rosterv1.WatchResponse) {
	out = append(out, &rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Begin{Begin: &rosterv1.RevisionBegin{Revision: number}}})
	for part := range slices.Chunk(changes, batch) {
		out = append(out, &rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Changes{Changes: encoded(&rosterv1.Changes{}, part)}})
	}
	return append(out, &rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_End{End: &rosterv1.RevisionEnd{Revision: number}}})
}
