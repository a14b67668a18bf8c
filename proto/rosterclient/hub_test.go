package rosterclient_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/proto/rosterclient"
)

const district = "maple"

// state is a roster of users by id.
type state map[string]*typev1.Record

func user(id, email, status string) *typev1.Record {
	return &typev1.Record{Record: &typev1.Record_User{User: &typev1.User{SourcedId: id, Email: email, Status: status}}}
}

// hub is a made-up hub with one district. It keeps the promises of the roster
// service, and nothing else: whatever may go wrong around them does, if it is
// hostile.
type hub struct {
	rosterv1.UnimplementedRosterServiceServer
	addr, tokenURL string
	server         *grpc.Server
	token          *httptest.Server
	listener       *cuttable

	mu        sync.Mutex
	revisions []state // all of them; the first is revision 0
	times     []time.Time
	clock     int64
	pruned    int // revisions before this one are gone
	committed chan struct{}
	tokens    int         // issued, of which only the last is good
	refuse    codes.Code  // what every call gets, if it is not OK
	hostile   *rand.Rand  // nil: well-behaved
	seen      map[int]int // calls by the revision they asked for
}

// startHub starts a well-behaved hub, with one user at revision 1.
func startHub() *hub { return startHubTLS(nil, nil) }

func startHubTLS(hostile *rand.Rand, cert *tls.Certificate) *hub {
	h := &hub{hostile: hostile, committed: make(chan struct{}), revisions: []state{{}}, times: []time.Time{{}}, seen: map[int]int{}}
	h.commit("ann@example.org")
	h.token = httptest.NewUnstartedServer(http.HandlerFunc(h.issue))
	var opts []grpc.ServerOption
	if cert != nil {
		h.token.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
		h.token.StartTLS()
		opts = append(opts, grpc.Creds(credentials.NewServerTLSFromCert(cert)))
	} else {
		h.token.Start()
	}
	h.tokenURL = h.token.URL + "/oauth2/token"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	h.listener = &cuttable{Listener: l}
	h.addr = l.Addr().String()
	h.server = grpc.NewServer(opts...)
	rosterv1.RegisterRosterServiceServer(h.server, h)
	go func() { _ = h.server.Serve(h.listener) }()
	return h
}

func (h *hub) stop() {
	h.server.Stop()
	h.token.Close()
}

func (h *hub) config() rosterclient.Config {
	return rosterclient.Config{
		Addr: h.addr, TokenURL: h.tokenURL, ClientID: "product", ClientSecret: "made-up", Plaintext: true,
		Log: slog.New(slog.DiscardHandler),
	}
}

// cuttable is a listener whose connections can be cut.
type cuttable struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cuttable) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
	return conn, err
}

func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		if conn != nil {
			_ = conn.Close()
		}
	}
	c.conns = nil
}

// issue is the token endpoint.
func (h *hub) issue(w http.ResponseWriter, r *http.Request) {
	if id, secret, _ := r.BasicAuth(); id != "product" || secret != "made-up" {
		http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
		return
	}
	if h.chance(5) {
		http.Error(w, `{"error":"temporarily_unavailable"}`, http.StatusServiceUnavailable)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens++
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":"%d","token_type":"Bearer","expires_in":3600}`, h.tokens)
}

// expire makes the hub take none of the tokens it has issued.
func (h *hub) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens++
}

// chance tells whether something goes wrong that does so one time in n.
func (h *hub) chance(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hostile != nil && h.hostile.IntN(n) == 0
}

func refusal(code codes.Code, reason string) error {
	s, err := status.New(code, strings.ToLower(reason)).WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "securly-sync"})
	if err != nil {
		panic(err)
	}
	return s.Err()
}

// allow judges a call.
func (h *hub) allow(ctx context.Context, asked string, revision int32) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[int(revision)]++
	switch {
	case h.refuse != codes.OK:
		return status.Error(h.refuse, "refused")
	case !slices.Equal(metadata.ValueFromIncomingContext(ctx, "authorization"), []string{"Bearer " + strconv.Itoa(h.tokens)}):
		return refusal(codes.Unauthenticated, "TOKEN_INVALID")
	case asked != district:
		return refusal(codes.NotFound, "DISTRICT_NOT_FOUND")
	}
	return nil
}

// disturb goes before each message that is sent.
func (h *hub) disturb() error {
	switch {
	case h.chance(12):
		return refusal(codes.Unavailable, "GOING_DOWN")
	case h.chance(20):
		return refusal(codes.ResourceExhausted, "READER_TOO_SLOW")
	case h.chance(25):
		h.listener.cut()
	case h.chance(40):
		h.expire()
	}
	return nil
}

func (h *hub) GetSummary(ctx context.Context, req *rosterv1.GetSummaryRequest) (*rosterv1.Summary, error) {
	if err := h.allow(ctx, req.GetDistrict(), 0); err != nil {
		return nil, err
	}
	head, _ := h.head()
	return &rosterv1.Summary{Revision: int32(head)}, h.disturb()
}

// head returns the newest revision and what is closed when there is another.
func (h *hub) head() (int, chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.revisions) - 1, h.committed
}

// at returns a revision, and what is to be said of it.
func (h *hub) at(revision int) (state, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case revision >= len(h.revisions):
		return nil, refusal(codes.NotFound, "REVISION_NOT_FOUND")
	case revision < h.pruned:
		return nil, refusal(codes.OutOfRange, "REVISION_GONE")
	}
	return h.revisions[revision], nil
}

// commit makes a revision with one more user.
func (h *hub) commit(email string) {
	h.mu.Lock()
	n := len(h.revisions)
	h.mu.Unlock()
	h.change(user("u"+strconv.Itoa(n), email, "active"))
}

func (h *hub) change(records ...*typev1.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := maps.Clone(h.revisions[len(h.revisions)-1])
	for _, r := range records {
		next[r.GetUser().GetSourcedId()] = r
	}
	h.revisions, h.times = append(h.revisions, next), append(h.times, h.now())
	close(h.committed)
	h.committed = make(chan struct{})
}

// prune forgets all revisions but the newest.
func (h *hub) prune() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pruned = len(h.revisions) - 1
}

// replace is another district in place of the old one.
func (h *hub) replace(revisions ...state) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.revisions, h.times, h.pruned = append([]state{{}}, revisions...), []time.Time{{}}, 0
	for range revisions {
		h.times = append(h.times, h.now())
	}
}

// now is never the same twice.
func (h *hub) now() time.Time {
	h.clock++
	return time.UnixMilli(1_790_000_000_000 + h.clock)
}

// timeOf returns when a revision was committed.
func (h *hub) timeOf(revision int) *timestamppb.Timestamp {
	h.mu.Lock()
	defer h.mu.Unlock()
	return timestamppb.New(h.times[revision])
}

func sorted(s state) []*typev1.Record {
	return slices.SortedFunc(maps.Values(s), func(a, b *typev1.Record) int {
		return cmp.Compare(a.GetUser().GetSourcedId(), b.GetUser().GetSourcedId())
	})
}

// batchSize is small, so that there is much to break between.
const batchSize = 5

func (h *hub) Export(req *rosterv1.ExportRequest, stream grpc.ServerStreamingServer[rosterv1.ExportResponse]) error {
	if err := h.allow(stream.Context(), req.GetDistrict(), req.GetRevision()); err != nil {
		return err
	}
	revision := int(req.GetRevision())
	if revision == 0 {
		revision, _ = h.head()
	}
	last := req.GetResume()
	for {
		all, err := h.at(revision)
		if err != nil {
			return err
		}
		m := &rosterv1.ExportResponse{Revision: int32(revision), Resume: last}
		if revision > 0 {
			m.CommitTime = h.timeOf(revision)
		}
		for _, r := range sorted(all) {
			if r.GetUser().GetSourcedId() > string(last) && len(m.GetRecords()) < batchSize {
				m.Records = append(m.Records, r)
				m.Resume = []byte(r.GetUser().GetSourcedId())
			}
		}
		last = m.GetResume()
		if err := cmp.Or(h.disturb(), stream.Send(m)); err != nil {
			return err
		}
		if len(m.GetRecords()) < batchSize {
			return h.disturb()
		}
	}
}

func (h *hub) Watch(req *rosterv1.WatchRequest, stream grpc.ServerStreamingServer[rosterv1.WatchResponse]) error {
	if err := h.allow(stream.Context(), req.GetDistrict(), req.GetAfter()); err != nil {
		return err
	}
	sent := int(req.GetAfter())
	if _, err := h.at(sent); err != nil && sent > 0 {
		return err
	}
	if at := req.GetAfterCommitTime(); at != nil && !at.AsTime().Equal(h.timeOf(sent).AsTime()) {
		return refusal(codes.NotFound, "REVISION_NOT_FOUND")
	}
	if sent > 0 && h.chance(20) {
		sent-- // not what was promised
	}
	send := func(m *rosterv1.WatchResponse) error { return cmp.Or(h.disturb(), stream.Send(m)) }
	for {
		head, committed := h.head()
		for sent < head {
			old, err := h.at(sent)
			if err != nil {
				return err
			}
			now, err := h.at(sent + 1)
			if err != nil {
				return err
			}
			sent++
			if err := sendRevision(int32(sent), h.timeOf(sent), old, now, send); err != nil {
				return err
			}
		}
		if err := send(&rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Bookmark{Bookmark: &rosterv1.Bookmark{Revision: int32(sent)}}}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-committed:
		}
	}
}

func sendRevision(revision int32, at *timestamppb.Timestamp, old, now state, send func(*rosterv1.WatchResponse) error) error {
	if err := send(&rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Begin{Begin: &rosterv1.RevisionBegin{
		Revision: revision, CommitTime: at,
	}}}); err != nil {
		return err
	}
	changed := slices.DeleteFunc(sorted(now), func(r *typev1.Record) bool { return proto.Equal(r, old[r.GetUser().GetSourcedId()]) })
	for batch := range slices.Chunk(changed, batchSize) {
		if err := send(&rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_Changes{Changes: &rosterv1.Changes{Records: batch}}}); err != nil {
			return err
		}
	}
	return send(&rosterv1.WatchResponse{Event: &rosterv1.WatchResponse_End{End: &rosterv1.RevisionEnd{Revision: revision}}})
}
