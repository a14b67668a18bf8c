package lifecycle

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
)

// ServeGRPC serves until ctx ends. Then calls have the grace period to end
// before they are cut off.
func ServeGRPC(server *grpc.Server, listener net.Listener, grace time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		stopped := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(stopped)
			cut := time.AfterFunc(grace, server.Stop)
			defer cut.Stop()
			server.GracefulStop()
		})
		err := server.Serve(listener)
		if !stop() {
			<-stopped // Serve returns before the calls have ended.
		}
		if errors.Is(err, grpc.ErrServerStopped) {
			return nil // ctx had ended before it began.
		}
		return err
	}
}

// ServeHTTP is ServeGRPC for HTTP.
func ServeHTTP(server *http.Server, listener net.Listener, grace time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		stopped := make(chan error, 1)
		stop := context.AfterFunc(ctx, func() {
			limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
			defer cancel()
			err := server.Shutdown(limit)
			if errors.Is(err, context.DeadlineExceeded) {
				err = server.Close()
			}
			stopped <- err
		})
		err := server.Serve(listener)
		if stop() || !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return <-stopped
	}
}
