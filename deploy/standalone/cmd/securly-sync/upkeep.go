package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/securly/sync/deploy/standalone"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// operating makes a command that acts on the hub of a data directory.
func (s *settings) operating(cmd *cobra.Command, act func(ctx context.Context, o *standalone.Operator, out io.Writer) error) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if err := load(cmd); err != nil {
			return err
		}
		if _, err := os.Stat(s.hub.DataDir); err != nil {
			return fmt.Errorf("there is no data directory: %w: name it with --data-dir", err)
		}
		operator, err := s.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, operator.Close()) }()
		return act(cmd.Context(), operator, cmd.OutOrStdout())
	}
	s.addOperatorFlags(cmd.Flags())
	return cmd
}

func backupCommand() *cobra.Command {
	var s settings
	var to string
	cmd := s.operating(&cobra.Command{
		Use: "backup", Short: "Write everything that the hub keeps to one file",
		Long: `Write everything that the hub keeps to one tar file, as it is at one moment.

It works whether the hub is running or not. A hub that runs goes on meanwhile;
sign-ins, uploads and the steps of syncs wait for some seconds at most. Where a
large roster is being committed the command waits and tries again for a minute.
The file holds rosters and the hub's keys: only its owner can read it, and it
should be kept like the data directory, but not in it. A file that is there is
never replaced.`,
		Example: `  securly-sync backup --data-dir /srv/sync --out /backups/`,
	}, func(ctx context.Context, o *standalone.Operator, out io.Writer) error {
		file, m, err := o.Backup(ctx, to)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s: %d districts, %d files, %d MB\n", file, len(m.Districts), len(m.Files), m.Bytes()>>20)
		return err
	})
	cmd.Flags().StringVar(&to, "out", ".", "`file` to write, or the folder to write one named after the time to")
	return cmd
}

func restoreCommand() *cobra.Command {
	var s settings
	var from string
	cmd := &cobra.Command{
		Use: "restore", Short: "Fill a new data directory with a backup", Args: cobra.NoArgs,
		Long: `Fill a new data directory with a backup and check that every file is as it was.

The directory must be empty or not there yet. A hub that is started on it goes
on where the other one was when the backup was made: with its districts, their
history, reports, clients and sign-ins, and with the syncs that were under way.

What came after the backup is not in it. Persons who were erased since have to
be erased again. Products that have seen newer revisions have to start anew.`,
		Example: `  securly-sync restore --from /backups/securly-sync-20261121T230000Z.tar --data-dir /srv/sync-restored`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(cmd); err != nil {
				return err
			}
			m, err := standalone.Restore(cmd.Context(), from, s.hub.DataDir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `%s holds what was backed up on %s: %d districts, %d files, %d MB.
Erase persons again who were erased since. Have products start anew that have seen newer revisions.
`, s.hub.DataDir, m.CreateTime.Local().Format(time.RFC1123), len(m.Districts), len(m.Files), m.Bytes()>>20)
			return err
		},
	}
	s.addOperatorFlags(cmd.Flags())
	cmd.Flags().StringVar(&from, "from", "", "the `file` that backup has written")
	_ = cmd.MarkFlagRequired("from") // it is there
	return cmd
}

// errProblems makes the program end with 1 after everything was said.
var errProblems = errors.New("there are problems left")

func doctorCommand() *cobra.Command {
	var s settings
	var repair bool
	cmd := s.operating(&cobra.Command{
		Use: "doctor", Short: "Look for what is wrong in the stored data",
		Long: `Look for what is wrong in the stored data: versions of records that contradict
each other, files that are missing or that nothing names, syncs and reports of
revisions that are not there.

It works whether the hub is running or not. It ends with 0 if nothing is wrong
any more, and with 1 if there are problems left.`,
	}, func(ctx context.Context, o *standalone.Operator, out io.Writer) error {
		left := 0
		checked, err := o.Check(ctx, repair, func(p *typev1.Problem) error {
			end := ""
			if p.GetRepaired() {
				end = " (repaired)"
			} else {
				left++
			}
			_, err := fmt.Fprintf(out, "%s: %s: %s%s\n", p.GetDistrict(), p.GetWhere(), p.GetWhat(), end)
			return err
		})
		if err != nil {
			return err
		}
		for _, c := range checked {
			if _, err := fmt.Fprintf(out, "checked %d %s\n", c.GetCount(), c.GetWhat()); err != nil {
				return err
			}
		}
		if left > 0 {
			return errProblems
		}
		_, err = fmt.Fprintln(out, "nothing is wrong")
		return err
	})
	cmd.Flags().BoolVar(&repair, "repair", false, "make right what is safe to")
	return cmd
}

func eraseCommand() *cobra.Command {
	var s settings
	var district, user string
	cmd := s.operating(&cobra.Command{
		Use: "erase", Short: "Erase a person from a district, for good",
		Long: `Erase a person from a district: blank the user and its demographics in every
version of the roster, in what the sources have delivered and in the findings
of readiness reports, and drop kept packages that have the person. Ids stay.

A source that goes on to deliver the same data does not bring the person back,
but the package that is kept of each delivery has it; one that delivers other
data of the person brings that. So remove the person from the source first.

Products that follow the district get a revision that takes the person out of
their copies. Products that do not, and what products keep elsewhere, have to be
told to erase it. Backups are left as they are.`,
		Example: `  securly-sync erase --district lakeside --user 4711`,
	}, func(ctx context.Context, o *standalone.Operator, out io.Writer) error {
		done, err := o.ErasePerson(ctx, district, user)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "erased from the roster, %d layer files, %d kept packages and %d files of findings\n",
			done.GetLayerFiles(), done.GetPackages(), done.GetFindingsFiles()); err != nil {
			return err
		}
		told := "No revision tells products of it"
		if rev := done.GetRevision(); rev > 0 {
			told = fmt.Sprintf("Revision %d takes the person out of the copies of products that follow the district", rev)
		}
		_, err = fmt.Fprintf(out, "%s. Tell the others to erase it, and all to erase what they keep elsewhere.\n", told)
		return err
	})
	cmd.Flags().StringVar(&district, "district", "", "`id` of the district")
	cmd.Flags().StringVar(&user, "user", "", "sourcedId of the user, as the source writes it")
	for _, name := range []string{"district", "user"} {
		_ = cmd.MarkFlagRequired(name) // it is there
	}
	return cmd
}
