// Package process is what the mains of the cluster's programs share: flags,
// telemetry, dependencies, servers, and the order in which all of it starts and
// stops.
//
//	func main() {
//		process.Main(process.Program{
//			Name:  "readiness-engine",
//			Short: "Checks whether rosters are ready for each product",
//			Build: build,
//		})
//	}
package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"

	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/health"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/rpc"
	"github.com/securly/sync/services/platform/telemetry"
	"github.com/securly/sync/services/platform/version"
)

// Program is one of the cluster's programs.
type Program struct {
	// Name of the program, of its folder and image, and of its client at the
	// auth service.
	Name  string
	Short string
	// Flags adds the program's own flags; may be nil.
	Flags func(*pflag.FlagSet)
	// Build opens what the program needs and makes its parts; it starts nothing.
	Build func(ctx context.Context, env *Env) (Parts, error)
}

// Parts are what a program runs.
type Parts struct {
	// Register adds the service to the gRPC server; nil means no such server.
	Register func(grpc.ServiceRegistrar)
	// Keys verify the tokens of callers; nil means the keys of the auth service.
	Keys authn.KeySource
	// Run are the parts beside the servers.
	Run []lifecycle.Component
}

// Main is all that main does: it runs the program until a signal ends it, and
// exits with 1 after an error.
func Main(p Program) {
	if err := command(p).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, p.Name+":", err)
		os.Exit(1) //nolint:forbidigo // It is main in all but name.
	}
}

func command(p Program) *cobra.Command {
	settings := &Settings{}
	cmd := &cobra.Command{
		Use:           p.Name,
		Short:         p.Short,
		Args:          cobra.NoArgs,
		Version:       version.String(),
		SilenceErrors: true, // Main prints the error once,
		SilenceUsage:  true, // without burying it under the usage.
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := config.Load(cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			// A second signal ends the program at once.
			context.AfterFunc(ctx, stop)
			defer stop()
			return run(ctx, p, settings, cmd.Flags())
		},
	}
	cmd.SetContext(context.Background())
	config.AddFlag(cmd.Flags())
	settings.addFlags(cmd.Flags())
	if p.Flags != nil {
		p.Flags(cmd.Flags())
	}
	return cmd
}

// run starts everything in order and stops it in reverse: not ready first, then
// the servers and parts, then what was opened, telemetry last.
func run(ctx context.Context, p Program, s *Settings, flags *pflag.FlagSet) (err error) {
	tel, err := telemetry.Setup(ctx, p.Name, version.String())
	if err != nil {
		return err
	}
	tel.Level.Set(s.LogLevel)
	env := &Env{
		Settings: s, Log: tel.Log, Registry: tel.Registry, Health: &health.Checks{},
		name: p.Name, listen: net.Listen,
	}
	env.Opened.Push("telemetry", func() error {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Grace)
		defer cancel()
		return tel.Shutdown(flush)
	})
	defer func() { err = errors.Join(err, env.Opened.Close()) }()
	tel.Log.InfoContext(ctx, "starting", "version", version.String(), "settings", shown(flags))

	parts, err := p.Build(ctx, env)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	components := parts.Run
	grpcHealth := grpchealth.NewServer()
	if parts.Register != nil {
		serve, err := env.grpcServer(parts, grpcHealth)
		if err != nil {
			return err
		}
		components = append(components, serve)
	}
	admin, err := env.adminServer()
	if err != nil {
		return err
	}
	components = append(components, admin)

	// Load balancers get the time to see that the program is not ready before
	// it stops to answer.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		tel.Log.InfoContext(ctx, "stopping", "drain", s.Drain)
		env.Health.Drain()
		grpcHealth.Shutdown()
		time.AfterFunc(s.Drain, stop)
	})()
	return lifecycle.Run(running, components...)
}

func (e *Env) grpcServer(parts Parts, h *grpchealth.Server) (lifecycle.Component, error) {
	keys := parts.Keys
	if keys == nil {
		auth, err := e.authClient()
		if err != nil {
			return lifecycle.Component{}, err
		}
		keys = authn.RemoteKeys(auth)
	}
	server := rpc.NewServer(rpc.ServerOptions{
		Log: e.Log, Verifier: authn.NewVerifier(keys), Registerer: e.Registry, Health: h,
	})
	parts.Register(server)
	listener, err := e.listen("tcp", e.Settings.GRPCAddr)
	if err != nil {
		return lifecycle.Component{}, fmt.Errorf("listen for gRPC (--grpc-addr): %w", err)
	}
	e.Log.Info("serving gRPC", "addr", listener.Addr().String())
	return lifecycle.Component{Name: "grpc server", Run: lifecycle.ServeGRPC(server, listener, e.Settings.Grace)}, nil
}

// adminServer is for operators: health, metrics and profiles.
func (e *Env) adminServer() (lifecycle.Component, error) {
	mux := http.NewServeMux()
	mux.Handle("/", e.Health.Handler())
	mux.Handle("GET /metrics", promhttp.HandlerFor(e.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	listener, err := e.listen("tcp", e.Settings.AdminAddr)
	if err != nil {
		return lifecycle.Component{}, fmt.Errorf("listen for operators (--admin-addr): %w", err)
	}
	e.Log.Info("serving health and metrics", "addr", listener.Addr().String())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return lifecycle.Component{Name: "admin server", Run: lifecycle.ServeHTTP(server, listener, e.Settings.Grace)}, nil
}

// shown lists all settings; secrets print as "redacted".
func shown(flags *pflag.FlagSet) map[string]string {
	all := map[string]string{}
	flags.VisitAll(func(f *pflag.Flag) { all[f.Name] = f.Value.String() })
	return all
}
