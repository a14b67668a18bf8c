// Package api answers the RPCs of the auth service.
package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/auth/internal/client"
	"github.com/securly/sync/services/auth/internal/scope"
	"github.com/securly/sync/services/auth/internal/session"
	"github.com/securly/sync/services/auth/internal/token"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/pagetoken"
)

// ErrInvalidScope is for a token request of which nothing could be granted.
var ErrInvalidScope = errs.New(codes.InvalidArgument, "INVALID_SCOPE", "the client has none of the requested scopes")

// Server implements authv1.AuthServiceServer.
type Server struct {
	authv1.UnimplementedAuthServiceServer

	Keys     *token.Keys
	Issuer   *token.Issuer
	Clients  *client.Registry
	Sessions *session.Store
	Pages    *pagetoken.Sealer
	Now      func() time.Time
}

// IssueToken implements the client credentials grant.
func (s *Server) IssueToken(ctx context.Context, req *authv1.IssueTokenRequest) (*authv1.IssueTokenResponse, error) {
	who, err := s.Clients.Authenticate(ctx, req.GetClientId(), req.GetClientSecret())
	if err != nil {
		return nil, err
	}
	who.Scopes = scope.Grant(req.GetScope(), who.Scopes)
	if len(who.Scopes) == 0 {
		return nil, ErrInvalidScope
	}
	tok, err := s.Issuer.Issue(ctx, who)
	if err != nil {
		return nil, fmt.Errorf("issue a token for %s: %w", who.Subject, err)
	}
	return &authv1.IssueTokenResponse{
		AccessToken: tok.Text,
		ExpiresIn:   int32(tok.Expires.Sub(s.Now()).Round(time.Second) / time.Second),
		Scope:       strings.Join(who.Scopes, " "),
	}, nil
}

// GetKeys returns the keys that verify tokens.
func (s *Server) GetKeys(ctx context.Context, _ *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	jwks, err := s.Keys.JWKS(ctx)
	if err != nil {
		return nil, err
	}
	return &authv1.GetKeysResponse{Jwks: string(jwks)}, nil
}

// CreateSignInLink lets the operator of this hub sign in once.
func (s *Server) CreateSignInLink(ctx context.Context, _ *authv1.CreateSignInLinkRequest) (*authv1.CreateSignInLinkResponse, error) {
	code, expire, err := s.Sessions.CreateLink(ctx, &authv1.Grant{
		Subject:     "operator",
		DisplayName: "Operator",
		Scopes:      scope.Operator(),
		Districts:   []string{"*"},
	})
	if err != nil {
		return nil, err
	}
	return &authv1.CreateSignInLinkResponse{Code: code, ExpireTime: timestamppb.New(expire)}, nil
}

// RedeemSignInLink opens a session with the link's code.
func (s *Server) RedeemSignInLink(ctx context.Context, req *authv1.RedeemSignInLinkRequest) (*authv1.Session, error) {
	id, state, err := s.Sessions.Redeem(ctx, req.GetCode())
	if err != nil {
		return nil, err
	}
	return s.session(ctx, id, state)
}

// RefreshSession gives a session's browser a token that has just begun.
func (s *Server) RefreshSession(ctx context.Context, req *authv1.RefreshSessionRequest) (*authv1.Session, error) {
	state, err := s.Sessions.Get(ctx, req.GetSessionId())
	if err != nil {
		return nil, err
	}
	return s.session(ctx, req.GetSessionId(), state)
}

// EndSession signs a browser out.
func (s *Server) EndSession(ctx context.Context, req *authv1.EndSessionRequest) (*authv1.EndSessionResponse, error) {
	if err := s.Sessions.End(ctx, req.GetSessionId()); err != nil {
		return nil, err
	}
	return &authv1.EndSessionResponse{}, nil
}

func (s *Server) session(ctx context.Context, id string, state *authv1.SessionState) (*authv1.Session, error) {
	grant := state.GetGrant()
	tok, err := s.Issuer.Issue(ctx, authn.Principal{
		Subject:     grant.GetSubject(),
		DisplayName: grant.GetDisplayName(),
		Scopes:      grant.GetScopes(),
		Districts:   grant.GetDistricts(),
		Schools:     grant.GetSchools(),
	})
	if err != nil {
		return nil, fmt.Errorf("issue a token for a session: %w", err)
	}
	return &authv1.Session{
		SessionId:       id,
		AccessToken:     tok.Text,
		TokenExpireTime: timestamppb.New(tok.Expires),
		ExpireTime:      state.GetExpireTime(),
	}, nil
}

// GetMe tells who the caller is.
func (s *Server) GetMe(ctx context.Context, _ *authv1.GetMeRequest) (*authv1.Me, error) {
	p := authn.FromContext(ctx)
	return &authv1.Me{
		Subject:     p.Subject,
		DisplayName: p.DisplayName,
		Scopes:      slices.Clone(p.Scopes),
		Districts:   slices.Clone(p.Districts),
		Schools:     slices.Clone(p.Schools),
	}, nil
}

// CreateClient makes a client and shows its secret, once.
func (s *Server) CreateClient(ctx context.Context, req *authv1.CreateClientRequest) (*authv1.Client, error) {
	return s.Clients.Create(ctx, req)
}

// clientsBinding says what a page token of ListClients is good for.
var clientsBinding = []byte("auth.ListClients")

// ListClients lists clients, oldest first.
func (s *Server) ListClients(ctx context.Context, req *authv1.ListClientsRequest) (*authv1.ListClientsResponse, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	var after string
	if req.GetPageToken() != "" {
		position, err := s.Pages.Open(req.GetPageToken(), clientsBinding)
		if err != nil {
			return nil, err
		}
		after = string(position)
	}
	clients, next, err := s.Clients.List(ctx, after, size)
	if err != nil {
		return nil, err
	}
	resp := &authv1.ListClientsResponse{Clients: clients}
	if next != "" {
		resp.NextPageToken = s.Pages.Seal(clientsBinding, []byte(next))
	}
	return resp, nil
}

// DeleteClient forgets a client.
func (s *Server) DeleteClient(ctx context.Context, req *authv1.DeleteClientRequest) (*authv1.DeleteClientResponse, error) {
	if err := s.Clients.Delete(ctx, req.GetClient()); err != nil {
		return nil, err
	}
	return &authv1.DeleteClientResponse{}, nil
}
