// Package api serves the gRPC interface of the roster store: it checks
// requests, applies the caller's school scope, and turns what the engine keeps
// into messages.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// Commits tells who is interested that a district may have a new revision.
type Commits interface {
	// Committed wakes the relay and the watchers. It never blocks.
	Committed(ctx context.Context, district string, revision store.Revision)
	// Wait returns a channel that is closed at the next commit of the district.
	Wait(district string) <-chan struct{}
}

// Server implements rosterv1.RosterServiceServer.
type Server struct {
	rosterv1.UnimplementedRosterServiceServer
	store   store.Store
	commits Commits
	tokens  *pagetoken.Sealer
	log     *slog.Logger
	// sendIdle is shorter in tests.
	sendIdle time.Duration
}

// New returns a server over an engine, which stays the caller's.
func New(s store.Store, commits Commits, tokens *pagetoken.Sealer, log *slog.Logger) *Server {
	return &Server{store: s, commits: commits, tokens: tokens, log: log, sendIdle: sendIdle}
}

// scopeOf limits reads to the caller's schools.
func scopeOf(ctx context.Context) store.Scope {
	p := authn.FromContext(ctx)
	if len(p.Schools) == 0 {
		return store.Scope{All: true}
	}
	return store.Scope{Schools: p.Schools}
}

func entityOf(name string) (typev1.Entity, error) {
	e, err := record.ParseEntity(name)
	if err != nil {
		return 0, invalid("entity", "%w", err)
	}
	return e, nil
}

// decode reads a stored body.
func decode(r store.Record) (*typev1.Record, error) {
	var out typev1.Record
	if err := proto.Unmarshal(r.Body, &out); err != nil {
		return nil, fmt.Errorf("decode one of the %s of revision %d: %w", record.EntityName(r.Entity), r.From, err)
	}
	return &out, nil
}

// binding ties a page token to the call it came from. The parts may hold any
// text, so each is written with its length.
func binding(parts ...string) []byte {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "%d:%s", len(p), p)
	}
	return []byte(b.String())
}

// count narrows a number for JSON, where only 32 bits stay numbers. The records
// of a district and its revisions fit.
func count[T ~int | ~int64](n T) int32 {
	return int32(n) // see above
}

func counts(in map[store.Entity]store.Counts) map[string]*rosterv1.ChangeCounts {
	out := make(map[string]*rosterv1.ChangeCounts, len(in))
	for e, c := range in {
		out[record.EntityName(e)] = &rosterv1.ChangeCounts{
			Received: count(c.Received), Created: count(c.Created), Updated: count(c.Updated),
			Removed: count(c.Removed), Unchanged: count(c.Unchanged),
		}
	}
	return out
}
