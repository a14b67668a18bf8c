package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/securly/sync/deploy/standalone"
	"github.com/securly/sync/deploy/standalone/internal/demo"
	"github.com/securly/sync/gateway"
	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/rpc"
	"github.com/securly/sync/services/platform/telemetry"
	"github.com/securly/sync/services/platform/version"
)

// settings are the flags of serve and demo.
type settings struct {
	hub      standalone.Config
	logLevel slog.Level
}

func (s *settings) addFlags(f *pflag.FlagSet) {
	config.AddFlag(f)
	f.StringVar(&s.hub.DataDir, "data-dir", "data", "`folder` for all that the hub keeps")
	f.StringVar(&s.hub.HTTPAddr, "http-addr", "127.0.0.1:8080", "`address` to serve the UI and the HTTP API on")
	f.StringVar(&s.hub.GRPCAddr, "grpc-addr", "127.0.0.1:9090", "`address` to serve gRPC on")
	f.StringVar(&s.hub.SFTPAddr, "sftp-addr", "", "`address` of the SFTP server that districts drop files into, :2222 for example; empty means none")
	f.Var(&s.hub.BootstrapClient, "bootstrap-client", "id:secret of a client with every scope on all districts, created once")
	f.Int64Var(&s.hub.MaxUpload, "max-upload", gateway.DefaultMaxUpload, "largest upload in bytes")
	f.StringVar(&s.hub.SecretsKey, "secrets-key", "", "`URL` of the key that secrets of sources are sealed with; empty means a file in the data folder")
	f.Var(&s.hub.Mail.Server, "smtp-url", "mail server for notifications, smtp://user:password@host:587 for example; empty means that nobody is told")
	f.StringVar(&s.hub.Mail.From, "mail-from", "", "sender of notifications, an e-mail `address`")
	f.StringVar(&s.hub.Mail.PublicURL, "public-url", "", "`URL` at which people open the hub, for links in mails")
	f.DurationVar(&s.hub.Grace, "grace", 5*time.Second, "how long running requests may take when the hub stops")
	f.TextVar(&s.logLevel, "log-level", slog.LevelWarn, "debug, info, warn or error")
}

func serveCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the hub", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(cmd); err != nil {
				return err
			}
			return s.run(cmd.Context(), cmd.OutOrStdout(), nil)
		},
	}
	s.addFlags(cmd.Flags())
	return cmd
}

func demoCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "demo", Short: "Run the hub with a made-up district, and forget it all at the end", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := load(cmd); err != nil {
				return err
			}
			if s.hub.DataDir, err = os.MkdirTemp("", "securly-sync-demo-"); err != nil {
				return fmt.Errorf("make a temporary data directory: %w", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(s.hub.DataDir)) }()
			return s.run(cmd.Context(), cmd.OutOrStdout(), fill)
		},
	}
	s.addFlags(cmd.Flags())
	cmd.Flags().Lookup("data-dir").Hidden = true // it has one of its own
	return cmd
}

// run serves until ctx ends; prepare, if any, comes before the hub is announced.
func (s *settings) run(ctx context.Context, out io.Writer, prepare func(context.Context, *standalone.Hub, *standalone.Operator) error) (err error) {
	var opened lifecycle.Stack
	defer func() { err = errors.Join(err, opened.Close()) }()
	tel, err := telemetry.Setup(ctx, "securly-sync", version.String())
	if err != nil {
		return err
	}
	opened.Push("telemetry", func() error {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return tel.Shutdown(flush)
	})
	tel.Level.Set(s.logLevel)
	hub, err := standalone.Open(ctx, s.hub, standalone.Deps{Log: tel.Log, Registry: tel.Registry})
	if err != nil {
		return err
	}
	opened.Push("hub", hub.Close)
	return lifecycle.Run(ctx,
		lifecycle.Component{Name: "hub", Run: hub.Run},
		lifecycle.Component{Name: "start", Run: func(ctx context.Context) error { return announce(ctx, out, hub, prepare) }})
}

// announce says where the hub is, as soon as it is of use.
func announce(ctx context.Context, out io.Writer, hub *standalone.Hub, prepare func(context.Context, *standalone.Hub, *standalone.Operator) error) error {
	operator, err := hub.Operator()
	if err != nil {
		return err
	}
	if prepare != nil {
		if err := prepare(ctx, hub, operator); err != nil {
			return err
		}
	}
	link, expires, err := operator.SignInLink(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `Securly Sync %s is running.

  Sign in   %s
            works once, until %s
  HTTP      %s
  API       %s/docs
  gRPC      %s

`, version.String(), link, expires.Local().Format("15:04"), hub.URL(), hub.URL(), hub.GRPCAddr())
	return err
}

// fill makes the demo's district.
func fill(ctx context.Context, hub *standalone.Hub, operator *standalone.Operator) (err error) {
	client, err := operator.CreateClient(ctx, &authv1.CreateClientRequest{
		DisplayName: "Demo", Scopes: demo.Scopes, Districts: []string{"*"},
	})
	if err != nil {
		return fmt.Errorf("create a client for the demo: %w", err)
	}
	conn, err := rpc.Dial(hub.GRPCAddr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := demo.Fill(ctx, conn, client.GetClientId(), client.GetClientSecret()); err != nil {
		return fmt.Errorf("make the demo's district: %w", err)
	}
	return nil
}
