// Command gateway is the hub's door for browsers and for HTTP clients.
package main

import (
	"context"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"github.com/securly/sync/gateway"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/process"
)

func main() {
	var addr string
	var maxUpload int64
	process.Main(process.Program{
		Name:  "gateway",
		Short: "Serves the HTTP API and the UI",
		Flags: func(f *pflag.FlagSet) {
			f.StringVar(&addr, "http-addr", ":8080", "`address` to serve HTTP on")
			f.Int64Var(&maxUpload, "max-upload", gateway.DefaultMaxUpload, "largest upload in bytes")
		},
		Build: func(ctx context.Context, env *process.Env) (process.Parts, error) {
			conns, err := connect(env)
			if err != nil {
				return process.Parts{}, err
			}
			g, err := gateway.New(
				gateway.Config{ServiceSecret: env.Settings.ServiceSecret, MaxUpload: maxUpload, Grace: env.Settings.Grace},
				gateway.Deps{
					Auth: conns[0], Ingest: conns[1], Roster: conns[2], Readiness: conns[3],
					Log:     env.Log,
					Health:  env.Health.Handler(),
					Metrics: promhttp.HandlerFor(env.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
				})
			if err != nil {
				return process.Parts{}, err
			}
			listener, err := net.Listen("tcp", addr)
			if err != nil {
				return process.Parts{}, fmt.Errorf("listen for HTTP (--http-addr): %w", err)
			}
			env.Log.InfoContext(ctx, "serving HTTP", "addr", listener.Addr().String())
			return process.Parts{Run: []lifecycle.Component{{Name: "http server", Run: g.Serve(listener)}}}, nil
		},
	})
}

// connect reaches auth, ingest, roster-store and readiness-engine, in this order.
func connect(env *process.Env) ([4]*grpc.ClientConn, error) {
	var conns [4]*grpc.ClientConn
	for i, target := range [4]string{env.Settings.AuthAddr, env.Settings.IngestAddr, env.Settings.RosterAddr, env.Settings.ReadinessAddr} {
		conn, err := env.ConnectPlain(target)
		if err != nil {
			return conns, err
		}
		conns[i] = conn
	}
	return conns, nil
}
