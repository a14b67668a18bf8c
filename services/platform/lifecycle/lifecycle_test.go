package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/securly/sync/services/platform/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// untilEnd runs until its context ends and returns the context's error.
func untilEnd(ctx context.Context) error {
	<-ctx.Done()
	return fmt.Errorf("stopped: %w", ctx.Err())
}

func TestFirstFailureStopsAll(t *testing.T) {
	stopped := false
	err := lifecycle.Run(t.Context(),
		lifecycle.Component{Name: "watcher", Run: func(ctx context.Context) error {
			err := untilEnd(ctx)
			stopped = true
			return err
		}},
		lifecycle.Component{Name: "done early", Run: func(context.Context) error { return nil }},
		lifecycle.Component{Name: "bus", Run: func(context.Context) error { return errBroken }},
	)
	require.ErrorIs(t, err, errBroken)
	require.EqualError(t, err, "bus: broken")
	require.True(t, stopped)
}

func TestEndIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("signal"))
	require.NoError(t, lifecycle.Run(ctx,
		lifecycle.Component{Name: "a", Run: untilEnd},
		lifecycle.Component{Name: "b", Run: func(ctx context.Context) error { return context.Cause(ctx) }},
	))
	err := lifecycle.Run(ctx, lifecycle.Component{Name: "a", Run: func(context.Context) error { return errBroken }})
	require.ErrorIs(t, err, errBroken, "a failure at the end is one")
}

func TestStackClosesInReverse(t *testing.T) {
	var order []string
	var s lifecycle.Stack
	for _, name := range []string{"telemetry", "store", "bus"} {
		s.Push(name, func() error {
			order = append(order, name)
			if name == "store" {
				return errBroken
			}
			return nil
		})
	}
	err := s.Close()
	require.ErrorIs(t, err, errBroken)
	require.EqualError(t, err, "close store: broken")
	require.Equal(t, []string{"bus", "store", "telemetry"}, order)
	require.NoError(t, s.Close(), "a second time there is nothing left")
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

func TestServeHTTPLetsCallsEnd(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	l := listen(t)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-release
		_, _ = fmt.Fprint(w, "whole answer")
	})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- lifecycle.ServeHTTP(server, l, time.Minute)(ctx) }()
	answer := make(chan string, 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		r, err := client.Get("http://" + l.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		text, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		answer <- string(text)
	}()
	<-began
	cancel()
	close(release)
	require.Equal(t, "whole answer", <-answer)
	require.NoError(t, <-done)
}

func TestServeHTTPCutsOffAfterTheGrace(t *testing.T) {
	began := make(chan struct{})
	l := listen(t)
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- lifecycle.ServeHTTP(server, l, time.Millisecond)(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	failed := make(chan error, 1)
	go func() {
		_, err := client.Get("http://" + l.Addr().String())
		failed <- err
	}()
	<-began
	cancel()
	require.NoError(t, <-done)
	require.Error(t, <-failed)
}

func TestServersReportALostListener(t *testing.T) {
	l := listen(t)
	require.NoError(t, l.Close())
	require.ErrorIs(t, lifecycle.ServeHTTP(&http.Server{}, l, time.Second)(t.Context()), net.ErrClosed)
	require.ErrorIs(t, lifecycle.ServeGRPC(grpc.NewServer(), l, time.Second)(t.Context()), net.ErrClosed)
}

func TestServersThatEndBeforeTheyBegin(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, lifecycle.ServeHTTP(&http.Server{}, listen(t), time.Second)(ctx))
	require.NoError(t, lifecycle.ServeGRPC(grpc.NewServer(), listen(t), time.Second)(ctx))
}
