// Package session keeps one-time sign-in links and the browser sessions made from them. Codes and
// session ids are kept as hashes: who reads the store cannot sign in with what it finds.
package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
)

var (
	// ErrLink does not say whether the link was used, has ended or never was.
	ErrLink = errs.New(codes.Unauthenticated, "SIGN_IN_LINK_INVALID", "the sign-in link was used already, has ended or is not complete: ask for a new one")
	// ErrSession is for a session that has ended or never was.
	ErrSession = errs.New(codes.Unauthenticated, "SESSION_ENDED", "the session has ended: sign in again")
)

// sorted is a time as text that sorts like the time.
const sorted = "2006-01-02T15:04:05Z"

// Store keeps links and sessions.
type Store struct {
	links       *docstore.Collection[*authv1.SignInLinkState]
	sessions    *docstore.Collection[*authv1.SessionState]
	now         func() time.Time
	linkLife    time.Duration
	sessionLife time.Duration
}

// NewStore returns the links and sessions of store, with how long each is valid.
func NewStore(store docstore.Store, now func() time.Time, linkLife, sessionLife time.Duration) *Store {
	return &Store{
		links: docstore.NewCollection(store, "sign-in-links", func(l *authv1.SignInLinkState) string {
			return l.GetExpireTime().AsTime().UTC().Format(sorted)
		}),
		sessions: docstore.NewCollection(store, "sessions", func(s *authv1.SessionState) string {
			return s.GetExpireTime().AsTime().UTC().Format(sorted)
		}),
		now:         now,
		linkLife:    linkLife,
		sessionLife: sessionLife,
	}
}

// CreateLink returns the code of a new link and when it ends.
func (s *Store) CreateLink(ctx context.Context, grant *authv1.Grant) (string, time.Time, error) {
	code, expire := rand.Text()+rand.Text(), s.now().Add(s.linkLife)
	_, err := s.links.Create(ctx, idOf(code), &authv1.SignInLinkState{Grant: grant, ExpireTime: timestamppb.New(expire)})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("store a sign-in link: %w", err)
	}
	return code, expire, nil
}

// Redeem makes a session from a link. Of several attempts, one succeeds.
func (s *Store) Redeem(ctx context.Context, code string) (string, *authv1.SessionState, error) {
	now := s.now()
	doc, err := s.links.Modify(ctx, idOf(code), func(l *authv1.SignInLinkState) error {
		if l.GetRedeemTime() != nil || !now.Before(l.GetExpireTime().AsTime()) {
			return ErrLink
		}
		l.RedeemTime = timestamppb.New(now)
		return nil
	})
	switch {
	case errors.Is(err, docstore.ErrNotFound):
		return "", nil, ErrLink
	case err != nil:
		return "", nil, fmt.Errorf("redeem a sign-in link: %w", err)
	}
	id := rand.Text() + rand.Text()
	session, err := s.sessions.Create(ctx, idOf(id), &authv1.SessionState{
		Grant:      doc.Value.GetGrant(),
		CreateTime: timestamppb.New(now),
		ExpireTime: timestamppb.New(now.Add(s.sessionLife)),
	})
	if err != nil {
		return "", nil, fmt.Errorf("store a session: %w", err)
	}
	return id, session.Value, nil
}

// Get returns a session that has not ended.
func (s *Store) Get(ctx context.Context, id string) (*authv1.SessionState, error) {
	doc, err := s.sessions.Get(ctx, idOf(id))
	switch {
	case errors.Is(err, docstore.ErrNotFound):
		return nil, ErrSession
	case err != nil:
		return nil, fmt.Errorf("read a session: %w", err)
	case !s.now().Before(doc.Value.GetExpireTime().AsTime()):
		return nil, ErrSession
	}
	return doc.Value, nil
}

// End ends a session; one that has ended already is no error.
func (s *Store) End(ctx context.Context, id string) error {
	if err := s.sessions.Delete(ctx, idOf(id)); err != nil && !errors.Is(err, docstore.ErrNotFound) {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// Sweep forgets what has ended.
func (s *Store) Sweep(ctx context.Context) error {
	return errors.Join(sweep(ctx, s.links, s.now()), sweep(ctx, s.sessions, s.now()))
}

// expiring is a document that ends.
type expiring interface {
	*authv1.SignInLinkState | *authv1.SessionState
	proto.Message
	GetExpireTime() *timestamppb.Timestamp
}

func sweep[T expiring](ctx context.Context, docs *docstore.Collection[T], now time.Time) error {
	for {
		page, _, err := docs.List(ctx, docstore.Query{Limit: 100})
		if err != nil {
			return fmt.Errorf("list what has ended: %w", err)
		}
		for _, doc := range page {
			if now.Before(doc.Value.GetExpireTime().AsTime()) {
				return nil // ordered by the end: all others are valid
			}
			if err := docs.Delete(ctx, doc.ID); err != nil && !errors.Is(err, docstore.ErrNotFound) {
				return fmt.Errorf("delete what has ended: %w", err)
			}
		}
		if len(page) == 0 {
			return nil
		}
	}
}

// idOf hashes a code or session id, both of 260 random bits.
func idOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
