package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/securly/sync/deploy/standalone"
	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
)

func clientCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "client", Short: "Manage API clients"}
	cmd.AddCommand(clientCreateCommand())
	return cmd
}

func clientCreateCommand() *cobra.Command {
	var s settings
	var req authv1.CreateClientRequest
	cmd := &cobra.Command{
		Use: "create", Short: "Create a client and print its id and secret", Args: cobra.NoArgs,
		Long: `Create a client and print its id and secret as JSON.

It works on the data directory of a hub, whether the hub is running or not.`,
		Example: `  securly-sync client create --name "Classroom" --scopes rosters.read,readiness.read --district lakeside --product classroom`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := load(cmd); err != nil {
				return err
			}
			if len(req.Districts) == 0 {
				req.Districts = []string{"*"}
			}
			operator, err := s.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, operator.Close()) }()
			client, err := operator.CreateClient(cmd.Context(), &req)
			if err != nil {
				return fmt.Errorf("create the client: %w", err)
			}
			// The one time that the secret is shown.
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{
				"clientId": client.GetClientId(), "clientSecret": client.GetClientSecret(),
			})
		},
	}
	f := cmd.Flags()
	s.addOperatorFlags(f)
	f.StringVar(&req.DisplayName, "name", "", "what the client is called")
	f.StringSliceVar(&req.Scopes, "scopes", nil, "what it may do, separated by commas")
	f.StringSliceVar(&req.Districts, "district", nil, "`ids` of the districts that it sees (default all)")
	f.StringSliceVar(&req.Schools, "school", nil, "`ids` of the schools that it is limited to (default none)")
	f.StringVar(&req.Product, "product", "", "`id` of the product that it reads for")
	return cmd
}

func linkCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "link", Short: "Print a new sign-in link of the hub that is running", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := load(cmd); err != nil {
				return err
			}
			operator, err := s.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, operator.Close()) }()
			link, _, err := operator.SignInLink(cmd.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), link)
			return err
		},
	}
	s.addOperatorFlags(cmd.Flags())
	return cmd
}

// addOperatorFlags takes all settings of serve, so that the commands read the same file; only where
// the hub is matters to them.
func (s *settings) addOperatorFlags(f *pflag.FlagSet) {
	s.addFlags(f)
	f.VisitAll(func(flag *pflag.Flag) { flag.Hidden = flag.Name != "data-dir" && flag.Name != "config" })
}

func (s *settings) connect(ctx context.Context) (*standalone.Operator, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: s.logLevel}))
	return standalone.Connect(ctx, s.hub.DataDir, log)
}
