// Command securly-sync is the whole hub in one process.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "securly-sync:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "securly-sync",
		Short: "Rosters of school districts: synced, checked, versioned and served",
		Long: `Rosters of school districts: synced, checked, versioned and served.

Each flag is also an environment variable (--data-dir is SECURLY_SYNC_DATA_DIR) and
a key of the file that --config names (data-dir: /srv/sync).`,
		SilenceErrors: true, // main prints the error once,
		SilenceUsage:  true, // without burying it under the usage.
	}
	cmd.AddCommand(serveCommand(), demoCommand(), clientCommand(), linkCommand(),
		backupCommand(), restoreCommand(), doctorCommand(), eraseCommand(), configCommand(), versionCommand())
	return cmd
}

// load fills the flags of a command from the environment and the file.
func load(cmd *cobra.Command) error { return config.Load(cmd.Flags(), os.LookupEnv) }

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version.String())
			return err
		},
	}
}

func configCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "config", Short: "Print the settings that serve would use, without secrets", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := load(cmd); err != nil {
				return err
			}
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if f.Name != "config" && f.Name != "help" && err == nil {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %q\n", f.Name, f.Value.String())
				}
			})
			return err
		},
	}
	s.addFlags(cmd.Flags())
	return cmd
}
