package rpc

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn" //nolint:depguard // Here is the one place for it.
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
)

// What ends a unary call whose caller has set no deadline.
const (
	callTimeout          = 2 * time.Minute
	districtSizedTimeout = time.Hour
)

// Dial returns a connection whose errors are *errs.Error. It connects on first
// use, spreads calls over all addresses of a dns:/// target, and retries
// nothing: a caller that knows its calls to be idempotent gives a service
// config. Without transport credentials among opts it is not encrypted.
func Dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()),
		grpc.WithChainUnaryInterceptor(unmapUnary),
		grpc.WithChainStreamInterceptor(unmapStream),
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", target, err)
	}
	return conn, nil
}

func unmapUnary(ctx context.Context, method string, request, response any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout(method))
		defer cancel()
	}
	return errs.FromStatus(invoke(ctx, method, request, response, conn, opts...))
}

// timeout follows from what the method declares in its proto.
func timeout(method string) time.Duration {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	if d, err := protoregistry.GlobalFiles.FindDescriptorByName(name); err == nil && proto.GetExtension(d.Options(), typev1.E_DistrictSized).(bool) {
		return districtSizedTimeout
	}
	return callTimeout
}

func unmapStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, errs.FromStatus(err)
	}
	return unmappedStream{stream}, nil
}

// unmappedStream leaves io.EOF alone, as errs.FromStatus does.
type unmappedStream struct{ grpc.ClientStream }

func (s unmappedStream) SendMsg(m any) error { return errs.FromStatus(s.ClientStream.SendMsg(m)) }
func (s unmappedStream) RecvMsg(m any) error { return errs.FromStatus(s.ClientStream.RecvMsg(m)) }
func (s unmappedStream) CloseSend() error    { return errs.FromStatus(s.ClientStream.CloseSend()) }

// InMemory is the network of the standalone program: connections to a server
// in the same process, with the same interceptors and flow control.
type InMemory struct{ listener *bufconn.Listener }

// NewInMemory returns a network for one server.
func NewInMemory() *InMemory { return &InMemory{bufconn.Listen(1 << 20)} }

// Listener is for the server's Serve, which closes it.
func (m *InMemory) Listener() net.Listener { return m.listener }

// Dial is the package's Dial to the server.
func (m *InMemory) Dial(opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return Dial("passthrough:///in-memory", append([]grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return m.listener.DialContext(ctx) }),
	}, opts...)...)
}
