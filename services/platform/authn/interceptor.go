package authn

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
)

const header = "authorization"

// UnaryServerInterceptor lets a call through if its method's permission allows
// it, with the Principal in the context.
func UnaryServerInterceptor(v *Verifier) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		m, p, err := v.authorize(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		if m.Permission.GetAccess() == typev1.Access_ACCESS_DISTRICT {
			if err := permitDistrict(p, districtOf(request)); err != nil {
				return nil, err
			}
		}
		return handler(NewContext(ctx, p), request)
	}
}

// StreamServerInterceptor is UnaryServerInterceptor for streams. The district
// comes with the first message, so it is checked when the handler receives it.
func StreamServerInterceptor(v *Verifier) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		m, p, err := v.authorize(stream.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		checked := &checkedStream{ServerStream: stream, ctx: NewContext(stream.Context(), p), principal: p}
		checked.perDistrict = m.Permission.GetAccess() == typev1.Access_ACCESS_DISTRICT
		return handler(srv, checked)
	}
}

type checkedStream struct {
	grpc.ServerStream
	ctx         context.Context
	principal   Principal
	perDistrict bool
	district    string // Of the first message; empty before it.
}

func (s *checkedStream) Context() context.Context { return s.ctx }

func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil || !s.perDistrict {
		return err
	}
	district := districtOf(m)
	switch {
	case s.district == "":
		if err := permitDistrict(s.principal, district); err != nil {
			return err
		}
		s.district = district
	case district != "" && district != s.district:
		// A second header must not lead a handler into another district.
		return errs.New(codes.InvalidArgument, "DISTRICT_CHANGED", "a stream is about one district: open another stream").
			With("field", "district")
	}
	return nil
}

// bearer returns the token of an incoming call.
func bearer(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, header)
	if len(values) != 1 {
		return "", ErrUnauthenticated
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", ErrUnauthenticated
	}
	return token, nil
}

// Forward returns a context whose outgoing calls are made for the caller of the
// current RPC instead of for this service.
func Forward(ctx context.Context) context.Context {
	values := metadata.ValueFromIncomingContext(ctx, header)
	if len(values) != 1 {
		return ctx
	}
	return WithToken(ctx, strings.TrimSpace(values[0][min(len("Bearer "), len(values[0])):]))
}

// WithToken returns a context whose outgoing calls carry the token.
func WithToken(ctx context.Context, token string) context.Context {
	md, _ := metadata.FromOutgoingContext(ctx)
	md = md.Copy()
	md.Set(header, "Bearer "+token)
	return metadata.NewOutgoingContext(ctx, md)
}
